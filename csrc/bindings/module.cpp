#include "bindings/bind.h"
#include "core/philox.h"
#include "core/threads.h"
#include "cpu/isa.h"
#include "ops.h"

namespace physioclr {

// What ops/contrastive has to know of its kernels.
static void bind_contrastive(py::module_& m) {
  py::dict modes;
  modes["ratio"] = static_cast<int>(Contrast::kRatio);
  modes["supcon"] = static_cast<int>(Contrast::kSupcon);
  modes["soft"] = static_cast<int>(Contrast::kSoft);
  m.attr("CONTRAST_MODES") = modes;
  py::dict forms;  // of contrastive_loss
  forms["instance"] = static_cast<int>(Contrast::kInstance);
  forms["labels"] = static_cast<int>(Contrast::kLabels);
  forms["hard"] = static_cast<int>(Contrast::kHard);
  forms["jaccard"] = static_cast<int>(Contrast::kSupcon);
  for (const char* name : {"cosine", "distance"}) forms[name] = static_cast<int>(Contrast::kSoft);
  m.attr("CONTRAST_FORMS") = forms;
  // The state of a row that has met nobody, in a loss computed in float32 or float64.
  m.def("contrastive_empty_state", [](bool wide, int mode, double tau, double tau_s, double delta) {
    const ContrastSettings set{static_cast<Contrast>(mode), false, tau, tau_s, delta};
    double state[kRowState];
    clear_state(wide ? needs_maxima<double>(set) : needs_maxima<float>(set), state);
    py::tuple out(kRowState);
    for (int q = 0; q < kRowState; ++q) out[q] = state[q];
    return out;
  });
  m.def("contrastive_fused_plan", [](int64_t d, int64_t f, bool split) {
    const cuda::ContrastPlan plan = cuda::contrastive_fused_plan(d, f, split);
    return py::make_tuple(plan.block_rows, plan.processors);
  });
  // padded, dk, fk of ContrastRows
  m.def("contrastive_fused_shape", [](int64_t n, int64_t d, int64_t f) {
    return py::make_tuple(fused_padded(n), fused_width(d), fused_feature_width(f));
  });
}

}  // namespace physioclr

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  using namespace physioclr;
  m.doc() = "Kernels of physioclr. Not public: addresses come in unchecked. Use the functions of the package.";
  m.def("has_cuda", &cuda::compiled);
  m.def("cuda_archs", &cuda::archs);
  m.def("cuda_device_count", &cuda::device_count);
  m.def("cuda_driver_version", &cuda::driver_version);
  m.def("cuda_device_name", &cuda::device_name);
  m.def("view_seed", &view_seed);
  m.def("isa", [] {
    const auto name = [](isa::Set set) { return isa::kNames[static_cast<int>(set)]; };
    return py::make_tuple(name(isa::current()), name(isa::highest()));
  });
  m.def("num_threads", &threads);
  m.def("set_num_threads", &set_threads);
  threads();  // registers the fork handler before anybody can fork
#define PHYSIOCLR_BIND(name, ...) bind<__VA_ARGS__>(m, #name);
  PHYSIOCLR_CALLS(PHYSIOCLR_BIND)
#undef PHYSIOCLR_BIND
#define PHYSIOCLR_BIND(name, ...) bind<__VA_ARGS__, true>(m, #name);
  PHYSIOCLR_HOST_CALLS(PHYSIOCLR_BIND)
#undef PHYSIOCLR_BIND
  m.def("detect_rpeaks_workspace", &cuda::detect_rpeaks_workspace);
  m.def("augment_workspace", &cuda::augment_workspace);
  bind_rpeaks_constants(m);
  bind_waves_constants(m);
  bind_contrastive(m);
  bind_checks(m);
  bind_signature(m);
  bind_constants(m);
  bind_testing(m);
  bind_wfdb_frames(m);
  bind_result_pool(m);
}
