#pragma once
// The additive noise of a tile on the CPU: per channel (electrode, or lead where there are not twelve), then mixed.
// Included by augment.cpp alone, so that everything can be inlined.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/augment_math.h"
#include "core/macros.h"

namespace physioclr::cpu {

constexpr int kTile = 8 * kGroup, kGroups = kTile / kGroup;

struct NoiseTables {
  std::vector<float> a, b;               // (channels, kTones) amplitudes of the tones
  std::vector<float> share;              // (channels) of the muscle noise
  std::vector<float> out;                // (channels, kTile)
  float cosines[kTones][kGroup], sines[kTones][kGroup];    // of the first 64 samples
  float start_cos[kTones][kGroups], start_sin[kTones][kGroups];  // of the groups of this tile
  float carrier_cos[kGroup], carrier_sin[kGroup];
  float in_phase[kTile], quadrature[kTile];                // carrier times envelope, this tile
  int32_t node[kTile];
  float spline[kTile][4];
  int64_t first_node = 0, nodes = 0;
};

inline void philox_lanes(uint32_t block, uint32_t purpose, const Draws& d, uint32_t (*out)[kLanes]) {
  uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
  for (int j = 0; j < kLanes; ++j) c0[j] = block + j, c1[j] = purpose, c2[j] = d.s0, c3[j] = d.s1;
  uint32_t k0 = d.k0, k1 = d.k1;
  for (int round = 0; round < 10; ++round) {
    for (int j = 0; j < kLanes; ++j) {
      const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * c0[j], p1 = static_cast<uint64_t>(kPhiloxM1) * c2[j];
      c0[j] = static_cast<uint32_t>(p1 >> 32) ^ c1[j] ^ k0;
      c1[j] = static_cast<uint32_t>(p1);
      c2[j] = static_cast<uint32_t>(p0 >> 32) ^ c3[j] ^ k1;
      c3[j] = static_cast<uint32_t>(p0);
    }
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  for (int j = 0; j < kLanes; ++j) out[0][j] = c0[j], out[1][j] = c1[j], out[2][j] = c2[j], out[3][j] = c3[j];
}

// out[0 .. n) = sd * normals of samples t0 .. t0 + n of one channel; t0 and the room in `out` are multiples of kGroup.
PHYSIOCLR_SIMD inline void white_tile(const Draws& d, uint32_t purpose, int64_t t0, int64_t n, float sd, float* out) {
  uint32_t words[kTile];
  for (int64_t i = 0; i < n; i += kGroup)
    philox_lanes(static_cast<uint32_t>((t0 + i) / 4), purpose, d, reinterpret_cast<uint32_t(*)[kLanes]>(words + i));
  uint8_t tail[kTile];
  const int64_t padded = (n + kGroup - 1) / kGroup * kGroup;
  for (int64_t i = 0; i < padded; ++i) {
    out[i] = normal_bulk(words[i]) * sd;
    tail[i] = is_tail(words[i]);
  }
  for (int64_t i = 0; i < padded; i += 8) {
    uint64_t any;
    std::memcpy(&any, tail + i, 8);
    if (any)
      for (int64_t k = i; k < i + 8; ++k)
        if (tail[k]) out[k] = normal_tail(words[k]) * sd;
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
    if (p.muscle > 0)
      s.share[c] = static_cast<float>(muscle_share(draws, c) * p.muscle * (n != leads ? kElectrodeSd : 1.0) /
                                      exact_sqrt(static_cast<float>(kSplinePower)));
  }
  double sine, cosine;
  for (int i = 0; i < kGroup; ++i) {
    for (int k = p.tones.first; k < p.tones.last; ++k) {
      turn_sincos(p.tones.frequency[k] * i, sine, cosine);
      s.cosines[k][i] = static_cast<float>(cosine);
      s.sines[k][i] = static_cast<float>(sine);
    }
    if (p.muscle > 0) {
      turn_sincos(p.muscle_centre * i, sine, cosine);
      s.carrier_cos[i] = static_cast<float>(cosine);
      s.carrier_sin[i] = static_cast<float>(sine);
    }
  }
}

// What the channels share in the tile that starts at t0, a multiple of kGroup.
PHYSIOCLR_SIMD inline void noise_start(const RecordParams& p, int64_t t0, int64_t n, NoiseTables& s) {
  double sine, cosine;
  for (int64_t i = 0; i < n; i += kGroup) {
    const auto t = static_cast<double>(t0 + i);
    for (int k = p.tones.first; k < p.tones.last; ++k) {
      turn_sincos(p.tones.frequency[k] * t, sine, cosine);
      s.start_cos[k][i / kGroup] = static_cast<float>(cosine);
      s.start_sin[k][i / kGroup] = static_cast<float>(sine);
    }
    if (p.muscle > 0) {
      turn_sincos(p.muscle_centre * t, sine, cosine);
      const auto sn = static_cast<float>(sine), cs = static_cast<float>(cosine);
      for (int j = 0; j < kGroup; ++j) {
        const auto envelope = static_cast<float>(burst_envelope(p, t + j));
        s.in_phase[i + j] = (cs * s.carrier_cos[j] - sn * s.carrier_sin[j]) * envelope;
        s.quadrature[i + j] = (sn * s.carrier_cos[j] + cs * s.carrier_sin[j]) * envelope;
      }
    }
  }
  if (p.muscle > 0) {
    s.first_node = static_cast<int64_t>(floor(static_cast<double>(t0) * p.muscle_rate)) / kGroup * kGroup;
    for (int64_t i = 0; i < n; ++i) {
      const double at = static_cast<double>(t0 + i) * p.muscle_rate, whole = floor(at);
      s.node[i] = static_cast<int32_t>(static_cast<int64_t>(whole) - s.first_node);
      bspline_weights(at - whole, s.spline[i]);
    }
    s.nodes = s.node[n - 1] + 4;
  }
}

// o[0 .. 64) += the tones First .. Last - 1: their amplitudes turned to the start of the group, then the angle-addition
// formula with the table of the first 64 samples.
template <int First, int Last>
inline void tones_group(const NoiseTables& s, int channel, int64_t group, float* o) {
  float u[kTones], v[kTones];
  for (int k = First; k < Last; ++k) {
    const float a = s.a[channel * kTones + k], b = s.b[channel * kTones + k];
    u[k] = a * s.start_cos[k][group] + b * s.start_sin[k][group];
    v[k] = b * s.start_cos[k][group] - a * s.start_sin[k][group];
  }
  for (int j = 0; j < kGroup; ++j) {
    float x = o[j];
    for (int k = First; k < Last; ++k) x += u[k] * s.cosines[k][j] + v[k] * s.sines[k][j];
    o[j] = x;
  }
}

PHYSIOCLR_SIMD inline void add_tones(const RecordParams& p, const NoiseTables& s, int channel, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += kGroup) {
    if (p.tones.first > 0)
      tones_group<kWanderTones, kTones>(s, channel, i / kGroup, out + i);
    else if (p.tones.last < kTones)
      tones_group<0, kWanderTones>(s, channel, i / kGroup, out + i);
    else
      tones_group<0, kTones>(s, channel, i / kGroup, out + i);
  }
}

PHYSIOCLR_SIMD inline void add_muscle(const NoiseTables& s, int channel, int64_t n, const float* a, const float* b,
                                      float* out) {
  const float share = s.share[channel];
  for (int64_t i = 0; i < n; ++i) {
    const float* w = s.spline[i];
    const float *x = a + s.node[i], *y = b + s.node[i];
    const float in = (x[0] * w[0] + x[2] * w[2]) + (x[1] * w[1] + x[3] * w[3]);
    const float quadrature = (y[0] * w[0] + y[2] * w[2]) + (y[1] * w[1] + y[3] * w[3]);
    out[i] += share * (in * s.in_phase[i] + quadrature * s.quadrature[i]);
  }
}

// s.out[channel] = the noise of a tile of every channel.
inline void noise_tile(const RecordParams& p, const Draws& draws, int64_t leads, int64_t t0, int64_t n, NoiseTables& s) {
  noise_start(p, t0, n, s);
  const float sd = static_cast<float>(channels(leads) != leads ? p.gaussian * kElectrodeSd : p.gaussian);
  for (int c = 0; c < channels(leads); ++c) {
    float* out = s.out.data() + c * kTile;
    if (p.gaussian > 0)
      white_tile(draws, kGaussianNoise + kPurposes * static_cast<uint32_t>(1 + c), t0, n, sd, out);
    else
      std::fill(out, out + kTile, 0.0f);
    if (p.tones.first < p.tones.last) add_tones(p, s, c, n, out);
    if (p.muscle > 0) {
      float a[kTile], b[kTile];
      white_tile(draws, muscle_purpose(c, 0), s.first_node, s.nodes, 1.0f, a);
      white_tile(draws, muscle_purpose(c, 1), s.first_node, s.nodes, 1.0f, b);
      add_muscle(s, c, n, a, b, out);
    }
  }
}

}  // namespace physioclr::cpu
