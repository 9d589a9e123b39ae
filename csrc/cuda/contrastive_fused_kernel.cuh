#pragma once
// hybrid_contrastive_loss on tensor cores: cosines, similarities, sums (forward) or coefficients and their product with
// the rows (backward) without leaving the chip. A block owns 32 WM rows and takes all columns of its strip, a tile at a
// time, in shared memory; the next tile arrives while it computes. Each warp makes 32 x 32 pairs (SplitHalf: 32 x 16).
// Version 1 is contrastive_kernel.cuh around torch.mm; this is version 2.
//
// X says what is multiplied (ContrastRows). Half and BFloat: the embeddings times a power of 2, s = x_i . x_j r_i r_j,
// and coefficients rounded to X before the second product, as softmax weights are in attention kernels (Dao 2023).
// Float32 embeddings rounded to Half have the 11-bit significand of TF32 at twice its rate. SplitHalf: x = high + low,
// of which high high + high low + low high has float32 accuracy (Ootomo & Yokota 2022, section 3), the features' form
// with any X. The factor 1024 tau n keeps coefficients within float16's range. Bodies only, so that this file also
// compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/contrastive_math.h"
#include "cuda/block_sum.cuh"
#include "cuda/mma.cuh"
#include "ops.h"

namespace physioclr::cuda {

constexpr int kSkew = 8;  // 16-bit numbers between the rows in shared memory: rows of a fragment in different banks
// SplitHalf: tiles after which the gradient is added to memory. Tensor cores cut their sums off (Fasi et al. 2021); cut
// off in each of thousands of tiles they would be short by more than float32's accuracy allows.
constexpr int kFlush = 64;
// Columns of a warp. Numbers of two parts need the room of two.
template <class X>
constexpr int kWarpCols = 32 / Operand<X>::kParts;

// Bytes of dynamic shared memory.
template <class X>
PHYSIOCLR_HD int64_t fused_shared(int dk, int fk, int wm, int wn, bool backward) {
  constexpr int kParts = Operand<X>::kParts;
  const int64_t rows = 32 * wm, cols = kWarpCols<X> * wn, row = 2 * (kParts * dk + kSkew) + 2 * (2 * fk + kSkew);
  const int64_t sums = rows * 4 * wn * kRowState * 8;  // takes the place of everything at the end of the forward pass
  const int64_t all = rows * row + 2 * cols * (row + 16) + (backward ? 2 * rows * (kParts * cols + kSkew) : 0);
  return !backward && sums > all ? sums : all;
}

// One block per padded row: x times 2^-e, r = inv_norm 2^e, and the split features.
template <class E, class X>
__global__ void contrastive_fused_prepare_kernel(const E* anchor, int64_t n, int64_t d, const float* features,
                                                 int64_t f, const int32_t* group, ContrastRows<X> out,
                                                 double* inv_norm) {
  __shared__ double part[kRowThreads];
  const int64_t i = blockIdx.x;
  const bool in = i < n;
  const int dk = out.dk, fk = out.fk;
  const E* a = anchor + i * d;
  const float* y = features + i * f;
  double ff = in ? block_dot(y, y, f, part) : 0, aa = in ? block_dot(a, a, d, part) : 0;
  const double fi = inverse_root(ff), hi = inverse_root(aa);
  int e = 0;
  if (aa > 0 && aa - aa == 0) frexp(sqrt(aa), &e);
  e -= kRowExponent;
  const double power = ldexp(1.0, -e);
  for (int k = threadIdx.x; k < dk; k += blockDim.x) {
    const float x = in && k < d ? static_cast<float>(to_compute(a[k]) * power) : 0.0f;
    if constexpr (Operand<X>::kParts == 2) split(x, out.x[i * 2 * dk + k], out.x[i * 2 * dk + dk + k]);
    else from_compute(x, out.x[i * dk + k]);
  }
  for (int k = threadIdx.x; k < fk; k += blockDim.x) {
    const float v = in && k < f ? static_cast<float>(y[k] * fi) * kFeatureScale : 0.0f;
    split(v, out.f[i * 2 * fk + k], out.f[i * 2 * fk + fk + k]);
  }
  if (threadIdx.x != 0) return;
  const bool bad = !(ff - ff == 0);
  const double residual = hi * ldexp(1.0, e);
  out.r[i] = static_cast<float>(bad ? ff - ff : residual);  // NaN, for the loss to show
  out.id[i] = in && ff != 0 ? group[i] : -1;
  if (in) inv_norm[i] = bad ? ff - ff : hi;
}

// This thread's place in a block, its shared memory and the tiles that it is to meet.
template <class X, int DK, int WM, int WN>
struct FusedTile {
  using Number = typename Operand<X>::Number;
  static constexpr int kParts = Operand<X>::kParts, kN = kWarpCols<X> / 8;  // 16 x 8 products of a warp side by side
  static constexpr int kRows = 32 * WM, kCols = kWarpCols<X> * WN, kThreads = 32 * WM * WN;
  static constexpr int kWidth = kParts * DK, kX = kWidth + kSkew, kG = kParts * kCols + kSkew;
  static constexpr int kOut = DK / WN / 8;  // 16 x 8 results of a warp side by side in the second product
  struct Column {                           // of the columns in shared memory
    float r, a, b;
    int32_t id;
  };
  const ContrastRows<X> in;
  const float* const w;  // weights of the columns; null in the forward pass
  unsigned char* const
      shared;  // rows, their features; two buffers of columns: rows, features, their Column; coefficients
  int f_row, lane, wm, wn;
  int i0, j0, count;  // first row, first column, number of tiles; rows are numbered in 32 bits, as groups are

