// hybrid_contrastive_loss on the CPU: row sums forward, tiles recomputed backward, nothing N x N.
//
// One thread takes one pair of blocks (I, J) of at most 128 rows: h_I h_J^T and S_IJ by register-blocked products
// (gemm.h) into 2 x 64 KB of its own cache, one fused pass over both (contrastive_pairs.h), and backward two more
// products, G h_J and G^T h_I. S, the mask and h h^T are symmetric, so each unordered pair of blocks is visited once.
// Its result goes to the rows of I and of J, so the pairs are taken in the order of a round-robin tournament, in which a
// block meets one other at a time; a thread waits only for the last game of the two blocks it is about to take. No sums
// per thread, no barriers, and the same bits at any number of threads.
//
// Rows are addressed by position: the owned rows first, then the others, each part padded to whole panels of 32.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>
#include <type_traits>
#include <vector>
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "core/contrastive_math.h"
#include "core/interrupt.h"
#include "core/elements.h"
#include "core/threads.h"
#include "cpu/contrastive_pairs.h"
#include "cpu/panels.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

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

template <class T>
struct Problem {
  int64_t n, owned, owned_pad, total, d, f, tile;  // total: positions, padding included
  int team;
  std::vector<int64_t> row_of;                     // position -> row, -1 for padding
  std::vector<double> inv_norm;                    // of the embedding, by position
  std::vector<uint8_t> valid;                      // by position: a row with features that are not all 0
  std::vector<Id<T>> group;                        // by position, dense numbers
  std::vector<int64_t> others;                     // by position: valid rows of other records
  Buffer<T> h, features;                           // panels of the normalised rows
  bool finite = true;

  template <class E>
  Problem(Matrix<const E> anchor, Matrix<const T> feat, const int64_t* g, int64_t begin, int64_t end)
      : n(anchor.rows), owned(end - begin), owned_pad(padded(owned)), total(owned_pad + padded(n - owned)),
        d(anchor.cols), f(feat.cols), tile(total <= 1024 ? kMaxTile / 2 : kMaxTile),
        // below about 0.1 ms of arithmetic a team of threads costs more than it saves
        team(owned_pad * total * (d + f) < 4'000'000 ? 1 : threads()), row_of(total, -1),
        inv_norm(total), valid(total), others(total), h(total * d), features(total * f) {
    for (int64_t p = 0; p < owned; ++p) row_of[p] = begin + p;
    for (int64_t r = 0, p = owned_pad; r < n; ++r)
      if (r < begin || r >= end) row_of[p++] = r;
    int bad = 0;
#pragma omp parallel for num_threads(team) schedule(static) reduction(+ : bad)
    for (int64_t p0 = 0; p0 < total; p0 += kPanel) bad += pack(anchor, feat, p0);
    finite = bad == 0;
    if (finite) number_groups(g);
  }

  template <class E>
  int pack(Matrix<const E> anchor, Matrix<const T> feat, int64_t p0) {
    std::vector<T> buffer;
    int bad = 0;
    T *hp = h.get() + p0 * d, *fp = features.get() + p0 * f;
    for (int64_t q = 0; q < kPanel; ++q) {
      const int64_t row = row_of[p0 + q];
      const T* x = row < 0 ? nullptr : widen(anchor.row(row), d, buffer);
      const double hi = row < 0 ? 0 : inverse_norm(x, d);
      for (int64_t k = 0; k < d; ++k) hp[k * kPanel + q] = row < 0 ? T(0) : static_cast<T>(x[k] * hi);
      const double fi = row < 0 ? 0 : inverse_norm(feat.row(row), f);
      bad += row >= 0 && !(fi > 0) && !all_finite(feat.row(row), f);  // an infinite value makes fi 0, NaN makes it NaN
      for (int64_t k = 0; k < f; ++k)
        fp[k * kPanel + q] = fi > 0 ? static_cast<T>(feat.row(row)[k] * fi) : std::numeric_limits<T>::quiet_NaN();
      inv_norm[p0 + q] = hi;
      valid[p0 + q] = fi > 0;
    }
    return bad;
  }

