#include "pipeline/media_io.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "media/container.h"
#include "media/video_reader.h"
#include "media/video_writer.h"
#include "pipeline/engine.h"
#include "pipeline/image_prep.h"
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

namespace {

// Frames of a file at the computed size, by the request's rule. Tensor files hold frames that are prepared already.
at::Tensor read_prepared(const std::string& path, MediaUse use, const ResolvedRequest& resolved) {
  const ImagePrep prep = resolved.request.image_prep;
  if (prep == ImagePrep::plain || is_tensor_file(path)) return pad_to_computed(read_frames(path, &resolved.asked, nullptr), resolved);
  const auto clip = media::read_clip(path);
  if (prep == ImagePrep::official) return prepare_official(clip, use, resolved);
  return pad_to_computed(prepare_diffusers(clip, resolved), resolved);
}

// Without the antialiasing of resize(): what the official code does between its media, its passes and the result.
at::Tensor resize_plain(const at::Tensor& frames, int64_t height, int64_t width) {
  if (frames.size(3) == height && frames.size(4) == width) return frames;
  const auto pictures = frames[0].transpose(0, 1).contiguous();
  return at::upsample_bilinear2d(pictures, {height, width}, /*align_corners=*/false).transpose(0, 1).unsqueeze(0).contiguous();
}

// The same at the size of this pass. Of a run with two passes the frames of a tensor file are a reference's own: not cropped.
at::Tensor read_for_pass(const std::string& path, MediaUse use, const ResolvedRequest& resolved) {
  const PixelShape& size = resolved.computed;
  const bool other_size = size.height != resolved.padded.height || size.width != resolved.padded.width;
  if (!other_size) return read_prepared(path, use, resolved);
  return resize_plain(is_tensor_file(path) ? read_frames(path, nullptr, nullptr) : read_prepared(path, use, resolved), size.height,
                      size.width);
}

// Up to `count` frames by repeating the last one.
at::Tensor fill_up(const at::Tensor& frames, int64_t count) {
  const int64_t missing = count - frames.size(2);
  if (missing <= 0) return frames.narrow(2, 0, count).contiguous();
  auto shape = frames.sizes().vec();
  shape[2] = missing;
  return at::cat({frames, frames.narrow(2, frames.size(2) - 1, 1).expand(shape)}, 2);
}

// Grey levels that lossy formats leave of black and white count as such.
constexpr double kMaskSlack = 0.05;

at::Tensor cleaned(const at::Tensor& mask) {
  const auto zero = at::zeros({1}, at::kFloat), one = at::ones({1}, at::kFloat);
  return at::where(mask < kMaskSlack, zero, at::where(mask > 1 - kMaskSlack, one, mask));
}

}  // namespace

at::Tensor read_condition(const ConditionItem& item, const ResolvedRequest& resolved, const Compression& compression) {
  // A pass at a lower rate sees every second frame, or fewer.
  const auto frames = read_for_pass(item.path, MediaUse::condition, resolved).slice(2, 0, std::nullopt, resolved.frame_step);
  const int64_t index = item.frame_index / resolved.frame_step, room = resolved.computed.frames - index;
  const int64_t usable = (std::min(frames.size(2), room) - 1) / compression.temporal * compression.temporal + 1;
  LTXV_CHECK(usable == 1 || (index % compression.temporal == 0 && item.frame_index % resolved.frame_step == 0), "condition ", item.path,
             ": a clip must start at a multiple of ", compression.temporal * resolved.frame_step, " frames, not at ", item.frame_index);
  return frames.narrow(2, 0, usable).contiguous();
}

at::Tensor read_control_frames(const std::string& path, const ResolvedRequest& resolved) {
  const auto frames = read_for_pass(path, MediaUse::condition, resolved);
  if (frames.size(2) == 1) return frames;
  LTXV_CHECK(frames.size(2) >= resolved.asked.frames, "control ", path, ": ", frames.size(2), " usable frames, this run needs ",
             resolved.asked.frames, ", or one picture");
  return fill_up(frames.slice(2, 0, std::nullopt, resolved.frame_step), resolved.computed.frames);
}

