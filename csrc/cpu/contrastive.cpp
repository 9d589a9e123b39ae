// hybrid_contrastive_loss on the CPU: row sums forward, tiles recomputed backward, nothing N x N.
//
// One thread takes one pair of blocks (I, J) of at most 128 rows: h_I h_J^T and S_IJ by register-blocked products
// (gemm.h) into 2 x 64 KB of its own cache, one fused pass over both (contrastive_pairs.h), and backward two more
// products, G h_J and G^T h_I. S, the mask and h h^T are symmetric, so each unordered pair of blocks is visited once.
// Its result goes to the rows of I and of J, so the pairs are taken in the order of a round-robin tournament, in which
// a block meets one other at a time; a thread waits only for the last game of the two blocks it is about to take. No
// sums per thread, no barriers, and the same bits at any number of threads.
#include "cpu/contrastive_passes.h"

namespace physioclr::cpu {
namespace {

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
Problem<ContrastNumber<E>> problem(const ContrastBatch<E>& batch, Matrix<const ContrastNumber<E>> features,
                                   const int64_t* group) {
  Places at;
  place_rows(at, batch.begin, batch.owned());
  at.owned_pad = at.row_of.size();
  for (int64_t r = 0; r < batch.anchor.rows; ++r)
    if (r < batch.begin || r >= batch.end()) at.row_of.push_back(r);
  at.row_of.resize(padded(at.row_of.size()), -1);
  at.tile = tile_for(at.row_of.size());
  return Problem<ContrastNumber<E>>(
      std::move(at), batch.anchor.cols, features, PairFeatures::kCosine, group, false,
      [&](int64_t r) { return batch.anchor.row(r); }, [](int64_t r) { return r; });
}

template <class E>
bool compute(const ContrastiveRowsCall<E>& call) {
  using T = ContrastNumber<E>;
  const ContrastBatch<E>& batch = call.batch;
  const ContrastSettings& set = call.settings;
  const int64_t n_views = batch.n_views();
  const auto pb = problem(batch, call.features, call.group);
  if (!pb.finite) return false;
  OwnedSums<T> sums(pb, set, call.measures != nullptr, true);
  sums.add_all(pb, set);
  on_team(pb.team, [&] {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < batch.owned(); ++i) {
      std::vector<double> t(n_views), inv(n_views);
      std::vector<T> buffer;
      view_cosines(widen(batch.anchor.row(batch.begin + i), pb.d, buffer), pb.inv_norm[i], batch.views, i, t.data(),
                   inv.data());
      double state[kRowState];
      sums.state(pb, i, state);
      RowLoss row(state, n_views, set, call.counts + 2 * i);
      double cosines = 0;
      for (const double x : t) {
        row.add_view(x);
        cosines += x;
      }
      row.finish(call.stats + 3 * i);
      if (call.measures) sums.measure(i, state, n_views, cosines, set, call.measures + 3 * i);
    }
  });
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

// dL / dtau: L depends on cosines s through s / tau alone, so tau dL / dtau = - sum of s dL / ds, whose parts are
// given.
double slope_by_tau(const std::vector<double>& parts, double grad_loss, const ContrastSettings& set) {
  double sum = 0;
  for (const double x : parts) sum += x;
  return -grad_loss * sum / set.tau;
}

template <class E>
bool compute(const ContrastiveBackwardCall<E>& call) {
  using T = ContrastNumber<E>;
  const ContrastBatch<E>& batch = call.batch;
  const ContrastSettings& set = call.settings;
  const double* const stats = call.stats;
  const int64_t* const counts = call.counts;
  const int64_t n_views = batch.n_views(), begin = batch.begin;
  const auto pb = problem(batch, call.features, call.group);
  const int64_t d = pb.d;
  const auto result = [&](int64_t r) -> T* {
    if constexpr (std::is_same_v<T, E>) return call.grad_anchor + (r - begin) * d;
    else return nullptr;
  };
  OwnedGradient<T> grad(pb, set, rows_that_count(counts, batch.anchor.rows, n_views, set.mode), result);
  grad.weigh_all(stats, counts, batch.anchor.rows, n_views);
  grad.add_all();
  std::vector<double> slopes(batch.owned());  // of L by 1 / tau, times tau

  // The views, and the way back through the normalisation: d(x / |x|) = (g - (g . h) h) / |x|.
  on_team(pb.team, [&] {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < batch.owned(); ++i) {
      std::vector<double> t(n_views), inv(n_views), g(d), h(d);
      std::vector<T> buffer, buffer_view;
      const int64_t r = begin + i;
      const T* x = widen(batch.anchor.row(r), d, buffer);
      view_cosines(x, pb.inv_norm[i], batch.views, i, t.data(), inv.data());
      for (int64_t k = 0; k < d; ++k) {
        h[k] = x[k] * pb.inv_norm[i];
        g[k] = grad.grad.row(i)[k];
      }
      slopes[i] = grad.along(i) / 2;
      for (int64_t v = 0; v < n_views; ++v) {
        const double q = view_coefficient(t[v], stats + 3 * r, counts + 2 * r, n_views, set, grad.log_tn);
        slopes[i] += q * t[v];
        const T* view = widen(batch.views.lead(v, i), d, buffer_view);
        E* gv = call.grad_views + (v * batch.owned() + i) * d;
        for (int64_t k = 0; k < d; ++k) {
          const double u = view[k] * inv[v];
          g[k] += q * u;
          from_compute(static_cast<T>(*call.grad_loss * q * (h[k] - t[v] * u) * inv[v]), gv[k]);
        }
      }
      double along, gg;
      dot(h.data(), g.data(), d, &along, &gg);
      for (int64_t k = 0; k < d; ++k)
        from_compute(static_cast<T>(*call.grad_loss * (g[k] - along * h[k]) * pb.inv_norm[i]),
                     call.grad_anchor[i * d + k]);
    }
  });
  *call.grad_tau = slope_by_tau(slopes, *call.grad_loss, set);
  return true;
}

// ---- contrastive_loss ----

// Rows 0 .. N - 1 are a, then the rows of b, then the negatives.
template <class E>
struct Sides {
  const ContrastiveSides<E>& in;
  int64_t n, rows;  // of a, and of a and b
  Problem<ContrastNumber<E>> pb;

