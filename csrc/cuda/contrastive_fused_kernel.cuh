#pragma once
// hybrid_contrastive_loss of 16-bit embeddings on tensor cores: cosines, similarities, sums (forward) or coefficients and
// their product with the rows (backward) without leaving the chip. A block owns 32 WM rows and takes all columns of its
// strip, 32 WN at a time, in shared memory; the next ones arrive while it computes. Each warp makes 32 x 32 pairs.
// Version 1 is contrastive_kernel.cuh around torch.mm; this is version 2. The fixed shift exp((s - 1) / tau) only; a
// smaller tau goes to version 1.
//
// Embeddings enter the products as they are, times a power of 2, which loses nothing: s = x_i . x_j r_i r_j. Features are
// split into two float16 each, 16 f = high + low, and S = (high high + high low + low high) / 256 has float32 accuracy
// (Ootomo & Yokota 2022, section 3). Coefficients are rounded to the embeddings' type before the second product, as
// softmax weights are in attention kernels (Dao 2023); the factor 1024 tau n keeps them within float16's range.
// Bodies only, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/contrastive_math.h"
#include "cuda/block_sum.cuh"
#include "cuda/mma.cuh"
#include "ops.h"

namespace physioclr::cuda {

constexpr int kSkew = 8;  // 16-bit numbers between the rows in shared memory: rows of a fragment in different banks

// Bytes of dynamic shared memory.
PHYSIOCLR_HD int64_t fused_shared(int dk, int fk, int wm, int wn, bool backward) {
  const int64_t rows = 32 * wm, cols = 32 * wn, row = 2 * (dk + kSkew) + 2 * (2 * fk + kSkew);
  const int64_t sums = rows * 4 * wn * kRowState * 8;  // takes the place of everything at the end of the forward pass
  const int64_t all = rows * row + 2 * cols * (row + 16) + (backward ? 2 * rows * (cols + kSkew) : 0);
  return !backward && sums > all ? sums : all;
}

// One block per padded row: x times 2^-e, r = inv_norm 2^e, and the split features. dk, fk: padded widths.
template <class E>
__global__ void contrastive_fused_prepare_kernel(const E* anchor, int64_t n, int64_t d, const float* features, int64_t f,
                                                 const int32_t* group, int dk, int fk, E* x, Half* split, float* r,
                                                 double* inv_norm, int32_t* id) {
  __shared__ double part[kRowThreads];
  const int64_t i = blockIdx.x;
  const bool in = i < n;
  const E* a = anchor + i * d;
  const float* y = features + i * f;
  double ff = in ? block_dot(y, y, f, part) : 0, aa = in ? block_dot(a, a, d, part) : 0;
  const double fi = inverse_root(ff), hi = inverse_root(aa);
  int e = 0;
  if (aa > 0 && aa - aa == 0) frexp(sqrt(aa), &e);
  const double power = ldexp(1.0, -e);
  for (int k = threadIdx.x; k < dk; k += blockDim.x)
    from_compute(in && k < d ? static_cast<float>(to_compute(a[k]) * power) : 0.0f, x[i * dk + k]);
  for (int k = threadIdx.x; k < fk; k += blockDim.x) {
    const float v = in && k < f ? static_cast<float>(y[k] * fi) * kFeatureScale : 0.0f;
    Half high;
    from_compute(v, high);
    split[i * 2 * fk + k] = high;
    from_compute(v - to_compute(high), split[i * 2 * fk + fk + k]);
  }
  if (threadIdx.x != 0) return;
  const bool bad = !(ff - ff == 0);
  const double residual = hi * ldexp(1.0, e);
  r[i] = static_cast<float>(bad ? ff - ff : residual);  // NaN, for the loss to show
  id[i] = in && ff != 0 ? group[i] : -1;
  if (in) inv_norm[i] = bad ? ff - ff : hi;
}

// Shared memory of a block and this thread's place in it.
template <class E, int DK, int WM, int WN>
struct FusedTile {
  static constexpr int kRows = 32 * WM, kCols = 32 * WN, kThreads = 32 * WM * WN, kX = DK + kSkew;
  struct Column {  // of the columns in shared memory
    float r, a, b;
    int32_t id;
  };
  E *xi, *g;
  Half* fi;
  unsigned char* columns;  // two buffers: rows of the columns, their features, their Column
  int fk, f_row, buffer, lane, wm, wn;

