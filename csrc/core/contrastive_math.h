#pragma once
// hybrid_contrastive_loss, the arithmetic of one pair and of one row, written once for the CPU, for the kernels of the
// tile version and for the fused CUDA kernels. (The CPU's vector loops, cpu/contrastive_pairs.h, spell out the pair.)
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "core/elements.h"
#include "core/fields.h"
#include "core/macros.h"

namespace physioclr {

// What the pairs of a row are. kRatio, kSupcon, kSoft: positive, negative or weighed by the similarity of features.
// Without features: kInstance, none positive (the views alone are), kLabels, positive where the group numbers are
// equal; these two share the arithmetic of kSupcon. kHard: kInstance with a view, negatives weighed by
// exp(beta s / tau) (Robinson et al. 2021), so that a row has two sums over its M negatives, S1 of
// exp((1 + beta) s / tau) and S0 of exp(beta s / tau), and M S1 / S0 beside its view.
enum class Contrast : int32_t { kRatio = 0, kSupcon = 1, kSoft = 2, kInstance = 3, kLabels = 4, kHard = 5 };
struct ContrastSettings {
  Contrast mode;
  bool mean_pairs;           // pair_reduction "mean"; used by kRatio alone
  double tau, tau_s, delta;  // delta: kHard's beta
  PHYSIOCLR_FIELDS(mode, mean_pairs, tau, tau_s, delta)
};

// What a cosine (a feature's similarity) is multiplied by in the exponents of the first and of the second sum.
PHYSIOCLR_HD double sharpness(const ContrastSettings& set) { return set.mode == Contrast::kHard ? 1 + set.delta : 1; }
PHYSIOCLR_HD double first_scale(const ContrastSettings& set) { return sharpness(set) / set.tau; }
PHYSIOCLR_HD double second_scale(const ContrastSettings& set) {
  return set.mode == Contrast::kHard ? set.delta / set.tau : 1 / set.tau_s;
}

// CALL(mode, safe) with both as compile-time constants.
#define PHYSIOCLR_CONTRAST_VARIANTS(MODE, SAFE, CALL)      \
  switch (static_cast<int>(MODE) * 2 + ((SAFE) ? 1 : 0)) { \
    case 0: CALL(0, false); break;                         \
    case 1: CALL(0, true); break;                          \
    case 2: CALL(1, false); break;                         \
    case 3: CALL(1, true); break;                          \
    case 4: CALL(2, false); break;                         \
    default: CALL(2, true);                                \
  }

// The same for the kernels by tiles, which have kInstance and kHard too. (kLabels comes to them as kSupcon.)
#define PHYSIOCLR_CONTRAST_TILE_VARIANTS(MODE, SAFE, CALL)            \
  if ((MODE) == Contrast::kInstance || (MODE) == Contrast::kHard) {   \
    switch (((MODE) == Contrast::kHard ? 2 : 0) + ((SAFE) ? 1 : 0)) { \
      case 0: CALL(3, false); break;                                  \
      case 1: CALL(3, true); break;                                   \
      case 2: CALL(5, false); break;                                  \
      default: CALL(5, true);                                         \
    }                                                                 \
  } else {                                                            \
    PHYSIOCLR_CONTRAST_VARIANTS(MODE, SAFE, CALL)                     \
  }

// exp((s - 1) / tau) is at least exp(-2 / tau); where that leaves the range with room to spare, no maxima are needed.
template <class T>
PHYSIOCLR_HD bool needs_maxima(const ContrastSettings& set) {
  const double least = sizeof(T) == 4 ? 0.05 : 0.01;
  return set.tau < least * sharpness(set) || (set.mode == Contrast::kSoft && set.tau_s < least);
}

// count {positives, negatives}, or {-1, 0} for a row that is no anchor. A view alone counts in kInstance and kHard.
PHYSIOCLR_HD bool counts_row(const int64_t* count, int64_t n_views, Contrast mode) {
  if (count[0] < 0) return false;
  if (mode == Contrast::kInstance || mode == Contrast::kHard) return n_views > 0;
  return count[0] + n_views > 0 && (mode == Contrast::kRatio ? count[1] : count[0] + count[1]) > 0;
}

PHYSIOCLR_HD float pow2(float x) { return exp2f(x); }
PHYSIOCLR_HD double pow2(double x) { return exp2(x); }

// The settings as one pair needs them: exp(x / tau) = 2^(x kt).
template <class T>
struct PairScale {
  T kt, kts, delta;
  PairScale() = default;
  explicit PHYSIOCLR_HD PairScale(const ContrastSettings& set)
      : kt(static_cast<T>(1.4426950408889634 * sharpness(set) / set.tau)),
        kts(static_cast<T>(set.mode == Contrast::kHard ? 1.4426950408889634 * set.delta / set.tau
                                                       : 1.4426950408889634 / set.tau_s)),
        delta(static_cast<T>(set.delta)) {}
};

// Group numbers are rising from 0; -1 marks a row that forms no pairs (its features are all 0, or it is padding).
PHYSIOCLR_HD bool is_pair(int32_t i, int32_t j) { return i != j && (i | j) >= 0; }

// The sums of one row over some of its pairs. sum: ratio {positives, negatives, -}, supcon {all, -, s over positives},
// soft {all, targets, targets * s}, instance {all, -, -}, hard {S1, S0, -}. Sums 0 and 1 are relative to exp(shift /
// tau): safe sums keep running maxima as shifts, otherwise the shift is 1, the largest cosine.
template <class T>
struct PairSums {
  T sum[3] = {0, 0, 0};
  T shift[2];
  int32_t positives = 0, pairs = 0;

