#include "cpu/wfdb_units.h"

#include <algorithm>
#include <cmath>

#include "cpu/wfdb_samples.h"

namespace physioclr::cpu {
namespace {

constexpr double kFarthest = 1 << 20;  // baseline: a sample less it is exact in a float
constexpr double kSteepest = 1e30;     // scale: a float

}  // namespace

WfdbUnits::WfdbUnits(double baseline, double scale, int highest, int64_t n) : baseline_(baseline), scale_(scale) {
  const WfdbKernels& kernels = wfdb_kernels();
  const bool exact = std::fabs(baseline) <= kFarthest && baseline == std::trunc(baseline);
  const bool enough = n >= 8LL * highest;  // four times the values to try
  if (kernels.fma && exact && enough && std::fabs(scale) <= kSteepest)
    in_floats_ = kernels.equal_for_all(baseline, scale, highest);
}

void WfdbUnits::convert(const int16_t* x, int64_t n, float* mv) const {
  const WfdbKernels& of = wfdb_kernels();
  (in_floats_ ? of.words_by_floats : of.words_by_doubles)(x, n, baseline_, scale_, mv);
}
void WfdbUnits::convert(const uint8_t* x, int64_t n, float* mv) const {
  const WfdbKernels& of = wfdb_kernels();
  (in_floats_ ? of.bytes_by_floats : of.bytes_by_doubles)(x, n, baseline_, scale_, mv);
}

void wfdb_millivolts(const int16_t* x, int64_t rows, int64_t n, const double* baseline, const double* scale,
                     float* mv) {
  for (int64_t r = 0, end = 0; r < rows; r = end) {
    for (end = r + 1; end < rows && baseline[end] == baseline[r] && scale[end] == scale[r];) ++end;
    WfdbUnits(baseline[r], scale[r], 32767, (end - r) * n).convert(x + r * n, (end - r) * n, mv + r * n);
  }
}

void wfdb_scan(const int16_t* x, int64_t rows, int64_t n, const int64_t* zero, WfdbRow* out) {
  for (int64_t r = 0; r < rows; ++r, x += n) {
    out[r] = {32767, kWfdbMissing, 0, 0};
    const bool fits = zero[r] > kWfdbMissing && zero[r] <= 32767;
    for (int64_t i = 0; i < n; i += 32767)
      wfdb_kernels().scan(x + i, std::min<int64_t>(n - i, 32767), static_cast<int16_t>(fits ? zero[r] : 0), out[r]);
    if (!fits) out[r].zeros = 0;
  }
}

}  // namespace physioclr::cpu
