// Where every field of the C structs lies (x86-64 and other LP64 systems). A number that changes breaks programs that are already
// compiled; new fields only add rows, and let a struct's size grow. The numbers follow from the field types: 4 bytes for 32-bit integers,
// 8 for doubles, pointers and 64-bit integers, each at a multiple of its size.
#include <gtest/gtest.h>
#include <ltxv/ltxv.h>

#include <cstddef>
#include <string_view>

namespace {

struct Row {
  const char* name;
  size_t found, expected;
};

// clang-format off
const Row kRows[] = {
    {"ltxv_error.struct_size", offsetof(ltxv_error, struct_size), 0},
    {"ltxv_error.status", offsetof(ltxv_error, status), 4},
    {"ltxv_error.message", offsetof(ltxv_error, message), 8},
    {"ltxv_error", sizeof(ltxv_error), 512},
    {"ltxv_progress.struct_size", offsetof(ltxv_progress, struct_size), 0},
    {"ltxv_progress.stage", offsetof(ltxv_progress, stage), 4},
    {"ltxv_progress.step", offsetof(ltxv_progress, step), 8},
    {"ltxv_progress.step_count", offsetof(ltxv_progress, step_count), 12},
    {"ltxv_progress.elapsed_seconds", offsetof(ltxv_progress, elapsed_seconds), 16},
    {"ltxv_progress", sizeof(ltxv_progress), 24},
    {"ltxv_tensor_view.struct_size", offsetof(ltxv_tensor_view, struct_size), 0},
    {"ltxv_tensor_view.dtype", offsetof(ltxv_tensor_view, dtype), 4},
    {"ltxv_tensor_view.rank", offsetof(ltxv_tensor_view, rank), 8},
    {"ltxv_tensor_view.reserved", offsetof(ltxv_tensor_view, reserved), 12},
    {"ltxv_tensor_view.shape", offsetof(ltxv_tensor_view, shape), 16},
    {"ltxv_tensor_view.data", offsetof(ltxv_tensor_view, data), 24},
    {"ltxv_tensor_view.byte_count", offsetof(ltxv_tensor_view, byte_count), 32},
    {"ltxv_tensor_view.name", offsetof(ltxv_tensor_view, name), 40},
    {"ltxv_tensor_view", sizeof(ltxv_tensor_view), 48},
    {"ltxv_engine_options.struct_size", offsetof(ltxv_engine_options, struct_size), 0},
    {"ltxv_engine_options.thread_count", offsetof(ltxv_engine_options, thread_count), 4},
    {"ltxv_engine_options.model", offsetof(ltxv_engine_options, model), 8},
    {"ltxv_engine_options.text_encoder", offsetof(ltxv_engine_options, text_encoder), 16},
    {"ltxv_engine_options.tokenizer", offsetof(ltxv_engine_options, tokenizer), 24},
    {"ltxv_engine_options.vae", offsetof(ltxv_engine_options, vae), 32},
    {"ltxv_engine_options.transformer", offsetof(ltxv_engine_options, transformer), 40},
    {"ltxv_engine_options.device", offsetof(ltxv_engine_options, device), 48},
    {"ltxv_engine_options.dtype", offsetof(ltxv_engine_options, dtype), 56},
    {"ltxv_engine_options.copy_files", offsetof(ltxv_engine_options, copy_files), 64},
    {"ltxv_engine_options.reserved", offsetof(ltxv_engine_options, reserved), 68},
    {"ltxv_engine_options", sizeof(ltxv_engine_options), 72},
    {"ltxv_engine_properties.struct_size", offsetof(ltxv_engine_properties, struct_size), 0},
    {"ltxv_engine_properties.spatial_compression", offsetof(ltxv_engine_properties, spatial_compression), 4},
    {"ltxv_engine_properties.temporal_compression", offsetof(ltxv_engine_properties, temporal_compression), 8},
    {"ltxv_engine_properties.latent_channel_count", offsetof(ltxv_engine_properties, latent_channel_count), 12},
    {"ltxv_engine_properties.width_px", offsetof(ltxv_engine_properties, width_px), 16},
    {"ltxv_engine_properties.height_px", offsetof(ltxv_engine_properties, height_px), 20},
    {"ltxv_engine_properties.frame_count", offsetof(ltxv_engine_properties, frame_count), 24},
    {"ltxv_engine_properties.step_count", offsetof(ltxv_engine_properties, step_count), 28},
    {"ltxv_engine_properties.frames_per_second", offsetof(ltxv_engine_properties, frames_per_second), 32},
    {"ltxv_engine_properties.guidance_scale", offsetof(ltxv_engine_properties, guidance_scale), 40},
    {"ltxv_engine_properties.seed", offsetof(ltxv_engine_properties, seed), 48},
    {"ltxv_engine_properties", sizeof(ltxv_engine_properties), 56},
    {"ltxv_condition.struct_size", offsetof(ltxv_condition, struct_size), 0},
    {"ltxv_condition.frame_index", offsetof(ltxv_condition, frame_index), 4},
    {"ltxv_condition.path", offsetof(ltxv_condition, path), 8},
    {"ltxv_condition.strength", offsetof(ltxv_condition, strength), 16},
    {"ltxv_condition.zero_fields", offsetof(ltxv_condition, zero_fields), 24},
    {"ltxv_condition.reserved", offsetof(ltxv_condition, reserved), 28},
    {"ltxv_condition", sizeof(ltxv_condition), 32},
    {"ltxv_generate_options.struct_size", offsetof(ltxv_generate_options, struct_size), 0},
    {"ltxv_generate_options.frame_count", offsetof(ltxv_generate_options, frame_count), 4},
    {"ltxv_generate_options.width_px", offsetof(ltxv_generate_options, width_px), 8},
    {"ltxv_generate_options.height_px", offsetof(ltxv_generate_options, height_px), 12},
    {"ltxv_generate_options.seconds", offsetof(ltxv_generate_options, seconds), 16},
    {"ltxv_generate_options.frames_per_second", offsetof(ltxv_generate_options, frames_per_second), 24},
    {"ltxv_generate_options.prompt", offsetof(ltxv_generate_options, prompt), 32},
    {"ltxv_generate_options.negative_prompt", offsetof(ltxv_generate_options, negative_prompt), 40},
    {"ltxv_generate_options.prompt_embeds_path", offsetof(ltxv_generate_options, prompt_embeds_path), 48},
    {"ltxv_generate_options.negative_prompt_embeds_path", offsetof(ltxv_generate_options, negative_prompt_embeds_path), 56},
    {"ltxv_generate_options.step_count", offsetof(ltxv_generate_options, step_count), 64},
    {"ltxv_generate_options.sigma_count", offsetof(ltxv_generate_options, sigma_count), 68},
    {"ltxv_generate_options.sigmas", offsetof(ltxv_generate_options, sigmas), 72},
    {"ltxv_generate_options.guidance_scale", offsetof(ltxv_generate_options, guidance_scale), 80},
    {"ltxv_generate_options.guidance_rescale", offsetof(ltxv_generate_options, guidance_rescale), 88},
    {"ltxv_generate_options.seed", offsetof(ltxv_generate_options, seed), 96},
    {"ltxv_generate_options.zero_fields", offsetof(ltxv_generate_options, zero_fields), 104},
    {"ltxv_generate_options.noise_kind", offsetof(ltxv_generate_options, noise_kind), 108},
    {"ltxv_generate_options.max_text_tokens", offsetof(ltxv_generate_options, max_text_tokens), 112},
    {"ltxv_generate_options.condition_count", offsetof(ltxv_generate_options, condition_count), 116},
    {"ltxv_generate_options.conditions", offsetof(ltxv_generate_options, conditions), 120},
    {"ltxv_generate_options.image_noise_scale", offsetof(ltxv_generate_options, image_noise_scale), 128},
    {"ltxv_generate_options.decode_timestep", offsetof(ltxv_generate_options, decode_timestep), 136},
    {"ltxv_generate_options.decode_noise_scale", offsetof(ltxv_generate_options, decode_noise_scale), 144},
    {"ltxv_generate_options.noise_path", offsetof(ltxv_generate_options, noise_path), 152},
    {"ltxv_generate_options.save_noise_path", offsetof(ltxv_generate_options, save_noise_path), 160},
    {"ltxv_generate_options.save_latents_path", offsetof(ltxv_generate_options, save_latents_path), 168},
    {"ltxv_generate_options.preset", offsetof(ltxv_generate_options, preset), 176},
    {"ltxv_generate_options.on_progress", offsetof(ltxv_generate_options, on_progress), 184},
    {"ltxv_generate_options.on_log", offsetof(ltxv_generate_options, on_log), 192},
    {"ltxv_generate_options.user_data", offsetof(ltxv_generate_options, user_data), 200},
    {"ltxv_generate_options.cancel", offsetof(ltxv_generate_options, cancel), 208},
    {"ltxv_generate_options", sizeof(ltxv_generate_options), 216},
    {"ltxv_embed_options.struct_size", offsetof(ltxv_embed_options, struct_size), 0},
    {"ltxv_embed_options.max_text_tokens", offsetof(ltxv_embed_options, max_text_tokens), 4},
    {"ltxv_embed_options.prompt", offsetof(ltxv_embed_options, prompt), 8},
    {"ltxv_embed_options.on_progress", offsetof(ltxv_embed_options, on_progress), 16},
    {"ltxv_embed_options.on_log", offsetof(ltxv_embed_options, on_log), 24},
    {"ltxv_embed_options.user_data", offsetof(ltxv_embed_options, user_data), 32},
    {"ltxv_embed_options.cancel", offsetof(ltxv_embed_options, cancel), 40},
    {"ltxv_embed_options", sizeof(ltxv_embed_options), 48},
    {"ltxv_encode_options.struct_size", offsetof(ltxv_encode_options, struct_size), 0},
    {"ltxv_encode_options.reserved", offsetof(ltxv_encode_options, reserved), 4},
    {"ltxv_encode_options.on_progress", offsetof(ltxv_encode_options, on_progress), 8},
    {"ltxv_encode_options.on_log", offsetof(ltxv_encode_options, on_log), 16},
    {"ltxv_encode_options.user_data", offsetof(ltxv_encode_options, user_data), 24},
    {"ltxv_encode_options.cancel", offsetof(ltxv_encode_options, cancel), 32},
    {"ltxv_encode_options", sizeof(ltxv_encode_options), 40},
    {"ltxv_decode_options.struct_size", offsetof(ltxv_decode_options, struct_size), 0},
    {"ltxv_decode_options.zero_fields", offsetof(ltxv_decode_options, zero_fields), 4},
    {"ltxv_decode_options.decode_timestep", offsetof(ltxv_decode_options, decode_timestep), 8},
    {"ltxv_decode_options.decode_noise_scale", offsetof(ltxv_decode_options, decode_noise_scale), 16},
    {"ltxv_decode_options.seed", offsetof(ltxv_decode_options, seed), 24},
    {"ltxv_decode_options.noise_path", offsetof(ltxv_decode_options, noise_path), 32},
    {"ltxv_decode_options.frames_per_second", offsetof(ltxv_decode_options, frames_per_second), 40},
    {"ltxv_decode_options.on_progress", offsetof(ltxv_decode_options, on_progress), 48},
    {"ltxv_decode_options.on_log", offsetof(ltxv_decode_options, on_log), 56},
    {"ltxv_decode_options.user_data", offsetof(ltxv_decode_options, user_data), 64},
    {"ltxv_decode_options.cancel", offsetof(ltxv_decode_options, cancel), 72},
    {"ltxv_decode_options", sizeof(ltxv_decode_options), 80},
    {"ltxv_video_properties.struct_size", offsetof(ltxv_video_properties, struct_size), 0},
    {"ltxv_video_properties.frame_count", offsetof(ltxv_video_properties, frame_count), 4},
    {"ltxv_video_properties.width_px", offsetof(ltxv_video_properties, width_px), 8},
    {"ltxv_video_properties.height_px", offsetof(ltxv_video_properties, height_px), 12},
    {"ltxv_video_properties.frames_per_second", offsetof(ltxv_video_properties, frames_per_second), 16},
    {"ltxv_video_properties", sizeof(ltxv_video_properties), 24},
    {"ltxv_frame.struct_size", offsetof(ltxv_frame, struct_size), 0},
    {"ltxv_frame.index", offsetof(ltxv_frame, index), 4},
    {"ltxv_frame.width_px", offsetof(ltxv_frame, width_px), 8},
    {"ltxv_frame.height_px", offsetof(ltxv_frame, height_px), 12},
    {"ltxv_frame.stride_bytes", offsetof(ltxv_frame, stride_bytes), 16},
    {"ltxv_frame.time_seconds", offsetof(ltxv_frame, time_seconds), 24},
    {"ltxv_frame.rgb", offsetof(ltxv_frame, rgb), 32},
    {"ltxv_frame", sizeof(ltxv_frame), 40},
    {"ltxv_write_options.struct_size", offsetof(ltxv_write_options, struct_size), 0},
    {"ltxv_write_options.reserved", offsetof(ltxv_write_options, reserved), 4},
    {"ltxv_write_options.frames_per_second", offsetof(ltxv_write_options, frames_per_second), 8},
    {"ltxv_write_options.on_progress", offsetof(ltxv_write_options, on_progress), 16},
    {"ltxv_write_options.on_log", offsetof(ltxv_write_options, on_log), 24},
    {"ltxv_write_options.user_data", offsetof(ltxv_write_options, user_data), 32},
    {"ltxv_write_options.cancel", offsetof(ltxv_write_options, cancel), 40},
    {"ltxv_write_options", sizeof(ltxv_write_options), 48},
};
// clang-format on

TEST(Layout, IsThatOfEarlierReleases) {
  if (sizeof(void*) != 8) GTEST_SKIP() << "the table is for 64-bit systems";
  for (const Row& row : kRows) {
    const bool is_field = std::string_view(row.name).find('.') != std::string_view::npos;
    if (is_field) {
      EXPECT_EQ(row.found, row.expected) << row.name;
    } else {
      EXPECT_GE(row.found, row.expected) << "sizeof " << row.name;
    }
  }
}

}  // namespace
