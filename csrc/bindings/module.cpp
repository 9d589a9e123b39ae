#include "bindings/bindings.h"
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
  m.def("num_threads", &threads);
  m.def("set_num_threads", &set_threads);
  threads();  // registers the fork handler before anybody can fork
  bind_rpeaks(m);
  bind_rpeaks_constants(m);
  bind_similarity(m);
  bind_reconstruction(m);
  bind_augment(m);
  bind_contrastive(m);
  bind_contrastive_tiles(m);
  bind_neighbors(m);
}
