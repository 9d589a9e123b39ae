#pragma once
// A lead at the internal rate of the delineation, about 250 Hz, and its slopes.
#include <algorithm>

#include "core/delineate_constants.h"
#include "core/waves_math.h"

namespace physioclr::waves::PHYSIOCLR_ISA {

// q input samples are averaged into one, or u samples are interpolated between two.
struct Internal {
  explicit Internal(double fs) {
    if (fs >= 200.0) q = larger<int64_t>(1, whole(fs / kInternalRate + 0.5));
    else u = whole(std::ceil(200.0 / fs));
    fi = fs / real(q) * real(u);
  }
  int64_t q = 1, u = 1;
  double fi;
};

struct Lead {
  const double *y, *s;  // samples relative to the first, and their prefix sums
  int64_t n;
  bool missing;        // whether samples are; then
  const int32_t* bad;  // prefix counts of them
};

// In lane j: the sum of the w samples after sample i + j minus that of the w before it, w (w + 1) times the mean slope
// there; only ratios and signs of it are used. s: prefix sums.
inline Doubles rises(const double* s, int64_t i, int64_t w) {
  return (load(s + i + 1 + w) - load(s + i + 1)) - (load(s + i) - load(s + i - w));
}

// g: |mean of the w samples after - mean of the w before| per sample, 0 at the ends.
inline void slopes(const double* s, int64_t n, int64_t w, double* __restrict g) {
  for (int64_t i = 0; i < smaller(w, n); ++i) g[i] = 0;
  const double scale = 1.0 / real(w * (w + 1));
  for (int64_t i = w; i < n - 1 - w; i += kLanes) store(g + i, magnitude(rises(s, i, w)) * scale);  // and kSlack more
  for (int64_t i = larger<int64_t>(0, n - 1 - w); i < n; ++i) g[i] = 0;
}

// Missing (NaN) samples: a straight line across each gap. bad: prefix counts of them. False if nothing is there.
inline bool fill_gaps(double* y, int64_t n, int32_t* bad) {
  int64_t last = -1;  // the last valid sample
  bad[0] = 0;
  for (int64_t i = 0; i < n; ++i) {
    bad[i + 1] = bad[i];
    if (std::isnan(y[i])) {
      ++bad[i + 1];
      continue;
    }
    for (int64_t j = last + 1; j < i; ++j)
      y[j] = last < 0 ? y[i] : y[last] + (y[i] - y[last]) * real(j - last) / real(i - last);
    last = i;
  }
  for (int64_t j = last + 1; j < n; ++j) y[j] = last >= 0 ? y[last] : 0.0;
  return last >= 0;
}

// Draws a line across the pacing spikes before the R peaks. x at the rate fs shows them, y (x averaged by q) is
// changed.
inline void remove_spikes(const float* x, const int32_t* rpeaks, int64_t beats, double fs, int64_t q, double* y,
                          int64_t n) {
  const int64_t h = width(kSpikeHalf, fs), before = width(kSpikeBefore, fs), after = width(kSpikeAfter, fs);
  for (int64_t k = 0; k < beats; ++k) {
    const int64_t a = larger<int64_t>(0, rpeaks[k] - before - 2 * h), b = smaller(n * q, rpeaks[k] + after + 2 * h);
    if (b - a <= 4 * h || spikes(x + a, b - a, h) == 0) continue;
    for (int64_t i = a + 2 * h; i < b - 2 * h; ++i) {
      if (spikes(x + i - 2 * h, 4 * h + 1, h) == 0) continue;
      const int64_t left = larger<int64_t>(0, (i - h) / q), right = smaller(n - 1, (i + h) / q);
      for (int64_t j = left + 1; j < right; ++j)
        y[j] = y[left] + (y[right] - y[left]) * real(j - left) / real(right - left);
    }
  }
}

// x at the internal rate, into y. Returns whether all of it is finite.
inline bool resample(const float* x, const Internal& rate, double* __restrict y, int64_t n) {
  int whole_lead = 1;
  if (rate.q == 2) {
    for (int64_t i = 0; i < n; ++i) {
      y[i] = 0.5 * (static_cast<double>(x[2 * i]) + static_cast<double>(x[2 * i + 1]));
      whole_lead &= std::fabs(y[i]) < HUGE_VAL;
    }
  } else if (rate.u == 1) {
    for (int64_t i = 0; i < n; ++i) {
      double total = 0;
      for (int64_t j = i * rate.q; j < (i + 1) * rate.q; ++j) total += static_cast<double>(x[j]);
      y[i] = total / real(rate.q);
      whole_lead &= std::fabs(total) < HUGE_VAL;
    }
  } else {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t j = i / rate.u;
      const double f = real(i % rate.u) / real(rate.u), v = static_cast<double>(x[j]);
      y[i] = f == 0.0 ? v : v * (1.0 - f) + static_cast<double>(x[j + 1]) * f;
      whole_lead &= std::fabs(y[i]) < HUGE_VAL;
    }
  }
  return whole_lead;
}

