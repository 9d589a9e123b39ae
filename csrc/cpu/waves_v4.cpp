// Waves and features for x86-64-v4: AVX-512.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/waves.h"

#if PHYSIOCLR_WAVES_X86
#pragma GCC target("arch=x86-64-v4")
#define PHYSIOCLR_WAVES_ISA v4
#include "cpu/waves_body.h"

namespace physioclr::cpu {
const WavesKernels kWavesV4{delineate, measure, measure_waves};
}  // namespace physioclr::cpu
#endif