  __device__ FusedTile(unsigned char* p, int fk_) : fk(fk_), f_row(2 * fk_ + kSkew) {
    const int tid = threadIdx.x, warp = tid / 32;
    lane = tid % 32, wm = warp / WN, wn = warp % WN;
    buffer = kCols * (2 * kX + 2 * f_row + 16);
    xi = reinterpret_cast<E*>(p);
    fi = reinterpret_cast<Half*>(p + 2 * kRows * kX);
    columns = p + 2 * kRows * (kX + f_row);
    g = reinterpret_cast<E*>(columns + 2 * buffer);
  }
  __device__ E* xj(int s) const { return reinterpret_cast<E*>(columns + s * buffer); }
  __device__ Half* fj(int s) const { return reinterpret_cast<Half*>(columns + s * buffer + 2 * kCols * kX); }
  __device__ Column* col(int s) const {
    return reinterpret_cast<Column*>(columns + s * buffer + 2 * kCols * (kX + f_row));
  }
  // Starts the copy of `count` rows from row0 on.
  __device__ void fetch(const ContrastRows<E>& in, int64_t row0, int count, E* x, Half* f) const {
    for (int e = threadIdx.x; e < count * (DK / 8); e += kThreads) {
      const int row = e / (DK / 8), k = e % (DK / 8) * 8;
      copy_16(x + row * kX + k, in.x + (row0 + row) * DK + k);
    }
    const int chunks = fk / 4;  // 2 fk numbers, 8 at a time
    for (int e = threadIdx.x; e < count * chunks; e += kThreads) {
      const int row = e / chunks, k = e % chunks * 8;
      copy_16(f + row * f_row + k, in.f + (row0 + row) * 2 * fk + k);
    }
  }
  __device__ void fetch_columns(const ContrastRows<E>& in, const float* w, int64_t col0, int s) const {
    fetch(in, col0, kCols, xj(s), fj(s));
    for (int c = threadIdx.x; c < kCols; c += kThreads) {
      const int64_t j = col0 + c;
      col(s)[c] = {in.r[j], w ? w[2 * j] : 0.0f, w ? w[2 * j + 1] : 0.0f, in.id[j]};
    }
  }
  // acc[m][n] += the 16 x 8 products of this warp, k from ka of the rows and kb of the columns on.
  template <class X>
  __device__ void products(const X* a, const X* b, int row, int ka, int kb, int width, float acc[2][4][4]) const {
    const X* pa = a + (wm * 32 + lane % 16) * row + ka + lane / 16 * 8;
    const X* pb = b + (wn * 32 + lane / 16 * 8 + lane % 8) * row + kb + lane / 8 % 2 * 8;
#pragma unroll 2
    for (int k = 0; k < width; k += 16) {
      uint32_t fa[2][4], fb[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        load_matrices<false>(fa[m], pa + m * 16 * row + k);
        load_matrices<false>(fb[m], pb + m * 16 * row + k);
      }
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n) mma(acc[m][n], fa[m], fb[n / 2] + n % 2 * 2, X());
    }
  }
  // Cosines (without the factors r) and similarities times kFeatureScale^2 of this warp's 32 x 32 pairs.
  __device__ void pairs(int s, float cosine[2][4][4], float similarity[2][4][4]) const {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) cosine[m][n][e] = similarity[m][n][e] = 0;
    products(xi, xj(s), kX, 0, 0, DK, cosine);
    products(fi, fj(s), f_row, 0, 0, fk, similarity);
    products(fi, fj(s), f_row, 0, fk, fk, similarity);
    products(fi, fj(s), f_row, fk, 0, fk, similarity);
  }
  // Row (of the block) and column (of the tile) of element e of fragment (m, n).
  __device__ int row_of(int m, int e) const { return wm * 32 + m * 16 + lane / 4 + e / 2 * 8; }
  __device__ int col_of(int n, int e) const { return wn * 32 + n * 8 + lane % 4 * 2 + e % 2; }
};

template <int MODE, class Tile>
__device__ void fused_add(const Tile& t, int s, const float cosine[2][4][4], const float similarity[2][4][4],
                          const float* ri, const int32_t* idi, const PairScale<float>& scale,
                          PairSums<float, false>* sums) {
#pragma unroll
  for (int n = 0; n < 4; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const typename Tile::Column col = t.col(s)[t.col_of(n, c)];
#pragma unroll
      for (int q = 0; q < 4; ++q) {  // the rows g, g + 8, g + 16, g + 24
        const int m = q / 2, e = q % 2 * 2 + c;
        if (is_pair(idi[q], col.id))
          sums[q].template add<MODE>(cosine[m][n][e] * (ri[q] * col.r),
                                     similarity[m][n][e] * (1 / (kFeatureScale * kFeatureScale)), scale);
      }
    }
}

