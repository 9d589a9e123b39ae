// The fused version of hybrid_contrastive_loss in plain loops over the operands of the tensor cores: what
// cuda/contrastive_fused_kernel.cuh computes, up to the order of its sums.
#include <cmath>
#include <limits>
#include <vector>

#include "core/contrastive_math.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

// Rows of `width` high parts and as many low parts; low times low is left out.
float split_product(const Half* a, const Half* b, int width) {
  float s = 0;
  for (int k = 0; k < width; ++k) {
    const float ah = to_compute(a[k]), al = to_compute(a[width + k]), bh = to_compute(b[k]),
                bl = to_compute(b[width + k]);
    s += ah * bh + ah * bl + al * bh;
  }
  return s;
}

template <class X>
float cosine(const ContrastRows<X>& in, int64_t i, int64_t j) {
  constexpr int kParts = Operand<X>::kParts;
  const auto *a = in.x + i * in.dk * kParts, *b = in.x + j * in.dk * kParts;
  float s = 0;
  if constexpr (kParts == 2) s = split_product(a, b, in.dk);
  else
    for (int k = 0; k < in.dk; ++k) s += to_compute(a[k]) * to_compute(b[k]);
  return s * (in.r[i] * in.r[j]);
}

template <class X>
float similarity(const ContrastRows<X>& in, int64_t i, int64_t j) {
  return split_product(in.f + i * 2 * in.fk, in.f + j * 2 * in.fk, in.fk) / (kFeatureScale * kFeatureScale);
}

// out (d) += g x_j, g rounded as the tensor cores take it.
template <class X>
void add_row(const ContrastRows<X>& in, float g, int64_t j, int64_t d, float* out) {
  if constexpr (Operand<X>::kParts == 2) {
    const Half *high = in.x + j * 2 * in.dk, *low = high + in.dk;
    Half gh, gl;
    split(g, gh, gl);
    const float a = to_compute(gh), b = to_compute(gl);
    for (int64_t k = 0; k < d; ++k)
      out[k] += a * to_compute(high[k]) + a * to_compute(low[k]) + b * to_compute(high[k]);
  } else {
    X rounded;
    from_compute(g, rounded);
    for (int64_t k = 0; k < d; ++k) out[k] += to_compute(rounded) * to_compute(in.x[j * in.dk + k]);
  }
}

template <class E, class X>
void compute(const ContrastiveFusedPrepareCall<E, X>& call) {
  const Matrix<const E> anchor = call.anchor;
  const Matrix<const float> features = call.features;
  const ContrastRows<X>& rows = call.rows;
  for (int64_t i = 0; i < rows.padded; ++i) {
    const bool in = i < anchor.rows;
    double aa = 0, ff = 0;
    for (int64_t k = 0; in && k < anchor.cols; ++k)
      aa += static_cast<double>(to_compute(anchor.row(i)[k])) * to_compute(anchor.row(i)[k]);
    for (int64_t k = 0; in && k < features.cols; ++k)
      ff += static_cast<double>(features.row(i)[k]) * features.row(i)[k];
    int e = 0;
    if (aa > 0 && std::isfinite(aa)) std::frexp(std::sqrt(aa), &e);
    e -= kRowExponent;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double hi = !std::isfinite(ff) ? nan : aa == 0 ? 0 : 1 / std::sqrt(aa), fi = ff == 0 ? 0 : 1 / std::sqrt(ff);
    for (int k = 0; k < rows.dk; ++k) {
      const double x = in && k < anchor.cols ? static_cast<double>(to_compute(anchor.row(i)[k])) : 0.0;
      const float scaled = static_cast<float>(std::ldexp(x, -e));
      if constexpr (Operand<X>::kParts == 2)
        split(scaled, rows.x[i * 2 * rows.dk + k], rows.x[i * 2 * rows.dk + rows.dk + k]);
      else from_compute(scaled, rows.x[i * rows.dk + k]);
    }
    for (int k = 0; k < rows.fk; ++k) {
      const float v = in && k < features.cols ? static_cast<float>(features.row(i)[k] * fi) * kFeatureScale : 0.0f;
      split(v, rows.f[i * 2 * rows.fk + k], rows.f[i * 2 * rows.fk + rows.fk + k]);
    }
    rows.r[i] = static_cast<float>(hi * std::ldexp(1.0, e));
    rows.id[i] = in && ff != 0 ? call.group[i] : -1;
    if (in) call.inv_norm[i] = hi;
  }
}

