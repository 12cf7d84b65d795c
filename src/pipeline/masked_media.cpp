#include "pipeline/masked_media.h"

#include <algorithm>
#include <cmath>

#include "pipeline/image_prep.h"
#include "pipeline/media_io.h"
#include "pipeline/tensor_files.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

// Grey levels that lossy formats leave of black and white count as such.
constexpr double kMaskSlack = 0.05;

at::Tensor cleaned(const at::Tensor& mask) {
  const auto zero = at::zeros({1}, at::kFloat), one = at::ones({1}, at::kFloat);
  return at::where(mask < kMaskSlack, zero, at::where(mask > 1 - kMaskSlack, one, mask));
}

}  // namespace

at::Tensor composite(const at::Tensor& frames, const at::Tensor& original, const at::Tensor& mask) {
  const auto mixed = original * (1 - mask) + frames * mask;
  return at::where(mask == 0, original, mixed);  // not even rounded, nor touched by an infinity of the decoder's
}

namespace {

// Brightness of a part of the file, in its own size; a picture is all its frames.
at::Tensor read_mask_file(MediaFile& file, const FrameRange& range) {
  if (file.find_tensor("mask")) return file.tensor("mask", 1, range);
  return (file.frames(range).mean(at::IntArrayRef{1}, /*keepdim=*/true) + 1) / 2;
}

int64_t count_mask_frames(MediaFile& file) {
  const TensorEntry* mask = file.find_tensor("mask");
  return mask ? file.tensor("mask", 1, {0, 1}), mask->shape[2] : file.count_frames();
}

}  // namespace

at::Tensor read_mask(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range) {
  const PixelShape& asked = resolved.asked;
  const FrameRange wanted{std::min(range.first, asked.frames - 1), range.count};
  const auto mask = read_mask_file(files[path], wanted);
  LTXV_CHECK(mask.min().item<float>() >= 0 && mask.max().item<float>() <= 1, path, ": tensor \"mask\" leaves [0,1]");
  return pad_to_computed(fill_up(cleaned(fitted(mask, asked)), range.count), resolved);
}

void check_mask_file(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved) {
  const int64_t count = count_mask_frames(files[path]), asked = resolved.asked.frames;
  LTXV_CHECK(count == 1 || count >= asked, path, ": the mask has ", count, " frames, this run needs 1 or ", asked);
  constexpr int64_t kAtOnce = 64;
  for (int64_t first = 0; first < std::min(count, asked); first += kAtOnce)
    if (read_mask(files, path, resolved, {first, std::min(kAtOnce, asked - first)}).max().item<float>() > 0) return;
  throw InvalidArgument(text(path, ": the mask is black everywhere, so nothing would be generated (white is generated anew)"));
}

FittedVideo read_fitted_inside(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range) {
  const PixelShape& asked = resolved.asked;
  const int64_t have = std::min(files[path].count_frames(), asked.frames);
  auto frames = files[path].frames({std::min(range.first, have - 1), range.count});
  const double scale = std::min(static_cast<double>(asked.height) / static_cast<double>(frames.size(3)),
                                static_cast<double>(asked.width) / static_cast<double>(frames.size(4)));
  const auto scaled = [&](int64_t size, int64_t most) {
    return std::clamp<int64_t>(std::llround(static_cast<double>(size) * scale), 1, most);
  };
  frames = resize(frames, scaled(frames.size(3), asked.height), scaled(frames.size(4), asked.width));
  LTXV_CHECK(have < asked.frames || frames.size(3) < asked.height || frames.size(4) < asked.width, path,
             ": the clip fills all of ", asked.width, "x", asked.height, ", ", asked.frames, " frames: nothing is left to outpaint");
  const int64_t top = (resolved.padded.height - frames.size(3)) / 2, left = (resolved.padded.width - frames.size(4)) / 2;
  const std::vector<int64_t> border = {left, resolved.padded.width - frames.size(4) - left, top,
                                       resolved.padded.height - frames.size(3) - top};
  const int64_t covered = std::clamp<int64_t>(have - range.first, 0, range.count);
  frames = frames.narrow(2, 0, std::min(frames.size(2), std::max<int64_t>(covered, 1)));
  auto mask = at::ones({1, 1, range.count, resolved.padded.height, resolved.padded.width}, at::kFloat);
  mask.narrow(2, 0, covered).narrow(3, top, frames.size(3)).narrow(4, left, frames.size(4)).zero_();
  // The border's own pixels are repeated outwards: the encoder then sees no edge that the result would keep a trace of.
  const auto pictures = frames[0].transpose(0, 1).contiguous();  // [T,3,H,W]
  frames = at::replication_pad2d(pictures, border).transpose(0, 1).unsqueeze(0);
  return {fill_up(frames, range.count), mask};
}