  explicit Sides(const ContrastiveSides<E>& in_)
      : in(in_),
        n(in.a.rows),
        rows(n + in.b.rows),
        pb(
            places(in), in.a.cols, in.features, static_cast<PairFeatures>(in.kind), in.group,
            in.settings.mode == Contrast::kLabels, [this](int64_t r) { return row(r); },
            [this](int64_t r) { return r < rows ? r % n : -1; }) {}

  static Places places(const ContrastiveSides<E>& in) {
    Places at;
    at.tile = tile_for(2 * in.a.rows + in.negatives.rows);
    if (in.sides) at.tile = std::max(kPanel, std::min(at.tile, padded(in.a.rows)));  // without rows too
    const int64_t whole = in.sides ? std::max(at.tile, kPanel) : kPanel;
    place_rows(at, 0, in.a.rows, whole);
    if (in.sides) at.half = at.row_of.size();
    place_rows(at, in.a.rows, in.b.rows, whole);
    at.owned_pad = at.row_of.size();
    place_rows(at, in.a.rows + in.b.rows, in.negatives.rows);
    at.one_sided = in.sides == 1;
    return at;
  }
  const E* row(int64_t r) const {
    return r < n ? in.a.row(r) : r < rows ? in.b.row(r - n) : in.negatives.row(r - rows);
  }
  int64_t position(int64_t r) const { return r < n ? r : start_of_b() + r - n; }
  int64_t start_of_b() const { return in.sides ? pb.half : padded(n); }
  int64_t n_views() const { return in.b.rows > 0 ? 1 : 0; }
  bool anchors(int64_t r) const { return in.sides != 1 || r < n; }
  double partner_cosine(int64_t i) const {  // of rows i and i + n
    double xy, yy;
    std::vector<ContrastNumber<E>> x, y;
    dot(widen(in.a.row(i), in.a.cols, x), widen(in.b.row(i), in.a.cols, y), in.a.cols, &xy, &yy);
    return xy * pb.inv_norm[position(i)] * pb.inv_norm[position(i + n)];
  }
};

// Statistics and measures (null: none) of row r, from its sums and the cosine of its partner.
template <class E, class T>
void tell(const ContrastiveLossCall<E>& call, const Sides<E>& sides, const OwnedSums<T>& sums, int64_t r, double t) {
  const ContrastSettings& set = call.sides.settings;
  const int64_t n_views = sides.n_views(), p = sides.position(r);
  double state[kRowState];
  sums.state(sides.pb, p, state);
  RowLoss row(state, n_views, set, call.counts + 2 * r);
  if (n_views) row.add_view(t);
  row.finish(call.stats + 3 * r);
  if (call.measures) sums.measure(p, state, n_views, t, set, call.measures + 3 * r);
}

template <class E>
void tell_nothing(const ContrastiveLossCall<E>& call, int64_t r) {  // of a row that is no anchor
  call.counts[2 * r] = -1;
  call.counts[2 * r + 1] = 0;
  std::fill_n(call.stats + 3 * r, 3, 0.0);
  if (call.measures) std::fill_n(call.measures + 3 * r, 3, 0.0);
}

template <class E>
void finish_loss(const ContrastiveLossCall<E>& call, const Sides<E>& sides) {
  compute(ContrastiveFinishCall<ContrastNumber<E>>{
      {call.stats, sides.rows, 3}, call.counts, sides.n_views(), call.sides.settings.mode, call.loss, call.skipped});
}

// Statistics, loss and measures; kept: for the gradient, or null.
template <class E, class T>
void find_loss(const ContrastiveLossCall<E>& call, const Sides<E>& sides, KeptTiles<T>* kept) {
  OwnedSums<T> sums(sides.pb, call.sides.settings, call.measures != nullptr, false);
  sums.add_all(sides.pb, call.sides.settings, kept);
  on_team(sides.pb.team, [&] {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < sides.n; ++i) {
      const double t = sides.n_views() ? sides.partner_cosine(i) : 0;
      for (int64_t r = i; r < sides.rows; r += sides.n) {
        if (sides.anchors(r)) tell<E, T>(call, sides, sums, r, t);
        else tell_nothing(call, r);
      }
    }
  });
  finish_loss(call, sides);
}