// Forward: blockIdx.x the rows begin + 32 WM blockIdx.x.., blockIdx.y the strip of `tiles` column tiles.
// state (strips, end - begin, kRowState).
template <class E, int DK, int WM, int WN>
__global__ void __launch_bounds__(32 * WM * WN)
    contrastive_fused_rows_kernel(ContrastRows<E> in, ContrastSettings set, int64_t begin, int64_t end, int64_t tiles,
                                  double* state) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Tile = FusedTile<E, DK, WM, WN>;
  PHYSIOCLR_DYNAMIC_SHARED(unsigned char, shared);
  const Tile t(shared, in.fk);
  const PairScale<float> scale(set);
  const int64_t i0 = begin + static_cast<int64_t>(blockIdx.x) * Tile::kRows;
  const int64_t j0 = static_cast<int64_t>(blockIdx.y) * tiles * Tile::kCols;
  const int64_t left = (in.padded - j0) / Tile::kCols, count = tiles < left ? tiles : left;
  t.fetch(in, i0, Tile::kRows, t.xi, t.fi);
  if (count > 0) t.fetch_columns(in, nullptr, j0, 0);
  float ri[4];
  int32_t idi[4];
  for (int q = 0; q < 4; ++q) {
    const int64_t i = i0 + t.row_of(q / 2, q % 2 * 2);
    ri[q] = in.r[i];
    idi[q] = in.id[i];
  }
  PairSums<float, false> sums[4];
  for (int64_t k = 0; k < count; ++k) {
    wait_for_copies();
    __syncthreads();  // the tile is there, and nobody still reads the one before it
    const int s = static_cast<int>(k % 2);
    if (k + 1 < count) t.fetch_columns(in, nullptr, j0 + (k + 1) * Tile::kCols, 1 - s);
    float cosine[2][4][4], similarity[2][4][4];
    t.pairs(s, cosine, similarity);
    switch (set.mode) {
      case Contrast::kRatio: fused_add<0>(t, s, cosine, similarity, ri, idi, scale, sums); break;
      case Contrast::kSupcon: fused_add<1>(t, s, cosine, similarity, ri, idi, scale, sums); break;
      default: fused_add<2>(t, s, cosine, similarity, ri, idi, scale, sums);
    }
  }
  __syncthreads();
  double* part = reinterpret_cast<double*>(shared);  // [row][part of the columns][kRowState]
  constexpr int kParts = 4 * WN;
  for (int q = 0; q < 4; ++q)
    store_state(sums[q], part + (t.row_of(q / 2, q % 2 * 2) * kParts + t.wn * 4 + t.lane % 4) * kRowState);
  __syncthreads();
  for (int row = threadIdx.x; row < Tile::kRows; row += Tile::kThreads) {
    const int64_t i = i0 + row;
    if (i >= end) continue;
    double* first = part + row * kParts * kRowState;
    for (int p = 1; p < kParts; ++p) merge_state(set, first, first + p * kRowState);
    double* out = state + (blockIdx.y * (end - begin) + i - begin) * kRowState;
    for (int q = 0; q < kRowState; ++q) out[q] = first[q];
  }
#endif
}

template <int MODE, class Tile, class E>
__device__ void fused_coefficients(const Tile& t, int s, const float cosine[2][4][4], const float similarity[2][4][4],
                                   const float* ri, const int32_t* idi, const float* ai, const float* bi,
                                   const PairScale<float>& scale, E*) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const typename Tile::Column c0 = t.col(s)[t.col_of(n, 0)], c1 = t.col(s)[t.col_of(n, 1)];
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const int m = q / 2, e = q % 2 * 2;
      const auto one = [&](const typename Tile::Column& c, float x, float f) {
        if (!is_pair(idi[q], c.id)) return 0.0f;
        return c.r * pair_coefficient<float, MODE, false>(x * (ri[q] * c.r), f * (1 / (kFeatureScale * kFeatureScale)),
                                                          ai[q], bi[q], c.a, c.b, scale);
      };
      const uint32_t two = pack(one(c0, cosine[m][n][e], similarity[m][n][e]),
                                one(c1, cosine[m][n][e + 1], similarity[m][n][e + 1]), E());
      *reinterpret_cast<uint32_t*>(t.g + t.row_of(m, e) * (Tile::kCols + kSkew) + t.col_of(n, 0)) = two;
    }
  }
}