  // The block of rows blockIdx.x from `begin` on and strip blockIdx.y of `tiles` tiles; starts the first copies.
  __device__ FusedTile(unsigned char* p, const ContrastRows<X>& rows, const float* weights, int64_t begin,
                       int64_t tiles)
      : in(rows), w(weights), shared(p), f_row(2 * rows.fk + kSkew) {
    const int tid = threadIdx.x, warp = tid / 32;
    lane = tid % 32, wm = warp / WN, wn = warp % WN;
    i0 = static_cast<int>(begin) + static_cast<int>(blockIdx.x) * kRows;
    j0 = static_cast<int>(blockIdx.y) * static_cast<int>(tiles) * kCols;
    const int left = (static_cast<int>(in.padded) - j0) / kCols;
    count = tiles < left ? static_cast<int>(tiles) : left;
    fetch(i0, kRows, xi(), fi());
    if (count > 0) fetch_columns(0);
  }
  __device__ int columns(int s) const { return (2 * kRows + 2 * kCols * s) * (kX + f_row) + 16 * kCols * s; }
  __device__ Number* xi() const { return reinterpret_cast<Number*>(shared); }
  __device__ Half* fi() const { return reinterpret_cast<Half*>(shared + 2 * kRows * kX); }
  __device__ Number* xj(int s) const { return reinterpret_cast<Number*>(shared + columns(s)); }
  __device__ Half* fj(int s) const { return reinterpret_cast<Half*>(shared + columns(s) + 2 * kCols * kX); }
  __device__ Column* col(int s) const {
    return reinterpret_cast<Column*>(shared + columns(s) + 2 * kCols * (kX + f_row));
  }
  __device__ Number* g() const { return reinterpret_cast<Number*>(shared + columns(2)); }
  // Starts the copy of `rows` rows from row0 on.
  __device__ void fetch(int row0, int rows, Number* x, Half* f) const {
    for (int e = threadIdx.x; e < rows * (kWidth / 8); e += kThreads) {
      const int row = e / (kWidth / 8), k = e % (kWidth / 8) * 8;
      copy_16(x + row * kX + k, in.x + static_cast<int64_t>(row0 + row) * kWidth + k);
    }
    const int chunks = in.fk / 4;  // 2 fk numbers, 8 at a time
    for (int e = threadIdx.x; e < rows * chunks; e += kThreads) {
      const int row = e / chunks, k = e % chunks * 8;
      copy_16(f + row * f_row + k, in.f + static_cast<int64_t>(row0 + row) * 2 * in.fk + k);
    }
  }
  __device__ void fetch_columns(int tile) const {
    const int s = tile % 2;
    fetch(j0 + tile * kCols, kCols, xj(s), fj(s));
    for (int c = threadIdx.x; c < kCols; c += kThreads) {
      const int j = j0 + tile * kCols + c;
      col(s)[c] = {in.r[j], w ? w[2 * static_cast<int64_t>(j)] : 0.0f, w ? w[2 * static_cast<int64_t>(j) + 1] : 0.0f,
                   in.id[j]};
    }
  }
  // Waits for a tile and starts the copy of the next; the buffer that holds it.
  __device__ int next(int tile) const {
    wait_for_copies();
    __syncthreads();  // the tile is there, and nobody still reads the one before it, or its coefficients
    if (tile + 1 < count) fetch_columns(tile + 1);
    return tile % 2;
  }
  // acc[m][n] += the 16 x 8 products of this warp over `width` numbers of the rows a and b, `row` from one to the next.
  template <class N>
  __device__ void products(const N* a, const N* b, int row, int width, float acc[2][kN][4]) const {
    const N* pa = a + (wm * 32 + lane % 16) * row + lane / 16 * 8;
    const N* pb = b + (wn * kWarpCols<X> + lane / 16 * 8 + lane % 8) * row + lane / 8 % 2 * 8;
#pragma unroll 2
    for (int k = 0; k < width; k += 16) {
      uint32_t fa[2][4], fb[kN / 2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) load_matrices<false>(fa[m], pa + m * 16 * row + k);
#pragma unroll
      for (int n = 0; n < kN / 2; ++n) load_matrices<false>(fb[n], pb + n * 16 * row + k);
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < kN; ++n) mma(acc[m][n], fa[m], fb[n / 2] + n % 2 * 2, N());
    }
  }
  // The same of rows of `width` high parts and `width` low ones. The small products are summed on their own: tensor
  // cores cut sums off, and so they lose no more than the large ones do.
  __device__ void split_products(const Half* a, const Half* b, int row, int width, float acc[2][kN][4]) const {
    const Half* pa = a + (wm * 32 + lane % 16) * row + lane / 16 * 8;
    const Half* pb = b + (wn * kWarpCols<X> + lane / 16 * 8 + lane % 8) * row + lane / 8 % 2 * 8;
    float small[2][kN][4];
    clear(small);
#pragma unroll 1
    for (int k = 0; k < width; k += 16) {
      uint32_t fa[2][2][4], fb[2][kN / 2][4];  // high and low parts
#pragma unroll
      for (int p = 0; p < 2; ++p) {
#pragma unroll
        for (int m = 0; m < 2; ++m) load_matrices<false>(fa[p][m], pa + m * 16 * row + p * width + k);
#pragma unroll
        for (int n = 0; n < kN / 2; ++n) load_matrices<false>(fb[p][n], pb + n * 16 * row + p * width + k);
      }
#pragma unroll
      for (int q = 0; q < 3; ++q)  // high high, high low, low high
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
          for (int n = 0; n < kN; ++n)
            mma(q ? small[m][n] : acc[m][n], fa[q / 2][m], fb[q % 2][n / 2] + n % 2 * 2, Half());
    }
    add(acc, small);
  }
  template <int N>
  static __device__ void clear(float x[2][N][4]) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) x[m][n][e] = 0;
  }
  template <int N>
  static __device__ void add(float x[2][N][4], const float y[2][N][4]) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) x[m][n][e] += y[m][n][e];
  }
  // Cosines (without the factors r) and similarities times kFeatureScale^2 of this warp's pairs.
  __device__ void pairs(int s, float cosine[2][kN][4], float similarity[2][kN][4]) const {
    clear<kN>(similarity);
    clear<kN>(cosine);
    split_products(fi(), fj(s), f_row, in.fk, similarity);
    if constexpr (kParts == 2) split_products(xi(), xj(s), kX, DK, cosine);
    else products(xi(), xj(s), kX, DK, cosine);
  }
  // Row (of the block) and column (of the tile) of element e of fragment (m, n).
  __device__ int row_of(int m, int e) const { return wm * 32 + m * 16 + lane / 4 + e / 2 * 8; }
  __device__ int col_of(int n, int e) const { return wn * kWarpCols<X> + n * 8 + lane % 4 * 2 + e % 2; }

  // The coefficients of (row, c) and (row, c + 1), c even, as the second product takes them.
  __device__ void store_coefficients(int row, int c, float first, float second) const {
    const uint32_t two = pack(first, second, Number());
    *reinterpret_cast<uint32_t*>(g() + row * kG + c) = two;
    if constexpr (kParts == 2)
      *reinterpret_cast<uint32_t*>(g() + row * kG + kCols + c) =
          pack(first - half_of(two, 0, Number()), second - half_of(two, 1, Number()), Number());
  }
  // out += coefficients times rows of the columns: this warp's 32 rows and its share of the width.
  __device__ void second_product(int s, float out[2][kOut][4]) const {
    const Number* pa = g() + (wm * 32 + lane % 16) * kG + lane / 16 * 8;
    // of two fragments at a time, two beside each other or the high and the low part of one
    const Number* pb = xj(s) + (lane / 8 % 2 * 8 + lane % 8) * kX + wn * (DK / WN) + lane / 16 * (kParts == 2 ? DK : 8);
    if constexpr (kParts == 1) {
#pragma unroll 1
      for (int c = 0; c < kCols; c += 16) {
        uint32_t fa[2][4], fb[4];
        load_matrices<false>(fa[0], pa + c);
        load_matrices<false>(fa[1], pa + 16 * kG + c);
#pragma unroll
        for (int n = 0; n < kOut; n += 2) {
          load_matrices<true>(fb, pb + c * kX + n * 8);
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            mma(out[m][n], fa[m], fb, Number());
            mma(out[m][n + 1], fa[m], fb + 2, Number());
          }
        }
      }
    } else {
#pragma unroll 1
      for (int c = 0; c < kCols; c += 16) {
        uint32_t fa[2][2][4], fb[4];  // high and low parts; of fb, too
#pragma unroll
        for (int p = 0; p < 2; ++p)
#pragma unroll
          for (int m = 0; m < 2; ++m) load_matrices<false>(fa[p][m], pa + m * 16 * kG + p * kCols + c);
#pragma unroll
        for (int n = 0; n < kOut; ++n) {
          load_matrices<true>(fb, pb + c * kX + n * 8);
#pragma unroll
          for (int q = 0; q < 3; ++q)  // low high, high low, high high
#pragma unroll
            for (int m = 0; m < 2; ++m) mma(out[m][n], fa[q == 0][m], fb + (q == 1) * 2, Number());
        }
      }
    }
  }
};

