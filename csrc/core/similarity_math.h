#pragma once
// Which pairs of rows the sum of their products can tell apart, and which need the sum of their squared differences.
// Both forms go into one result, pair by pair, so that a pair's value does not depend on the tile that it is in.
#include <cstdint>

#include "core/macros.h"

namespace physioclr {

// |a - b|^2 = |a|^2 + |b|^2 - 2 a.b loses what the norms have more than the result. Down to an eighth of them its error
// is some 3e-6 of itself with 50 features, 1.1e-6 in a similarity (measured). False too for NaN, overflow (of opposite
// rows also where the norms are in range), and norms so small that their products underflow.
PHYSIOCLR_HD bool distance_is_sure(float d2, float norms) {
  return norms > 1e-30f && d2 > 0.125f * norms && d2 <= 3.4028235e38f;
}

// Beyond this |cosine|, 1 - |u - v|^2 / 2 of the unit rows is used: exactly 1 for equal rows, never more. The second
// term bounds what rounding adds to a sum of so many products.
PHYSIOCLR_HD float sure_cosine(int64_t cols) {
  const float drift = static_cast<float>(cols) * 0x1p-23f;
  return 1.0f - (drift > 0.015625f ? drift : 0.015625f);
}

// Differences in units of sqrt(2) sigma: (half a - half b) * up * unit. half keeps a - b from overflow where that
// matters, up brings a width that is no float32 into their range.
struct RbfUnit {
  float half, up, unit;
  float inv_width;  // for what the products tell; where it is out of range the result is 0 or 1 anyway
};
PHYSIOCLR_HD RbfUnit rbf_unit(double inv_width) {
  const double v = inv_width < 1e57 ? inv_width : 1e57, w = v < 1e38 ? v : 1e38;
  const float half = v < 0x1p-100 ? 0.5f : 1.0f, up = v > 0x1p100 ? 0x1p64f : 1.0f;
  return {half, up, static_cast<float>(v / (static_cast<double>(half) * up)), static_cast<float>(w)};
}

// A term of the distance, or with unit cosines (half, up and unit 1) of |u - v|^2.
PHYSIOCLR_HD float scaled_difference(float a, float b, const RbfUnit& u) {
  return (u.half * a - u.half * b) * u.up * u.unit;
}

}  // namespace physioclr