at::Tensor read_input_frames(const std::string& path, const ResolvedRequest& resolved) {
  const auto frames = read_for_pass(path, MediaUse::input_video, resolved);
  LTXV_CHECK(frames.size(2) >= resolved.asked.frames, path, ": ", frames.size(2), " usable frames, this run needs ", resolved.asked.frames);
  return fill_up(frames.slice(2, 0, std::nullopt, resolved.frame_step), resolved.computed.frames);
}

at::Tensor read_original_frames(const std::string& path, const ResolvedRequest& resolved) {
  return fill_up(pad_to_computed(read_frames(path, &resolved.asked, nullptr), resolved), resolved.padded.frames);
}

at::Tensor composite(const at::Tensor& frames, const at::Tensor& original, const at::Tensor& mask) {
  const auto mixed = original * (1 - mask) + frames * mask;
  return at::where(mask == 0, original, mixed);  // not even rounded, nor touched by an infinity of the decoder's
}

at::Tensor read_mask(const std::string& path, const ResolvedRequest& resolved) {
  at::Tensor mask;
  if (is_tensor_file(path)) {
    const auto tensors = load_tensors(path);
    if (const auto it = tensors.find("mask"); it != tensors.end()) {
      mask = it->second.to(at::kFloat);
      LTXV_REQUIRE(BadWeights, mask.dim() == 5 && mask.size(0) == 1 && mask.size(1) == 1 && mask.numel() > 0, path,
                   ": tensor \"mask\" is ", mask.sizes(), ", expected [1,1,T,H,W]");
      LTXV_CHECK(mask.min().item<float>() >= 0 && mask.max().item<float>() <= 1, path, ": tensor \"mask\" leaves [0,1]");
    }
  }
  if (!mask.defined()) mask = (read_frames(path, nullptr, nullptr).mean(at::IntArrayRef{1}, /*keepdim=*/true) + 1) / 2;
  const PixelShape& asked = resolved.asked;
  mask = cleaned(resize(crop_to_aspect(mask, asked.height, asked.width), asked.height, asked.width));
  LTXV_CHECK(mask.size(2) == 1 || mask.size(2) >= asked.frames, path, ": the mask has ", mask.size(2), " frames, this run needs 1 or ",
             asked.frames);
  LTXV_CHECK(mask.max().item<float>() > 0, path, ": the mask is black everywhere, so nothing would be generated (white is generated anew)");
  return pad_to_computed(fill_up(mask, resolved.padded.frames), resolved);
}

FittedVideo read_fitted_inside(const std::string& path, const ResolvedRequest& resolved) {
  const PixelShape& asked = resolved.asked;
  auto frames = read_frames(path, nullptr, nullptr);
  const double scale = std::min(static_cast<double>(asked.height) / static_cast<double>(frames.size(3)),
                                static_cast<double>(asked.width) / static_cast<double>(frames.size(4)));
  const auto scaled = [&](int64_t size, int64_t most) {
    return std::clamp<int64_t>(std::llround(static_cast<double>(size) * scale), 1, most);
  };
  frames = resize(frames, scaled(frames.size(3), asked.height), scaled(frames.size(4), asked.width));
  if (frames.size(2) > asked.frames) frames = frames.narrow(2, 0, asked.frames);
  LTXV_CHECK(frames.size(2) < asked.frames || frames.size(3) < asked.height || frames.size(4) < asked.width, path,
             ": the clip fills all of ", asked.width, "x", asked.height, ", ", asked.frames, " frames: nothing is left to outpaint");
  const int64_t top = (resolved.padded.height - frames.size(3)) / 2, left = (resolved.padded.width - frames.size(4)) / 2;
  const std::vector<int64_t> border = {left, resolved.padded.width - frames.size(4) - left, top,
                                       resolved.padded.height - frames.size(3) - top};
  auto mask = at::ones({1, 1, resolved.padded.frames, resolved.padded.height, resolved.padded.width}, at::kFloat);
  mask.narrow(2, 0, frames.size(2)).narrow(3, top, frames.size(3)).narrow(4, left, frames.size(4)).zero_();
  // The border's own pixels are repeated outwards: the encoder then sees no edge that the result would keep a trace of.
  const auto pictures = frames[0].transpose(0, 1).contiguous();  // [T,3,H,W]
  frames = at::replication_pad2d(pictures, border).transpose(0, 1).unsqueeze(0);
  return {fill_up(frames, resolved.padded.frames), mask};
}

