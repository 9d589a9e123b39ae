#include "cpu/wfdb_units.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/macros.h"

namespace physioclr::cpu {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kFarthest = 1 << 20;  // baseline: a sample less it is exact in a float
constexpr double kSteepest = 1e30;     // scale: a float

inline float in_double(int32_t x, double baseline, double scale) { return static_cast<float>((x - baseline) * scale); }

struct Split {
  int32_t baseline;
  float hi, lo;
  Split(double b, double scale)
      : baseline(static_cast<int32_t>(b)), hi(static_cast<float>(scale)), lo(static_cast<float>(scale - hi)) {}
};
inline float in_floats(int32_t x, const Split& s) {
  const float d = static_cast<float>(x - s.baseline);
  return std::fma(d, s.hi, d * s.lo);
}

inline bool is_missing(int16_t x) { return x == kWfdbMissing; }
inline bool is_missing(uint8_t x) { return x == 0; }
inline int32_t value_of(int16_t x) { return x; }
inline int32_t value_of(uint8_t x) { return x - kWfdb80Zero; }

template <class T>
inline void double_loop(const T* x, int64_t n, double baseline, double scale, float* mv) {
  for (int64_t i = 0; i < n; ++i) mv[i] = is_missing(x[i]) ? kNan : in_double(value_of(x[i]), baseline, scale);
}
template <class T>
inline void float_loop(const T* x, int64_t n, double baseline, double scale, float* mv) {
  const Split s(baseline, scale);
  for (int64_t i = 0; i < n; ++i) mv[i] = is_missing(x[i]) ? kNan : in_floats(value_of(x[i]), s);
}
PHYSIOCLR_SIMD void by_doubles(const int16_t* x, int64_t n, double b, double s, float* mv) {
  double_loop(x, n, b, s, mv);
}
PHYSIOCLR_SIMD void by_doubles(const uint8_t* x, int64_t n, double b, double s, float* mv) {
  double_loop(x, n, b, s, mv);
}
PHYSIOCLR_SIMD void by_floats(const int16_t* x, int64_t n, double b, double s, float* mv) {
  float_loop(x, n, b, s, mv);
}
PHYSIOCLR_SIMD void by_floats(const uint8_t* x, int64_t n, double b, double s, float* mv) {
  float_loop(x, n, b, s, mv);
}

// Whether both give the same bits for every sample value.
PHYSIOCLR_SIMD bool equal_for_all(double baseline, double scale, int32_t highest) {
  const Split s(baseline, scale);
  uint32_t differ = 0;
  for (int32_t x = -highest; x <= highest; ++x) {
    const float a = in_double(x, baseline, scale), b = in_floats(x, s);
    uint32_t bits_a, bits_b;
    std::memcpy(&bits_a, &a, 4), std::memcpy(&bits_b, &b, 4);
    differ |= bits_a ^ bits_b;
  }
  return differ == 0;
}

// Without an instruction for it, std::fma is right but takes as long as twenty doubles.
bool has_fma() {
#if defined(__FMA__) || defined(__aarch64__)
  return true;
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(PHYSIOCLR_NO_CLONES)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

// Counts in 16 bits, as wide as the samples, so that vectors hold as many; hence no more than 32767 samples at a time.
PHYSIOCLR_SIMD void scan_run(const int16_t* x, int64_t n, int16_t zero, WfdbRow& row) {
  uint16_t above = 65535;  // the smallest sample above -32767; a missing one wraps round to 65535
  int16_t high = kWfdbMissing, missing = 0, zeros = 0;
  for (int64_t i = 0; i < n; ++i) {
    above = std::min(above, static_cast<uint16_t>(x[i] + 32767));
    high = std::max(high, x[i]);
    missing = static_cast<int16_t>(missing + (x[i] == kWfdbMissing));
    zeros = static_cast<int16_t>(zeros + (x[i] == zero));
  }
  row.low = std::min<int64_t>(row.low, static_cast<int64_t>(above) - 32767);
  row.high = std::max<int64_t>(row.high, high);
  row.missing += missing;
  row.zeros += zeros;
}

}  // namespace

WfdbUnits::WfdbUnits(double baseline, double scale, int highest, int64_t n) : baseline_(baseline), scale_(scale) {
  static const bool fma = has_fma();
  const bool exact = std::fabs(baseline) <= kFarthest && baseline == std::trunc(baseline);
  const bool enough = n >= 8LL * highest;  // four times the values to try
  if (fma && exact && enough && std::fabs(scale) <= kSteepest) in_floats_ = equal_for_all(baseline, scale, highest);
}

void WfdbUnits::convert(const int16_t* x, int64_t n, float* mv) const {
  in_floats_ ? by_floats(x, n, baseline_, scale_, mv) : by_doubles(x, n, baseline_, scale_, mv);
}
void WfdbUnits::convert(const uint8_t* x, int64_t n, float* mv) const {
  in_floats_ ? by_floats(x, n, baseline_, scale_, mv) : by_doubles(x, n, baseline_, scale_, mv);
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
      scan_run(x + i, std::min<int64_t>(n - i, 32767), static_cast<int16_t>(fits ? zero[r] : 0), out[r]);
    if (!fits) out[r].zeros = 0;
  }
}

}  // namespace physioclr::cpu
