#pragma once
// What a media file says about itself in its outermost layer, read without a decoder: is all of it there, and the
// comment of PNG and GIF files, which FFmpeg's own muxers cannot write. Decoders conceal a cut file with grey or
// repeated pictures; an image that conditions a generation must be whole.
#include <cstdint>
#include <string>
#include <vector>

#include "media/output_file.h"

namespace ltxv::media {

/// A regular file open for reading.
class InputFile {
 public:
  /// Errors: IoError when missing, unreadable, or not a regular file.
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  /// Returns how many bytes were read; fewer than asked only at the end. -1 with errno for callbacks.
  int64_t try_read(void* bytes, int64_t count, int64_t offset) const noexcept;
  /// `count` bytes at `offset`. Errors: IoError when the file ends before that.
  std::vector<uint8_t> read(int64_t offset, int64_t count) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

/// Follows the outermost structure of PNG, JPEG, GIF, MP4/MOV, Matroska/WebM and RIFF (WebP, AVI) to its end; other
/// content passes. Errors: IoError when the file is empty or cut short, Unsupported for a PNG above `max_pixels`.
void require_complete(const InputFile& file, int64_t max_pixels);

enum class CommentKind { none, png, gif };
CommentKind comment_kind(const InputFile& file);
/// The first comment of a PNG (iTXt, keyword "Comment", not compressed) or GIF (comment extension); empty if none.
std::string read_comment(const InputFile& file);

/// Inserts an iTXt chunk after the header of an encoded PNG. `text` is UTF-8.
void insert_png_text(std::vector<uint8_t>& png, const std::string& keyword, const std::string& text);
/// Puts a comment extension before the trailer of a finished GIF. Errors: IoError.
void append_gif_comment(OutputFile& gif, const std::string& comment);

}  // namespace ltxv::media
