#include "bindings/bind.h"
#include "core/philox.h"
#include "core/threads.h"
#include "ops.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  using namespace physioclr;
  m.doc() = "Kernels of physioclr. Not public: addresses come in unchecked. Use the functions of the package.";
  m.def("has_cuda", &cuda::compiled);
  m.def("cuda_archs", &cuda::archs);
  m.def("cuda_device_count", &cuda::device_count);
  m.def("cuda_driver_version", &cuda::driver_version);
  m.def("cuda_device_name", &cuda::device_name);
  m.def("view_seed", &view_seed);
  m.def("num_threads", &threads);
  m.def("set_num_threads", &set_threads);
  threads();  // registers the fork handler before anybody can fork
#define PHYSIOCLR_BIND(name, ...) bind<__VA_ARGS__>(m, #name);
  PHYSIOCLR_CALLS(PHYSIOCLR_BIND)
#undef PHYSIOCLR_BIND
  m.def("detect_rpeaks_workspace", &cuda::detect_rpeaks_workspace);
  m.def("augment_workspace", &cuda::augment_workspace);
  bind_contrastive(m);
  bind_contrastive_tiles(m);
  bind_constants(m);
  bind_testing(m);
}