  void number_groups(const int64_t* g) {
    int64_t all = 0;
    for (int64_t p = 0; p < total; ++p) all += valid[p];
    group.resize(total);
    if (!g) {
      for (int64_t p = 0; p < total; ++p) {
        group[p] = static_cast<Id<T>>(p);
        others[p] = valid[p] ? all - 1 : 0;
      }
      return;
    }
    std::vector<int64_t> ids(g, g + n);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    std::vector<int64_t> size(ids.size() + 1);
    std::fill(group.begin(), group.end(), static_cast<Id<T>>(ids.size()));
    for (int64_t p = 0; p < total; ++p)
      if (row_of[p] >= 0) {
        group[p] = static_cast<Id<T>>(std::lower_bound(ids.begin(), ids.end(), g[row_of[p]]) - ids.begin());
        size[group[p]] += valid[p];
      }
    for (int64_t p = 0; p < total; ++p) others[p] = valid[p] ? all - size[group[p]] : 0;
  }

  // The tile of cosines of blocks i0 and j0 into s and S into f.
  PairTile<T> load(int64_t i0, int64_t ni, int64_t j0, int64_t nj, const ContrastSettings& set, T* s, T* sim) const {
    gemm_panels(h.get() + i0 * d, h.get() + j0 * d, d, ni, nj, s, kMaxTile);
    gemm_panels(features.get() + i0 * f, features.get() + j0 * f, f, ni, nj, sim, kMaxTile);
    return {s, sim, ni, nj, i0 == j0, &group[i0], &group[j0], static_cast<T>(1 / set.tau),
            static_cast<T>(1 / set.tau_s), static_cast<T>(set.delta)};
  }

  // visit(i0, ni, j0, nj, both, s, f): every pair of blocks with an owned block I, once. `both`: J is owned too, and the
  // visit also serves the rows of J.
  template <class Visit>
  void for_each_tile(Visit visit) const {
    const int64_t blocks = (owned_pad + tile - 1) / tile, players = blocks + blocks % 2, games = players / 2;
    const int64_t all = blocks + std::max<int64_t>(players - 1, 0) * games;
    std::vector<Buffer<T>> scratch;
    for (int t = 0; t < team; ++t) scratch.emplace_back(2 * kMaxTile * kMaxTile);
    std::atomic<int64_t> next{0};
    std::vector<std::atomic<int64_t>> played(players);  // games that a block has behind it
    for (auto& p : played) p = 0;
    const auto size = [this](int64_t p0, int64_t end) { return std::min(tile, end - p0); };
    const Interrupt stop;
#pragma omp parallel num_threads(team)
    {
#if defined(_OPENMP)
      T* s = scratch[thread_number()].get();
#else
      T* s = scratch[0].get();
#endif
      T* sim = s + kMaxTile * kMaxTile;
      for (int64_t game = next++; game < all; game = next++) {
        if (game < blocks) {  // a block with itself and with the rows of others
          const int64_t i0 = game * tile, ni = size(i0, owned_pad);
          visit(i0, ni, i0, ni, true, s, sim);
          for (int64_t j0 = owned_pad; j0 < total && !stop(); j0 += tile) visit(i0, ni, j0, size(j0, total), false, s, sim);
          played[game].store(1, std::memory_order_release);
          continue;
        }
        const int64_t round = (game - blocks) / games, k = (game - blocks) % games, m = players - 1;
        int64_t i = k == 0 ? m : (round + k) % m, j = (round - k + m) % m;
        if (i > j) std::swap(i, j);
        // Games are handed out in order, so the ones waited for are already being played by other threads.
        for (const int64_t p : {i, j})
          while (p < blocks && played[p].load(std::memory_order_acquire) <= round) std::this_thread::yield();
        if (j < blocks && !stop()) visit(i * tile, tile, j * tile, size(j * tile, owned_pad), true, s, sim);
        for (const int64_t p : {i, j}) played[p].store(round + 2, std::memory_order_release);
      }
    }
  }
};

