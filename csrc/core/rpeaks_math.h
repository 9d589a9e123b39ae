#pragma once
// detect_rpeaks: the constants, each with its reason, and the steps that work on one record's candidates. Plain scalar
// code on borrowed arrays, so that every backend takes the same decisions. Times are samples of the working rate fw.
#include <cmath>
#include <cstdint>

#include "core/macros.h"

namespace physioclr::rpeaks {

// Working rate in Hz: a QRS complex has no energy to speak of above 40 Hz, and the index is refined at full rate.
constexpr double kWorkRate = 125.0;
// The envelope is the modulus of a Gabor wavelet: centre 14 Hz, where QRS stands out most against T waves (1-7 Hz)
// and muscle noise (above 20 Hz); a deviation of 33 ms (a support of about a QRS width) gives one peak a complex.
constexpr double kCentre = 14.0, kSigma = 0.033;
constexpr double kSupport = 3.0;  // half length of the wavelet in deviations: what is cut off is 1 % of its top
// A record shorter than this, in seconds, holds no complex with its surroundings.
constexpr double kShortest = 0.4;
// Two peaks closer than this are parts of one complex (a wide ventricular complex has two).
constexpr double kSeparation = 0.15;
// The ventricles cannot be excited again within this time (300 beats a minute are one each 200 ms; a filtered
// envelope of a faster train is no longer resolved).
constexpr double kRefractory = 0.2;
// The level of "a beat here" is a quantile of the maxima of the blocks of 1 s within 3 blocks; it is at least kSecond
// times the second largest, because at 20 beats per minute only two of seven blocks hold a beat. One artefact or large
// ectopic beat moves neither.
constexpr double kBlock = 1.0;
constexpr int kBlocksAside = 3;
constexpr float kLevelQuantile = 0.6f, kSecond = 0.7f;
// Evidence for a beat: (amplitude / level - kThreshold) / kWidth, bounded to +-kEvidence so that no artefact outweighs
// its neighbours. T waves lie near 0.2 of the level, small ventricular beats near 0.45.
constexpr float kThreshold = 0.33f, kWidth = 0.1f, kEvidence = 4.0f;
// The local rhythm is the median interval between clear beats (amplitude above kClear) within 4 s.
constexpr float kClear = 0.6f, kRhythmSpan = 4.0f, kRhythmDefault = 0.8f, kRhythmMin = 0.3f, kRhythmMax = 1.6f;
constexpr int kRhythmMaxGaps = 32;
// An interval below kEarly of the local rhythm costs up to kEarlyCost per quarter; one above kLate costs up to twice
// kLateCost, which is what the search-back of a classical detector amounts to.
constexpr float kEarly = 0.75f, kEarlyCost = 0.6f, kLate = 1.35f, kLateCost = 1.0f;
constexpr int kLookBack = 8;  // candidates: at least kLookBack * kSeparation = 1.2 s
// Refinement on the full-rate signal: half window around the envelope's peak, half window of the mean that stands
// for the baseline, and how much larger than the positive deflection the negative one must be to be the R peak.
constexpr double kRefine = 0.07, kBaseline = 0.12;
constexpr float kInverted = 1.3f;

// Mean amplitude of the candidates that are no beats over that of the beats: at most kClean in a clean ECG (T waves), near
// kNoise in white noise.
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

// level[k] from the block maxima around block k.
PHYSIOCLR_HD float block_level(const float* maxima, int64_t blocks, int64_t k) {
  float v[2 * kBlocksAside + 1];
  int n = 0;
  for (int64_t j = k - kBlocksAside; j <= k + kBlocksAside; ++j)
    if (j >= 0 && j < blocks) v[n++] = maxima[j];
  const float level = sorted_quantile(v, n, kLevelQuantile), second = n > 1 ? kSecond * v[n - 2] : 0.0f;
  return level > second ? level : second;
}

// Linear interpolation between the centres of the blocks.
PHYSIOCLR_HD float level_at(const float* level, int64_t blocks, float block, int64_t t) {
  float pos = static_cast<float>(t) / block - 0.5f;
  if (pos < 0) pos = 0;
  int64_t a = static_cast<int64_t>(pos);
  if (a > blocks - 1) a = blocks - 1;
  const int64_t b = a + 1 < blocks ? a + 1 : a;
  return level[a] + (pos - static_cast<float>(a)) * (level[b] - level[a]);
}

// Local rhythm at candidate i, in seconds.
PHYSIOCLR_HD float local_rhythm(const int32_t* t, const float* amp, int64_t n, int64_t i, float fw) {
  float gap[kRhythmMaxGaps];
  int m = 0;
  int64_t last = -1, j = i;
  const int32_t span = static_cast<int32_t>(kRhythmSpan * fw + 0.5f);
  while (j > 0 && t[i] - t[j - 1] < span) --j;
  for (; j < n && t[j] - t[i] < span && m < kRhythmMaxGaps; ++j)
    if (amp[j] > kClear) {
      if (last >= 0) gap[m++] = static_cast<float>(t[j] - t[last]) / fw;
      last = j;
    }
  const float r = m ? sorted_quantile(gap, m, 0.5f) : kRhythmDefault;
  return r < kRhythmMin ? kRhythmMin : r > kRhythmMax ? kRhythmMax : r;
}

// The sequence of candidates with the most evidence less the cost of its intervals (dynamic programming).
// value, back: scratch of n. Writes the chosen candidates to `chosen` in rising order and returns how many.
PHYSIOCLR_HD int64_t choose(const int32_t* t, const float* amp, const float* rhythm, int64_t n, float fw, float* value,
                            int32_t* back, int32_t* chosen) {
  const int32_t refractory = static_cast<int32_t>(static_cast<float>(kRefractory) * fw + 0.5f);
  float old = 0;
  int32_t older = -1;
  for (int64_t i = 0; i < n; ++i) {
    float s = (amp[i] - kThreshold) / kWidth;
    s = s > kEvidence ? kEvidence : s < -kEvidence ? -kEvidence : s;
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
      const float r = static_cast<float>(t[i] - t[j]) / fw / (0.5f * (rhythm[i] + rhythm[j]));
      float cost = 0;
      if (r < kEarly) {
        cost = kEarlyCost * (kEarly - r) / 0.25f;
      } else if (r > kLate) {
        cost = kLateCost * (r - kLate) / 0.4f;
        if (cost > 2 * kLateCost) cost = 2 * kLateCost;
      }
      if (value[j] - cost > best) {
        best = value[j] - cost;
        from = static_cast<int32_t>(j);
      }
    }
    value[i] = s + best;
    back[i] = from;
  }
  float best = 0;
  int64_t end = -1;
  for (int64_t i = 0; i < n; ++i)
    if (value[i] > best) {
      best = value[i];
      end = i;
    }
  int64_t m = 0;
  for (int64_t k = end; k >= 0; k = back[k]) chosen[m++] = static_cast<int32_t>(k);
  for (int64_t a = 0, b = m - 1; a < b; ++a, --b) {
    const int32_t c = chosen[a];
    chosen[a] = chosen[b];
    chosen[b] = c;
  }
  return m;
}

// How far the beats stand out from the other candidates, 0..1.
PHYSIOCLR_HD float beat_quality(const float* amp, int64_t n, const int32_t* chosen, int64_t m) {
  if (m == 0) return 0;
  float beats = 0, all = 0;
  for (int64_t k = 0; k < m; ++k) beats += amp[chosen[k]];
  for (int64_t i = 0; i < n; ++i) all += amp[i];
  const float others = n > m ? (all - beats) / static_cast<float>(n - m) : 0.0f;
  const float q = (kNoise - others * static_cast<float>(m) / beats) / (kNoise - kClean);
  return q < 0 ? 0 : q > 1 ? 1 : q;
}

}  // namespace physioclr::rpeaks
