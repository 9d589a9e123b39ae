#pragma once
// The time map of a record on the CPU, and reading through it. Included by hot/augment.cpp alone.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/macros.h"
#include "core/augment_record.h"
#include "core/elements.h"
#include "cpu/augment_noise.h"

namespace physioclr::cpu {
namespace {

struct TimeMap {
  Vector<Piece> pieces;
  Vector<Corner> corners;        // of rr_scale; empty: none
  Vector<int32_t> peaks, order;  // the R peaks in the output
  Vector<double> at;
  int64_t begin = 0, end = 0, shift = 0;  // output samples begin .. end read u = t + shift; the others are padding
  bool smooth = false;                    // reads between samples
  alignas(kLine) double step_sin[kWarps][kGroup], step_cos[kWarps][kGroup];
  // of a tile
  alignas(kLine) double position[kTile];
  int64_t lo, hi;                     // the samples that the tile reads
  alignas(kLine) int32_t tap[kTile];  // the first of the four, relative to lo
  alignas(kLine) float weights[4][kTile];
};

// position[i0 .. i1), rising, through the piecewise linear map: v to a.in + (v - a.out) slope from corner a on.
inline void through_corners(const Vector<Corner>& corners, int64_t i0, int64_t i1, double* position) {
  int64_t i = i0;
  while (i < i1 && position[i] < corners[0].out) ++i;
  for (size_t k = 0; k < corners.size() && i < i1; ++k) {
    const Corner a = corners[k];
    const bool last = k + 1 == corners.size();
    const double slope = last ? 1.0 : (corners[k + 1].in - a.in) / (corners[k + 1].out - a.out);
    for (; i < i1 && (last || position[i] < corners[k + 1].out); ++i)
      position[i] = a.in + (position[i] - a.out) * slope;
  }
}

PHYSIOCLR_FLAT inline void warp_sincos(int k, int64_t u0, int step, int64_t n, int64_t samples, double* sines,
                                       double* cosines) {
  const auto start = static_cast<double>(u0);
  for (int i = 0; i < static_cast<int>(n); ++i)
    turn_sincos(warp_turns(k, start + step * i, samples), sines[i], cosines[i]);
}

inline void time_map(const RecordParams& p, const Draws& draws, const AugmentPass& pass, const Place& place,
                     TimeMap& m) {
  const int64_t beats = pass.rpeaks.cols, samples = pass.samples;
  m.pieces.resize(beats + 1);
  m.corners.resize(kCornersPerBeat * beats);
  m.peaks.resize(beats);
  m.order.resize(beats);
  m.at.resize(beats);
  RecordMap r{};
  r.pieces = m.pieces.data(), r.corners = m.corners.data();
  r.peaks = m.peaks.data(), r.order = m.order.data(), r.at = m.at.data();
  r.n_peaks = pass.rpeaks.data ? take_peaks(pass.rpeaks.row(place.row), beats, place.start, samples, r.peaks) : 0;
  build_map(OneThread{}, p, draws, pass.fs, samples, r);
  m.pieces.resize(r.n_pieces);
  m.corners.resize(r.n_corners);
  m.peaks.resize(r.n_peaks);
  m.smooth = r.smooth;
  m.shift = r.shift;
  m.begin = r.begin;
  m.end = r.end;
  if (p.warped)
    for (int k = 0; k < kWarps; ++k) warp_sincos(k, 0, 1, kGroup, samples, m.step_sin[k], m.step_cos[k]);
}

// position[0 .. n): where the output samples t0 .. t0 + n read in the shuffled record. t0 is a multiple of kGroup.
PHYSIOCLR_FLAT inline void warp_tile(const RecordParams& p, int64_t t0, int64_t n, int64_t samples, TimeMap& m) {
  const double last = static_cast<double>(samples - 1);
  double s0[kWarps][kGroups], c0[kWarps][kGroups];
  for (int k = 0; k < kWarps; ++k)
    for (int g = 0; g < kGroups; ++g)
      turn_sincos(warp_turns(k, static_cast<double>(t0 + m.shift) + kGroup * g, samples), s0[k][g], c0[k][g]);
  for (int g = 0; g * kGroup < n; ++g) {
    const auto u = static_cast<double>(t0 + m.shift + g * kGroup);
    double* out = m.position + g * kGroup;
    for (int j = 0; j < kGroup; ++j) {
      double v = u + j;
      v += p.warp[0] * warp_step(s0[0][g], c0[0][g], m.step_sin[0][j], m.step_cos[0][j]);
      v += p.warp[1] * warp_step(s0[1][g], c0[1][g], m.step_sin[1][j], m.step_cos[1][j]);
      v += p.warp[2] * warp_step(s0[2][g], c0[2][g], m.step_sin[2][j], m.step_cos[2][j]);
      v = v < 0 ? 0 : v;
      out[j] = v > last ? last : v;
    }
  }
}

PHYSIOCLR_FLAT inline void weights_tile(int64_t i0, int64_t i1, TimeMap& m) {
  const double first = floor(m.position[i0]);
  m.lo = static_cast<int64_t>(first) - 1;
  m.hi = static_cast<int64_t>(floor(m.position[i1 - 1])) + 2;
  alignas(kLine) float fraction[kTile];
  for (int64_t i = i0; i < i1; ++i) {
    const double whole = floor(m.position[i]);
    m.tap[i] = static_cast<int32_t>(whole - first);
    fraction[i] = static_cast<float>(m.position[i] - whole);
  }
  for (int64_t i = i0; i < i1; ++i) {
    float w[4];
    cubic_weights(fraction[i], w);
    for (int k = 0; k < 4; ++k) m.weights[k][i] = w[k];
  }
}

// Fills the tile's positions, indices and weights; i0 .. i1 is what is not padding.
inline void map_tile(const RecordParams& p, int64_t t0, int64_t n, int64_t samples, TimeMap& m, int64_t& i0,
                     int64_t& i1) {
  i0 = std::clamp<int64_t>(m.begin - t0, 0, n);
  i1 = std::clamp<int64_t>(m.end - t0, 0, n);
  if (!m.smooth || i0 >= i1) return;
  if (p.warped) warp_tile(p, t0, n, samples, m);
  else
    for (int64_t i = 0; i < n; ++i) m.position[i] = static_cast<double>(t0 + i + m.shift);
  const auto last = static_cast<double>(samples - 1);
  if (!m.corners.empty()) {
    through_corners(m.corners, i0, i1, m.position);
    while (i0 < i1 && m.position[i1 - 1] > last + 1e-6) --i1;  // beyond the record's end: padding
    for (int64_t i = i1; i-- > i0 && m.position[i] > last;) m.position[i] = last;
  }
  if (i0 < i1) weights_tile(i0, i1, m);
}

// f(t, source and weight of one side, of the other) for the samples of a cross-fade within [t0, t1).
template <class F>
void for_fade(const Piece& before, const Piece& after, int64_t samples, int64_t t0, int64_t t1, F f) {
  const int64_t last = samples - 1, end = before.src + before.length;
  for (int64_t k = -after.half; k < after.half; ++k) {
    const int64_t t = after.dst + k;
    if (t < t0 || t >= t1) continue;
    const double w = fade_weight(k, after.half);
    f(t, std::clamp<int64_t>(end + k, 0, last), 1.0 - w, std::clamp<int64_t>(after.src + k, 0, last), w);
  }
}

// A lead in memory: its element type, and for int16 the mV of one unit.
template <class In>
struct Row {
  const In* x;
  float scale;
};

PHYSIOCLR_FLAT inline void copy_in(Row<int16_t> r, int64_t from, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = millivolts(r.x[from + i], r.scale);
}
PHYSIOCLR_FLAT inline void copy_in(Row<Half> r, int64_t from, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_compute(r.x[from + i]);
}
PHYSIOCLR_FLAT inline void copy_in(Row<BFloat> r, int64_t from, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_compute(r.x[from + i]);
}
template <class T>
void copy_in(Row<T> r, int64_t from, int64_t n, T* out) {
  std::memcpy(out, r.x + from, n * sizeof(T));
}

// The cross-fades within [t0, t1) of the shuffled record; out[0] is its sample t0.
template <class In, class T>
void blend_joints(Row<In> row, const Vector<Piece>& pieces, int64_t samples, int64_t t0, int64_t t1, T* out) {
  for (size_t k = 1; k < pieces.size(); ++k)
    if (pieces[k].half > 0)
      for_fade(pieces[k - 1], pieces[k], samples, t0, t1, [&](int64_t t, int64_t a, double wa, int64_t b, double wb) {
        T x[2];
        copy_in(row, a, 1, x);
        copy_in(row, b, 1, x + 1);
        out[t - t0] = x[0] * static_cast<T>(wa) + x[1] * static_cast<T>(wb);
      });
}

// out[0 .. n) = samples t0 .. t0 + n of the shuffled record; beyond its ends the first and the last sample go on.
template <class In, class T>
void read_pieces(Row<In> row, const Vector<Piece>& pieces, int64_t samples, int64_t t0, int64_t n, T* out) {
  const int64_t t1 = t0 + n;
  for (const Piece& p : pieces) {
    const int64_t from = std::max(p.dst, t0), to = std::min(p.dst + p.length, t1);
    if (from < to) copy_in(row, p.src + (from - p.dst), to - from, out + (from - t0));
  }
  blend_joints(row, pieces, samples, t0, t1, out);
  for (int64_t t = t0; t < 0; ++t) out[t - t0] = out[-t0];
  for (int64_t t = samples; t < t1; ++t) out[t - t0] = out[samples - 1 - t0];
}

// Where an array of the compute type can be read in place; nullptr where it must be copied or converted first.
template <class T>
const T* in_place(Row<T> row) {
  return row.x;
}
inline const float* in_place(Row<int16_t>) { return nullptr; }
inline const float* in_place(Row<Half>) { return nullptr; }
inline const float* in_place(Row<BFloat>) { return nullptr; }

// out[0 .. n) = the time-mapped tile of one lead; z is scratch.
template <class In, class T>
void read_tile(Row<In> row, const TimeMap& m, int64_t samples, int64_t t0, int64_t n, int64_t i0, int64_t i1,
               Vector<T>& z, T* out) {
  std::fill(out, out + i0, T(0));
  std::fill(out + i1, out + n, T(0));
  if (i0 >= i1) return;
  if (!m.smooth) {
    read_pieces(row, m.pieces, samples, t0 + i0 + m.shift, i1 - i0, out + i0);
    return;
  }
  const T* from = in_place(row);
  if (!from || m.pieces.size() > 1 || m.lo < 0 || m.hi >= samples) {
    z.resize(m.hi - m.lo + 1);
    read_pieces(row, m.pieces, samples, m.lo, m.hi - m.lo + 1, z.data());
    from = z.data();
  } else {
    from += m.lo;
  }
  if (interpolate(from, m.tap + i0, m.weights[0] + i0, i1 - i0, out + i0)) return;
  for (int64_t i = i0; i < i1; ++i)
    if (!(out[i] - out[i] == 0)) {
      const float w[4] = {m.weights[0][i], m.weights[1][i], m.weights[2][i], m.weights[3][i]};
      out[i] = four_taps_missing(from + m.tap[i], w, m.position[i] - std::floor(m.position[i]));
    }
}

// The adjoint of read_tile over the whole record: gx += A^T g. gz is scratch; g is overwritten.
template <class T>
void scatter_tile(const TimeMap& m, int64_t samples, int64_t t0, int64_t i0, int64_t i1, const T* g, T* gz) {
  for (int64_t i = i0; i < i1; ++i) {
    if (!m.smooth) {
      gz[t0 + i + m.shift] += g[i];
      continue;
    }
    for (int k = 0; k < 4; ++k)
      gz[std::clamp<int64_t>(m.lo + m.tap[i] + k, 0, samples - 1)] += g[i] * static_cast<T>(m.weights[k][i]);
  }
}

template <class T>
void scatter_pieces(const Vector<Piece>& pieces, int64_t samples, T* gz, T* gx) {
  for (size_t k = 1; k < pieces.size(); ++k)
    if (pieces[k].half > 0)
      for_fade(pieces[k - 1], pieces[k], samples, 0, samples,
               [&](int64_t t, int64_t a, double wa, int64_t b, double wb) {
                 gx[a] += gz[t] * static_cast<T>(wa);
                 gx[b] += gz[t] * static_cast<T>(wb);
                 gz[t] = T(0);
               });
  for (const Piece& q : pieces)
    for (int64_t i = 0; i < q.length; ++i) gx[q.src + i] += gz[q.dst + i];
}

}  // namespace
}  // namespace physioclr::cpu