// What ContrastiveLossBwdCall and ContrastiveStepCall have of the gradient; it is stored as G.
template <class E, class G>
struct Wanted {
  double grad_loss;
  const ContrastiveSides<E>& sides;
  const double* stats;
  const int64_t* counts;
  G *grad_a, *grad_b;
  double* grad_tau;
};

// The gradient over pairs, not yet begun.
template <class E, class G, class T = ContrastNumber<E>>
OwnedGradient<T> over_pairs(const Wanted<E, G>& call, const Sides<E>& sides, int64_t used) {
  return OwnedGradient<T>(sides.pb, call.sides.settings, used, [&](int64_t r) -> T* {
    if constexpr (std::is_same_v<T, G>) {
      const int64_t d = sides.pb.d;
      return r < sides.n ? call.grad_a + r * d : call.grad_b + (r - sides.n) * d;
    } else {
      return nullptr;
    }
  });
}

// Partners, and the way back through the normalisation, when the pairs are done.
template <class E, class G, class T = ContrastNumber<E>>
void finish_gradient(const Wanted<E, G>& call, const Sides<E>& sides, const OwnedGradient<T>& grad) {
  const Problem<T>& pb = sides.pb;
  const ContrastSettings& set = call.sides.settings;
  const int64_t n = sides.n, d = pb.d, n_views = sides.n_views();
  std::vector<double> slopes(n);
  on_team(pb.team, [&] {
    std::vector<double> g(d), h(d);
    std::vector<T> buffer, buffer_partner;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < n; ++i) {
      const double t = n_views ? sides.partner_cosine(i) : 0;
      double q = 0;
      for (int64_t r = i; n_views && r < sides.rows; r += n)
        q += view_coefficient(t, call.stats + 3 * r, call.counts + 2 * r, n_views, set, grad.log_tn);
      slopes[i] = q * t;
      for (int64_t r = i; r < sides.rows; r += n) {
        const int64_t p = sides.position(r), other = r < n ? r + n : r - n;
        slopes[i] += (grad.along(p) + grad.outside[p]) / 2;
        const T* x = widen(sides.row(r), d, buffer);
        const T* y = n_views ? widen(sides.row(other), d, buffer_partner) : x;
        const double hi = pb.inv_norm[p], inv = n_views ? pb.inv_norm[sides.position(other)] : 0;
        for (int64_t k = 0; k < d; ++k) {
          h[k] = x[k] * hi;
          g[k] = grad.grad.row(p)[k] + q * inv * y[k];
        }
        double along, gg;
        dot(h.data(), g.data(), d, &along, &gg);
        G* const out = r < n ? call.grad_a + r * d : call.grad_b + (r - n) * d;
        for (int64_t k = 0; k < d; ++k)
          from_compute(static_cast<T>(call.grad_loss * (g[k] - along * h[k]) * hi), out[k]);
      }
    }
  });
  *call.grad_tau = slope_by_tau(slopes, call.grad_loss, set);
}

template <class E, class G, class T = ContrastNumber<E>>
void find_gradient(const Wanted<E, G>& call, const Sides<E>& sides, const KeptTiles<T>* kept) {
  const int64_t used = rows_that_count(call.counts, sides.rows, sides.n_views(), call.sides.settings.mode);
  OwnedGradient<T> grad = over_pairs(call, sides, used);
  grad.weigh_all(call.stats, call.counts, sides.rows, sides.n_views());
  grad.add_all(kept);
  finish_gradient(call, sides, grad);
}

