#pragma once
// The periodogram's loop, for each instruction set.
#include <cstdint>

#include "core/hrv_math.h"
#include "cpu/isa.h"

namespace physioclr::cpu {

struct Turns {  // hot/hrv.cpp
  // The sums of `count` frequencies, one after the other; c and s are left at the next one.
  void (*turn)(const double* y, double* c, double* s, const double* step_c, const double* step_s, int64_t n,
               int64_t count, hrv::Waves* out);
};
PHYSIOCLR_KERNELS(Turns, turns)

}  // namespace physioclr::cpu
