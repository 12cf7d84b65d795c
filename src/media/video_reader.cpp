#include "media/video_reader.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "media/container.h"
#include "media/ffmpeg_log.h"
#include "media/file_frames.h"
#include "media/file_structure.h"
#include "media/pixels.h"

namespace ltxv::media {
namespace {

/// The numbers for which files of the pattern exist, in order.
std::vector<int64_t> sequence_numbers(const std::string& path, const NumberPattern& pattern) {
  namespace fs = std::filesystem;
  std::vector<int64_t> numbers;
  std::error_code failed;
  const std::string folder = folder_of(path);
  const std::string prefix = pattern.prefix.substr(pattern.prefix.rfind('/') + 1);
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    if (name.size() <= prefix.size() + pattern.suffix.size() || !name.starts_with(prefix) ||
        !name.ends_with(pattern.suffix)) {
      continue;
    }
    const std::string figures = name.substr(prefix.size(), name.size() - prefix.size() - pattern.suffix.size());
    const int64_t number = std::strtoll(figures.c_str(), nullptr, 10);
    // Spelled back, to accept exactly what the writer would have written.
    if (number >= 0 && pattern.path(number) == pattern.prefix + figures + pattern.suffix) numbers.push_back(number);
  }
  LTXV_REQUIRE(IoError, !failed, path, ": folder ", folder, ": ", system_message(failed.value()));
  LTXV_REQUIRE(IoError, !numbers.empty(), path, ": no file of this pattern");
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// A file whose own name holds a '%d' is that file, not a pattern.
std::optional<NumberPattern> pattern_to_read(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? std::nullopt : number_pattern(path);
}

}  // namespace

class ClipReader::Impl {
 public:
  Impl(const std::string& path, const ReadLimits& limits) : path_(path), limits_(limits), pattern_(pattern_to_read(path)) {
    LTXV_CHECK(limits.max_pixels_per_frame > 0, path, ": limits of reading out of range");
    if (pattern_) numbers_ = sequence_numbers(path, *pattern_);
  }

  /// Decodes until frame `end` (0: the end of the file) is the next one; of the frames before `first` only the last is kept.
  void advance(int64_t first, int64_t end) {
    if (first < clip_.first_frame) restart();
    drop_before(first, clip_.frames - 1);  // the last one may be the last of all
    try {
      while (!ended_ && (end == 0 || position() < end)) {
        const AVFrame* frame = next_frame();
        if (frame != nullptr) append(*frame, file_->matrix(), first);
      }
    } catch (...) {
      restart();  // the next call finds the same error, not what lies behind it
      throw;
    }
  }

  int64_t position() const { return clip_.first_frame + clip_.frames; }
  /// Frames of the file, once its end has been seen.
  std::optional<int64_t> total() const { return total_; }
  Clip& held() { return clip_; }

 private:
  /// Null at the end of a file, which may be that of a sequence's picture.
  const AVFrame* next_frame() {
    if (!file_) {
      const auto number = static_cast<int64_t>(opened_++);
      if (pattern_) {
        const int64_t wanted = numbers_[0] + number;
        LTXV_REQUIRE(IoError, numbers_[number] == wanted, pattern_->path(wanted), ": missing, the sequence goes on to ",
                     pattern_->path(numbers_.back()));
      }
      file_ = std::make_unique<FileFrames>(pattern_ ? pattern_->path(numbers_[number]) : path_, limits_);
      clip_.frames_per_second = pattern_ ? 0 : file_->rate();
    }
    const AVFrame* frame = file_->next(position());
    if (frame != nullptr) return frame;
    file_.reset();
    ended_ = opened_ >= (pattern_ ? numbers_.size() : 1);
    if (ended_) total_ = position();
    return nullptr;
  }

