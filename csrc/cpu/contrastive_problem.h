#pragma once
// The rows of a contrastive loss as blocks of panels, and the order in which blocks meet (contrastive.cpp says how the
// loss uses them). Rows are addressed by position: the owned rows first, then the others, each part padded to whole
// panels of 32.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "core/contrastive_math.h"
#include "core/elements.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "cpu/contrastive_bf16.h"
#include "cpu/contrastive_pairs.h"
#include "cpu/panels.h"
#include "ops.h"

namespace physioclr::cpu {

// Embeddings come as E, a 16-bit type or T itself, and are widened a row at a time.
template <class T, class E>
const T* widen(const E* x, int64_t n, std::vector<T>& buffer) {
  if constexpr (std::is_same_v<T, E>) {
    return x;
  } else {
    buffer.resize(n);
    for (int64_t k = 0; k < n; ++k) buffer[k] = to_compute(x[k]);
    return buffer.data();
  }
}

// Where the rows lie. half: 0, all owned rows meet all; otherwise the first `half` positions meet the second `half`
// alone (two matrices, each padded to whole tiles). Both meet the others, but only the first half where `one_sided`.
// apart: owned rows meet the others alone.
struct Places {
  int64_t owned_pad = 0, half = 0, tile = kMaxTile;
  bool one_sided = false, apart = false;
  std::vector<int64_t> row_of;  // position -> row, -1 for padding
};

inline int64_t tile_for(int64_t positions) { return positions <= 1024 ? kMaxTile / 2 : kMaxTile; }

// Fills positions from..from + padded(count) - 1 with the rows first.. first + count - 1.
inline void place_rows(Places& at, int64_t first, int64_t count, int64_t whole = kPanel) {
  for (int64_t r = 0; r < count; ++r) at.row_of.push_back(first + r);
  at.row_of.resize((static_cast<int64_t>(at.row_of.size()) + whole - 1) / whole * whole, -1);
}

// What S is made of. kNone: there are no features; kCosine: of the unit features; kDistance: 1 - |f_i - f_j|^2 / 2;
// kJaccard: 1 where sets of labels (features 0 and 1) share at least the part delta of their union, otherwise 0.
enum class PairFeatures { kNone, kCosine, kDistance, kJaccard };

template <class T>
struct Problem : Places {
  int64_t total, d, f;  // total: positions, padding included
  PairFeatures kind;
  int team;
  std::vector<double> inv_norm;  // of the embedding, by position
  std::vector<uint8_t> valid;    // by position: a row that may form pairs
  std::vector<T> half_square;    // by position: |f|^2 / 2 (kDistance), |f|^2 (kJaccard)
  std::vector<Id<T>> group;      // by position, dense numbers; -1: padding
  std::vector<int64_t> others;   // by position: the rows that it forms pairs with, by groups and features alone
  AlignedBuffer<T> h, features;  // panels of the normalised rows
  // bfloat16 rows that are multiplied as they are: then h is empty, `pairs` are panels of pairs of the rows scaled by a
  // power of 2, and unit_scale, by position, makes unit rows of them.
  bool low;
  AlignedBuffer<uint32_t> pairs;
  std::vector<float> unit_scale;
  bool finite = true;

