// Waves and features for what every processor has.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/waves.h"

#define PHYSIOCLR_WAVES_ISA base
#include "cpu/waves_body.h"

namespace physioclr::cpu {
const WavesKernels kWavesBase{delineate, measure, measure_waves};
}  // namespace physioclr::cpu