// The view cosines of owned row i: t[v] = h . v, inv[v] = 1 / |v|.
template <class T, class E>
void view_cosines(const T* anchor, double inv_norm, const Cube<const E>& views, int64_t i, double* t, double* inv) {
  std::vector<T> buffer;
  for (int64_t v = 0; v < views.records; ++v) {
    double xy, yy;
    dot(anchor, widen(views.lead(v, i), views.samples, buffer), views.samples, &xy, &yy);
    inv[v] = yy > 0 || std::isnan(yy) ? 1 / std::sqrt(yy) : 0;
    t[v] = xy * inv_norm * inv[v];
  }
}

template <class E>
bool compute(const ContrastiveRowsCall<E>& call) {
  using T = ContrastNumber<E>;
  const ContrastBatch<E>& batch = call.batch;
  const ContrastSettings& set = call.settings;
  const int64_t n_views = batch.n_views();
  const Problem<T> pb(batch.anchor, call.features, call.group, batch.begin, batch.end());
  if (!pb.finite) return false;
  const bool safe = needs_maxima<T>(set);
  const int64_t rows = pb.owned_pad;
  std::vector<double> sums(4 * rows, 0.0);
  std::vector<T> shifts(2 * rows, safe ? T(-2) : T(1));  // -2: below every cosine
  const auto at = [&](int64_t p) {
    return RowSums<T>{{&sums[p], &sums[rows + p], &sums[2 * rows + p]}, &sums[3 * rows + p],
                      {&shifts[p], &shifts[rows + p]}};
  };
  pb.for_each_tile([&](int64_t i0, int64_t ni, int64_t j0, int64_t nj, bool both, T* s, T* sim) {
    const PairTile<T> tile = pb.load(i0, ni, j0, nj, set, s, sim);
    const RowSums<T> row = at(i0), col = both ? at(j0) : row;
    tile_sums(tile, set.mode, safe, row, both ? &col : nullptr);
  });

#pragma omp parallel for num_threads(pb.team) schedule(static)
  for (int64_t i = 0; i < pb.owned; ++i) {
    std::vector<double> t(n_views), inv(n_views);
    std::vector<T> buffer;
    view_cosines(widen(batch.anchor.row(batch.begin + i), pb.d, buffer), pb.inv_norm[i], batch.views, i, t.data(),
                 inv.data());
    const double positives = sums[3 * rows + i];
    const double state[kRowState] = {sums[i], sums[rows + i], sums[2 * rows + i], shifts[i], shifts[rows + i], positives,
                                     static_cast<double>(pb.others[i])};
    RowLoss row(state, n_views, set, call.counts + 2 * i);
    for (const double x : t) row.add_view(x);
    row.finish(call.stats + 3 * i);
  }
  return true;
}

template <class T>
bool compute(const ContrastiveFinishCall<T>& call) {
  double sum = 0;
  int64_t used = 0;
  for (int64_t i = 0; i < call.stats.rows; ++i)
    if (counts_row(call.counts + 2 * i, call.n_views, call.mode)) {
      sum += call.stats.row(i)[0] - call.stats.row(i)[1];
      ++used;
    }
  *call.loss = static_cast<T>(used ? sum / used : 0.0);
  *call.skipped = call.stats.rows - used;
  return used > 0;
}

