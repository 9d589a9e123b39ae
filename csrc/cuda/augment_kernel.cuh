#pragma once
// augment on the GPU, second kernel: every output sample once. A block takes tiles of kAugTile samples of one record of
// one view; the noise of a tile is made in shared memory, per electrode, as on the CPU; then each thread takes one
// sample of all leads, so that where it reads is worked out once. Bodies only, no launch (tests/host_sim runs them).
// Everything rounds as on the CPU (no fused multiply-add), so the results are the same bits.
#include <cstdint>

#include "cuda/augment_noise.cuh"

namespace physioclr::cuda {

constexpr int kAugThreads = 256;

// ---- where a sample reads -----------------------------------------------------------------------------------------

// The warp's angle-addition tables: of the groups of a tile, and of the steps within a group.
struct WarpTables {
  double s0[kWarps][kAugGroups], c0[kWarps][kAugGroups], s1[kWarps][kGroup], c1[kWarps][kGroup];
};

PHYSIOCLR_HD void warp_steps(WarpTables& w, int64_t samples, int rank, int size) {
  for (int i = rank; i < kWarps * kGroup; i += size)
    turn_sincos(warp_turns(i / kGroup, i % kGroup, samples), w.s1[i / kGroup][i % kGroup],
                w.c1[i / kGroup][i % kGroup]);
}

PHYSIOCLR_HD void warp_groups(WarpTables& w, int64_t u0, int64_t samples, int rank, int size) {
  for (int i = rank; i < kWarps * kAugGroups; i += size) {
    const int k = i / kAugGroups, g = i % kAugGroups;
    turn_sincos(warp_turns(k, static_cast<double>(u0) + kGroup * g, samples), w.s0[k][g], w.c0[k][g]);
  }
}

// The position before rr_scale of the sample j of a group that starts at u (before the shift), given its tables.
PHYSIOCLR_HD double warped(const RecordParams& p, double u, const double* s0, const double* c0, int64_t stride0,
                           const double* s1, const double* c1, int64_t stride1, double last) {
  double v = u;
  for (int k = 0; k < kWarps; ++k)
    v += p.warp[k] * warp_step(s0[k * stride0], c0[k * stride0], s1[k * stride1], c1[k * stride1]);
  v = v < 0 ? 0 : v;
  return v > last ? last : v;
}

PHYSIOCLR_HD double tile_position(const RecordState& s, const WarpTables& w, int t0, int i, int samples) {
  const auto u = static_cast<double>(t0 + i + static_cast<int>(s.map.shift));
  const int g = i / kGroup, j = i % kGroup;
  if (!s.p.warped) return u;
  return warped(s.p, u, w.s0[0] + g, w.c0[0] + g, kAugGroups, w.s1[0] + j, w.c1[0] + j, kGroup, samples - 1);
}

// Through rr_scale; false beyond the end of the record, which is padding.
PHYSIOCLR_HD bool through_corners(const RecordMap& m, int samples, double& position) {
  if (m.n_corners == 0) return true;
  const Corner* c = m.corners;
  const int corners = static_cast<int>(m.n_corners);
  int low = 0, high = corners;  // how many corners are not above the position
  while (low < high) {
    const int middle = (low + high) / 2;
    if (c[middle].out <= position) low = middle + 1;
    else high = middle;
  }
  if (low > 0) {
    const Corner a = c[low - 1];
    const double slope = low == corners ? 1.0 : (c[low].in - a.in) / (c[low].out - a.out);
    position = a.in + (position - a.out) * slope;
  }
  const double last = samples - 1;
  if (position > last + 1e-6) return false;
  position = position > last ? last : position;
  return true;
}

// The last piece that begins at or before t.
PHYSIOCLR_HD int piece_at(const RecordMap& m, int t) {
  int low = 0, high = static_cast<int>(m.n_pieces);
  while (low + 1 < high) {
    const int middle = (low + high) / 2;
    if (m.pieces[middle].dst <= t) low = middle;
    else high = middle;
  }
  return low;
}

PHYSIOCLR_HD int within(int i, int samples) { return i < 0 ? 0 : i < samples ? i : samples - 1; }

// The cross-fade over sample t of the shuffled record, which lies in piece k, as the number of its later piece; 0:
// none.
PHYSIOCLR_HD int fade_at(const RecordMap& m, int k, int t) {
  if (t < m.pieces[k].dst + m.pieces[k].half) return k;
  return k + 1 < m.n_pieces && t >= m.pieces[k + 1].dst - m.pieces[k + 1].half ? k + 1 : 0;
}

// Where sample t of the shuffled record lies in the input: a, and in a cross-fade also b with its weight (else 0).
struct Source {
  int a, b;
  double weight;
};

PHYSIOCLR_HD Source source_of(const RecordMap& m, int t, int samples) {
  t = within(t, samples);  // beyond the ends the first and the last sample go on
  if (m.n_pieces == 1) return Source{t, t, 0.0};
  const int k = piece_at(m, t), j = fade_at(m, k, t);
  if (j == 0) {
    const int a = static_cast<int>(m.pieces[k].src) + (t - static_cast<int>(m.pieces[k].dst));
    return Source{a, a, 0.0};
  }
  const Piece &before = m.pieces[j - 1], &after = m.pieces[j];
  const int step = t - static_cast<int>(after.dst);
  return Source{within(static_cast<int>(before.src + before.length) + step, samples),
                within(static_cast<int>(after.src) + step, samples), fade_weight(step, after.half)};
}

// ---- reading ------------------------------------------------------------------------------------------------------

PHYSIOCLR_HD float element(const float* x, int i, float) { return x[i]; }
PHYSIOCLR_HD double element(const double* x, int i, float) { return x[i]; }
PHYSIOCLR_HD float element(const Half* x, int i, float) { return to_compute(x[i]); }
PHYSIOCLR_HD float element(const BFloat* x, int i, float) { return to_compute(x[i]); }
PHYSIOCLR_HD float element(const int16_t* x, int i, float scale) { return millivolts(x[i], scale); }

// What a sample needs of every lead: `taps` source samples (0: padding) and their weights.
struct Reading {
  int taps;
  bool fades;  // one of the taps lies in a cross-fade
  int first;   // of the taps in the shuffled record
  int at[4];   // where the taps are, without fades
  float w[4];
  double fraction;
};

PHYSIOCLR_HD Reading reading_of(const RecordState& s, const WarpTables& w, int t0, int i, int samples) {
  const RecordMap& m = s.map;
  Reading r;
  r.taps = 0;
  r.fades = false;
  const int t = t0 + i;
  if (t < m.begin || t >= m.end) return r;
  r.fraction = 0;
  r.first = t + static_cast<int>(m.shift);
  int taps = 1;
  if (m.smooth) {
    double position = tile_position(s, w, t0, i, samples);
    if (!through_corners(m, samples, position)) return r;
    const double whole = floor(position);
    r.fraction = position - whole;
    cubic_weights(static_cast<float>(r.fraction), r.w);
    r.first = static_cast<int>(whole) - 1;
    taps = 4;
  }
  r.taps = taps;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (k >= taps) break;
    const Source from = source_of(m, r.first + k, samples);
    r.at[k] = from.a;
    r.fades = r.fades || from.weight != 0;
  }
  return r;
}

