#pragma once
// What the alike beats of a block have in common: groups, averages, coherence, rhythm.
#include <algorithm>

#include "core/waves_measure.h"

namespace physioclr::waves::PHYSIOCLR_ISA {

// Rows of the scratch of one lead: boundaries of each beat, in the order of the results, then what is known of its QRS.
enum Row : int { kPOn, kPPeak, kPOff, kOn, kOff, kTOn, kTPeak, kTOff, kCentre, kLabel, kRr, kRows };
constexpr int kFields = 8;

struct Beats {
  double* row[kRows];
  int64_t beats;
  double* operator[](Row r) const { return row[r]; }
  bool member(int64_t k) const { return row[kLabel][k] == 1.0; }
  int64_t centre(int64_t k) const { return whole(row[kCentre][k] + 0.5); }
};

// Beats first .. last - 1, which are averaged together.
struct Block {
  int64_t first, last, group;  // group: the alike beats
  double root_rr, irregular;
};

// An average of alike beats over the samples first .. last - 1 of the window, whose sample `before` is the centre.
struct Window {
  int64_t before, total;
  double *mean, *count, *sums;  // `total` and more each; sums: prefix sums of the mean from `first` on
};

// Groups beats b0 .. b1 - 1 by the shape of the QRS: label 1 for the largest group, otherwise 0. Returns its size.
template <class Rate>
inline int64_t label_beats(const Lead& lead, const Beats& wave, int64_t b0, int64_t b1, Rate fi) {
  const int64_t h = width(0.06, fi), m = 2 * h + 1;
  double* const label = wave[kLabel];
  int64_t groups = 0, seed[kClusters], size[kClusters];
  double seed_sum[kClusters], seed_square[kClusters];
  for (int64_t k = b0; k < b1; ++k) {
    label[k] = -1;
    const int64_t c = wave.centre(k);
    if (wave[kOn][k] < 0 || c - h < 0 || c + h >= lead.n) continue;
    if (lead.missing) {  // a gap is bridged by a line, which is no wave
      const int32_t gone = lead.bad[smaller(lead.n, c + width(kWholeAfter, fi))] -
                           lead.bad[larger<int64_t>(0, c - width(kWholeBefore, fi))];
      if (gone > kWhole * fi) continue;
    }
    const double *one = lead.y + c - h, a = total_of(one, m), aa = product_of(one, one, m);
    double best = kQrsAlike;
    int64_t chosen = -1;
    for (int64_t g = 0; g < groups; ++g) {
      const double b = seed_sum[g], ab = product_of(one, lead.y + wave.centre(seed[g]) - h, m);
      const double scale = (aa - a * a / real(m)) * (seed_square[g] - b * b / real(m));
      const double r = scale > 0 ? (ab - a * b / real(m)) / std::sqrt(scale) : 0.0;
      if (r > best) best = r, chosen = g;
    }
    if (chosen < 0 && groups < kClusters) {
      chosen = groups++;
      seed[chosen] = k, size[chosen] = 0;
      seed_sum[chosen] = a, seed_square[chosen] = aa;
    }
    if (chosen >= 0) ++size[chosen];
    label[k] = real(chosen);
  }
  int64_t largest = 0;
  for (int64_t g = 1; g < groups; ++g)
    if (size[g] > size[largest]) largest = g;
  for (int64_t k = b0; k < b1; ++k) label[k] = groups > 0 && label[k] == real(largest) ? 1.0 : 0.0;
  return groups > 0 ? size[largest] : 0;
}

// Mean of the 20 ms before the QRS.
template <class Rate>
inline double level_before(const double* s, int64_t on, Rate fi) {
  const int64_t left = larger<int64_t>(0, on - width(0.02, fi));
  return (s[on + 1] - s[left]) / real(on + 1 - left);
}

// The sign of a beat's window: -1 for every second beat where the waves are taken to alternate.
inline double parity(int64_t k, bool alternate) { return alternate && k % 2 == 1 ? -1.0 : 1.0; }

// Puts v among the n sorted values of `sorted`.
inline void insert(int64_t* sorted, int64_t n, int64_t v) {
  for (; n > 0 && sorted[n - 1] > v; --n) sorted[n] = sorted[n - 1];
  sorted[n] = v;
}

// Mean of the alike beats. Each contributes from the end of the T wave before it to the next QRS, relative to its level
// before the QRS. Where fewer than half of the beats contribute, the nearest value is carried on; lo, hi: the range of
// samples that have enough.
template <class Rate>
inline void average(const Lead& lead, const Beats& wave, const Block& block, int64_t first, int64_t last, Rate fi,
                    bool alternate, const Window& window, int64_t* lo_out, int64_t* hi_out) {
  const int64_t before = window.before;
  double* const mean = window.mean;
  int64_t group = 0, parts = 0, begin[kBlock + 1], end[kBlock + 1];  // of the parts that the beats contribute, sorted
  std::fill(mean + first, mean + last, 0.0);
  for (int64_t k = block.first; k < block.last; ++k) {
    if (!wave.member(k)) continue;
    ++group;
    const int64_t at = wave.centre(k) - before;
    const double level = level_before(lead.s, whole(wave[kOn][k]), fi);
    int64_t lo = larger(first, -at), hi = smaller(last, lead.n - at);
    if (k > 0) {
      const double t_off = wave[kTOff][k - 1];
      lo = larger(lo, whole(t_off >= 0 ? t_off : wave[kCentre][k - 1] + kTNone * fi) - at);
    }
    if (k < wave.beats - 1 && wave[kOn][k + 1] >= 0) hi = smaller(hi, whole(wave[kOn][k + 1] - 0.01 * fi) - at);
    if (lo >= hi) continue;
    const double sign = parity(k, alternate), *own = lead.y + at;
    for (int64_t j = lo; j < hi; ++j) mean[j] += sign * (own[j] - level);
    insert(begin, parts, lo);
    insert(end, parts++, hi);
  }
  begin[parts] = end[parts] = last;
  // In the stretches between two of their ends equally many contribute.
  const int64_t enough = larger<int64_t>(1, (group + 1) / 2);
  int64_t lo = before, hi = before, from = first, count = 0;
  bool open = true;  // whether the range reaches from `before` up to `from`
  for (int64_t b = 0, e = 0; from < last;) {
    while (b < parts && begin[b] <= from) ++b, ++count;
    while (e < parts && end[e] <= from) ++e, --count;
    const int64_t to = smaller(last, smaller(b < parts ? begin[b] : last, e < parts ? end[e] : last));
    const bool good = count >= enough;
    if (from < before) lo = good ? smaller(lo, from) : smaller(before, to);
    if (to > before && open) {
      if (good) hi = to;
      open = good;
    }
    if (good) {
      const double share = 1.0 / real(count);
      for (int64_t j = from; j < to; ++j) mean[j] *= share;
    }
    from = to;
  }
  std::fill(mean + first, mean + lo, lo < hi ? mean[lo] : 0.0);
  std::fill(mean + hi, mean + last, lo < hi ? mean[hi - 1] : 0.0);
  prefix_sums(mean + first, last - first, window.sums);
  *lo_out = lo, *hi_out = hi;
}

struct Coherence {
  double r;       // mean correlation of a beat's window with the other beats' mean
  int64_t beats;  // that have the window
  double noise;   // RMS of what they do not share as it is left in their mean
};

// Of the windows lo .. hi (from `first` on), each freed from its linear trend: sum_k <z_k, p_-k> / sum_k <z_k, z_k>,
// z_k the windows, p_-k the mean of all but k.
inline Coherence coherence(const Lead& lead, const Beats& wave, const Block& block, const Window& window, int64_t first,
                           int64_t lo, int64_t hi, bool after_t, bool alternate) {
  const int64_t m = hi - lo + 1;
  lo += first, hi += first;
  if (m < 4) return {0, 0, 0};
  const double half = 0.5 * real(m - 1);
  const double tt = real(m) * (real(m * m) - 1.0) / 12.0;  // the sum of the squared distances from the middle
  const auto from_middle = [&](int64_t j) { return positions(j) - half; };
  const auto trend_of = [&](const double* v) {
    return lane_sum(m, [&](int64_t j) { return load(v + j) * from_middle(j); });
  };
  const double* const usual = window.mean + lo;
  const double level_w = total_of(usual, m) / real(m), trend_w = trend_of(usual) / tt;
  double shared = 0, power = 0;
  int64_t group = 0;
  for (int64_t k = block.first; k < block.last; ++k) {
    const int64_t at = wave.centre(k) - window.before;
    if (!wave.member(k) || at + lo < 0 || at + hi >= lead.n) continue;
    if (after_t && k > 0 && wave[kTOff][k - 1] > real(at + lo + 2)) continue;
    const double *own = lead.y + at + lo, level = total_of(own, m) / real(m), trend = trend_of(own) / tt;
    Doubles powers{}, products{};
    for (int64_t j = 0; j < m; j += kLanes) {
      const Doubles from = from_middle(j), one = load(own + j) - level - trend * from;
      const Doubles other = load(usual + j) - level_w - trend_w * from;
      powers += first_lanes(one * one, m - j);
      products += first_lanes(one * other, m - j);
    }
    power += folded(powers);
    shared += parity(k, alternate) * folded(products);
    ++group;
  }
  if (group < 2) return {0, group, 0};
  const double n = real(group), r = power > 0 ? (n * shared / power - 1.0) / (n - 1.0) : 0.0;
  return {r, group, std::sqrt(larger(0.0, 1.0 - r) * power / real(m)) / n};
}

// Whether beats enough, whose mean would show a T wave, share no more than noise does (a small F ratio).
inline bool no_evidence_of_t(const Coherence& c, double irregular, bool strict) {
  if (c.beats < 3 || c.noise > kTNoise || irregular > kTIrregular) return false;
  return 1.0 + real(c.beats - 1) * c.r < (strict ? kTEvidenceStrict : kTEvidence) * (1.0 - c.r);
}

// Median RR (s) of the beats b0 .. b1 - 1, and the median change of RR as a share of it; 0 of an RR of 0. rr: scratch
// of kBlock.
inline double block_rhythm(const Beats& wave, int64_t b0, int64_t b1, double* rr, double* irregular) {
  const double* const of = wave[kRr];
  const int64_t first = larger<int64_t>(b0, 1);
  int64_t m = 0;
  for (int64_t k = first; k < b1; ++k) rr[m++] = of[k];
  const double typical = m > 0 ? median_of(rr, m) : 0.9;
  m = 0;
  for (int64_t k = first; k < b1 - 1; ++k) rr[m++] = std::fabs(of[k + 1] - of[k]);
  *irregular = typical > 0 ? median_of(rr, m) / typical : 0.0;
  return typical;
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
