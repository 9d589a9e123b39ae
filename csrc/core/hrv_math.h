#pragma once
// Heart rate variability of one record. physioclr.reference.hrv says the same slowly.
#include <cmath>
#include <cstdint>

#include "core/macros.h"

namespace physioclr::hrv {

// Rows of the results, in the order of HRV in Python.
enum Value : int { kMeanNn, kMeanHr, kSdnn, kRmssd, kPnn50, kCvnn, kCvsd, kLf, kHf, kLfHf, kValues };

constexpr double kLeastPeriods = 2, kOversampling = 5, kPremature = 0.8, kTwoPi = 6.283185307179586;
constexpr int64_t kLeastIntervals = 4;

// Hz. A function, as device code reads no array of the host.
struct Band {
  double low, high;
};
PHYSIOCLR_HD Band band(int k) { return k == 0 ? Band{0.04, 0.15} : Band{0.15, 0.4}; }  // LF, HF

// Beats up to the first that does not rise.
PHYSIOCLR_HD int64_t count_beats(const int32_t* r, int64_t columns) {
  int64_t n = 0;
  while (n < columns && r[n] >= 0 && (n == 0 || r[n] > r[n - 1])) ++n;
  return n;
}

// Whether the interval that ends in beat k is shorter than 0.8 of the mean of the two beside it.
PHYSIOCLR_HD bool is_ectopic(const int32_t* r, int64_t beats, int64_t k) {
  if (k < 2 || k + 1 >= beats) return false;
  const double own = static_cast<double>(r[k]) - r[k - 1];
  const double beside = (static_cast<double>(r[k - 1]) - r[k - 2]) + (static_cast<double>(r[k + 1]) - r[k]);
  return own < kPremature * 0.5 * beside;
}

struct Record {
  const int32_t* r;
  int64_t beats;
  double fs;
  bool exclude;

  PHYSIOCLR_HD int64_t intervals() const { return beats > 1 ? beats - 1 : 0; }
  PHYSIOCLR_HD double nn(int64_t k) const { return 1000.0 * (static_cast<double>(r[k + 1]) - r[k]) / fs; }  // ms
  PHYSIOCLR_HD double end(int64_t k) const { return (static_cast<double>(r[k + 1]) - r[0]) / fs; }          // s
  // Interval k lies between the beats k and k + 1.
  PHYSIOCLR_HD bool normal(int64_t k) const {
    return !exclude || !(is_ectopic(r, beats, k) || is_ectopic(r, beats, k + 1));
  }
};

// Sums over the normal intervals; those of the changes over pairs of adjacent ones.
struct Sums {
  double n, squares, changes, change_squares, above_50;
};

PHYSIOCLR_HD void add_deviation(const Record& record, int64_t k, double mean, Sums& sums) {
  if (!record.normal(k)) return;
  const double d = record.nn(k) - mean;
  sums.squares += d * d;
  if (k == 0 || !record.normal(k - 1)) return;
  const double change = record.nn(k) - record.nn(k - 1);
  sums.changes += 1;
  sums.change_squares += change * change;
  sums.above_50 += std::fabs(change) > 50.0 ? 1 : 0;
}

// values: kValues numbers, each `stride` from the one before it. lf, hf: NaN where undefined.
PHYSIOCLR_HD void write_values(const Sums& sums, double mean, double lf, double hf, float* values, int64_t stride) {
  const double none = NAN, sdnn = sums.n > 1 ? std::sqrt(sums.squares / (sums.n - 1)) : none;
  const double rmssd = sums.changes > 0 ? std::sqrt(sums.change_squares / sums.changes) : none;
  const auto put = [&](Value v, double x) { values[v * stride] = static_cast<float>(x); };
  put(kMeanNn, mean), put(kMeanHr, 60000.0 / mean), put(kSdnn, sdnn), put(kRmssd, rmssd);
  put(kPnn50, sums.changes > 0 ? 100.0 * sums.above_50 / sums.n : none);
  put(kCvnn, sdnn / mean), put(kCvsd, rmssd / mean);
  put(kLf, lf), put(kHf, hf), put(kLfHf, hf > 0 ? lf / hf : none);
}

// Multiples `first` .. `last` of `step` lie in [low, high) Hz; first > last: none do, and the power is undefined.
struct Grid {
  double step;
  int64_t first, last;
};

// n: intervals; span: from the end of the first to that of the last, s.
PHYSIOCLR_HD Grid grid_of(double n, double span, const Band& band) {
  if (n < kLeastIntervals || !(span >= kLeastPeriods / band.low)) return {0, 1, 0};
  const double step = 1.0 / (kOversampling * span);
  auto first = static_cast<int64_t>(band.low / step), last = static_cast<int64_t>(band.high / step) + 1;
  while (static_cast<double>(first) * step < band.low) ++first;
  while (static_cast<double>(last) * step >= band.high) --last;
  return {step, first, last};
}

// Sums over the intervals, at one frequency, of c = cos, s = sin (2 pi f t) and their products with y, the deviation
// from the mean.
struct Waves {
  double c, s, cc, cs, yc, ys;
};

// The density: what the fit of a constant, a cosine and a sine takes from the sum of squares, times span / n.
PHYSIOCLR_HD double density(const Waves& w, double n, double span) {
  const double c = w.c / n, s = w.s / n, yc = w.yc / n, ys = w.ys / n;
  const double cc = w.cc / n - c * c, ss = 1.0 - w.cc / n - s * s, cs = w.cs / n - c * s, d = cc * ss - cs * cs;
  constexpr double kSingular = 1e-12;  // then cosine and sine are one function of these times
  if (d > kSingular) return span * (ss * yc * yc + cc * ys * ys - 2.0 * cs * yc * ys) / d;
  const double one = cc > ss ? cc : ss, y = cc > ss ? yc : ys;
  return one > kSingular ? span * y * y / one : 0.0;
}

// Of multiple k of the step in a sum by trapezoids.
PHYSIOCLR_HD double weight(const Grid& grid, int64_t k) {
  if (grid.first == grid.last) return 0.0;
  return grid.step * (k == grid.first || k == grid.last ? 0.5 : 1.0);
}

}  // namespace physioclr::hrv
