#pragma once
// Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/similarity_math.h"
#include "cuda/pair_tile.cuh"

namespace physioclr::cuda {

// Cosine: the root of 1 / |x| (0 for a zero row; pair_tile.cuh). RBF: |x|^2. One thread per row.
template <int = 0>  // a template: more than one source includes it
__global__ void row_scale_kernel(const float* x, int64_t rows, int64_t cols, bool cosine, float* scale) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  double ss = 0;
  for (int64_t k = 0; k < cols; ++k) ss += static_cast<double>(x[r * cols + k]) * x[r * cols + k];
  scale[r] = static_cast<float>(cosine ? (ss == 0 ? 0.0 : 1.0 / sqrt(sqrt(ss))) : ss);
}

// Rows a and b, and what row_scale_kernel made of them.
struct PairRows {
  const float *a, *scale_a, *b, *scale_b;
  int64_t cols;
};

// sum_k (difference of a_i and b_j)^2 in units of u; with sign -1 of their sum. Slow, for the few pairs that need it.
__device__ inline float squared_difference(const PairRows& p, int64_t i, int64_t j, const float* root_a,
                                           const float* root_b, const RbfUnit& u, float sign) {
  float d = 0.0f;
  for (int64_t k = 0; k < p.cols; ++k) {
    const float t = scaled_difference(scaled_element(p.a, root_a, i, i * p.cols + k),
                                      sign * scaled_element(p.b, root_b, j, j * p.cols + k), u);
    d += t * t;
  }
  return d;
}

// The product of two unit rows to their cosine, as cpu/similarity_rows.h does it.
__device__ inline float to_cosine(const PairRows& p, int64_t i, int64_t j, float s) {
  const float sure = sure_cosine(p.cols);
  if (!(s > sure || s < -sure)) return s;
  const float half =
      0.5f * squared_difference(p, i, j, p.scale_a, p.scale_b, RbfUnit{1.0f, 1.0f, 1.0f, 1.0f}, s < 0 ? -1.0f : 1.0f);
  return s < 0 ? half - 1.0f : 1.0f - half;
}

// The product of two rows to |a - b|^2 / (2 sigma^2).
__device__ inline float to_distance(const PairRows& p, int64_t i, int64_t j, float s, const RbfUnit& u) {
  const float norms = p.scale_a[i] + p.scale_b[j], d2 = norms - 2.0f * s;
  return distance_is_sure(d2, norms) ? d2 * u.inv_width * u.inv_width
                                     : squared_difference(p, i, j, nullptr, nullptr, u, 1.0f);
}

}  // namespace physioclr::cuda
