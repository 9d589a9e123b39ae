// The fused version of hybrid_contrastive_loss in plain loops over the operands of the tensor cores: what
// cuda/contrastive_fused_kernel.cuh computes, up to the order of its sums.
#include <cmath>
#include <limits>
#include <vector>

#include "core/contrastive_instances.h"
#include "core/contrastive_math.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

template <class E>
float cosine(const ContrastRows<E>& in, int64_t i, int64_t j) {
  float s = 0;
  for (int k = 0; k < in.dk; ++k) s += to_compute(in.x[i * in.dk + k]) * to_compute(in.x[j * in.dk + k]);
  return s * (in.r[i] * in.r[j]);
}

template <class E>
float similarity(const ContrastRows<E>& in, int64_t i, int64_t j) {
  const Half *a = in.f + i * 2 * in.fk, *b = in.f + j * 2 * in.fk;
  float s = 0;
  for (int k = 0; k < in.fk; ++k) {
    const float ah = to_compute(a[k]), al = to_compute(a[in.fk + k]), bh = to_compute(b[k]), bl = to_compute(b[in.fk + k]);
    s += ah * bh + ah * bl + al * bh;
  }
  return s / (kFeatureScale * kFeatureScale);
}

template <int MODE>
float coefficient(float s, float f, const float* wi, const float* wj, const PairScale<float>& scale) {
  return pair_coefficient<float, MODE, false>(s, f, wi[0], wi[1], wj[0], wj[1], scale);
}

}  // namespace

template <class E>
void contrastive_fused_prepare(Matrix<const E> anchor, Matrix<const float> features, const int32_t* group,
                               const ContrastRows<E>& rows, double* inv_norm) {
  for (int64_t i = 0; i < rows.padded; ++i) {
    const bool in = i < anchor.rows;
    double aa = 0, ff = 0;
    for (int64_t k = 0; in && k < anchor.cols; ++k)
      aa += static_cast<double>(to_compute(anchor.row(i)[k])) * to_compute(anchor.row(i)[k]);
    for (int64_t k = 0; in && k < features.cols; ++k) ff += static_cast<double>(features.row(i)[k]) * features.row(i)[k];
    int e = 0;
    if (aa > 0 && std::isfinite(aa)) std::frexp(std::sqrt(aa), &e);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double hi = !std::isfinite(ff) ? nan : aa == 0 ? 0 : 1 / std::sqrt(aa), fi = ff == 0 ? 0 : 1 / std::sqrt(ff);
    for (int k = 0; k < rows.dk; ++k)
      from_compute(in && k < anchor.cols ? static_cast<float>(std::ldexp(static_cast<double>(to_compute(anchor.row(i)[k])), -e)) : 0.0f,
                   rows.x[i * rows.dk + k]);
    for (int k = 0; k < rows.fk; ++k) {
      const float v = in && k < features.cols ? static_cast<float>(features.row(i)[k] * fi) * kFeatureScale : 0.0f;
      Half& high = rows.f[i * 2 * rows.fk + k];
      from_compute(v, high);
      from_compute(v - to_compute(high), rows.f[i * 2 * rows.fk + rows.fk + k]);
    }
    rows.r[i] = static_cast<float>(hi * std::ldexp(1.0, e));
    rows.id[i] = in && ff != 0 ? group[i] : -1;
    if (in) inv_norm[i] = hi;
  }
}

template <class E>
void contrastive_fused_sums(const ContrastRows<E>& rows, const ContrastSettings& set, int64_t begin, int64_t end,
                            int64_t strips, double* state) {
  const PairScale<float> scale(set);
  const int64_t width = (rows.padded + strips - 1) / strips;
  for (int64_t p = 0; p < strips; ++p)
    for (int64_t i = begin; i < end; ++i) {
      PairSums<float, false> sums;
      for (int64_t j = p * width; j < rows.padded && j < (p + 1) * width; ++j) {
        if (!is_pair(rows.id[i], rows.id[j])) continue;
        const float s = cosine(rows, i, j), f = similarity(rows, i, j);
        if (set.mode == Contrast::kRatio) sums.template add<0>(s, f, scale);
        else if (set.mode == Contrast::kSupcon) sums.template add<1>(s, f, scale);
        else sums.template add<2>(s, f, scale);
      }
      store_state(sums, state + (p * (end - begin) + i - begin) * kRowState);
    }
}

template <class E>
void contrastive_fused_gradient(const ContrastRows<E>& rows, const ContrastSettings& set, int64_t begin, int64_t end,
                                int64_t strips, const double* stats, const int64_t* counts, int64_t n, int64_t n_views,
                                const double* log_tn, float* w, int64_t d, float* grad_h) {
  const PairScale<float> scale(set);
  for (int64_t i = 0; i < rows.padded; ++i) {
    w[2 * i] = w[2 * i + 1] = 0;
    if (i < n) row_weights(stats + 3 * i, counts + 2 * i, n_views, set, -std::log(kCoefficientScale), w + 2 * i);
  }
  const float factor = static_cast<float>(std::exp(-*log_tn) / kCoefficientScale);
  const int64_t width = (rows.padded + strips - 1) / strips;
  for (int64_t p = 0; p < strips; ++p)
    for (int64_t i = begin; i < end; ++i) {
      std::vector<float> out(d);
      for (int64_t j = p * width; j < rows.padded && j < (p + 1) * width; ++j) {
        if (!is_pair(rows.id[i], rows.id[j])) continue;
        const float s = cosine(rows, i, j), f = similarity(rows, i, j);
        const auto coefficient_of = set.mode == Contrast::kRatio    ? coefficient<0>
                                    : set.mode == Contrast::kSupcon ? coefficient<1>
                                                                    : coefficient<2>;
        E g;
        from_compute(coefficient_of(s, f, w + 2 * i, w + 2 * j, scale) * rows.r[j], g);
        for (int64_t k = 0; k < d; ++k) out[k] += to_compute(g) * to_compute(rows.x[j * rows.dk + k]);
      }
      for (int64_t k = 0; k < d; ++k) grad_h[(p * (end - begin) + i - begin) * d + k] = out[k] * factor;
    }
}

PHYSIOCLR_CONTRASTIVE_FUSED()

}  // namespace physioclr::cpu