template <int MODE, bool SAFE, class Tile>
__device__ void fused_add(const Tile& t, int s, const float cosine[2][Tile::kN][4],
                          const float similarity[2][Tile::kN][4], const float* ri, const int32_t* idi,
                          const PairScale<float>& scale, PairSums<float>* sums) {
#pragma unroll
  for (int n = 0; n < Tile::kN; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const typename Tile::Column col = t.col(s)[t.col_of(n, c)];
#pragma unroll
      for (int q = 0; q < 4; ++q) {  // the rows g, g + 8, g + 16, g + 24
        const int m = q / 2, e = q % 2 * 2 + c;
        if (is_pair(idi[q], col.id))
          sums[q].template add<MODE, SAFE>(cosine[m][n][e] * (ri[q] * col.r),
                                           similarity[m][n][e] * (1 / (kFeatureScale * kFeatureScale)), scale);
      }
    }
}

// Forward: state (strips, end - begin, kRowState).
template <class X, int DK, int WM, int WN>
__global__ void __launch_bounds__(32 * WM * WN)
    contrastive_fused_rows_kernel(ContrastRows<X> in, ContrastSettings set, int64_t begin, int64_t end, int64_t tiles,
                                  double* state) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Tile = FusedTile<X, DK, WM, WN>;
  PHYSIOCLR_DYNAMIC_SHARED(unsigned char, shared);
  const Tile t(shared, in, nullptr, begin, tiles);
  const PairScale<float> scale(set);
  const bool safe = needs_maxima<float>(set);
  float ri[4];
  int32_t idi[4];
  for (int q = 0; q < 4; ++q) {
    const int64_t i = t.i0 + t.row_of(q / 2, q % 2 * 2);
    ri[q] = in.r[i];
    idi[q] = in.id[i];
  }
  PairSums<float> sums[4] = {PairSums<float>(safe), PairSums<float>(safe), PairSums<float>(safe),
                             PairSums<float>(safe)};
  for (int k = 0; k < t.count; ++k) {
    const int s = t.next(k);
    float cosine[2][Tile::kN][4], similarity[2][Tile::kN][4];
    t.pairs(s, cosine, similarity);
#define CALL(MODE, SAFE) fused_add<MODE, SAFE>(t, s, cosine, similarity, ri, idi, scale, sums)
    PHYSIOCLR_CONTRAST_VARIANTS(set.mode, safe, CALL)
#undef CALL
  }
  wait_for_copies();  // a strip without tiles has not waited for its rows, and they lie where the sums go
  __syncthreads();
  double* part = reinterpret_cast<double*>(shared);  // [row][part of the columns][kRowState]
  constexpr int kParts = 4 * WN;
  for (int q = 0; q < 4; ++q)
    store_state(sums[q], part + (t.row_of(q / 2, q % 2 * 2) * kParts + t.wn * 4 + t.lane % 4) * kRowState);
  __syncthreads();
  for (int row = threadIdx.x; row < Tile::kRows; row += Tile::kThreads) {
    const int64_t i = t.i0 + row;
    if (i >= end) continue;
    double* first = part + row * kParts * kRowState;
    for (int p = 1; p < kParts; ++p) merge_state(set, first, first + p * kRowState);
    double* out = state + (blockIdx.y * (end - begin) + i - begin) * kRowState;
    for (int q = 0; q < kRowState; ++q) out[q] = first[q];
  }