FrameRange result_frames(const FrameRange& range, int64_t frame_step) {
  // Frame i > 0 of a pass stands for frames (i - 1) step + 1 to i step, frame 0 for frame 0: as latent frames do.
  const int64_t first = range.first == 0 ? 0 : (range.first - 1) * frame_step + 1;
  return {first, (range.first + range.count - 1) * frame_step + 1 - first};
}

at::Tensor mask_for_pass(const at::Tensor& mask, const FrameRange& range, const ResolvedRequest& resolved) {
  auto out = mask;
  if (const int64_t step = resolved.frame_step; step > 1) {
    const int64_t alone = range.first == 0 ? 1 : 0, groups = range.count - alone;
    const auto rest = out.narrow(2, alone, groups * step).reshape({1, 1, groups, step, out.size(3), out.size(4)}).amax(3);
    out = alone ? at::cat({out.narrow(2, 0, 1), rest}, 2) : rest;
  }
  if (!other_size(resolved)) return out;
  const auto pooled = std::get<0>(at::adaptive_max_pool2d(out[0].transpose(0, 1).contiguous(), {resolved.computed.height, resolved.computed.width}));
  return pooled.transpose(0, 1).unsqueeze(0).contiguous();
}

at::Tensor frames_for_pass(const at::Tensor& frames, const ResolvedRequest& resolved) {
  const auto own_rate = frames.slice(2, 0, std::nullopt, resolved.frame_step);
  return other_size(resolved) ? resize_plain(own_rate, resolved.computed.height, resolved.computed.width) : own_rate.contiguous();
}

bool keeps_parts(const Request& request) { return request.outpaint || !request.mask_path.empty(); }

at::Tensor read_pass_mask(MediaFiles& files, const ResolvedRequest& resolved, const FrameRange& range) {
  const Request& r = resolved.request;
  const FrameRange of_result = result_frames(range, resolved.frame_step);
  const auto mask = r.outpaint ? read_fitted_inside(files, r.input_video_path, resolved, of_result).mask : read_mask(files, r.mask_path, resolved, of_result);
  return mask_for_pass(mask, range, resolved);
}

at::Tensor read_pass_frames(MediaFiles& files, const ResolvedRequest& resolved, const FrameRange& range) {
  const Request& r = resolved.request;
  if (!r.outpaint) return read_input_frames(files, r.input_video_path, resolved, range);
  const int64_t step = resolved.frame_step;
  return frames_for_pass(read_fitted_inside(files, r.input_video_path, resolved, {range.first * step, (range.count - 1) * step + 1}).frames, resolved);
}

FittedVideo read_kept_pixels(MediaFiles& files, const ResolvedRequest& resolved, const FrameRange& range) {
  const Request& r = resolved.request;
  if (r.outpaint) return read_fitted_inside(files, r.input_video_path, resolved, range);
  return {read_original_frames(files, r.input_video_path, resolved, range), read_mask(files, r.mask_path, resolved, range)};
}

}  // namespace ltxv
