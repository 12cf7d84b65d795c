#include "media/gif_palette.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace ltxv::media {
namespace {

constexpr size_t kCells = size_t{1} << 18;  // 6 bits a channel
constexpr int kRefinements = 3;
// A palette of few, far apart colours would ask for a pattern coarser than the picture.
constexpr double kMaxDitherLevels = 24;

size_t cell_of(int red, int green, int blue) {
  return static_cast<size_t>(red >> 2) << 12 | static_cast<size_t>(green >> 2) << 6 | static_cast<size_t>(blue >> 2);
}

uint32_t packed(const uint8_t* rgb) { return uint32_t{rgb[0]} << 16 | uint32_t{rgb[1]} << 8 | rgb[2]; }

struct Point {
  std::array<double, 3> colour;
  double weight;
};

/// points [begin, end) and what splitting them along `axis` at `cut` is worth.
struct Box {
  size_t begin, end;
  int axis = 0;
  double cut = 0, error = 0;
};

std::array<double, 3> mean_of(const std::vector<Point>& points, const Box& box) {
  std::array<double, 3> sum = {};
  double weight = 0;
  for (size_t i = box.begin; i < box.end; ++i) {
    for (int c = 0; c < 3; ++c) sum[c] += points[i].weight * points[i].colour[c];
    weight += points[i].weight;
  }
  for (double& value : sum) value /= weight;
  return sum;
}

Box measured(const std::vector<Point>& points, size_t begin, size_t end) {
  Box box{begin, end};
  const std::array<double, 3> mean = mean_of(points, box);
  std::array<double, 3> error = {};
  for (size_t i = begin; i < end; ++i) {
    for (int c = 0; c < 3; ++c) {
      const double distance = points[i].colour[c] - mean[c];
      error[c] += points[i].weight * distance * distance;
    }
  }
  box.axis = static_cast<int>(std::max_element(error.begin(), error.end()) - error.begin());
  box.cut = mean[box.axis];
  box.error = error[0] + error[1] + error[2];
  return box;
}

std::vector<std::array<double, 3>> split(std::vector<Point>& points) {
  std::vector<Box> boxes = {measured(points, 0, points.size())};
  while (boxes.size() < kPaletteColours) {
    const auto worst =
        std::max_element(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.error < b.error; });
    const Box box = *worst;
    if (box.error <= 0) break;
    const auto middle = std::stable_partition(points.begin() + static_cast<ptrdiff_t>(box.begin),
                                              points.begin() + static_cast<ptrdiff_t>(box.end),
                                              [&](const Point& point) { return point.colour[box.axis] < box.cut; });
    const auto at = static_cast<size_t>(middle - points.begin());
    if (at == box.begin || at == box.end) {
      worst->error = 0;  // rounding put all points on one side: nothing left to cut
      continue;
    }
    *worst = measured(points, box.begin, at);
    boxes.push_back(measured(points, at, box.end));
  }
  std::vector<std::array<double, 3>> means;
  for (const Box& box : boxes) means.push_back(mean_of(points, box));
  return means;
}

double squared_distance(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  const double red = a[0] - b[0], green = a[1] - b[1], blue = a[2] - b[2];
  return red * red + green * green + blue * blue;
}

/// One step of k-means. Returns the mean squared error, all channels together, before the step.
double refine(const std::vector<Point>& points, std::vector<std::array<double, 3>>& means) {
  std::vector<Point> sums(means.size(), Point{{}, 0});
  double error = 0, weight = 0;
  for (const Point& point : points) {
    size_t best = 0;
    double best_distance = squared_distance(point.colour, means[0]);
    for (size_t i = 1; i < means.size(); ++i) {
      const double distance = squared_distance(point.colour, means[i]);
      if (distance < best_distance) best = i, best_distance = distance;
    }
    for (int c = 0; c < 3; ++c) sums[best].colour[c] += point.weight * point.colour[c];
    sums[best].weight += point.weight;
    error += point.weight * best_distance;
    weight += point.weight;
  }
  for (size_t i = 0; i < means.size(); ++i) {
    if (sums[i].weight <= 0) continue;
    for (int c = 0; c < 3; ++c) means[i][c] = sums[i].colour[c] / sums[i].weight;
  }
  return error / weight;
}