  // row(r): the embedding of row r; record(r): its row of `feat` and of the groups g (null: each record its own), -1
  // for one of no group. labels: rows of one group are pairs too.
  template <class Row, class Record>
  Problem(Places places, int64_t d_, Matrix<const T> feat, PairFeatures kind_, const int64_t* g, bool labels, Row row,
          Record record)
      : Places(std::move(places)),
        total(row_of.size()),
        d(d_),
        f(kind_ == PairFeatures::kNone ? 0 : std::max<int64_t>(feat.cols, 1)),  // one column for the NaN, if need be
        kind(kind_),
        // below about 0.1 ms of arithmetic a team of threads costs more than it saves
        team(brief() ? 1 : threads()),
        inv_norm(total),
        valid(total),
        half_square(kind >= PairFeatures::kDistance ? total : 0),
        others(total),
        h(0),
        features(total * f),
        // of few pairs there is little to gain, and the rounding of their coefficients does not average out
        low(std::is_same_v<decltype(row(0)), const BFloat*> && multiplies_bf16() && !brief()),
        pairs(low ? total * pair_depth() : 0),
        unit_scale(low ? total : 0) {
    if (!low) h = AlignedBuffer<T>(total * d);
    int bad = 0;
    on_team(team, [&] {
      int mine = 0;
#pragma omp for schedule(static)
      for (int64_t p0 = 0; p0 < total; p0 += kPanel) mine += pack(feat, p0, row, record);
#pragma omp atomic
      bad += mine;
    });
    finite = bad == 0;
    if (finite) number_groups(g, feat.rows, labels, record);
  }

  template <class Row, class Record>
  int pack(Matrix<const T> feat, int64_t p0, Row of_row, Record record) {
    std::vector<T> buffer;
    int bad = 0;
    T *hp = low ? nullptr : h.get() + p0 * d, *fp = features.get() + p0 * f;
    for (int64_t q = 0; q < kPanel; ++q) {
      const int64_t row = row_of[p0 + q];
      const T* x = row < 0 ? nullptr : widen(of_row(row), d, buffer);
      const double hi = row < 0 ? 0 : inverse_norm(x, d);
      if (low) pack_pairs(p0 + q, x, hi);
      else
        for (int64_t k = 0; k < d; ++k) hp[k * kPanel + q] = row < 0 ? T(0) : static_cast<T>(x[k] * hi);
      inv_norm[p0 + q] = hi;
      valid[p0 + q] = row >= 0;
      if (kind == PairFeatures::kNone) continue;
      const T* y = row < 0 ? nullptr : feat.row(record(row));
      double fi = row < 0 ? 0 : inverse_norm(y, feat.cols);
      bad += row >= 0 && !(fi > 0) && !all_finite(y, feat.cols);  // an infinite value makes fi 0, NaN makes it NaN
      if (kind >= PairFeatures::kDistance) {
        if (row >= 0)
          half_square[p0 + q] = static_cast<T>(squared_norm(y, feat.cols) / (kind == PairFeatures::kDistance ? 2 : 1));
        fi = row >= 0;
      }
      for (int64_t k = 0; k < f; ++k)
        fp[k * kPanel + q] =
            fi > 0 ? static_cast<T>(k < feat.cols ? y[k] * fi : 0) : std::numeric_limits<T>::quiet_NaN();
      valid[p0 + q] = fi > 0;
    }
    return bad;
  }

  bool brief() const { return owned_pad * total * (d + f) < 4'000'000; }
  int64_t pair_depth() const { return (d + 1) / 2; }

  // Row x (null: padding) of inverse norm hi at position p. Scaled by a power of 2 to a length from 1 to 2 it keeps its
  // bits. An infinite value, of which hi is 0, leaves NaN as it does in a unit row.
  void pack_pairs(int64_t p, const T* x, double hi) {
    const bool usual = hi > 0 && std::isfinite(hi);
    const double scale = usual ? std::exp2(std::floor(std::log2(hi)) + 1) : hi == 0 ? 0 : 1;
    uint32_t* const out = pairs.get() + p / kPanel * kPanel * pair_depth() + p % kPanel;
    for (int64_t k = 0; k < d; k += 2)
      out[k / 2 * kPanel] =
          x ? bf16_pair(static_cast<float>(x[k] * scale), k + 1 < d ? static_cast<float>(x[k + 1] * scale) : 0.0f) : 0;
    unit_scale[p] = static_cast<float>(usual ? hi / scale : hi);
  }
  // Number k of the unit row at position p.
  T unit(int64_t p, int64_t k) const {
    const int64_t panel = p / kPanel * kPanel, q = p % kPanel;
    if (!low) return h.get()[panel * d + k * kPanel + q];
    return bf16_of_pair(pairs.get()[panel * pair_depth() + k / 2 * kPanel + q], k) * unit_scale[p];
  }

