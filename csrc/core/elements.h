#pragma once
// Element types of signals in memory, and their conversion to and from the compute type (float, or double for double).
#include <cstdint>
#include <cstring>

#include "core/macros.h"

namespace physioclr {

// Its name here, the name of the dtype in Python; the numbers count from 0 in this order.
#define PHYSIOCLR_ELEMENTS(X) \
  X(kFloat, float32)          \
  X(kDouble, float64)         \
  X(kHalf, float16)           \
  X(kBFloat, bfloat16)        \
  X(kInt16, int16)

enum class Element : int32_t {
#define PHYSIOCLR_ELEMENT(name, dtype) name,
  PHYSIOCLR_ELEMENTS(PHYSIOCLR_ELEMENT)
#undef PHYSIOCLR_ELEMENT
};

// An array of signals whose element type is known when it runs. V: void or const void.
template <class V>
struct Samples {
  V* data;
  Element type;
};

struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

PHYSIOCLR_HD float float_of_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}
PHYSIOCLR_HD uint32_t bits_of_float(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

PHYSIOCLR_HD float to_compute(float x) { return x; }
PHYSIOCLR_HD double to_compute(double x) { return x; }
// int16 samples: mV of x units; -32768 stands for a missing sample, as in WFDB format 16.
PHYSIOCLR_HD float millivolts(int16_t x, float scale) {
  return x == -32768 ? float_of_bits(0x7fc00000u) : static_cast<float>(x) * scale;
}
PHYSIOCLR_HD float to_compute(BFloat x) { return float_of_bits(static_cast<uint32_t>(x.bits) << 16); }
#if defined(__aarch64__) && defined(__ARM_FP16_FORMAT_IEEE) && !defined(__CUDACC__)
#define PHYSIOCLR_FP16 1  // the processor converts; what it makes of NaN is made the same as below
#endif
PHYSIOCLR_HD float to_compute(Half x) {
#if PHYSIOCLR_FP16
  __fp16 h;
  memcpy(&h, &x.bits, sizeof h);
  const uint32_t given = x.bits, nan = 0x7f800000u | (given & 0x3ffu) << 13 | (given & 0x8000u) << 16;
  return (given & 0x7fffu) > 0x7c00u ? float_of_bits(nan) : static_cast<float>(h);
#else
  // The exponent moves up by 127 - 15 in one product, which also makes denormal halves normal; 31 stands for Inf and
  // NaN.
  const uint32_t magnitude = static_cast<uint32_t>(x.bits & 0x7fff) << 13;
  const float scaled = float_of_bits(magnitude) * 5.192296858534828e33f;  // 2^112
  const uint32_t special = magnitude >= (31u << 23) ? 0x7f800000u : 0u;
  return float_of_bits(bits_of_float(scaled) | special | static_cast<uint32_t>(x.bits & 0x8000) << 16);
#endif
}

// To nearest, ties to even.
PHYSIOCLR_HD void from_compute(float x, float& y) { y = x; }
PHYSIOCLR_HD void from_compute(double x, double& y) { y = x; }
PHYSIOCLR_HD void from_compute(float x, BFloat& y) {
  const uint32_t bits = bits_of_float(x), nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  y.bits = static_cast<uint16_t>(nan ? 0x7fc0u : rounded);
}
PHYSIOCLR_HD void from_compute(float x, Half& y) {
#if PHYSIOCLR_FP16
  const __fp16 h = static_cast<__fp16>(x);
  uint16_t rounded;
  memcpy(&rounded, &h, sizeof rounded);
  y.bits = x == x ? rounded : static_cast<uint16_t>((bits_of_float(x) >> 16 & 0x8000u) | 0x7e00u);
#else
  const uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  // Normal halves: round in the 13 bits that go. Denormal ones: adding 1/2 leaves their bits at the end of the sum.
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  const uint32_t small = bits_of_float(float_of_bits(magnitude) + 0.5f) - bits_of_float(0.5f);
  const uint32_t finite = magnitude < (113u << 23) ? small : normal;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  y.bits = static_cast<uint16_t>(sign | (magnitude >= 0x477ff000u ? special : finite));  // 65520 rounds to infinity
#endif
}

}  // namespace physioclr
