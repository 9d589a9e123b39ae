#pragma once
// The two passes of a contrastive loss over the tiles of a Problem: the sums of its rows, and the gradient.
#include "cpu/contrastive_problem.h"

namespace physioclr::cpu {

// Tiles of cosines that the sums leave for the gradient, as many as fit in a constant, not N x N; none where they would
// be less than a quarter of all, for then they cost more memory than they are worth. The bits are the same with or
// without.
constexpr int64_t kKeptBytes = int64_t{4} << 20;

template <class T>
class KeptTiles {
 public:
  explicit KeptTiles(const Problem<T>& pb)
      : tile_(pb.tile),
        owned_(pb.owned_pad),
        owned_blocks_((owned_ + tile_ - 1) / tile_),
        blocks_(owned_blocks_ + (pb.total - owned_ + tile_ - 1) / tile_) {
    const int64_t size = tile_ * kMaxTile;
    const int64_t side = pb.half / tile_, others = blocks_ - owned_blocks_;
    const int64_t all = pb.half ? side * side + (pb.one_sided ? 1 : 2) * side * others
                                : owned_blocks_ * (owned_blocks_ + 1) / 2 + owned_blocks_ * others;
    const int64_t fit = kKeptBytes / static_cast<int64_t>(size * sizeof(T));
    most_ = 4 * fit < all ? 0 : std::min(fit, all);
    tiles_ = AlignedBuffer<T>(most_ * size);
    slot_.assign(most_ ? blocks_ * blocks_ : 0, -1);
  }
  // Where the cosines of a tile go when they are first made: a place that is kept, or the scratch.
  T* put(int64_t i0, int64_t j0, T* scratch) {
    const int64_t slot = next_.fetch_add(1, std::memory_order_relaxed);
    if (slot >= most_) return scratch;
    slot_[block(i0) * blocks_ + block(j0)] = static_cast<int32_t>(slot);
    return tiles_.get() + slot * tile_ * kMaxTile;
  }
  T* get(int64_t i0, int64_t j0) const {  // null: not kept
    if (!most_) return nullptr;
    const int64_t slot = slot_[block(i0) * blocks_ + block(j0)];
    return slot < 0 ? nullptr : tiles_.get() + slot * tile_ * kMaxTile;
  }

 private:
  int64_t block(int64_t p) const { return p < owned_ ? p / tile_ : owned_blocks_ + (p - owned_) / tile_; }

  int64_t tile_, owned_, owned_blocks_, blocks_, most_ = 0;
  AlignedBuffer<T> tiles_{0};
  std::vector<int32_t> slot_;
  std::atomic<int64_t> next_{0};
};

// The sums of the owned rows.
template <class T>
struct OwnedSums {
  int64_t rows;
  bool safe;
  std::vector<double> sums, measures;  // measures: RowMeasures, empty where nobody asks
  std::vector<T> shifts;

  // outside: the measures are of the pairs with rows that are not owned too.
  OwnedSums(const Problem<T>& pb, const ContrastSettings& set, bool measure, bool outside)
      : rows(pb.owned_pad),
        safe(needs_maxima<T>(set)),
        sums(4 * rows, 0.0),
        measures(measure ? 4 * rows : 0, 0.0),
        shifts(2 * rows, safe ? T(-2) : T(1)),  // -2: below every cosine
        outside_(outside),
        mode_(set.mode) {}