  // Numbers k of the rows at positions p, an even one, and p + 1, as they are multiplied.
  uint32_t turned(int64_t p, int64_t k) const {
    const uint32_t* const x = pairs.get() + p / kPanel * kPanel * pair_depth() + k / 2 * kPanel + p % kPanel;
    return k % 2 ? (x[0] >> 16) | (x[1] & 0xffff0000u) : (x[0] & 0xffffu) | (x[1] << 16);
  }

  template <class Record>
  void number_groups(const int64_t* g, int64_t records, bool labels, Record record) {
    std::vector<int64_t> ids;
    if (g) {
      ids.assign(g, g + records);
      std::sort(ids.begin(), ids.end());
      ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    }
    const int64_t groups = g ? ids.size() : records;
    std::vector<int64_t> size(groups + 1);  // the last: of no group
    group.assign(total, Id<T>(-1));
    int64_t all = 0;
    for (int64_t p = 0; p < total; ++p) {
      if (row_of[p] < 0) continue;
      const int64_t k = record(row_of[p]);
      group[p] = static_cast<Id<T>>(k < 0 ? groups
                                    : g   ? std::lower_bound(ids.begin(), ids.end(), g[k]) - ids.begin()
                                          : k);
      if (apart && p < owned_pad) continue;
      size[group[p]] += valid[p];
      all += valid[p];
    }
    const int64_t none = size[groups], side = half ? 2 : 1;  // both halves have the same groups
    for (int64_t p = 0; p < total; ++p)
      if (valid[p]) others[p] = labels ? all - !apart : (all - none - size[group[p]]) / side + none;
  }

  // The tile of cosines of blocks i0 and j0 into s (made: they are there) and S into f. ahead: what is read next.
  PairTile<T> load(int64_t i0, int64_t ni, int64_t j0, int64_t nj, const ContrastSettings& set, T* s, T* sim,
                   const Ahead& ahead, bool made = false) const {
    if (!made) cosines(i0, ni, j0, nj, s, ahead);
    if (kind != PairFeatures::kNone)
      gemm_panels(features.get() + i0 * f, features.get() + j0 * f, f, ni, nj, sim, kMaxTile);
    if (kind == PairFeatures::kDistance)
      for (int64_t r = 0; r < ni; ++r)
        for (int64_t c = 0; c < nj; ++c) {
          const T x = T(1) + (sim[r * kMaxTile + c] - half_square[i0 + r] - half_square[j0 + c]);
          sim[r * kMaxTile + c] = x > T(1) ? T(1) : x;  // NaN stays
        }
    if (kind == PairFeatures::kJaccard)
      for (int64_t r = 0; r < ni; ++r)
        for (int64_t c = 0; c < nj; ++c) {
          const double both = sim[r * kMaxTile + c], either = double(half_square[i0 + r]) + half_square[j0 + c] - both;
          if (both == both) sim[r * kMaxTile + c] = either > 0 && both / either >= set.delta ? T(1) : T(0);
        }
    return {s,
            sim,
            ni,
            nj,
            i0 == j0,
            &group[i0],
            &group[j0],
            static_cast<T>(first_scale(set)),
            static_cast<T>(second_scale(set)),
            static_cast<T>(kind == PairFeatures::kJaccard ? 0.5 : set.delta)};
  }