template <class T, class In>
PHYSIOCLR_HD T faded(const RecordMap& m, const In* x, float scale, int t, int samples) {
  const Source from = source_of(m, t, samples);
  const T a = element(x, from.a, scale);
  if (from.weight == 0) return a;
  return a * static_cast<T>(1.0 - from.weight) + T(element(x, from.b, scale)) * static_cast<T>(from.weight);
}

// The samples of leads l .. l + N (below `leads`); x: the record's first sample of lead l, `stride` samples a lead. The
// cases are told apart outside the loops, so that the loads of N leads are under way together.
template <int N, class T, class In>
PHYSIOCLR_HD void read_leads(const RecordMap& m, const Reading& r, const In* x, int64_t stride, const float* scale,
                             int l, int leads, int samples, T* v) {
  if (r.taps == 1 && !r.fades) {
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (l + k < leads) v[k] = element(x + k * stride, r.at[0], scale ? scale[l + k] : 1.0f);
  } else if (r.taps == 4 && !r.fades) {
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (l + k < leads) {
        const In* row = x + k * stride;
        const float unit = scale ? scale[l + k] : 1.0f;
        const T z[4] = {element(row, r.at[0], unit), element(row, r.at[1], unit), element(row, r.at[2], unit),
                        element(row, r.at[3], unit)};
        const T y = four_taps(z, r.w);
        v[k] = y - y == T(0) ? y : four_taps_missing(z, r.w, r.fraction);
      }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (l + k < leads) {
        const In* row = x + k * stride;
        const float unit = scale ? scale[l + k] : 1.0f;
        T z[4] = {T(0), T(0), T(0), T(0)};
#pragma unroll
        for (int q = 0; q < 4; ++q)
          if (q < r.taps) z[q] = faded<T>(m, row, unit, r.first + q, samples);
        T y = z[0];
        if (r.taps == 4) {
          y = four_taps(z, r.w);
          y = y - y == T(0) ? y : four_taps_missing(z, r.w, r.fraction);
        }
        v[k] = y;
      }
  }
}