at::Tensor crop_picture(const at::Tensor& frames, const ResolvedRequest& resolved) {
  return frames.narrow(3, (resolved.padded.height - resolved.asked.height) / 2, resolved.asked.height)
      .narrow(4, (resolved.padded.width - resolved.asked.width) / 2, resolved.asked.width)
      .contiguous();
}

at::Tensor crop_to_asked(const at::Tensor& computed, const ResolvedRequest& resolved) {
  const PixelShape& padded = resolved.padded;
  const bool other_size = resolved.computed.height != padded.height || resolved.computed.width != padded.width;
  // Clamped before it is resized, as the official code does: an overshoot must not spread.
  const auto frames = other_size ? resize_plain(computed.clamp(-1, 1), padded.height, padded.width) : computed;
  return crop_picture(frames.narrow(2, 0, resolved.asked.frames), resolved);
}

void check_output_path(const std::string& path) {
  LTXV_CHECK(!path.empty(), "the output path is empty");
  if (is_tensor_file(path)) {
    media::check_output_folder(path);
  } else {
    media::check_output(path);
  }
}

namespace {

void write_pictures(media::VideoWriter& writer, const at::Tensor& frames, int64_t first, int64_t count, RunContext& run) {
  for (int64_t t = 0; t < frames.size(2); ++t) {
    run.report(Stage::write, first + t, count);
    // [3,H,W] in [-1,1] -> u8 [H,W,3], rounded
    const auto rgb =
        ((frames[0].select(1, t).clamp(-1, 1) + 1) * 127.5).round_().permute({1, 2, 0}).to(at::kByte).contiguous();
    writer.write(rgb.const_data_ptr<uint8_t>(), frames.size(4) * 3);
  }
}

}  // namespace

GenerateResult generate_to_file(Engine& engine, const Request& request, const std::string& path, const RunHooks& hooks) {
  check_output_path(path);
  if (is_tensor_file(path)) {  // one tensor: there is nothing to stream
    auto result = engine.generate(request, hooks);
    write_frames(path, result.frames, result.resolved.request.frames_per_second, result.metadata_json, hooks);
    result.frames = at::Tensor();
    return result;
  }
  RunContext run(hooks);
  std::unique_ptr<media::VideoWriter> writer;
  int64_t written = 0, count = 0;
  const FrameSink sink{.begin = [&](const ResolvedRequest& resolved, const std::string& metadata_json) {
                         count = resolved.asked.frames;
                         writer = media::VideoWriter::open(path, resolved.asked.width, resolved.asked.height,
                                                           {.frames_per_second = resolved.request.frames_per_second,
                                                            .metadata_json = metadata_json,
                                                            .frame_count = count});
                       },
                       .write = [&](const at::Tensor& frames) {
                         write_pictures(*writer, frames, written, count, run);
                         written += frames.size(2);
                       }};
  auto result = engine.generate(request, hooks, &sink);
  writer->finish();
  run.report(Stage::write, count, count);
  return result;
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
  // The same on every machine, since the encoder's bytes follow its thread count.
  constexpr int kEncoderThreads = 4;
  const auto writer = media::VideoWriter::open(path, width, height,
                                               {.frames_per_second = frames_per_second,
                                                .metadata_json = metadata_json,
                                                .frame_count = count,
                                                .thread_count = kEncoderThreads});
  write_pictures(*writer, frames, 0, count, run);
  writer->finish();
  run.report(Stage::write, count, count);
}

}  // namespace ltxv
