// Named tensors: memory, files, DLPack.
#include <cstring>

#include "api/fixture.h"

// The parts of dlpack.h 0.8 that a consumer reads, written out so that the test does not depend on LibTorch's copy.
struct DLManagedTensor {
  struct {
    void* data;
    struct {
      int32_t type, id;
    } device;
    int32_t ndim;
    struct {
      uint8_t code, bits;
      uint16_t lanes;
    } dtype;
    int64_t* shape;
    int64_t* strides;
    uint64_t byte_offset;
  } dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor*);
};

namespace ltxv::test {
namespace {

ltxv_tensor_view describe(const char* name, int32_t dtype, const std::vector<int64_t>& shape, const void* data,
                          uint64_t bytes) {
  ltxv_tensor_view v = ltxv_tensor_view_init();
  v.name = name;
  v.dtype = dtype;
  v.rank = static_cast<int32_t>(shape.size());
  v.shape = shape.data();
  v.data = data;
  v.byte_count = bytes;
  return v;
}

TensorsHandle new_tensors() {
  ltxv_tensors* tensors = nullptr;
  EXPECT_EQ(ltxv_tensors_new(&tensors, nullptr), LTXV_OK);
  return TensorsHandle(tensors);
}

TEST(Tensors, KeepACopyThroughMemoryAndFiles) {
  const TempFolder folder;
  const auto tensors = new_tensors();
  std::vector<int64_t> shape{2, 3};
  int16_t values[6] = {1, -2, 3, -4, 5, -6};
  const auto v = describe("numbers", LTXV_I16, shape, values, sizeof values);
  ASSERT_EQ(ltxv_tensors_add(tensors.get(), &v, nullptr), LTXV_OK);
  const auto scalar = describe("a scalar", LTXV_U8, {}, "\x07", 1);
  ASSERT_EQ(ltxv_tensors_add(tensors.get(), &scalar, nullptr), LTXV_OK);
  std::memset(values, 0, sizeof values);
  const std::string path = folder / "t.safetensors";
  ASSERT_EQ(ltxv_tensors_save(tensors.get(), path.c_str(), nullptr), LTXV_OK);

  ltxv_tensors* loaded_raw = nullptr;
  ASSERT_EQ(ltxv_tensors_load(path.c_str(), &loaded_raw, nullptr), LTXV_OK);
  const TensorsHandle loaded(loaded_raw);
  ASSERT_EQ(ltxv_tensors_count(loaded.get()), 2);
  ltxv_tensor_view first = ltxv_tensor_view_init();
  ASSERT_EQ(ltxv_tensors_at(loaded.get(), 0, &first, nullptr), LTXV_OK);
  EXPECT_STREQ(first.name, "a scalar");
  EXPECT_EQ(first.rank, 0);
  const auto numbers = view_of(loaded.get(), "numbers");
  EXPECT_EQ(numbers.dtype, LTXV_I16);
  ASSERT_EQ(numbers.rank, 2);
  EXPECT_EQ(numbers.shape[0], 2);
  EXPECT_EQ(numbers.shape[1], 3);
  ASSERT_EQ(numbers.byte_count, 12u);
  const int16_t expected[6] = {1, -2, 3, -4, 5, -6};
  EXPECT_EQ(std::memcmp(numbers.data, expected, sizeof expected), 0);
}

TEST(Tensors, WrongDescriptionsAreRefused) {
  const auto tensors = new_tensors();
  const float value[4] = {};
  const auto refused = [&](ltxv_tensor_view v, const char* word) {
    ltxv_error error = ltxv_error_init();
    EXPECT_EQ(ltxv_tensors_add(tensors.get(), &v, &error), LTXV_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.message).find(word), std::string::npos) << error.message;
  };
  const std::vector<int64_t> four{4}, negative{-1}, huge{int64_t{1} << 32, int64_t{1} << 32}, rank9(9, 1);
  refused(describe("x", LTXV_F32, four, value, 15), "need 16");
  refused(describe("x", LTXV_F32, negative, value, 16), "size 0 is -1");
  refused(describe("x", LTXV_F32, huge, value, 0), "64 bits");  // 2^64 wraps to 0, which byte_count would match
  refused(describe("x", 99, four, value, 16), "dtype 99");
  refused(describe("x", LTXV_F32, rank9, value, 4), "rank is 9");
  refused(describe("", LTXV_F32, four, value, 16), "name is empty");
  refused(describe("x", LTXV_F32, four, nullptr, 16), "data is NULL");
  EXPECT_EQ(ltxv_tensors_count(tensors.get()), 0);
}

TEST(Tensors, AskingForWhatIsNotThereListsWhatIs) {
  const auto tensors = make_frames({1, 3, 1, 2, 2});
  ltxv_tensor_view view = ltxv_tensor_view_init();
  ltxv_error error = ltxv_error_init();
  EXPECT_EQ(ltxv_tensors_get(tensors.get(), "latents", &view, &error), LTXV_INVALID_ARGUMENT);
  EXPECT_STREQ(error.message, "there is no tensor 'latents'; there are: frames");
  EXPECT_EQ(ltxv_tensors_at(tensors.get(), 1, &view, &error), LTXV_INVALID_ARGUMENT);
  EXPECT_EQ(ltxv_tensors_at(tensors.get(), -1, &view, &error), LTXV_INVALID_ARGUMENT);
}

TEST(Tensors, DlpackSharesMemoryAndOutlivesTheSet) {
  auto tensors = make_frames({1, 3, 2, 4, 5});
  const void* data = view_of(tensors.get(), "frames").data;
  DLManagedTensor* shared = nullptr;
  ASSERT_EQ(ltxv_tensors_export_dlpack(tensors.get(), "frames", &shared, nullptr), LTXV_OK);
  tensors.reset();
  EXPECT_EQ(static_cast<const char*>(shared->dl_tensor.data) + shared->dl_tensor.byte_offset, data);
  EXPECT_EQ(shared->dl_tensor.device.type, 1);  // kDLCPU
  EXPECT_EQ(shared->dl_tensor.dtype.code, 2);   // kDLFloat
  EXPECT_EQ(shared->dl_tensor.dtype.bits, 32);
  ASSERT_EQ(shared->dl_tensor.ndim, 5);
  const int64_t shape[5] = {1, 3, 2, 4, 5};
  EXPECT_EQ(std::memcmp(shared->dl_tensor.shape, shape, sizeof shape), 0);
  EXPECT_FLOAT_EQ(static_cast<const float*>(shared->dl_tensor.data)[7], 7e-4f - 0.5f);

  const auto copy = new_tensors();
  ASSERT_EQ(ltxv_tensors_import_dlpack(copy.get(), "again", shared, nullptr), LTXV_OK);
  shared->deleter(shared);
  EXPECT_FLOAT_EQ(static_cast<const float*>(view_of(copy.get(), "again").data)[7], 7e-4f - 0.5f);
}

}  // namespace
}  // namespace ltxv::test
