// The version by tiles of hybrid_contrastive_loss on the CPU: what the CUDA kernels of cuda/contrastive_kernel.cuh
// compute, in plain loops. cpu/contrastive.cpp is the fast version; this one tests whoever drives the tiles, and the
// kernels.
#include <cmath>
#include <limits>
#include <vector>

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
    if (is_pair(t.id_i[r], t.id_j[c]))
      x.template add<MODE, SAFE>(t.s[r * t.cols + c], pair_feature<MODE>(t, r, c), scale);
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
              ? pair_coefficient<T, MODE, SAFE>(s, pair_feature<MODE>(t, r, c), w_i[2 * r], w_i[2 * r + 1], w_j[2 * c],
                                                w_j[2 * c + 1], scale)
              : T(0);
    }
}

template <class E>
void compute(const ContrastivePrepareCall<E>& call) {
  using T = ContrastNumber<E>;
  const int64_t d = call.anchor.cols, f = call.features.cols;
  for (int64_t i = 0; i < call.anchor.rows; ++i) {
    const E* x = call.anchor.row(i);
    const T* y = call.features.row(i);
    const double ff = sum_of_products(y, y, f);
    double hi = inverse_root(sum_of_products(x, x, d));
    if (!std::isfinite(ff)) hi = std::numeric_limits<double>::quiet_NaN();
    const double fi = inverse_root(ff);
    for (int64_t k = 0; k < d; ++k) call.h[i * d + k] = static_cast<T>(to_compute(x[k]) * hi);
    for (int64_t k = 0; k < f; ++k) call.unit[i * f + k] = static_cast<T>(y[k] * fi);
    call.inv_norm[i] = hi;
    if (ff == 0) call.id[i] = -1;
  }
}

template <class T>
void compute(const ContrastiveSimilarityCall<T>& call) {
  for (int64_t r = 0; r < call.a.rows; ++r)
    for (int64_t c = 0; c < call.b.rows; ++c) {
      T s = 0;
      for (int64_t k = 0; k < call.a.cols; ++k) s += call.a.row(r)[k] * call.b.row(c)[k];
      call.out[r * call.b.rows + c] = s;
    }
}

template <class T>
void compute(const ContrastiveSumsCall<T>& call) {
#define CALL(M, S) sums<T, M, S>(call.tile, call.settings, call.row_state, call.col_state)
  PHYSIOCLR_CONTRAST_TILE_VARIANTS(call.settings.mode, needs_maxima<T>(call.settings), CALL)
#undef CALL
}

template <class E>
void compute(const ContrastiveRowStatsCall<E>& call) {
  const ContrastBatch<E>& batch = call.batch;
  const int64_t d = batch.anchor.cols;
  for (int64_t i = 0; i < batch.owned(); ++i) {
    double sum[kRowState];
    clear_state(needs_maxima<ContrastNumber<E>>(call.settings), sum);
    for (int64_t p = 0; p < call.state.records; ++p) merge_state(call.settings, sum, call.state.lead(p, i));
    RowLoss row(sum, batch.n_views(), call.settings, call.counts + 2 * i);
    for (int64_t v = 0; v < batch.n_views(); ++v) {
      const E *x = batch.anchor.row(batch.begin + i), *y = batch.views.lead(v, i);
      row.add_view(sum_of_products(x, y, d) * call.inv_norm[batch.begin + i] * inverse_root(sum_of_products(y, y, d)));
    }
    row.finish(call.stats + 3 * i);
  }
}

template <class T>
void compute(const ContrastiveWeightsCall<T>& call) {
  const int64_t rows = call.stats.rows;
  const ContrastSettings& set = call.settings;
  int64_t used = 0;
  for (int64_t i = 0; i < rows; ++i) used += counts_row(call.counts + 2 * i, call.n_views, set.mode);
  *call.log_tn = std::log(set.tau * static_cast<double>(used ? used : 1));
  for (int64_t i = 0; i < rows; ++i)
    row_weights(call.stats.row(i), call.counts + 2 * i, call.n_views, set, *call.log_tn, call.w + 2 * i);
}

template <class T>
void compute(const ContrastiveCoefficientsCall<T>& call) {
#define CALL(M, S) coefficients<T, M, S>(call.tile, call.settings, call.w_i, call.w_j)
  PHYSIOCLR_CONTRAST_TILE_VARIANTS(call.settings.mode, needs_maxima<T>(call.settings), CALL)
#undef CALL
}

template <class E>
void compute(const ContrastiveRowGradientsCall<E>& call) {
  using T = ContrastNumber<E>;
  const ContrastBatch<E>& batch = call.batch;
  const int64_t n = batch.owned(), d = batch.anchor.cols;
  const double outer = *call.grad_loss;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t r = batch.begin + i;
    const E* x = batch.anchor.row(r);
    const double hi = call.inv_norm[r];
    T* g = call.grad_h.lead(0, i);
    for (int64_t p = 1; p < call.grad_h.records; ++p)
      for (int64_t k = 0; k < d; ++k) g[k] += call.grad_h.lead(p, i)[k];
    for (int64_t v = 0; v < batch.n_views(); ++v) {
      const E* y = batch.views.lead(v, i);
      E* gy = call.grad_views + (v * n + i) * d;
      const double inv = inverse_root(sum_of_products(y, y, d)), t = sum_of_products(x, y, d) * hi * inv;
      const double q =
          view_coefficient(t, call.stats + 3 * r, call.counts + 2 * r, batch.n_views(), call.settings, *call.log_tn);
      for (int64_t k = 0; k < d; ++k) {
        const double u = to_compute(y[k]) * inv;
        g[k] += static_cast<T>(q * u);
        from_compute(static_cast<T>(outer * q * (to_compute(x[k]) * hi - t * u) * inv), gy[k]);
      }
    }
    double along = 0;
    for (int64_t k = 0; k < d; ++k) along += g[k] * (to_compute(x[k]) * hi);
    for (int64_t k = 0; k < d; ++k)
      from_compute(static_cast<T>(outer * (g[k] - along * (to_compute(x[k]) * hi)) * hi), call.grad_anchor[i * d + k]);
  }
}

}  // namespace

#define PHYSIOCLR_RUN(name, ...)      \
  bool run(const __VA_ARGS__& call) { \
    compute(call);                    \
    return true;                      \
  }
PHYSIOCLR_CONTRASTIVE_TILE_CALLS(PHYSIOCLR_RUN)
#undef PHYSIOCLR_RUN

}  // namespace physioclr::cpu
