#pragma once
// What an augmentation plan means for one record: the draws of its parameters, and the maths of single samples. Shared
// by every backend; only + - * / sqrt and floor, so that all of them give the same bits (see core/normal.h).
//
// A record goes through one canonical program, whatever the plan switches on:
//   time map -> lead mix -> gain -> additive noise -> mask
// so the order of the fields in a plan means nothing, and each output sample is computed once.
#include <cstdint>

#include "core/augment_plan.h"
#include "core/macros.h"
#include "core/normal.h"
#include "core/philox.h"

namespace physioclr {

constexpr uint32_t kPurposes = 64;  // purpose = row + kPurposes * (1 + channel) for what is drawn per channel

PHYSIOCLR_HD double uniform(double low, double high, double u) { return low + (high - low) * u; }

// Words of one row, four a block, handed out in order.
struct Stream {
  Draws draws;
  uint32_t purpose, next = 0;
  Words words{};
  PHYSIOCLR_HD Stream(const Draws& d, uint32_t p) : draws(d), purpose(p) {}
  PHYSIOCLR_HD uint32_t word() {
    if ((next & 3) == 0) words = draws.block(purpose, next >> 2);
    return words.w[next++ & 3];
  }
  PHYSIOCLR_HD double unit() { return physioclr::unit(word()); }
};

// ---- electrodes ---------------------------------------------------------------------------------------------------
// Twelve leads are nine potentials: RA LA LL V1 .. V6. Noise arises at the electrodes, so it is drawn there and mixed
// as the leads are defined; then I + III = II and aVR + aVL + aVF = 0 hold for the noise too. Any other number of leads
// has independent noise on each.

PHYSIOCLR_HD int channels(int64_t leads) { return leads == 12 ? 9 : static_cast<int>(leads); }

// Two electrodes make I, II and III, so an electrode's noise is scaled for these leads to have what the plan says.
constexpr double kElectrodeSd = 0.70710678118654752;  // of independent noises: SDs add in squares
constexpr double kElectrodePeak = 0.5;                // of bounds on a magnitude

template <class At>
PHYSIOCLR_HD auto lead_value(int lead, At at) -> decltype(at(0)) {
  using V = decltype(at(0));
  const V ra = at(0), la = at(1), ll = at(2), half = V(0.5), third = V(1.0 / 3.0);
  switch (lead) {
    case 0: return la - ra;
    case 1: return ll - ra;
    case 2: return ll - la;
    case 3: return ra - (la + ll) * half;
    case 4: return la - (ra + ll) * half;
    case 5: return ll - (ra + la) * half;
    default: return at(lead - 3) - (ra + la + ll) * third;
  }
}

// ---- sinusoids ----------------------------------------------------------------------------------------------------

// sin and cos of 2 pi turns; absolute error below 1e-12 (Taylor series on an eighth of a turn).
PHYSIOCLR_HD void turn_sincos(double turns, double& s, double& c) {
  const double eighths = floor(turns * 8.0);
  const double quarter = floor((eighths + 1.0) * 0.5);  // the nearest quarter turn
  const double x = (turns - quarter * 0.25) * 6.283185307179586, z = x * x;
  const double sx =
      x * (1 + z * (-1.0 / 6 +
                    z * (1.0 / 120 +
                         z * (-1.0 / 5040 + z * (1.0 / 362880 - z * (1.0 / 39916800 - z * (1.0 / 6227020800.0)))))));
  const double cx =
      1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 +
                                                             z * (-1.0 / 3628800 + z * (1.0 / 479001600.0 -
                                                                                        z * (1.0 / 87178291200.0)))))));
  // No branch and no integers, so that loops over this vectorise.
  const double q = quarter - 4 * floor(quarter * 0.25);
  const bool odd = q == 1 || q == 3;
  const double ss = odd ? cx : sx, cc = odd ? sx : cx;
  s = q >= 2 ? -ss : ss;
  c = q == 1 || q == 2 ? -cc : cc;
}