// ---- writing ------------------------------------------------------------------------------------------------------

// Whether the time mask covers sample t: in a drawn span and away from every (mapped) R peak.
PHYSIOCLR_HD bool time_masked(const RecordState& s, int t) {
  bool in = false;
  for (int k = 0; k < s.p.spans; ++k) in = in || (t >= s.p.span_start[k] && t < s.p.span_end[k]);
  if (!in || s.p.guard < 0) return in;
  int low = 0, high = static_cast<int>(s.map.n_peaks);  // the first peak not before t - guard
  while (low < high) {
    const int middle = (low + high) / 2;
    if (s.map.peaks[middle] < t - s.p.guard) low = middle + 1;
    else high = middle;
  }
  return low == s.map.n_peaks || s.map.peaks[low] > t + s.p.guard;
}

PHYSIOCLR_HD void store(const Samples<void>& y, int64_t i, float v) {
  switch (y.type) {
    case Element::kHalf: return from_compute(v, static_cast<Half*>(y.data)[i]);
    case Element::kBFloat: return from_compute(v, static_cast<BFloat*>(y.data)[i]);
    default: static_cast<float*>(y.data)[i] = v;
  }
}
PHYSIOCLR_HD void store(const Samples<void>& y, int64_t i, double v) { static_cast<double*>(y.data)[i] = v; }

template <class T>
PHYSIOCLR_HD T masked_value(T v, bool zero) {
  return zero && v - v == T(0) ? T(0) : v;  // a missing sample stays missing
}

// ---- the kernel ---------------------------------------------------------------------------------------------------

// The rotation in the compute type.
template <class T>
struct Turn {
  T from[12][3], to[12][3];
};

template <class T>
PHYSIOCLR_HD void add_dipole(const T* from, T y, T* d) {
  if (from[0] == 0 && from[1] == 0 && from[2] == 0) return;
  for (int k = 0; k < 3; ++k) d[k] += from[k] * y;
}
template <class T>
PHYSIOCLR_HD void add_lead(const T* to, const T* d, T& y) {
  y += (to[0] * d[0] + to[1] * d[1]) + to[2] * d[2];
}

// y[l] += to[l] . (from^T y); where one of the eight leads is missing nothing turns.
template <class T>
PHYSIOCLR_HD void rotate(const Turn<T>& turn, T* y) {
  T d[3] = {T(0), T(0), T(0)};
#pragma unroll
  for (int l = 0; l < 12; ++l) add_dipole(turn.from[l], y[l], d);
  for (int k = 0; k < 3; ++k) d[k] = d[k] - d[k] == 0 ? d[k] : T(0);
#pragma unroll
  for (int l = 0; l < 12; ++l) add_lead(turn.to[l], d, y[l]);
}

typedef uint64_t __attribute__((may_alias)) AnyWord;

// What the block keeps at hand of the record: the compiler then knows that results are not written over it.
PHYSIOCLR_HD void copy_state(const RecordState* from, RecordState* to, const Block& team) {
  const auto* words = reinterpret_cast<const AnyWord*>(from);
  auto* out = reinterpret_cast<AnyWord*>(to);
  for (unsigned i = team.rank; i < sizeof(RecordState) / 8; i += team.size) out[i] = words[i];
}

