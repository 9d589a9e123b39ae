#pragma once
// The 159 features of each segment of a record. Column order and meaning: physioclr.FEATURE_NAMES; the definition to
// compare with: physioclr.reference.
#include "core/features_beat.h"
#include "core/views.h"

namespace physioclr::features::PHYSIOCLR_ISA {

namespace waves = physioclr::waves::PHYSIOCLR_ISA;

// Mean and SD (ddof 0) of ordered[:n].
inline void mean_sd(const float* ordered, int64_t n, float* out) {
  if (n == 0) {
    out[0] = out[1] = kNan;
    return;
  }
  double total = 0, square = 0;
  for (int64_t i = 0; i < n; ++i) total += static_cast<double>(ordered[i]);
  const double mean = total / waves::real(n);
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(ordered[i]) - mean;
    square += d * d;
  }
  out[0] = static_cast<float>(mean);
  out[1] = static_cast<float>(std::sqrt(square / waves::real(n)));
}

inline double percent(int64_t part, int64_t of) {
  return of > 0 ? 100.0 * waves::real(part) / waves::real(of) : static_cast<double>(kNan);
}

// Mean, SD, median and IQR of the finite values[first:last] to out[0..3].
inline void write_spread(const float* values, int64_t first, int64_t last, float* scratch, float* out) {
  const int64_t n = sort_valid(values, first, last, scratch);
  mean_sd(scratch, n, out);
  out[2] = static_cast<float>(quantile(scratch, n, 0.5));
  out[3] = static_cast<float>(quantile(scratch, n, 0.75) - quantile(scratch, n, 0.25));
}

// Percentage of the finite values[first:last] that lie in low <= value < high.
inline double share(const float* values, int64_t first, int64_t last, double low, double high) {
  int64_t n = 0, inside = 0;
  for (int64_t k = first; k < last; ++k) {
    if (!std::isfinite(values[k])) continue;
    const double v = static_cast<double>(values[k]);
    ++n;
    inside += v >= low && v < high;
  }
  return percent(inside, n);
}

// RMSSD, pNN50, CV and the share of short intervals, from the RR intervals of beats first..last - 1.
inline void write_rhythm(const float* rr, int64_t first, int64_t last, double median, float* out) {
  int64_t steps = 0, large = 0;
  double square = 0;
  for (int64_t k = first + 1; k < last; ++k) {
    const double d = static_cast<double>(rr[k]) - static_cast<double>(rr[k - 1]);
    if (!std::isfinite(d)) continue;
    ++steps;
    square += d * d;
    large += std::fabs(d) > 50.0;
  }
  out[144] = steps > 0 ? static_cast<float>(std::sqrt(square / waves::real(steps))) : kNan;
  out[145] = static_cast<float>(percent(large, steps));
  out[146] = out[101] / out[100];  // SD over mean
  out[147] = static_cast<float>(share(rr, first, last, -HUGE_VAL, 0.8 * median));
}