constexpr int kWanderTones = 3, kHarmonics = 3, kTones = kWanderTones + kHarmonics;

// Sum of tones: value(t) = sum_k a_k cos(2 pi f_k t) + b_k sin(2 pi f_k t), f in cycles per sample. Tones are numbered
// wander first; a tone that is off has first <= k < last false.
struct Tones {
  double frequency[kTones];
  int first = 0, last = 0;
};

// ---- a record's parameters ----------------------------------------------------------------------------------------

constexpr int kMaxSpans = 8, kMaxBursts = 4, kWarps = 3;

struct RecordParams {
  double gain = 1;
  double wander = 0, mains = 0;               // peak amplitude, mV
  double harmonic[kHarmonics] = {};           // share of each harmonic in the mains amplitude
  double gaussian = 0;                        // SD, mV
  double dropout = 0;                         // probability of each lead; 0: off
  double muscle = 0;                          // RMS at the height of a burst, mV
  double muscle_rate = 0, muscle_centre = 0;  // nodes and cycles per sample (see MuscleNoise below)
  int bursts = 0;
  double burst_at[kMaxBursts], burst_width[kMaxBursts];  // centre and half width, samples
  Tones tones;
  int64_t guard = -1;  // samples around each R peak that the time mask leaves; -1: none
  int spans = 0;
  int64_t span_start[kMaxSpans], span_end[kMaxSpans];  // masked, before the guard
  bool shuffle = false, tp = false, vcg = false;
  double warp[kWarps] = {};  // displacement of each half-wave of the warp, samples
  bool warped = false;
  double rr_factor = 1;
  int64_t window = 0, from = 0, place = 0;  // crop: `window` samples read from `from` stand at `place`
  double turn[3] = {};                      // VCG rotation about X, Y and Z, turns
};

PHYSIOCLR_HD int64_t to_samples(double seconds, double fs) { return static_cast<int64_t>(floor(seconds * fs + 0.5)); }

