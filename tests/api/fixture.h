#pragma once
// One engine on the tiny random model for all tests of the C boundary, and small helpers.
#include <gtest/gtest.h>
#include <ltxv/ltxv.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "support/temp_folder.h"

namespace ltxv::test {

inline const std::string kTinyModel = LTXV_SOURCE_DIR "/tests/golden/tiny_model";

template <class T, void (*kFree)(T*) noexcept>
struct Free {
  void operator()(T* handle) const { kFree(handle); }
};
using EngineHandle = std::unique_ptr<ltxv_engine, Free<ltxv_engine, ltxv_engine_free>>;
using VideoHandle = std::unique_ptr<ltxv_video, Free<ltxv_video, ltxv_video_free>>;
using TensorsHandle = std::unique_ptr<ltxv_tensors, Free<ltxv_tensors, ltxv_tensors_free>>;
using TextHandle = std::unique_ptr<ltxv_text, Free<ltxv_text, ltxv_text_free>>;
using CancelHandle = std::unique_ptr<ltxv_cancel, Free<ltxv_cancel, ltxv_cancel_free>>;

inline EngineHandle open_tiny() {
  ltxv_error error = ltxv_error_init();
  ltxv_engine_options options = ltxv_engine_options_init();
  options.model = kTinyModel.c_str();
  options.dtype = "fp32";
  options.thread_count = 1;
  ltxv_engine* engine = nullptr;
  EXPECT_EQ(ltxv_engine_open(&options, &engine, &error), LTXV_OK) << error.message;
  return EngineHandle(engine);
}

/// Opened once: a test never frees it.
inline ltxv_engine* tiny_engine() {
  static const EngineHandle engine = open_tiny();
  return engine.get();
}

/// 9 frames 64x32 in 2 steps: a tenth of a second.
inline ltxv_generate_options small_request() {
  ltxv_generate_options o = ltxv_generate_options_init();
  o.prompt = "a red circle";
  o.width_px = 64;
  o.height_px = 32;
  o.frame_count = 9;
  o.step_count = 2;
  o.seed = 3;
  return o;
}

inline VideoHandle generate(const ltxv_generate_options& options) {
  ltxv_error error = ltxv_error_init();
  ltxv_video* video = nullptr;
  EXPECT_EQ(ltxv_generate(tiny_engine(), &options, &video, &error), LTXV_OK) << error.message;
  return VideoHandle(video);
}

/// The resolved request.
inline nlohmann::json resolve(const ltxv_generate_options& options) {
  ltxv_error error = ltxv_error_init();
  ltxv_text* text = nullptr;
  EXPECT_EQ(ltxv_generate_resolve(tiny_engine(), &options, &text, &error), LTXV_OK) << error.message;
  const TextHandle handle(text);
  return text ? nlohmann::json::parse(ltxv_text_data(text)) : nlohmann::json();
}

inline ltxv_tensor_view view_of(const ltxv_tensors* tensors, const char* name) {
  ltxv_tensor_view view = ltxv_tensor_view_init();
  ltxv_error error = ltxv_error_init();
  EXPECT_EQ(ltxv_tensors_get(tensors, name, &view, &error), LTXV_OK) << error.message;
  return view;
}

/// `frames` f32 of one shape, filled by index.
inline TensorsHandle make_frames(std::vector<int64_t> shape, float scale = 1e-4f) {
  ltxv_tensors* tensors = nullptr;
  EXPECT_EQ(ltxv_tensors_new(&tensors, nullptr), LTXV_OK);
  size_t count = 1;
  for (const int64_t size : shape) count *= static_cast<size_t>(size);
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 10000) * scale - 0.5f;
  ltxv_tensor_view view = ltxv_tensor_view_init();
  view.dtype = LTXV_F32;
  view.rank = static_cast<int32_t>(shape.size());
  view.shape = shape.data();
  view.data = values.data();
  view.byte_count = count * sizeof(float);
  view.name = "frames";
  EXPECT_EQ(ltxv_tensors_add(tensors, &view, nullptr), LTXV_OK);
  return TensorsHandle(tensors);
}

}  // namespace ltxv::test
