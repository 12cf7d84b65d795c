#include "pipeline/run_record.h"

#include <ATen/Version.h>

#include <nlohmann/json.hpp>

namespace ltxv {

std::string run_record(const Engine::Impl& engine, const ResolvedRequest& resolved) {
  using json = nlohmann::ordered_json;
  const EngineOptions& o = engine.options;
  const PlacementPlan plan = engine.plan({1, 1, 1}, 1);
  json j;
  j["ltxv_version"] = LTXV_VERSION;
  // The two things beside the version that decide which kernels computed the last bits.
  j["libtorch"] = LTXV_TORCH_VERSION;
  j["cpu_capability"] = at::get_cpu_capability();
  j["model"] = o.model.empty() ? "shapes" : o.model;
  for (const auto& [key, path] : {std::pair{"text_encoder", &o.text_encoder},
                                  {"tokenizer", &o.tokenizer},
                                  {"vae", &o.vae},
                                  {"transformer", &o.transformer},
                                  {"given_release", &o.release}})
    if (!path->empty()) j[key] = *path;
  j["device"] = engine.device_names();
  if (!engine.compute.name.empty()) j["device_name"] = engine.compute.name;
  j["dtype"] = plan.type(Component::transformer) == ComputeType::f32 ? "fp32" : "bf16";
  if (!o.quantization.empty() && o.quantization != "none") j["quantization"] = o.quantization;
  if (o.attention == "int8") j["attention"] = o.attention;
  j["threads"] = engine.thread_count;
  const auto request = json::parse(to_json(resolved, engine.spec));
  for (const auto& [key, value] : request.items())
    if (key != "model") j[key] = value;
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace ltxv
