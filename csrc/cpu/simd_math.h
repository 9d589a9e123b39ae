#pragma once
// Elementary functions that the compiler can vectorise (libm's calls cannot be, without -ffast-math).
#include <cstdint>
#include <cstring>

#include "core/macros.h"

namespace physioclr::cpu {

// exp(x) for x <= 88 (709): x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor polynomial of e^r, whose first dropped term
// is below half an ulp. n comes from adding 1.5 * 2^23 (2^52), which leaves the rounded integer in the low bits. Where
// the result would not be normal it is exactly 0: x is held where 2^n has the bits of 0. NaN stays NaN. One select and
// no more: GCC threads jumps through several, and then no longer vectorises the loop around them.
PHYSIOCLR_INLINE float exp_simd(float x) {
  constexpr float kMagic = 12582912.0f, kLow = -88.0f;
  const float y = x < kLow ? kLow : x;
  const float shifted = y * 1.44269504f + kMagic, n = shifted - kMagic;
  const float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = static_cast<int32_t>((static_cast<uint32_t>(bits) + 127u) << 23);  // 2^n: the constant's bits shift out
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

PHYSIOCLR_INLINE double exp_simd(double x) {
  constexpr double kMagic = 6755399441055744.0, kLow = -709.0;
  const double y = x < kLow ? kLow : x;
  const double shifted = y * 1.4426950408889634 + kMagic, n = shifted - kMagic;
  const double r = (y - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  int64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = static_cast<int64_t>((static_cast<uint64_t>(bits) + 1023u) << 52);
  double scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

}  // namespace physioclr::cpu