template <class X>
void compute(const ContrastiveFusedSumsCall<X>& call) {
  const ContrastRows<X>& rows = call.rows;
  const ContrastSettings& set = call.settings;
  const int64_t strips = call.state.records, begin = call.begin, end = begin + call.state.leads;
  const PairScale<float> scale(set);
  const bool safe = needs_maxima<float>(set);
  const int64_t width = (rows.padded + strips - 1) / strips;
  for (int64_t p = 0; p < strips; ++p)
    for (int64_t i = begin; i < end; ++i) {
      PairSums<float> sums(safe);
      for (int64_t j = p * width; j < rows.padded && j < (p + 1) * width; ++j) {
        if (!is_pair(rows.id[i], rows.id[j])) continue;
        const float s = cosine(rows, i, j), f = similarity(rows, i, j);
#define CALL(MODE, SAFE) sums.template add<MODE, SAFE>(s, f, scale)
        PHYSIOCLR_CONTRAST_VARIANTS(set.mode, safe, CALL)
#undef CALL
      }
      store_state(sums, call.state.lead(p, i - begin));
    }
}

template <class X>
void compute(const ContrastiveFusedGradientCall<X>& call) {
  const ContrastRows<X>& rows = call.rows;
  const ContrastSettings& set = call.settings;
  const int64_t strips = call.grad_h.records, begin = call.begin, end = begin + call.grad_h.leads,
                d = call.grad_h.samples;
  float* const w = call.w;
  const PairScale<float> scale(set);
  const bool safe = needs_maxima<float>(set);
  for (int64_t i = 0; i < rows.padded; ++i) {
    w[2 * i] = w[2 * i + 1] = 0;
    if (i < call.stats.rows)
      row_weights(call.stats.row(i), call.counts + 2 * i, call.n_views, set, -std::log(kCoefficientScale), w + 2 * i);
  }
  const float factor = static_cast<float>(std::exp(-*call.log_tn) / kCoefficientScale);
  const int64_t width = (rows.padded + strips - 1) / strips;
  for (int64_t p = 0; p < strips; ++p)
    for (int64_t i = begin; i < end; ++i) {
      std::vector<float> out(d);
      for (int64_t j = p * width; j < rows.padded && j < (p + 1) * width; ++j) {
        if (!is_pair(rows.id[i], rows.id[j])) continue;
        const float s = cosine(rows, i, j), f = similarity(rows, i, j);
        const float *wi = w + 2 * i, *wj = w + 2 * j;
        float g = 0;
#define CALL(MODE, SAFE) g = pair_coefficient<float, MODE, SAFE>(s, f, wi[0], wi[1], wj[0], wj[1], scale)
        PHYSIOCLR_CONTRAST_VARIANTS(set.mode, safe, CALL)
#undef CALL
        add_row(rows, g * rows.r[j], j, d, out.data());
      }
      for (int64_t k = 0; k < d; ++k) call.grad_h.lead(p, i - begin)[k] = out[k] * factor;
    }
}

}  // namespace

#define PHYSIOCLR_RUN(name, ...)      \
  bool run(const __VA_ARGS__& call) { \
    compute(call);                    \
    return true;                      \
  }
PHYSIOCLR_CONTRASTIVE_FUSED_CALLS(PHYSIOCLR_RUN)
#undef PHYSIOCLR_RUN

}  // namespace physioclr::cpu