// kMixes: the plan has noise or a rotation. blockIdx.x: (record, split, view), the view fastest, so that the views of a
// record find it in the second-level cache.
template <class In, class T, bool kMixes>
__global__ void __launch_bounds__(kAugThreads, sizeof(T) == 8 ? 1 : 2) augment_kernel(AugmentArgs args) {
  __shared__ AnyWord state[sizeof(RecordState) / 8];
  __shared__ WarpTables warp;
  __shared__ NoiseTile noise;  // without kMixes nothing looks at these two, and they take no room
  __shared__ Turn<T> turn;
  constexpr int kBatch = 12;  // leads under way together
  const Block team{static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
  const int leads = static_cast<int>(args.call.pass.leads), samples = static_cast<int>(args.call.pass.samples);
  const int64_t views = args.views, splits = args.splits;
  const int64_t view = blockIdx.x % views, split = blockIdx.x / views % splits, b = blockIdx.x / (views * splits);
  const RecordSlot slot =
      slot_of(args.workspace, view * args.call.pass.records + b, leads, args.call.pass.rpeaks.cols, nullptr);
  RecordState& s = *reinterpret_cast<RecordState*>(state);
  copy_state(slot.state, &s, team);
  team.sync();
  const Place place = place_of(args.call.gather, b, samples);
  const In* x = static_cast<const In*>(args.call.x.data) + s.offset;
  const float* scale = args.call.scale && s.there ? args.call.scale + place.row * args.call.scale_stride : nullptr;
  const int64_t out = ((args.view0 + view) * args.call.pass.records + b) * leads * args.call.pass.samples;
  const T gain = static_cast<T>(s.p.gain);
  const bool noisy = kMixes && s.noisy, turns = kMixes && s.p.vcg, changes = noisy || gain != 1, twelve = leads == 12;

  if (s.p.warped) warp_steps(warp, samples, team.rank, team.size);
  if (noisy) noise_steps(s.p, noise, team.rank, team.size);
  if (turns)
    for (int i = team.rank; i < 36; i += team.size) {
      turn.from[i / 3][i % 3] = static_cast<T>(s.rotation.from[i / 3][i % 3]);
      turn.to[i / 3][i % 3] = static_cast<T>(s.rotation.to[i / 3][i % 3]);
    }
  const int64_t tiles = (args.call.pass.samples + kAugTile - 1) / kAugTile;
  for (int64_t tile = tiles * split / splits; tile < tiles * (split + 1) / splits; ++tile) {
    const int t0 = static_cast<int>(tile) * kAugTile, n = samples - t0 < kAugTile ? samples - t0 : kAugTile;
    if (s.p.warped) warp_groups(warp, t0 + s.map.shift, samples, team.rank, team.size);
    team.sync();
    const int step = !noisy || twelve ? leads : kMaxChannels;  // leads whose noise fits into `noise`
    for (int l0 = 0; l0 < leads; l0 += step) {
      const int l1 = l0 + step < leads ? l0 + step : leads;
      if (noisy) noise_tile(s, slot, noise, t0, l0, twelve ? kMaxChannels : l1 - l0, twelve, team);
      for (int i = team.rank; i < n; i += team.size) {
        const Reading r = reading_of(s, warp, t0, i, samples);
        const bool masked = time_masked(s, t0 + i);
        for (int l = l0; l < l1; l += kBatch) {
          T v[kBatch];
#pragma unroll
          for (int k = 0; k < kBatch; ++k) v[k] = T(float_of_bits(0x7fc00000u));
          if (s.there)
            read_leads<kBatch>(s.map, r, x + l * place.row_samples, place.row_samples, scale, l, l1, samples, v);
          if constexpr (kMixes)
            if (turns) rotate(turn, v);
#pragma unroll
          for (int k = 0; k < kBatch; ++k) {
            if (l + k >= l1) break;
            T y = v[k];
            if (slot.dropped[l + k]) {
              y = masked_value(y, true);
            } else {
              if (noisy) {
                const float added =
                    twelve ? lead_value(k, [&](int c) { return noise.out[c][i]; }) : noise.out[l + k - l0][i];
                y = y * gain + static_cast<T>(added);
              } else if (changes) {
                y = y * gain;
              }
              y = masked_value(y, masked);
            }
            store(args.call.y, out + (l + k) * args.call.pass.samples + t0 + i, r.taps == 0 ? T(0) : y);
          }
        }
      }
      team.sync();  // the next noise, or the next tile's tables, go where this one was read
    }
  }
}

}  // namespace physioclr::cuda
