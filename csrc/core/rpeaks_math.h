#pragma once
// detect_rpeaks: the steps that work on blocks and candidates of one record.
// Plain scalar code on borrowed arrays with + - * / and square roots only, so that every backend and processor takes
// the same decisions. Times are samples of the envelope's rate unless they say seconds.
#include <cmath>
#include <cstdint>

#include "core/macros.h"
#include "core/rpeaks_constants.h"

namespace physioclr::rpeaks {

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
  if (aside == 2) sort5(v);
  else sort9(v);
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

// The blocks whose centres lie around a sample, and how far past the first of them it is; outside, the outer one.
struct Between {
  int64_t before, after;
  float past;
};
PHYSIOCLR_HD Between between_centres(int64_t blocks, float block, int64_t t) {
  float pos = static_cast<float>(t) / block - 0.5f;
  if (pos < 0) pos = 0;
  int64_t a = static_cast<int64_t>(pos);
  if (a > blocks - 1) a = blocks - 1;
  return {a, a + 1 < blocks ? a + 1 : a, pos - static_cast<float>(a)};
}

// Linear interpolation between the centres of the blocks, whose values are `stride` apart.
PHYSIOCLR_HD float at_centres(const float* value, int64_t blocks, float block, int64_t t, int64_t stride = 1) {
  const Between i = between_centres(blocks, block, t);
  const float at = value[i.before * stride];
  return at + i.past * (value[i.after * stride] - at);
}

PHYSIOCLR_HD float evidence(float amp, float z) {
  const float s = (amp - kThreshold - kThresholdRise * z) / (kWidth + kWidthRise * z),
              most = kEvidence - kEvidenceFall * z;
  const float top = most > 0 ? most : 0.0f;
  return s > top ? top : s < -kEvidence ? -kEvidence : s;
}

// Evidence, in noise, from the sharpness of a candidate; low, high: the envelopes of the two bands there.
PHYSIOCLR_HD float sharpness(float low, float high, float z) {
  const float sum = high + kSharpRatio * low, fade = 1.0f - (z - kHiss) / kSharpFade;
  if (!(sum > 0) || !(fade > 0)) return 0;
  const float part = z < kSharpNoise ? z / kSharpNoise : fade < 1 ? fade : 1.0f;
  float d = 2.0f * (high - kSharpRatio * low) / sum;
  if (d > kMostSharp) d = 2 * kMostSharp - d;
  return kSharp * part * (d < kLeastSharp ? kLeastSharp : d);
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
// programming) and returns its length; *worth: its value. z: noise above kCalm at each candidate; doubt: what to take
// off its evidence; cost(i, j): link_cost. value, back: scratch of n. Double, because over a day the sum would outgrow
// the digits of float32.
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
  return static_cast<float>(
      value * (1 - within_0_1((uneven - kEven) / (kUneven - kEven)) * within_0_1(noise / count / kUneasy)));
}

}  // namespace physioclr::rpeaks
