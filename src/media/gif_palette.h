#pragma once
// 255 colours for a whole clip, and pictures in those colours. One palette a clip, not a frame: colours do not flicker,
// and the encoder can leave unchanged pixels out. Entry 255 is the transparent one it needs for that.
#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace ltxv::media {

inline constexpr int kPaletteColours = 255;

/// Counts colours, exactly up to 255 different ones, and always in cells of 4 levels a channel.
class ColourHistogram {
 public:
  ColourHistogram();
  /// Shapes: rgb [count, 3] u8.
  void add(const uint8_t* rgb, int64_t count);

 private:
  friend class GifPalette;
  struct Cell {
    int64_t count = 0;
    std::array<int64_t, 3> sum = {};
  };
  std::vector<Cell> cells_;
  std::unordered_map<uint32_t, uint8_t> exact_;
  bool overflow_ = false;
};

/// Few colours are taken as they are. More are split: the box of cells with the largest squared error is cut at its
/// mean along its widest axis until 255 remain, then the means are moved to their nearest cells a few times (k-means).
class GifPalette {
 public:
  explicit GifPalette(const ColourHistogram& histogram);

  /// 0xAARRGGBB, as FFmpeg's PAL8 wants it.
  const std::array<uint32_t, 256>& argb() const { return argb_; }
  /// One row of a picture. An inexact palette is dithered with an 8 x 8 ordered pattern, which stands still in time and
  /// compresses; its strength is the palette's own mean error.
  void map_row(const uint8_t* rgb, int64_t width, int64_t y, uint8_t* indices);

 private:
  uint8_t nearest(int red, int green, int blue) const;

  std::array<uint32_t, 256> argb_ = {};
  std::array<std::array<int, 3>, kPaletteColours> colours_ = {};
  int colour_count_ = 0;
  std::unordered_map<uint32_t, uint8_t> exact_;
  std::vector<int16_t> nearest_of_cell_;  // -1 = not looked up yet
  double dither_levels_ = 0;
};

}  // namespace ltxv::media
