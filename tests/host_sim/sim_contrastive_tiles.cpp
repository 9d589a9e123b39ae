// hybrid_contrastive_loss by tiles: each CUDA kernel on host threads against the CPU's function of the same name.
#include "cuda_host_sim.h"

#include <type_traits>

#include "cuda/contrastive_kernel.cuh"
#include "ops.h"

using namespace physioclr;
using hostsim::Array;

template <class X>
static double number(X x) {
  if constexpr (std::is_integral_v<X>) return static_cast<double>(x);
  else return static_cast<double>(to_compute(x));
}

template <class X>
static void same(Array<X>& got, Array<X>& want, double tolerance, const char* what) {
  for (int64_t i = 0; i < got.size(); ++i)
    hostsim::expect_near(number(got[i]), number(want[i]), tolerance * (1 + std::fabs(number(want[i]))), what, i);
}

template <class T>
static void launch(const ContrastiveSumsCall<T>& call) {
  const ContrastTile<T>& t = call.tile;
  const ContrastSettings& set = call.settings;
  const unsigned rows = static_cast<unsigned>(t.rows), cols = static_cast<unsigned>((t.cols + 7) / 8);
#define CALL(M, S)                                                                                   \
  hostsim::launch(cuda::contrastive_row_sums_kernel<T, M, S>, {rows}, {16}, t, set, call.row_state); \
  hostsim::launch(cuda::contrastive_col_sums_kernel<T, M, S>, {cols}, {8, 4}, t, set, call.col_state)
  PHYSIOCLR_CONTRAST_TILE_VARIANTS(set.mode, needs_maxima<T>(set), CALL)
#undef CALL
}

template <class T>
static void launch(const ContrastiveCoefficientsCall<T>& call) {
  const ContrastTile<T>& t = call.tile;
  const ContrastSettings& set = call.settings;
  const dim3 grid{static_cast<unsigned>((t.cols + 7) / 8), static_cast<unsigned>(t.rows)};
#define CALL(M, S) \
  hostsim::launch(cuda::contrastive_coefficients_kernel<T, M, S>, grid, {8}, t, set, call.w_i, call.w_j)
  PHYSIOCLR_CONTRAST_TILE_VARIANTS(set.mode, needs_maxima<T>(set), CALL)
#undef CALL
}

