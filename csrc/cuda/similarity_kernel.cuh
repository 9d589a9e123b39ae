#pragma once
// Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

namespace physioclr::cuda {

constexpr int kTile = 16;

// Cosine: 1 / |x| (0 for a zero row). RBF: |x|^2. One thread per row.
__global__ void similarity_scale_kernel(const float* x, int64_t rows, int64_t cols, bool cosine, float* scale) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  double ss = 0;
  for (int64_t k = 0; k < cols; ++k) ss += static_cast<double>(x[r * cols + k]) * x[r * cols + k];
  scale[r] = static_cast<float>(cosine ? (ss == 0 ? 0.0 : 1.0 / sqrt(ss)) : ss);
}

// One block of kTile x kTile threads makes kTile x kTile pairs; k runs in steps of kTile through shared memory.
// form: 0 float32, 1 bool bytes, 2 packed bits (np.packbits order).
__global__ void similarity_kernel(const float* a, int64_t n, const float* b, int64_t m, int64_t cols, bool cosine,
                                  float inv_two_sigma2, int form, float threshold, const float* scale_a,
                                  const float* scale_b, void* out) {
  __shared__ float ta[kTile][kTile + 1];
  __shared__ float tb[kTile][kTile + 1];
  __shared__ unsigned char bit[kTile][kTile];
  const int x = threadIdx.x, y = threadIdx.y;
  const int64_t i0 = static_cast<int64_t>(blockIdx.y) * kTile, j0 = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t i = i0 + y, j = j0 + x;
#ifdef PHYSIOCLR_BREAK_BOUNDS  // tests/host_sim proves with this that it would notice
  const int64_t rows_b = m + 1;
#else
  const int64_t rows_b = m;
#endif
  float acc = 0.0f;
  for (int64_t k0 = 0; k0 < cols; k0 += kTile) {
    const bool in = k0 + x < cols;
    ta[y][x] = i < n && in ? a[i * cols + k0 + x] * (cosine ? scale_a[i] : 1.0f) : 0.0f;
    tb[y][x] = j0 + y < rows_b && in ? b[(j0 + y) * cols + k0 + x] * (cosine ? scale_b[j0 + y] : 1.0f) : 0.0f;
    __syncthreads();
    for (int k = 0; k < kTile; ++k) acc += ta[y][k] * tb[x][k];
    __syncthreads();  // the next step overwrites both tiles
  }
  const bool valid = i < n && j < m;
  float s = acc;
  if (!cosine && valid) {
    const float d2 = scale_a[i] + scale_b[j] - 2.0f * acc;
    s = expf(-(d2 < 0.0f ? 0.0f : d2) * inv_two_sigma2);
  }
  if (form == 0) {
    if (valid) static_cast<float*>(out)[i * m + j] = s;
  } else if (form == 1) {
    if (valid) static_cast<unsigned char*>(out)[i * m + j] = s >= threshold;
  } else {
    bit[y][x] = valid && s >= threshold;
    __syncthreads();
    if (x < kTile / 8 && i < n && j0 + x * 8 < m) {
      unsigned byte = 0;
      for (int q = 0; q < 8; ++q) byte = byte << 1 | bit[y][x * 8 + q];
      static_cast<unsigned char*>(out)[i * ((m + 7) / 8) + j0 / 8 + x] = static_cast<unsigned char>(byte);
    }
  }
}

}  // namespace physioclr::cuda
