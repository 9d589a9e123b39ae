#pragma once
// Where detect_rpeaks puts the index of a beat: which wave of the complex is meant, and where its top is. Plain scalar
// code on borrowed arrays, as in core/rpeaks_math.h.
#include <cmath>
#include <cstdint>

#include "core/macros.h"
#include "core/rpeaks_constants.h"

namespace physioclr::rpeaks {

// Sum of y[lo..hi]. Four partial sums, always added in the same order.
PHYSIOCLR_HD float sum_of(const float* y, int64_t lo, int64_t hi) {
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
  return (a + b) + (c + d);
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

// Sum of the samples of a working sample, sample(0..step). Four are added as two pairs, which vectors can do as well: CPU
// and GPU add in the same order.
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

// Working sample i: the mean of `step` samples without spikes. Missing if one of them is.
template <class T>
PHYSIOCLR_HD float mean_of_step(const T* x, int64_t samples, int64_t i, int64_t step, int64_t w) {
  const auto sample = [=](int64_t j) { return despiked(x, samples, i * step + j, w); };
  return sum_of_step(sample, step) * (1.0f / static_cast<float>(step));
}

// ---- where a beat is placed ------------------------------------------------------------------------------------------
// At full rate, so that the place does not depend on where the grid of the working rate lies: the running mean of `step`
// samples is the working rate at every sample, and rules that compare working samples count them from an extremum.

// Sizes in samples at full rate, which follow from the plan.
struct Placing {
  int64_t samples, step, spike, n;  // of the record; n: working samples
  int64_t refine, fine, baseline;   // half windows of the wave and of its top, window of the baseline
  int64_t before, after;            // working samples around a dip that r_before may look at
  double fs;

  Placing() = default;
  Placing(int64_t samples_, int64_t step_, int64_t spike_, double fs_)
      : samples(samples_), step(step_), spike(spike_), n(samples_ / step_), fs(fs_) {
    const double fw = fs / static_cast<double>(step);
    refine = static_cast<int64_t>(kRefine * fw) * step;
    fine = span_of(kFine, fs);
    baseline = (2 * static_cast<int64_t>(kBaseline * fw) + 1) * step;
    const int64_t widest = static_cast<int64_t>(kWidest * fw), notch = static_cast<int64_t>(kNotch * fw);
    after = widest + 1;
    before = 2 * refine / step + span_of(kBroadRS, fw) + notch + 2;
    if (before < after) before = after;
  }
  int64_t margin() const { return fine > step ? fine : step; }
  PHYSIOCLR_HD int64_t width() const { return 2 * refine + 1; }                  // most running means of a window
  int64_t reach() const { return 2 * (refine + margin()) + 1; }     // most samples of a window
  // Where a running mean can be: its samples lie within the whole working samples of the record.
  PHYSIOCLR_HD int64_t first() const { return step / 2; }
  PHYSIOCLR_HD int64_t last() const { return (n - 1) * step + step / 2; }
};

// Window around a beat: running means lo..hi, the sample `mid` of the envelope's maximum among them, which lies
// `centre` after it; taper: how quickly deflections away from it lose weight (see tapered).
struct Window {
  int64_t lo, mid, hi;
  float centre, taper;
  PHYSIOCLR_HD int64_t width() const { return hi - lo + 1; }
};

// Noise around the maximum `peak` of the sum of the envelopes, as z but from the envelope around it, kNear to each side:
// that changes little when the blocks of a record lie elsewhere, which z may.
PHYSIOCLR_HD float noise_near(const float* env, int64_t m, float fe, int64_t peak, float top) {
  const int64_t reach = static_cast<int64_t>(kNear * fe) / kNearStep;
  const int64_t before = peak / kNearStep, after = (m - 1 - peak) / kNearStep;
  const int64_t lo = peak - kNearStep * (before < reach ? before : reach);
  const int64_t n = (peak - lo) / kNearStep + (after < reach ? after : reach) + 1;
  float a = 0, b = 0, c = 0, d = 0;
  const float* e = env + lo;
  int64_t i = 0;
  for (; i + 3 < n; i += 4, e += 4 * kNearStep) {
    a += e[0];
    b += e[kNearStep];
    c += e[2 * kNearStep];
    d += e[3 * kNearStep];
  }
  for (; i < n; ++i, e += kNearStep) a += e[0];
  const float z = ((a + b) + (c + d)) / (static_cast<float>(n) * top) - kCalm;
  return z > 0 ? z : 0.0f;
}

// env: the sum of the envelopes, m samples at `hop` working samples and the rate fe; its maximum `peak` is placed between
// them by a parabola. *z: the noise at the candidate, if any; becomes that near it.
PHYSIOCLR_HD Window window_around(const float* env, int64_t m, int64_t hop, float fe, int64_t peak, const Placing& q,
                                  float* z) {
  float shift = 0, top = env[peak];
  if (peak > 0 && peak + 1 < m) {
    const float rise = env[peak + 1] - env[peak - 1], bend = (top - env[peak - 1]) + (top - env[peak + 1]);
    if (bend > 0) {
      shift = 0.5f * rise / bend;
      top += 0.25f * rise * shift;
    }
  }
  if (*z > 0) *z = noise_near(env, m, fe, peak, top);
  const int64_t grid = hop * q.step, at = peak * grid + q.step / 2;
  const float apart = shift * static_cast<float>(grid), whole = std::floor(apart + 0.5f);
  int64_t mid = at + static_cast<int64_t>(whole);
  mid = mid < q.first() ? q.first() : mid > q.last() ? q.last() : mid;
  const int64_t lo = mid - q.refine, hi = mid + q.refine;
  return {lo < q.first() ? q.first() : lo, mid, hi > q.last() ? q.last() : hi, apart - whole,
          0.5f * kTaper * *z / static_cast<float>(q.fs * q.fs)};
}

// Mean of the lead around `mid`, from its working samples y; of the outer two the share that lies within.
PHYSIOCLR_HD float baseline_of(const float* y, const Placing& q, int64_t mid) {
  int64_t from = mid - q.baseline / 2, to = from + q.baseline;
  from = from < 0 ? 0 : from;
  to = to > q.n * q.step ? q.n * q.step : to;
  const int64_t a = from / q.step, b = (to - 1) / q.step;
  const float step = static_cast<float>(q.step);
  const float left = static_cast<float>(from - a * q.step) / step, right = static_cast<float>((b + 1) * q.step - to) / step;
  return (sum_of(y, a, b) - left * y[a] - right * y[b]) / (static_cast<float>(to - from) / step);
}

// Sample i of a lead without spikes, less its origin, times its gain. One that is missing is that of the bridged lead y.
template <class T>
PHYSIOCLR_HD float bridged_sample(const T* x, const float* y, const Placing& q, float origin, float gain, int64_t i) {
  const float d = (despiked(x, q.samples, i, q.spike) - origin) * gain;
  return d - d == 0.0f ? d : y[i / q.step];
}

// Running mean at sample i.
template <class T>
PHYSIOCLR_HD float running_mean(const T* x, const float* y, const Placing& q, float origin, float gain, int64_t i) {
  const int64_t begin = i - q.step / 2;
  const auto sample = [=](int64_t j) { return bridged_sample(x, y, q, origin, gain, begin + j); };
  return sum_of_step(sample, q.step) * (1.0f / static_cast<float>(q.step));
}

// How many samples that are a multiple of the step from a dip r_before may see before and after it.
struct Sides {
  int64_t before, after;
};
PHYSIOCLR_HD Sides sides_of(const Placing& q, int64_t dip) {
  const int64_t before = (dip - q.first()) / q.step, after = (q.last() - dip) / q.step;
  return {before < q.before ? before : q.before, after < q.after ? after : q.after};
}

// A deflection d at sample i with less weight the farther from the envelope's maximum, in noise.
PHYSIOCLR_HD float tapered(float d, const Window& w, int64_t i) {
  const float t = static_cast<float>(i - w.mid) - w.centre;
  return w.taper > 0 ? d / (1.0f + w.taper * t * t) : d;
}

// The R wave before the dominant dip of an RS complex, see kRS: its maximum, or -1. y: n working samples at fw; lo:
// where the complex may begin; first: the first dip, to be set.
template <class Y>
PHYSIOCLR_HD int64_t r_before(const Y y, int64_t n, double fw, int64_t lo, int64_t dip, float base, float z,
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

// Of several leads: which of the window's sum, how far they all deflect from their baselines, is the first wave of
// the complex. top: the largest, tapered. *broad: whether the complex is.
PHYSIOCLR_HD int64_t first_wave(const float* sum, const Window& w, int64_t top, const Placing& q, bool* broad) {
  const int64_t step = q.step, n = w.width();
  int64_t l = top, r = top;
  while (l >= step && sum[l] >= 0.5f * sum[top]) l -= step;
  while (r + step < n && sum[r] >= 0.5f * sum[top]) r += step;
  *broad = static_cast<double>(r - l) >= kBroad * q.fs;
  const auto at = [=](int64_t i) { return tapered(sum[i], w, w.lo + i); };
  const float most = at(top);
  for (int64_t i = top % step + step; i < top; i += step)
    if (const float d = at(i); d >= kDip * most && d >= at(i - step) && d > at(i + step)) return i;
  return top;
}

// Whether the votes of n leads for places up to that of lead l reach the share kVote of their total. The first such place
// wins.
PHYSIOCLR_HD bool is_voted(const int32_t* place, const float* votes, int64_t n, float total, int64_t l) {
  float sum = 0;
  for (int64_t k = 0; k < n; ++k)
    if (place[k] <= place[l]) sum += votes[k];
  return votes[l] > 0 && sum >= kVote * total;
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
