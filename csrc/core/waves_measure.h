#pragma once
// One wave: the edges of a QRS complex, the hump of a P or T wave, its feet.
#include "core/waves_signal.h"

namespace physioclr::waves::PHYSIOCLR_ISA {

enum Kind : int { kPWave, kTWave, kTWide };  // the last: a T wave, its peak by slopes over a longer time

// Of a hump: its place (-1: none), score, prominence and sign, and the extrema before and after it.
struct Hump {
  double place, score, size, sign, before, after;
};
// Of a wave: its peak (-1: none), onset, offset, and for either foot whether it belongs to a second phase, of the other
// sign.
struct Wave {
  double peak, foot[2];
  bool second[2];
};
// Of a QRS complex: onset (-1: none), offset, centre of gravity of slope^2.
struct Complex {
  double edge[2], centre;
};

// The most prominent extremum of the box-smoothed signal between lo and hi. Score: harmonic mean of the rise before and
// the fall after, times a Gaussian prior on the place, times `other` if `sign` is not 0 and not its own. s: prefix
// sums; d: scratch.
inline void find_hump(const double* s, int64_t n, int64_t lo, int64_t hi, int64_t w, double centre, double spread,
                      double sign, double other, Hump& found, double* d) {
  found.place = -1;
  found.score = 0;
  lo = larger(lo, w), hi = smaller(hi, n - 2 - w);
  const int64_t m = hi - lo;
  if (m < 3) return;
  const int64_t h = w / 2;
  const double share = 1.0 / real(2 * h + 1);
  const auto smooth = [=](int64_t i) { return (s[i + h + 1] - s[i - h]) * share; };  // as box
  int64_t before = lo, mid = -1;
  double v_before = smooth(lo), v_mid = 0;
  const auto extremum = [&](int64_t j) {  // between j - 1 and j
    const int64_t place = lo + (std::fabs(d[j]) < std::fabs(d[j - 1]) ? j : j - 1);
    const double v = smooth(place);
    if (mid >= 0) {
      const double rise = v_mid - v_before, fall = v_mid - v, twice = 2.0 * rise * fall;
      // Without the division where the score could not rise by far, whatever its rounding: prior and `other` lower it.
      if (twice > 0.999 * larger(found.score, kLeast) * std::fabs(rise + fall)) {
        const double prominence = twice / std::fabs(rise + fall);
        double score = sign * rise < 0 ? prominence * other : prominence;
        if (prominence < kLeast) score = 0;
        if (score > found.score) {  // otherwise the prior cannot raise it
          const double t = (real(mid) - centre) / spread;
          score *= std::exp(-0.5 * t * t);
        }
        if (score > found.score)
          found = {real(mid), score, prominence, rise > 0 ? 1.0 : -1.0, real(before), real(place)};
      }
      before = mid, v_before = v_mid;
    }
    mid = place, v_mid = v;
  };
  unsigned last = 0;  // whether the slope before was positive
  for (int64_t j = 0; j <= m; j += kLanes) {
    const Doubles rise = rises(s, lo + j, w);
    store(d + j, rise);
    const unsigned up = above(rise, 0.0);
    unsigned changes = up ^ (up << 1 | last);
    last = up >> (kLanes - 1) & 1;
    if (j == 0) changes &= ~1u;
    if (j + kLanes > m) changes = (changes | 1u << (m - j)) & ((2u << (m - j)) - 1);  // the end counts as one
    changes &= (1u << kLanes) - 1;
    for (; changes; changes &= changes - 1) extremum(j + __builtin_ctz(changes));
  }
}

// From a peak past the steepest slope (up to stop) to where the slope falls below a fraction of it. d: scratch.
inline double find_foot(const double* s, int64_t n, int64_t peak, int64_t stop, int64_t w, double fraction, int step,
                        double* d) {
  stop = smaller(larger(stop, w), n - 2 - w);
  const int64_t m = (stop - peak) * step;
  if (m <= 0) return real(step > 0 ? larger(stop, peak) : smaller(stop, peak));
  const int64_t begin = step > 0 ? peak : stop + 1;
  Doubles top{};
  for (int64_t j = 0; j < m; j += kLanes) {
    const Doubles slope = magnitude(rises(s, begin + j, w)), own = first_lanes(slope, m - j);
    store(d + j, slope);
    top = larger_lanes(own, top);
  }
  const double steepest = largest_lane(top), threshold = fraction * steepest;
  // Distances from the peak, of the steepest slope and then of the first below the threshold; d[at(j)] is at distance
  // j.
  const auto at = [&](int64_t j) { return step > 0 ? j : m - 1 - j; };
  int64_t j = 0;
  if (m <= 64) {
    if (steepest == 0) return real(stop);
    const uint64_t low = ~above_or_at(d, m, threshold) & lowest_bits(m), most = above_or_at(d, m, steepest);
    const uint64_t beyond = step > 0 ? low & ~lowest_bits(first_bit(most)) : low & lowest_bits(last_bit(most));
    if (!beyond) return real(stop);
    j = at(step > 0 ? first_bit(beyond) : last_bit(beyond));
  } else {
    while (d[at(j)] < steepest) ++j;
    while (j < m && !(d[at(j)] < threshold)) ++j;
    if (j == m) return real(stop);
  }
  const double a = d[at(j)], before = d[at(j - 1)];
  return real(peak) + step * (real(j) - (threshold - a) / larger(before - a, 1e-30));
}

// From r outwards (step -1 or 1): the last steep sample, then where the slope stays below the threshold.
template <class Rate>
inline double find_qrs_edge(const double* g, int64_t n, int64_t r, int64_t stop, int step, double steepest,
                            double noise_factor, Rate fi) {
  const bool on = step < 0;
  const double steep = on ? kQrsSteepOn : kQrsSteepOff, edge = on ? kQrsEdgeOn : kQrsEdgeOff;
  const int64_t gap = width(on ? kQrsGapOn : kQrsGapOff, fi), run = width(on ? kQrsRunOn : kQrsRunOff, fi);
  const int64_t quiet = width(0.04, fi);
  double noise = HUGE_VAL;
  for (int64_t block = 0; block < 6; ++block) {  // 40 ms each, from 50 ms to 290 ms beside r
    const int64_t near = r + step * (width(0.05, fi) + block * quiet), far = near + step * (quiet - 1);
    const int64_t first = smaller(near, far), last = larger(near, far);
    if (first < 1 || last > n - 2) break;
    noise = smaller(noise, total_of(g + first, quiet) / real(quiet));
  }
  noise = noise == HUGE_VAL ? 0.0 : noise;
  const double level = larger(steep * steepest, noise_factor * noise);
  int64_t last = r;
  for (int64_t i = r; (stop - i) * step >= 0 && (i - last) * step <= gap; i += step)
    if (g[i] >= level) last = i;
  const double threshold = larger(edge * steepest, noise_factor * noise);
  double found = real(last), inner = steepest;
  int64_t below = 0;
  for (int64_t i = last; (stop - i) * step > 0; i += step) {
    if (g[i] < threshold) {
      if (below == 0) found = inner > threshold ? real(i) - step * (threshold - g[i]) / (inner - g[i]) : real(i);
      if (++below >= run) return found;
    } else {
      below = 0;
      found = real(i);
    }
    inner = g[i];
  }
  return found;
}

// QRS complex around r within lo .. hi.
template <class Rate>
inline void measure_qrs(const double* g, int64_t n, int64_t r, int64_t lo, int64_t hi, double noise_factor, Rate fi,
                        Complex& found) {
  found.edge[0] = -1;
  lo = larger<int64_t>(0, lo), hi = smaller(n - 1, hi);
  const int64_t reach = width(0.08, fi);
  const int64_t near = larger(lo, r - reach);
  const double steepest = largest_of(g + near, smaller(hi, r + reach) + 1 - near);
  if (steepest == 0) return;
  found.edge[0] = find_qrs_edge(g, n, r, lo, -1, steepest, noise_factor, fi);
  found.edge[1] = find_qrs_edge(g, n, r, hi, 1, steepest, noise_factor, fi);
  double weight = 0, moment = 0;
  const int64_t last = smaller(n - 1, whole(found.edge[1]) + 1);
  for (int64_t i = larger<int64_t>(0, whole(found.edge[0])); i <= last; ++i) {
    weight += g[i] * g[i];
    moment += g[i] * g[i] * real(i - r);
  }
  found.centre = weight > 0 ? real(r) + moment / weight : real(r);
}

// P or T wave with its peak between lo and hi, its feet between first and last. d: scratch.
template <class Rate>
inline void measure_wave(const double* s, int64_t n, Kind kind, int64_t first, int64_t last, int64_t lo, int64_t hi,
                         double centre, double spread, double sign, Rate fi, Hump& found, Wave& t, double* d) {
  const int64_t w = width(kind ? kTFootSlope : kPFootSlope, fi);
  const double other = sign == 0 ? 1.0 : kind ? kTOther : kPOther;
  const double slope = kind == kTWide ? kTWideSlope : kind ? kTSlope : kPSlope;
  find_hump(s, n, lo, hi, width(slope, fi), centre, spread, sign, other, found, d);
  t.peak = found.place;
  if (found.place < 0) return;
  const int64_t peak = whole(found.place);
  for (int side = 0; side < 2; ++side) {
    const int step = 2 * side - 1;
    const double edge = kind ? (side ? kTOffEdge : kTOnEdge) : (side ? kPOffEdge : kPOnEdge);
    const int64_t reach = width(kind ? (side ? kTOffReach : kTOnReach) : kPReach, fi);
    const int64_t beyond = whole(side ? found.after : found.before), limit = side ? last : first;
    int64_t stop = beyond + step * w;
    if ((stop - limit) * step > 0) stop = limit;
    if ((stop - peak) * step > reach) stop = peak + step * reach;
    t.foot[side] = find_foot(s, n, peak, stop, w, edge, step, d);
    t.second[side] = false;
  }
}

// Moves a foot of the average's wave to the far side of a phase of the other sign.
template <class Rate>
inline void add_second_phase(const double* ms, int64_t n, Kind kind, int64_t first, int64_t last, Rate fi,
                             const Hump& found, Wave& a, double* d) {
  const int64_t w = width(kind ? kTFootSlope : kPFootSlope, fi), h = width(kind ? kTSlope : kPSlope, fi) / 2;
  const int64_t reach = width(kind ? kTSecondReach : kPSecondReach, fi);
  const double share = kind ? kTSecond : kPSecond, height = box(ms, whole(a.peak), h);
  if (std::fabs(height) < (kind ? kTSecondLeast : kPSecondLeast)) return;
  for (int side = 0; side < 2; ++side) {
    const int step = 2 * side - 1;
    const int64_t at = whole(side ? found.after : found.before), limit = side ? last : first;
    if ((limit - at) * step <= 2 * w || (real(at) - a.peak) * step > real(reach)) continue;
    const double depth = box(ms, at, h);
    if (depth * height < 0 && std::fabs(depth) >= share * std::fabs(height)) {
      int64_t stop = at + step * reach;
      stop = side ? smaller(stop, limit) : larger(stop, limit);
      const double foot = find_foot(ms, n, at, stop, w, 0.25, step, d);
      // It comes back: not a sloping ST segment.
      if (std::fabs(box(ms, whole(foot), h)) <= 0.3 * std::fabs(depth)) a.foot[side] = foot, a.second[side] = true;
    }
  }
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
