#pragma once
// The order of the waves of a lead, and the consensus of several leads.
#include "core/waves_beats.h"

namespace physioclr::waves::PHYSIOCLR_ISA {

// The boundaries of a lead, a row for each of the kFields.
struct Boundaries {
  int32_t* data;
  int64_t stride, beats;
  int32_t* operator[](int f) const { return data + f * stride; }
};

// Where the T wave of beat k - 1 overlaps the P wave of beat k, they end at the lowest point between their peaks.
// Lowest in the direction of both: of two positive waves the least sample, of two negative ones the largest, of one of
// each the one nearest to the level before the QRS complex.
template <class Rate>
inline void meet(const Lead& lead, const Beats& wave, int64_t k, Rate fi) {
  const double* const s = lead.s;
  const int64_t n = lead.n;
  if (wave[kTOff][k - 1] < 0 || wave[kPOff][k] < 0 || wave[kTOff][k - 1] <= wave[kPOn][k]) return;
  const int64_t h = width(kQrsSlope, fi);
  const int64_t left = smaller(larger(whole(wave[kTPeak][k - 1]), h), n - 1 - h);
  const int64_t right = smaller(larger(whole(wave[kPPeak][k]), h), n - 1 - h);
  const double level = level_before(s, smaller(larger<int64_t>(whole(wave[kOn][k]), 0), n - 1), fi);
  const double t = box(s, left, h) > level ? 1.0 : -1.0, p = box(s, right, h) > level ? 1.0 : -1.0;
  double least = HUGE_VAL;
  int64_t at = -1;
  for (int64_t i = left + 1; i < right; ++i) {
    double v = box(s, i, h) - level;
    v = larger(t * v, p * v);
    if (v < least) least = v, at = i;
  }
  if (at >= 0) wave[kTOff][k - 1] = wave[kPOn][k] = real(at);
}

// Makes the waves of a lead follow each other in place; a wave without room becomes absent (-1).
//   p_on < p_peak < p_off <= qrs_on <= R <= qrs_off <= t_on < t_peak < t_off <= p_on of the next beat
// What is absent is left out. latest, earliest: the last place of a QRS onset and the first of its offset, the R peak
// of a lead; of the consensus they are rows of `out`.
inline void order(const Boundaries& out, const int32_t* latest, const int32_t* earliest, int64_t samples) {
  const int64_t beats = out.beats;
  int32_t *const on_of = out[kOn], *const off_of = out[kOff];
  const auto set = [&](int f, int64_t k, int64_t on, int64_t peak, int64_t off) {
    out[f][k] = static_cast<int32_t>(on);
    out[f + 1][k] = static_cast<int32_t>(peak);
    out[f + 2][k] = static_cast<int32_t>(off);
  };
  for (int64_t k = 0; k < beats; ++k) {
    if (on_of[k] < 0) continue;
    const int32_t on = smaller(on_of[k], latest[k]), off = larger(off_of[k], earliest[k]);
    on_of[k] = on, off_of[k] = off;
  }
  for (int64_t k = 0; k <= beats; ++k) {  // the gap between beats k - 1 and k
    const int64_t t = k - 1, p = k;
    const bool is_t = k > 0, is_p = k < beats;
    int64_t low = 0, high = samples - 1;
    if (is_t) low = larger<int64_t>(0, on_of[t] >= 0 ? off_of[t] : earliest[t]);
    if (is_p && (on_of[p] >= 0 || latest[p] >= 0)) high = on_of[p] >= 0 ? on_of[p] : latest[p];
    if (is_t && is_p && low > high) {  // two QRS complexes overlap
      low = high = smaller<int64_t>(larger<int64_t>((low + high) / 2, earliest[t]), latest[p]);
      if (on_of[t] >= 0) off_of[t] = static_cast<int32_t>(low);
      if (on_of[p] >= 0) on_of[p] = static_cast<int32_t>(high);
    }
    bool have_t = is_t && out[kTPeak][t] >= 0;
    const bool have_p = is_p && out[kPPeak][p] >= 0;
    if (have_t && on_of[t] >= 0 && out[kTPeak][t] <= low && out[kTPeak][t] - 1 >= earliest[t]) {
      low = out[kTPeak][t] - 1;
      off_of[t] = static_cast<int32_t>(low);
    }
    if (have_p && on_of[p] >= 0 && out[kPPeak][p] >= high && out[kPPeak][p] + 1 <= latest[p]) {
      high = out[kPPeak][p] + 1;
      on_of[p] = static_cast<int32_t>(high);
    }
    if (have_t) {
      const int64_t peak = out[kTPeak][t];
      const int64_t on = smaller(larger<int64_t>(out[kTOn][t], low), peak - 1);
      const int64_t off = larger(smaller<int64_t>(out[kTOff][t], high), peak + 1);
      have_t = on >= low && off <= high;
      if (have_t) set(kTOn, t, on, peak, off);
      else set(kTOn, t, -1, -1, -1);
    }
    if (have_p) {
      const int64_t peak = out[kPPeak][p];
      int64_t on = smaller(larger<int64_t>(out[kPOn][p], low), peak - 1);
      const int64_t off = larger(smaller<int64_t>(out[kPOff][p], high), peak + 1);
      if (on < low || off > high || (have_t && peak - out[kTPeak][t] < 2)) {
        set(kPOn, p, -1, -1, -1);
        continue;
      }
      if (have_t && out[kTOff][t] > on) {
        on = smaller(larger<int64_t>((out[kTOff][t] + on) / 2, out[kTPeak][t] + 1), peak - 1);
        out[kTOff][t] = static_cast<int32_t>(on);
      }
      set(kPOn, p, on, peak, off);
    }
  }
}

// The row after `rows` others, each `beats` long, from those: earliest onset, latest offset, median peak. A wave counts
// if a third of the leads that have this beat's QRS (and at least two, where there are as many) show it. The outermost
// boundary of one lead is not believed: the second one counts (of three leads or more). v: scratch of `rows`.
inline void consensus(const Boundaries& first, int64_t rows, double* v) {
  const int64_t beats = first.beats;
  const Boundaries last{first.data + rows * beats, first.stride, beats};
  const auto at = [&](int f, int64_t r, int64_t k) { return first[f][r * beats + k]; };
  for (int64_t k = 0; k < beats; ++k) {
    int64_t valid = 0;
    for (int64_t r = 0; r < rows; ++r) valid += at(kOn, r, k) >= 0;
    for (int f = 0; f < kFields; ++f) {
      int64_t m = 0;
      for (int64_t r = 0; r < rows; ++r)
        if (at(f, r, k) >= 0) v[m++] = at(f, r, k);
      int32_t& of = last[f][k];
      of = -1;
      if (m == 0 || 3 * m < valid || (m < 2 && valid > 2)) continue;
      const double middle = median_of(v, m);
      const bool onset = f == kPOn || f == kOn || f == kTOn;
      const int64_t outer = m < 3 ? 0 : 1;
      if (f == kPPeak || f == kTPeak) of = static_cast<int32_t>(middle + 0.5);
      else of = static_cast<int32_t>(onset ? v[outer] : v[m - 1 - outer]);
    }
  }
  order(last, last[kOff], last[kOn], 2147483647);
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
