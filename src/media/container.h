#pragma once
// Which kind of file a path asks for, and the checks that can be made before a model is loaded.
#include <cstdint>
#include <optional>
#include <string>

namespace ltxv::media {

enum class Container { mp4, mkv, webm, gif, png_sequence, png_sheet };

/// By extension, upper or lower case. A .png whose file name holds one number pattern (%d, %4d, %04d) is a sequence,
/// any other .png a contact sheet (of one frame: that frame).
/// Errors: InvalidArgument with the extensions that are allowed, or for two patterns in one name.
Container container_of(const std::string& path);

const char* container_name(Container container);

/// Fails early, with the reason, where writing `path` could not work: unknown extension, folder missing or not
/// writable, the path is a folder or a device, no encoder for this container in this FFmpeg.
/// Errors: InvalidArgument, IoError; Unsupported names the encoders that were looked for.
void check_output(const std::string& path);

/// The part of check_output that holds for any extension: the folder is there and writable, the path itself is free or
/// a regular file (which a writer replaces; a symbolic link is replaced, not followed).
/// Errors: InvalidArgument, IoError.
void check_output_folder(const std::string& path);

/// FFmpeg's versions and licence, and the encoder each container would use: a few lines for a bug report.
std::string describe();

/// "name_%04d.png" in parts. The folder is never part of the pattern.
struct NumberPattern {
  std::string prefix;  ///< with the folder
  int digits = 0;      ///< least number of digits
  char fill = '0';     ///< ' ' for %4d
  std::string suffix;

  std::string path(int64_t number) const;
};

/// Empty when the file name holds no pattern. Errors: InvalidArgument for two patterns in one name.
std::optional<NumberPattern> number_pattern(const std::string& path);

}  // namespace ltxv::media