PHYSIOCLR_HD RecordParams draw_record(const AugmentPlan& plan, const Draws& draws, double fs, int64_t samples) {
  RecordParams r;
  r.window = samples;
  if (const double* s = plan.v[kTimeWarp]; s[0] > 0) {
    Stream u(draws, kTimeWarp);
    const double on = u.unit(), speed = uniform(s[1], s[2], u.unit());
    if (on < s[0] && speed > 0 && samples > 1) {
      double sum = 0;
      for (int k = 0; k < kWarps; ++k) r.warp[k] = 2 * u.unit() - 1, sum += r.warp[k] < 0 ? -r.warp[k] : r.warp[k];
      // Half-waves over the record, so that its ends stay; the shares of the speed sum to `speed` in magnitude.
      for (int k = 0; k < kWarps; ++k)
        r.warp[k] *= speed / sum * static_cast<double>(samples - 1) / (3.14159265358979324 * (k + 1));
      r.warped = true;
    }
  }
  if (const double* s = plan.v[kRrScale]; s[0] > 0) {
    Stream u(draws, kRrScale);
    const double on = u.unit(), x = u.unit();
    if (on < s[0]) r.rr_factor = uniform(s[1], s[2], x);
  }
  if (const double* s = plan.v[kCrop]; s[0] > 0) {
    Stream u(draws, kCrop);
    const double on = u.unit(), kept = uniform(s[1], s[2], u.unit()), a = u.unit(), b = u.unit();
    if (on < s[0]) {
      const auto w = static_cast<int64_t>(floor(kept * static_cast<double>(samples) + 0.5));
      r.window = w < 1 && samples > 0 ? 1 : w;
      r.from = static_cast<int64_t>(floor(static_cast<double>(samples - r.window + 1) * a));
      r.place = static_cast<int64_t>(floor(static_cast<double>(samples - r.window + 1) * b));
    }
  }
  if (const double* s = plan.v[kVcgRotation]; s[0] > 0) {
    Stream u(draws, kVcgRotation);
    const double on = u.unit();
    for (double& turn : r.turn) turn = uniform(s[1], s[2], u.unit()) / 360;
    r.vcg = on < s[0] && (r.turn[0] != 0 || r.turn[1] != 0 || r.turn[2] != 0);
  }
  if (const double* s = plan.v[kMuscleNoise]; s[0] > 0) {
    Stream u(draws, kMuscleNoise);
    const double on = u.unit(), x = u.unit(), count = u.unit();
    const double top = s[4] < 0.45 * fs ? s[4] : 0.45 * fs;
    if (on < s[0] && top > s[3]) {
      r.muscle = uniform(s[1], s[2], x);
      r.muscle_rate = 1.5 * (top - s[3]) / fs;
      r.muscle_centre = 0.5 * (s[3] + top) / fs;
      r.bursts = 1 + static_cast<int>(floor(kMaxBursts * count));
      for (int k = 0; k < r.bursts; ++k) {
        r.burst_at[k] = static_cast<double>(samples) * u.unit();
        r.burst_width[k] = uniform(0.25, 1.0, u.unit()) * fs;
      }
    }
  }
  if (const double* s = plan.v[kBeatShuffle]; s[0] > 0) {
    Stream u(draws, kBeatShuffle);
    r.shuffle = u.unit() < s[0];
    r.tp = s[1] != 0;
  }
  if (const double* s = plan.v[kTimeMask]; s[0] > 0) {
    Stream u(draws, kTimeMask);
    if (u.unit() < s[0]) {
      // s: p, shortest, longest (s), fewest, most, largest share of the record, guard (s, negative: none)
      const int count = static_cast<int>(s[3] + floor((s[4] - s[3] + 1) * u.unit()));
      int64_t left = static_cast<int64_t>(floor(s[5] * static_cast<double>(samples)));
      for (int k = 0; k < count && k < kMaxSpans && left > 0; ++k) {
        const double length_u = u.unit(), place_u = u.unit();
        int64_t n = to_samples(uniform(s[1], s[2], length_u), fs);
        n = n < left ? n : left;
        const int64_t start = static_cast<int64_t>(floor(static_cast<double>(samples - n + 1) * place_u));
        if (n <= 0) continue;
        r.span_start[r.spans] = start;
        r.span_end[r.spans++] = start + n;
        left -= n;
      }
      if (s[6] >= 0) r.guard = to_samples(s[6], fs);
    }
  }
  if (const double* s = plan.v[kLeadDropout]; s[0] > 0) {
    Stream u(draws, kLeadDropout);
    if (u.unit() < s[0]) r.dropout = s[1];
  }
  if (const double* s = plan.v[kAmplitudeScale]; s[0] > 0) {
    Stream u(draws, kAmplitudeScale);
    const double on = u.unit(), x = u.unit();
    if (on < s[0]) r.gain = uniform(s[1], s[2], x);
  }
  if (const double* s = plan.v[kBaselineWander]; s[0] > 0) {
    Stream u(draws, kBaselineWander);
    const double on = u.unit(), x = u.unit();
    if (on < s[0]) {
      r.wander = uniform(s[1], s[2], x);
      // The first tone is respiration (9 to 30 breaths a minute where the band allows), the others drift slower or as
      // fast.
      const double breath = s[3] > 0.15 ? s[3] : s[4] < 0.15 ? s[4] : 0.15;
      for (int k = 0; k < kWanderTones; ++k)
        r.tones.frequency[k] = uniform(k == 0 ? breath : s[3], s[4], u.unit()) / fs;
    }
  }
  if (const double* s = plan.v[kPowerline]; s[0] > 0) {
    Stream u(draws, kPowerline);
    const double on = u.unit(), x = u.unit(), which = u.unit(), second = u.unit(), third = u.unit();
    const double f = s[3] > 0 ? s[3] : which < 0.5 ? 50.0 : 60.0;
    if (on < s[0] && f <= 0.45 * fs) {
      r.mains = uniform(s[1], s[2], x);
      const double share[kHarmonics] = {1.0, 0.1 * second, 0.3 * third};  // mains distortion is mostly odd
      double sum = 0;
      for (int k = 0; k < kHarmonics; ++k) {
        const double fk = f * (k + 1);
        r.tones.frequency[kWanderTones + k] = fk / fs;
        sum += r.harmonic[k] = fk <= 0.45 * fs ? share[k] : 0.0;
      }
      for (int k = 0; k < kHarmonics; ++k) r.harmonic[k] /= sum;
    }
  }
  if (const double* s = plan.v[kGaussianNoise]; s[0] > 0) {
    Stream u(draws, kGaussianNoise);
    const double on = u.unit(), x = u.unit();
    if (on < s[0]) r.gaussian = uniform(s[1], s[2], x);
  }
  r.tones.first = r.wander > 0 ? 0 : kWanderTones;
  r.tones.last = r.mains > 0 ? kTones : kWanderTones;
  return r;
}

