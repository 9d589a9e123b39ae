// The tile version of hybrid_contrastive_loss, CPU and CUDA: one submodule of functions per element type of the
// embeddings, since the caller (ops/_torch/contrastive_tiles.py) chooses it once.
#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {
namespace {

ContrastSettings settings(int mode, bool mean_pairs, double tau, double tau_s, double delta) {
  return {static_cast<Contrast>(mode), mean_pairs, tau, tau_s, delta};
}

template <class T, class E>
void define(py::module_ m) {
  m.def("prepare", [](int device, Address stream, Address anchor, int64_t n, int64_t d, Address features, int64_t f,
                      Address h, Address unit, Address inv_norm, Address id) {
    const Matrix<const E> a{ptr<const E>(anchor), n, d};
    const Matrix<const T> b{ptr<const T>(features), n, f};
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_prepare<T, E>(a, b, ptr<T>(h), ptr<T>(unit), ptr<double>(inv_norm), ptr<int32_t>(id));
    else
      cuda::contrastive_prepare<T, E>(a, b, ptr<T>(h), ptr<T>(unit), ptr<double>(inv_norm), ptr<int32_t>(id),
                                      ptr<void>(stream));
  });
  m.def("similarity", [](int device, Address stream, Address a, int64_t rows, Address b, int64_t cols, int64_t f,
                         Address out) {
    const Matrix<const T> x{ptr<const T>(a), rows, f}, y{ptr<const T>(b), cols, f};
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_tile_similarity<T>(x, y, ptr<T>(out));
    else
      cuda::contrastive_tile_similarity<T>(x, y, ptr<T>(out), ptr<void>(stream));
  });
  m.def("sums", [](int device, Address stream, Address s, Address f, int64_t rows, int64_t cols, Address id_i,
                   Address id_j, Address row_state, Address col_state, int mode, bool mean_pairs, double tau,
                   double tau_s, double delta) {
    const ContrastTile<T> tile{ptr<T>(s), ptr<const T>(f), rows, cols, ptr<const int32_t>(id_i), ptr<const int32_t>(id_j)};
    const ContrastSettings set = settings(mode, mean_pairs, tau, tau_s, delta);
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_tile_sums<T>(tile, set, ptr<double>(row_state), ptr<double>(col_state));
    else
      cuda::contrastive_tile_sums<T>(tile, set, ptr<double>(row_state), ptr<double>(col_state), ptr<void>(stream));
  });
  m.def("row_stats", [](int device, Address stream, Address anchor, int64_t n, int64_t d, Address views,
                        int64_t n_views, int64_t begin, int64_t end, Address inv_norm, Address state, int64_t strips,
                        Address stats, Address counts, int mode, bool mean_pairs, double tau, double tau_s,
                        double delta) {
    const Matrix<const E> a{ptr<const E>(anchor), n, d};
    const ContrastSettings set = settings(mode, mean_pairs, tau, tau_s, delta);
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_row_stats<T, E>(a, ptr<const E>(views), n_views, begin, end, ptr<const double>(inv_norm),
                                       ptr<const double>(state), strips, set, ptr<double>(stats), ptr<int64_t>(counts));
    else
      cuda::contrastive_row_stats<T, E>(a, ptr<const E>(views), n_views, begin, end, ptr<const double>(inv_norm),
                                        ptr<const double>(state), strips, set, ptr<double>(stats), ptr<int64_t>(counts),
                                        ptr<void>(stream));
  });
  m.def("weights", [](int device, Address stream, Address stats, Address counts, int64_t rows, int64_t n_views,
                      Address log_tn, Address w, int mode, bool mean_pairs, double tau, double tau_s, double delta) {
    const ContrastSettings set = settings(mode, mean_pairs, tau, tau_s, delta);
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_weights<T>(ptr<const double>(stats), ptr<const int64_t>(counts), rows, n_views, set,
                                  ptr<double>(log_tn), ptr<T>(w));
    else
      cuda::contrastive_weights<T>(ptr<const double>(stats), ptr<const int64_t>(counts), rows, n_views, set,
                                   ptr<double>(log_tn), ptr<T>(w), ptr<void>(stream));
  });
  m.def("coefficients", [](int device, Address stream, Address s, Address f, int64_t rows, int64_t cols, Address id_i,
                           Address id_j, Address w_i, Address w_j, int mode, bool mean_pairs, double tau, double tau_s,
                           double delta) {
    const ContrastTile<T> tile{ptr<T>(s), ptr<const T>(f), rows, cols, ptr<const int32_t>(id_i), ptr<const int32_t>(id_j)};
    const ContrastSettings set = settings(mode, mean_pairs, tau, tau_s, delta);
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_tile_coefficients<T>(tile, set, ptr<const T>(w_i), ptr<const T>(w_j));
    else
      cuda::contrastive_tile_coefficients<T>(tile, set, ptr<const T>(w_i), ptr<const T>(w_j), ptr<void>(stream));
  });
  m.def("row_gradients", [](int device, Address stream, Address grad_loss, Address anchor, int64_t n, int64_t d,
                            Address views, int64_t n_views, int64_t begin, int64_t end, Address inv_norm,
                            Address grad_h, int64_t strips, Address stats, Address counts, Address log_tn,
                            Address grad_anchor, Address grad_views, int mode, bool mean_pairs, double tau,
                            double tau_s, double delta) {
    const Matrix<const E> a{ptr<const E>(anchor), n, d};
    const ContrastSettings set = settings(mode, mean_pairs, tau, tau_s, delta);
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_row_gradients<T, E>(ptr<const double>(grad_loss), a, ptr<const E>(views), n_views, begin, end,
                                           ptr<const double>(inv_norm), ptr<T>(grad_h), strips, ptr<const double>(stats),
                                           ptr<const int64_t>(counts), ptr<const double>(log_tn), set,
                                           ptr<E>(grad_anchor), ptr<E>(grad_views));
    else
      cuda::contrastive_row_gradients<T, E>(ptr<const double>(grad_loss), a, ptr<const E>(views), n_views, begin, end,
                                            ptr<const double>(inv_norm), ptr<T>(grad_h), strips, ptr<const double>(stats),
                                            ptr<const int64_t>(counts), ptr<const double>(log_tn), set,
                                            ptr<E>(grad_anchor), ptr<E>(grad_views), ptr<void>(stream));
  });
}

// Of embeddings E that are multiplied as X.
template <class E, class X>
void define_fused(py::module_ m) {
  const auto rows = [](Address x, Address f, Address r, Address id, int64_t padded, int dk, int fk) {
    return ContrastRows<X>{ptr<typename Operand<X>::Number>(x), ptr<Half>(f), ptr<float>(r), ptr<int32_t>(id), padded, dk, fk};
  };
  m.def("prepare", [rows](int device, Address stream, Address anchor, int64_t n, int64_t d, Address features,
                                int64_t f, Address group, Address x, Address split, Address r, Address id,
                                int64_t padded, int dk, int fk, Address inv_norm) {
    const Matrix<const E> a{ptr<const E>(anchor), n, d};
    const Matrix<const float> b{ptr<const float>(features), n, f};
    const ContrastRows<X> out = rows(x, split, r, id, padded, dk, fk);
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_fused_prepare<E, X>(a, b, ptr<const int32_t>(group), out, ptr<double>(inv_norm));
    else
      cuda::contrastive_fused_prepare<E, X>(a, b, ptr<const int32_t>(group), out, ptr<double>(inv_norm), ptr<void>(stream));
  });
  m.def("sums", [rows](int device, Address stream, Address x, Address split, Address r, Address id,
                             int64_t padded, int dk, int fk, int64_t begin, int64_t end, int64_t strips, Address state,
                             int mode, bool mean_pairs, double tau, double tau_s, double delta) {
    const ContrastRows<X> in = rows(x, split, r, id, padded, dk, fk);
    const ContrastSettings set = settings(mode, mean_pairs, tau, tau_s, delta);
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_fused_sums<X>(in, set, begin, end, strips, ptr<double>(state));
    else
      cuda::contrastive_fused_sums<X>(in, set, begin, end, strips, ptr<double>(state), ptr<void>(stream));
  });
  m.def("gradient", [rows](int device, Address stream, Address x, Address split, Address r, Address id,
                                 int64_t padded, int dk, int fk, int64_t begin, int64_t end, int64_t strips,
                                 Address stats, Address counts, int64_t n, int64_t n_views, Address log_tn, Address w,
                                 int64_t d, Address grad_h, int mode, bool mean_pairs, double tau, double tau_s,
                                 double delta) {
    const ContrastRows<X> in = rows(x, split, r, id, padded, dk, fk);
    const ContrastSettings set = settings(mode, mean_pairs, tau, tau_s, delta);
    py::gil_scoped_release nogil;
    if (device < 0)
      cpu::contrastive_fused_gradient<X>(in, set, begin, end, strips, ptr<const double>(stats),
                                         ptr<const int64_t>(counts), n, n_views, ptr<const double>(log_tn),
                                         ptr<float>(w), d, ptr<float>(grad_h));
    else
      cuda::contrastive_fused_gradient<X>(in, set, begin, end, strips, ptr<const double>(stats),
                                          ptr<const int64_t>(counts), n, n_views, ptr<const double>(log_tn),
                                          ptr<float>(w), d, ptr<float>(grad_h), ptr<void>(stream));
  });
}

}  // namespace

// Submodules by the dtype of the embeddings; those of the fused version by that and by what is multiplied.
void bind_contrastive_tiles(py::module_& m) {
  py::module_ all = m.def_submodule("contrastive_tiles");
  define<float, float>(all.def_submodule("float32"));
  define<double, double>(all.def_submodule("float64"));
  define<float, Half>(all.def_submodule("float16"));
  define<float, BFloat>(all.def_submodule("bfloat16"));
  py::module_ fused = all.def_submodule("fused");
  define_fused<Half, Half>(fused.def_submodule("float16"));
  define_fused<BFloat, BFloat>(fused.def_submodule("bfloat16"));
  define_fused<float, SplitHalf>(fused.def_submodule("float32"));
  define_fused<float, Half>(fused.def_submodule("tf32"));
  all.def("fused_plan", [](int64_t d, int64_t f, bool split) {
    const cuda::ContrastPlan plan = cuda::contrastive_fused_plan(d, f, split);
    return py::make_tuple(plan.block_rows, plan.processors);
  });
}

}  // namespace physioclr
