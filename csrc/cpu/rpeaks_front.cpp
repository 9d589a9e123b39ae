// The front end of detect_rpeaks for each instruction set. Unlike PHYSIOCLR_SIMD, which compiles one function for all
// of them, this gives each the tile of the envelope that fits its registers, and fused multiply-add where the processor
// has it (where not, it is done in double: slower, the same bits).
#include "cpu/rpeaks_front.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/rpeaks_math.h"
#include "core/rpeaks_place.h"

#define INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(PHYSIOCLR_NO_CLONES)
#define PHYSIOCLR_FRONT_X86 1
#include <immintrin.h>
#elif defined(__SSE2__)
#include <immintrin.h>
#endif

namespace physioclr::cpu {
using namespace rpeaks;
using rpeaks::WorkPlan;  // not that of augment

namespace {
namespace base {
#define PHYSIOCLR_ISA 0
constexpr int kBytes = 16, kTileVectors = 4;
#include "cpu/rpeaks_front_body.h"
#undef PHYSIOCLR_ISA
}  // namespace base
}  // namespace

#if PHYSIOCLR_FRONT_X86
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace {
namespace v3 {
#define PHYSIOCLR_ISA 3
constexpr int kBytes = 32, kTileVectors = 2;
#include "cpu/rpeaks_front_body.h"
#undef PHYSIOCLR_ISA
}  // namespace v3
}  // namespace
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace {
namespace v4 {
#define PHYSIOCLR_ISA 4
constexpr int kBytes = 32, kTileVectors = 4;  // 32 registers; wider vectors would straddle cache lines more often
#include "cpu/rpeaks_front_body.h"
#undef PHYSIOCLR_ISA
}  // namespace v4
}  // namespace
#pragma GCC pop_options

namespace {
const RpeaksFront& chosen() {
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512cd");
  if (v4) return v4::kFront;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return v3::kFront;
  return base::kFront;
}
}  // namespace
#else
namespace {
const RpeaksFront& chosen() { return base::kFront; }
}  // namespace
#endif

const RpeaksFront& rpeaks_front() {
  static const RpeaksFront& front = chosen();
  return front;
}

}  // namespace physioclr::cpu