#endif
}

template <int MODE, bool SAFE, class Tile>
__device__ void fused_coefficients(const Tile& t, int s, const float cosine[2][Tile::kN][4],
                                   const float similarity[2][Tile::kN][4], const float* ri, const int32_t* idi,
                                   const float* ai, const float* bi, const PairScale<float>& scale) {
#pragma unroll
  for (int n = 0; n < Tile::kN; ++n) {
    const typename Tile::Column c0 = t.col(s)[t.col_of(n, 0)], c1 = t.col(s)[t.col_of(n, 1)];
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const int m = q / 2, e = q % 2 * 2;
      const auto one = [&](const typename Tile::Column& c, float x, float f) {
        if (!is_pair(idi[q], c.id)) return 0.0f;
        return c.r * pair_coefficient<float, MODE, SAFE>(x * (ri[q] * c.r), f * (1 / (kFeatureScale * kFeatureScale)),
                                                         ai[q], bi[q], c.a, c.b, scale);
      };
      t.store_coefficients(t.row_of(m, e), t.col_of(n, 0), one(c0, cosine[m][n][e], similarity[m][n][e]),
                           one(c1, cosine[m][n][e + 1], similarity[m][n][e + 1]));
    }
  }
}

// Backward: grad_h (strips, end - begin, d) = sum_j G_ij h_j over the columns of each strip. w (padded, 2): row_weights
// with the factor kCoefficientScale tau n.
template <class X, int DK, int WM, int WN, int FLUSH = kFlush>
__global__ void __launch_bounds__(32 * WM * WN)
    contrastive_fused_backward_kernel(ContrastRows<X> in, ContrastSettings set, int64_t begin, int64_t end,
                                      int64_t tiles, const float* w, const double* log_tn, int64_t d, float* grad_h) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Tile = FusedTile<X, DK, WM, WN>;
  PHYSIOCLR_DYNAMIC_SHARED(unsigned char, shared);
  const Tile t(shared, in, w, begin, tiles);
  const PairScale<float> scale(set);
  const bool safe = needs_maxima<float>(set);
  const float factor = static_cast<float>(exp(-*log_tn) / kCoefficientScale);
  for (int first = 0; first == 0 || first < t.count; first += FLUSH) {  // a strip without tiles writes zeros
    const int last = Tile::kParts == 2 && first + FLUSH < t.count ? first + FLUSH : t.count;
    float out[2][Tile::kOut][4];
    Tile::template clear<Tile::kOut>(out);
    for (int k = first; k < last; ++k) {
      const int s = t.next(k);
      {
        float cosine[2][Tile::kN][4], similarity[2][Tile::kN][4], ri[4], ai[4], bi[4];
        int32_t idi[4];
        t.pairs(s, cosine, similarity);
#pragma unroll
        for (int q = 0; q < 4; ++q) {  // read again for each tile: registers are what is short here
          const int64_t i = t.i0 + t.row_of(q / 2, q % 2 * 2);
          ri[q] = in.r[i], idi[q] = in.id[i], ai[q] = w[2 * i], bi[q] = w[2 * i + 1];
        }
#define CALL(MODE, SAFE) fused_coefficients<MODE, SAFE>(t, s, cosine, similarity, ri, idi, ai, bi, scale)
        PHYSIOCLR_CONTRAST_VARIANTS(set.mode, safe, CALL)
#undef CALL
      }
      __syncthreads();  // a warp needs the coefficients of its rows from the warps beside it
      t.second_product(s, out);
    }
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int v = 0; v < 2; ++v) {
        const int64_t i = t.i0 + t.row_of(m, 2 * v);
        float* row = grad_h + (blockIdx.y * (end - begin) + i - begin) * d;
        const int c0 = t.wn * (DK / WN) + t.lane % 4 * 2, width = i < end ? static_cast<int>(d) - c0 : 0;
#pragma unroll
        for (int n = 0; n < Tile::kOut; ++n)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (n * 8 + e < width) {
              float* to = row + c0 + n * 8 + e;
              *to = out[m][n][2 * v + e] * factor + (Tile::kParts == 2 && first ? *to : 0.0f);
            }
      }
    if (Tile::kParts == 1) return;
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
