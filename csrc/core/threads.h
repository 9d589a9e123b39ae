#pragma once
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/macros.h"

namespace physioclr {
// Threads for the next parallel loop: pass it as num_threads(threads()) to every `omp parallel`.
// A forked child (a DataLoader worker) has 1 for good, because a team started before the fork does not survive it.
int threads() noexcept;
void set_threads(int n) noexcept;
// Number of the calling thread in its team; 0 in a build without OpenMP (tests/host_sim is one).
PHYSIOCLR_INLINE int thread_number() noexcept {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}
// Runs f() on each of a team of n threads, in which `omp for` shares the work. One thread is no team: to make it and
// end it takes OpenMP half a microsecond, and a loop that it shares dynamically as much again.
template <class F>
PHYSIOCLR_INLINE void on_team(int n, F&& f) {
  if (n <= 1) return f();
#pragma omp parallel num_threads(n)
  f();
}
}  // namespace physioclr
