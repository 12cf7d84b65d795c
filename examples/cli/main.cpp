// ltxv - text to video on the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 cancelled.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "commands.h"
#include "signals.h"

namespace {

enum ExitCode { kDone = 0, kFailed = 1, kWrongUsage = 2, kCancelled = 130 };

int run(int argc, char** argv) {
  // Wanted before the options are known, so that errors in them are reported alike.
  bool json = false, quiet = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    json = json || word == "--json";
    quiet = quiet || word == "--quiet" || word == "-q";
  }
  using cli::Reporter;
  Reporter reporter(json ? Reporter::Output::json : Reporter::Output::text,
                    quiet ? Reporter::Notes::quiet : Reporter::Notes::shown);
  try {
    cli::Options options = cli::parse_command_line(argc, argv);
    static const ltxv::cancel_token cancel;  // lives to the end: a signal may come at any time
    cli::install_signal_handlers(cancel);
    cli::run_command(options, reporter, cancel);
    cli::flush_stdout();
    return kDone;
  } catch (const cli::TextRequested& request) {
    std::fputs(request.text.c_str(), stdout);
    cli::flush_stdout();
    return kDone;
  } catch (const cli::UsageError& e) {
    const std::string help = e.command.empty() ? "ltxv --help" : "ltxv " + e.command + " --help";
    reporter.error("usage", std::string(e.what()) + " (see '" + help + "')");
    return kWrongUsage;
  } catch (const ltxv::error& e) {
    if (e.code() == LTXV_CANCELLED || cli::interrupted()) {
      reporter.error("cancelled", "cancelled, nothing written");
      return kCancelled;
    }
    reporter.error(cli::status_name(e.code()), e.what());
    return kFailed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  cli::prepare_process();
  int code = kFailed;
  try {
    code = run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ltxv: %s\n", e.what());
  }
  // Everything of ours is freed and written; the static destructors of the libraries below would take another 0.1 s.
  std::fflush(nullptr);
  std::_Exit(code);
}
