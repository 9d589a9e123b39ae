#pragma once
// detect_rpeaks: which of the chosen candidates are tall T waves, see kTAfter. Plain scalar code on borrowed arrays, as
// in core/rpeaks_math.h. Times of candidates are samples of the envelope's rate, `at` is a working sample.
#include <cmath>
#include <cstdint>

#include "core/macros.h"
#include "core/rpeaks_constants.h"
#include "core/rpeaks_place.h"

namespace physioclr::rpeaks {

// Of one lead: the steepest step between working samples near `at`.
PHYSIOCLR_HD float steepest_step(const float* y, int64_t n, double fw, int64_t at) {
  const int64_t reach = static_cast<int64_t>(kTFlank * fw);
  const int64_t lo = at > reach ? at - reach : 0, hi = at + reach < n ? at + reach : n - 1;
  float most = 0;
  for (int64_t i = lo; i < hi; ++i) {
    const float d = std::fabs(y[i + 1] - y[i]);
    most = most < d ? d : most;
  }
  return most;
}

// How steep the wave near `at` is; share(l): what lead l counts there.
template <class Share>
PHYSIOCLR_HD float steepness(const float* slow, int64_t leads, int64_t n, double fw, int64_t at, Share share) {
  float sum = 0;
  for (int64_t l = 0; l < leads; ++l) {
    const float w = share(l);
    if (w > 0) sum += w * steepest_step(slow + l * n, n, fw, at);
  }
  return sum;
}

// Whether the wave at `at` is followed by one such as the T wave of a ventricular beat. No beat may be near.
template <class Share>
PHYSIOCLR_HD bool recovers(const float* slow, int64_t leads, int64_t n, double fw, int64_t at, Share share) {
  const auto after = [=](double seconds) { return at + span_of(seconds, fw); };
  if (after(kTRoom) > n) return false;
  const int64_t flank = static_cast<int64_t>(kTFlank * fw), wide = static_cast<int64_t>(kBaseline * fw);
  float bend = 0, height = 0;
  for (int64_t l = 0; l < leads; ++l) {
    const float w = share(l), *y = slow + l * n;
    if (!(w > 0)) continue;
    const float early = mean_of(y, after(kTEarly - kTSide), after(kTEarly + kTSide));
    const float late = mean_of(y, after(kTLate - kTSide), after(kTLate + kTSide));
    const float wave = mean_of(y, after(kTWaveFrom), after(kTWaveTo));
    const float base = mean_of(y, at > wide ? at - wide : 0, at + wide);
    float top = 0;
    for (int64_t i = at > flank ? at - flank : 0; i <= at + flank; ++i) {
      const float d = std::fabs(y[i] - base);
      top = top < d ? d : top;
    }
    bend += w * std::fabs(wave - 0.5f * (early + late));
    height += w * top;
  }
  return bend > kTBend * height;
}

// The chosen candidate before i that i may be the T wave of, or -1.
PHYSIOCLR_HD int64_t t_wave_of(const int32_t* t, const float* amp, const float* z, const uint8_t* mark, int64_t i,
                               float fe) {
  const int32_t span = static_cast<int32_t>(kTAfter * fe + 0.5f);
  if (!mark[i] || z[i] > kTCalm) return -1;
  for (int64_t j = i - 1; j >= 0 && t[i] - t[j] <= span; --j)
    if (mark[j]) return amp[i] < kTLess * amp[j] ? j : -1;
  return -1;
}

// Whether a beat comes too soon after candidate i to tell whether it recovers.
PHYSIOCLR_HD bool beat_follows(const int32_t* t, const uint8_t* mark, int64_t n, int64_t i, float fe) {
  const int32_t room = static_cast<int32_t>(kTRoom * fe + 0.5f);
  for (int64_t j = i + 1; j < n && t[j] - t[i] < room; ++j)
    if (mark[j]) return true;
  return false;
}

// Whether candidate i, smooth beside j, is the T wave of j: whether most complexes around have such a wave there.
// smooth: marks the chosen candidates that are smooth beside the one before; steep(k): steepness; alone(k): whether no
// T wave follows candidate k.
template <class Steep, class Alone>
PHYSIOCLR_HD bool is_t_wave(const int32_t* t, const float* amp, const uint8_t* mark, const uint8_t* smooth, int64_t n,
                            int64_t i, int64_t j, float fe, Steep steep, Alone alone) {
  const int32_t span = static_cast<int32_t>(kSpan * fe + 0.5f), near = static_cast<int32_t>(kTApart * fe + 0.5f);
  const int32_t gap = t[i] - t[j];
  int64_t k = i;
  int votes = 0, complexes = 0;
  while (k > 0 && t[i] - t[k - 1] < span) --k;
  for (; k < n && t[k] - t[i] < span; ++k) {
    if (!mark[k] || smooth[k]) continue;
    ++complexes;
    for (int64_t c = k + 1; c < n && t[c] - t[k] <= gap + near; ++c) {
      if (t[c] - t[k] < gap - near || amp[c] < kTAlike * amp[i]) continue;
      votes += steep(c) < kTSlope * steep(k) && alone(c);
      break;
    }
  }
  return 3 * votes >= 2 * complexes;
}

}  // namespace physioclr::rpeaks
