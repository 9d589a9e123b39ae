#include "bindings/bindings.h"
#include "core/elements.h"
#include "ops.h"

namespace physioclr {
namespace {

template <class T, class E>
bool rows(Address anchor, int64_t n, int64_t d, Address views, int64_t n_views, Address features, int64_t f,
          Address group, int64_t begin, int64_t end, const ContrastSettings& set, Address stats, Address counts) {
  return cpu::contrastive_rows<T, E>({ptr<const E>(anchor), n, d}, ptr<const E>(views), n_views,
                                  {ptr<const T>(features), n, f}, ptr<const int64_t>(group), begin, end, set,
                                  ptr<double>(stats), ptr<int64_t>(counts));
}

template <class T, class E>
void backward(Address grad_loss, Address anchor, int64_t n, int64_t d, Address views, int64_t n_views, Address features,
              int64_t f, Address group, int64_t begin, int64_t end, const ContrastSettings& set, Address stats,
              Address counts, Address grad_anchor, Address grad_views) {
  cpu::contrastive_backward<T, E>(ptr<const double>(grad_loss), {ptr<const E>(anchor), n, d}, ptr<const E>(views), n_views,
                               {ptr<const T>(features), n, f}, ptr<const int64_t>(group), begin, end, set,
                               ptr<const double>(stats), ptr<const int64_t>(counts), ptr<E>(grad_anchor),
                               ptr<E>(grad_views));
}

// By the number that ops/_launch/contrastive.py gives to a dtype: float32, float64, float16, bfloat16.
constexpr decltype(&rows<float, float>) kRows[] = {rows<float, float>, rows<double, double>, rows<float, Half>,
                                                   rows<float, BFloat>};
constexpr decltype(&backward<float, float>) kBackward[] = {backward<float, float>, backward<double, double>,
                                                           backward<float, Half>, backward<float, BFloat>};

}  // namespace

void bind_contrastive(py::module_& m) {
  m.def("contrastive_rows",
        [](int element, Address anchor, int64_t n, int64_t d, Address views, int64_t n_views, Address features, int64_t f,
           Address group, int64_t begin, int64_t end, int mode, bool mean_pairs, double tau, double tau_s, double delta,
           Address stats, Address counts) {
          const ContrastSettings set{static_cast<Contrast>(mode), mean_pairs, tau, tau_s, delta};
          py::gil_scoped_release nogil;
          return kRows[element](anchor, n, d, views, n_views, features, f, group, begin, end, set,
                                                     stats, counts);
        });
  m.def("contrastive_finish", [](bool wide, Address stats, Address counts, int64_t rows, int64_t n_views, int mode,
                                 Address loss, Address skipped, int device, Address stream) {
    const auto s = ptr<const double>(stats);
    const auto c = ptr<const int64_t>(counts);
    const auto k = static_cast<Contrast>(mode);
    const auto out = ptr<int64_t>(skipped);
    if (device < 0 && wide) return cpu::contrastive_finish(s, c, rows, n_views, k, ptr<double>(loss), out);
    if (device < 0) return cpu::contrastive_finish(s, c, rows, n_views, k, ptr<float>(loss), out);
    if (wide) return cuda::contrastive_finish(s, c, rows, n_views, k, ptr<double>(loss), out, ptr<void>(stream));
    cuda::contrastive_finish(s, c, rows, n_views, k, ptr<float>(loss), out, ptr<void>(stream));
  });
  m.def("contrastive_backward",
        [](int element, Address grad_loss, Address anchor, int64_t n, int64_t d, Address views, int64_t n_views,
           Address features, int64_t f, Address group, int64_t begin, int64_t end, int mode, bool mean_pairs, double tau,
           double tau_s, double delta, Address stats, Address counts, Address grad_anchor, Address grad_views) {
          const ContrastSettings set{static_cast<Contrast>(mode), mean_pairs, tau, tau_s, delta};
          py::gil_scoped_release nogil;
          kBackward[element](grad_loss, anchor, n, d, views, n_views, features, f, group, begin,
                                                      end, set, stats, counts, grad_anchor, grad_views);
        });
}

}  // namespace physioclr
