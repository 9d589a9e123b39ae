#pragma once
// Sums over a block in a fixed order. Bodies only, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/elements.h"

namespace physioclr::cuda {

constexpr int kRowThreads = 64;  // of kernels with a block per row

// The sum of x over the block, to every thread. part: one double per thread.
__device__ inline double block_sum(double x, double* part) {
  const int t = threadIdx.x;
  part[t] = x;
  __syncthreads();
  for (int k = blockDim.x / 2; k > 0; k /= 2) {
    if (t < k) part[t] += part[t + k];
    __syncthreads();
  }
  const double sum = part[0];
  __syncthreads();  // part may be used again
  return sum;
}

template <class E>
__device__ double block_dot(const E* x, const E* y, int64_t n, double* part) {
  double s = 0;
  for (int64_t k = threadIdx.x; k < n; k += blockDim.x)
    s += static_cast<double>(to_compute(x[k])) * static_cast<double>(to_compute(y[k]));
  return block_sum(s, part);
}

__device__ inline double inverse_root(double ss) { return ss == 0 ? 0.0 : 1.0 / sqrt(ss); }

}  // namespace physioclr::cuda
