#pragma once
// Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/reconstruction_math.h"

namespace physioclr::cuda {

constexpr int kReconThreads = 256;

// One block per record; the tree sum has a fixed shape, so the result does not change from run to run.
template <class T>
__global__ void peak_reconstruction_fwd_kernel(const T* x_hat, const T* x, int64_t leads, int64_t samples,
                                               const int32_t* rpeaks, int64_t columns, int64_t half, double* sum,
                                               int64_t* count) {
  __shared__ double part[kReconThreads];
  __shared__ int64_t parts[kReconThreads];
  __shared__ int64_t peaks;
  const int tid = threadIdx.x;
  const int64_t b = blockIdx.x;
  const int32_t* r = rpeaks + b * columns;
  if (tid == 0) peaks = count_peaks(r, columns);
  __syncthreads();
  double s = 0;
  int64_t n = 0;
  for (int64_t t = tid; t < samples; t += blockDim.x) {
    if (!in_peak_window(r, peaks, t, half)) continue;
    for (int64_t l = 0; l < leads; ++l) {
      const int64_t i = (b * leads + l) * samples + t;
      if (!is_finite(x[i])) continue;
      const double e = static_cast<double>(x_hat[i]) - static_cast<double>(x[i]);
      s += e * e;
      ++n;
    }
  }
  part[tid] = s;
  parts[tid] = n;
  __syncthreads();
  for (int k = blockDim.x / 2; k > 0; k /= 2) {
    if (tid < k) {
      part[tid] += part[tid + k];
      parts[tid] += parts[tid + k];
    }
    __syncthreads();
  }
  if (tid == 0) {
    sum[b] = part[0];
    count[b] = parts[0];
  }
}

// blockIdx.x: record, blockIdx.y: chunk of time. Each thread writes one sample of every lead.
template <class T>
__global__ void peak_reconstruction_bwd_kernel(const T* x_hat, const T* x, int64_t leads, int64_t samples,
                                               const int32_t* rpeaks, int64_t columns, int64_t half, const T* scale,
                                               T* grad) {
  __shared__ int64_t peaks;
  const int64_t b = blockIdx.x, t = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  const int32_t* r = rpeaks + b * columns;
  if (threadIdx.x == 0) peaks = count_peaks(r, columns);
  __syncthreads();
  if (t >= samples) return;
  const bool in = in_peak_window(r, peaks, t, half);
  for (int64_t l = 0; l < leads; ++l) {
    const int64_t i = (b * leads + l) * samples + t;
    grad[i] = in && is_finite(x[i]) ? scale[b] * (x_hat[i] - x[i]) : T(0);
  }
}

}  // namespace physioclr::cuda