  void append(const AVFrame& frame, const int32_t* matrix, int64_t first) {
    const std::string& path = file_->path();
    int64_t width = frame.width, height = frame.height;
    if (swaps_axes(matrix)) std::swap(width, height);
    if (position() == 0) clip_.width = width, clip_.height = height;
    LTXV_REQUIRE(Unsupported, width == clip_.width && height == clip_.height, path, ": frame ", position(), " is ", width, " x ",
                 height, ", the ones before are ", clip_.width, " x ", clip_.height);
    LTXV_REQUIRE(Unsupported, height <= limits_.max_pixels_per_frame / width, path, ": ", width, " x ", height, " pixels, at most ",
                 limits_.max_pixels_per_frame, " are accepted");
    LTXV_REQUIRE(Unsupported, position() < limits_.max_frames, path, ": more than ", limits_.max_frames, " frames");
    drop_before(first, clip_.frames);
    const int64_t bytes = (clip_.frames + 1) * width * height * 3;
    LTXV_REQUIRE(Unsupported, bytes <= limits_.max_bytes, path, ": more than ", limits_.max_bytes, " bytes of frames");
    reader_.append(frame, matrix, clip_.rgb);
    ++clip_.frames;
  }

  /// Lets go of at most `most` of the frames before `first`.
  void drop_before(int64_t first, int64_t most) {
    const int64_t count = std::min(first - clip_.first_frame, most);
    if (count <= 0) return;
    clip_.rgb.erase(clip_.rgb.begin(), clip_.rgb.begin() + count * clip_.height * clip_.width * 3);
    clip_.first_frame += count;
    clip_.frames -= count;
  }

  void restart() {
    file_.reset();
    clip_ = Clip{};
    opened_ = 0;
    ended_ = false;
  }

  std::string path_;
  ReadLimits limits_;
  std::optional<NumberPattern> pattern_;
  std::vector<int64_t> numbers_;  ///< of a sequence
  size_t opened_ = 0;             ///< files of it
  bool ended_ = false;
  std::optional<int64_t> total_;
  std::unique_ptr<FileFrames> file_;
  FrameReader reader_;
  Clip clip_;
};

ClipReader::ClipReader(const std::string& path, const ReadLimits& limits) : impl_(std::make_unique<Impl>(path, limits)) {}
ClipReader::~ClipReader() = default;

Clip ClipReader::read(int64_t first, int64_t count) {
  LTXV_ASSERT(first >= 0 && count >= 0, "frames ", first, " + ", count);
  const QuietScope quiet;
  impl_->advance(first, count == 0 ? 0 : first + count);
  const Clip& held = impl_->held();
  Clip part{.frames = count == 0 ? held.frames : std::min(count, held.frames),
            .height = held.height,
            .width = held.width,
            .first_frame = held.first_frame,
            .frames_per_second = held.frames_per_second,
            .rgb = {}};
  part.rgb.assign(held.rgb.begin(), held.rgb.begin() + part.frames * part.height * part.width * 3);
  return part;
}

int64_t ClipReader::count_frames() {
  const QuietScope quiet;
  if (!impl_->total()) impl_->advance(impl_->position(), 0);
  return *impl_->total();
}

Clip read_clip(const std::string& path, const ReadLimits& limits) {
  const QuietScope quiet;
  LTXV_CHECK(limits.stop_after_frames >= 0 && limits.first_frame >= 0, path, ": limits of reading out of range");
  ClipReader::Impl reader(path, limits);
  reader.advance(limits.first_frame, limits.stop_after_frames == 0 ? 0 : limits.first_frame + limits.stop_after_frames);
  return std::move(reader.held());
}

std::string read_metadata(const std::string& path) {
  const QuietScope quiet;
  const std::optional<NumberPattern> pattern = pattern_to_read(path);
  const InputFile file(pattern ? pattern->path(sequence_numbers(path, *pattern).front()) : path);
  require_complete(file, ReadLimits{}.max_pixels_per_frame);
  std::string found;
  if (comment_kind(file) != CommentKind::none) {
    found = read_comment(file);
  } else {
    found = container_comment(file);
  }
  // Cameras and editors leave comments too; ours is an object.
  return found.starts_with('{') ? found : "";
}

}  // namespace ltxv::media
