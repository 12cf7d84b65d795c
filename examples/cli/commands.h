#pragma once
#include "options.h"
#include "report.h"

namespace cli {

/// Runs the command. Throws ltxv::error, UsageError (an option the model cannot satisfy, found before any heavy work).
void run_command(Options& options, Reporter& reporter, const ltxv::cancel_token& cancel);

/// `info`: readable text, or JSON.
void run_info(const Options& options, Reporter& reporter);

/// `doctor`: the report on stdout. Throws ltxv::error (LTXV_BAD_WEIGHTS) behind it when there are problems.
void run_doctor(const Options& options, Reporter& reporter, const ltxv::cancel_token& cancel);

/// 1234567 -> "1.23 M", the way sizes of models are spoken of.
std::string short_count(double value, const char* unit);

/// JSON as indented "key: value" lines.
std::string readable(const std::string& json_text);

}  // namespace cli
