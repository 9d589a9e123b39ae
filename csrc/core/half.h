#pragma once
// The two 16-bit floating point types as stored, for kernels that compute in float32. Rounding is to nearest, ties to
// even, as torch does.
#include <cstdint>
#include <cstring>

namespace physioclr {

struct BFloat16 {
  uint16_t bits;
  BFloat16() = default;
  explicit BFloat16(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    bits = x != x ? 0x7fc0 : static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
  explicit operator float() const {
    const uint32_t u = static_cast<uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &u, 4);
    return x;
  }
};

struct Float16 {
  uint16_t bits;
  Float16() = default;
  explicit Float16(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    const uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a >= 0x47800000) {  // 65536 and more, infinity, NaN
      bits = static_cast<uint16_t>(sign | (a > 0x7f800000 ? 0x7e00 : 0x7c00));
    } else if (a < 0x38800000) {  // below 2^-14: adding 0.5 leaves the multiple of 2^-24, rounded, in the low bits
      float y;
      std::memcpy(&y, &a, 4);
      y += 0.5f;
      uint32_t v;
      std::memcpy(&v, &y, 4);
      bits = static_cast<uint16_t>(sign | (v - 0x3f000000));
    } else {  // rebias the exponent, drop 13 bits; a carry out of 65519.99 becomes infinity by itself
      bits = static_cast<uint16_t>(sign | ((a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13));
    }
  }
  explicit operator float() const {
    const uint32_t exponent = bits >> 10 & 31, fraction = bits & 0x3ff, sign = static_cast<uint32_t>(bits & 0x8000) << 16;
    float x;
    if (exponent == 0) {
      x = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
      return sign ? -x : x;
    }
    const uint32_t u = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
    std::memcpy(&x, &u, 4);
    return x;
  }
};

}  // namespace physioclr
