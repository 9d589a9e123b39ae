// What the arguments' values must be, where NumPy would take ten passes over a few numbers.
#include <pybind11/numpy.h>

#include "bindings/bindings.h"

namespace physioclr {
namespace {

// The place of the first R peak of (records, beats) that is out of range or out of order, -1 if there is none: each row
// is rising sample indices below `samples`, then -1 to its end.
template <class T>
int64_t first_wrong(const py::array& rpeaks, int64_t samples) {
  const auto* r = static_cast<const T*>(rpeaks.data());
  const int64_t records = rpeaks.shape(0), beats = rpeaks.shape(1);
  for (int64_t b = 0; b < records; ++b) {
    int64_t last = -1;
    bool over = false;  // the padding has begun
    for (int64_t k = 0; k < beats; ++k) {
      const auto v = static_cast<int64_t>(r[b * beats + k]);
      if (v == -1) {
        over = true;
        continue;
      }
      if (over || v <= last || v >= samples) return b * beats + k;
      last = v;
    }
  }
  return -1;
}

}  // namespace

void bind_checks(py::module_& m) {
  m.def("first_wrong_rpeak", [](const py::array& rpeaks, int64_t samples) {
    if (rpeaks.ndim() != 2 || !(rpeaks.flags() & py::array::c_style))
      throw py::type_error("rpeaks: 2-D and C-contiguous");
    const char kind = rpeaks.dtype().kind();
    switch (rpeaks.itemsize()) {
      case 8: return kind == 'i' ? first_wrong<int64_t>(rpeaks, samples) : throw py::type_error("rpeaks: dtype");
      case 4: return kind == 'i' ? first_wrong<int32_t>(rpeaks, samples) : throw py::type_error("rpeaks: dtype");
      case 2: return kind == 'i' ? first_wrong<int16_t>(rpeaks, samples) : throw py::type_error("rpeaks: dtype");
      case 1: return kind == 'u' ? first_wrong<uint8_t>(rpeaks, samples) : first_wrong<int8_t>(rpeaks, samples);
      default: throw py::type_error("rpeaks: dtype");
    }
  });
}

}  // namespace physioclr