  void add_all(const Problem<T>& pb, const ContrastSettings& set, KeptTiles<T>* kept = nullptr) {
    pb.for_each_tile([&](int64_t i0, int64_t ni, int64_t j0, int64_t nj, bool both, T* s, T* sim, const Ahead& ahead) {
      add(pb.load(i0, ni, j0, nj, set, kept ? kept->put(i0, j0, s) : s, sim, ahead), i0, j0, both);
    });
  }
  // The pairs of a tile, of rows i0.. and, if both, of rows j0.. too; owned: j0.. are owned rows.
  void add(const PairTile<T>& tile, int64_t i0, int64_t j0, bool both, bool owned = false) {
    const RowSums<T> row = at(i0), col = both ? at(j0) : row;
    tile_sums(tile, mode_, safe, row, both ? &col : nullptr);
    if (measures.empty() || !(both || owned || outside_)) return;
    const RowMeasures mine = measures_at(i0), theirs = measures_at(both ? j0 : i0);
    tile_measures(tile, mode_, mine, both ? &theirs : nullptr);
  }
  RowSums<T> at(int64_t p) {
    return {{&sums[p], &sums[rows + p], &sums[2 * rows + p]}, &sums[3 * rows + p], {&shifts[p], &shifts[rows + p]}};
  }
  RowMeasures measures_at(int64_t p) {
    return {&measures[p], &measures[rows + p], &measures[2 * rows + p], &measures[3 * rows + p]};
  }
  // As RowLoss takes it.
  void state(const Problem<T>& pb, int64_t p, double* out) const {
    for (int q = 0; q < 3; ++q) out[q] = sums[q * rows + p];
    for (int q = 0; q < 2; ++q) out[3 + q] = shifts[q * rows + p];
    out[5] = sums[3 * rows + p];
    out[6] = static_cast<double>(pb.others[p]);
  }
  // As ContrastiveLossCall::measures says, from the state, the number of views and the sum of their cosines.
  void measure(int64_t p, const double* state, int64_t n_views, double cosines, const ContrastSettings& set,
               double* out) const {
    const bool labels = set.mode == Contrast::kSupcon || set.mode == Contrast::kLabels;
    const double views = static_cast<double>(n_views), pairs = state[5], positives = views + pairs;
    double weight = pairs, square = pairs;  // of the targets of the pairs; a view's is 1
    if (set.mode == Contrast::kSoft) {
      weight = measures[rows + p];
      square = measures[2 * rows + p];
    } else if (set.mode == Contrast::kRatio && set.mean_pairs && pairs > 0) {
      weight = 1;
      square = 1 / pairs;
    }
    out[0] = (views + weight) * (views + weight) / std::max(views + square, 1e-300);
    out[1] = positives > 0 ? 2 - 2 * ((labels ? state[2] : measures[3 * rows + p]) + cosines) / positives : 0;
    out[2] = measures[p];
  }

 private:
  bool outside_;
  Contrast mode_;
};

// Rows of `wide` numbers by position, a panel of them at a time: in the results themselves where these take them as
// they are, so that a batch's gradient is held once, and in a buffer otherwise.
template <class T>
class GradientRows {
 public:
  // result(r): where row r goes, or null; the rows of consecutive positions lie one behind the other there.
  template <class Result>
  GradientRows(const Problem<T>& pb, int64_t wide, Result result) : wide_(wide), panels_(pb.owned_pad / kPanel) {
    const auto whole = [&pb](int64_t q) {
      return pb.row_of[q * kPanel] >= 0 && pb.row_of[q * kPanel + kPanel - 1] >= 0;
    };
    int64_t own = 0;
    for (size_t q = 0; q < panels_.size(); ++q) {
      panels_[q] = whole(q) && wide == pb.d ? result(pb.row_of[q * kPanel]) : nullptr;
      own += panels_[q] == nullptr;
    }
    buffer_ = AlignedBuffer<T>(own * kPanel * wide);
    T* next = buffer_.get();
    for (T*& panel : panels_)
      if (!panel) {
        panel = next;
        next += kPanel * wide;
      }
  }
  T* row(int64_t p) const { return panels_[p / kPanel] + p % kPanel * wide_; }

 private:
  int64_t wide_;
  std::vector<T*> panels_;
  AlignedBuffer<T> buffer_{0};
};

// sum_j G_ij h_j of the owned rows, once every row has its weights.
template <class T>
struct OwnedGradient {
  int64_t wide;
  double log_tn;
  GradientRows<T> grad;
  std::vector<double> outside;  // by position: sum of G_ij s_ij over the rows that are not owned

