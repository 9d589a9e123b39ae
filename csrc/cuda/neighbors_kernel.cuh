#pragma once
// physio_neighbors: a block takes kPairTile rows of a, makes kPairTile x kPairTile similarities at a time
// (pair_tile.cuh) and keeps the k best of each row in a heap, in the memory of the results. One thread keeps a row.
// Nothing is N x M. Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "cuda/pair_tile.cuh"
#include "cuda/row_scale.cuh"

namespace physioclr::cuda {

// The k best so far: key[0], index[0] is the worst of them. Key: the cosine, or minus |a - b|^2 / (2 sigma^2). A total
// order, so the result does not depend on the order of arrival.
struct NeighborHeap {
  float* key;
  int64_t* index;
  int64_t k, size;

  __device__ static bool better(float x, int64_t i, float y, int64_t j) { return x > y || (x == y && i < j); }
  // Moves (x, i) down from `at` until no child is worse.
  __device__ void sink(int64_t at, int64_t count, float x, int64_t i) {
    for (;;) {
      int64_t child = 2 * at + 1;
      if (child >= count) break;
      if (child + 1 < count && better(key[child], index[child], key[child + 1], index[child + 1])) ++child;
      if (!better(x, i, key[child], index[child])) break;
      key[at] = key[child], index[at] = index[child];
      at = child;
    }
    key[at] = x, index[at] = i;
  }
  __device__ void offer(float x, int64_t i) {
    if (size == k) {
      if (better(x, i, key[0], index[0])) sink(0, k, x, i);
      return;
    }
    int64_t at = size++;
    while (at > 0 && better(key[(at - 1) / 2], index[(at - 1) / 2], x, i)) {
      key[at] = key[(at - 1) / 2], index[at] = index[(at - 1) / 2];
      at = (at - 1) / 2;
    }
    key[at] = x, index[at] = i;
  }
  // Best first.
  __device__ void sort() {
    for (int64_t last = size - 1; last > 0; --last) {
      const float x = key[last];
      const int64_t i = index[last];
      key[last] = key[0], index[last] = index[0];
      sink(0, last, x, i);
    }
  }
};

// scale: of row_scale_kernel. A pair whose similarity is NaN is not a neighbour.
__global__ void neighbors_kernel(const float* a, int64_t n, const float* b, int64_t m, int64_t cols, bool self,
                                 bool cosine, double inv_width, const int64_t* group, int64_t k, const float* scale_a,
                                 const float* scale_b, int64_t* index, float* similarity) {
  __shared__ PairShared<float> tile;
  __shared__ float keys[kPairTile][kPairTile + 1];
  const int x = threadIdx.x, y = threadIdx.y, tid = y * kPairSide + x;
  const int64_t i0 = static_cast<int64_t>(blockIdx.x) * kPairTile, mine = i0 + tid;
  const bool keeps = tid < kPairTile && mine < n;
  NeighborHeap heap{similarity + mine * k, index + mine * k, k, 0};
  const PairRows rows{a, scale_a, b, scale_b, cols};
  const RbfUnit unit = rbf_unit(inv_width);
  for (int64_t j0 = 0; j0 < m; j0 += kPairTile) {
    float s[4][4];
    pair_products<float>(a, cosine ? scale_a : nullptr, n, b, cosine ? scale_b : nullptr, m, cols, i0, j0, tile, s);
#pragma unroll  // or the sums would live in memory
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int64_t i = i0 + 4 * y + r, j = j0 + 4 * x + c;
        float v = s[r][c];
        if (i < n && j < m) v = cosine ? to_cosine(rows, i, j, v) : -to_distance(rows, i, j, v, unit);
        keys[4 * y + r][4 * x + c] = v;
      }
    __syncthreads();
    if (keeps)
      for (int c = 0; c < kPairTile && j0 + c < m; ++c) {
        const int64_t j = j0 + c;
        const float v = keys[tid][c];
        // Columns come in rising order, so one that only equals the k-th best loses the tie.
        if (!(v == v) || (heap.size == k && !(v > heap.key[0]))) continue;
        if (self && (mine == j || (group && group[mine] == group[j]))) continue;
        heap.offer(v, j);
      }
    __syncthreads();  // the next tile overwrites the keys
  }
  if (!keeps) return;
  heap.sort();
  for (int64_t q = 0; q < k; ++q) {
    if (q >= heap.size) heap.index[q] = -1;
    const float v = q < heap.size ? heap.key[q] : nanf("");
    heap.key[q] = cosine || q >= heap.size ? v : expf(v);
  }
}

}  // namespace physioclr::cuda
