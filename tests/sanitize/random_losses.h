#pragma once
// The contrastive losses, forward, backward and both in one.
#include "random_arrays.h"

template <class E>
static void contrastive() {
  using T = ContrastNumber<E>;
  const int64_t n = length(70), d = length(70), f = length(40), views = length(3);
  const int64_t begin = n ? whole(0, n) : 0, own = n ? whole(0, n - begin) : 0;
  const auto kind = chance(0.7) ? Values::kPlain : Values::kWild;
  auto anchor = values<E>(n * d, kind), other = values<E>(views * own * d, kind);
  auto features = values<T>(n * f, chance(0.9) ? Values::kPlain : kind);
  Array<int64_t> group(n), counts(n * 2);
  for (int64_t i = 0; i < n; ++i) group[i] = whole(0, 20);
  Array<double> stats(n * 3), measures(own * 3), of_loss(1);
  Array<int64_t> skipped(1);
  Array<T> loss(1);
  Array<E> grad_anchor(own * d), grad_views(views * own * d);
  Array<double> grad_tau(1);
  of_loss[0] = 1;
  const ContrastSettings settings{static_cast<Contrast>(whole(0, 2)), chance(0.5), chance(0.5) ? 0.1 : real(0.005, 2),
                                  real(0.005, 2), real(-0.5, 0.9)};
  const ContrastBatch<E> batch{{anchor.get(), n, d}, {other.get(), views, own, d}, begin};
  const int64_t* ids = chance(0.5) ? group.get() : nullptr;
  if (!cpu::run(ContrastiveRowsCall<E>{
          batch, {features.get(), n, f}, ids, settings, stats.get(), counts.get(), measures.get()}))
    return;
  cpu::run(
      ContrastiveFinishCall<T>{{stats.get(), n, 3}, counts.get(), views, settings.mode, loss.get(), skipped.get()});
  cpu::run(ContrastiveBackwardCall<E>{of_loss.get(),
                                      batch,
                                      {features.get(), n, f},
                                      ids,
                                      settings,
                                      stats.get(),
                                      counts.get(),
                                      grad_anchor.get(),
                                      grad_views.get(),
                                      grad_tau.get()});
  if constexpr (std::is_same_v<T, E>) {  // the owned rows against the others, which have none of them twice
    const int64_t x = own, y = n - own;
    Array<double> state(x * kRowState), of_row(x * 4);
    Array<E> grad(x * d);
    const ContrastivePart<E> part{{anchor.get(), x, d},
                                  {anchor.get() + x * d, y, d},
                                  {features.get(), n, f},
                                  static_cast<int>(whole(1, 3)),
                                  ids,
                                  settings};
    if (!cpu::run(ContrastivePartSumsCall<E>{part, state.get(), of_row.get()})) return;
    cpu::run(ContrastivePartGradientCall<E>{part, stats.get(), counts.get(), views, whole(0, 1), grad.get()});
  }
}

// The losses over two views: each form with the features that it takes.
struct Form {
  Contrast mode;
  int kind;  // PairFeatures
};
static Form random_form() {
  const Form forms[] = {{Contrast::kInstance, 0}, {Contrast::kLabels, 0}, {Contrast::kSoft, 1},
                        {Contrast::kSoft, 2},     {Contrast::kHard, 0},   {Contrast::kSupcon, 3}};
  return forms[whole(0, 5)];
}

template <class E>
static void two_views() {
  using T = ContrastNumber<E>;
  const Form form = random_form();
  const bool paired = form.mode == Contrast::kHard || chance(0.7);
  const int64_t n = length(70), d = length(70), f = form.kind ? length(40) : 0, m = form.kind ? 0 : length(30);
  const auto kind = chance(0.7) ? Values::kPlain : Values::kWild;
  auto a = values<E>(n * d, kind), b = values<E>(paired ? n * d : 0, kind), negatives = values<E>(m * d, kind);
  auto features = values<T>(n * f, chance(0.9) ? Values::kPlain : kind);
  if (form.kind == 3)
    for (int64_t i = 0; i < n * f; ++i) set(features[i], chance(0.3));
  Array<int64_t> group(n);
  for (int64_t i = 0; i < n; ++i) group[i] = whole(0, 20);
  const bool grouped = form.mode == Contrast::kLabels || chance(0.5);
  const int64_t rows = n * (paired ? 2 : 1);
  const ContrastSettings settings{form.mode, false, chance(0.5) ? 0.1 : real(0.005, 2), real(0.005, 2),
                                  form.kind == 3                 ? real(0.01, 1)
                                  : form.mode == Contrast::kHard ? real(0.01, 3)
                                                                 : 2};
  const ContrastiveSides<E> sides{{a.get(), n, d},
                                  {b.get(), paired ? n : 0, d},
                                  {negatives.get(), m, d},
                                  {features.get(), n, f},
                                  form.kind,
                                  paired ? static_cast<int>(whole(0, 2)) : 0,
                                  grouped ? group.get() : nullptr,
                                  settings};
  Array<double> stats(rows * 3), measures(rows * 3), of_loss(1), grad_tau(1);
  Array<int64_t> counts(rows * 2), skipped(1);
  Array<T> loss(1);
  Array<E> grad_a(n * d), grad_b(paired ? n * d : 0);
  of_loss[0] = 1;
  double* measured = chance(0.5) ? measures.get() : nullptr;
  if (cpu::run(ContrastiveLossCall<E>{sides, stats.get(), counts.get(), loss.get(), skipped.get(), measured}))
    cpu::run(ContrastiveLossBwdCall<E>{of_loss.get(), sides, stats.get(), counts.get(), grad_a.get(), grad_b.get(),
                                       grad_tau.get()});
  if constexpr (std::is_same_v<E, T>)
    cpu::run(ContrastiveStepCall<T>{sides, stats.get(), counts.get(), loss.get(), skipped.get(), measured, grad_a.get(),
                                    grad_b.get(), grad_tau.get()});
}
