#pragma once
// Ctrl-C and SIGTERM cancel the run; a second one ends the program at once.
#include <ltxv/ltxv.hpp>

namespace cli {

/// The library never prints, exits or installs handlers: what a program owes its shell is done here.
/// Closed standard descriptors become /dev/null, so that no output file can take their place; SIGPIPE is ignored.
void prepare_process();

/// `token` is tripped by the first SIGINT or SIGTERM and must outlive the process's work.
void install_signal_handlers(const ltxv::cancel_token& token);

bool interrupted();

/// Waits until `descriptor` has something to read or has ended; false once a signal came, also one that came just before.
bool wait_for_input(int descriptor);

}  // namespace cli
