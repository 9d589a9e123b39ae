#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {
namespace {

template <class T>
bool rows(Address anchor, int64_t n, int64_t d, Address views, int64_t n_views, Address features, int64_t f,
          Address group, int64_t begin, int64_t end, const ContrastSettings& set, Address stats, Address counts) {
  return cpu::contrastive_rows<T>({ptr<const T>(anchor), n, d}, ptr<const T>(views), n_views,
                                  {ptr<const T>(features), n, f}, ptr<const int64_t>(group), begin, end, set,
                                  ptr<double>(stats), ptr<int64_t>(counts));
}

template <class T>
void backward(Address grad_loss, Address anchor, int64_t n, int64_t d, Address views, int64_t n_views, Address features,
              int64_t f, Address group, int64_t begin, int64_t end, const ContrastSettings& set, Address stats,
              Address counts, Address grad_anchor, Address grad_views) {
  cpu::contrastive_backward<T>(ptr<const double>(grad_loss), {ptr<const T>(anchor), n, d}, ptr<const T>(views), n_views,
                               {ptr<const T>(features), n, f}, ptr<const int64_t>(group), begin, end, set,
                               ptr<const double>(stats), ptr<const int64_t>(counts), ptr<T>(grad_anchor),
                               ptr<T>(grad_views));
}

}  // namespace

void bind_contrastive(py::module_& m) {
  m.def("contrastive_rows",
        [](bool wide, Address anchor, int64_t n, int64_t d, Address views, int64_t n_views, Address features, int64_t f,
           Address group, int64_t begin, int64_t end, int mode, bool mean_pairs, double tau, double tau_s, double delta,
           Address stats, Address counts) {
          const ContrastSettings set{static_cast<Contrast>(mode), mean_pairs, tau, tau_s, delta};
          py::gil_scoped_release nogil;
          return (wide ? rows<double> : rows<float>)(anchor, n, d, views, n_views, features, f, group, begin, end, set,
                                                     stats, counts);
        });
  m.def("contrastive_finish", [](bool wide, Address stats, Address counts, int64_t rows, int64_t n_views, int mode,
                                 Address loss, Address skipped) {
    const auto s = ptr<const double>(stats);
    const auto c = ptr<const int64_t>(counts);
    if (wide)
      cpu::contrastive_finish(s, c, rows, n_views, static_cast<Contrast>(mode), ptr<double>(loss), ptr<int64_t>(skipped));
    else
      cpu::contrastive_finish(s, c, rows, n_views, static_cast<Contrast>(mode), ptr<float>(loss), ptr<int64_t>(skipped));
  });
  m.def("contrastive_backward",
        [](bool wide, Address grad_loss, Address anchor, int64_t n, int64_t d, Address views, int64_t n_views,
           Address features, int64_t f, Address group, int64_t begin, int64_t end, int mode, bool mean_pairs, double tau,
           double tau_s, double delta, Address stats, Address counts, Address grad_anchor, Address grad_views) {
          const ContrastSettings set{static_cast<Contrast>(mode), mean_pairs, tau, tau_s, delta};
          py::gil_scoped_release nogil;
          (wide ? backward<double> : backward<float>)(grad_loss, anchor, n, d, views, n_views, features, f, group, begin,
                                                      end, set, stats, counts, grad_anchor, grad_views);
        });
}

}  // namespace physioclr
