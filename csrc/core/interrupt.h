#pragma once
// Ctrl-C during a long kernel. The thread that called from the interpreter asks it from time to time whether a signal
// has come; once it has, every thread of the call skips what is left, and the caller discards the results.
//
//   const Interrupt stop;                  // in the function that the binding calls
//   #pragma omp ... for
//   for (each tile) { if (stop()) continue; ... }
#include <atomic>
#include <chrono>

#include "core/macros.h"

namespace physioclr {

// Set by the binding around a call, for its thread: whether the interpreter has a signal to raise. Null: nobody to ask.
struct InterruptPoll {
  bool (*ask)();
  std::atomic<bool> stopped{false};
};
inline thread_local InterruptPoll* interrupt_poll = nullptr;

class Interrupt {
 public:
  PHYSIOCLR_INLINE Interrupt() : poll_(interrupt_poll), next_(Clock::now() + kEvery) {}
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Whether to give up. Cheap enough for every tile of some microseconds.
  PHYSIOCLR_INLINE bool operator()() const {
    if (!poll_) return false;
    if (poll_->stopped.load(std::memory_order_relaxed)) return true;
    if (interrupt_poll != poll_) return false;  // a helper thread: only the caller's asks
    const Clock::time_point now = Clock::now();
    if (now < next_) return false;
    next_ = now + kEvery;
    if (poll_->ask()) poll_->stopped.store(true, std::memory_order_relaxed);
    return poll_->stopped.load(std::memory_order_relaxed);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kEvery{50};
  InterruptPoll* const poll_;
  mutable Clock::time_point next_;  // of the caller's thread alone
};

}  // namespace physioclr
