#pragma once
// Memory of some megabytes that is about to be written for the first time: huge pages cost a tenth of the page faults.
#include <cstdint>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace physioclr {

// A hint; errors do not matter.
inline void advise_huge(void* p, int64_t bytes) {
#if defined(__linux__)
  constexpr intptr_t kHuge = 2 << 20;
  const intptr_t first = (reinterpret_cast<intptr_t>(p) + kHuge - 1) / kHuge * kHuge;
  const intptr_t last = (reinterpret_cast<intptr_t>(p) + bytes) / kHuge * kHuge;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

}  // namespace physioclr
