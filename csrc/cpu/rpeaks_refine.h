#pragma once
// Where detect_rpeaks.cpp puts a beat that it has chosen.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/rpeaks_place.h"
#include "cpu/rpeaks_scratch.h"

namespace physioclr::cpu {
namespace {

// share[l]: how much each lead counts at envelope sample t, as share_at. The place among the blocks is found once.
inline void shares_at(const Scratch& s, const WorkPlan& p, int64_t leads, int64_t t, float* share) {
  const Between at = between_centres(p.blocks, p.block, t + p.offset);
  const float *here = s.weight.data() + at.before * s.stride, *next = s.weight.data() + at.after * s.stride;
  for (int64_t l = 0; l < leads; ++l) {
    float w = 0;
    for (int64_t r = l * kBands; r < (l + 1) * kBands; ++r) w += here[r] + at.past * (next[r] - here[r]);
    share[l] = w;
  }
}

// Of several leads: where most of them, from the front, have their R wave near t (see kVote), or `otherwise`.
inline int64_t vote(const Scratch& s, const WorkPlan& p, const Local& own, int64_t leads, int64_t t, int64_t lo,
                    int64_t hi, float z, int64_t otherwise) {
  const int64_t first = std::max<int64_t>(0, lo - span_of(kBroadRS, p.fw));
  float *votes = own.sum.data(), total = 0;
  std::fill(votes, votes + (hi - first + 1), 0.0f);
  for (int64_t l = 0; l < leads; ++l) {
    if (!(own.share[l] > 0)) continue;
    const float* y = s.slow.data() + l * p.n;
    float base;
    bool up;
    const int64_t at = r_wave(y, p.n, p.fw, t, z, &base, &up);
    const float weight = own.share[l] * std::fabs(y[at] - base);
    votes[at - first] += weight;
    total += weight;
  }
  return total > 0 ? first + voted(votes, hi - first + 1, total) : otherwise;
}

// The R peak near a maximum of the envelope, see r_wave and first_wave, and then the middle of its top at full rate. Of
// several leads: their weighted sum, each with the sign that it has at the wave.
template <class T>
int64_t refine(const T* x, int64_t leads, int64_t samples, const WorkPlan& p, const Scratch& s, Local& own,
               int64_t peak, float z) {
  const int64_t t = peak * p.hop;
  int64_t coarse = t;
  float height = 0;
  if (leads == 1) {
    bool up;
    coarse = r_wave(s.slow.data(), p.n, p.fw, t, z, &own.base[0], &up);
    own.share[0] = up ? 1.0f : -1.0f;
    height = std::fabs(s.slow[coarse] - own.base[0]);
  } else {
    const int64_t half = static_cast<int64_t>(kRefine * p.fw), wide = static_cast<int64_t>(kBaseline * p.fw);
    const int64_t lo = std::max<int64_t>(0, t - half), hi = std::min(p.n - 1, t + half);
    float* sum = own.sum.data();
    std::fill(sum, sum + (hi - lo + 1), 0.0f);
    int voters = 0;
    shares_at(s, p, leads, peak, own.share.data());
    for (int64_t l = 0; l < leads; ++l) {
      const float *y = s.slow.data() + l * p.n, w = own.share[l];
      if (!(w > 0)) continue;
      ++voters;
      const float mean = own.base[l] = mean_of(y, std::max<int64_t>(0, t - wide), std::min(p.n - 1, t + wide));
      for (int64_t i = lo; i <= hi; ++i) sum[i - lo] += w * std::fabs(y[i] - mean);
    }
    const float fw = static_cast<float>(p.fw), taper = 0.5f * kTaper * z / (fw * fw);
    bool broad;
    coarse = lo + first_wave(sum, hi - lo + 1, t - lo, taper, p.fw, &broad);
    if (broad && voters >= kVoters) coarse = vote(s, p, own, leads, t, lo, hi, z, coarse);
    for (int64_t l = 0; l < leads; ++l) {
      if (!(own.share[l] > 0)) continue;
      const float d = s.slow[l * p.n + coarse] - own.base[l];
      height += own.share[l] * std::fabs(d);
      if (d < 0) own.share[l] = -own.share[l];
    }
  }
  const int64_t centre = p.first + coarse * p.step + p.step / 2, fine = span_of(kFine, p.fs);
  const int64_t from = std::max<int64_t>(0, centre - fine), to = std::min(samples - 1, centre + fine);
  float* sum = own.sum.data();
  std::fill(sum, sum + (to - from + 1), 0.0f);
  bool valid = false;
  for (int64_t l = 0; l < leads; ++l)
    if (own.share[l] != 0)
      valid |= add_lead(x + l * samples, samples, from, to - from + 1, p.spike, s.origin[l], s.gain[l], own.share[l],
                        leads == 1, own.clean.data(), sum);
  return valid ? from + middle_of_top(sum, to - from + 1, height) : std::min(centre, samples - 1);
}

}  // namespace
}  // namespace physioclr::cpu
