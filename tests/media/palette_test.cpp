#include <gtest/gtest.h>

#include <set>

#include "media/gif_palette.h"
#include "media/media_support.h"

namespace ltxv::media {
namespace {

TEST(GifPalette, FewColoursAreKeptAsTheyAre) {
  Bytes rgb;
  for (int i = 0; i < kPaletteColours; ++i) rgb.insert(rgb.end(), {uint8_t(i), uint8_t(255 - i), uint8_t(i / 2)});
  ColourHistogram histogram;
  histogram.add(rgb.data(), kPaletteColours);
  GifPalette palette(histogram);
  Bytes indices(kPaletteColours);
  palette.map_row(rgb.data(), kPaletteColours, 3, indices.data());
  for (int i = 0; i < kPaletteColours; ++i) {
    EXPECT_EQ(palette.argb()[indices[i]], 0xff000000U | uint32_t(i) << 16 | uint32_t(255 - i) << 8 | uint32_t(i / 2));
  }
  EXPECT_EQ(std::set<uint8_t>(indices.begin(), indices.end()).size(), size_t{kPaletteColours});
}

TEST(GifPalette, OnlyTheLastEntryIsTransparentAndNoPixelUsesIt) {
  const Bytes rgb = noise_frame(64, 64, 1);
  ColourHistogram histogram;
  histogram.add(rgb.data(), 64 * 64);
  GifPalette palette(histogram);
  for (int i = 0; i < kPaletteColours; ++i) EXPECT_EQ(palette.argb()[i] >> 24, 255U);
  EXPECT_EQ(palette.argb()[255] >> 24, 0U);
  Bytes indices(64 * 64);
  for (int y = 0; y < 64; ++y) palette.map_row(rgb.data() + y * 64 * 3, 64, y, indices.data() + y * 64);
  for (const uint8_t index : indices) EXPECT_NE(index, 255);
}

TEST(GifPalette, DitheringKeepsTheMeanOfAFlatArea) {
  // 4096 greys-and-tints make the palette inexact; a flat 8 x 8 area then averages to its colour within half a cell (2
  // levels) and the palette's step, 255 / 255^(1/3) = 40 levels a channel for an even spread, damped by the mean over
  // 64 thresholds.
  Bytes rgb;
  for (int r = 0; r < 16; ++r) {
    for (int g = 0; g < 16; ++g) {
      for (int b = 0; b < 16; ++b) rgb.insert(rgb.end(), {uint8_t(r * 17), uint8_t(g * 17), uint8_t(b * 17)});
    }
  }
  ColourHistogram histogram;
  histogram.add(rgb.data(), 4096);
  GifPalette palette(histogram);
  const Bytes flat = flat_frame(8, 8, {120, 120, 120});
  std::array<double, 3> mean = {};
  std::set<uint8_t> used;
  for (int y = 0; y < 8; ++y) {
    std::array<uint8_t, 8> indices;
    palette.map_row(flat.data(), 8, y, indices.data());
    for (const uint8_t index : indices) {
      used.insert(index);
      for (int c = 0; c < 3; ++c) mean[c] += (palette.argb()[index] >> (16 - 8 * c) & 255) / 64.0;
    }
  }
  EXPECT_GT(used.size(), 1U);
  for (int c = 0; c < 3; ++c) EXPECT_NEAR(mean[c], 120, 20) << c;
}

TEST(GifPalette, ColoursThatComeAfterTheChoiceGetTheirNearest) {
  const Bytes two = {0, 0, 0, 255, 255, 255};
  ColourHistogram histogram;
  histogram.add(two.data(), 2);
  GifPalette palette(histogram);
  const Bytes late = {10, 20, 30, 250, 240, 230};
  std::array<uint8_t, 2> indices;
  palette.map_row(late.data(), 2, 0, indices.data());
  EXPECT_EQ(palette.argb()[indices[0]], 0xff000000U);
  EXPECT_EQ(palette.argb()[indices[1]], 0xffffffffU);
}

}  // namespace
}  // namespace ltxv::media
