#pragma once
// Normal deviates by the inverse distribution function, the same bits on every processor: only + - * / and sqrt, each
// rounded as IEEE 754 says, and no logf, which differs between libm and the device library. Sources that include this
// are compiled with -ffp-contract=off (CPU) and --fmad=false (CUDA).
//
// Two branches, both rational functions fitted here by weighted least squares with Lawson's reweighting:
//   |q| <= 0.485, q = p - 1/2:  z = q P(r) / Q(r), r = 1/4 - q^2           relative error 2.5e-7 before rounding
//   the tails (3 % of draws):   z = P(s) / Q(s), s = sqrt(-2 log p)        relative error 5.6e-9 before rounding
// The bulk has no branch, so a loop over it vectorises; the tails are patched afterwards.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/macros.h"
#include "core/philox.h"

namespace physioclr {

constexpr uint32_t kBulkLow = 125829;               // of 2^23: draws below this, or not below its mirror, are tails
constexpr uint32_t kBulkHigh = 8388608 - kBulkLow;  // 1 - 0.0150000

PHYSIOCLR_HD bool is_tail(uint32_t word) { return (word >> 9) - kBulkLow >= kBulkHigh - kBulkLow; }

PHYSIOCLR_HD float exact_sqrt(float v) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(v);
#else
  return std::sqrt(v);
#endif
}

PHYSIOCLR_HD float normal_bulk(uint32_t word) {
  // As a signed integer first: 2^23 values, all exact in float.
  const float q = (static_cast<float>(static_cast<int32_t>(word >> 9) - 4194304) + 0.5f) * (1.0f / 8388608.0f);
  const float r = 0.25f - q * q;  // p (1 - p): in this variable every coefficient is positive, so nothing cancels
  const float n = 6.36930704f + r * (1384.75781f + r * (39450.5547f + r * (185171.766f + r * 78745.9609f)));
  const float d = 1.0f + r * (292.190399f + r * (11313.1133f + r * (81930.4297f + r * 87041.0703f)));
  return q * n / d;
}

// log of a normal float by its exponent and the series of artanh; v > 0.
PHYSIOCLR_HD float exact_log(float v) {
  uint32_t bits;
  memcpy(&bits, &v, sizeof bits);
  int e = static_cast<int>(bits >> 23) - 127;
  bits = (bits & 0x007fffffu) | 0x3f800000u;
  float m;
  memcpy(&m, &bits, sizeof m);
  if (m > 1.41421356f) {
    m *= 0.5f;
    ++e;
  }
  const float s = (m - 1.0f) / (m + 1.0f), z = s * s;
  const float series = 1.0f + z * (0.333333333f + z * (0.2f + z * (0.142857143f + z * 0.111111111f)));
  return 2.0f * s * series + static_cast<float>(e) * 0.693147181f;
}

PHYSIOCLR_HD float normal_tail(uint32_t word) {
  const bool upper = (word >> 9) >= 4194304;
  const float p = unit_float(upper ? ~word : word);  // the mirror image: ~word >> 9 = 2^23 - 1 - (word >> 9)
  const float s = exact_sqrt(-2.0f * exact_log(p));
  const float z = (-2.60125884f + s * (-0.481148191f + s * (1.79992916f + s * 0.415050614f))) /
                  (1.0f + s * (1.82858456f + s * 0.414516146f));
  return upper ? z : -z;
}

PHYSIOCLR_HD float normal_of(uint32_t word) { return is_tail(word) ? normal_tail(word) : normal_bulk(word); }

}  // namespace physioclr