// Whether a pacing spike goes before one of the R peaks.
inline bool any_spike(const float* x, const int32_t* rpeaks, int64_t beats, double fs, int64_t samples) {
  const int64_t h = width(kSpikeHalf, fs), before = width(kSpikeBefore, fs), after = width(kSpikeAfter, fs);
  for (int64_t k = 0; k < beats; ++k) {
    const int64_t a = larger<int64_t>(0, rpeaks[k] - before - 2 * h), b = smaller(samples, rpeaks[k] + after + 2 * h);
    if (b - a > 4 * h && spikes(x + a, b - a, h) > 0) return true;
  }
  return false;
}

// The means of two samples less the first of them, for a lead of 2 n samples without gaps; false if there are some.
// flat: whether all are 0.
inline bool halve(const float* x, int64_t n, double* y, bool* flat) {
  const auto half = [&](int64_t i) {
    return 0.5 * (static_cast<double>(x[2 * i]) + static_cast<double>(x[2 * i + 1]));
  };
  const double first = half(0);
  Integers gone{}, other{};
  bool is_gone = false, is_other = false;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Doubles mean = means_of_two<Doubles>(x + 2 * i);
    gone |= ~(magnitude(mean) < HUGE_VAL);
    const Doubles d = mean - first;
    other |= d != 0.0;
    store(y + i, d);
  }
  for (; i < n; ++i) {
    const double mean = half(i);
    is_gone |= !(std::fabs(mean) < HUGE_VAL);
    y[i] = mean - first;
    is_other |= y[i] != 0.0;
  }
  *flat = !is_other && !any_lane(other);
  return !is_gone && !any_lane(gone);
}

// Resamples x to the internal rate, interpolates gaps and removes pacing spikes. n is 0 if nothing is there or the lead
// is flat. y, s, bad: of n and more elements each.
inline Lead prepare(const float* x, int64_t samples, const int32_t* rpeaks, int64_t beats, double fs,
                    const Internal& rate, bool no_spikes, double* y, double* s, int32_t* bad) {
  const int64_t q = rate.q, n = rate.u == 1 ? samples / q : (samples - 1) * rate.u + 1;
  const bool paced = !no_spikes && rate.u == 1 && any_spike(x, rpeaks, beats, fs, n * q);
  if (bool flat; q == 2 && !paced && halve(x, n, y, &flat)) {  // nearly every lead at 500 Hz
    prefix_sums(y, n, s);
    return {y, s, flat ? 0 : n, false, bad};
  }
  const bool all = resample(x, rate, y, n);
  if (!all) {
    for (int64_t i = 0; i < n; ++i) {
      if (std::fabs(y[i]) < HUGE_VAL) continue;
      double total = 0;  // the mean of what is there, if anything is
      int64_t m = 0;
      for (int64_t j = i * q; rate.u == 1 && j < (i + 1) * q; ++j)
        if (std::isfinite(x[j])) total += static_cast<double>(x[j]), ++m;
      y[i] = m > 0 ? total / real(m) : std::nan("");
    }
    if (!fill_gaps(y, n, bad)) return {y, s, 0, true, bad};
  }
  if (paced) remove_spikes(x, rpeaks, beats, fs, q, y, n);
  const double first = n > 0 ? y[0] : 0.0;
  bool flat = true;
  for (int64_t i = 0; i < n; ++i) {
    y[i] -= first;
    flat = flat && y[i] == 0.0;
  }
  prefix_sums(y, n, s);
  return {y, s, flat ? 0 : n, !all, bad};
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
