// The tile version of hybrid_contrastive_loss on the CPU: what the CUDA kernels of cuda/contrastive_kernel.cuh compute,
// in plain loops. contrastive.cpp is the fast version; this one tests whoever drives the tiles, and the kernels.
#include <cmath>
#include <limits>
#include <vector>

#include "core/contrastive_instances.h"
#include "core/contrastive_math.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

template <class T>
double sum_of_products(const T* x, const T* y, int64_t n) {
  double s = 0;
  for (int64_t k = 0; k < n; ++k) s += static_cast<double>(to_compute(x[k])) * to_compute(y[k]);
  return s;
}

double inverse_root(double ss) { return ss == 0 ? 0 : 1 / std::sqrt(ss); }

template <class T, int MODE, bool SAFE>
void sums(const ContrastTile<T>& t, const ContrastSettings& set, double* row_state, double* col_state) {
  const PairScale<T> scale(set);
  double state[kRowState];
  const auto add = [&](PairSums<T>& x, int64_t r, int64_t c) {
    if (is_pair(t.id_i[r], t.id_j[c])) x.template add<MODE, SAFE>(t.s[r * t.cols + c], t.f[r * t.cols + c], scale);
  };
  for (int64_t r = 0; r < t.rows; ++r) {
    PairSums<T> x(SAFE);
    for (int64_t c = 0; c < t.cols; ++c) add(x, r, c);
    store_state(x, state);
    merge_state(set, row_state + r * kRowState, state);
  }
  for (int64_t c = 0; col_state && c < t.cols; ++c) {
    PairSums<T> x(SAFE);
    for (int64_t r = 0; r < t.rows; ++r) add(x, r, c);
    store_state(x, state);
    merge_state(set, col_state + c * kRowState, state);
  }
}

template <class T, int MODE, bool SAFE>
void coefficients(const ContrastTile<T>& t, const ContrastSettings& set, const T* w_i, const T* w_j) {
  const PairScale<T> scale(set);
  for (int64_t r = 0; r < t.rows; ++r)
    for (int64_t c = 0; c < t.cols; ++c) {
      T& s = t.s[r * t.cols + c];
      s = is_pair(t.id_i[r], t.id_j[c])
              ? pair_coefficient<T, MODE, SAFE>(s, t.f[r * t.cols + c], w_i[2 * r], w_i[2 * r + 1], w_j[2 * c],
                                                w_j[2 * c + 1], scale)
              : T(0);
    }
}

}  // namespace

template <class T, class E>
void contrastive_prepare(Matrix<const E> anchor, Matrix<const T> features, T* h, T* unit, double* inv_norm, int32_t* id) {
  const int64_t d = anchor.cols, f = features.cols;
  for (int64_t i = 0; i < anchor.rows; ++i) {
    const E* x = anchor.row(i);
    const T* y = features.row(i);
    const double ff = sum_of_products(y, y, f);
    double hi = inverse_root(sum_of_products(x, x, d));
    if (!std::isfinite(ff)) hi = std::numeric_limits<double>::quiet_NaN();
    const double fi = inverse_root(ff);
    for (int64_t k = 0; k < d; ++k) h[i * d + k] = static_cast<T>(to_compute(x[k]) * hi);
    for (int64_t k = 0; k < f; ++k) unit[i * f + k] = static_cast<T>(y[k] * fi);
    inv_norm[i] = hi;
    if (ff == 0) id[i] = -1;
  }
}

template <class T>
void contrastive_tile_similarity(Matrix<const T> a, Matrix<const T> b, T* out) {
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t c = 0; c < b.rows; ++c) {
      T s = 0;
      for (int64_t k = 0; k < a.cols; ++k) s += a.row(r)[k] * b.row(c)[k];
      out[r * b.rows + c] = s;
    }
}

template <class T>
void contrastive_tile_sums(const ContrastTile<T>& tile, const ContrastSettings& set, double* row_state,
                           double* col_state) {
#define CALL(M, S) sums<T, M, S>(tile, set, row_state, col_state)
  PHYSIOCLR_CONTRAST_VARIANTS(set.mode, needs_maxima<T>(set), CALL)
#undef CALL
}