  explicit PHYSIOCLR_HD PairSums(bool safe) { shift[0] = shift[1] = safe ? T(-2) : T(1); }  // -2: below every cosine

  template <int MODE, bool SAFE>
  PHYSIOCLR_HD T term(int q, T x, T k) {
    if (!SAFE) return pow2((x - T(1)) * k);
    if (x > shift[q]) {
      const T scale = pow2((shift[q] - x) * k);
      sum[q] *= scale;
      if (MODE == 2 && q == 1) sum[2] *= scale;
      shift[q] = x;
    }
    return pow2((x - shift[q]) * k);
  }
  // A pair of rows (is_pair) with cosine s and similarity f.
  template <int MODE, bool SAFE>
  PHYSIOCLR_HD void add(T s, T f, const PairScale<T>& scale) {
    const bool positive = MODE < 3 && f >= scale.delta;
    ++pairs;
    positives += positive;
    if (MODE == 0) {
      if (SAFE) {
        if (positive) {  // constant indices keep the sums in registers
          const T e = term<MODE, SAFE>(0, s, scale.kt);
          sum[0] += e;
        } else {
          const T e = term<MODE, SAFE>(1, s, scale.kt);
          sum[1] += e;
        }
      } else {
        const T e = pow2((s - T(1)) * scale.kt);
        sum[0] += positive ? e : T(0);
        sum[1] += positive ? T(0) : e;
      }
      return;
    }
    const T e = term<MODE, SAFE>(0, s, scale.kt);
    sum[0] += e;
    if (MODE == 1) {
      sum[2] += positive ? s : T(0);
    } else if (MODE == 5) {
      const T w = term<MODE, SAFE>(1, s, scale.kts);
      sum[1] += w;
    } else if (MODE == 2) {
      const T w = term<MODE, SAFE>(1, f, scale.kts);
      sum[1] += w;
      sum[2] += w * s;
    }
  }
};

// PairSums as they are stored and combined: kRowState doubles {sum 0..2, shift 0..1, positives, pairs}.
constexpr int kRowState = 7;

template <class T>
PHYSIOCLR_HD void store_state(const PairSums<T>& x, double* state) {
  for (int q = 0; q < 3; ++q) state[q] = static_cast<double>(x.sum[q]);
  for (int q = 0; q < 2; ++q) state[3 + q] = static_cast<double>(x.shift[q]);
  state[5] = x.positives;
  state[6] = x.pairs;
}

PHYSIOCLR_HD void clear_state(bool safe, double* state) {
  for (int q = 0; q < kRowState; ++q) state[q] = 0;
  state[3] = state[4] = safe ? -2 : 1;
}

// state += other
PHYSIOCLR_HD void merge_state(const ContrastSettings& set, double* state, const double* other) {
  for (int q = 0; q < 2; ++q) {
    const bool targets = set.mode == Contrast::kSoft && q == 1;
    const double x = state[3 + q], y = other[3 + q], top = x > y ? x : y;
    const double tau = set.mode == Contrast::kHard ? set.tau / (q ? set.delta : sharpness(set))
                       : targets                   ? set.tau_s
                                                   : set.tau;
    const double a = x == top ? 1.0 : exp((x - top) / tau), b = y == top ? 1.0 : exp((y - top) / tau);
    state[q] = state[q] * a + other[q] * b;
    if (targets) state[2] = state[2] * a + other[2] * b;
    state[3 + q] = top;
  }
  if (set.mode != Contrast::kSoft) state[2] += other[2];
  state[5] += other[5];
  state[6] += other[6];
}

// The fused version's operands: rows of embeddings times a power of 2, so that their length lies between kRowScale / 2
// and kRowScale (far from float16's smallest numbers), unit features times 16, coefficients times 1024 tau n. Rows are
// padded to whole blocks of 128 and one more, because the owned rows may begin anywhere.
constexpr float kFeatureScale = 16.0f;
constexpr int kRowExponent = 8;
constexpr float kRowScale = 1 << kRowExponent;
constexpr double kCoefficientScale = 1024.0 * kRowScale;  // a coefficient meets 1 / kRowScale before it is rounded
// What the tensor cores multiply: numbers of 16 bits as they are, or (SplitHalf) the sum of two float16, 22 bits
// together.
struct SplitHalf {};
template <class X>
struct Operand {
  using Number = X;
  static constexpr int kParts = 1;
};
template <>
struct Operand<SplitHalf> {
  using Number = Half;
  static constexpr int kParts = 2;
};
PHYSIOCLR_HD void split(float x, Half& high, Half& low) {
  from_compute(x, high);
  from_compute(x - to_compute(high), low);
}
PHYSIOCLR_HD int64_t fused_padded(int64_t n) { return (n + 127) / 128 * 128 + 128; }
PHYSIOCLR_HD int fused_width(int64_t d) { return d <= 128 ? 128 : 256; }
PHYSIOCLR_HD int fused_feature_width(int64_t f) { return static_cast<int>((f + 15) / 16 * 16); }

struct LogSum {  // log of a sum of w exp(x), any x
  double top, sum = 0;
  PHYSIOCLR_HD LogSum() : top(-HUGE_VAL) {}
  PHYSIOCLR_HD void add(double x, double w) {
    if (x > top) {
      sum *= exp(top - x);
      top = x;
    }
    sum += w * exp(x - top);
  }
  PHYSIOCLR_HD double log_of() const { return top + log(sum); }
};

// A row's loss from the sums over its pairs (kRowState doubles) and its view cosines, added one by one.
struct RowLoss {
  ContrastSettings set;
  bool used;
  double negatives, mean, weight, view_weight, log_targets, log_s0, log_s1;
  LogSum z;  // ratio: positives and views; otherwise the softmax's denominator

