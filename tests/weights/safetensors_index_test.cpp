#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "weights/file_builder.h"
#include "weights/tensor_source.h"

namespace ltxv::test {
namespace {

constexpr auto F = ErrorCode::bad_weights;

std::string shard(const std::string& name, char value) {
  return safetensors(
      R"({"__metadata__":{"format":"pt"},")" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
      std::string(1, value));
}

std::string index_of(const std::string& map) { return R"({"metadata":{"total_size":999},"weight_map":{)" + map + "}}"; }

const char* const kBoth = R"("x":"m-1.safetensors","y":"m-2.safetensors")";

class SafetensorsIndex : public ::testing::Test {
 protected:
  void SetUp() override {
    folder.write("m-1.safetensors", shard("x", 'X'));
    folder.write("m-2.safetensors", shard("y", 'Y'));
  }
  void refused(ErrorCode code, const std::string& words, const std::string& json) {
    SCOPED_TRACE(json.substr(0, 200));
    const std::string path = folder.write("m.index.json", json);
    expect_error(code, words, [&] { open_tensors(path); });
  }
  TempFolder folder;
};

TEST_F(SafetensorsIndex, MergesItsShards) {
  for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
    const auto source = open_tensors(folder.write("m.index.json", index_of(kBoth)), access);
    ASSERT_EQ(source->entries().size(), 2u);
    EXPECT_EQ(*source->find("x")->data, std::byte{'X'});
    EXPECT_EQ(*source->find("y")->data, std::byte{'Y'});
    EXPECT_EQ(source->find("y")->file, folder / "m-2.safetensors");
    EXPECT_EQ(source->metadata().at("format"), "pt");
    EXPECT_EQ(source->path(), folder / "m.index.json");
  }
}

TEST_F(SafetensorsIndex, RefusesWhatBreaksTheRules) {
  refused(ErrorCode::io, "m-3.safetensors: cannot be opened", index_of(R"("x":"m-3.safetensors")"));
  refused(F, "tensor 'z' is said to lie in 'm-1.safetensors', but is not there",
          index_of(R"("x":"m-1.safetensors","z":"m-1.safetensors")"));
  refused(F, "tensor 'x' is said to lie in 'm-2.safetensors'",
          index_of(R"("x":"m-2.safetensors","y":"m-1.safetensors")"));
  refused(F, "tensor 'x' occurs twice in weight_map", index_of(R"("x":"m-1.safetensors","x":"m-1.safetensors")"));
  refused(F, "'weight_map' is empty", index_of(""));
  refused(F, "has no 'weight_map'", "{}");
  refused(F, "'weight_map' occurs twice", R"({"weight_map":{},"weight_map":{}})");
  refused(F, "'weight_map' is a list", R"({"weight_map":[]})");
  refused(F, "'weight_map' is a number", R"({"weight_map":3})");
  refused(F, "tensor 'x' has a number, a file name is needed", index_of(R"("x":1)"));
  refused(F, "tensor 'x' has an object", index_of(R"("x":{})"));
  refused(F, "holds a list, an object with 'weight_map' is needed", "[]");
  refused(F, "not valid JSON", "");
  refused(F, "not valid JSON", index_of(R"("x":"m-1.safetensors")") + std::string(1, '\0'));
  refused(F, "not valid JSON", "{\"weight_map\":");
  refused(F, "nested deeper than 16", std::string("{\"metadata\":").append(1000000, '['));
  refused(F, "git-lfs pointer", "version https://git-lfs.github.com/spec/v1\n");
  folder.write("m-2.safetensors", shard("x", 'Z'));
  refused(F, "tensor 'x' lies in two shards", index_of(R"("x":"m-1.safetensors","y":"m-2.safetensors")"));
  folder.write("m-2.safetensors", shard("y", 'Y').substr(0, 60));
  refused(F, "m-2.safetensors: the header length is", index_of(kBoth));
}

TEST_F(SafetensorsIndex, NeverLeavesItsFolder) {
  const TempFolder outside;
  const std::string secret = outside.write("m-1.safetensors", shard("x", 'S'));
  const std::string rule = "a plain file name in the index's own folder is needed";
  for (const std::string& name : {std::string("../m-1.safetensors"), secret, std::string("sub/m-1.safetensors"),
                                  std::string(".."), std::string("."), std::string(""), std::string("a\\u0000b")}) {
    refused(F, rule, index_of(R"("x":")" + name + "\""));
  }
  ASSERT_EQ(::symlink(secret.c_str(), (folder / "link.safetensors").c_str()), 0);
  refused(F, "the shard 'link.safetensors' is a link out of the index's folder", index_of(R"("x":"link.safetensors")"));
  ASSERT_EQ(::symlink("m-1.safetensors", (folder / "inner.safetensors").c_str()), 0);
  EXPECT_EQ(open_tensors(folder.write("m.index.json", index_of(R"("x":"inner.safetensors")")))->entries().size(), 1u);
}

// Download caches keep every file of a snapshot as a link into one store.
TEST_F(SafetensorsIndex, FollowsLinksIntoTheStoreThatHoldsTheIndexItself) {
  std::filesystem::create_directory(folder / "snapshot");
  folder.write("blob-of-index", index_of(kBoth));
  ASSERT_EQ(::symlink("../blob-of-index", (folder / "snapshot/m.index.json").c_str()), 0);
  ASSERT_EQ(::symlink("../m-1.safetensors", (folder / "snapshot/m-1.safetensors").c_str()), 0);
  ASSERT_EQ(::symlink("../m-2.safetensors", (folder / "snapshot/m-2.safetensors").c_str()), 0);
  EXPECT_EQ(open_tensors(folder / "snapshot/m.index.json")->entries().size(), 2u);
}

TEST_F(SafetensorsIndex, ComponentFolderTriesItsNamesInOrder) {
  expect_error(ErrorCode::io,
               folder.path() + ": holds neither diffusion_pytorch_model.safetensors nor model.safetensors",
               [&] { open_component_folder(folder.path()); });
  folder.write("pytorch_model.bin", "x");
  expect_error(ErrorCode::io, "pytorch_model.bin, a Python pickle", [&] { open_component_folder(folder.path()); });
  expect_error(ErrorCode::io, "no such folder", [&] { open_component_folder(folder / "absent"); });
  folder.write("model.safetensors.index.json", index_of(kBoth));
  EXPECT_EQ(open_component_folder(folder.path())->path(), folder / "model.safetensors.index.json");
  folder.write("model.safetensors", shard("m", 'M'));
  EXPECT_EQ(open_component_folder(folder.path() + "/")->path(), folder / "model.safetensors");
  folder.write("diffusion_pytorch_model.safetensors.index.json", index_of(kBoth));
  EXPECT_EQ(open_component_folder(folder.path())->entries().size(), 2u);
  folder.write("diffusion_pytorch_model.safetensors", shard("d", 'D'));
  EXPECT_NE(open_component_folder(folder.path())->find("d"), nullptr);
}

}  // namespace
}  // namespace ltxv::test