/// -0.5 … 0.5, the classic recursive pattern: the bits of x ^ y and y, interleaved and reversed.
double bayer(int64_t x, int64_t y) {
  int value = 0;
  for (int bit = 0; bit < 3; ++bit) {
    value = value << 2 | static_cast<int>(((x ^ y) >> bit & 1) << 1 | (y >> bit & 1));
  }
  return (value + 0.5) / 64 - 0.5;
}

}  // namespace

ColourHistogram::ColourHistogram() : cells_(kCells) {}

void ColourHistogram::add(const uint8_t* rgb, int64_t count) {
  for (const uint8_t* end = rgb + count * 3; rgb != end; rgb += 3) {
    Cell& cell = cells_[cell_of(rgb[0], rgb[1], rgb[2])];
    ++cell.count;
    for (int c = 0; c < 3; ++c) cell.sum[c] += rgb[c];
    if (overflow_) continue;
    if (exact_.size() < kPaletteColours) {
      exact_.try_emplace(packed(rgb), static_cast<uint8_t>(exact_.size()));
    } else {
      overflow_ = !exact_.contains(packed(rgb));
    }
  }
}

GifPalette::GifPalette(const ColourHistogram& histogram) : nearest_of_cell_(kCells, -1) {
  if (!histogram.overflow_) {
    exact_ = histogram.exact_;
    colour_count_ = static_cast<int>(exact_.size());
    for (const auto& [colour, index] : exact_) {
      colours_[index] = {static_cast<int>(colour >> 16), static_cast<int>(colour >> 8 & 255),
                         static_cast<int>(colour & 255)};
    }
  } else {
    std::vector<Point> points;
    for (const ColourHistogram::Cell& cell : histogram.cells_) {
      if (cell.count == 0) continue;
      const auto weight = static_cast<double>(cell.count);
      points.push_back({{static_cast<double>(cell.sum[0]) / weight, static_cast<double>(cell.sum[1]) / weight,
                         static_cast<double>(cell.sum[2]) / weight},
                        weight});
    }
    std::vector<std::array<double, 3>> means = split(points);
    double error = 0;
    for (int i = 0; i < kRefinements; ++i) error = refine(points, means);
    // An error spread evenly over a step s has variance s^2 / 12 a channel.
    dither_levels_ = std::min(kMaxDitherLevels, std::sqrt(error / 3 * 12));
    colour_count_ = static_cast<int>(means.size());
    for (int i = 0; i < colour_count_; ++i) {
      for (int c = 0; c < 3; ++c) colours_[i][c] = static_cast<int>(std::lround(means[i][c]));
    }
  }
  for (int i = 0; i < colour_count_; ++i) {
    argb_[i] = 0xff000000U | static_cast<uint32_t>(colours_[i][0]) << 16 | static_cast<uint32_t>(colours_[i][1]) << 8 |
               static_cast<uint32_t>(colours_[i][2]);
  }
  // Unused entries must be opaque: the encoder takes the most transparent one.
  for (int i = colour_count_; i < kPaletteColours; ++i) argb_[i] = 0xff000000U;
}

uint8_t GifPalette::nearest(int red, int green, int blue) const {
  int best = 0, best_distance = INT32_MAX;
  for (int i = 0; i < colour_count_; ++i) {
    const int dr = red - colours_[i][0], dg = green - colours_[i][1], db = blue - colours_[i][2];
    const int distance = dr * dr + dg * dg + db * db;
    if (distance < best_distance) best = i, best_distance = distance;
  }
  return static_cast<uint8_t>(best);
}

void GifPalette::map_row(const uint8_t* rgb, int64_t width, int64_t y, uint8_t* indices) {
  for (int64_t x = 0; x < width; ++x, rgb += 3) {
    if (!exact_.empty()) {
      // A colour that came after the palette was fixed is not in the table.
      const auto found = exact_.find(packed(rgb));
      indices[x] = found != exact_.end() ? found->second : nearest(rgb[0], rgb[1], rgb[2]);
      continue;
    }
    const int shift = static_cast<int>(std::lround(dither_levels_ * bayer(x & 7, y & 7)));
    std::array<int, 3> colour;
    for (int c = 0; c < 3; ++c) colour[c] = std::clamp(rgb[c] + shift, 0, 255);
    int16_t& index = nearest_of_cell_[cell_of(colour[0], colour[1], colour[2])];
    if (index < 0) index = nearest((colour[0] & ~3) | 2, (colour[1] & ~3) | 2, (colour[2] & ~3) | 2);
    indices[x] = static_cast<uint8_t>(index);
  }
}

}  // namespace ltxv::media
