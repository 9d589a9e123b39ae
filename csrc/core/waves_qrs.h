#pragma once
// The fitted correction of QRS onset and offset: a network of one hidden layer.
//
// Why a network: readers place the onset by the whole shape (a delta wave, a notch, the end of the P wave), for which
// no single threshold of the slope stands. It sees slopes and values every 8 ms;
// physioclr.reference.delineate.qrs_inputs says it briefly.
#include "core/qrs_weights.h"
#include "core/waves_signal.h"

namespace physioclr::waves::PHYSIOCLR_ISA {

constexpr int kHiddenUnits = 16;

// Input by input, the units side by side.
struct HiddenByInput {
  double v[qrs::kInputs][kHiddenUnits];
};
constexpr HiddenByInput hidden_by_input() {
  HiddenByInput out{};
  for (int k = 0; k < kHiddenUnits; ++k)
    for (int j = 0; j < qrs::kInputs; ++j) out.v[j][k] = qrs::kHidden[k][j];
  return out;
}
inline constexpr HiddenByInput kHiddenByInput = hidden_by_input();

// x: the inputs, of a complex around sample c of y (prefix sums s). False where there is nothing to see.
template <class Rate>
inline bool qrs_inputs(const double* y, const double* s, int64_t n, int64_t c, double on, double off, Rate fi,
                       double* x) {
  const int64_t w = width(kQrsSlope, fi);
  constexpr int m = qrs::kPoints;
  const double scale = 1.0 / real(w * (w + 1));
  double steepest = 0, low = HUGE_VAL, high = -HUGE_VAL, level = 0;
  for (int j = 0; j < m; ++j) {
    int64_t i = c + whole(std::floor(real(j + qrs::kFirst) * qrs::kStep * fi + 0.5));
    i = smaller(larger<int64_t>(i, 0), n - 1);
    const double v = y[i];
    double g = 0;
    if (i >= w && i < n - 1 - w) g = std::fabs((s[i + 1 + w] - s[i + 1]) - (s[i] - s[i - w])) * scale;
    x[j] = g, x[m + j] = v;
    steepest = larger(steepest, g), low = smaller(low, v), high = larger(high, v);
    if (j < qrs::kLevel) level += v;
  }
  if (steepest == 0 || high == low) return false;
  level /= qrs::kLevel;
  const double half = qrs::kHalf * steepest, of_values = qrs::kScale / (high - low);
  for (int j = 0; j < m; ++j) {
    x[j] = x[j] / (x[j] + half) - 0.5;
    x[m + j] = of_values * (x[m + j] - level);
  }
  x[2 * m] = on / fi * qrs::kUnit + 1.2;
  x[2 * m + 1] = off / fi * qrs::kUnit - 1.2;
  return true;
}

// What to add to onset and offset (given in samples from sample c), in samples.
template <class Rate>
inline void qrs_correction(const double* y, const double* s, int64_t n, int64_t c, double on, double off, Rate fi,
                           double more[2]) {
  double x[qrs::kInputs];
  more[0] = more[1] = 0;
  if (!qrs_inputs(y, s, n, c, on, off, fi, x)) return;
  Doubles low{}, high{};
  for (int j = 0; j < qrs::kInputs; ++j) {
    low += load(kHiddenByInput.v[j]) * x[j];
    high += load(kHiddenByInput.v[j] + kLanes) * x[j];
  }
  double v[kHiddenUnits];
  low = load(qrs::kHiddenBias) + low, high = load(qrs::kHiddenBias + kLanes) + high;
  store(v, low / (1.0 + magnitude(low)));
  store(v + kLanes, high / (1.0 + magnitude(high)));
  for (int side = 0; side < 2; ++side) {
    double sum = qrs::kOutBias[side];
    for (int k = 0; k < kHiddenUnits; ++k) sum += qrs::kOut[side][k] * v[k];
    more[side] = clip(sum, qrs::kLimit) * fi;
  }
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