// One-sided and without features, so that every row of a counts: loss and gradient in one pass.
template <class E, class T = ContrastNumber<E>>
void find_both(const ContrastiveLossCall<E>& loss, const Wanted<E, T>& gradient, const Sides<E>& sides) {
  const int64_t n = sides.n;
  OwnedSums<T> sums(sides.pb, loss.sides.settings, loss.measures != nullptr, false);
  OwnedGradient<T> grad = over_pairs(gradient, sides, n);
  one_sided_pass(sides.pb, loss.sides.settings, sums, grad, [&](int64_t p) {
    if (p >= n) return;  // padding
    tell<E, T>(loss, sides, sums, p, sides.partner_cosine(p));
    grad.weigh(p, loss.stats + 3 * p, loss.counts + 2 * p, sides.n_views());
  });
  for (int64_t r = n; r < sides.rows; ++r) tell_nothing(loss, r);
  finish_loss(loss, sides);
  finish_gradient(gradient, sides, grad);
}

template <class E>
bool compute(const ContrastiveLossCall<E>& call) {
  const Sides<E> sides(call.sides);
  if (!sides.pb.finite) return false;
  find_loss<E, ContrastNumber<E>>(call, sides, nullptr);
  return true;
}

template <class E>
bool compute(const ContrastiveLossBwdCall<E>& call) {
  const Sides<E> sides(call.sides);
  const KeptTiles<ContrastNumber<E>>* const none = nullptr;
  find_gradient(
      Wanted<E, E>{*call.grad_loss, call.sides, call.stats, call.counts, call.grad_a, call.grad_b, call.grad_tau},
      sides, none);
  return true;
}

template <class E>
bool compute(const ContrastiveStepCall<E>& call) {
  using T = ContrastNumber<E>;
  const Sides<E> sides(call.sides);
  if (!sides.pb.finite) return false;
  const ContrastiveLossCall<E> loss{call.sides, call.stats, call.counts, call.loss, call.skipped, call.measures};
  const Wanted<E, T> gradient{1, call.sides, call.stats, call.counts, call.grad_a, call.grad_b, call.grad_tau};
  if (call.sides.sides == 1 && sides.pb.kind == PairFeatures::kNone && sides.n > 0) {
    find_both(loss, gradient, sides);
    return true;
  }
  KeptTiles<T> kept(sides.pb);
  find_loss<E, T>(loss, sides, &kept);
  find_gradient(gradient, sides, &kept);
  return true;
}

// ---- parts ----

template <class T>
Problem<T> problem(const ContrastivePart<T>& part) {
  const int64_t n = part.x.rows;
  Places at;
  place_rows(at, 0, n);
  at.owned_pad = at.row_of.size();
  place_rows(at, n, part.y.rows);
  at.apart = part.y.rows > 0;
  at.tile = tile_for(at.row_of.size());
  return Problem<T>(
      std::move(at), part.x.cols, part.features, static_cast<PairFeatures>(part.kind), part.group,
      part.settings.mode == Contrast::kLabels,
      [&part, n](int64_t r) { return r < n ? part.x.row(r) : part.y.row(r - n); }, [](int64_t r) { return r; });
}

template <class T>
bool compute(const ContrastivePartSumsCall<T>& call) {
  const auto pb = problem(call.part);
  if (!pb.finite) return false;
  OwnedSums<T> sums(pb, call.part.settings, call.measures != nullptr, true);
  sums.add_all(pb, call.part.settings);
  for (int64_t i = 0; i < call.part.x.rows; ++i) {
    sums.state(pb, i, call.state + kRowState * i);
    for (int q = 0; call.measures && q < 4; ++q) call.measures[4 * i + q] = sums.measures[q * sums.rows + i];
  }
  return true;
}

template <class T>
bool compute(const ContrastivePartGradientCall<T>& call) {
  const auto pb = problem(call.part);
  const int64_t n = call.part.x.rows, d = pb.d;
  OwnedGradient<T> grad(pb, call.part.settings, call.used, [&](int64_t r) { return call.grad + r * d; });
  grad.weigh_all(call.stats, call.counts, n + call.part.y.rows, call.n_views);
  grad.add_all();
  for (int64_t i = 0; i < n; ++i)
    if (grad.grad.row(i) != call.grad + i * d) std::copy_n(grad.grad.row(i), d, call.grad + i * d);
  return true;
}

}  // namespace

#define PHYSIOCLR_RUN(name, ...) \
  bool run(const __VA_ARGS__& call) { return compute(call); }
PHYSIOCLR_CONTRASTIVE_HOST_CALLS(PHYSIOCLR_RUN)
PHYSIOCLR_CONTRASTIVE_FINISH_CALLS(PHYSIOCLR_RUN)
#undef PHYSIOCLR_RUN

}  // namespace physioclr::cpu
