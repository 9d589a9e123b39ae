#pragma once
// The waves of a block of beats: found on the average of those alike, where noise is small, and then near by in each.
#include "core/waves_beats.h"
#include "core/waves_qrs.h"

namespace physioclr::waves::PHYSIOCLR_ISA {

// Of a block: whether its average shows a QRS complex, that one's onset and offset from the centre, and the corrections
// of the two.
struct BlockQrs {
  bool have;
  double edge[2], more[2];
};

// Boundaries of the beats from the average's, their own, the prior and the correction.
template <class Rate>
inline void settle_qrs(const Lead& lead, const Beats& wave, const Block& block, const BlockQrs& qrs, Rate fi) {
  double *const on = wave[kOn], *const off = wave[kOff], *const centre = wave[kCentre];
  double own_on = 0, own_off = 0;
  int64_t group = 0;
  for (int64_t k = block.first; k < block.last; ++k) {
    if (!wave.member(k)) continue;
    own_on += on[k] - centre[k];
    own_off += off[k] - centre[k];
    ++group;
  }
  for (int64_t k = block.first; k < block.last; ++k) {
    if (on[k] < 0) continue;
    double a = on[k] - centre[k], b = off[k] - centre[k], more[2] = {qrs.more[0], qrs.more[1]};
    if (qrs.have && wave.member(k)) {
      a = qrs.edge[0] + kQrsOwn * clip(a - own_on / real(group), 0.02 * fi);
      b = qrs.edge[1] + kQrsOwn * clip(b - own_off / real(group), 0.02 * fi);
    } else {
      const int64_t c = wave.centre(k);
      qrs_correction(lead.y, lead.s, lead.n, c, on[k] - real(c), off[k] - real(c), fi, more);
    }
    a = kQrsOnWeight * a + (1.0 - kQrsOnWeight) * kQrsOnPrior * fi + more[0];
    b = kQrsOffWeight * b + (1.0 - kQrsOffWeight) * kQrsOffPrior * fi + more[1];
    on[k] = centre[k] + a, off[k] = centre[k] + b;
  }
}

// Writes peak, onset and offset of a wave from the beat's own (t) and, with `have`, the average's (a, from the centre).
template <class Rate>
inline void settle_wave(const Beats& wave, int64_t k, Kind kind, const Wave& t, const Wave& a, bool have, double share,
                        double root_rr, Rate fi) {
  double peak = t.peak, on = t.foot[0] - t.peak, off = t.foot[1] - t.peak;
  const double a_on = a.foot[0] - a.peak, a_off = a.foot[1] - a.peak;
  if (have) {
    const double at = wave[kCentre][k] + a.peak, limit = 0.03 * fi;
    peak = at + share * (peak - at);
    on = a_on + share * (kind ? kTOwnOn : kPOwnOn) * clip(on - a_on, limit);
    off = a_off + share * (kind ? kTOwnOff : kPOwnOff) * clip(off - a_off, limit);
  }
  const auto row = [&](int f) { return wave[static_cast<Row>((kind ? kTOn : kPOn) + f)] + k; };
  *row(1) = peak;
  if (kind) {
    *row(0) = peak + kTOnWeight * on + (1.0 - kTOnWeight) * kTOnPrior * root_rr * fi;
    *row(2) = peak + kTOffWeight * off + (1.0 - kTOffWeight) * kTOffPrior * root_rr * fi;
  } else {
    *row(0) = peak + kPOnWeight * on + (1.0 - kPOnWeight) * kPOnPrior * fi;
    *row(2) = peak + kPOffWeight * off + (1.0 - kPOffWeight) * kPOffPrior * fi;
  }
  if (have && a.second[0]) *row(0) = peak + a.foot[0] - a.peak;  // the priors are for one phase
  if (have && a.second[1]) *row(2) = peak + a.foot[1] - a.peak;
}

// The T wave on the average of the group, which has samples first .. hi - 1, and whose QRS complex ends at `off`. a:
// its peak and feet from the centre of the QRS complex (peak -1: none). Returns its coherence; absent: whether it is
// none.
template <class Rate>
inline double average_t(const Lead& lead, const Beats& wave, const Block& block, const Window& window, int64_t first,
                        int64_t hi, Rate fi, double off, Kind kind, bool alternate, Hump& found, Wave& a,
                        bool* absent) {
  const int64_t total = window.total, size = total - first, c = window.before - first, end = hi - first;
  const double* const ms = window.sums;
  double* const d = window.count;
  const int64_t low = whole(off + kTFirst * fi);
  int64_t high = whole(smaller(real(c) + kTLast * block.root_rr * fi, real(end) - kTBeforeQrs * fi));
  const double typical = real(c) + kTTypical * block.root_rr * fi, spread = kTSpread * block.root_rr * fi;
  for (int again = 0; again < 2; ++again) {
    measure_wave(ms, size, kind, whole(off), end, low, high, typical, spread, 0, fi, found, a, d);
    if (a.peak < 0 || hi == total || again == 1) break;
    // As late as this it may be the next P wave, when T lies before it or nowhere.
    const double late = (a.peak - typical) / spread, early = (real(end) - a.peak - kPTypical * fi) / (kPSpread * fi);
    if (late <= 0 || late * late - early * early <= kTOrP) break;
    high = whole(found.before);
  }
  if (a.peak < 0) {
    *absent = block.group >= 3;
    return 0;
  }
  const int64_t peak = whole(a.peak), left = whole(found.before), right = whole(found.after);
  add_second_phase(ms, size, kind, whole(off), end, fi, found, a, d);
  const int64_t lo = whole(a.foot[0]), last = smaller(end - 1, whole(a.foot[1]));
  Coherence seen = coherence(lead, wave, block, window, first, lo, last, false, alternate);
  const double share = seen.r;
  const int64_t inner_lo = larger(lo, left);
  int64_t inner = smaller(last, right);
  bool strict = alternate;
  if (hi < total && real(end - right) < kPEarliest * fi) {
    // This flank may be the next P wave's: it counts as far as the wave rises on its other side.
    const int64_t h = width(kTSlope, fi) / 2;
    int64_t i = peak;
    const double level = box(ms, left, h);
    while (i < inner && found.sign * (box(ms, i, h) - level) > 0) ++i;
    inner = i, strict = true;
  }
  if ((inner_lo != lo || inner != last) && !a.second[0] && !a.second[1])
    seen = coherence(lead, wave, block, window, first, inner_lo, inner, false, alternate);
  if (inner - inner_lo < 3) seen = {0, block.group, 0};  // no room for a wave
  a.peak -= real(c), a.foot[0] -= real(c), a.foot[1] -= real(c);
  *absent = no_evidence_of_t(seen, block.irregular, strict);
  return share;
}

// Averages the alike beats; their QRS complex and the T waves of all beats. g: scratch.
template <class Rate>
inline void block_t(const Lead& lead, const Beats& wave, const Block& block, const Window& window, Rate fi,
                    BlockQrs& qrs, double* g, Hump& found, Wave& t, Wave& a) {
  const int64_t first = window.before - width(0.34, fi), size = window.total - first, c = window.before - first;
  const double rr = block.root_rr;
  bool absent = false, alternate = false;
  double share = 0, least = 0, sign = 0;
  int64_t lo, hi = 0;
  qrs.have = block.group >= 2;
  a.peak = -1;
  for (int attempt = 0; attempt < 3 && qrs.have; ++attempt) {
    // The average; slopes over a longer time; every second beat upside down.
    alternate = attempt == 2;
    if (attempt != 1) average(lead, wave, block, first, window.total, fi, alternate, window, &lo, &hi);
    if (attempt == 0) {
      Complex edges;
      slopes(window.sums, size, width(kQrsSlope, fi), g);
      measure_qrs(g, size, c, c - width(kQrsBefore, fi), c + width(kQrsAfter, fi), kQrsNoiseMean, fi, edges);
      qrs.have = edges.edge[0] >= 0;
      if (!qrs.have) break;
      qrs.edge[0] = edges.edge[0] - real(c), qrs.edge[1] = edges.edge[1] - real(c);
      qrs_correction(window.mean + first, window.sums, size, c, qrs.edge[0], qrs.edge[1], fi, qrs.more);
    }
    share = average_t(lead, wave, block, window, first, hi, fi, qrs.edge[1] + real(c), attempt ? kTWide : kTWave,
                      alternate, found, a, &absent);
    if (!absent) break;
    if (a.peak >= 0) least = larger(least, kTAlone * std::sqrt(real(block.group)) * found.size);
  }
  const bool have_t = a.peak >= 0 && !absent;
  if (have_t) share = larger(0.0, smaller(1.0, share)), sign = found.sign;
  for (int64_t k = block.first; k < block.last; ++k) {
    const bool member = wave.member(k);
    const double off = wave[kOff][k];
    if (off < 0 || (absent && member)) continue;
    const double centre = wave[kCentre][k];
    double end = real(lead.n - 1);
    if (k < wave.beats - 1) end = wave[kOn][k + 1] >= 0 ? wave[kOn][k + 1] : centre + wave[kRr][k + 1] * fi;
    const bool mine = have_t && member;
    const double near = mine ? a.peak : kTTypical * rr * fi, spread = mine ? kTNear * fi : kTSpread * rr * fi;
    const double own = mine ? sign * parity(k, alternate) : 0.0;
    const int64_t high = whole(smaller(centre + kTLast * rr * fi, end - kTBeforeQrs * fi));
    measure_wave(lead.s, lead.n, kTWave, whole(off), whole(end), whole(off + kTFirst * fi), high, centre + near, spread,
                 own, fi, found, t, window.count);
    if (mine && (t.peak < 0 || found.sign != own)) {  // too small to be seen in this beat alone
      t.peak = centre + a.peak;
      for (int side = 0; side < 2; ++side) t.foot[side] = centre + a.foot[side];
    }
    if (t.peak >= 0 && !(absent && found.size < least)) settle_wave(wave, k, kTWave, t, a, mine, share, rr, fi);
  }
}

// Where a positive phase precedes the negative peak of the average's P (a, found), the wave is measured from it.
template <class Rate>
inline void prefer_first_phase(const double* ms, int64_t n, int64_t low, int64_t on, Rate fi, Hump& found, Wave& a,
                               Wave& t, double* d) {
  const Hump before = found;
  const double peak = a.peak;
  measure_wave(ms, n, kPWave, low, on, larger(low, whole(peak - 2.0 * kPFirstReach * fi)), whole(peak),
               peak - 0.5 * kPFirstReach * fi, kPSpread * fi, 1, fi, found, t, d);
  if (t.peak >= 0 && found.sign > 0 && found.size >= kPFirst * before.size && peak - t.peak <= kPFirstReach * fi) a = t;
  else found = before;
}

// The P waves, given the T waves: none at all unless the beats repeat them.
template <class Rate>
inline void block_p(const Lead& lead, const Beats& wave, const Block& block, const Window& window, Rate fi,
                    const BlockQrs& qrs, Hump& found, Wave& t, Wave& a) {
  const int64_t before = window.before;
  double* const d = window.count;
  bool have_p = false, present = block.group < 3;
  double sign = 0, size = 0, share = 0;
  if (qrs.have) {
    int64_t lo, hi;
    average(lead, wave, block, 0, before, fi, false, window, &lo, &hi);
    const double on = real(before) + qrs.edge[0];
    const int64_t low = larger(lo, whole(on - kPEarliest * fi));
    measure_wave(window.sums, before, kPWave, low, whole(on), low, whole(on - kPLatest * fi), on - kPTypical * fi,
                 kPSpread * fi, 0, fi, found, a, d);
    have_p = a.peak >= 0;
    if (have_p && found.sign < 0) prefer_first_phase(window.sums, before, low, whole(on), fi, found, a, t, d);
    if (have_p) {
      add_second_phase(window.sums, before, kPWave, low, whole(on), fi, found, a, d);
      sign = found.sign, size = found.size;
      const int64_t left = larger(lo, whole(a.foot[0] - 0.01 * fi));
      const int64_t right = smaller(whole(a.foot[1] + 0.01 * fi), whole(on));
      const double r = coherence(lead, wave, block, window, 0, left, right, true, false).r;
      share = larger(0.0, smaller(1.0, r));
      if (block.group >= 3) present = r > kPCoherence + kPIrregular * smaller(block.irregular, 0.4);
      a.peak -= real(before), a.foot[0] -= real(before), a.foot[1] -= real(before);
    }
  }
  if (!present) return;
  for (int64_t k = block.first; k < block.last; ++k) {
    const double on = wave[kOn][k];
    if (on < 0) continue;
    double low = larger(0.0, on - kPEarliest * fi);
    if (k > 0) {
      const double t_off = wave[kTOff][k - 1];
      low = larger(low, t_off >= 0 ? t_off : wave[kCentre][k - 1] + kTNone * fi);
    }
    const bool mine = have_p && wave.member(k);
    const double near = mine ? wave[kCentre][k] + a.peak : on - kPTypical * fi,
                 spread = (mine ? kPNear : kPSpread) * fi;
    measure_wave(lead.s, lead.n, kPWave, whole(low), whole(on), whole(low), whole(on - kPLatest * fi), near, spread,
                 mine ? sign : 0.0, fi, found, t, d);
    if (t.peak >= 0 && found.score >= kPShare * size) settle_wave(wave, k, kPWave, t, a, mine, share, 1.0, fi);
  }
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
