#include "signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "../large_blocks.h"

namespace cli {
namespace {

std::atomic<ltxv_cancel*> g_cancel{nullptr};
volatile sig_atomic_t g_signals = 0;

// Only async-signal-safe calls: an atomic store inside ltxv_cancel_trip, and _exit.
void on_signal(int) {
  const int saved = errno;
  g_signals = g_signals + 1;
  if (g_signals > 1) _exit(130);
  ltxv_cancel_trip(g_cancel.load());
  errno = saved;
}

}  // namespace

void prepare_process() {
  for (int fd = 0; fd <= 2; ++fd) {
    // open() takes the lowest free number, which is fd. Read-only, so that printing to a closed stdout is still an
    // error.
    if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDONLY) == -1) _exit(1);
  }
  signal(SIGPIPE, SIG_IGN);
  keep_large_blocks();
}

void install_signal_handlers(const ltxv::cancel_token& token) {
  g_cancel.store(token.get());
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: reading a prompt from a terminal must end
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return g_signals != 0; }

bool wait_for_input(int descriptor) {
  // A signal between looking and waiting would be lost: both are held back, and only ppoll lets them in.
  sigset_t held, before;
  sigemptyset(&held);
  sigaddset(&held, SIGINT);
  sigaddset(&held, SIGTERM);
  sigprocmask(SIG_BLOCK, &held, &before);
  pollfd input{descriptor, POLLIN, 0};
  if (!interrupted()) ppoll(&input, 1, nullptr, &before);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return !interrupted();
}

}  // namespace cli
