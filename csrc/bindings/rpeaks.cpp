#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {

namespace {

template <class T>
void detect(Address ecg, int64_t records, int64_t leads, int64_t samples, double fs, Address index, int64_t beats,
            Address count, Address quality, Address scratch, int device, Address stream) {
  const Cube<const T> x{ptr<const T>(ecg), records, leads, samples};
  const Matrix<int32_t> out{ptr<int32_t>(index), records, beats};
  py::gil_scoped_release nogil;
  if (device < 0) return cpu::detect_rpeaks(x, fs, out, ptr<int32_t>(count), ptr<float>(quality));
  cuda::detect_rpeaks(x, fs, out, ptr<int32_t>(count), ptr<float>(quality), ptr<void>(scratch), ptr<void>(stream));
}

}  // namespace

void bind_rpeaks(py::module_& m) {
  m.def("detect_rpeaks_float32", &detect<float>);
  m.def("detect_rpeaks_int16", &detect<int16_t>);
  m.def("detect_rpeaks_workspace", &cuda::detect_rpeaks_workspace);
}

}  // namespace physioclr
