#pragma once
// Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

namespace physioclr::cuda {

// Cosine: 1 / |x| (0 for a zero row). RBF: |x|^2. One thread per row.
template <int = 0>  // a template: more than one source includes it
__global__ void row_scale_kernel(const float* x, int64_t rows, int64_t cols, bool cosine, float* scale) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  double ss = 0;
  for (int64_t k = 0; k < cols; ++k) ss += static_cast<double>(x[r * cols + k]) * x[r * cols + k];
  scale[r] = static_cast<float>(cosine ? (ss == 0 ? 0.0 : 1.0 / sqrt(ss)) : ss);
}

}  // namespace physioclr::cuda
