#pragma once
// The running block of host_sim: who is in it, and the meetings of its threads. A meeting orders memory only where the
// device says so (__syncthreads, __syncwarp); those of shuffles and votes are relaxed atomics and raw futexes, which
// ThreadSanitizer does not take for synchronisation, so a shuffle that stands in for a __syncwarp is a race here too.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

namespace hostsim {

constexpr unsigned kWarp = 32;
#ifndef HOSTSIM_PATIENCE  // seconds of waiting after which a meeting counts as never complete
#define HOSTSIM_PATIENCE 90
#endif

[[noreturn]] inline void fail(const char* what) {
  std::printf("host_sim: %s\n", what);
  std::fflush(stdout);
  std::_Exit(3);
}

#ifdef HOSTSIM_FIBERS
#define HOSTSIM_OWN  // one host thread: what belongs to a CUDA thread is put back by yield
#else
#define HOSTSIM_OWN thread_local
#endif

struct Meeting {
  uint32_t arrived = 0, phase = 0, mask = 0;
};

#ifdef HOSTSIM_FIBERS
inline bool progress = false;  // whether anything has happened since the threads last took their turns
inline void yield();

struct Events {
  uint32_t word = 0;
  void bump() {
    ++word;
    progress = true;
  }
  bool sleep(uint32_t) {
    yield();
    return true;
  }
};
#else
// Threads asleep in a meeting wake when `events` changes: a meeting is complete, or a thread has left the kernel.
struct Events {
  uint32_t word = 0;
  void bump() {
    __atomic_fetch_add(&word, 1, __ATOMIC_RELAXED);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  }
  // False if a second went by. Counted in sleeps, not by the clock, so that a suspended process is not a deadlock.
  bool sleep(uint32_t seen) {
    const timespec second{1, 0};
    return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, &second, nullptr, 0) == 0 || errno != ETIMEDOUT;
  }
};
#endif

// Waits for the others. members(): how many there are, which sinks when one leaves the kernel.
template <bool kOrders, class Members>
void meet(Meeting& m, Events& events, Members members) {
  constexpr int kAcquire = kOrders ? __ATOMIC_ACQUIRE : __ATOMIC_RELAXED;
  constexpr int kRelease = kOrders ? __ATOMIC_RELEASE : __ATOMIC_RELAXED;
  constexpr int kBoth = kOrders ? __ATOMIC_ACQ_REL : __ATOMIC_RELAXED;
  const uint32_t phase = __atomic_load_n(&m.phase, __ATOMIC_RELAXED);
  __atomic_fetch_add(&m.arrived, 1, kBoth);
#ifdef HOSTSIM_FIBERS
  progress = true;
#endif
  for (int seconds = 0;;) {
    const uint32_t seen = __atomic_load_n(&events.word, __ATOMIC_RELAXED);
    if (__atomic_load_n(&m.phase, kAcquire) != phase) return;
    uint32_t all = members();
    if (__atomic_compare_exchange_n(&m.arrived, &all, 0, false, kBoth, __ATOMIC_RELAXED)) {
      __atomic_store_n(&m.mask, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&m.phase, phase + 1, kRelease);
      return events.bump();
    }
    if (!events.sleep(seen) && ++seconds > HOSTSIM_PATIENCE) fail("deadlock: a barrier that not all threads reach");
  }
}

struct Warp {
  uint32_t alive = 0;  // bit of each lane that has not left the kernel
  Events events;
  Meeting meetings[kWarp];  // by the lowest lane of the mask: disjoint groups of lanes meet on their own
  uint64_t value[kWarp];

  template <bool kOrders>
  void meet(uint32_t mask, unsigned lane) {
    if (!(mask >> lane & 1)) fail("a lane calls a warp function with a mask that does not name it");
    Meeting& m = meetings[__builtin_ctz(mask)];
    uint32_t none = 0;
    if (!__atomic_compare_exchange_n(&m.mask, &none, mask, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) && none != mask)
      fail("lanes of one warp call a warp function with different masks");
    hostsim::meet<kOrders>(m, events,
                           [&] { return __builtin_popcount(mask & __atomic_load_n(&alive, __ATOMIC_RELAXED)); });
  }
};

struct Block {
  uint32_t alive = 0, votes = 0;
  Events events;
  Meeting barrier;
  std::vector<Warp> warps;
  unsigned char* shared = nullptr;  // dynamic shared memory: a heap block of its own, of exactly the size asked for

  void begin(uint32_t threads, size_t shared_bytes) {
    alive = threads;
    warps.assign((threads + kWarp - 1) / kWarp, Warp());
    for (uint32_t t = 0; t < threads; ++t) warps[t / kWarp].alive |= 1u << t % kWarp;
    std::free(shared);
    shared = static_cast<unsigned char*>(std::malloc(shared_bytes + (shared_bytes == 0)));
    std::memset(shared, 0xA5, shared_bytes);
  }
  void sync() {
    meet<true>(barrier, events, [this] { return __atomic_load_n(&alive, __ATOMIC_RELAXED); });
  }
  // As on the device, a thread that has left the kernel no longer counts. What it wrote before, the others see.
  void leave(uint32_t thread) {
    __atomic_fetch_add(&barrier.arrived, 0, __ATOMIC_RELEASE);
    __atomic_fetch_sub(&alive, 1, __ATOMIC_RELAXED);
    Warp& w = warps[thread / kWarp];
    __atomic_fetch_and(&w.alive, ~(1u << thread % kWarp), __ATOMIC_RELAXED);
    events.bump();
    w.events.bump();
  }
};

inline Block block;
inline HOSTSIM_OWN uint32_t thread_in_block;

}  // namespace hostsim
