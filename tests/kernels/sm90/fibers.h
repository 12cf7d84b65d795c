#pragma once
// Many threads of a GPU block on one thread of the host, switched only where they say so, in an order drawn from a
// seed: the same seed gives the same run, another seed another interleaving.
#include <ucontext.h>

#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace ltxv::test {

/// Fibers that wait for something; notify() lets them look again.
struct Condition {
  std::vector<int> waiting;
};

/// How the next step is drawn. `uniform`: any fiber, any event. `priorities`: an order drawn once, so that some warps
/// or the asynchronous work lag behind as far as the waits allow; now and then a uniform step.
enum class Order { uniform, priorities };

class Fibers {
 public:
  Fibers(uint64_t seed, Order order);
  Fibers(const Fibers&) = delete;

  /// A fiber; fibers of one `team` (a warp) share a priority. Runs at run().
  void add(std::function<void()> body, int team);

  /// Work that goes on by itself: `pending` says how much there is, `step(i)` does the i-th piece. One of them.
  void set_events(std::function<size_t()> pending, std::function<void(size_t)> step);

  /// Runs everything to its end. Throws the first exception of a fiber, or std::runtime_error when nothing can go on.
  void run();

  // Called inside a fiber.
  template <class Ready>
  void wait_for(Condition& condition, const char* what, Ready ready) {
    while (!ready()) {
      condition.waiting.push_back(current_);
      block(what);
    }
  }
  void notify(Condition& condition);
  /// Lets others run with probability `chance`.
  void maybe_pass(double chance);

  std::mt19937_64& random() { return random_; }

 private:
  struct Fiber {
    ucontext_t context;
    std::function<void()> body;
    int team = 0;
    const char* waits_for = nullptr;
    bool done = false;
  };
  void prepare(Fiber& fiber, char* stack);
  void block(const char* what);
  void switch_out();
  size_t pick_fiber();
  void step();
  static void enter(unsigned high, unsigned low);
  void start(int index);

  std::mt19937_64 random_;
  Order order_;
  std::deque<Fiber> fibers_;      // contexts must not move
  std::vector<double> priority_;  // by team; the last one is that of the events
  std::unique_ptr<char[]> stacks_;
  std::vector<int> runnable_;
  std::function<size_t()> pending_;
  std::function<void(size_t)> event_;
  ucontext_t main_;
  int current_ = -1;
  size_t alive_ = 0;
  double event_chance_ = 0.5;
  std::exception_ptr error_;
};

}  // namespace ltxv::test
