#pragma once
// The features of one beat. Times are in samples of a 500 Hz record.
//
// Missing samples (NaN or infinite) and absent waves (-1) make a quantity missing (NaN), never wrong: sums are written
// so that a NaN in a window reaches the result, and every statistic skips NaN. As in waves_math.h, the Numba code
// beside it gives the same bits.
#include <algorithm>
#include <limits>

#include "core/waves_math.h"
#include "core/waves_order.h"

namespace physioclr::features::PHYSIOCLR_ISA {

namespace waves = physioclr::waves::PHYSIOCLR_ISA;

using waves::Floats;
using waves::lane_sum_of;
using waves::larger;
using waves::smaller;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Rows of the scratch memory, one number per beat; the first ten in the order of the columns.
enum Row : int { kRr, kPr, kQrs, kQt, kPDur, kTDur, kRAmp, kTAmp, kPAmp, kSlope, kSt60, kSt40, kCorr, kSorted, kRows };

struct Rows {
  float* data;
  int64_t width;  // at least the beats, and kChunk
  float* operator[](int q) const { return data + q * width; }
};

// ---- statistics of a few numbers ----

// A type of this set, so that std::sort by it is of this set too.
struct Rising {
  bool operator()(float a, float b) const { return a < b; }
};

// Copies the finite values[first:last] to the head of `out`, sorted; how many there are. `out` has room for all.
inline int64_t sort_valid(const float* values, int64_t first, int64_t last, float* out) {
  int64_t n = 0;
  for (int64_t k = first; k < last; ++k) {
    out[n] = values[k];
    n += std::isfinite(values[k]);
  }
  if (n <= 8) waves::sort_few(out, n);
  else if (n <= waves::kShortLanes) waves::sort_by_rank(out, n);
  else std::sort(out, out + n, Rising{});
  return n;
}

// Linear interpolation between the order statistics, as numpy.quantile does it.
inline double quantile(const float* ordered, int64_t n, double q) {
  if (n == 0) return static_cast<double>(kNan);
  const double at = q * waves::real(n - 1);
  const int64_t i = waves::whole(at);
  if (i + 1 >= n) return static_cast<double>(ordered[n - 1]);
  const double low = static_cast<double>(ordered[i]);
  return low + (at - waves::real(i)) * (static_cast<double>(ordered[i + 1]) - low);
}

// ---- one beat ----

// Median of the finite samples x[first..last], both included; at most 21 of them.
inline double median_between(const float* x, int64_t first, int64_t last, float* scratch) {
  first = larger<int64_t>(first, 0);
  bool whole = true;
  for (int64_t i = first; i <= last; ++i) whole &= std::isfinite(x[i]);
  if (const int64_t n = last + 1 - first; whole && n % 2 == 1 && n <= waves::kShortLanes)
    if (const float middle = waves::middle_by_rank(x + first, n); middle == middle) return static_cast<double>(middle);
  return quantile(scratch, sort_valid(x, first, last + 1, scratch), 0.5);
}

// Index in first..last where |x - level| is largest; `start` where nothing is finite. Ties go to `start`.
inline int64_t largest_deflection(const float* x, int64_t first, int64_t last, double level, int64_t start) {
  double best = -1;
  int64_t at = start;
  if (std::isfinite(x[start])) best = std::fabs(static_cast<double>(x[start]) - level);
  for (int64_t i = first; i <= last; ++i) {
    const double d = std::fabs(static_cast<double>(x[i]) - level);
    if (std::isfinite(d) && d > best) best = d, at = i;
  }
  return at;
}

// Largest |dV/dt| (mV/ms) after the low-pass between samples first and last; NaN where the filter has no room. taps:
// the first half of the filter, which is antisymmetric.
inline float max_slope(const float* x, int64_t samples, int64_t first, int64_t last, const float* taps) {
  constexpr int64_t before = kTaps / 2 - 1;
  const int64_t begin = larger(first, before), end = smaller(last, samples - kTaps / 2);
  Floats most = Floats{} - 1.0f;
  int64_t start = begin;
  for (; start + waves::kFloats + kTaps / 2 <= samples && start < end; start += waves::kFloats) {
    const float *a = x + start - before, *b = a + kTaps - 1;
    Floats slope{};
    for (int j = 0; j < kTaps / 2; ++j)
      slope += taps[j] * (waves::vector_at<Floats>(a + j) - waves::vector_at<Floats>(b - j));
    const Floats d = waves::magnitude(slope);
    const auto own = waves::vector_at<waves::ShortIntegers>(waves::kShortLaneNumbers) <
                     static_cast<int32_t>(smaller<int64_t>(waves::kFloats, end - start));
    most = waves::chosen(own & (d < HUGE_VALF) & (d > most), d, most);
  }
  float best = waves::largest_lane(most);
  for (; start < end; ++start) {  // where a vector has no room
    const float *a = x + start - before, *b = a + kTaps - 1;
    float slope = 0;
    for (int j = 0; j < kTaps / 2; ++j) slope += taps[j] * (a[j] - b[-j]);
    const float d = std::fabs(slope);
    if (std::isfinite(d) && d > best) best = d;
  }
  return best >= 0 ? static_cast<float>(static_cast<double>(best) / kMs) : kNan;
}

// x[i] above `level`; NaN outside the record, in a gap, without a level, and from kLargest on.
inline float value_at(const float* x, int64_t samples, int64_t i, double level) {
  if (i < 0 || i >= samples) return kNan;
  const double v = static_cast<double>(x[i]) - level;
  return std::fabs(v) < kLargest ? static_cast<float>(v) : kNan;
}

inline float milliseconds(int64_t samples) { return static_cast<float>(kMs * waves::real(samples)); }

// Everything about beat k but its RR interval and its likeness to the beat before.
inline void measure_beat(const float* x, int64_t samples, int64_t k, int64_t r, bool paced, const waves::Boundaries& of,
                         const float* taps, const Rows& rows) {
  const int64_t p_on = of[waves::kPOn][k], p_peak = of[waves::kPPeak][k], p_off = of[waves::kPOff][k];
  const int64_t qrs_on = of[waves::kOn][k], qrs_off = of[waves::kOff][k];
  const int64_t t_on = of[waves::kTOn][k], t_peak = of[waves::kTPeak][k], t_off = of[waves::kTOff][k];
  for (int q = kPr; q <= kSt40; ++q) rows[q][k] = kNan;
  if (p_on >= 0 && p_off >= p_on && !paced) rows[kPDur][k] = milliseconds(p_off - p_on);
  if (t_on >= 0 && t_off >= t_on) rows[kTDur][k] = milliseconds(t_off - t_on);
  if (qrs_on < 0) return;  // no level to measure from
  if (p_on >= 0 && !paced) rows[kPr][k] = milliseconds(qrs_on - p_on);
  if (qrs_off >= qrs_on && !paced) rows[kQrs][k] = milliseconds(qrs_off - qrs_on);
  if (t_off >= qrs_on) rows[kQt][k] = milliseconds(t_off - qrs_on);

  const bool has_p = p_off >= 0 && p_off <= qrs_on;
  const double level = median_between(x, has_p ? larger(p_off, qrs_on - 20) : qrs_on - 10, qrs_on, rows[kSorted]);
  const int64_t left = larger(r - kRSearch, smaller(qrs_on, r));
  const int64_t right = smaller(r + kRSearch, larger(qrs_off >= 0 ? qrs_off : r, r));
  const int64_t peak = largest_deflection(x, left, right, level, r);
  rows[kRAmp][k] = value_at(x, samples, peak, level);
  rows[kTAmp][k] = value_at(x, samples, t_peak, level);
  if (!paced) {
    rows[kPAmp][k] = value_at(x, samples, p_peak, level);
    rows[kSlope][k] = max_slope(x, samples, qrs_on, peak, taps);
  }
  if (qrs_off >= 0) {
    rows[kSt60][k] = value_at(x, samples, qrs_off + 30, level);
    rows[kSt40][k] = value_at(x, samples, qrs_off + 20, level);
  }
}

// Mean of the samples around R, and their summed squares about it. Those are not between kFlat and infinity where the
// window leaves the record, has a gap, is level, or too small or too large for float32: then it has no correlation. The
// mean of equal samples is not quite their value; hence is_level.
struct Moments {
  float mean, square;
};
constexpr int64_t kCorrWindow = kCorrBefore + kCorrAfter + 1;

inline bool is_level(const float* w, int64_t n) {
  for (int64_t i = 1; i < n; ++i)
    if (w[i] != w[0]) return false;
  return true;
}

inline Moments beat_moments(const float* x, int64_t samples, int64_t r) {
  if (r < kCorrBefore || r + kCorrAfter >= samples) return {kNan, kNan};
  constexpr int64_t n = kCorrWindow;
  const float* w = x + r - kCorrBefore;
  const float mean = lane_sum_of<n>(w, w, [](Floats u, Floats) { return u; }) / static_cast<float>(n);
  float square = lane_sum_of<n>(w, w, [=](Floats u, Floats) { return (u - mean) * (u - mean); });
  const double rounding = 1e-5 * static_cast<double>(mean);
  if (static_cast<double>(square) <= waves::real(n) * rounding * rounding && is_level(w, n)) square = 0;
  return {mean, square};
}

// Pearson correlation of the windows around R peaks a and b, from their moments.
inline float beat_correlation(const float* x, int64_t a, int64_t b, const Moments& of_a, const Moments& of_b) {
  const auto good = [](float square) { return static_cast<double>(square) >= kFlat && std::isfinite(square); };
  if (!good(of_a.square) || !good(of_b.square)) return kNan;
  const float *u = x + a - kCorrBefore, *v = x + b - kCorrBefore;
  const float mean_a = of_a.mean, mean_b = of_b.mean;
  const float product = lane_sum_of<kCorrWindow>(u, v, [=](Floats p, Floats q) { return (p - mean_a) * (q - mean_b); });
  const double scale = std::sqrt(static_cast<double>(of_a.square) * static_cast<double>(of_b.square));
  return static_cast<float>(smaller(larger(static_cast<double>(product) / scale, -1.0), 1.0));
}

}  // namespace physioclr::features::PHYSIOCLR_ISA
