#pragma once
// Resizing of 8-bit RGB pictures as Pillow does it, bit for bit up to version 12: what the Python pipelines feed to the model.
#include <cstdint>
#include <vector>

namespace ltxv::media {

enum class Filter { bicubic, lanczos };

/// Columns first, then rows, rounded to 8 bits in between (Pillow 13 turns that round where it is cheaper, and differs by a level or
/// two there); the filter widens when the picture shrinks.
/// Shapes: rgb [height,width,3] u8 -> [new_height,new_width,3].
/// Source: Pillow src/libImaging/Resample.c, ImagingResampleInner for 8 bits a channel.
std::vector<uint8_t> resample(const uint8_t* rgb, int64_t height, int64_t width, int64_t new_height, int64_t new_width, Filter filter);

}  // namespace ltxv::media
