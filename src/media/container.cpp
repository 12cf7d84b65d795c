#include "media/container.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <system_error>

#include "media/encoders.h"
#include "media/ffmpeg_handles.h"
#include "media/ffmpeg_log.h"
#include "media/output_file.h"

namespace ltxv::media {
namespace {

size_t name_start(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? 0 : slash + 1;
}

/// Finds the next %d, %Nd or %0Nd at or after `from`; returns its end, or npos.
size_t find_pattern(const std::string& path, size_t from, size_t& begin, NumberPattern& pattern) {
  for (begin = path.find('%', from); begin != std::string::npos; begin = path.find('%', begin + 1)) {
    size_t end = begin + 1;
    const bool zero = end < path.size() && path[end] == '0';
    pattern.fill = zero ? '0' : ' ';
    pattern.digits = 0;
    while (end < path.size() && std::isdigit(static_cast<unsigned char>(path[end])) && end - begin <= 3) {
      pattern.digits = pattern.digits * 10 + (path[end++] - '0');
    }
    if (end < path.size() && path[end] == 'd' && pattern.digits <= 20) return end + 1;
  }
  return std::string::npos;
}

std::string version_text(unsigned version) {
  return text(AV_VERSION_MAJOR(version), ".", AV_VERSION_MINOR(version), ".", AV_VERSION_MICRO(version));
}

}  // namespace

std::string NumberPattern::path(int64_t number) const {
  std::string figures = std::to_string(number);
  const auto wanted = static_cast<size_t>(digits);
  if (figures.size() < wanted) figures.insert(0, wanted - figures.size(), fill);
  return prefix + figures + suffix;
}

std::optional<NumberPattern> number_pattern(const std::string& path) {
  NumberPattern pattern;
  size_t begin = 0;
  const size_t end = find_pattern(path, name_start(path), begin, pattern);
  if (end == std::string::npos) return std::nullopt;
  pattern.prefix = path.substr(0, begin);
  pattern.suffix = path.substr(end);
  NumberPattern second;
  LTXV_CHECK(find_pattern(path, end, begin, second) == std::string::npos, path,
             ": two number patterns in one file name, one is allowed");
  return pattern;
}

Container container_of(const std::string& path) {
  const size_t start = name_start(path);
  const size_t dot = path.rfind('.');
  // A name that is nothing but an extension (".mp4") has no extension, as the shell sees it.
  std::string extension = dot == std::string::npos || dot <= start ? "" : path.substr(dot);
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (extension == ".mp4") return Container::mp4;
  if (extension == ".mkv") return Container::mkv;
  if (extension == ".webm") return Container::webm;
  if (extension == ".gif") return Container::gif;
  if (extension == ".png") return number_pattern(path) ? Container::png_sequence : Container::png_sheet;
  throw InvalidArgument(text(path, ": ", extension.empty() ? "no extension" : "unknown extension " + extension,
                             "; allowed are .mp4 .mkv .webm .gif .png, and a .png with %04d for a frame sequence"));
}

const char* container_name(Container container) {
  switch (container) {
    case Container::mp4:
      return "mp4";
    case Container::mkv:
      return "mkv";
    case Container::webm:
      return "webm";
    case Container::gif:
      return "gif";
    case Container::png_sequence:
      return "png sequence";
    case Container::png_sheet:
      return "png";
  }
  return "";
}

void check_output_folder(const std::string& path) {
  LTXV_CHECK(path.find('\0') == std::string::npos, "output path holds a zero byte");
  LTXV_CHECK(name_start(path) < path.size(),
             path.empty() ? "output path is empty" : path + ": names a folder, not a file");
  const std::string folder = folder_of(path);
  struct stat status = {};
  if (::stat(folder.c_str(), &status) != 0) throw IoError(text(path, ": folder ", folder, ": ", system_message(errno)));
  LTXV_REQUIRE(IoError, S_ISDIR(status.st_mode), path, ": ", folder, " is not a folder");
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    throw IoError(text(path, ": folder ", folder, " is not writable: ", system_message(errno)));
  }
  if (::stat(path.c_str(), &status) == 0) {
    LTXV_REQUIRE(IoError, !S_ISDIR(status.st_mode), path, ": is a folder, a file name is needed");
    // Replacing /dev/null with a video would be a lasting surprise to a whole machine.
    LTXV_REQUIRE(IoError, S_ISREG(status.st_mode), path, ": exists and is not a regular file");
  } else if (errno != ENOENT) {
    throw IoError(text(path, ": ", system_message(errno)));
  }
}

void check_output(const std::string& path) {
  const QuietScope quiet;
  const Container container = container_of(path);
  check_output_folder(path);
  choose_encoder(container, Fidelity::lossy, "");
}

std::string describe() {
  const QuietScope quiet;
  std::string out = text("FFmpeg: avcodec ", version_text(avcodec_version()), ", avformat ",
                         version_text(avformat_version()), ", avutil ", version_text(avutil_version()), ", swscale ",
                         version_text(swscale_version()), ", ", avcodec_license(), "\n");
  constexpr std::array kContainers = {Container::mp4, Container::mkv, Container::webm, Container::gif,
                                      Container::png_sheet};
  for (const Container container : kContainers) {
    out += text(container_name(container), ": ");
    try {
      out += choose_encoder(container, Fidelity::lossy, "");
    } catch (const Unsupported& error) {
      out += text("none (", error.what(), ")");
    }
    out += "\n";
  }
  return out;
}

}  // namespace ltxv::media
