#pragma once
// One picture through a video codec and back.
#include <cstdint>
#include <vector>

namespace ltxv::media {

/// What H.264 leaves of one picture: encoded by libx264 as a single frame at quality `crf` (preset veryfast, 4:2:0, BT.601) and
/// decoded again. Models trained on compressed video take such a picture for a frame and let it move.
/// Shapes: rgb [height,width,3] u8, both even; the result has the same shape.   Units: crf 1 (best) to 51.
/// Errors: Unsupported when this FFmpeg has no libx264 or no H.264 decoder.
/// Source: LTX-Video pipelines/crf_compressor.py, compress. Bytes depend on the version of libx264.
std::vector<uint8_t> recompress(const uint8_t* rgb, int64_t height, int64_t width, int crf);

}  // namespace ltxv::media
