#pragma once
// Every op binds itself in csrc/bindings/<op>.cpp: addresses and shapes in, views out, the GIL released, no maths.
// `device` is -1 for the CPU, otherwise the CUDA device that the caller has made current.
#include <pybind11/pybind11.h>

#include <cstdint>

namespace physioclr {

namespace py = pybind11;
using Address = uintptr_t;

template <class T>
T* ptr(Address a) {
  return reinterpret_cast<T*>(a);
}

void bind_checks(py::module_& m);
void bind_constants(py::module_& m);
void bind_testing(py::module_& m);
void bind_wfdb_frames(py::module_& m);
void bind_result_pool(py::module_& m);
void bind_signature(py::module_& m);
void bind_rpeaks_constants(py::module_& m);
void bind_waves_constants(py::module_& m);

}  // namespace physioclr