template <class T, class E>
void contrastive_row_stats(Matrix<const E> anchor, const E* views, int64_t n_views, int64_t begin, int64_t end,
                           const double* inv_norm, const double* state, int64_t strips, const ContrastSettings& set,
                           double* stats, int64_t* counts) {
  const int64_t n = end - begin, d = anchor.cols;
  for (int64_t i = 0; i < n; ++i) {
    double sum[kRowState];
    clear_state(needs_maxima<T>(set), sum);
    for (int64_t p = 0; p < strips; ++p) merge_state(set, sum, state + (p * n + i) * kRowState);
    RowLoss row(sum, n_views, set, counts + 2 * i);
    for (int64_t v = 0; v < n_views; ++v) {
      const E *x = anchor.row(begin + i), *y = views + (v * n + i) * d;
      row.add_view(sum_of_products(x, y, d) * inv_norm[begin + i] * inverse_root(sum_of_products(y, y, d)));
    }
    row.finish(stats + 3 * i);
  }
}

template <class T>
void contrastive_weights(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views,
                         const ContrastSettings& set, double* log_tn, T* w) {
  int64_t used = 0;
  for (int64_t i = 0; i < rows; ++i) used += counts_row(counts + 2 * i, n_views, set.mode);
  *log_tn = std::log(set.tau * static_cast<double>(used ? used : 1));
  for (int64_t i = 0; i < rows; ++i) row_weights(stats + 3 * i, counts + 2 * i, n_views, set, *log_tn, w + 2 * i);
}

template <class T>
void contrastive_tile_coefficients(const ContrastTile<T>& tile, const ContrastSettings& set, const T* w_i,
                                   const T* w_j) {
#define CALL(M, S) coefficients<T, M, S>(tile, set, w_i, w_j)
  PHYSIOCLR_CONTRAST_VARIANTS(set.mode, needs_maxima<T>(set), CALL)
#undef CALL
}

template <class T, class E>
void contrastive_row_gradients(const double* grad_loss, Matrix<const E> anchor, const E* views, int64_t n_views,
                               int64_t begin, int64_t end, const double* inv_norm, T* grad_h, int64_t strips,
                               const double* stats, const int64_t* counts, const double* log_tn,
                               const ContrastSettings& set, E* grad_anchor, E* grad_views) {
  const int64_t n = end - begin, d = anchor.cols;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t r = begin + i;
    const E* x = anchor.row(r);
    T* g = grad_h + i * d;
    for (int64_t p = 1; p < strips; ++p)
      for (int64_t k = 0; k < d; ++k) g[k] += grad_h[(p * n + i) * d + k];
    for (int64_t v = 0; v < n_views; ++v) {
      const E* y = views + (v * n + i) * d;
      E* gy = grad_views + (v * n + i) * d;
      const double inv = inverse_root(sum_of_products(y, y, d)), t = sum_of_products(x, y, d) * inv_norm[r] * inv;
      const double q = view_coefficient(t, stats + 3 * r, counts + 2 * r, n_views, set, *log_tn);
      for (int64_t k = 0; k < d; ++k) {
        const double u = to_compute(y[k]) * inv;
        g[k] += static_cast<T>(q * u);
        from_compute(static_cast<T>(*grad_loss * q * (to_compute(x[k]) * inv_norm[r] - t * u) * inv), gy[k]);
      }
    }
    double along = 0;
    for (int64_t k = 0; k < d; ++k) along += g[k] * (to_compute(x[k]) * inv_norm[r]);
    for (int64_t k = 0; k < d; ++k)
      from_compute(static_cast<T>(*grad_loss * (g[k] - along * (to_compute(x[k]) * inv_norm[r])) * inv_norm[r]),
                   grad_anchor[i * d + k]);
  }
}

PHYSIOCLR_CONTRASTIVE_TILES()

}  // namespace physioclr::cpu