PHYSIOCLR_HD uint32_t dropout_draw(const Draws& draws, int64_t lead) {
  const auto i = static_cast<uint32_t>(lead);
  return draws.block(kLeadDropout + kPurposes, i >> 2).w[i & 3] >> 9;
}

// Which leads are dropped: each with the drawn probability, but never more than keeps `min_kept` leads nor more than
// `max_dropped` (those with the smallest draws go first).
PHYSIOCLR_HD bool lead_dropped(const AugmentPlan& plan, const RecordParams& r, const Draws& draws, int64_t lead,
                               int64_t leads) {
  if (!(r.dropout > 0)) return false;
  const double* s = plan.v[kLeadDropout];
  const int64_t by_kept = leads - static_cast<int64_t>(s[2]), most = static_cast<int64_t>(s[3]);
  const int64_t limit = by_kept < most ? by_kept : most;
  const uint32_t own = dropout_draw(draws, lead);
  if (!((static_cast<double>(own) + 0.5) * (1.0 / 8388608.0) < r.dropout)) return false;
  int64_t rank = 0;
  for (int64_t l = 0; l < leads; ++l) {
    const uint32_t other = dropout_draw(draws, l);
    rank += other < own || (other == own && l < lead);
  }
  return rank < limit;
}

// Tone amplitudes of one channel: a[k], b[k]. The weights of the wander tones sum to the drawn amplitude, so that it
// bounds the wander of every lead; likewise for the mains.
PHYSIOCLR_HD void channel_tones(const RecordParams& r, const Draws& draws, int channel, bool electrodes, double* a,
                                double* b) {
  const double share = electrodes ? kElectrodePeak : 1.0;
  for (int k = 0; k < kTones; ++k) a[k] = b[k] = 0;
  double s, c;
  if (r.wander > 0) {
    Stream u(draws, kBaselineWander + kPurposes * static_cast<uint32_t>(1 + channel));
    double w[kWanderTones], sum = 0;
    for (int k = 0; k < kWanderTones; ++k) sum += w[k] = 0.25 + 0.75 * u.unit();
    for (int k = 0; k < kWanderTones; ++k) {
      turn_sincos(u.unit(), s, c);
      a[k] = share * r.wander * w[k] / sum * c;
      b[k] = share * r.wander * w[k] / sum * s;
    }
  }
  if (r.mains > 0) {
    Stream u(draws, kPowerline + kPurposes * static_cast<uint32_t>(1 + channel));
    const double coupling = 0.5 + 0.5 * u.unit();  // electrodes pick up the mains differently
    for (int k = 0; k < kHarmonics; ++k) {
      turn_sincos(u.unit(), s, c);
      a[kWanderTones + k] = share * r.mains * coupling * r.harmonic[k] * c;
      b[kWanderTones + k] = share * r.mains * coupling * r.harmonic[k] * s;
    }
  }
}

