#pragma once
// hybrid_contrastive_loss around the caller's products: rows before and after, sums and coefficients of a tile of
// cosines. Every sum has a fixed order. Bodies only, no launch, so that this file also compiles for the host
// (tests/host_sim).
#include <cstdint>

#include "core/contrastive_math.h"
#include "core/elements.h"
#include "cuda/block_sum.cuh"
#include "cuda/pair_tile.cuh"
#include "ops.h"

namespace physioclr::cuda {

constexpr int kSumThreads = 128;  // a block per row of a tile
constexpr int kColLanes = 32, kColGroups = 8;
constexpr int kListThreads = 256;

// One block per row.
template <class T, class E>
__global__ void contrastive_prepare_kernel(const E* anchor, int64_t d, const T* features, int64_t f, T* h, T* unit,
                                           double* inv_norm, int32_t* id) {
  __shared__ double part[kRowThreads];
  const int64_t i = blockIdx.x;
  const E* x = anchor + i * d;
  const T* y = features + i * f;
  const double ff = block_dot(y, y, f, part), fi = inverse_root(ff);
  double hi = inverse_root(block_dot(x, x, d, part));
  if (!(ff - ff == 0)) hi = ff - ff;  // NaN, for the loss to show
  for (int64_t k = threadIdx.x; k < d; k += blockDim.x) h[i * d + k] = static_cast<T>(to_compute(x[k]) * hi);
  for (int64_t k = threadIdx.x; k < f; k += blockDim.x) unit[i * f + k] = static_cast<T>(y[k] * fi);
  if (threadIdx.x == 0) {
    inv_norm[i] = hi;
    if (ff == 0) id[i] = -1;
  }
}

template <class T>
__global__ void contrastive_tile_similarity_kernel(const T* a, int64_t rows, const T* b, int64_t cols, int64_t f,
                                                   T* out) {
  __shared__ PairShared<T> tile;
  const int64_t i0 = static_cast<int64_t>(blockIdx.y) * kPairTile, j0 = static_cast<int64_t>(blockIdx.x) * kPairTile;
  T acc[4][4];
  pair_products<T>(a, nullptr, rows, b, nullptr, cols, f, i0, j0, tile, acc);
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) {
      const int64_t i = i0 + 4 * threadIdx.y + r, j = j0 + 4 * threadIdx.x + c;
      if (i < rows && j < cols) out[i * cols + j] = acc[r][c];
    }
}

// One block per row of the tile.
template <class T, int MODE, bool SAFE>
__global__ void contrastive_row_sums_kernel(ContrastTile<T> t, ContrastSettings set, double* state) {
  __shared__ double part[kSumThreads][kRowState];
  const PairScale<T> scale(set);
  const int64_t r = blockIdx.x;
  const int tid = threadIdx.x;
  const int32_t id = t.id_i[r];
  PairSums<T> x(SAFE);
  for (int64_t c = tid; c < t.cols; c += blockDim.x)
    if (is_pair(id, t.id_j[c])) x.template add<MODE, SAFE>(t.s[r * t.cols + c], pair_feature<MODE>(t, r, c), scale);
  store_state(x, part[tid]);
  __syncthreads();
  for (int k = blockDim.x / 2; k > 0; k /= 2) {
    if (tid < k) merge_state(set, part[tid], part[tid + k]);
    __syncthreads();
  }
  if (tid == 0) merge_state(set, state + r * kRowState, part[0]);
}

// kColLanes columns a block; kColGroups threads share the rows of each.
template <class T, int MODE, bool SAFE>
__global__ void contrastive_col_sums_kernel(ContrastTile<T> t, ContrastSettings set, double* state) {
  __shared__ double part[kColGroups][kColLanes][kRowState];
  const PairScale<T> scale(set);
  const int lane = threadIdx.x, group = threadIdx.y;
  const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + lane;
  PairSums<T> x(SAFE);
  if (c < t.cols) {
    const int32_t id = t.id_j[c];
    for (int64_t r = group; r < t.rows; r += blockDim.y)
      if (is_pair(t.id_i[r], id)) x.template add<MODE, SAFE>(t.s[r * t.cols + c], pair_feature<MODE>(t, r, c), scale);
  }
  store_state(x, part[group][lane]);
  __syncthreads();
  for (int k = blockDim.y / 2; k > 0; k /= 2) {
    if (group < k) merge_state(set, part[group][lane], part[group + k][lane]);
    __syncthreads();
  }
  if (group == 0 && c < t.cols) merge_state(set, state + c * kRowState, part[0][lane]);
}

// One thread per pair; blockIdx.y is the row.
template <class T, int MODE, bool SAFE>
__global__ void contrastive_coefficients_kernel(ContrastTile<T> t, ContrastSettings set, const T* w_i, const T* w_j) {
  const PairScale<T> scale(set);
  const int64_t r = blockIdx.y, c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= t.cols) return;
  T& s = t.s[r * t.cols + c];
  s = is_pair(t.id_i[r], t.id_j[c]) ? pair_coefficient<T, MODE, SAFE>(s, pair_feature<MODE>(t, r, c), w_i[2 * r],
                                                                      w_i[2 * r + 1], w_j[2 * c], w_j[2 * c + 1], scale)
                                    : T(0);
}

