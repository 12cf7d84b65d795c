#include "pipeline/media_frames.h"

#include <algorithm>
#include <cmath>

#include "media/video_reader.h"
#include "pipeline/engine.h"
#include "pipeline/tensor_files.h"

namespace ltxv {
namespace {

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

}  // namespace

bool is_tensor_file(const std::string& path) { return path.ends_with(".safetensors"); }

at::Tensor part_of(const at::Tensor& frames, const FrameRange& range) {
  const int64_t first = std::min(range.first, frames.size(2) - 1), left = frames.size(2) - first;
  return frames.narrow(2, first, range.count > 0 ? std::min(range.count, left) : left);
}

at::Tensor fill_up(const at::Tensor& frames, int64_t count) {
  const int64_t missing = count - frames.size(2);
  if (missing <= 0) return frames.narrow(2, 0, count).contiguous();
  auto shape = frames.sizes().vec();
  shape[2] = missing;
  return at::cat({frames, frames.narrow(2, frames.size(2) - 1, 1).expand(shape)}, 2);
}

at::Tensor resize(const at::Tensor& frames, int64_t height, int64_t width) {
  if (frames.size(3) == height && frames.size(4) == width) return frames.contiguous();
  // [1,3,T,H,W] -> [T,3,H,W]
  const auto pictures = frames[0].transpose(0, 1).contiguous();
  return at::_upsample_bilinear2d_aa(pictures, {height, width}, /*align_corners=*/false).transpose(0, 1).unsqueeze(0).contiguous();
}

at::Tensor resize_plain(const at::Tensor& frames, int64_t height, int64_t width) {
  if (frames.size(3) == height && frames.size(4) == width) return frames;
  const auto pictures = frames[0].transpose(0, 1).contiguous();
  return at::upsample_bilinear2d(pictures, {height, width}, /*align_corners=*/false).transpose(0, 1).unsqueeze(0).contiguous();
}

at::Tensor fitted(const at::Tensor& frames, const PixelShape& fit) {
  return resize(crop_to_aspect(frames, fit.height, fit.width), fit.height, fit.width);
}

at::Tensor read_file_frames(const std::string& path, const FrameRange& range, double* frames_per_second) {
  if (frames_per_second) *frames_per_second = 0;
  if (!is_tensor_file(path)) {
    const auto clip = media::read_clip(path, {.first_frame = range.first, .stop_after_frames = range.count});
    if (frames_per_second) *frames_per_second = clip.frames_per_second;
    return to_frames(clip);
  }
  const auto frames = load_tensor(path, "frames", 5);
  LTXV_REQUIRE(BadWeights, frames.size(0) == 1 && frames.size(1) == 3 && frames.numel() > 0, path, ": tensor \"frames\" is ",
               frames.sizes(), ", expected [1,3,T,H,W]");
  return part_of(frames, range);
}

at::Tensor read_frames(const std::string& path, const PixelShape* fit, double* frames_per_second) {
  const auto frames = read_file_frames(path, {}, frames_per_second);
  return fit ? fitted(frames, *fit) : frames;
}

int64_t count_frames(const std::string& path) {
  if (is_tensor_file(path)) return read_file_frames(path, {}).size(2);
  constexpr int64_t kBehindAnyEnd = int64_t{1} << 40;
  return media::read_clip(path, {.first_frame = kBehindAnyEnd}).first_frame + 1;
}

bool other_size(const ResolvedRequest& resolved) {
  return resolved.computed.height != resolved.padded.height || resolved.computed.width != resolved.padded.width;
}

}  // namespace ltxv
