// hybrid_contrastive_loss on tensor cores: the fused CUDA kernels on host threads, their matrix instructions in plain
// arithmetic, against the CPU's loops over the same operands.
#include "cuda_host_sim.h"

#include "cuda/contrastive_fused_kernel.cuh"
#include "ops.h"

using namespace physioclr;
using hostsim::Array;

template <class E, class X, int WM, int WN>
static void compare(Contrast mode, double tau, int64_t begin, int64_t end, int64_t n, int64_t strips) {
  using Number = typename Operand<X>::Number;
  constexpr int kWidth = 128, kParts = Operand<X>::kParts, kRows = 32 * WM, kCols = cuda::kWarpCols<X> * WN;
  const int64_t d = 37, f = 11, padded = fused_padded(n), own = end - begin, v = 1, size = padded * kWidth * kParts;
  const int fk = 16;
  const ContrastSettings set{mode, true, tau, tau / 1.5, 0.1};
  hostsim::Random random(static_cast<uint64_t>(mode) + 3);
  Array<E> anchor(n * d);
  Array<Number> x(size), x2(size);
  Array<float> features(n * f), r(padded), r2(padded);
  Array<Half> split(padded * 2 * fk), split2(padded * 2 * fk);
  Array<int32_t> group(n), id(padded), id2(padded);
  Array<double> inv(n), inv2(n);
  for (int64_t i = 0; i < n; ++i) {
    group[i] = static_cast<int32_t>(i / 2);
    const double length = i % 5 == 0 ? 3000 : 0.01;
    for (int64_t k = 0; k < d; ++k) from_compute(static_cast<float>(random() * length), anchor[i * d + k]);
    for (int64_t k = 0; k < f; ++k) features[i * f + k] = i == 4 ? 0.0f : static_cast<float>(random());
  }
  const ContrastRows<X> rows{x.get(), split.get(), r.get(), id.get(), padded, kWidth, fk};
  const ContrastRows<X> rows2{x2.get(), split2.get(), r2.get(), id2.get(), padded, kWidth, fk};
  hostsim::launch(cuda::contrastive_fused_prepare_kernel<E, X>, {static_cast<unsigned>(padded)}, {8}, anchor.get(), n,
                  d, features.get(), f, group.get(), rows, inv.get());
  cpu::run(
      ContrastiveFusedPrepareCall<E, X>{{anchor.get(), n, d}, {features.get(), n, f}, group.get(), rows2, inv2.get()});
  for (int64_t i = 0; i < size; ++i) hostsim::expect_near(to_compute(x[i]), to_compute(x2[i]), 0, "x", i);
  for (int64_t i = 0; i < padded; ++i) {
    hostsim::expect_near(r[i], r2[i], 1e-6, "r", i);
    hostsim::expect_near(id[i], id2[i], 0, "id", i);
    // the two halves of a feature: the last bit of the low one follows the rounding of 1 / |f|
    for (int k = 0; k < fk; ++k) {
      const int64_t h = i * 2 * fk + k;
      hostsim::expect_near(to_compute(split[h]) + to_compute(split[h + fk]),
                           to_compute(split2[h]) + to_compute(split2[h + fk]), 4e-6, "split features", h);
    }
  }
  for (int64_t i = 0; i < n; ++i) hostsim::expect_near(inv[i], inv2[i], 1e-9 * inv2[i], "inv_norm", i);

  const unsigned blocks = static_cast<unsigned>((own + kRows - 1) / kRows);
  const int64_t tiles = (padded / kCols + strips - 1) / strips;
  Array<double> state(strips * own * kRowState), state2(strips * own * kRowState);
  hostsim::launch_shared(cuda::contrastive_fused_rows_kernel<X, kWidth, WM, WN>,
                         {blocks, static_cast<unsigned>(strips)}, {32 * WM * WN},
                         cuda::fused_shared<X>(kWidth, fk, WM, WN, false), rows, set, begin, end, tiles, state.get());
  cpu::run(ContrastiveFusedSumsCall<X>{rows, set, begin, {state2.get(), strips, own, kRowState}});
  Array<double> stats(n * 3), log_tn(1);
  Array<int64_t> counts(n * 2);
  {
    Array<double> all(n * kRowState);
    cpu::run(ContrastiveFusedSumsCall<X>{rows, set, 0, {all.get(), 1, n, kRowState}});
    for (int64_t i = 0; i < n; ++i) {
      RowLoss row(&all[i * kRowState], v, set, &counts[i * 2]);
      row.add_view(0.3);
      row.finish(&stats[i * 3]);
    }
  }
  log_tn[0] = 1.2;
  for (int64_t i = 0; i < own; ++i) {  // the strips together: which columns a strip has is the kernel's affair
    double sum[kRowState], sum2[kRowState];
    clear_state(needs_maxima<float>(set), sum);
    clear_state(needs_maxima<float>(set), sum2);
    for (int64_t p = 0; p < strips; ++p) {
      merge_state(set, sum, &state[(p * own + i) * kRowState]);
      merge_state(set, sum2, &state2[(p * own + i) * kRowState]);
    }
    for (int q = 0; q < kRowState; ++q)
      hostsim::expect_near(sum[q], sum2[q], 2e-5 * (std::fabs(sum2[q]) + 0.1), "state", i * kRowState + q);
  }

  Array<float> w(padded * 2), w2(padded * 2), grad(strips * own * d), grad2(strips * own * d);
  for (int64_t i = 0; i < grad.size(); ++i) grad[i] = NAN;  // strips without a tile are to write zeros
  hostsim::launch(cuda::contrastive_fused_weights_kernel, {static_cast<unsigned>((padded + 15) / 16)}, {16},
                  stats.get(), counts.get(), n, padded, v, set, w.get());
  hostsim::launch_shared(cuda::contrastive_fused_backward_kernel<X, kWidth, WM, WN, 3>,
                         {blocks, static_cast<unsigned>(strips)}, {32 * WM * WN},
                         cuda::fused_shared<X>(kWidth, fk, WM, WN, true), rows, set, begin, end, tiles, w.get(),
                         log_tn.get(), d, grad.get());
  cpu::run(ContrastiveFusedGradientCall<X>{
      rows, set, begin, {stats.get(), n, 3}, counts.get(), v, log_tn.get(), w2.get(), {grad2.get(), strips, own, d}});
  for (int64_t i = 0; i < padded * 2; ++i) hostsim::expect_near(w[i], w2[i], 1e-6 * std::fabs(w2[i]), "weights", i);
  double most = 0;
  for (int64_t i = 0; i < own * d; ++i) most = std::fmax(most, std::fabs(grad2[i]));
  for (int64_t i = 0; i < own * d; ++i) {
    double sum = 0, sum2 = 0;
    for (int64_t p = 0; p < strips; ++p) {
      sum += grad[p * own * d + i];
      sum2 += grad2[p * own * d + i];
    }
    // a coefficient on the edge between two 16-bit numbers may round either way
    hostsim::expect_near(sum, sum2, (kParts == 2 ? 1e-5 : 1e-3) * most, "gradient", i);
  }
}

int main() {
  for (const Contrast mode : {Contrast::kRatio, Contrast::kSupcon, Contrast::kSoft}) {
    compare<Half, Half, 1, 1>(mode, 0.3, 0, 40, 40, 1);
    compare<float, SplitHalf, 1, 1>(mode, 0.04, 3, 36, 40, 2);
  }
  compare<BFloat, BFloat, 1, 1>(Contrast::kRatio, 0.01, 3, 36, 40, 2);
  compare<float, Half, 1, 1>(Contrast::kRatio, 0.3, 0, 20, 20, 1);
  compare<BFloat, BFloat, 2, 2>(Contrast::kRatio, 0.3, 1, 70, 70, 3);
  compare<float, SplitHalf, 2, 2>(Contrast::kSoft, 0.3, 1, 70, 70, 7);
  return hostsim::finish("hybrid_contrastive_loss, fused");
}
