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
}  // namespace physioclr
