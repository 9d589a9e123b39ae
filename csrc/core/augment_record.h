#pragma once
// The time map of one record, made once per record and view: where its R peaks are, which pieces the beat shuffle put
// where, the corners of rr_scale, and where the R peaks end up. The CPU makes it with one thread, a GPU with a warp.
#include <cstdint>

#include "core/augment_math.h"
#include "core/time_map.h"

namespace physioclr {

// A stretch of the shuffled record that reads a stretch of the input: z[dst + i] = x[src + i]. `half` > 0: its start is
// blended with the continuation of the piece before it over half samples on either side.
struct Piece {
  int64_t dst, src, length, half;
};

// The threads that work on one record: `size` of them, each with a rank; sync() is their barrier.
struct OneThread {
  static constexpr int rank = 0, size = 1;
  PHYSIOCLR_HD void sync() const {}
};

// Its arrays are the caller's and hold `beats` R peaks: pieces beats + 1, corners kCornersPerBeat beats, the others
// beats.
struct RecordMap {
  Piece* pieces;
  Corner* corners;         // of rr_scale
  int32_t *peaks, *order;  // peaks: at first those of the input, in the end those of the output
  double* at;
  int64_t n_peaks, n_pieces, n_corners;
  int64_t begin, end, shift;  // output samples begin .. end read u = t + shift; the others are padding
  bool smooth;                // reads between samples
};

// out = the R peaks r[0 .. beats) that lie in [start, start + samples), counted from start; returns how many. Stops at
// the first that is not above the one before it (-1 after the last, or an invalid index).
PHYSIOCLR_HD int64_t take_peaks(const int32_t* r, int64_t beats, int64_t start, int64_t samples, int32_t* out) {
  int64_t n = 0, before = -1;
  for (int64_t k = 0; k < beats && r[k] > before && r[k] < start + samples; ++k) {
    before = r[k];
    if (before >= start) out[n++] = static_cast<int32_t>(before - start);
  }
  return n;
}

// Cuts at the beats, draws their order, and lays the pieces out; moves the peaks. One thread.
PHYSIOCLR_HD void shuffle_pieces(const RecordParams& p, const Draws& draws, double fs, int64_t samples, RecordMap& m) {
  const int64_t n = m.n_peaks, widest = p.tp ? to_samples(kCrossFade / 2, fs) : 0;
  // Cuts look at the peaks as they were: keep those, and write the moved ones from the copy.
  for (int64_t k = 0; k < n; ++k) m.at[k] = m.peaks[k];
  auto cut = [&](int64_t k) -> int64_t {
    const auto r = static_cast<int64_t>(m.at[k]);
    if (!p.tp) return r;
    const double rr = k > 0 ? m.at[k] - m.at[k - 1] : m.at[1] - m.at[0];
    return r - static_cast<int64_t>(floor(kCutBefore * rr + 0.5));
  };
  const int64_t first = cut(0) < 0, segments = n - 1 - first;
  draw_order(draws, m.order, segments);
  m.pieces[0] = Piece{0, 0, cut(first), 0};
  m.n_pieces = 1;
  for (int64_t i = 0; i <= segments; ++i) {
    const int64_t k = i < segments ? first + m.order[i] : n - 1, from = cut(k),
                  to = i < segments ? cut(k + 1) : samples;
    const Piece last = m.pieces[m.n_pieces - 1];
    int64_t half = last.src + last.length == from ? 0 : widest;  // joined as in the input: nothing to blend
    half = half < last.length / 2 ? half : last.length / 2;
    half = half < (to - from) / 2 ? half : (to - from) / 2;
    const Piece piece{last.dst + last.length, from, to - from, half};
    m.pieces[m.n_pieces++] = piece;
    if (i < segments) m.peaks[first + i] = static_cast<int32_t>(piece.dst + static_cast<int64_t>(m.at[k]) - from);
  }
}

// Everything of the map from the parameters and the R peaks of the input, m.peaks[0 .. m.n_peaks). All threads call it;
// m and its arrays are common to them. The last lines of the work are visible after the next sync.
template <class Team>
PHYSIOCLR_HD void build_map(Team team, const RecordParams& p, const Draws& draws, double fs, int64_t samples,
                            RecordMap& m) {
  const int64_t n = m.n_peaks;
  const bool scales = p.rr_factor != 1 && n >= 2;
  if (team.rank == 0) {
    m.pieces[0] = Piece{0, 0, samples, 0};
    m.n_pieces = 1;
    if (p.shuffle && n >= 3) shuffle_pieces(p, draws, fs, samples, m);
    m.n_corners = scales ? kCornersPerBeat * (n - 1) : 0;
    m.smooth = p.warped || scales;
    m.shift = p.from - p.place;
    m.begin = p.place;
    m.end = p.place + p.window;
  }
  team.sync();
  if (scales) {
    const double root = cube_root(p.rr_factor);
    for (int64_t k = team.rank; k + 1 < n; k += team.size)
      rr_parts(m.peaks[k], m.peaks[k + 1], p.rr_factor, root, fs, m.corners + kCornersPerBeat * k);
  }
  team.sync();
  if (team.rank == 0) {
    for (int64_t k = 0; k < n; ++k) m.at[k] = m.peaks[k];
    for (int64_t k = 0; scales && k + 1 < n; ++k)
      m.at[k + 1] = rr_corners(m.peaks[k], m.peaks[k + 1], m.at[k], fs, m.corners + kCornersPerBeat * k);
  }
  team.sync();
  for (int64_t k = team.rank; k < n; k += team.size) {
    double at = m.at[k];
    if (p.warped) at = at > static_cast<double>(samples - 1) ? -1e18 : unwarp_position(p, at, samples);
    m.at[k] = floor(at + 0.5) - static_cast<double>(m.shift);
  }
  team.sync();
  if (team.rank == 0) {
    int64_t kept = 0;
    for (int64_t k = 0; k < n; ++k) {
      const double t = m.at[k];
      if (t < static_cast<double>(m.begin) || t >= static_cast<double>(m.end)) continue;
      if (kept == 0 || t > m.peaks[kept - 1]) m.peaks[kept++] = static_cast<int32_t>(t);
    }
    m.n_peaks = kept;
  }
}

}  // namespace physioclr
