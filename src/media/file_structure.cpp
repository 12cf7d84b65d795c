#include "media/file_structure.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

extern "C" {
#include <libavutil/crc.h>
}

namespace ltxv::media {
namespace {

constexpr int64_t kMaxCommentBytes = 16 << 20;
constexpr std::array<uint8_t, 8> kPngMagic = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
constexpr char kPngKeyword[] = "Comment";

uint64_t big_endian(const uint8_t* bytes, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | bytes[i];
  return value;
}

[[noreturn]] void cut_short(const InputFile& file) {
  throw IoError(text(file.path(), ": cut short: the file ends after ", file.size(), " bytes, inside its content"));
}

bool is_type(const uint8_t* bytes, const char* type) { return std::memcmp(bytes, type, 4) == 0; }

/// Calls visit(type, data offset, data length) for each chunk; stops when it returns false. Errors: IoError when cut
/// short.
template <class Visit>
void walk_png(const InputFile& file, Visit visit) {
  int64_t at = kPngMagic.size();
  for (;;) {
    if (at + 12 > file.size()) cut_short(file);
    const std::vector<uint8_t> head = file.read(at, 8);
    const auto length = static_cast<int64_t>(big_endian(head.data(), 4));
    if (at + 12 + length > file.size()) cut_short(file);
    if (!visit(head.data() + 4, at + 8, length) || is_type(head.data() + 4, "IEND")) return;
    at += 12 + length;
  }
}

void check_png(const InputFile& file, int64_t max_pixels) {
  walk_png(file, [&](const uint8_t* type, int64_t offset, int64_t length) {
    if (!is_type(type, "IHDR") || length < 8) return true;
    const std::vector<uint8_t> sizes = file.read(offset, 8);
    const auto width = static_cast<int64_t>(big_endian(sizes.data(), 4));
    const auto height = static_cast<int64_t>(big_endian(sizes.data() + 4, 4));
    // Each side below 2^32, so the quotient is safe where the product might not be.
    LTXV_REQUIRE(Unsupported, width == 0 || height <= max_pixels / width, file.path(), ": ", width, " x ", height,
                 " pixels, at most ", max_pixels, " are accepted");
    return true;
  });
}

/// Data sub-blocks of a GIF: a length byte and that many bytes, up to a zero length. Returns the offset after them.
int64_t walk_gif_blocks(const InputFile& file, int64_t at, std::string* collected) {
  for (;;) {
    const int64_t length = file.read(at, 1)[0];
    if (length == 0) return at + 1;
    if (at + 1 + length > file.size()) cut_short(file);
    if (collected != nullptr && static_cast<int64_t>(collected->size()) < kMaxCommentBytes) {
      const std::vector<uint8_t> bytes = file.read(at + 1, length);
      collected->append(bytes.begin(), bytes.end());
    }
    at += 1 + length;
  }
}

int64_t colour_table_bytes(uint8_t flags) { return (flags & 0x80) != 0 ? 3 << ((flags & 7) + 1) : 0; }

/// Follows a GIF to its trailer or the end of the file. Returns the first comment if one is wanted.
std::string walk_gif(const InputFile& file, bool want_comment) {
  int64_t at = 13 + colour_table_bytes(file.read(10, 1)[0]);
  // Some writers leave the trailer out: ending between two blocks is whole.
  while (at < file.size()) {
    const uint8_t kind = file.read(at, 1)[0];
    if (kind == 0x3b) return "";
    if (kind == 0x21) {
      const bool comment = file.read(at + 1, 1)[0] == 0xfe;
      std::string collected;
      at = walk_gif_blocks(file, at + 2, comment && want_comment ? &collected : nullptr);
      if (comment && want_comment) return collected;
    } else if (kind == 0x2c) {
      at = walk_gif_blocks(file, at + 11 + colour_table_bytes(file.read(at + 9, 1)[0]), nullptr);
    } else {
      return "";  // not a block; the decoder has the last word
    }
  }
  return "";
}

void check_mp4(const InputFile& file) {
  for (int64_t at = 0; at + 8 <= file.size();) {
    std::vector<uint8_t> head = file.read(at, std::min<int64_t>(16, file.size() - at));
    uint64_t size = big_endian(head.data(), 4);
    if (size == 1 && head.size() == 16) size = big_endian(head.data() + 8, 8);
    if (size < 8) return;  // 0: up to the end of the file; else not a box
    if (size > static_cast<uint64_t>(file.size() - at)) {
      // Only for the boxes that carry the film: trailing rubbish after the last box is common and harmless.
      if (is_type(&head[4], "moov") || is_type(&head[4], "mdat") || is_type(&head[4], "moof")) cut_short(file);
      return;
    }
    at += static_cast<int64_t>(size);
  }
}

/// An EBML size; `at` moves past it. Returns all ones of 56 bits for "unknown" (a live recording).
uint64_t ebml_size(const InputFile& file, int64_t& at) {
  const uint8_t first = file.read(at, 1)[0];
  int length = 1;
  while (length <= 8 && (first & (0x80 >> (length - 1))) == 0) ++length;
  if (length > 8) return UINT64_MAX;
  const std::vector<uint8_t> bytes = file.read(at, length);
  at += length;
  const uint64_t mask = (uint64_t{1} << (7 * length)) - 1;
  const uint64_t value = big_endian(bytes.data(), length) & mask;
  return value == mask ? UINT64_MAX : value;
}

void check_matroska(const InputFile& file) {
  int64_t at = 4;
  const uint64_t header = ebml_size(file, at);
  if (header > 4096) return;
  at += static_cast<int64_t>(header);
  if (big_endian(file.read(at, 4).data(), 4) != 0x18538067) return;  // not a Segment
  at += 4;
  const uint64_t segment = ebml_size(file, at);
  if (segment != UINT64_MAX && segment > static_cast<uint64_t>(file.size() - at)) cut_short(file);
}

/// A JPEG is whole when an end marker follows its first scan (a thumbnail's own end marker lies before it).
void check_jpeg(const InputFile& file) {
  int64_t at = 2;
  for (;;) {
    const std::vector<uint8_t> head = file.read(at, 4);
    if (head[0] != 0xff) return;  // not a marker; the decoder has the last word
    if (head[1] == 0xff) {
      ++at;  // fill byte
      continue;
    }
    at += 2 + static_cast<int64_t>(big_endian(&head[2], 2));
    if (head[1] == 0xda) break;
  }
  constexpr int64_t kBlock = 1 << 16;
  for (; at < file.size(); at += kBlock - 1) {  // blocks overlap by one byte, for a marker across the seam
    const std::vector<uint8_t> block = file.read(at, std::min(kBlock, file.size() - at));
    for (size_t i = 0; i + 1 < block.size(); ++i) {
      if (block[i] == 0xff && block[i + 1] == 0xd9) return;
    }
  }
  cut_short(file);
}

void append_big_endian(std::vector<uint8_t>& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

std::vector<uint8_t> magic_of(const InputFile& file) { return file.read(0, std::min<int64_t>(16, file.size())); }

bool starts_with(const std::vector<uint8_t>& magic, const void* bytes, size_t count) {
  return magic.size() >= count && std::memcmp(magic.data(), bytes, count) == 0;
}

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path) {
  // Not blocking: opening a named pipe would wait for a writer for ever.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  LTXV_REQUIRE(IoError, descriptor_ >= 0, path, ": ", system_message(errno));
  struct stat status = {};
  if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) {
    size_ = status.st_size;
    return;
  }
  ::close(descriptor_);
  throw IoError(text(path, ": ", S_ISDIR(status.st_mode) ? "is a folder" : "is not a regular file"));
}

InputFile::~InputFile() { ::close(descriptor_); }

int64_t InputFile::try_read(void* bytes, int64_t count, int64_t offset) const noexcept {
  int64_t total = 0;
  while (total < count) {
    const ssize_t got =
        ::pread(descriptor_, static_cast<char*>(bytes) + total, static_cast<size_t>(count - total), offset + total);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    total += got;
  }
  return total;
}

std::vector<uint8_t> InputFile::read(int64_t offset, int64_t count) const {
  if (offset < 0 || count > size_ - offset) cut_short(*this);
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  const int64_t got = try_read(bytes.data(), count, offset);
  LTXV_REQUIRE(IoError, got >= 0, path_, ": ", system_message(errno));
  if (got < count) cut_short(*this);
  return bytes;
}

void require_complete(const InputFile& file, int64_t max_pixels) {
  LTXV_REQUIRE(IoError, file.size() > 0, file.path(), ": the file is empty");
  const std::vector<uint8_t> magic = magic_of(file);
  if (starts_with(magic, kPngMagic.data(), kPngMagic.size())) return check_png(file, max_pixels);
  if (starts_with(magic, "GIF8", 4)) return void(walk_gif(file, false));
  if (starts_with(magic, "\xff\xd8\xff", 3)) return check_jpeg(file);
  if (starts_with(magic, "\x1a\x45\xdf\xa3", 4)) return check_matroska(file);
  if (magic.size() >= 8 && (is_type(&magic[4], "ftyp") || is_type(&magic[4], "moov") || is_type(&magic[4], "mdat"))) {
    return check_mp4(file);
  }
  if (starts_with(magic, "RIFF", 4) && magic.size() >= 8) {
    const uint64_t size =
        uint64_t{magic[4]} | uint64_t{magic[5]} << 8 | uint64_t{magic[6]} << 16 | uint64_t{magic[7]} << 24;
    if (size + 8 > static_cast<uint64_t>(file.size())) cut_short(file);
  }
}

CommentKind comment_kind(const InputFile& file) {
  const std::vector<uint8_t> magic = magic_of(file);
  if (starts_with(magic, kPngMagic.data(), kPngMagic.size())) return CommentKind::png;
  return starts_with(magic, "GIF8", 4) ? CommentKind::gif : CommentKind::none;
}

std::string read_comment(const InputFile& file) {
  const CommentKind kind = comment_kind(file);
  if (kind == CommentKind::gif) return walk_gif(file, true);
  if (kind == CommentKind::none) return "";
  std::string found;
  walk_png(file, [&](const uint8_t* type, int64_t offset, int64_t length) {
    if (!is_type(type, "iTXt") || length > kMaxCommentBytes) return true;
    const std::vector<uint8_t> data = file.read(offset, length);
    const std::string all(data.begin(), data.end());
    // keyword 0, compressed?, method, language 0, translated keyword 0, text
    if (all.compare(0, sizeof kPngKeyword, kPngKeyword, sizeof kPngKeyword) != 0) return true;
    const size_t language = sizeof kPngKeyword + 2;
    if (all.size() < language || all[language - 2] != 0) return true;
    const size_t translated = all.find('\0', language);
    const size_t end = translated == std::string::npos ? translated : all.find('\0', translated + 1);
    if (end == std::string::npos) return true;
    found = all.substr(end + 1);
    return false;
  });
  return found;
}

void insert_png_text(std::vector<uint8_t>& png, const std::string& keyword, const std::string& text) {
  constexpr ptrdiff_t kAfterHeader = 8 + 25;  // signature, IHDR chunk
  LTXV_ASSERT(png.size() > kAfterHeader, "an encoded PNG of ", png.size(), " bytes");
  std::vector<uint8_t> chunk;
  append_big_endian(chunk, static_cast<uint32_t>(keyword.size() + 5 + text.size()));
  for (const char c : {'i', 'T', 'X', 't'}) chunk.push_back(static_cast<uint8_t>(c));
  chunk.insert(chunk.end(), keyword.begin(), keyword.end());
  chunk.insert(chunk.end(), 5, 0);  // end of keyword, not compressed, method 0, no language, no translated keyword
  chunk.insert(chunk.end(), text.begin(), text.end());
  const AVCRC* table = av_crc_get_table(AV_CRC_32_IEEE_LE);
  append_big_endian(chunk, ~av_crc(table, UINT32_MAX, chunk.data() + 4, chunk.size() - 4));
  png.insert(png.begin() + kAfterHeader, chunk.begin(), chunk.end());
}

void append_gif_comment(OutputFile& gif, const std::string& comment) {
  uint8_t last = 0;
  const bool trailer = gif.size() > 0 && gif.read(&last, 1, gif.size() - 1) == 1 && last == 0x3b;
  LTXV_ASSERT(trailer, "the GIF muxer wrote no trailer");
  std::vector<uint8_t> block = {0x21, 0xfe};
  for (size_t at = 0; at < comment.size(); at += 255) {
    const size_t length = std::min<size_t>(255, comment.size() - at);
    block.push_back(static_cast<uint8_t>(length));
    block.insert(block.end(), comment.begin() + static_cast<ptrdiff_t>(at),
                 comment.begin() + static_cast<ptrdiff_t>(at + length));
  }
  block.insert(block.end(), {0, 0x3b});
  gif.write(block.data(), block.size(), gif.size() - 1);
}

}  // namespace ltxv::media
