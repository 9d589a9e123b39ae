// Waves and features for x86-64-v3: AVX2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/waves.h"

#if PHYSIOCLR_WAVES_X86
#pragma GCC target("arch=x86-64-v3")
#define PHYSIOCLR_WAVES_ISA v3
#include "cpu/waves_body.h"

namespace physioclr::cpu {
const WavesKernels kWavesV3{delineate, measure, measure_waves};
}  // namespace physioclr::cpu
#endif
