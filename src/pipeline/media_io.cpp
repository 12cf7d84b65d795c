#include "pipeline/media_io.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "media/container.h"
#include "media/video_reader.h"
#include "media/video_writer.h"
#include "pipeline/engine.h"
#include "pipeline/tensor_files.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

bool is_tensor_file(const std::string& path) { return path.ends_with(".safetensors"); }

// u8 [T,H,W,3] -> f32 [1,3,T,H,W] in [-1,1]
at::Tensor to_frames(const media::Clip& clip) {
  const auto rgb = at::from_blob(const_cast<uint8_t*>(clip.rgb.data()), {clip.frames, clip.height, clip.width, 3}, at::kByte);
  return (rgb.permute({3, 0, 1, 2}).unsqueeze(0).to(at::kFloat) / 127.5 - 1.0).contiguous();
}

// The middle of the picture with the aspect of `height` x `width`, as large as it can be.
at::Tensor crop_to_aspect(const at::Tensor& frames, int64_t height, int64_t width) {
  const int64_t have_height = frames.size(3), have_width = frames.size(4);
  const double aspect = static_cast<double>(width) / static_cast<double>(height);
  const int64_t new_width = std::min(have_width, std::max<int64_t>(1, std::llround(static_cast<double>(have_height) * aspect)));
  const int64_t new_height = std::min(have_height, std::max<int64_t>(1, std::llround(static_cast<double>(have_width) / aspect)));
  return frames.narrow(3, (have_height - new_height) / 2, new_height).narrow(4, (have_width - new_width) / 2, new_width);
}

at::Tensor resize(const at::Tensor& frames, int64_t height, int64_t width) {
  if (frames.size(3) == height && frames.size(4) == width) return frames.contiguous();
  // [1,3,T,H,W] -> [T,3,H,W]; antialiased, since a still is often several times larger than the video.
  const auto pictures = frames[0].transpose(0, 1).contiguous();
  return at::_upsample_bilinear2d_aa(pictures, {height, width}, /*align_corners=*/false).transpose(0, 1).unsqueeze(0).contiguous();
}

}  // namespace

at::Tensor read_frames(const std::string& path, const PixelShape* fit, double* frames_per_second) {
  if (frames_per_second) *frames_per_second = 0;
  at::Tensor frames;
  if (is_tensor_file(path)) {
    frames = load_tensor(path, "frames", 5);
    LTXV_REQUIRE(BadWeights, frames.size(0) == 1 && frames.size(1) == 3 && frames.numel() > 0, path, ": tensor \"frames\" is ",
                 frames.sizes(), ", expected [1,3,T,H,W]");
  } else {
    const auto clip = media::read_clip(path);
    if (frames_per_second) *frames_per_second = clip.frames_per_second;
    frames = to_frames(clip);
  }
  if (!fit) return frames;
  return resize(crop_to_aspect(frames, fit->height, fit->width), fit->height, fit->width);
}

at::Tensor read_condition(const ConditionItem& item, const ResolvedRequest& resolved, const Compression& compression) {
  auto frames = read_frames(item.path, &resolved.asked, nullptr);
  const int64_t room = resolved.padded.frames - item.frame_index;
  const int64_t usable = (std::min(frames.size(2), room) - 1) / compression.temporal * compression.temporal + 1;
  frames = frames.narrow(2, 0, usable);
  const bool clip = usable > 1;
  LTXV_CHECK(!clip || item.frame_index % compression.temporal == 0, "condition ", item.path, ": a clip must start at a multiple of ",
             compression.temporal, " frames, not at ", item.frame_index);
  const int64_t rows = resolved.padded.height - resolved.asked.height, columns = resolved.padded.width - resolved.asked.width;
  if (rows == 0 && columns == 0) return frames.contiguous();
  return at::constant_pad_nd(frames, {columns / 2, columns - columns / 2, rows / 2, rows - rows / 2}, 0).contiguous();
}

at::Tensor crop_to_asked(const at::Tensor& frames, const ResolvedRequest& resolved) {
  if (resolved.asked == resolved.padded) return frames;
  return frames.narrow(2, 0, resolved.asked.frames)
      .narrow(3, (resolved.padded.height - resolved.asked.height) / 2, resolved.asked.height)
      .narrow(4, (resolved.padded.width - resolved.asked.width) / 2, resolved.asked.width)
      .contiguous();
}

void check_output_path(const std::string& path) {
  LTXV_CHECK(!path.empty(), "the output path is empty");
  if (is_tensor_file(path)) {
    media::check_output_folder(path);
  } else {
    media::check_output(path);
  }
}

void write_frames(const std::string& path, const at::Tensor& frames, double frames_per_second, const std::string& metadata_json,
                  const RunHooks& hooks) {
  LTXV_CHECK(frames.dim() == 5 && frames.size(0) == 1 && frames.size(1) == 3, "frames [1,3,T,H,W] expected, got ", frames.sizes());
  if (is_tensor_file(path)) {
    save_tensors(path, {{"frames", frames}}, {{"ltxv", metadata_json}});
    return;
  }
  RunContext run(hooks);
  const int64_t count = frames.size(2), height = frames.size(3), width = frames.size(4);
  const auto writer = media::VideoWriter::open(
      path, width, height, {.frames_per_second = frames_per_second, .metadata_json = metadata_json, .frame_count = count});
  for (int64_t t = 0; t < count; ++t) {
    run.report(Stage::write, t, count);
    // [3,H,W] in [-1,1] -> u8 [H,W,3], rounded
    const auto rgb =
        ((frames[0].select(1, t).clamp(-1, 1) + 1) * 127.5).round_().permute({1, 2, 0}).to(at::kByte).contiguous();
    writer->write(rgb.const_data_ptr<uint8_t>(), width * 3);
  }
  writer->finish();
  run.report(Stage::write, count, count);
}

}  // namespace ltxv
