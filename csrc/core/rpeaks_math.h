#pragma once
// detect_rpeaks: the constants, each with its reason, and the steps that work on blocks and candidates of one record.
// Plain scalar code on borrowed arrays with + - * / only, so that every backend and processor takes the same decisions.
// Times are samples of the envelope's rate unless they say seconds.
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
constexpr int kAside = 2, kWide = 6;
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
constexpr int kMostGaps = 32;
// An interval below kEarly of the local rhythm costs kEarlyCost per quarter of it, more in noise, where an early "beat"
// is more often an artefact than an ectopic beat. One above kLate costs up to twice kLateCost: the search-back of a
// classical detector.
constexpr float kEarly = 0.75f, kEarlyCost = 0.3f, kEarlyRise = 35.0f, kLate = 1.35f, kLateCost = 1.0f;
constexpr int kLookBack = 6;  // candidates: at least kLookBack * kSeparation = 1.1 s
// Refinement: half window around the envelope's maximum and half window of the mean that stands for the baseline (s);
// how much larger than the positive deflection the negative one must be to be the R peak; how quickly, in noise,
// deflections away from the envelope's maximum lose weight (per s^2); half window of the search at full rate (s).
constexpr double kRefine = 0.07, kBaseline = 0.12, kFine = 0.016;
constexpr float kInverted = 1.3f, kTaper = 20000.0f;
// Quality is the mean of two: how small the candidates that are no beats are beside the beats (kClean: T waves of a
// clean ECG, kNoise: white noise), and how small the noise above kCalm is (kHiss: no more than noise).
constexpr float kClean = 0.25f, kNoise = 0.6f;

// The q-th quantile (by linear interpolation) of n values, which it sorts in place. n is small.
PHYSIOCLR_HD float sorted_quantile(float* v, int n, float q) {
  for (int i = 1; i < n; ++i) {
    const float x = v[i];
    int j = i;
    for (; j > 0 && v[j - 1] > x; --j) v[j] = v[j - 1];
    v[j] = x;
  }
  const float pos = q * static_cast<float>(n - 1);
  const int a = static_cast<int>(pos), b = a + 1 < n ? a + 1 : n - 1;
  return v[a] + (pos - static_cast<float>(a)) * (v[b] - v[a]);
}

// Copies the values of the blocks within `aside` of block k; returns how many there are.
PHYSIOCLR_HD int neighbours(const float* value, int64_t blocks, int64_t k, int aside, float* out) {
  int n = 0;
  for (int64_t j = k - aside; j <= k + aside; ++j)
    if (j >= 0 && j < blocks) out[n++] = value[j];
  return n;
}

// Level at block k from the maxima of the blocks near it. n is small.
PHYSIOCLR_HD float near_level(const float* maxima, int64_t blocks, int64_t k) {
  float v[2 * kAside + 1];
  const int n = neighbours(maxima, blocks, k, kAside, v);
  const float level = sorted_quantile(v, n, kQuantile), second = n > 1 ? kSecond * v[n - 2] : 0.0f;
  return level > second ? level : second;
}

// The same, and not below what the wider neighbourhood says.
PHYSIOCLR_HD float block_level(const float* maxima, int64_t blocks, int64_t k) {
  float v[2 * kWide + 1];
  const int n = neighbours(maxima, blocks, k, kWide, v);
  const float level = near_level(maxima, blocks, k), floor = kFloor * sorted_quantile(v, n, kWideQuantile);
  return level > floor ? level : floor;
}