  // used: the rows that count. result: as GradientRows takes it.
  template <class Result>
  OwnedGradient(const Problem<T>& pb, const ContrastSettings& set, int64_t used, Result result)
      : wide(padded(pb.d)),
        log_tn(std::log(set.tau * static_cast<double>(std::max<int64_t>(used, 1)))),
        grad(pb, wide, result),
        outside(pb.owned_pad),
        pb_(pb),
        set_(set),
        safe_(needs_maxima<T>(set)),
        wa_(pb.total),
        wb_(pb.total),
        by_column_(pb.low ? 0 : pb.total * wide),
        pairs_by_column_(pb.low ? pb.total / 2 * wide : 0) {
    const double none[3] = {};
    const int64_t nobody[2] = {-1, 0};
    for (int64_t p = 0; p < pb.total; ++p) weigh(p, none, nobody, 0);
    // The rows once more, each block as panels of 32 columns, the operand of the products with G.
    on_team(pb.team, [&] {
#pragma omp for schedule(static)
      for (int64_t panel = 0; panel < pb.total; panel += kPanel) {
        const bool owned = panel < pb.owned_pad;
        const int64_t from = owned ? 0 : pb.owned_pad, end = owned ? pb.owned_pad : pb.total;
        const int64_t p0 = from + (panel - from) / pb.tile * pb.tile, n = std::min(pb.tile, end - p0);  // its block
        if (pb.low) turn_pairs(panel, p0, n);
        for (int64_t p = panel; p < panel + kPanel; ++p) {
          for (int64_t k = 0; k < wide && !pb.low; ++k)
            column(k / kPanel, p0, n)[(p - p0) * kPanel + k % kPanel] = k < pb.d ? pb.unit(p, k) : T(0);
          if (owned) std::fill_n(grad.row(p), wide, T(0));
        }
      }
    });
  }

  void weigh(int64_t p, const double* stats, const int64_t* counts, int64_t n_views) {
    T w[2];
    row_weights(stats, counts, n_views, set_, log_tn, w);
    wa_[p] = w[0];
    wb_[p] = w[1];
  }
  // Of rows 0.. rows - 1.
  void weigh_all(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views) {
    for (int64_t p = 0; p < pb_.total; ++p)
      if (const int64_t r = pb_.row_of[p]; r >= 0 && r < rows) weigh(p, stats + 3 * r, counts + 2 * r, n_views);
  }
  void add_all(const KeptTiles<T>* kept = nullptr) {
    pb_.for_each_tile([&](int64_t i0, int64_t ni, int64_t j0, int64_t nj, bool both, T* s, T* sim, const Ahead& ahead) {
      T* const made = kept ? kept->get(i0, j0) : nullptr;
      coefficients(pb_.load(i0, ni, j0, nj, set_, made ? made : s, sim, side_ahead(j0, nj, i0, ni), made != nullptr),
                   i0, j0);
      to_rows(made ? made : s, i0, ni, j0, nj, both ? side_ahead(i0, ni, j0, nj) : ahead);
      if (both) to_columns(made ? made : s, i0, ni, j0, nj, ahead);
      else leave_outside(i0, ni);  // these come first, so the last of them leaves what they gave together
    });
  }

