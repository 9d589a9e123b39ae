#pragma once
// The additive noise of a tile on the GPU, in shared memory: per channel (electrode, or lead where there are not
// twelve), by the whole block. The same sums in the same order as cpu/augment_noise.h. Bodies only, no launch.
#include <cstdint>

#include "cuda/augment_record.cuh"

namespace physioclr::cuda {

constexpr int kAugTile = 8 * kGroup, kAugGroups = kAugTile / kGroup, kMaxChannels = 9;  // a tile; channels at a time

struct NoiseTile {
  float out[kMaxChannels][kAugTile];
  float nodes[2][kAugTile], in_phase[kAugTile], quadrature[kAugTile];  // of muscle noise
  float cosines[kTones][kGroup], sines[kTones][kGroup];                // of the first 64 samples
  float carrier_cos[kGroup], carrier_sin[kGroup];
  float start_cos[kTones + 1][kAugGroups], start_sin[kTones + 1][kAugGroups];  // of the groups; last: of the carrier
};

PHYSIOCLR_HD void float_sincos(double turns, float& s, float& c) {
  double sd, cd;
  turn_sincos(turns, sd, cd);
  s = static_cast<float>(sd);
  c = static_cast<float>(cd);
}

PHYSIOCLR_HD void noise_steps(const RecordParams& p, NoiseTile& n, int rank, int size) {
  for (int i = rank; i < (kTones + 1) * kGroup; i += size) {
    const int k = i / kGroup, j = i % kGroup;
    if (k == kTones) {
      if (p.muscle > 0) float_sincos(p.muscle_centre * j, n.carrier_sin[j], n.carrier_cos[j]);
    } else if (k >= p.tones.first && k < p.tones.last) {
      float_sincos(p.tones.frequency[k] * j, n.sines[k][j], n.cosines[k][j]);
    }
  }
}

PHYSIOCLR_HD void noise_starts(const RecordParams& p, NoiseTile& n, int64_t t0, int rank, int size) {
  for (int i = rank; i < (kTones + 1) * kAugGroups; i += size) {
    const int k = i / kAugGroups, g = i % kAugGroups;
    if (k < kTones ? k < p.tones.first || k >= p.tones.last : !(p.muscle > 0)) continue;
    const double f = k < kTones ? p.tones.frequency[k] : p.muscle_centre;
    float_sincos(f * (static_cast<double>(t0) + kGroup * g), n.start_sin[k][g], n.start_cos[k][g]);
  }
}

// Gaussian noise and tones of channels first .. first + count; an item is the four samples that share a Philox block.
PHYSIOCLR_HD void noise_items(const RecordState& s, const RecordSlot& slot, NoiseTile& n, int64_t t0, int first,
                              int count, bool electrodes, int rank, int size) {
  const RecordParams& p = s.p;
  const float sd = static_cast<float>(electrodes ? p.gaussian * kElectrodeSd : p.gaussian);
  for (int item = rank; item < count * (kAugTile / 4); item += size) {
    const int c = item / (kAugTile / 4), q = item % (kAugTile / 4), g = q / kLanes, j = q % kLanes;
    float x[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (p.gaussian > 0) {
      const Words words = s.draws.block(kGaussianNoise + kPurposes * static_cast<uint32_t>(1 + first + c),
                                        static_cast<uint32_t>(t0 / 4 + q));
      for (int k = 0; k < 4; ++k) x[k] = normal_of(words.w[k]) * sd;
    }
    for (int k = p.tones.first; k < p.tones.last; ++k) {
      const float a = slot.a[(first + c) * kTones + k], b = slot.b[(first + c) * kTones + k];
      const float u = a * n.start_cos[k][g] + b * n.start_sin[k][g], v = b * n.start_cos[k][g] - a * n.start_sin[k][g];
      for (int r = 0; r < 4; ++r) x[r] += u * n.cosines[k][r * kLanes + j] + v * n.sines[k][r * kLanes + j];
    }
    for (int r = 0; r < 4; ++r) n.out[c][g * kGroup + r * kLanes + j] = x[r];
  }
}

PHYSIOCLR_HD void carrier_items(const RecordParams& p, NoiseTile& n, int64_t t0, int rank, int size) {
  for (int i = rank; i < kAugTile; i += size) {
    double bump = 0;
    for (int k = 0; k < p.bursts; ++k) {
      const double x = burst_bump(p, k, static_cast<double>(t0) + i);
      bump = x > bump ? x : bump;
    }
    const auto envelope = static_cast<float>(burst_envelope(bump));
    const float sn = n.start_sin[kTones][i / kGroup], cs = n.start_cos[kTones][i / kGroup];
    const float cc = n.carrier_cos[i % kGroup], ss = n.carrier_sin[i % kGroup];
    n.in_phase[i] = (cs * cc - sn * ss) * envelope;
    n.quadrature[i] = (sn * cc + cs * ss) * envelope;
  }
}

PHYSIOCLR_HD int64_t first_node(const RecordParams& p, int64_t t0) {
  return static_cast<int64_t>(floor(static_cast<double>(t0) * p.muscle_rate)) / kGroup * kGroup;
}

PHYSIOCLR_HD void node_items(const RecordState& s, NoiseTile& n, int64_t t0, int channel, int rank, int size) {
  const int64_t first = first_node(s.p, t0);
  const double end =
      floor((static_cast<double>(t0) + (kAugTile - 1)) * s.p.muscle_rate) - static_cast<double>(first) + 4;
  const int groups = (static_cast<int>(end) + kGroup - 1) / kGroup;  // at most kAugGroups: 0.675 nodes a sample
  for (int item = rank; item < 2 * groups * kLanes; item += size) {
    const int half = item & 1, q = item >> 1;
    const Words words = s.draws.block(muscle_purpose(channel, half), static_cast<uint32_t>(first / 4 + q));
    for (int r = 0; r < 4; ++r) n.nodes[half][q / kLanes * kGroup + r * kLanes + q % kLanes] = normal_of(words.w[r]);
  }
}

PHYSIOCLR_HD void muscle_items(const RecordState& s, NoiseTile& n, float share, int64_t t0, int c, int rank, int size) {
  const auto first = static_cast<double>(first_node(s.p, t0));
  for (int i = rank; i < kAugTile; i += size) {
    const double at = (static_cast<double>(t0) + i) * s.p.muscle_rate, whole = floor(at);
    const int node = static_cast<int>(whole - first);
    float w[4];
    bspline_weights(static_cast<float>(at - whole), w);
    n.out[c][i] +=
        share * (four_taps(n.nodes[0] + node, w) * n.in_phase[i] + four_taps(n.nodes[1] + node, w) * n.quadrature[i]);
  }
}

// The noise of channels first .. first + count of a tile, by the whole block.
PHYSIOCLR_HD void noise_tile(const RecordState& s, const RecordSlot& slot, NoiseTile& n, int64_t t0, int first,
                             int count, bool electrodes, const Block& team) {
  noise_starts(s.p, n, t0, team.rank, team.size);
  team.sync();
  noise_items(s, slot, n, t0, first, count, electrodes, team.rank, team.size);
  if (s.p.muscle > 0) {
    carrier_items(s.p, n, t0, team.rank, team.size);
    for (int c = 0; c < count; ++c) {
      node_items(s, n, t0, first + c, team.rank, team.size);
      team.sync();
      muscle_items(s, n, slot.share[first + c], t0, c, team.rank, team.size);
      team.sync();
    }
  }
  team.sync();
}

}  // namespace physioclr::cuda