template <class E>
bool compute(const ContrastiveBackwardCall<E>& call) {
  using T = ContrastNumber<E>;
  const ContrastBatch<E>& batch = call.batch;
  const ContrastSettings& set = call.settings;
  const double* const stats = call.stats;
  const int64_t* const counts = call.counts;
  const int64_t n_views = batch.n_views(), begin = batch.begin;
  const Problem<T> pb(batch.anchor, call.features, call.group, begin, batch.end());
  const bool safe = needs_maxima<T>(set);
  const int64_t d = pb.d, columns = (d + kPanel - 1) / kPanel, wide = columns * kPanel;
  int64_t used = 0;
  for (int64_t r = 0; r < pb.n; ++r) used += counts_row(counts + 2 * r, n_views, set.mode);
  const double log_tn = std::log(set.tau * static_cast<double>(std::max<int64_t>(used, 1)));

  std::vector<T> wa(pb.total), wb(pb.total);
  const double none[3] = {};
  const int64_t nobody[2] = {};
  for (int64_t p = 0; p < pb.total; ++p) {
    const int64_t r = pb.row_of[p];
    T w[2];
    row_weights(r < 0 ? none : stats + 3 * r, r < 0 ? nobody : counts + 2 * r, r < 0 ? 0 : n_views, set, log_tn, w);
    wa[p] = w[0];
    wb[p] = w[1];
  }

  // The normalised rows once more, as panels of 32 columns, the operand of the products with G.
  Buffer<T> by_column(pb.total * wide), grad(pb.owned_pad * wide);
#pragma omp parallel for num_threads(pb.team) schedule(static)
  for (int64_t p = 0; p < pb.total; ++p) {
    const T* h = pb.h.get() + p / kPanel * kPanel * d + p % kPanel;
    for (int64_t k = 0; k < wide; ++k)
      by_column.get()[(k / kPanel * pb.total + p) * kPanel + k % kPanel] = k < d ? h[k * kPanel] : T(0);
    if (p < pb.owned_pad) std::fill_n(grad.get() + p * wide, wide, T(0));
  }
  pb.for_each_tile([&](int64_t i0, int64_t ni, int64_t j0, int64_t nj, bool both, T* s, T* sim) {
    const PairTile<T> tile = pb.load(i0, ni, j0, nj, set, s, sim);
    tile_coefficients(tile, set.mode, safe, &wa[i0], &wb[i0], &wa[j0], &wb[j0]);
    for (int64_t q = 0; q < columns; ++q) {
      const T* b = by_column.get() + q * pb.total * kPanel;
      gemm_add(s, kMaxTile, 1, b + j0 * kPanel, nj, ni, grad.get() + i0 * wide + q * kPanel, wide);
      if (both) gemm_add(s, 1, kMaxTile, b + i0 * kPanel, ni, nj, grad.get() + j0 * wide + q * kPanel, wide);
    }
  });

  // The views, and the way back through the normalisation: d(x / |x|) = (g - (g . h) h) / |x|.
#pragma omp parallel for num_threads(pb.team) schedule(static)
  for (int64_t i = 0; i < pb.owned; ++i) {
    std::vector<double> t(n_views), inv(n_views), g(d), h(d);
    std::vector<T> buffer, buffer_view;
    const int64_t r = begin + i;
    const T* x = widen(batch.anchor.row(r), d, buffer);
    view_cosines(x, pb.inv_norm[i], batch.views, i, t.data(), inv.data());
    for (int64_t k = 0; k < d; ++k) {
      h[k] = x[k] * pb.inv_norm[i];
      g[k] = grad.get()[i * wide + k];
    }
    for (int64_t v = 0; v < n_views; ++v) {
      const double q = view_coefficient(t[v], stats + 3 * r, counts + 2 * r, n_views, set, log_tn);
      const T* view = widen(batch.views.lead(v, i), d, buffer_view);
      E* gv = call.grad_views + (v * pb.owned + i) * d;
      for (int64_t k = 0; k < d; ++k) {
        const double u = view[k] * inv[v];
        g[k] += q * u;
        from_compute(static_cast<T>(*call.grad_loss * q * (h[k] - t[v] * u) * inv[v]), gv[k]);
      }
    }
    double along, gg;
    dot(h.data(), g.data(), d, &along, &gg);
    for (int64_t k = 0; k < d; ++k)
      from_compute(static_cast<T>(*call.grad_loss * (g[k] - along * h[k]) * pb.inv_norm[i]), call.grad_anchor[i * d + k]);
  }
  return true;
}

}  // namespace

#define PHYSIOCLR_RUN(name, ...) \
  bool run(const __VA_ARGS__& call) { return compute(call); }
PHYSIOCLR_CONTRASTIVE_HOST_CALLS(PHYSIOCLR_RUN)
PHYSIOCLR_CONTRASTIVE_FINISH_CALLS(PHYSIOCLR_RUN)
#undef PHYSIOCLR_RUN

}  // namespace physioclr::cpu
