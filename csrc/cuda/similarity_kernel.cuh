#pragma once
// Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "cuda/pair_tile.cuh"
#include "cuda/row_scale.cuh"

namespace physioclr::cuda {

// One block of kPairSide x kPairSide threads makes kPairTile x kPairTile pairs (pair_tile.cuh). Version 1 made one pair
// a thread, which left it waiting for shared memory: two loads a product, here half of one. form: 0 float32, 1 bool
// bytes, 2 packed bits (np.packbits order).
__global__ void similarity_kernel(const float* a, int64_t n, const float* b, int64_t m, int64_t cols, bool cosine,
                                  double inv_width, int form, float threshold, const float* scale_a,
                                  const float* scale_b, void* out) {
  __shared__ PairShared<float> tile;
  __shared__ unsigned char half[kPairTile][kPairSide];  // four bits each
  const int x = threadIdx.x, y = threadIdx.y;
  const int64_t i0 = static_cast<int64_t>(blockIdx.y) * kPairTile, j0 = static_cast<int64_t>(blockIdx.x) * kPairTile;
#ifdef PHYSIOCLR_BREAK_BOUNDS  // tests/host_sim proves with this that it would notice
  const int64_t rows_b = m + 1;
#else
  const int64_t rows_b = m;
#endif
  const PairRows rows{a, scale_a, b, scale_b, cols};
  const RbfUnit unit = rbf_unit(inv_width);
  float s[4][4];
  pair_products<float>(a, cosine ? scale_a : nullptr, n, b, cosine ? scale_b : nullptr, rows_b, cols, i0, j0, tile, s);
#pragma unroll  // or the sums would live in memory
  for (int r = 0; r < 4; ++r) {
    const int64_t i = i0 + 4 * y + r;
    unsigned bits = 0;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int64_t j = j0 + 4 * x + c;
      const bool valid = i < n && j < m;
      float v = s[r][c];
      if (valid) v = cosine ? to_cosine(rows, i, j, v) : expf(-to_distance(rows, i, j, v, unit));
      if (form == 0 && valid) static_cast<float*>(out)[i * m + j] = v;
      if (form == 1 && valid) static_cast<unsigned char*>(out)[i * m + j] = v >= threshold;
      bits = bits << 1 | static_cast<unsigned>(valid && v >= threshold);
    }
    half[4 * y + r][x] = static_cast<unsigned char>(bits);
  }
  if (form != 2) return;
  __syncthreads();
  for (int e = y * kPairSide + x; e < kPairTile * (kPairTile / 8); e += kPairThreads) {
    const int row = e / (kPairTile / 8), byte = e % (kPairTile / 8);
    if (i0 + row < n && j0 + byte * 8 < m)
      static_cast<unsigned char*>(out)[(i0 + row) * ((m + 7) / 8) + j0 / 8 + byte] =
          static_cast<unsigned char>(half[row][2 * byte] << 4 | half[row][2 * byte + 1]);
  }
}

}  // namespace physioclr::cuda
