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

// An element times the square of a number of its row, or as it is.
template <class T>
__device__ T scaled_element(const T* x, const T* root, int64_t row, int64_t at) {
  return root ? x[at] * root[row] * root[row] : x[at];
}

// acc[r][c] = (a root_a^2)_(i0 + 4 y + r) . (b root_b^2)_(j0 + 4 x + c), thread (x, y); a root may be null (1): that of
// 1 / |x| is a float where 1 / |x| is none. Rows past the end count as 0. Each sum runs over k in rising order, so that
// transposing a and b gives the same bits.
template <class T>
__device__ void pair_products(const T* a, const T* root_a, int64_t rows_a, const T* b, const T* root_b, int64_t rows_b,
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
      tile.a[k][row] = in && i < rows_a ? scaled_element(a, root_a, i, i * cols + k0 + k) : T(0);
      tile.b[k][row] = in && j < rows_b ? scaled_element(b, root_b, j, j * cols + k0 + k) : T(0);
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