  void cosines(int64_t i0, int64_t ni, int64_t j0, int64_t nj, T* s, const Ahead& ahead) const {
    if constexpr (std::is_same_v<T, float>) {
      if (low) {
        const int64_t k = pair_depth();
        return bf16_panels(pairs.get() + i0 * k, pairs.get() + j0 * k, k, ni, nj, &unit_scale[i0], &unit_scale[j0], s,
                           kMaxTile, ahead);
      }
    }
    gemm_panels(h.get() + i0 * d, h.get() + j0 * d, d, ni, nj, s, kMaxTile, ahead);
  }
  // The rows of the blocks at two positions, one of which may lie past the end: of the tile that comes next.
  Ahead rows_ahead(int64_t i0, int64_t j0) const {
    const int64_t row = low ? pair_depth() * 4 : d * static_cast<int64_t>(sizeof(T));
    const char* const rows = low ? reinterpret_cast<const char*>(pairs.get()) : reinterpret_cast<const char*>(h.get());
    const auto bytes = [&](int64_t p0) { return std::max<int64_t>(std::min(tile, total - p0), 0) * row; };
    return {rows + std::min(i0, total) * row, bytes(i0), rows + std::min(j0, total) * row, bytes(j0)};
  }

  // visit(i0, ni, j0, nj, both, s, f, ahead): every pair of blocks with an owned block I, once. `both`: J is owned too,
  // and the visit also serves the rows of J. ahead: the rows that this thread will probably meet next.
  template <class Visit>
  void for_each_tile(Visit visit) const {
    const int64_t blocks = (owned_pad + tile - 1) / tile, players = blocks + blocks % 2, side = half / tile;
    const int64_t games = half ? side : players / 2;
    const int64_t rounds = apart ? 0 : half ? side : std::max<int64_t>(players - 1, 0);
    const int64_t all = blocks + rounds * games;
    std::vector<AlignedBuffer<T>> scratch;
    for (int t = 0; t < team; ++t) scratch.emplace_back(2 * kMaxTile * kMaxTile);
    std::atomic<int64_t> next{0};
    std::vector<std::atomic<int64_t>> played(players);  // games that a block has behind it
    for (auto& p : played) p = 0;
    const auto size = [this](int64_t p0, int64_t end) { return std::min(tile, end - p0); };
    const auto pair_of = [&](int64_t game) {
      const int64_t round = (game - blocks) / games, k = (game - blocks) % games, m = players - 1;
      const int64_t i = half ? k : k == 0 ? m : (round + k) % m;
      const int64_t j = half ? side + (round + k) % side : (round - k + m) % m;
      return std::pair<int64_t, int64_t>(std::min(i, j), std::max(i, j));
    };
    const Interrupt stop;
    on_team(team, [&] {
#if defined(_OPENMP)
      T* s = scratch[thread_number()].get();
#else
      T* s = scratch[0].get();
#endif
      T* sim = s + kMaxTile * kMaxTile;
      for (int64_t game = next++; game < all; game = next++) {
        if (game < blocks) {  // a block with the rows of others, then with itself
          const int64_t i0 = game * tile, ni = size(i0, owned_pad);
          if (!one_sided || i0 < half)
            for (int64_t j0 = owned_pad; j0 < total && !stop(); j0 += tile)
              visit(i0, ni, j0, size(j0, total), false, s, sim, rows_ahead(i0, j0 + tile));
          if (!half && !apart) visit(i0, ni, i0, ni, true, s, sim, Ahead{});
          played[game].store(1, std::memory_order_release);
          continue;
        }
        const int64_t round = (game - blocks) / games;
        const auto [i, j] = pair_of(game);
        const auto [i1, j1] = pair_of(std::min(game + team, all - 1));
        // Games are handed out in order, so the ones waited for are already being played by other threads.
        for (const int64_t p : {i, j})
          while (p < blocks && played[p].load(std::memory_order_acquire) <= round) std::this_thread::yield();
        if (j < blocks && !stop())
          visit(i * tile, tile, j * tile, size(j * tile, owned_pad), true, s, sim, rows_ahead(i1 * tile, j1 * tile));
        for (const int64_t p : {i, j}) played[p].store(round + 2, std::memory_order_release);
      }
    });
  }
};

}  // namespace physioclr::cpu
