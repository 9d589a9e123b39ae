// The kernels of contrastive_pairs.h, for each of its modes.
#include "cpu/contrastive_pairs.h"

#include <algorithm>
#include <cmath>

#include "core/macros.h"
#include "cpu/simd_math.h"

namespace physioclr::cpu {
namespace {

// Whether column c is a pair of the row, and a positive one. group_j -1: padding of a mode without features.
template <class T, int MODE>
inline int is_any(const T* f, const Id<T>* group_j, Id<T> gi, int64_t c) {
  if (MODE == 4) return group_j[c] >= 0;
  if (MODE == 3 || MODE == 5) return (group_j[c] != gi) & (group_j[c] >= 0);
  return (f[c] == f[c]) & (group_j[c] != gi);
}
template <class T, int MODE>
inline int is_positive(const T* f, const Id<T>* group_j, Id<T> gi, T delta, int64_t c) {
  if (MODE == 4) return group_j[c] == gi;
  if (MODE == 3 || MODE == 5) return 0;
  return (f[c] >= delta) & (group_j[c] != gi);
}

template <class T, int MODE>
inline void raise_shifts(const PairTile<T>& t, const RowSums<T>& row, const RowSums<T>* col) {
  const T delta = t.delta;  // locals: no store can alias them
  const Id<T>* const group_j = t.group_j;
  T low0[kMaxTile], low1[kMaxTile];
  for (int64_t c = 0; c < t.cols; ++c) low0[c] = low1[c] = T(-2);
  const auto raise = [&t](const RowSums<T>& x, int64_t i, T m0, T m1) {
    if (m0 > x.shift[0][i]) {
      x.sum[0][i] *= std::exp((double(x.shift[0][i]) - m0) * t.inv_tau);
      x.shift[0][i] = m0;
    }
    if ((MODE == 0 || MODE == 2 || MODE == 5) && m1 > x.shift[1][i]) {
      const double scale = std::exp((double(x.shift[1][i]) - m1) * (MODE == 0 ? t.inv_tau : t.inv_tau_s));
      x.sum[1][i] *= scale;
      if (MODE == 2) x.sum[2][i] *= scale;
      x.shift[1][i] = m1;
    }
  };
  for (int64_t r = 0; r < t.rows; ++r) {
    const T *s = t.s + r * kMaxTile, *f = MODE >= 3 ? nullptr : t.f + r * kMaxTile;
    const auto gi = t.group_i[r];
    if (MODE >= 3 && gi < 0) continue;
    T m0 = -2, m1 = -2;
#pragma omp simd reduction(max : m0, m1)
    for (int64_t c = t.diagonal ? r + 1 : 0; c < t.cols; ++c) {
      const int pos = is_positive<T, MODE>(f, group_j, gi, delta, c), any = is_any<T, MODE>(f, group_j, gi, c);
      const T a = (MODE == 0 ? pos : any) ? s[c] : T(-2);
      const T b = (MODE == 0 ? any & !pos : any) ? (MODE == 2 ? f[c] : s[c]) : T(-2);
      m0 = m0 > a ? m0 : a;
      m1 = m1 > b ? m1 : b;
      low0[c] = low0[c] > a ? low0[c] : a;
      low1[c] = low1[c] > b ? low1[c] : b;
    }
    raise(row, r, m0, m1);
  }
  if (col)
    for (int64_t c = 0; c < t.cols; ++c) raise(*col, c, low0[c], low1[c]);
}

template <class T, int MODE, bool SAFE>
inline void add_sums(const PairTile<T>& t, const RowSums<T>& row, const RowSums<T>* col) {
  if (SAFE) raise_shifts<T, MODE>(t, row, col);
  const T inv_tau = t.inv_tau, inv_tau_s = t.inv_tau_s, delta = t.delta;  // locals: no store can alias them
  const Id<T>* const group_j = t.group_j;
  T col0[kMaxTile] = {}, col1[kMaxTile] = {}, col2[kMaxTile] = {}, colp[kMaxTile] = {}, zeros[kMaxTile] = {};
  const T* shift0 = SAFE && col ? col->shift[0] : zeros;
  const T* shift1 = SAFE && col ? col->shift[1] : zeros;
  for (int64_t r = 0; r < t.rows; ++r) {
    const T *s = t.s + r * kMaxTile, *f = MODE >= 3 ? nullptr : t.f + r * kMaxTile;
    const auto gi = t.group_i[r];
    if (MODE >= 3 && gi < 0) continue;
    const T m0 = SAFE ? row.shift[0][r] : T(1), m1 = SAFE ? row.shift[1][r] : T(1);
    T r0 = 0, r1 = 0, r2 = 0, rp = 0;
#pragma omp simd reduction(+ : r0, r1, r2, rp)
    for (int64_t c = t.diagonal ? r + 1 : 0; c < t.cols; ++c) {
      const int pos = is_positive<T, MODE>(f, group_j, gi, delta, c), any = is_any<T, MODE>(f, group_j, gi, c);
      rp += pos ? T(1) : T(0);
      colp[c] += pos ? T(1) : T(0);
      if (MODE == 0) {
        const int neg = any & !pos;
        const T e = exp_simd((s[c] - (SAFE && !pos ? m1 : m0)) * inv_tau);
        const T d = SAFE ? exp_simd((s[c] - (pos ? shift0[c] : shift1[c])) * inv_tau) : e;
        r0 += pos ? e : T(0);
        r1 += neg ? e : T(0);
        col0[c] += pos ? d : T(0);
        col1[c] += neg ? d : T(0);
      } else {
        const T e = exp_simd((s[c] - m0) * inv_tau);
        const T d = SAFE ? exp_simd((s[c] - shift0[c]) * inv_tau) : e;
        r0 += any ? e : T(0);
        col0[c] += any ? d : T(0);
        if (MODE == 1 || MODE == 4) {
          r2 += pos ? s[c] : T(0);
          col2[c] += pos ? s[c] : T(0);
        } else if (MODE == 2) {
          const T w = exp_simd((f[c] - m1) * inv_tau_s);
          const T x = SAFE ? exp_simd((f[c] - shift1[c]) * inv_tau_s) : w;
          r1 += any ? w : T(0);
          r2 += any ? w * s[c] : T(0);
          col1[c] += any ? x : T(0);
          col2[c] += any ? x * s[c] : T(0);
        } else if (MODE == 5) {
          const T w = exp_simd((s[c] - m1) * inv_tau_s);
          const T x = SAFE ? exp_simd((s[c] - shift1[c]) * inv_tau_s) : w;
          r1 += any ? w : T(0);
          col1[c] += any ? x : T(0);
        }
      }
    }
    row.sum[0][r] += r0;
    row.sum[1][r] += r1;
    row.sum[2][r] += r2;
    row.positives[r] += rp;
  }
  if (!col) return;
  for (int64_t c = 0; c < t.cols; ++c) {
    col->sum[0][c] += col0[c];
    col->sum[1][c] += col1[c];
    col->sum[2][c] += col2[c];
    col->positives[c] += colp[c];
  }
}

template <class T, int MODE, bool SAFE>
inline void coefficients(const PairTile<T>& t, const T* a_i, const T* b_i, const T* a_j, const T* b_j) {
  const T inv_tau = t.inv_tau, inv_tau_s = t.inv_tau_s, delta = t.delta;  // locals: no store can alias them
  const Id<T>* const group_j = t.group_j;
  for (int64_t r = 0; r < t.rows; ++r) {
    T* s = t.s + r * kMaxTile;
    const T* f = MODE >= 3 ? nullptr : t.f + r * kMaxTile;
    const auto gi = t.group_i[r];
    if (MODE >= 3 && gi < 0) {
      std::fill_n(s, t.cols, T(0));
      continue;
    }
    const T ai = a_i[r], bi = b_i[r];
    int64_t c0 = 0;
    if (t.diagonal)
      for (; c0 <= r && c0 < t.cols; ++c0) s[c0] = 0;
#pragma omp simd
    for (int64_t c = c0; c < t.cols; ++c) {
      const int pos = is_positive<T, MODE>(f, group_j, gi, delta, c), any = is_any<T, MODE>(f, group_j, gi, c);
      T g;
      if (MODE == 0) {
        const T wi = pos ? bi : ai, wj = pos ? b_j[c] : a_j[c];
        g = SAFE ? exp_simd((s[c] + wi) * inv_tau) + exp_simd((s[c] + wj) * inv_tau)
                 : exp_simd((s[c] - T(1)) * inv_tau) * (wi + wj);
        g = pos ? -g : g;
      } else {
        g = SAFE ? exp_simd((s[c] + ai) * inv_tau) + exp_simd((s[c] + a_j[c]) * inv_tau)
                 : exp_simd((s[c] - T(1)) * inv_tau) * (ai + a_j[c]);
        if (MODE == 1 || MODE == 4) g -= pos ? bi + b_j[c] : T(0);
        else if (MODE == 2)
          g -= SAFE ? exp_simd((f[c] + bi) * inv_tau_s) + exp_simd((f[c] + b_j[c]) * inv_tau_s)
                    : exp_simd((f[c] - T(1)) * inv_tau_s) * (bi + b_j[c]);
        else if (MODE == 5)
          g -= SAFE ? exp_simd((s[c] + bi) * inv_tau_s) + exp_simd((s[c] + b_j[c]) * inv_tau_s)
                    : exp_simd((s[c] - T(1)) * inv_tau_s) * (bi + b_j[c]);
      }
      s[c] = any ? g : T(0);
    }
  }
}

// col may be null.
template <class T, int MODE>
inline void add_measures(const PairTile<T>& t, const RowMeasures& row, const RowMeasures* col) {
  const T inv_tau_s = t.inv_tau_s, delta = t.delta;
  const Id<T>* const group_j = t.group_j;
  T col0[kMaxTile] = {}, col1[kMaxTile] = {}, col2[kMaxTile] = {}, col3[kMaxTile] = {};
  for (int64_t r = 0; r < t.rows; ++r) {
    const T *s = t.s + r * kMaxTile, *f = MODE >= 3 ? nullptr : t.f + r * kMaxTile;
    const auto gi = t.group_i[r];
    if (MODE >= 3 && gi < 0) continue;
    T r0 = 0, r1 = 0, r2 = 0, r3 = 0;
#pragma omp simd reduction(+ : r0, r1, r2, r3)
    for (int64_t c = t.diagonal ? r + 1 : 0; c < t.cols; ++c) {
      const int any = is_any<T, MODE>(f, group_j, gi, c);
      if (MODE == 0 || MODE == 2) {
        const int pos = is_positive<T, MODE>(f, group_j, gi, delta, c);
        r3 += pos ? s[c] : T(0);
        col3[c] += pos ? s[c] : T(0);
      }
      const T e = exp_simd((s[c] - T(1)) * T(4));
      r0 += any ? e : T(0);
      col0[c] += any ? e : T(0);
      if (MODE == 2) {
        const T w = exp_simd((f[c] - T(1)) * inv_tau_s);
        r1 += any ? w : T(0);
        col1[c] += any ? w : T(0);
        r2 += any ? w * w : T(0);
        col2[c] += any ? w * w : T(0);
      }
    }
    row.closeness[r] += r0;
    row.weight[r] += r1;
    row.square[r] += r2;
    row.cosine[r] += r3;
  }
  if (!col) return;
  for (int64_t c = 0; c < t.cols; ++c) {
    col->closeness[c] += col0[c];
    col->weight[c] += col1[c];
    col->square[c] += col2[c];
    col->cosine[c] += col3[c];
  }
}

// ---- entries, with all their variants inlined

#define PHYSIOCLR_TILE_VARIANTS(MODE, SAFE, CALL) \
  if (MODE == Contrast::kInstance) {              \
    if (SAFE) {                                   \
      CALL(3, true);                              \
    } else {                                      \
      CALL(3, false);                             \
    }                                             \
  } else if (MODE == Contrast::kLabels) {         \
    if (SAFE) {                                   \
      CALL(4, true);                              \
    } else {                                      \
      CALL(4, false);                             \
    }                                             \
  } else if (MODE == Contrast::kHard) {           \
    if (SAFE) {                                   \
      CALL(5, true);                              \
    } else {                                      \
      CALL(5, false);                             \
    }                                             \
  } else {                                        \
    PHYSIOCLR_CONTRAST_VARIANTS(MODE, SAFE, CALL) \
  }

template <class T>
PHYSIOCLR_FLAT void sums_of(const PairTile<T>& t, Contrast mode, bool safe, const RowSums<T>& row,
                            const RowSums<T>* col) {
#define PHYSIOCLR_CALL(M, S) add_sums<T, M, S>(t, row, col)
  PHYSIOCLR_TILE_VARIANTS(mode, safe, PHYSIOCLR_CALL)
#undef PHYSIOCLR_CALL
}

template <class T>
PHYSIOCLR_FLAT void coefficients_of(const PairTile<T>& t, Contrast mode, bool safe, const T* a_i, const T* b_i,
                                    const T* a_j, const T* b_j) {
#define PHYSIOCLR_CALL(M, S) coefficients<T, M, S>(t, a_i, b_i, a_j, b_j)
  PHYSIOCLR_TILE_VARIANTS(mode, safe, PHYSIOCLR_CALL)
#undef PHYSIOCLR_CALL
}

template <class T>
PHYSIOCLR_FLAT void measures_of(const PairTile<T>& t, Contrast mode, const RowMeasures& row, const RowMeasures* col) {
  if (mode == Contrast::kRatio) add_measures<T, 0>(t, row, col);
  else if (mode == Contrast::kLabels) add_measures<T, 4>(t, row, col);
  else if (mode == Contrast::kSoft) add_measures<T, 2>(t, row, col);
  else if (mode == Contrast::kInstance || mode == Contrast::kHard) add_measures<T, 3>(t, row, col);
  else add_measures<T, 1>(t, row, col);
}

}  // namespace

const ContrastiveKernels PHYSIOCLR_ISA::contrastive_kernels{
    {sums_of<float>, coefficients_of<float>, measures_of<float>},
    {sums_of<double>, coefficients_of<double>, measures_of<double>}};

}  // namespace physioclr::cpu