  void coefficients(const PairTile<T>& tile, int64_t i0, int64_t j0) const {
    tile_coefficients(tile, set_.mode, safe_, &wa_[i0], &wb_[i0], &wa_[j0], &wb_[j0]);
  }
  // To the gradient of rows i0.., of columns j0..; ahead: what is read after this.
  void to_rows(const T* g, int64_t i0, int64_t ni, int64_t j0, int64_t nj, const Ahead& ahead) const {
    add_product(g, false, j0, nj, i0, ni, ahead);
  }
  void to_columns(const T* g, int64_t i0, int64_t ni, int64_t j0, int64_t nj, const Ahead& ahead) const {
    add_product(g, true, i0, ni, j0, nj, ahead);
  }
  // What the next product reads, of the rows from k0 on, and adds to, the gradient of the rows from p0 on.
  Ahead side_ahead(int64_t k0, int64_t nk, int64_t p0, int64_t np) const {
    const Ahead rows = operand_ahead(k0, nk);
    return {rows.first, rows.first_bytes, grad.row(p0), np * wide * static_cast<int64_t>(sizeof(T))};
  }
  Ahead operand_ahead(int64_t k0, int64_t nk) const {
    if (pb_.low) return {pairs_by_column_.get() + k0 / 2 * wide, nk * wide * 2};
    return {by_column_.get() + k0 * wide, nk * wide * static_cast<int64_t>(sizeof(T))};
  }
  void leave_outside(int64_t i0, int64_t ni) {
    for (int64_t p = i0; p < i0 + ni; ++p) outside[p] = along(p);
  }
  double along(int64_t p) const {  // h . grad = sum of G_ij s_ij
    double sum = 0;
    for (int64_t k = 0; k < pb_.d; ++k) sum += static_cast<double>(pb_.unit(p, k)) * grad.row(p)[k];
    return sum;
  }

 private:
  // Columns 32 q.. of the block of n rows from p0 on.
  T* column(int64_t q, int64_t p0, int64_t n) const { return by_column_.get() + p0 * wide + q * n * kPanel; }
  uint32_t* pair_column(int64_t q, int64_t p0, int64_t n) const {
    return pairs_by_column_.get() + (p0 * wide + q * n * kPanel) / 2;
  }
  void turn_pairs(int64_t panel, int64_t p0, int64_t n) const {  // of 32 rows, from neighbours in a row to in a column
    for (int64_t k = 0; k < wide; ++k)
      for (int64_t p = panel; p < panel + kPanel; p += 2)
        pair_column(k / kPanel, p0, n)[(p - p0) / 2 * kPanel + k % kPanel] = k < pb_.d ? pb_.turned(p, k) : 0;
  }
  // sum_k G_pk h_k of rows k0.. to the gradient of rows p0..; columns: G is given as G_kp.
  void add_product(const T* g, bool columns, int64_t k0, int64_t nk, int64_t p0, int64_t np, const Ahead& ahead) const {
    if constexpr (std::is_same_v<T, float>)
      if (pb_.low) return add_low_product(g, columns, k0, nk, p0, np, ahead);
    const int64_t rs = columns ? 1 : kMaxTile, ks = columns ? kMaxTile : 1;
    int64_t fetched = 0;
    for (int64_t q = 0; q < wide / kPanel; ++q)
      for (int64_t p = 0; p < np; p += kPanel, fetched += fetched_ahead<T>(nk))
        gemm_add(g + p * rs, rs, ks, column(q, k0, nk), nk, kPanel, grad.row(p0 + p) + q * kPanel, wide,
                 ahead.at(fetched));
  }
  void add_low_product(const float* g, bool columns, int64_t k0, int64_t nk, int64_t p0, int64_t np,
                       const Ahead& ahead) const {
    alignas(64) uint32_t made[kMaxTile * kMaxTile / 2];
    const float* const scale = &pb_.unit_scale[k0];
    if (columns) bf16_pairs_along_columns(g, kMaxTile, nk, np, scale, made);
    else bf16_pairs_along_rows(g, kMaxTile, np, nk, scale, made);
    const int64_t rs = columns ? 1 : nk / 2, ks = columns ? np : 1;
    int64_t fetched = 0;
    for (int64_t q = 0; q < wide / kPanel; ++q)
      for (int64_t p = 0; p < np; p += kPanel, fetched += bf16_fetched_ahead(nk / 2))
        bf16_add(made + p * rs, rs, ks, pair_column(q, k0, nk), nk / 2, grad.row(p0 + p) + q * kPanel, wide,
                 ahead.at(fetched));
  }

