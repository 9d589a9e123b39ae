#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {

void bind_rpeaks(py::module_& m) {
  m.def("detect_rpeaks", [](Address ecg, bool is_int16, int64_t records, int64_t leads, int64_t samples, double fs,
                            Address index, int64_t beats, Address count, Address quality) {
    const Matrix<int32_t> out{ptr<int32_t>(index), records, beats};
    py::gil_scoped_release nogil;
    if (is_int16)
      cpu::detect_rpeaks({ptr<const int16_t>(ecg), records, leads, samples}, fs, out, ptr<int32_t>(count),
                         ptr<float>(quality));
    else
      cpu::detect_rpeaks({ptr<const float>(ecg), records, leads, samples}, fs, out, ptr<int32_t>(count),
                         ptr<float>(quality));
  });
}

}  // namespace physioclr
