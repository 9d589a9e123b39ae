#pragma once
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers, as easy as 1, 2, 3; SC 2011): a bijection of a
// 128-bit counter under a 64-bit key. It keeps no state, so any thread draws any number of any record in any order.
#include <cstdint>

#include "core/macros.h"

namespace physioclr {

struct Words {
  uint32_t w[4];
};

constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;  // multipliers
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;  // key increments

PHYSIOCLR_HD Words philox4x32(Words c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * c.w[0], p1 = static_cast<uint64_t>(kPhiloxM1) * c.w[2];
    c = Words{{static_cast<uint32_t>(p1 >> 32) ^ c.w[1] ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ c.w[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return c;
}

// How the library addresses its numbers: key = seed; counter = (block, purpose, sample_lo, sample_hi), where the
// purpose is the augmentation, and for noise its channel too. Two purposes never share a number.
struct Draws {
  uint32_t k0, k1, s0, s1;
  PHYSIOCLR_HD Words block(uint32_t purpose, uint32_t i) const {
    return philox4x32(Words{{i, purpose, s0, s1}}, k0, k1);
  }
};

PHYSIOCLR_HD Draws draws_of(uint64_t seed, int64_t sample) {
  const auto s = static_cast<uint64_t>(sample);
  return Draws{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), static_cast<uint32_t>(s),
               static_cast<uint32_t>(s >> 32)};
}

// physioclr.view_seed: the seed of one view in one epoch.
inline int64_t view_seed(uint64_t seed, uint32_t epoch, uint32_t view) {
  const Words words =
      philox4x32(Words{{epoch, 0xFFFFFFFFu, view, 0}}, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return static_cast<int64_t>((static_cast<uint64_t>(words.w[0]) << 32 | words.w[1]) >> 1);
}

// 23 bits and a half: exact in float32, symmetric about 1/2, never 0 and never 1.
PHYSIOCLR_HD float unit_float(uint32_t u) { return (static_cast<float>(u >> 9) + 0.5f) * (1.0f / 8388608.0f); }
PHYSIOCLR_HD double unit(uint32_t u) { return (static_cast<double>(u >> 9) + 0.5) * (1.0 / 8388608.0); }

}  // namespace physioclr
