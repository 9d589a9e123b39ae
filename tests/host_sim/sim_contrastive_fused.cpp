// hybrid_contrastive_loss on tensor cores: the fused CUDA kernels on host threads, their matrix instructions in plain
// arithmetic, against the CPU's loops over the same operands.
#include "cuda_host_sim.h"

#include "cuda/contrastive_fused_kernel.cuh"
#include "ops.h"

using namespace physioclr;
using hostsim::Array;

template <class E, int WM, int WN>
static void compare(Contrast mode, int64_t begin, int64_t end, int64_t n, int64_t strips) {
  constexpr int kWidth = 128;
  const int64_t d = 37, f = 11, padded = fused_padded(n), own = end - begin, v = 1;
  const int fk = 16;
  const ContrastSettings set{mode, true, 0.3, 0.2, 0.1};
  hostsim::Random random(static_cast<uint64_t>(mode) + 3);
  Array<E> anchor(n * d), x(padded * kWidth), x2(padded * kWidth);
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
  const ContrastRows<E> rows{x.get(), split.get(), r.get(), id.get(), padded, kWidth, fk};
  const ContrastRows<E> rows2{x2.get(), split2.get(), r2.get(), id2.get(), padded, kWidth, fk};
  hostsim::launch(cuda::contrastive_fused_prepare_kernel<E>, {static_cast<unsigned>(padded)}, {8}, anchor.get(), n, d,
                  features.get(), f, group.get(), kWidth, fk, x.get(), split.get(), r.get(), inv.get(), id.get());
  cpu::contrastive_fused_prepare<E>({anchor.get(), n, d}, {features.get(), n, f}, group.get(), rows2, inv2.get());
  for (int64_t i = 0; i < padded * kWidth; ++i) hostsim::expect_near(to_compute(x[i]), to_compute(x2[i]), 0, "x", i);
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

  const unsigned blocks = static_cast<unsigned>((own + 32 * WM - 1) / (32 * WM));
  const int64_t tiles = (padded / (32 * WN) + strips - 1) / strips;
  Array<double> state(strips * own * kRowState), state2(strips * own * kRowState);
  hostsim::launch_shared(cuda::contrastive_fused_rows_kernel<E, kWidth, WM, WN>, {blocks, static_cast<unsigned>(strips)},
                         {32 * WM * WN}, cuda::fused_shared(kWidth, fk, WM, WN, false), rows, set, begin, end, tiles,
                         state.get());
  cpu::contrastive_fused_sums<E>(rows, set, begin, end, strips, state2.get());
  Array<double> stats(n * 3), log_tn(1);
  Array<int64_t> counts(n * 2);
  for (int64_t i = 0; i < n * 3; ++i) stats[i] = i % 3 == 1 ? 1.7 : 2.5;
  for (int64_t i = 0; i < n * 2; ++i) counts[i] = i % 7;
  log_tn[0] = 1.2;
  for (int64_t i = 0; i < own; ++i) {  // the strips together: which columns a strip has is the kernel's affair
    double sum[kRowState], sum2[kRowState];
    clear_state(false, sum);
    clear_state(false, sum2);
    for (int64_t p = 0; p < strips; ++p) {
      merge_state(set, sum, &state[(p * own + i) * kRowState]);
      merge_state(set, sum2, &state2[(p * own + i) * kRowState]);
    }
    for (int q = 0; q < kRowState; ++q)
      hostsim::expect_near(sum[q], sum2[q], 2e-5 * (std::fabs(sum2[q]) + 0.1), "state", i * kRowState + q);
  }

  Array<float> w(padded * 2), w2(padded * 2), grad(strips * own * d), grad2(strips * own * d);
  hostsim::launch(cuda::contrastive_fused_weights_kernel, {static_cast<unsigned>((padded + 15) / 16)}, {16}, stats.get(),
                  counts.get(), n, padded, v, set, w.get());
  hostsim::launch_shared(cuda::contrastive_fused_backward_kernel<E, kWidth, WM, WN>,
                         {blocks, static_cast<unsigned>(strips)}, {32 * WM * WN},
                         cuda::fused_shared(kWidth, fk, WM, WN, true), rows, set, begin, end, tiles, w.get(), log_tn.get(),
                         d, grad.get());
  cpu::contrastive_fused_gradient<E>(rows, set, begin, end, strips, stats.get(), counts.get(), n, v, log_tn.get(),
                                     w2.get(), d, grad2.get());
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
    hostsim::expect_near(sum, sum2, 1e-3 * most, "gradient", i);
  }
}

int main() {
  for (const Contrast mode : {Contrast::kRatio, Contrast::kSupcon, Contrast::kSoft}) {
    compare<Half, 1, 1>(mode, 0, 40, 40, 1);
    compare<BFloat, 1, 1>(mode, 3, 36, 100, 2);
  }
  compare<BFloat, 2, 2>(Contrast::kRatio, 1, 70, 70, 3);
  return hostsim::finish("hybrid_contrastive_loss, fused");
}
