// Finished clips: facts, pictures, tensors, files.
#include "api/handles.h"
#include "api/versioned.h"

namespace ltxv::api {
namespace {

/// RGB24 of frame `index` with the rounding that files get (pipeline/media_io.cpp). Shapes: frames [1,3,T,H,W] -> H*W*3
/// bytes.
void to_rgb24(const at::Tensor& frames, int64_t index, std::vector<uint8_t>& out) {
  const at::Tensor picture =
      ((frames[0].select(1, index).clamp(-1, 1) + 1) * 127.5).round_().permute({1, 2, 0}).to(at::kByte).contiguous();
  const auto* bytes = picture.const_data_ptr<uint8_t>();
  out.assign(bytes, bytes + picture.numel());
}

void check_rate(double rate, const char* name) {
  LTXV_CHECK(rate > 0 && rate <= 1000, name, " is ", rate, ", allowed is more than 0, at most 1000");
}

}  // namespace
}  // namespace ltxv::api

using namespace ltxv::api;

ltxv_status ltxv_read_frames(const char* path, int32_t width_px, int32_t height_px, int32_t frame_count,
                             ltxv_video** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    check_process();
    LTXV_CHECK(width_px >= 0 && height_px >= 0 && (width_px == 0) == (height_px == 0), "width_px ", width_px,
               " and height_px ", height_px, ": give both or neither");
    LTXV_CHECK(frame_count >= 0, "frame_count is ", frame_count, ", allowed is 1 or more, or 0 for all");
    const ltxv::PixelShape fit{frame_count, height_px, width_px};
    double rate = 0;
    at::Tensor frames = ltxv::read_frames(required_path(path, "path"), width_px > 0 ? &fit : nullptr, &rate);
    if (frame_count > 0 && frames.size(2) > frame_count) frames = frames.slice(2, 0, frame_count);
    *out = new ltxv_video{.frames = frames.contiguous(), .frames_per_second = rate, .metadata_json = "{}"};
  });
}

ltxv_status ltxv_video_new(const ltxv_tensors* frames, double frames_per_second, ltxv_video** out,
                           ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    check_process();
    check_rate(frames_per_second, "frames_per_second");
    *out =
        new ltxv_video{.frames = checked_frames(frames), .frames_per_second = frames_per_second, .metadata_json = "{}"};
  });
}

ltxv_status ltxv_video_info(const ltxv_video* video, ltxv_video_properties* out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    const at::Tensor& f = require(video, "video")->frames;
    ltxv_video_properties p{};
    p.frame_count = static_cast<int32_t>(f.size(2));
    p.height_px = static_cast<int32_t>(f.size(3));
    p.width_px = static_cast<int32_t>(f.size(4));
    p.frames_per_second = video->frames_per_second;
    write_versioned(out, p, "out");
  });
}

ltxv_status ltxv_video_next_frame(ltxv_video* video, ltxv_frame* out, ltxv_error* error) noexcept {
  return guarded(error, [&]() -> ltxv_status {
    require(video, "video");
    require(out, "out");
    check_process();
    if (video->next_frame >= video->frames.size(2)) return LTXV_END;
    ltxv_frame frame{};
    frame.index = static_cast<int32_t>(video->next_frame);
    frame.height_px = static_cast<int32_t>(video->frames.size(3));
    frame.width_px = static_cast<int32_t>(video->frames.size(4));
    frame.stride_bytes = int64_t{3} * frame.width_px;
    if (video->frames_per_second > 0) frame.time_seconds = frame.index / video->frames_per_second;
    to_rgb24(video->frames, video->next_frame, video->picture);
    frame.rgb = video->picture.data();
    write_versioned(out, frame, "out");
    ++video->next_frame;
    return LTXV_OK;
  });
}

ltxv_status ltxv_video_rewind(ltxv_video* video, ltxv_error* error) noexcept {
  return guarded(error, [&] { require(video, "video")->next_frame = 0; });
}

ltxv_status ltxv_video_tensors(const ltxv_video* video, ltxv_tensors** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    auto tensors = std::make_unique<ltxv_tensors>();
    tensors->by_name["frames"] = require(video, "video")->frames;
    if (video->latents.defined()) tensors->by_name["latents"] = video->latents.contiguous();
    *out = tensors.release();
  });
}

const char* ltxv_video_metadata(const ltxv_video* video) noexcept {
  return video == nullptr ? nullptr : video->metadata_json.c_str();
}

ltxv_status ltxv_video_write(const ltxv_video* video, const char* path, const ltxv_write_options* options,
                             ltxv_error* error) noexcept {
  return guarded(error, [&] {
    require(video, "video");
    check_process();
    const auto o = read_versioned(options, "write options");
    const double rate = o.frames_per_second == 0 ? video->frames_per_second : o.frames_per_second;
    // Pictures have no rate; a still written as a clip needs one.
    check_rate(rate == 0 ? 1 : rate, "frames_per_second");
    ltxv::write_frames(required_path(path, "path"), video->frames, rate == 0 ? 1 : rate, video->metadata_json,
                       run_hooks(o));
  });
}

void ltxv_video_free(ltxv_video* video) noexcept { delete video; }
