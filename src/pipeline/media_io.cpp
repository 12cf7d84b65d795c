#include "pipeline/media_io.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "media/container.h"
#include "media/video_reader.h"
#include "media/video_writer.h"
#include "pipeline/engine.h"
#include "pipeline/image_prep.h"
#include "pipeline/media_frames.h"
#include "pipeline/tensor_files.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

// Frames of a file at the padded size, by the request's rule. Tensor files hold frames that are prepared already.
at::Tensor read_prepared(MediaFiles& files, const std::string& path, MediaUse use, const ResolvedRequest& resolved, const FrameRange& range) {
  const ImagePrep prep = resolved.request.image_prep;
  if (prep == ImagePrep::plain || is_tensor_file(path))
    return pad_to_computed(fitted(files[path].frames(range), resolved.asked), resolved);
  const auto clip = files[path].clip(range);
  if (prep == ImagePrep::official) return prepare_official(clip, use, resolved);
  return pad_to_computed(prepare_diffusers(clip, resolved), resolved);
}

// The same at the size of this pass. Of a run with two passes the frames of a tensor file are a reference's own: not cropped.
// `range` counts the frames of the file.
at::Tensor read_for_pass(MediaFiles& files, const std::string& path, MediaUse use, const ResolvedRequest& resolved, const FrameRange& range) {
  const PixelShape& size = resolved.computed;
  if (!other_size(resolved)) return read_prepared(files, path, use, resolved, range);
  return resize_plain(is_tensor_file(path) ? files[path].frames(range) : read_prepared(files, path, use, resolved, range), size.height,
                      size.width);
}

}  // namespace

at::Tensor read_condition(MediaFiles& files, const ConditionItem& item, const ResolvedRequest& resolved, const Compression& compression) {
  // A pass at a lower rate sees every second frame, or fewer. What lies behind the end of the video is not read.
  const auto frames = read_for_pass(files, item.path, MediaUse::condition, resolved, {0, resolved.padded.frames}).slice(2, 0, std::nullopt, resolved.frame_step);
  const int64_t index = item.frame_index / resolved.frame_step, room = resolved.computed.frames - index;
  const int64_t usable = (std::min(frames.size(2), room) - 1) / compression.temporal * compression.temporal + 1;
  LTXV_CHECK(usable == 1 || (index % compression.temporal == 0 && item.frame_index % resolved.frame_step == 0), "condition ", item.path,
             ": a clip must start at a multiple of ", compression.temporal * resolved.frame_step, " frames, not at ", item.frame_index);
  return frames.narrow(2, 0, usable).contiguous();
}

namespace {

// Every frame_step'th frame of the file for a part of this pass. The file must reach as far as frames are asked for.
at::Tensor read_part(MediaFiles& files, const std::string& what, const std::string& path, MediaUse use, const ResolvedRequest& resolved, const FrameRange& range) {
  const int64_t step = resolved.frame_step, first = std::min(range.first * step, resolved.asked.frames - 1);
  const auto frames = read_for_pass(files, path, use, resolved, {first, (range.count - 1) * step + 1});
  const int64_t needed = std::min(first + (range.count - 1) * step + 1, resolved.asked.frames) - first;
  LTXV_CHECK(frames.size(2) >= needed, what, path, ": ", first + frames.size(2), " usable frames, this run needs ", resolved.asked.frames);
  return fill_up(frames.slice(2, 0, std::nullopt, step), range.count);
}

}  // namespace

at::Tensor read_control_frames(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range) {
  // A still, whatever part is asked for. Only a part that could be one is looked at, since a clip is not read backwards.
  if (range.first == 0) {
    const auto start = read_for_pass(files, path, MediaUse::condition, resolved, {0, 2});
    if (start.size(2) == 1) return start;
  }
  try {
    return read_part(files, "control ", path, MediaUse::condition, resolved, range);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(text(error.what(), ", or one picture"));
  }
}

at::Tensor read_input_frames(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range) {
  return read_part(files, "", path, MediaUse::input_video, resolved, range);
}

at::Tensor read_original_frames(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range) {
  return fill_up(pad_to_computed(fitted(files[path].frames(range), resolved.asked), resolved), range.count);
}

at::Tensor crop_picture(const at::Tensor& frames, const ResolvedRequest& resolved) {
  return frames.narrow(3, (resolved.padded.height - resolved.asked.height) / 2, resolved.asked.height)
      .narrow(4, (resolved.padded.width - resolved.asked.width) / 2, resolved.asked.width)
      .contiguous();
}

at::Tensor resize_to_padded(const at::Tensor& frames, const ResolvedRequest& resolved) {
  // Clamped before it is resized, as the official code does: an overshoot must not spread.
  return other_size(resolved) ? resize_plain(frames.clamp(-1, 1), resolved.padded.height, resolved.padded.width) : frames;
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

// The same on every machine, since the encoder's bytes follow its thread count.
constexpr int kEncoderThreads = 4;

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
                                                            .frame_count = count,
                                                            .thread_count = kEncoderThreads});
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
