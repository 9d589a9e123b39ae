#pragma once
// The products of 64 x 64 pairs of rows by one block of 16 x 16 threads, 4 x 4 sums in the registers of each.
// Bodies only, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

namespace physioclr::cuda {

constexpr int kPairTile = 64, kPairSide = 16, kPairStep = 16;
constexpr int kPairThreads = kPairSide * kPairSide;

template <class T>
struct PairShared {
  T a[kPairStep][kPairTile + 4], b[kPairStep][kPairTile + 4];
};

// acc[r][c] = (scale_a a)_(i0 + 4 y + r) . (scale_b b)_(j0 + 4 x + c), thread (x, y); a scale may be null (1). Rows past
// the end count as 0. Each sum runs over k in rising order, so that transposing a and b gives the same bits.
template <class T>
__device__ void pair_products(const T* a, const T* scale_a, int64_t rows_a, const T* b, const T* scale_b, int64_t rows_b,
                              int64_t cols, int64_t i0, int64_t j0, PairShared<T>& tile, T acc[4][4]) {
  const int x = threadIdx.x, y = threadIdx.y, tid = y * kPairSide + x;
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) acc[r][c] = 0;
  for (int64_t k0 = 0; k0 < cols; k0 += kPairStep) {
#pragma unroll
    for (int e = tid; e < kPairTile * kPairStep; e += kPairThreads) {
      const int row = e / kPairStep, k = e % kPairStep;
      const bool in = k0 + k < cols;
      const int64_t i = i0 + row, j = j0 + row;
      tile.a[k][row] = in && i < rows_a ? a[i * cols + k0 + k] * (scale_a ? scale_a[i] : T(1)) : T(0);
      tile.b[k][row] = in && j < rows_b ? b[j * cols + k0 + k] * (scale_b ? scale_b[j] : T(1)) : T(0);
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kPairStep; ++k) {
      T p[4], q[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        p[c] = tile.a[k][4 * y + c];
        q[c] = tile.b[k][4 * x + c];
      }
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int c = 0; c < 4; ++c) acc[r][c] += p[r] * q[c];
    }
    __syncthreads();  // the next step overwrites both
  }
}

}  // namespace physioclr::cuda