  const Problem<T>& pb_;
  ContrastSettings set_;
  bool safe_;
  std::vector<T> wa_, wb_;
  AlignedBuffer<T> by_column_;
  AlignedBuffer<uint32_t> pairs_by_column_;
};

inline int64_t rows_that_count(const int64_t* counts, int64_t rows, int64_t n_views, Contrast mode) {
  int64_t used = 0;
  for (int64_t r = 0; r < rows; ++r) used += counts_row(counts + 2 * r, n_views, mode);
  return used;
}

// Sums and gradient in one pass over the tiles, where the first half of the rows alone are anchors and what they weigh
// is known without their sums over others: a block of anchors that has met everybody is told its loss, and its cosines,
// kept for so long, give the gradient. A product less than two passes, in memory of `kMaxTile` rows of cosines a
// thread. The columns' sums are added up in the order of the blocks. tell(p): makes statistics and weights of position
// p.
template <class T, class Tell>
void one_sided_pass(const Problem<T>& pb, const ContrastSettings& set, OwnedSums<T>& sums, OwnedGradient<T>& grad,
                    Tell tell) {
  const int64_t tile = pb.tile, blocks = pb.half / tile, others = pb.total - pb.owned_pad;
  const int64_t met = (others + tile - 1) / tile + blocks, size = kMaxTile * tile;  // the others first
  const int64_t team = std::min<int64_t>(pb.team, blocks);
  std::vector<AlignedBuffer<T>> strips;
  for (int64_t t = 0; t < team; ++t) strips.emplace_back(met * size);
  std::vector<std::atomic<int64_t>> served(blocks);  // blocks of anchors that a block of columns has behind it
  for (auto& x : served) x = 0;
  std::atomic<int64_t> next{0};
  const Interrupt stop;
  on_team(static_cast<int>(team), [&] {
#if defined(_OPENMP)
    T* const strip = strips[thread_number()].get();
#else
    T* const strip = strips[0].get();
#endif
    const auto place = [&](int64_t m) {
      return m < met - blocks ? pb.owned_pad + m * tile : pb.half + (m - met + blocks) * tile;
    };
    const auto width = [&](int64_t m) { return m < met - blocks ? std::min(tile, pb.total - place(m)) : tile; };
    const auto next_ahead = [&](int64_t m) {  // kept cosines, and the rows that the next product reads
      if (m + 1 == met) return Ahead{};
      const Ahead rows = grad.operand_ahead(place(m + 1), width(m + 1));
      return Ahead{strip + (m + 1) * size, size * static_cast<int64_t>(sizeof(T)), rows.first, rows.first_bytes};
    };
    for (int64_t i = next++; i < blocks; i = next++) {
      const int64_t i0 = i * tile;
      const bool stopped = stop();
      for (int64_t m = 0; m < met && !stopped; ++m)
        sums.add(pb.load(i0, tile, place(m), width(m), set, strip + m * size, nullptr,
                         pb.rows_ahead(pb.total, place(m + 1))),
                 i0, place(m), false, m >= met - blocks);
      for (int64_t p = i0; p < i0 + tile && !stopped; ++p) tell(p);
      for (int64_t m = 0; m < met; ++m) {
        T* const s = strip + m * size;
        const int64_t j0 = place(m), nj = width(m), j = m - (met - blocks);
        if (!stopped) {
          grad.coefficients(pb.load(i0, tile, j0, nj, set, s, nullptr, {}, true), i0, j0);
          grad.to_rows(s, i0, tile, j0, nj, j < 0 ? next_ahead(m) : grad.side_ahead(i0, tile, j0, nj));
          if (j == -1) grad.leave_outside(i0, tile);
        }
        if (j < 0) continue;
        while (served[j].load(std::memory_order_acquire) < i) std::this_thread::yield();
        if (!stopped) grad.to_columns(s, i0, tile, j0, nj, next_ahead(m));
        served[j].store(i + 1, std::memory_order_release);
      }
    }
  });
}

}  // namespace physioclr::cpu