// ---- white noise --------------------------------------------------------------------------------------------------
// Sample t of a channel is word (t / 16) % 4 of block 16 (t / 64) + t % 16: sixteen blocks make 64 samples, in the
// order in which sixteen lanes produce them.

constexpr int kLanes = 16, kGroup = 4 * kLanes;

PHYSIOCLR_HD float white_noise(const Draws& draws, uint32_t purpose, int64_t t) {
  const auto block = static_cast<uint32_t>(t / kGroup * kLanes + t % kLanes);
  return normal_of(draws.block(purpose, block).w[t / kLanes % 4]);
}

// ---- muscle noise -------------------------------------------------------------------------------------------------
// Band-limited noise that any thread can evaluate at any sample: a carrier in the middle of the band whose two
// quadratures are white normals at 1.5 times the bandwidth, interpolated by cubic B-splines. The spline's response
// falls by 6 dB at the band's edges; 93 % of the power lies inside. No filter, hence no state and no start-up.

PHYSIOCLR_HD void bspline_weights(float f, float* w) {
  const float g = 1.0f - f, sixth = 1.0f / 6.0f;
  w[0] = g * g * g * sixth;
  w[1] = (4.0f + f * f * (3.0f * f - 6.0f)) * sixth;
  w[2] = (4.0f + g * g * (3.0f * g - 6.0f)) * sixth;
  w[3] = f * f * f * sixth;
}

constexpr double kSplinePower = 151.0 / 315.0;  // mean over a step of the sum of the squared weights

// Envelope: bumps (1 - x^2)^2 on a floor of a fifth.
PHYSIOCLR_HD double burst_bump(const RecordParams& r, int burst, double t) {
  const double x = (t - r.burst_at[burst]) / r.burst_width[burst], z = 1 - x * x;
  return z > 0 ? z * z : 0;
}

PHYSIOCLR_HD double burst_envelope(double highest_bump) { return 0.2 + 0.8 * highest_bump; }

// Muscles lie under some electrodes more than under others.
PHYSIOCLR_HD double muscle_share(const Draws& draws, int channel) {
  Stream u(draws, kMuscleNoise + kPurposes * static_cast<uint32_t>(1 + 3 * channel));
  return 0.5 + 0.5 * u.unit();
}
// The factor of a channel's muscle noise.
PHYSIOCLR_HD float channel_muscle(const RecordParams& r, const Draws& draws, int channel, bool electrodes) {
  return static_cast<float>(muscle_share(draws, channel) * r.muscle * (electrodes ? kElectrodeSd : 1.0) /
                            exact_sqrt(static_cast<float>(kSplinePower)));
}
PHYSIOCLR_HD uint32_t muscle_purpose(int channel, int quadrature) {
  return kMuscleNoise + kPurposes * static_cast<uint32_t>(2 + 3 * channel + quadrature);
}

// ---- beat permutation ---------------------------------------------------------------------------------------------

// Where the beats of a record are cut. cut "r": at the R peaks. cut "tp": 0.38 of the RR interval before each (the
// first beat takes the RR interval that follows it), between the end of T and the onset of P.
constexpr double kCutBefore = 0.38;

// order[0 .. n): which segment stands at each place (Fisher and Yates).
PHYSIOCLR_HD void draw_order(const Draws& draws, int32_t* order, int64_t n) {
  Stream u(draws, kBeatShuffle + kPurposes);
  for (int64_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(i);
  for (int64_t i = n - 1; i > 0; --i) {
    const auto j = static_cast<int64_t>(floor(static_cast<double>(i + 1) * u.unit()));
    const int32_t t = order[i];
    order[i] = order[j];
    order[j] = t;
  }
}

constexpr double kCrossFade = 0.008;  // s, centred on a joint of cut "tp"

PHYSIOCLR_HD double fade_weight(int64_t k, int64_t half) {  // of the later side, at k samples after the joint
  return (static_cast<double>(k + half) + 0.5) / static_cast<double>(2 * half);
}

}  // namespace physioclr