// Backward: grad_h (strips, end - begin, d) = sum_j G_ij h_j over the columns of each strip. w (padded, 2): row_weights
// times kCoefficientScale tau n.
template <class E, int DK, int WM, int WN>
__global__ void __launch_bounds__(32 * WM * WN)
    contrastive_fused_backward_kernel(ContrastRows<E> in, ContrastSettings set, int64_t begin, int64_t end, int64_t tiles,
                                      const float* w, const double* log_tn, int64_t d, float* grad_h) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Tile = FusedTile<E, DK, WM, WN>;
  constexpr int kOut = DK / WN / 8, kG = Tile::kCols + kSkew;  // 16 x 8 results of a warp side by side
  PHYSIOCLR_DYNAMIC_SHARED(unsigned char, shared);
  const Tile t(shared, in.fk);
  const PairScale<float> scale(set);
  const int64_t i0 = begin + static_cast<int64_t>(blockIdx.x) * Tile::kRows;
  const int64_t j0 = static_cast<int64_t>(blockIdx.y) * tiles * Tile::kCols;
  const int64_t left = (in.padded - j0) / Tile::kCols, count = tiles < left ? tiles : left;
  t.fetch(in, i0, Tile::kRows, t.xi, t.fi);
  if (count > 0) t.fetch_columns(in, w, j0, 0);
  float out[2][kOut][4];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < kOut; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) out[m][n][e] = 0;
  for (int64_t k = 0; k < count; ++k) {
    wait_for_copies();
    __syncthreads();  // the tile is there, and nobody still reads the one before it, or its coefficients
    const int s = static_cast<int>(k % 2);
    if (k + 1 < count) t.fetch_columns(in, w, j0 + (k + 1) * Tile::kCols, 1 - s);
    {
      float cosine[2][4][4], similarity[2][4][4], ri[4], ai[4], bi[4];
      int32_t idi[4];
      t.pairs(s, cosine, similarity);
#pragma unroll
      for (int q = 0; q < 4; ++q) {  // read again for each tile: registers are what is short here
        const int64_t i = i0 + t.row_of(q / 2, q % 2 * 2);
        ri[q] = in.r[i], idi[q] = in.id[i], ai[q] = w[2 * i], bi[q] = w[2 * i + 1];
      }
      switch (set.mode) {
        case Contrast::kRatio: fused_coefficients<0>(t, s, cosine, similarity, ri, idi, ai, bi, scale, t.g); break;
        case Contrast::kSupcon: fused_coefficients<1>(t, s, cosine, similarity, ri, idi, ai, bi, scale, t.g); break;
        default: fused_coefficients<2>(t, s, cosine, similarity, ri, idi, ai, bi, scale, t.g);
      }
    }
    __syncthreads();  // a warp needs the coefficients of its rows from the warps beside it
    const E* pa = t.g + (t.wm * 32 + t.lane % 16) * kG + t.lane / 16 * 8;
    const E* pb = t.xj(s) + (t.lane / 8 % 2 * 8 + t.lane % 8) * Tile::kX + t.wn * (DK / WN) + t.lane / 16 * 8;
#pragma unroll 1
    for (int c = 0; c < Tile::kCols; c += 16) {
      uint32_t fa[2][4], fb[4];
      load_matrices<false>(fa[0], pa + c);
      load_matrices<false>(fa[1], pa + 16 * kG + c);
#pragma unroll
      for (int n = 0; n < kOut; n += 2) {
        load_matrices<true>(fb, pb + c * Tile::kX + n * 8);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          mma(out[m][n], fa[m], fb, E());
          mma(out[m][n + 1], fa[m], fb + 2, E());
        }
      }
    }
  }
  const float factor = static_cast<float>(exp(-*log_tn) / kCoefficientScale);
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < kOut; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t i = i0 + t.row_of(m, e), k = t.wn * (DK / WN) + n * 8 + t.lane % 4 * 2 + e % 2;
        if (i < end && k < d) grad_h[(blockIdx.y * (end - begin) + i - begin) * d + k] = out[m][n][e] * factor;
      }
#endif
}

// w (padded, 2) of the kernel above.
__global__ void contrastive_fused_weights_kernel(const double* stats, const int64_t* counts, int64_t rows,
                                                 int64_t padded, int64_t n_views, ContrastSettings set, float* w) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= padded) return;
  if (i < rows) return row_weights(stats + 3 * i, counts + 2 * i, n_views, set, -log(kCoefficientScale), w + 2 * i);
  w[2 * i] = w[2 * i + 1] = 0;
}

}  // namespace physioclr::cuda
