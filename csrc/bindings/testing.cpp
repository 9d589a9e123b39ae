#include "testing.h"

#include <pybind11/numpy.h>

#include "bindings/bindings.h"

namespace physioclr {
namespace {
template <class T>
using Given = py::array_t<T, py::array::c_style>;
}  // namespace

void bind_testing(py::module_& core) {
  py::module_ m = core.def_submodule("testing", "What only the tests call.");
  m.def("philox", [](const Given<uint32_t>& counters, uint64_t key) {
    if (counters.ndim() != 2 || counters.shape(1) != 4) throw py::value_error("counters must be (n, 4)");
    Given<uint32_t> words({counters.shape(0), counters.shape(1)});
    testing::philox(counters.data(), counters.shape(0), key, words.mutable_data());
    return words;
  });
  m.def("normals", [](const Given<uint32_t>& words) {
    Given<float> out(std::vector<py::ssize_t>(words.shape(), words.shape() + words.ndim()));
    testing::normals(words.data(), words.size(), out.mutable_data());
    return out;
  });
  m.def("limit_simd", &testing::limit_simd);
}

}  // namespace physioclr
