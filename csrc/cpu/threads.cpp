#include "core/threads.h"

#include "core/guard.h"

#include <atomic>
#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace physioclr {
namespace {

std::atomic<bool> forked{false};

int initial() noexcept {
#if defined(__unix__) || defined(__APPLE__)
  // libgomp keeps its team of threads after a region; the child of a fork has none of them and would wait for ever.
  // One thread means that no team is asked for, so it is safe whichever OpenMP runtimes the process holds.
  pthread_atfork(nullptr, nullptr, [] {
    forked.store(true, std::memory_order_relaxed);
    set_threads(1);
  });
#endif
#if defined(_OPENMP)
  return omp_get_max_threads();  // OMP_NUM_THREADS, or the cores this process may use
#else
  return 1;
#endif
}

std::atomic<int>& count() noexcept {
  static std::atomic<int> n{initial()};
  return n;
}

}  // namespace

Guard::Guard() noexcept = default;
Guard::~Guard() = default;
void Guard::keep() noexcept {
  if (!failed_.exchange(true)) error_ = std::current_exception();
}
void Guard::raise() const {
  if (error_) std::rethrow_exception(error_);
}

int threads() noexcept { return count().load(std::memory_order_relaxed); }
void set_threads(int n) noexcept {
  count().store(n < 1 || forked.load(std::memory_order_relaxed) ? 1 : n, std::memory_order_relaxed);
}

}  // namespace physioclr