// One block per owned row.
template <class T, class E>
__global__ void contrastive_row_stats_kernel(const E* anchor, const E* views, int64_t n_views, int64_t begin, int64_t n,
                                             int64_t d, const double* inv_norm, const double* state, int64_t strips,
                                             ContrastSettings set, double* stats, int64_t* counts) {
  __shared__ double part[kRowThreads];
  const int64_t i = blockIdx.x;
  const E* x = anchor + (begin + i) * d;
  double sum[kRowState];
  clear_state(needs_maxima<T>(set), sum);
  for (int64_t p = 0; p < strips; ++p) merge_state(set, sum, state + (p * n + i) * kRowState);
  int64_t count[2];
  RowLoss row(sum, n_views, set, count);
  for (int64_t v = 0; v < n_views; ++v) {
    const E* y = views + (v * n + i) * d;
    const double xy = block_dot(x, y, d, part), yy = block_dot(y, y, d, part);
    row.add_view(xy * inv_norm[begin + i] * inverse_root(yy));
  }
  if (threadIdx.x != 0) return;
  row.finish(stats + 3 * i);
  counts[2 * i] = count[0];
  counts[2 * i + 1] = count[1];
}

// One block. rows_used and the loss in a fixed order.
template <class T>
__global__ void contrastive_finish_kernel(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views,
                                          Contrast mode, T* loss, int64_t* skipped) {
  __shared__ double part[kListThreads];
  double sum = 0, used = 0;
  for (int64_t i = threadIdx.x; i < rows; i += blockDim.x)
    if (counts_row(counts + 2 * i, n_views, mode)) {
      sum += stats[3 * i] - stats[3 * i + 1];
      used += 1;
    }
  sum = block_sum(sum, part);
  used = block_sum(used, part);
  if (threadIdx.x != 0) return;
  *loss = static_cast<T>(used > 0 ? sum / used : 0.0);
  *skipped = rows - static_cast<int64_t>(used);
}

// One block: *log_tn = log(tau n), n the rows that count.
__global__ void contrastive_log_tn_kernel(const int64_t* counts, int64_t rows, int64_t n_views, ContrastSettings set,
                                          double* log_tn) {
  __shared__ double part[kListThreads];
  double used = 0;
  for (int64_t i = threadIdx.x; i < rows; i += blockDim.x) used += counts_row(counts + 2 * i, n_views, set.mode);
  used = block_sum(used, part);
  if (threadIdx.x == 0) *log_tn = log(set.tau * (used > 0 ? used : 1.0));
}

template <class T>
__global__ void contrastive_weights_kernel(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views,
                                           ContrastSettings set, const double* log_tn, T* w) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < rows) row_weights(stats + 3 * i, counts + 2 * i, n_views, set, *log_tn, w + 2 * i);
}

// One block per owned row. Each thread keeps to its own columns of grad_h, which is used as scratch.
template <class T, class E>
__global__ void contrastive_row_gradients_kernel(const double* grad_loss, const E* anchor, const E* views,
                                                 int64_t n_views, int64_t begin, int64_t n, int64_t d,
                                                 const double* inv_norm, T* grad_h, int64_t strips, const double* stats,
                                                 const int64_t* counts, const double* log_tn, ContrastSettings set,
                                                 E* grad_anchor, E* grad_views) {
  __shared__ double part[kRowThreads];
  const int64_t i = blockIdx.x, r = begin + i;
  const E* x = anchor + r * d;
  T* g = grad_h + i * d;
  const double hi = inv_norm[r], outer = *grad_loss;
  for (int64_t p = 1; p < strips; ++p)
    for (int64_t k = threadIdx.x; k < d; k += blockDim.x) g[k] += grad_h[(p * n + i) * d + k];
  for (int64_t v = 0; v < n_views; ++v) {
    const E* y = views + (v * n + i) * d;
    E* gy = grad_views + (v * n + i) * d;
    const double xy = block_dot(x, y, d, part), inv = inverse_root(block_dot(y, y, d, part)), t = xy * hi * inv;
    const double q = view_coefficient(t, stats + 3 * r, counts + 2 * r, n_views, set, *log_tn);
    for (int64_t k = threadIdx.x; k < d; k += blockDim.x) {
      const double u = to_compute(y[k]) * inv;
      g[k] += static_cast<T>(q * u);
      from_compute(static_cast<T>(outer * q * (to_compute(x[k]) * hi - t * u) * inv), gy[k]);
    }
  }
  double along = 0;
  for (int64_t k = threadIdx.x; k < d; k += blockDim.x) along += g[k] * (to_compute(x[k]) * hi);
  along = block_sum(along, part);
  for (int64_t k = threadIdx.x; k < d; k += blockDim.x)
    from_compute(static_cast<T>(outer * (g[k] - along * (to_compute(x[k]) * hi)) * hi), grad_anchor[i * d + k]);
}

}  // namespace physioclr::cuda