// The 159 columns from the beats first..last - 1.
inline void segment_features(const Rows& rows, int64_t first, int64_t last, const waves::Boundaries& of,
                             const uint8_t* paced, bool bazett, float* out) {
  float* const scratch = rows[kSorted];
  const double median_rr = quantile(scratch, sort_valid(rows[kRr], first, last, scratch), 0.5);
  const double seconds = median_rr / 1000.0;
  const double correction = 1.0 / (bazett ? std::sqrt(seconds) : std::pow(seconds, 1.0 / 3.0));
  float* const st = rows[median_rr < 500.0 ? kSt40 : kSt60];  // above 120 per minute the T wave starts early

  for (int64_t k = first; k < last; ++k)  // a beat belongs to one segment: from here on the row is QTc
    rows[kQt][k] = static_cast<float>(static_cast<double>(rows[kQt][k]) * correction);
  for (int q = 0; q < 10; ++q) {
    for (int64_t k = 0; k < kBeats; ++k) out[kBeats * q + k] = first + k < last ? rows[q][first + k] : kNan;
    write_spread(rows[q], first, last, scratch, out + 100 + 4 * q);
  }
  write_spread(st, first, last, scratch, out + 140);
  write_rhythm(rows[kRr], first, last, median_rr, out);
  // PR > 200 ms; it is a multiple of 2 ms
  out[148] = static_cast<float>(100.0 - share(rows[kPr], first, last, -HUGE_VAL, 200.001));
  out[149] = static_cast<float>(share(rows[kQrs], first, last, 120.0, HUGE_VAL));
  out[150] = static_cast<float>(share(rows[kQrs], first, last, 100.0, 120.0));
  out[151] = static_cast<float>(share(rows[kQt], first, last, 500.0, HUGE_VAL));

  int64_t beats = 0, unpaced = 0, no_p = 0, inverted = 0;
  for (int64_t k = first; k < last; ++k) {
    if (of[waves::kOn][k] < 0) continue;  // this lead shows no beat here, and nothing can be said of its waves
    ++beats;
    inverted += static_cast<double>(rows[kTAmp][k]) < -0.05;
    if (paced[k]) continue;
    ++unpaced;
    no_p += of[waves::kPPeak][k] < 0;
  }
  out[152] = static_cast<float>(percent(no_p, unpaced));
  out[153] = static_cast<float>(percent(inverted, beats));

  int64_t n = 0, large = 0;
  for (int64_t k = first; k < last; ++k) {
    if (!std::isfinite(st[k])) continue;
    ++n;
    large += static_cast<double>(std::fabs(st[k])) >= 0.1;
  }
  out[154] = static_cast<float>(percent(large, n));
  const float median_st = out[142];
  for (int64_t k = first; k < last; ++k) st[k] = std::fabs(st[k] - median_st);
  out[155] = static_cast<float>(quantile(scratch, sort_valid(st, first, last, scratch), 0.5));

  n = sort_valid(rows[kCorr], first + 1, last, scratch);  // the first beat's neighbour lies in another segment
  mean_sd(scratch, n, out + 156);
  out[158] = n > 0 ? scratch[0] : kNan;
}

// Whether every lead misses kGap samples in a row between two R peaks: then their distance is not an RR interval.
inline bool hides_a_beat(const Matrix<const float>& record, int64_t first, int64_t last) {
  int64_t run = 0;
  for (int64_t i = first; i < last; ++i) {
    bool seen = false;
    for (int64_t lead = 0; lead < record.rows && !seen; ++lead) seen = std::isfinite(record.row(lead)[i]);
    run = seen ? 0 : run + 1;
    if (run >= kGap) return true;
  }
  return false;
}

// How the records of a call are cut into segments of `length` samples, and what is measured.
struct Settings {
  double length;
  int64_t segments;
  bool bazett;
  const float* taps;  // see max_slope
};

// out (segments, 159), `stride` apart, of a lead x of a record or of the mean of its leads. r, paced: by beat.
inline void record_features(const Matrix<const float>& record, const float* x, const int32_t* r, const uint8_t* paced,
                            const waves::Boundaries& of, const Settings& set, const Rows& rows, float* out,
                            int64_t stride) {
  const int64_t samples = record.cols;
  int64_t beats = 0;
  while (beats < of.beats && r[beats] >= 0) ++beats;
  int complete = 1;
  for (int64_t i = 0; i < samples; ++i) complete &= std::fabs(x[i]) < HUGE_VALF;
  Moments before{0, 0};
  for (int64_t k = 0; k < beats; ++k) {
    measure_beat(x, samples, k, r[k], paced[k] != 0, of, set.taps, rows);
    const Moments moments = beat_moments(x, samples, r[k]);
    rows[kRr][k] = rows[kCorr][k] = kNan;
    if (k > 0 && r[k] > r[k - 1]) {  // peaks of a faster rate may fall on one sample: no interval, no likeness
      if (complete || !hides_a_beat(record, r[k - 1], r[k])) rows[kRr][k] = milliseconds(r[k] - r[k - 1]);
      rows[kCorr][k] = beat_correlation(x, r[k - 1], r[k], before, moments);
    }
    before = moments;
  }
  int64_t first = 0;
  for (int64_t s = 0; s < set.segments; ++s) {
    int64_t last = first;
    while (last < beats && r[last] < set.length * waves::real(s + 1)) ++last;
    segment_features(rows, first, last, of, paced, set.bazett, out + s * stride);
    first = last;
  }
}

// any: of each segment, whether a beat of it is paced.
inline void paced_segments(const int32_t* r, const uint8_t* paced, int64_t beats, const Settings& set, bool* any) {
  for (int64_t s = 0; s < set.segments; ++s) any[s] = false;
  for (int64_t k = 0, s = 0; k < beats && r[k] >= 0; ++k) {
    while (s < set.segments && r[k] >= set.length * waves::real(s + 1)) ++s;
    if (s < set.segments && paced[k]) any[s] = true;
  }
}

}  // namespace physioclr::features::PHYSIOCLR_ISA
