#pragma once
// The command line as data.
#include <cstdint>
#include <ltxv/ltxv.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace cli {

/// Wrong usage: one line, and the command whose --help is worth reading. Exit code 2.
struct UsageError : std::runtime_error {
  UsageError(std::string command_, const std::string& message)
      : std::runtime_error(message), command(std::move(command_)) {}
  std::string command;  ///< "generate", or "" for the program itself
};

/// --help or --version: text for stdout, exit code 0.
struct TextRequested {
  std::string text;
};

struct Options {
  std::string command;  ///< generate, embed, encode, upscale, decode, replay, info, doctor, convert
  bool quiet = false, json = false;

  std::string input;  ///< PROMPT, IN, L, or what info is asked about
  std::string output;
  ltxv::engine_options engine;
  ltxv::generate_options generate;  ///< also holds the sizes of encode and the decoder settings of decode
  bool print_request = false;

  std::vector<std::string> inputs;  ///< of doctor and convert
  std::string convert_dtype, convert_names;
  bool kernels = false;             ///< doctor: report on this build instead
  bool headers_only = false;
};

/// Reads the command line. Throws UsageError, TextRequested, and ltxv::error for a --request file that cannot be read.
Options parse_command_line(int argc, const char* const* argv);

/// The options in a --request file as words of a command line. Keys are the long option names, or the names in what
/// --print-request writes. Leaves out what cannot stand beside the options in `words`: --steps there replaces the
/// file's noise levels, --seconds its frame count. Throws UsageError (value of a wrong kind), ltxv::error (file).
std::vector<std::string> read_request_file(const std::string& path, const std::vector<std::string>& words);

enum class AnyVersion { no, yes };
/// The settings stored in a file that this program wrote, likewise. Throws ltxv::error: no settings inside, made by another version
/// (unless any is asked for), or a file they name is missing.
std::vector<std::string> read_settings(const std::string& path, AnyVersion any_version);

}  // namespace cli