template <class E>
static void compare(Contrast mode, double tau, bool mean_pairs) {
  using T = ContrastNumber<E>;
  const int64_t n = 21, d = 19, f = 9, v = 2, begin = 3, end = 17, own = end - begin, rows = 5, cols = 34;
  const double tol = sizeof(T) == 4 ? 2e-5 : 1e-12;
  const ContrastSettings set{mode, mean_pairs, tau, 0.1, 0.1};
  hostsim::Random random(static_cast<uint64_t>(mode) + 7);
  Array<E> anchor(n * d), views(v * own * d);
  Array<T> features(n * f), h(n * d), h2(n * d), unit(n * f), unit2(n * f);
  Array<double> inv(n), inv2(n);
  Array<int32_t> id(n), id2(n);
  for (int64_t i = 0; i < n * d; ++i) from_compute(static_cast<T>(random()), anchor[i]);
  for (int64_t i = 0; i < v * own * d; ++i) from_compute(static_cast<T>(random()), views[i]);
  for (int64_t i = 0; i < n * f; ++i) features[i] = i / f == 4 ? T(0) : static_cast<T>(random());
  for (int64_t i = 0; i < n; ++i) id[i] = id2[i] = static_cast<int32_t>(i / 2);
  hostsim::launch(cuda::contrastive_prepare_kernel<T, E>, {static_cast<unsigned>(n)}, {8}, anchor.get(), d,
                  features.get(), f, h.get(), unit.get(), inv.get(), id.get());
  cpu::run(ContrastivePrepareCall<E>{
      {anchor.get(), n, d}, {features.get(), n, f}, h2.get(), unit2.get(), inv2.get(), id2.get()});
  same(h, h2, tol, "h");
  same(unit, unit2, tol, "unit");
  same(inv, inv2, 1e-12, "inv_norm");
  same(id, id2, 0, "id");

  // a tile of rows 0.. against columns 0.. that are other rows of the same table, so that some pairs are of one group
  Array<T> s(rows * cols), sim(rows * cols), sim2(rows * cols), many(cols * f);
  Array<int32_t> id_j(cols);
  for (int64_t c = 0; c < cols; ++c) {
    id_j[c] = id[c % n];
    for (int64_t k = 0; k < f; ++k) many[c * f + k] = unit[(c * 5 % n) * f + k];
  }
  for (int64_t i = 0; i < rows * cols; ++i) s[i] = static_cast<T>(random());
  hostsim::launch(cuda::contrastive_tile_similarity_kernel<T>, {1, 1}, {16, 16}, unit.get(), rows, many.get(), cols, f,
                  sim.get());
  cpu::run(ContrastiveSimilarityCall<T>{{unit.get(), rows, f}, {many.get(), cols, f}, sim2.get()});
  same(sim, sim2, tol, "similarity");
  const ContrastTile<T> tile{s.get(), sim.get(), rows, cols, id.get(), id_j.get()};
  Array<double> row(2 * own * kRowState), row2(2 * own * kRowState), col(cols * kRowState), col2(cols * kRowState);
  for (int64_t i = 0; i < 2 * own; ++i) {
    clear_state(needs_maxima<T>(set), &row[i * kRowState]);
    clear_state(needs_maxima<T>(set), &row2[i * kRowState]);
  }
  for (int64_t i = 0; i < cols; ++i) {
    clear_state(needs_maxima<T>(set), &col[i * kRowState]);
    clear_state(needs_maxima<T>(set), &col2[i * kRowState]);
  }
  for (int repeat = 0; repeat < 2; ++repeat) {  // the second adds to sums that are there already
    launch(ContrastiveSumsCall<T>{tile, set, row.get(), col.get()});
    cpu::run(ContrastiveSumsCall<T>{tile, set, row2.get(), col2.get()});
  }
  same(row, row2, tol, "row sums");
  same(col, col2, tol, "column sums");

  for (int64_t i = rows; i < 2 * own; ++i)  // two strips of all owned rows
    for (int64_t q = 0; q < kRowState; ++q) row[i * kRowState + q] = row[i % rows * kRowState + q];
  Array<double> stats(n * 3), stats2(n * 3);
  Array<int64_t> counts(n * 2), counts2(n * 2);
  for (int64_t i = 0; i < n * 3; ++i) stats[i] = stats2[i] = 0.3;
  for (int64_t i = 0; i < n * 2; ++i) counts[i] = counts2[i] = i % 3;
  hostsim::launch(cuda::contrastive_row_stats_kernel<T, E>, {static_cast<unsigned>(own)}, {8}, anchor.get(),
                  views.get(), v, begin, own, d, inv.get(), row.get(), int64_t{2}, set, stats.get() + 3 * begin,
                  counts.get() + 2 * begin);
  const ContrastBatch<E> batch{{anchor.get(), n, d}, {views.get(), v, own, d}, begin};
  cpu::run(ContrastiveRowStatsCall<E>{
      batch, inv.get(), {row.get(), 2, own, kRowState}, set, stats2.get() + 3 * begin, counts2.get() + 2 * begin});
  same(stats, stats2, 1e-12, "stats");
  same(counts, counts2, 0, "counts");

  Array<T> w(n * 2), w2(n * 2), loss(1);
  Array<double> log_tn(1), log_tn2(1);
  Array<int64_t> skipped(1);
  hostsim::launch(cuda::contrastive_finish_kernel<T>, {1}, {16}, stats.get(), counts.get(), n, v, mode, loss.get(),
                  skipped.get());
  double mean = 0;
  int64_t used = 0;
  for (int64_t i = 0; i < n; ++i)
    if (counts_row(&counts[2 * i], v, mode)) mean += stats[3 * i] - stats[3 * i + 1], ++used;
  hostsim::expect_near(loss[0], used ? mean / used : 0, tol * 10, "loss", 0);
  hostsim::expect_near(static_cast<double>(skipped[0]), static_cast<double>(n - used), 0, "skipped", 0);
  hostsim::launch(cuda::contrastive_log_tn_kernel, {1}, {16}, counts.get(), n, v, set, log_tn.get());
  hostsim::launch(cuda::contrastive_weights_kernel<T>, {2}, {16}, stats.get(), counts.get(), n, v, set, log_tn.get(),
                  w.get());
  cpu::run(ContrastiveWeightsCall<T>{{stats.get(), n, 3}, counts.get(), v, set, log_tn2.get(), w2.get()});
  same(log_tn, log_tn2, 1e-12, "log_tn");
  same(w, w2, tol, "weights");

  Array<T> s2(rows * cols), w_j(cols * 2);
  for (int64_t i = 0; i < rows * cols; ++i) s2[i] = s[i];
  for (int64_t i = 0; i < cols * 2; ++i) w_j[i] = w[i % (n * 2)];
  launch(ContrastiveCoefficientsCall<T>{tile, set, w.get(), w_j.get()});
  const ContrastTile<T> tile2{s2.get(), sim.get(), rows, cols, id.get(), id_j.get()};
  cpu::run(ContrastiveCoefficientsCall<T>{tile2, set, w.get(), w_j.get()});
  same(s, s2, tol, "coefficients");

  Array<T> g(2 * own * d), g2(2 * own * d);
  Array<E> ga(own * d), ga2(own * d), gv(v * own * d), gv2(v * own * d);
  for (int64_t i = 0; i < 2 * own * d; ++i) g[i] = g2[i] = static_cast<T>(random());
  const double outer = 1.5;
  hostsim::launch(cuda::contrastive_row_gradients_kernel<T, E>, {static_cast<unsigned>(own)}, {8}, &outer, anchor.get(),
                  views.get(), v, begin, own, d, inv.get(), g.get(), int64_t{2}, stats.get(), counts.get(),
                  log_tn.get(), set, ga.get(), gv.get());
  cpu::run(ContrastiveRowGradientsCall<E>{&outer,
                                          batch,
                                          inv.get(),
                                          {g2.get(), 2, own, d},
                                          stats.get(),
                                          counts.get(),
                                          log_tn.get(),
                                          set,
                                          ga2.get(),
                                          gv2.get()});
  const double stored = sizeof(E) == 2 ? 1.0 / 128 : tol;  // one unit in the last place of bfloat16
  same(ga, ga2, stored, "anchor's gradient");
  same(gv, gv2, stored, "the views' gradient");
}

int main() {
  for (const Contrast mode :
       {Contrast::kRatio, Contrast::kSupcon, Contrast::kSoft, Contrast::kInstance, Contrast::kHard})
    for (const double tau : {0.2, 0.009}) {
      compare<float>(mode, tau, tau < 0.1);
      if (tau > 0.1) compare<BFloat>(mode, tau, false);
      if (tau < 0.1) compare<Half>(mode, tau, false);
      compare<double>(mode, tau, true);
    }
  return hostsim::finish("hybrid_contrastive_loss by tiles");
}
