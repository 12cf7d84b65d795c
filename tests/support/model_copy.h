#pragma once
// A copy of tests/golden/tiny_model that a test may damage.
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "support/temp_folder.h"

namespace ltxv::test {

class ModelCopy {
 public:
  ModelCopy() {
    std::filesystem::copy(std::string(LTXV_SOURCE_DIR) + "/tests/golden/tiny_model", path(),
                          std::filesystem::copy_options::recursive);
  }
  std::string path() const { return folder_ / "model"; }
  std::string operator/(const std::string& file) const { return path() + "/" + file; }

  const ModelCopy& write(const std::string& file, const std::string& bytes) const {
    std::ofstream(*this / file, std::ios::binary) << bytes;
    return *this;
  }
  const ModelCopy& edit(const std::string& file, const std::function<void(nlohmann::json&)>& change) const {
    auto content = nlohmann::json::parse(read_file(*this / file));
    change(content);
    return write(file, content.dump(1));
  }
  const ModelCopy& set(const std::string& file, const std::string& key, const nlohmann::json& value) const {
    return edit(file, [&](nlohmann::json& j) { j[key] = value; });
  }
  /// The shifted schedule of diffusers' own pipelines, as the golden run "plain_pipeline" has it.
  const ModelCopy& shift_schedule() const {
    set("model_index.json", "_class_name", "LTXPipeline");
    return edit("scheduler/scheduler_config.json", [](nlohmann::json& j) {
      j["use_dynamic_shifting"] = true;
      j["base_shift"] = 0.95, j["max_shift"] = 2.05;
      j["base_image_seq_len"] = 1024, j["max_image_seq_len"] = 4096;
      j["shift_terminal"] = 0.1;
    });
  }
  const ModelCopy& remove(const std::string& file) const {
    std::filesystem::remove_all(*this / file);
    return *this;
  }

 private:
  TempFolder folder_;
};

}  // namespace ltxv::test
