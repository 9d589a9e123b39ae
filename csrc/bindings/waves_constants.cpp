// The constants of the delineation and of the features, and the weights of the correction of the QRS complex.
#include <pybind11/numpy.h>

#include "bindings/bindings.h"
#include "core/delineate_constants.h"
#include "core/features_constants.h"
#include "core/qrs_weights.h"

namespace physioclr {

template <size_t n>
static py::array_t<double> array_of(const double (&v)[n]) {
  return py::array_t<double>(static_cast<py::ssize_t>(n), v);
}
template <size_t m, size_t n>
static py::array_t<double> array_of(const double (&v)[m][n]) {
  return py::array_t<double>({static_cast<py::ssize_t>(m), static_cast<py::ssize_t>(n)}, &v[0][0]);
}

void bind_waves_constants(py::module_& m) {
#define PHYSIOCLR_ENTRY(type, name, value) table[#name] = WHERE::name;
  m.def("delineate_constants", [] {
    py::dict table;
#define WHERE waves
    PHYSIOCLR_DELINEATE_CONSTANTS(PHYSIOCLR_ENTRY)
#undef WHERE
    return table;
  });
  m.def("features_constants", [] {
    py::dict table;
#define WHERE features
    PHYSIOCLR_FEATURES_CONSTANTS(PHYSIOCLR_ENTRY)
#undef WHERE
    return table;
  });
  m.def("qrs_weights", [] {
    py::dict table;
#define WHERE qrs
    PHYSIOCLR_QRS_INPUTS(PHYSIOCLR_ENTRY)
#undef WHERE
    table["kHidden"] = array_of(qrs::kHidden);
    table["kHiddenBias"] = array_of(qrs::kHiddenBias);
    table["kOut"] = array_of(qrs::kOut);
    table["kOutBias"] = array_of(qrs::kOutBias);
    return table;
  });
#undef PHYSIOCLR_ENTRY
}

}  // namespace physioclr
