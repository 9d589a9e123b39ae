#pragma once
// The additive noise of a tile on the CPU: per channel (electrode, or lead where there are not twelve), then mixed.
// Included by hot/augment.cpp alone, so that everything can be inlined.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/augment_math.h"
#include "core/macros.h"
#include "cpu/augment_simd.h"

namespace physioclr::cpu {
namespace {

struct NoiseTables {
  Vector<float> a, b;                                                   // (channels, kTones) amplitudes of the tones
  Vector<float> share;                                                  // (channels) of the muscle noise
  Vector<float> out;                                                    // (channels, kTile)
  alignas(kLine) float cosines[kTones][kGroup], sines[kTones][kGroup];  // of the first 64 samples
  float start_cos[kTones][kGroups], start_sin[kTones][kGroups];         // of the groups of this tile
  alignas(kLine) float carrier_cos[kGroup], carrier_sin[kGroup];
  float in_phase[kTile], quadrature[kTile];  // carrier times envelope, this tile
  int32_t node[kTile];
  float spline[4][kTile];
  int64_t first_node = 0, nodes = 0;
};

// out[i] = sd * the normal of words[i], as if it were not in a tail.
PHYSIOCLR_FLAT inline void normals_bulk(const uint32_t* words, int64_t n, float sd, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = normal_bulk(words[i]) * sd;
}

PHYSIOCLR_FLAT inline void normals_tail(const uint32_t* words, int64_t n, float sd, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = normal_tail(words[i]) * sd;
}

// out[0 .. n) = sd * normals of samples t0 .. t0 + n of one channel; t0 and the room in `out` are multiples of kGroup.
inline void white_tile(const Draws& d, uint32_t purpose, int64_t t0, int64_t n, float sd, float* out) {
  alignas(kLine) uint32_t words[kTile], tail_words[kTile];
  alignas(kLine) float tail_values[kTile];
  uint64_t tails[kGroups];
  int32_t at[kTile];
  const int64_t groups = (n + kGroup - 1) / kGroup;
  philox_groups(static_cast<uint32_t>(t0 / 4), purpose, d, groups, words, tails);
  normals_bulk(words, groups * kGroup, sd, out);
  int64_t count = 0;
  for (int64_t g = 0; g < groups; ++g)
    for (uint64_t bits = tails[g]; bits; bits &= bits - 1) {
      const auto i = static_cast<int32_t>(g * kGroup + lowest_bit(bits));
      at[count] = i;
      tail_words[count++] = words[i];
    }
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;  // whole vectors: no slow remainder
  std::fill(tail_words + count, tail_words + padded, 0u);
  normals_tail(tail_words, padded, sd, tail_values);
  for (int64_t k = 0; k < count; ++k) out[at[k]] = tail_values[k];
}

// sines[i], cosines[i] of 2 pi frequency (t0 + step i)
PHYSIOCLR_FLAT inline void sincos_steps(double frequency, int64_t t0, int step, int64_t n, float* sines,
                                        float* cosines) {
  const auto start = static_cast<double>(t0);
  for (int i = 0; i < static_cast<int>(n); ++i) {
    double s, c;
    turn_sincos(frequency * (start + step * i), s, c);
    sines[i] = static_cast<float>(s);
    cosines[i] = static_cast<float>(c);
  }
}

// The tables that hold for a record.
inline void noise_record(const RecordParams& p, const Draws& draws, int64_t leads, NoiseTables& s) {
  const int n = channels(leads);
  s.a.assign(static_cast<size_t>(n) * kTones, 0.0f);
  s.b.assign(static_cast<size_t>(n) * kTones, 0.0f);
  s.share.assign(n, 0.0f);
  s.out.resize(static_cast<size_t>(n) * kTile);
  for (int c = 0; c < n; ++c) {
    double a[kTones], b[kTones];
    channel_tones(p, draws, c, n != leads, a, b);
    for (int k = 0; k < kTones; ++k) {
      s.a[c * kTones + k] = static_cast<float>(a[k]);
      s.b[c * kTones + k] = static_cast<float>(b[k]);
    }
    if (p.muscle > 0) s.share[c] = channel_muscle(p, draws, c, n != leads);
  }
  for (int k = p.tones.first; k < p.tones.last; ++k)
    sincos_steps(p.tones.frequency[k], 0, 1, kGroup, s.sines[k], s.cosines[k]);
  if (p.muscle > 0) sincos_steps(p.muscle_centre, 0, 1, kGroup, s.carrier_sin, s.carrier_cos);
}

PHYSIOCLR_FLAT inline void carrier_tile(const RecordParams& p, int64_t t0, int64_t n, NoiseTables& s) {
  alignas(kLine) double bump[kTile] = {};
  for (int k = 0; k < p.bursts; ++k)
    for (int64_t i = 0; i < n; ++i) {
      const double x = burst_bump(p, k, static_cast<double>(t0) + static_cast<double>(static_cast<int32_t>(i)));
      bump[i] = x > bump[i] ? x : bump[i];
    }
  for (int64_t i = 0; i < n; i += kGroup) {
    const float sn = s.start_sin[0][i / kGroup], cs = s.start_cos[0][i / kGroup];
    for (int j = 0; j < kGroup; ++j) {
      const auto envelope = static_cast<float>(burst_envelope(bump[i + j]));
      s.in_phase[i + j] = (cs * s.carrier_cos[j] - sn * s.carrier_sin[j]) * envelope;
      s.quadrature[i + j] = (sn * s.carrier_cos[j] + cs * s.carrier_sin[j]) * envelope;
    }
  }
  s.first_node = static_cast<int64_t>(floor(static_cast<double>(t0) * p.muscle_rate)) / kGroup * kGroup;
  const auto first = static_cast<double>(s.first_node);
  alignas(kLine) float fraction[kTile];
  for (int64_t i = 0; i < n; ++i) {
    const double at = (static_cast<double>(t0) + static_cast<int32_t>(i)) * p.muscle_rate, whole = floor(at);
    s.node[i] = static_cast<int32_t>(whole - first);
    fraction[i] = static_cast<float>(at - whole);
  }
  for (int64_t i = 0; i < n; ++i) {
    float w[4];
    bspline_weights(fraction[i], w);
    for (int k = 0; k < 4; ++k) s.spline[k][i] = w[k];
  }
  s.nodes = s.node[n - 1] + 4;
}

// What the channels share in the tile that starts at t0, a multiple of kGroup.
inline void noise_start(const RecordParams& p, int64_t t0, int64_t n, NoiseTables& s) {
  const int64_t groups = (n + kGroup - 1) / kGroup;
  if (p.muscle > 0) {
    sincos_steps(p.muscle_centre, t0, kGroup, groups, s.start_sin[0], s.start_cos[0]);
    carrier_tile(p, t0, n, s);
  }
  for (int k = p.tones.first; k < p.tones.last; ++k)
    sincos_steps(p.tones.frequency[k], t0, kGroup, groups, s.start_sin[k], s.start_cos[k]);
}

// out[0 .. n), rounded up to groups, += the tones First .. Last - 1: their amplitudes turned to the start of each
// group, then the angle-addition formula with the table of the first 64 samples.
template <int First, int Last>
inline void tones_tile(const NoiseTables& s, int channel, int64_t n, float* out) {
  float u[kTones][kGroups], v[kTones][kGroups];
  for (int k = First; k < Last; ++k) {
    const float a = s.a[channel * kTones + k], b = s.b[channel * kTones + k];
    for (int g = 0; g < kGroups; ++g) {
      u[k][g] = a * s.start_cos[k][g] + b * s.start_sin[k][g];
      v[k][g] = b * s.start_cos[k][g] - a * s.start_sin[k][g];
    }
  }
  for (int g = 0; g * kGroup < n; ++g) {
    float* o = out + g * kGroup;
    for (int j = 0; j < kGroup; ++j) {
      float x = o[j];
      for (int k = First; k < Last; ++k) x += u[k][g] * s.cosines[k][j] + v[k][g] * s.sines[k][j];
      o[j] = x;
    }
  }
}

PHYSIOCLR_FLAT inline void add_tones(const RecordParams& p, const NoiseTables& s, int channel, int64_t n, float* out) {
  if (p.tones.first > 0) tones_tile<kWanderTones, kTones>(s, channel, n, out);
  else if (p.tones.last < kTones) tones_tile<0, kWanderTones>(s, channel, n, out);
  else tones_tile<0, kTones>(s, channel, n, out);
}

PHYSIOCLR_FLAT inline void add_carrier(const NoiseTables& s, float share, const float* a, const float* b, int64_t n,
                                       float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] += share * (a[i] * s.in_phase[i] + b[i] * s.quadrature[i]);
}

inline void add_muscle(const Draws& draws, const NoiseTables& s, int channel, int64_t n, float* out) {
  alignas(kLine) float nodes[kTile], part[2][kTile];
  for (int k = 0; k < 2; ++k) {
    white_tile(draws, muscle_purpose(channel, k), s.first_node, s.nodes, 1.0f, nodes);
    interpolate(nodes, s.node, s.spline[0], n, part[k]);
  }
  add_carrier(s, s.share[channel], part[0], part[1], n, out);
}

// s.out[channel] = the noise of a tile of every channel.
inline void noise_tile(const RecordParams& p, const Draws& draws, int64_t leads, int64_t t0, int64_t n,
                       NoiseTables& s) {
  noise_start(p, t0, n, s);
  const float sd = static_cast<float>(channels(leads) != leads ? p.gaussian * kElectrodeSd : p.gaussian);
  for (int c = 0; c < channels(leads); ++c) {
    float* out = s.out.data() + c * kTile;
    if (p.gaussian > 0) white_tile(draws, kGaussianNoise + kPurposes * static_cast<uint32_t>(1 + c), t0, n, sd, out);
    else std::fill(out, out + kTile, 0.0f);
    if (p.tones.first < p.tones.last) add_tones(p, s, c, n, out);
    if (p.muscle > 0) add_muscle(draws, s, c, n, out);
  }
}

}  // namespace
}  // namespace physioclr::cpu
