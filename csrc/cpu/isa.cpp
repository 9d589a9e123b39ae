#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>

#include "ops.h"
#if defined(PHYSIOCLR_ISA_X86)
#include <cpuid.h>
#endif

namespace physioclr::isa {
namespace {

#if defined(PHYSIOCLR_ISA_X86)
// All that x86-64-v3 and x86-64-v4 promise, for the compiler uses it. __builtin_cpu_supports asks too whether the
// system keeps the registers; what older compilers have no name for is read from the processor.
bool has_avx2() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_MOVBE) || !(c & bit_F16C)) return false;
  if (!__get_cpuid(0x80000001u, &a, &b, &c, &d) || !(c & bit_LZCNT)) return false;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
Set detect() {
  __builtin_cpu_init();
  return has_avx512() ? Set::kAvx512 : has_avx2() ? Set::kAvx2 : Set::kBase;
}
#else
Set detect() { return Set::kBase; }
#endif

// What is not a name is for the package to complain of (physioclr/_isa.py).
Set limited_by_environment() {
  const char* const wanted = std::getenv("PHYSIOCLR_ISA");
  for (int k = 0; wanted && k <= static_cast<int>(Set::kAvx512); ++k)
    if (std::strcmp(wanted, kNames[k]) == 0 && static_cast<Set>(k) < highest()) return static_cast<Set>(k);
  return highest();
}

}  // namespace

Set highest() noexcept {
  static const Set found = detect();
  return found;
}

std::atomic<Set> in_use{limited_by_environment()};

Set limit(Set to) noexcept {
  in_use.store(to < highest() ? to : highest(), std::memory_order_relaxed);
  return current();
}

}  // namespace physioclr::isa

// Calls whose whole file is hot.
#if defined(PHYSIOCLR_ISA_X86)
#define PHYSIOCLR_RUN_IN_SET(...)                       \
  namespace base {                                      \
  bool run(const __VA_ARGS__& call);                    \
  }                                                     \
  namespace avx2 {                                      \
  bool run(const __VA_ARGS__& call);                    \
  }                                                     \
  namespace avx512 {                                    \
  bool run(const __VA_ARGS__& call);                    \
  }                                                     \
  bool run(const __VA_ARGS__& call) {                   \
    switch (isa::current()) {                           \
      case isa::Set::kAvx512: return avx512::run(call); \
      case isa::Set::kAvx2: return avx2::run(call);     \
      case isa::Set::kBase: break;                      \
    }                                                   \
    return base::run(call);                             \
  }
#else
#define PHYSIOCLR_RUN_IN_SET(...)    \
  namespace base {                   \
  bool run(const __VA_ARGS__& call); \
  }                                  \
  bool run(const __VA_ARGS__& call) { return base::run(call); }
#endif

namespace physioclr::cpu {
PHYSIOCLR_RUN_IN_SET(RpeaksCall<float>)
PHYSIOCLR_RUN_IN_SET(RpeaksCall<int16_t>)
PHYSIOCLR_RUN_IN_SET(AugmentCall)
PHYSIOCLR_RUN_IN_SET(AugmentBwdCall)
PHYSIOCLR_RUN_IN_SET(BatchNormReluCall)
PHYSIOCLR_RUN_IN_SET(BatchNormReluBwdCall)
PHYSIOCLR_RUN_IN_SET(DecimateCall<float>)
PHYSIOCLR_RUN_IN_SET(DecimateCall<double>)
PHYSIOCLR_RUN_IN_SET(HalveCall)
PHYSIOCLR_RUN_IN_SET(HalveBwdCall)
PHYSIOCLR_RUN_IN_SET(ZeroPhaseCall<float>)
PHYSIOCLR_RUN_IN_SET(ZeroPhaseCall<double>)
}  // namespace physioclr::cpu