  PHYSIOCLR_HD RowLoss(const double* state, int64_t n_views, const ContrastSettings& settings, int64_t* count)
      : set(settings), negatives(0), mean(0), weight(0), view_weight(1), log_targets(0), log_s0(0), log_s1(0) {
    count[0] = static_cast<int64_t>(state[5]);
    count[1] = static_cast<int64_t>(state[6] - state[5]);
    used = counts_row(count, n_views, set.mode);
    if (!used) return;
    const double m0 = state[3] / set.tau, positives = static_cast<double>(count[0]);
    if (set.mode == Contrast::kRatio) {
      if (count[0]) z.add(m0 - (set.mean_pairs ? log(positives) : 0.0), state[0]);
      negatives = state[4] / set.tau + log(state[1]);
      return;
    }
    if (set.mode == Contrast::kHard) {
      if (!count[1]) return;
      log_s1 = state[3] * first_scale(set) + log(state[0]);
      log_s0 = state[4] * second_scale(set) + log(state[1]);
      negatives = log(static_cast<double>(count[1])) + log_s1 - log_s0;
      weight = 1;
      return;
    }
    z.add(m0, state[0]);
    mean = state[2];
    weight = positives + static_cast<double>(n_views);
    if (set.mode == Contrast::kSoft) {  // every weight relative to the largest
      LogSum w;
      w.add(state[4] / set.tau_s, state[1]);
      for (int64_t v = 0; v < n_views; ++v) w.add(1 / set.tau_s, 1);
      log_targets = w.log_of();
      mean = state[2] * exp(state[4] / set.tau_s - w.top);
      weight = w.sum;
      view_weight = exp(1 / set.tau_s - w.top);
    }
  }
  PHYSIOCLR_HD void add_view(double cosine) {
    if (!used) return;
    z.add(cosine / set.tau, 1);
    mean += cosine * view_weight;
  }
  // stats of csrc/ops.h
  PHYSIOCLR_HD void finish(double* stats) const {
    stats[0] = stats[1] = stats[2] = 0;
    if (!used) return;
    if (set.mode == Contrast::kHard) {  // the loss beside the sums, from which the weights follow
      const double x = negatives - mean / set.tau, loss = x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
      stats[0] = weight > 0 ? loss + log_s0 : 0;
      stats[1] = log_s0;
      stats[2] = log_s1;
      return;
    }
    const bool ratio = set.mode == Contrast::kRatio;
    stats[0] = ratio ? negatives : z.log_of();
    stats[1] = ratio ? z.log_of() : mean / weight / set.tau;
    stats[2] = log_targets;
  }
};

// log of the second weight of a row that counts, times tau n: 1 / W_i (soft), 1 / |P_i + views| (supcon), c_i / pos_i.
PHYSIOCLR_HD double log_second_weight(const double* stats, const int64_t* count, int64_t n_views,
                                      const ContrastSettings& set) {
  if (set.mode == Contrast::kSoft) return -stats[2];
  if (set.mode != Contrast::kRatio) return -log(static_cast<double>(count[0] + n_views));
  return -stats[1] - (set.mean_pairs && count[0] ? log(static_cast<double>(count[0])) : 0.0);
}

// kHard: the share of its negatives in a row's softmax, 1 - exp(-loss).
PHYSIOCLR_HD double hard_share(const double* stats) { return -expm1(stats[1] - stats[0]); }

// Weights w[2] of a row: 1 / (tau n neg_i) and c_i / (tau n pos_i); 1 / (tau n Z_i) and
// 1 / (tau n |P_i + views|) (supcon) or 1 / (tau n W_i) (soft). log_tn: log(tau n). Fast: linear, times the exp(1 /
// tau) that the shift takes away. Safe: tau log of it, so that exp((s + w) / tau) <= 1. kHard: share (1 + beta) / (tau
// n S1) and share beta / (tau n S0), as above with the scales of its two sums.
template <class T>
PHYSIOCLR_HD void row_weights(const double* stats, const int64_t* count, int64_t n_views, const ContrastSettings& set,
                              double log_tn, T* w) {
  const bool safe = needs_maxima<T>(set),
             supcon = set.mode != Contrast::kRatio && set.mode != Contrast::kSoft && set.mode != Contrast::kHard;
  const bool hard = set.mode == Contrast::kHard;
  if (!counts_row(count, n_views, set.mode) || (hard && count[1] == 0)) {
    w[0] = safe ? static_cast<T>(-HUGE_VAL) : T(0);
    w[1] = safe && !supcon ? static_cast<T>(-HUGE_VAL) : T(0);
    return;
  }
  if (hard) {
    const double k0 = first_scale(set), k1 = second_scale(set), to = log(hard_share(stats)) - log_tn;
    const double a = to + log(sharpness(set)) - stats[2], b = to + log(set.delta) - stats[1];
    w[0] = static_cast<T>(safe ? a / k0 : exp(a + k0));
    w[1] = static_cast<T>(safe ? b / k1 : exp(b + k1));
    return;
  }
  const double a = -log_tn - stats[0], b = log_second_weight(stats, count, n_views, set) - log_tn;
  const double tb = set.mode == Contrast::kSoft ? set.tau_s : set.tau;
  w[0] = static_cast<T>(safe ? a * set.tau : exp(a + 1 / set.tau));
  w[1] = static_cast<T>(supcon ? exp(b) : safe ? b * tb : exp(b + 1 / tb));
}

// dL / d(h_i . h_j), both rows' parts together, of a pair (is_pair) with the weights w_i and w_j of its rows.
template <class T, int MODE, bool SAFE>
PHYSIOCLR_HD T pair_coefficient(T s, T f, T ai, T bi, T aj, T bj, const PairScale<T>& scale) {
  const bool positive = MODE < 3 && f >= scale.delta;
  if (MODE == 0) {
    const T wi = positive ? bi : ai, wj = positive ? bj : aj;
    const T g = SAFE ? pow2((s + wi) * scale.kt) + pow2((s + wj) * scale.kt) : pow2((s - T(1)) * scale.kt) * (wi + wj);
    return positive ? -g : g;
  }
  T g = SAFE ? pow2((s + ai) * scale.kt) + pow2((s + aj) * scale.kt) : pow2((s - T(1)) * scale.kt) * (ai + aj);
  if (MODE == 1) g -= positive ? bi + bj : T(0);
  else if (MODE == 5)
    g -= SAFE ? pow2((s + bi) * scale.kts) + pow2((s + bj) * scale.kts) : pow2((s - T(1)) * scale.kts) * (bi + bj);
  else if (MODE == 2)
    g -= SAFE ? pow2((f + bi) * scale.kts) + pow2((f + bj) * scale.kts) : pow2((f - T(1)) * scale.kts) * (bi + bj);
  return g;
}

// dL / d(h_i . v_i) of a view with this cosine.
PHYSIOCLR_HD double view_coefficient(double cosine, const double* stats, const int64_t* count, int64_t n_views,
                                     const ContrastSettings& set, double log_tn) {
  if (!counts_row(count, n_views, set.mode)) return 0;
  if (set.mode == Contrast::kRatio) return -exp(cosine / set.tau - log_tn - stats[1]);
  if (set.mode == Contrast::kHard) return -hard_share(stats) * exp(-log_tn);
  const double target =
      log_second_weight(stats, count, n_views, set) + (set.mode == Contrast::kSoft ? 1 / set.tau_s : 0);
  return exp(cosine / set.tau - log_tn - stats[0]) - exp(target - log_tn);
}

}  // namespace physioclr
