#pragma once
// detect_rpeaks: the constants, each with its reason, and the steps that work on blocks and candidates of one record.
// Plain scalar code on borrowed arrays with + - * / and square roots only, so that every backend and processor takes the
// same decisions.
// Times are samples of the envelope's rate unless they say seconds.
#include <cmath>
#include <cstdint>

#include "core/macros.h"

namespace physioclr::rpeaks {

// Working rate in Hz: a QRS complex has no energy to speak of above 40 Hz, and the index is refined at full rate.
constexpr double kWorkRate = 125.0;
// The envelope changes slowly (its band is that of the wavelets, 6 Hz to each side): from this rate up every second
// working sample is enough.
constexpr double kHopRate = 100.0;
// The envelope is the modulus of Gabor wavelets. At 10 Hz wide complexes stand out of muscle noise, at 18 Hz narrow
// ones stand out of T waves and electrode motion; each second of a record takes what serves it (see contrast). Half a
// cycle of deviation (50 and 28 ms, about a QRS width) gives one peak a complex.
constexpr int kBands = 2;
constexpr double kCentre[kBands] = {10.0, 18.0}, kCycles = 0.5;
constexpr double kSupport = 3.0;  // half length of a wavelet in deviations: what is cut off is 1 % of its top
// Pulses narrower than this, in seconds, are pacing spikes or single bad samples, not waves.
constexpr double kSpike = 0.004;
// A record shorter than this, in seconds, holds no complex with its surroundings.
constexpr double kShortest = 0.4;
// Two maxima closer than this are parts of one complex; 300 beats a minute are one each 200 ms. Seconds.
constexpr double kSeparation = 0.18, kRefractory = 0.19;
// Level of "a beat here": a quantile of the maxima of the blocks of 1 s within kAside; at least kSecond times the
// second largest of them; and at least kFloor times a higher quantile within kWide, so that at 20 beats a minute, where
// one block of three holds a beat, and in a pause of some seconds the small waves do not become beats. One artefact or
// large ectopic beat moves none of the three.
constexpr double kBlock = 1.0;
constexpr int kAside = 2, kWide = 4;
constexpr float kQuantile = 0.6f, kSecond = 0.7f, kFloor = 0.65f, kWideQuantile = 0.75f;
// A lead and band counts with (level / mean - kQuiet)^2 + kLeast: level / mean is 2.3 for noise, 6 to 10 for a clean
// ECG.
constexpr float kQuiet = 2.0f, kLeast = 0.01f;
// noise = mean / level of the fused envelope: 0.10 to 0.15 in a clean ECG, 0.3 at 0 dB, 0.42 in white noise; z is what
// exceeds kCalm. Evidence for a beat: (amplitude / level - threshold) / width, both rising with z, as the amplitudes of
// noise do, and bounded to +-kEvidence so that no artefact outweighs its neighbours. T waves lie near 0.2 of the level,
// small ventricular beats near 0.45.
constexpr float kCalm = 0.16f;
constexpr float kThreshold = 0.31f, kThresholdRise = 1.5f, kWidth = 0.1f, kWidthRise = 1.4f, kEvidence = 2.5f;
// Where noise exceeds kHiss and the candidates are of very different height, there may be no ECG at all: evidence is
// reduced by kDoubt times both. At 300 beats a minute the noise measure is as high, but all candidates are alike.
constexpr float kHiss = 0.2f, kDoubt = 80.0f;
// Local rhythm: the median interval within kSpan seconds, first between clear candidates (amplitude above kClear), then
// between the beats that the first pass chose. Bounds in seconds.
constexpr float kClear = 0.6f, kSpan = 3.0f, kRhythmDefault = 0.8f, kRhythmMin = 0.2f, kRhythmMax = 1.6f;
constexpr int kMostGaps = 40;  // candidates lie kSeparation apart: at most 2 kSpan / kSeparation = 34 intervals
// An interval below kEarly of the local rhythm costs kEarlyCost per quarter of it, more in noise, where an early "beat"
// is more often an artefact than an ectopic beat. One above kLate costs up to twice kLateCost: the search-back of a
// classical detector.
constexpr float kEarly = 0.75f, kEarlyCost = 0.3f, kEarlyRise = 35.0f, kLate = 1.35f, kLateCost = 1.0f;
constexpr int kLookBack = 6;  // candidates: at least kLookBack * kSeparation = 1.1 s
// Refinement. kRefine, kBaseline: half window around the envelope's maximum and half window of the mean that stands for
// the baseline (s). kInverted: how much larger than the positive deflection the negative one must be to be dominant, in
// one lead or over the leads. kTaper: how quickly, in noise, deflections away from the envelope's maximum lose weight
// (per s^2).
constexpr double kRefine = 0.07, kBaseline = 0.12;
constexpr float kInverted = 1.5f, kTaper = 20000.0f;
// Where the negative deflection dominates, a positive one before it is the R wave of an RS complex if it is a wave of
// its own: a maximum at most kRS before the first dip of the complex (one with at least kDip of the largest), and
// higher than what precedes it within kNotch by kProminence of the fall that follows, more in noise. The deflection of a
// broad complex (wider than kBroad at half its depth: paced, bundle branch block) develops slowly, so that the R wave
// may be small and early: kBroadRS, kBroadProminence. kFall: where the height from which the wave falls is sought. In s.
constexpr double kRS = 0.045, kBroadRS = 0.12, kNotch = 0.06, kFall = 0.12, kBroad = 0.055, kWidest = 0.2;
constexpr float kDip = 0.7f, kProminence = 0.13f, kBroadProminence = 0.03f, kProminenceRise = 7.0f;
// The index is the middle of the top of the wave, of the samples within kTop of its height from its extremum at full
// rate: noise and slow ST segments move it less than the extremum, flat tops have one. Half window of the search (s).
constexpr double kFine = 0.024;
constexpr float kTop = 0.25f;
// Quality: the value of the chosen sequence per beat, from kPoor (what noise reaches) to kEvidence; less so where the
// beats are of uneven height (standard deviation over mean, from kEven to kUneven) and the noise above kCalm reaches
// kUneasy: ectopic beats in a calm record may be of any height. Amplitudes above kLargest count as that. Among records
// without noise to speak of, the height of the candidates that are no beats, over that of the beats, takes off kBeside
// of itself.
constexpr float kPoor = 0.9f, kEven = 0.12f, kUneven = 0.45f, kUneasy = 0.08f, kLargest = 2.0f, kBeside = 0.2f;

// Where a[i] > a[j], exchanges them.
PHYSIOCLR_HD void exchange(float* a, int i, int j) {
  const float x = a[i], y = a[j];
  a[i] = x < y ? x : y;
  a[j] = x < y ? y : x;
}

// Sorting networks: no branch, and all in registers.
PHYSIOCLR_HD void sort5(float* a) {
  exchange(a, 0, 1), exchange(a, 3, 4), exchange(a, 2, 4), exchange(a, 2, 3), exchange(a, 1, 4);
  exchange(a, 0, 3), exchange(a, 0, 2), exchange(a, 1, 3), exchange(a, 1, 2);
}

PHYSIOCLR_HD void sort9(float* a) {
  exchange(a, 0, 3), exchange(a, 1, 7), exchange(a, 2, 5), exchange(a, 4, 8);
  exchange(a, 0, 7), exchange(a, 2, 4), exchange(a, 3, 8), exchange(a, 5, 6);
  exchange(a, 0, 2), exchange(a, 1, 3), exchange(a, 4, 5), exchange(a, 7, 8);
  exchange(a, 1, 4), exchange(a, 3, 6), exchange(a, 5, 7);
  exchange(a, 0, 1), exchange(a, 2, 4), exchange(a, 3, 5), exchange(a, 6, 8);
  exchange(a, 2, 3), exchange(a, 4, 5), exchange(a, 6, 7);
  exchange(a, 1, 2), exchange(a, 3, 4), exchange(a, 5, 6);
}

// The q-th quantile (by linear interpolation) of n sorted values.
PHYSIOCLR_HD float quantile(const float* v, int n, float q) {
  const float pos = q * static_cast<float>(n - 1);
  const int a = static_cast<int>(pos), b = a + 1 < n ? a + 1 : n - 1;
  return v[a] + (pos - static_cast<float>(a)) * (v[b] - v[a]);
}

// The same of n values in any order, which it sorts in place. n is small.
PHYSIOCLR_HD float sorted_quantile(float* v, int n, float q) {
  for (int i = 1; i < n; ++i) {
    const float x = v[i];
    int j = i;
    for (; j > 0 && v[j - 1] > x; --j) v[j] = v[j - 1];
    v[j] = x;
  }
  return quantile(v, n, q);
}

// Sorts the values of the blocks within `aside` of block k; what is missing to 2 aside + 1 of them comes last, as
// infinity. Returns how many there are.
template <int aside>
PHYSIOCLR_HD int neighbours(const float* value, int64_t blocks, int64_t k, float* out) {
  static_assert(aside == 2 || aside == 4, "the sorting networks are of 5 and 9");
  constexpr int size = 2 * aside + 1;
  float v[size];  // in registers, as all its indices are constants
  int n = 0;
  if (k >= aside && k + aside < blocks) {
    for (int i = 0; i < size; ++i) v[i] = value[k + i - aside];
    n = size;
  } else {
    for (int i = 0; i < size; ++i) {
      const int64_t j = k + i - aside;
      const bool inside = j >= 0 && j < blocks;
      v[i] = inside ? value[j] : HUGE_VALF;
      n += inside;
    }
  }
  if (aside == 2)
    sort5(v);
  else
    sort9(v);
  for (int i = 0; i < size; ++i) out[i] = v[i];
  return n;
}

// Level at block k from the maxima of the blocks near it. v here and below: scratch for the neighbours (on a GPU an
// array of its own would lie in slow memory).
constexpr int kNeighbours = 2 * (kAside > kWide ? kAside : kWide) + 1;
PHYSIOCLR_HD float near_level(const float* maxima, int64_t blocks, int64_t k, float* v) {
  const int n = neighbours<kAside>(maxima, blocks, k, v);
  const float level = quantile(v, n, kQuantile), second = n > 1 ? kSecond * v[n - 2] : 0.0f;
  return level > second ? level : second;
}

// The same, and not below what the wider neighbourhood says.
PHYSIOCLR_HD float block_level(const float* maxima, int64_t blocks, int64_t k, float* v) {
  const float level = near_level(maxima, blocks, k, v);
  const int n = neighbours<kWide>(maxima, blocks, k, v);
  const float floor = kFloor * quantile(v, n, kWideQuantile);
  return level > floor ? level : floor;
}

// Mean of the envelope at block k, from the means of all blocks: their local median.
PHYSIOCLR_HD float block_mean(const float* means, int64_t blocks, int64_t k, float* v) {
  const int n = neighbours<kAside>(means, blocks, k, v);
  return quantile(v, n, 0.5f);
}

// How much a lead and band counts, before the shares are made to add up to 1.
PHYSIOCLR_HD float contrast(float level, float mean) {
  const float c = mean > 0 ? level / mean - kQuiet : 0.0f;
  return level > 0 ? (c > 0 ? c * c : 0.0f) + kLeast : 0.0f;
}

// Linear interpolation between the centres of the blocks.
PHYSIOCLR_HD float at_centres(const float* value, int64_t blocks, float block, int64_t t) {
  float pos = static_cast<float>(t) / block - 0.5f;
  if (pos < 0) pos = 0;
  int64_t a = static_cast<int64_t>(pos);
  if (a > blocks - 1) a = blocks - 1;
  const int64_t b = a + 1 < blocks ? a + 1 : a;
  return value[a] + (pos - static_cast<float>(a)) * (value[b] - value[a]);
}

PHYSIOCLR_HD float evidence(float amp, float z) {
  const float s = (amp - kThreshold - kThresholdRise * z) / (kWidth + kWidthRise * z);
  return s > kEvidence ? kEvidence : s < -kEvidence ? -kEvidence : s;
}

// What to take off the evidence of candidate i because its surroundings look like noise alone.
PHYSIOCLR_HD float doubt(const int32_t* t, const float* amp, const float* z, int64_t n, int64_t i, float fe) {
  if (z[i] <= kHiss) return 0;
  const int32_t span = static_cast<int32_t>(kSpan * fe + 0.5f);
  int64_t j = i, m = 0;
  float sum = 0;
  while (j > 0 && t[i] - t[j - 1] < span) --j;
  for (; j < n && t[j] - t[i] < span; ++j, ++m) sum += amp[j] < 1 ? amp[j] : 1.0f;
  return kDoubt * (z[i] - kHiss) * (1 - sum / static_cast<float>(m));
}

// Local rhythm at candidate i, in seconds, over the candidates that `clear` marks. gap: scratch of kMostGaps.
PHYSIOCLR_HD float local_rhythm(const int32_t* t, const uint8_t* clear, int64_t n, int64_t i, float fe, int32_t* gap) {
  int m = 0;
  int64_t last = -1, j = i;
  const int32_t span = static_cast<int32_t>(kSpan * fe + 0.5f);
  while (j > 0 && t[i] - t[j - 1] < span) --j;
  for (; j < n && t[j] - t[i] < span && m < kMostGaps; ++j) {
    if (!clear[j]) continue;
    if (last >= 0) {
      const int32_t g = t[j] - t[last];
      int k = m++;
      for (; k > 0 && gap[k - 1] > g; --k) gap[k] = gap[k - 1];
      gap[k] = g;
    }
    last = j;
  }
  const float r = m ? 0.5f * static_cast<float>(gap[(m - 1) / 2] + gap[m / 2]) / fe : kRhythmDefault;
  return r < kRhythmMin ? kRhythmMin : r > kRhythmMax ? kRhythmMax : r;
}

// local_rhythm of the candidates begin..end, one after the other: a window of marks moves along, and its intervals are
// kept in order, gap[0..m).
PHYSIOCLR_HD void local_rhythms(const int32_t* t, const uint8_t* clear, int64_t n, int64_t begin, int64_t end, float fe,
                                float* rhythm) {
  const int32_t span = static_cast<int32_t>(kSpan * fe + 0.5f);
  int32_t gap[kMostGaps];
  int m = 0;
  int64_t first = -1, last = -1, next = begin;  // marks in the window; candidates looked at
  while (next > 0 && t[begin] - t[next - 1] < span) --next;
  for (int64_t i = begin; i < end; ++i) {
    while (first >= 0 && t[i] - t[first] >= span) {
      if (first == last) {
        first = last = -1;
        break;
      }
      int64_t after = first + 1;
      while (!clear[after]) ++after;
      int k = 0;
      while (gap[k] != t[after] - t[first]) ++k;
      for (--m; k < m; ++k) gap[k] = gap[k + 1];
      first = after;
    }
    for (; next < n && t[next] - t[i] < span; ++next) {
      if (!clear[next]) continue;
      if (last >= 0) {
        const int32_t g = t[next] - t[last];
        int k = m++;
        for (; k > 0 && gap[k - 1] > g; --k) gap[k] = gap[k - 1];
        gap[k] = g;
      } else {
        first = next;
      }
      last = next;
    }
    float r = kRhythmDefault;
    if (m > 0) r = 0.5f * static_cast<float>(gap[(m - 1) / 2] + gap[m / 2]) / fe;
    rhythm[i] = r < kRhythmMin ? kRhythmMin : r > kRhythmMax ? kRhythmMax : r;
  }
}

// How much a deflection d from the baseline counts in the sum over several leads.
PHYSIOCLR_HD float deflection(float d) { return d > 0 ? d : -d / kInverted; }

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

// Index of the middle of the top of v[0..n), which is a wave of this height: see kTop. Missing values are -infinity.
PHYSIOCLR_HD int64_t middle_of_top(const float* v, int64_t n, float height) {
  int64_t top = 0;
  for (int64_t i = 1; i < n; ++i)
    if (v[i] > v[top]) top = i;
  int64_t a = top, b = top;
  float drop = kTop * height;
  for (int tries = 0; tries < 3; ++tries, drop *= 0.5f) {  // of a broad wave less of the top fits in
    a = b = top;
    while (a > 0 && v[a - 1] >= v[top] - drop) --a;
    while (b + 1 < n && v[b + 1] >= v[top] - drop) ++b;
    if (a > 0 && b + 1 < n) break;
  }
  return (a + b) / 2;
}

// Cost of an interval, in units of the local rhythm.
PHYSIOCLR_HD float interval_cost(float ratio, float z) {
  if (ratio < kEarly) return (kEarlyCost + kEarlyRise * z) * (kEarly - ratio) / 0.25f;
  const float late = kLateCost * (ratio - kLate) / 0.4f;
  return late < 0 ? 0.0f : late > 2 * kLateCost ? 2 * kLateCost : late;
}

// Cost of candidate i following candidate j.
PHYSIOCLR_HD float link_cost(const int32_t* t, const float* z, const float* rhythm, int64_t i, int64_t j, float fe) {
  return interval_cost(static_cast<float>(t[i] - t[j]) / fe / (0.5f * (rhythm[i] + rhythm[j])), z[i]);
}

// Marks in `beat` the sequence of candidates with the most evidence less the cost of its intervals (dynamic
// programming) and returns its length; *worth: its value. z: noise above kCalm at each candidate; doubt: see there;
// cost(i, j): link_cost. value, back: scratch of n. Double, because over a day the sum would outgrow the digits of
// float32.
template <class Cost>
PHYSIOCLR_HD int64_t choose(const int32_t* t, const float* amp, const float* z, const float* doubt, int64_t n, float fe,
                            Cost cost, double* value, int32_t* back, uint8_t* beat, double* worth) {
  const int32_t refractory = static_cast<int32_t>(static_cast<float>(kRefractory) * fe + 0.5f);
  double old = 0, top = 0;
  int32_t older = -1, end = -1;
  for (int64_t i = 0; i < n; ++i) {
    beat[i] = 0;
    if (i > kLookBack && value[i - kLookBack - 1] > old) {
      old = value[i - kLookBack - 1];
      older = static_cast<int32_t>(i - kLookBack - 1);
    }
    double best = old - 2 * kLateCost;  // after a pause: the best sequence that ended before the look-back
    int32_t from = older;
    if (best <= 0) {
      best = 0;
      from = -1;
    }
    for (int64_t j = i - 1; j >= 0 && j >= i - kLookBack; --j) {
      if (value[j] <= best || t[i] - t[j] < refractory) continue;  // an interval costs, it never pays
      const double total = value[j] - cost(i, j);
      if (total > best) {
        best = total;
        from = static_cast<int32_t>(j);
      }
    }
    value[i] = best + (evidence(amp[i], z[i]) - doubt[i]);
    back[i] = from;
    if (value[i] > top) {
      top = value[i];
      end = static_cast<int32_t>(i);
    }
  }
  int64_t m = 0;
  for (; end >= 0; end = back[end], ++m) beat[end] = 1;
  *worth = top;
  return m;
}

PHYSIOCLR_HD double within_0_1(double v) { return v < 0 ? 0 : v > 1 ? 1 : v; }

// Quality of a record, 0..1: see kPoor. worth: the value of the chosen sequence.
PHYSIOCLR_HD float beat_quality(const float* amp, const float* z, const uint8_t* beat, int64_t n, double worth) {
  double noise = 0, sum = 0, squares = 0, m = 0, others = 0;
  for (int64_t i = 0; i < n; ++i) {
    noise += z[i];
    const double a = amp[i] < kLargest ? amp[i] : kLargest;
    if (!beat[i]) {
      others += a;
      continue;
    }
    sum += a;
    squares += a * a;
    m += 1;
  }
  if (m == 0) return 0;
  const double mean = sum / m, variance = squares / m - mean * mean;
  const double uneven = std::sqrt(variance > 0 ? variance : 0) / mean;
  const double count = static_cast<double>(n), beside = n > m ? others / (count - m) / mean : 0;
  const double value = within_0_1((worth / m - kPoor) / (kEvidence - kPoor)) * (1 - kBeside * within_0_1(beside));
  return static_cast<float>(value * (1 - within_0_1((uneven - kEven) / (kUneven - kEven)) *
                                             within_0_1(noise / count / kUneasy)));
}

}  // namespace physioclr::rpeaks
