#pragma once
// What the media tests share: a folder of their own, frames of known colours, and files made by hand or by FFmpeg
// directly.
#include <dirent.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "media/container.h"
#include "media/video_reader.h"
#include "media/video_writer.h"

namespace ltxv::media {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ltxv-media-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  /// All names, hidden ones included, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  }

 private:
  std::string path_;
};

using Names = std::vector<std::string>;
using Bytes = std::vector<uint8_t>;
using Colour = std::array<uint8_t, 3>;

inline Bytes read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

inline void write_bytes(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline void write_text(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

/// Corners and middles of the RGB cube, then greys: 17 different colours.
inline Colour test_colour(int64_t frame) {
  static constexpr std::array<Colour, 17> kColours = {{{255, 0, 0},
                                                       {0, 255, 0},
                                                       {0, 0, 255},
                                                       {255, 255, 0},
                                                       {0, 255, 255},
                                                       {255, 0, 255},
                                                       {0, 0, 0},
                                                       {255, 255, 255},
                                                       {128, 64, 32},
                                                       {32, 128, 64},
                                                       {64, 32, 128},
                                                       {200, 100, 50},
                                                       {50, 200, 100},
                                                       {16, 16, 16},
                                                       {90, 90, 90},
                                                       {180, 180, 180},
                                                       {235, 235, 235}}};
  return kColours[static_cast<size_t>(frame % 17)];
}

inline Bytes flat_frame(int64_t width, int64_t height, Colour colour) {
  Bytes out;
  for (int64_t i = 0; i < width * height; ++i) out.insert(out.end(), colour.begin(), colour.end());
  return out;
}

/// Every pixel differs from its neighbours: nothing compresses, and a swapped axis or channel shows.
inline Bytes noise_frame(int64_t width, int64_t height, uint32_t seed) {
  Bytes out(static_cast<size_t>(width * height * 3));
  uint32_t state = seed * 2654435761U + 1;
  for (uint8_t& value : out) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<uint8_t>(state >> 24);
  }
  return out;
}

/// Red grows with x, green with y, blue with the frame: smooth, and of far more than 255 colours.
inline Bytes gradient_frame(int64_t width, int64_t height, int64_t frame) {
  Bytes out;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      out.push_back(static_cast<uint8_t>(x * 255 / std::max<int64_t>(1, width - 1)));
      out.push_back(static_cast<uint8_t>(y * 255 / std::max<int64_t>(1, height - 1)));
      out.push_back(static_cast<uint8_t>(frame * 15));
    }
  }
  return out;
}

inline std::string write_clip(const std::string& path, int64_t width, int64_t height, const std::vector<Bytes>& frames,
                              const WriteOptions& options = {}) {
  const auto writer = VideoWriter::open(path, width, height, options);
  for (const Bytes& frame : frames) writer->write(frame.data(), width * 3);
  writer->finish();
  return writer->encoder_name();
}

inline std::vector<Bytes> flat_frames(int64_t width, int64_t height, int64_t count) {
  std::vector<Bytes> frames;
  for (int64_t i = 0; i < count; ++i) frames.push_back(flat_frame(width, height, test_colour(i)));
  return frames;
}

inline Bytes joined(const std::vector<Bytes>& frames) {
  Bytes out;
  for (const Bytes& frame : frames) out.insert(out.end(), frame.begin(), frame.end());
  return out;
}

/// Decibels; infinite for equal data.
inline double psnr(const Bytes& a, const Bytes& b) {
  EXPECT_EQ(a.size(), b.size());
  double error = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
  return 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.size()) / error);
}

/// The message of the `Kind` that `step` throws; a failure of the test when it throws something else or nothing.
template <class Kind, class Step>
std::string message_of(Step step) {
  try {
    step();
  } catch (const Kind& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << "one line is wanted: " << message;
    return message;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another kind of error: " << error.what();
    return "";
  }
  ADD_FAILURE() << "no error";
  return "";
}

inline bool contains(const std::string& whole, const std::string& part) {
  return whole.find(part) != std::string::npos;
}

}  // namespace ltxv::media