// Mean of the envelope at block k, from the means of all blocks: their local median.
PHYSIOCLR_HD float block_mean(const float* means, int64_t blocks, int64_t k) {
  float v[2 * kAside + 1];
  const int n = neighbours(means, blocks, k, kAside, v);
  return sorted_quantile(v, n, 0.5f);
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

// Local rhythm at candidate i, in seconds, over the candidates that `clear` marks.
PHYSIOCLR_HD float local_rhythm(const int32_t* t, const uint8_t* clear, int64_t n, int64_t i, float fe) {
  float gap[kMostGaps];
  int m = 0;
  int64_t last = -1, j = i;
  const int32_t span = static_cast<int32_t>(kSpan * fe + 0.5f);
  while (j > 0 && t[i] - t[j - 1] < span) --j;
  for (; j < n && t[j] - t[i] < span && m < kMostGaps; ++j)
    if (clear[j]) {
      if (last >= 0) gap[m++] = static_cast<float>(t[j] - t[last]) / fe;
      last = j;
    }
  const float r = m ? sorted_quantile(gap, m, 0.5f) : kRhythmDefault;
  return r < kRhythmMin ? kRhythmMin : r > kRhythmMax ? kRhythmMax : r;
}

// Cost of an interval, in units of the local rhythm.
PHYSIOCLR_HD float interval_cost(float ratio, float z) {
  if (ratio < kEarly) return (kEarlyCost + kEarlyRise * z) * (kEarly - ratio) / 0.25f;
  const float late = kLateCost * (ratio - kLate) / 0.4f;
  return late < 0 ? 0.0f : late > 2 * kLateCost ? 2 * kLateCost : late;
}

// Marks in `beat` the sequence of candidates with the most evidence less the cost of its intervals (dynamic
// programming) and returns its length. z: noise above kCalm at each candidate; doubt: see there. value, back: scratch
// of n.
PHYSIOCLR_HD int64_t choose(const int32_t* t, const float* amp, const float* z, const float* doubt, const float* rhythm,
                            int64_t n, float fe, float* value, int32_t* back, uint8_t* beat) {
  const int32_t refractory = static_cast<int32_t>(static_cast<float>(kRefractory) * fe + 0.5f);
  float old = 0, top = 0;
  int32_t older = -1, end = -1;
  for (int64_t i = 0; i < n; ++i) {
    beat[i] = 0;
    if (i > kLookBack && value[i - kLookBack - 1] > old) {
      old = value[i - kLookBack - 1];
      older = static_cast<int32_t>(i - kLookBack - 1);
    }
    float best = old - 2 * kLateCost;  // after a pause: the best sequence that ended before the look-back
    int32_t from = older;
    if (best <= 0) {
      best = 0;
      from = -1;
    }
    for (int64_t j = i - 1; j >= 0 && j >= i - kLookBack; --j) {
      if (t[i] - t[j] < refractory) continue;
      const float ratio = static_cast<float>(t[i] - t[j]) / fe / (0.5f * (rhythm[i] + rhythm[j]));
      const float total = value[j] - interval_cost(ratio, z[i]);
      if (total > best) {
        best = total;
        from = static_cast<int32_t>(j);
      }
    }
    value[i] = best + evidence(amp[i], z[i]) - doubt[i];
    back[i] = from;
    if (value[i] > top) {
      top = value[i];
      end = static_cast<int32_t>(i);
    }
  }
  int64_t m = 0;
  for (; end >= 0; end = back[end], ++m) beat[end] = 1;
  return m;
}

// How far the beats stand out from the other candidates, 0..1.
PHYSIOCLR_HD float beat_quality(const float* amp, const float* z, const uint8_t* beat, int64_t n) {
  float in = 0, out = 0, noise = 0;
  int64_t m = 0;
  for (int64_t i = 0; i < n; ++i) {
    (beat[i] ? in : out) += amp[i];
    noise += z[i];
    m += beat[i];
  }
  if (m == 0) return 0;
  const float others = n > m ? out / static_cast<float>(n - m) : 0.0f;
  const float contrast = (kNoise - others * static_cast<float>(m) / in) / (kNoise - kClean);
  const float calm = 1 - noise / static_cast<float>(n) / kHiss;
  return 0.5f * (contrast < 0 ? 0 : contrast > 1 ? 1 : contrast) + 0.5f * (calm < 0 ? 0 : calm);
}

}  // namespace physioclr::rpeaks
