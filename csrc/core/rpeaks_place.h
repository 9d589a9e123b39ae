#pragma once
// Where detect_rpeaks puts the index of a beat: which wave of the complex is meant, and where its top is. Plain scalar
// code on borrowed arrays, as in core/rpeaks_math.h.
#include <cmath>
#include <cstdint>

#include "core/macros.h"
#include "core/rpeaks_constants.h"

namespace physioclr::rpeaks {

// Mean of y[lo..hi]. Four partial sums, always added in the same order.
PHYSIOCLR_HD float mean_of(const float* y, int64_t lo, int64_t hi) {
  float a = 0, b = 0, c = 0, d = 0;
  int64_t i = lo;
  for (; i + 3 <= hi; i += 4) {
    a += y[i];
    b += y[i + 1];
    c += y[i + 2];
    d += y[i + 3];
  }
  if (i <= hi) a += y[i];
  if (i + 1 <= hi) b += y[i + 1];
  if (i + 2 <= hi) c += y[i + 2];
  return ((a + b) + (c + d)) / static_cast<float>(hi - lo + 1);
}

// Samples in `seconds` at `rate`, to the nearest.
PHYSIOCLR_HD int64_t span_of(double seconds, double rate) { return static_cast<int64_t>(seconds * rate + 0.5); }

// Sample i of x without pulses narrower than w: the median of x[i - w], x[i], x[i + w]. A neighbour that is missing or
// outside the record leaves x[i] alone.
template <class T>
PHYSIOCLR_HD float despiked(const T* x, int64_t samples, int64_t i, int64_t w) {
  const float b = static_cast<float>(x[i]);
  if (i < w || i + w >= samples) return b;
  const float a = static_cast<float>(x[i - w]), c = static_cast<float>(x[i + w]);
  const float low = a < c ? a : c, high = a < c ? c : a, m = b < low ? low : b > high ? high : b;
  return (a - a) + (c - c) == 0.0f ? m : b;
}

// Sum of the samples of a working sample, sample(0..step). Four are added as two pairs, which vectors can do as well:
// CPU and GPU add in the same order.
template <class Sample>
PHYSIOCLR_HD float sum_of_step(Sample sample, int64_t step) {
  float sum = sample(0);
  if (step % 4 == 0) {
    sum = (sum + sample(1)) + (sample(2) + sample(3));
    for (int64_t j = 4; j < step; j += 4) sum += (sample(j) + sample(j + 1)) + (sample(j + 2) + sample(j + 3));
  } else {
    for (int64_t j = 1; j < step; ++j) sum += sample(j);
  }
  return sum;
}

// The samples of a working sample that begins at `first`. (No lambda: a hot file would leave its function to the
// linker.)
template <class T>
struct DespikedSamples {
  const T* x;
  int64_t samples, first, w;
  PHYSIOCLR_HD float operator()(int64_t j) const { return despiked(x, samples, first + j, w); }
};

// Working sample i: the mean of `step` samples without spikes. Missing if one of them is.
template <class T>
PHYSIOCLR_HD float mean_of_step(const T* x, int64_t samples, int64_t i, int64_t step, int64_t w) {
  return sum_of_step(DespikedSamples<T>{x, samples, i * step, w}, step) * (1.0f / static_cast<float>(step));
}

// The R wave before the dominant dip of an RS complex, see kRS: its maximum, or -1. y: n working samples at fw; lo:
// where the complex may begin; first: the first dip, to be set.
PHYSIOCLR_HD int64_t r_before(const float* y, int64_t n, double fw, int64_t lo, int64_t dip, float base, float z,
                              int64_t* first) {
  *first = dip;
  const float depth = base - y[dip], half = base - 0.5f * depth;
  for (int64_t i = lo > 1 ? lo : 1; i < dip; ++i)
    if (y[i] <= y[i - 1] && y[i] < y[i + 1] && base - y[i] >= kDip * depth) {
      *first = i;
      break;
    }
  const int64_t widest = static_cast<int64_t>(kWidest * fw), notch = static_cast<int64_t>(kNotch * fw);
  int64_t l = dip, r = dip;
  while (l > 0 && dip - l < widest && y[l] < half) --l;
  while (r < n - 1 && r - dip < widest && y[r] < half) ++r;
  const bool broad = static_cast<double>(r - l) >= kBroad * fw;
  float top = y[dip];
  int64_t from = dip - static_cast<int64_t>(kFall * fw);
  for (int64_t i = from > 0 ? from : 0; i < dip; ++i)
    if (y[i] > top) top = y[i];
  const float least = ((broad ? kBroadProminence : kProminence) + kProminenceRise * z) * (top - y[dip]);
  from = *first - span_of(broad ? kBroadRS : kRS, fw);
  int64_t best = -1;
  for (int64_t i = from > 1 ? from : 1; i < dip; ++i) {
    if (y[i] < y[i - 1] || y[i] <= y[i + 1] || (best >= 0 && y[i] <= y[best])) continue;
    float before = y[i], after = y[i];
    for (int64_t j = i; j >= 0 && j >= i - notch && y[j] <= y[i]; --j)
      if (y[j] < before) before = y[j];
    for (int64_t j = i; j <= dip && y[j] <= y[i]; ++j)
      if (y[j] < after) after = y[j];
    if (y[i] - (before > after ? before : after) >= least) best = i;
  }
  return best;
}

// Of one lead: the working sample of the wave that the index is put on, near the envelope's maximum t; base: the
// baseline, up: whether the wave is positive.
PHYSIOCLR_HD int64_t r_wave(const float* y, int64_t n, double fw, int64_t t, float z, float* base, bool* up) {
  const int64_t half = static_cast<int64_t>(kRefine * fw), wide = static_cast<int64_t>(kBaseline * fw);
  const int64_t lo = t > half ? t - half : 0, hi = t + half < n ? t + half : n - 1;
  *base = mean_of(y, t > wide ? t - wide : 0, t + wide < n ? t + wide : n - 1);
  const float taper = 0.5f * kTaper * z / static_cast<float>(fw * fw);
  float high = 0, low = 0;
  int64_t crest = t, dip = t;
  for (int64_t i = lo; i <= hi; ++i) {
    const float dt = static_cast<float>(i - t);
    float d = y[i] - *base;
    if (z > 0) d /= 1.0f + taper * dt * dt;
    if (d > high) high = d, crest = i;
    if (d < low) low = d, dip = i;
  }
  *up = high * kInverted >= -low;
  if (*up) return crest;
  int64_t first;
  crest = r_before(y, n, fw, lo, dip, *base, z, &first);
  *up = crest >= 0;
  return *up ? crest : first;
}

// Of several leads: which of sum[0..n), how far they all deflect from their baselines around `mid`, is the first wave
// of the complex. taper: how much less counts what lies away from mid. *broad: whether the complex is.
PHYSIOCLR_HD int64_t first_wave(const float* sum, int64_t n, int64_t mid, float taper, double fw, bool* broad) {
  const auto at = [=](int64_t i) {
    const float dt = static_cast<float>(i - mid);
    return taper > 0 ? sum[i] / (1.0f + taper * dt * dt) : sum[i];
  };
  float most = 0;
  int64_t top = mid;
  for (int64_t i = 0; i < n; ++i)
    if (const float d = at(i); d > most) most = d, top = i;
  int64_t l = top, r = top;
  while (l > 0 && sum[l] >= 0.5f * sum[top]) --l;
  while (r < n - 1 && sum[r] >= 0.5f * sum[top]) ++r;
  *broad = static_cast<double>(r - l) >= kBroad * fw;
  for (int64_t i = 1; i < top; ++i)
    if (const float d = at(i); d >= kDip * most && d >= at(i - 1) && d > at(i + 1)) return i;
  return top;
}

// Where the votes, one or more at each of n places, reach the share kVote of their total.
PHYSIOCLR_HD int64_t voted(const float* votes, int64_t n, float total) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += votes[i];
    if (sum >= kVote * total) return i;
  }
  return n - 1;
}

// Index of the middle of the top of v[0..n), which is a wave of this height: see kTop. Missing values are -infinity.
PHYSIOCLR_HD int64_t middle_of_top(const float* v, int64_t n, float height) {
  int64_t top = 0;
  float most = v[0];
  for (int64_t i = 1; i < n; ++i)
    if (v[i] > most) most = v[i], top = i;
  int64_t a = top, b = top;
  float drop = kTop * height;
  for (int tries = 0; tries < 3; ++tries, drop *= 0.5f) {  // of a broad wave less of the top fits in
    a = b = top;
    while (a > 0 && v[a - 1] >= most - drop) --a;
    while (b + 1 < n && v[b + 1] >= most - drop) ++b;
    if (a > 0 && b + 1 < n) break;
  }
  return (a + b) / 2;
}

}  // namespace physioclr::rpeaks
