// The front end of detect_rpeaks: each instruction set has the tile of the envelope that fits its registers, and fused
// multiply-add where the processor has it (where not, it is done in double: slower, the same bits). Elements are worked
// on in the same order and with the same roundings whatever the width, so that every processor gets the same numbers.
#include "cpu/rpeaks_front.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/rpeaks_grid.h"
#include "core/rpeaks_math.h"
#include "core/rpeaks_place.h"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace physioclr::cpu {
using namespace rpeaks;
using rpeaks::WorkPlan;  // not that of augment

namespace {
#if defined(__AVX512F__)
constexpr int kBytes = 32, kTileVectors = 4;  // 32 registers; wider vectors would straddle cache lines more often
#elif defined(__AVX2__)
constexpr int kBytes = 32, kTileVectors = 2;
#else
constexpr int kBytes = 16, kTileVectors = 4;
#endif
// The parts build on each other in this order.
#include "cpu/rpeaks_front_vectors.h"
#include "cpu/rpeaks_front_means.h"
#include "cpu/rpeaks_front_anchor.h"
#include "cpu/rpeaks_front_envelopes.h"
#include "cpu/rpeaks_front_weights.h"
}  // namespace

const RpeaksFront PHYSIOCLR_ISA::rpeaks_front = {anchor_float, anchor_int16, means_float, means_int16,
                                                 envelopes,    weights,      fuse,        levels};

}  // namespace physioclr::cpu
