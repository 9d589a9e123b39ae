#include "cpu/wfdb_frames.h"

#include "bindings/bindings.h"
#include "cpu/wfdb_units.h"

namespace physioclr {

void bind_wfdb_frames(py::module_& m) {
  m.def("wfdb_frames", [](Address raw, int format, int64_t frame, int64_t frames, Address columns, int64_t n_columns,
                          Address out, int64_t first, int64_t total) {
    py::gil_scoped_release nogil;
    cpu::wfdb_frames(ptr<const uint8_t>(raw), static_cast<WfdbFormat>(format), frame, frames,
                     ptr<const WfdbColumn>(columns), n_columns, {ptr<int16_t>(out), nullptr, nullptr, nullptr}, first,
                     total);
  });
  // out: int16 samples where baseline is 0, otherwise float mV
  m.def("wfdb_read", [](int file, int64_t offset, int format, int64_t frame, int64_t frames, Address columns,
                        int64_t n_columns, Address out, int64_t first, int64_t total, Address baseline, Address scale) {
    py::gil_scoped_release nogil;
    const cpu::WfdbOut to{baseline ? nullptr : ptr<int16_t>(out), baseline ? ptr<float>(out) : nullptr,
                          ptr<const double>(baseline), ptr<const double>(scale)};
    return cpu::wfdb_read(file, offset, static_cast<WfdbFormat>(format), frame, frames, ptr<const WfdbColumn>(columns),
                          n_columns, to, first, total);
  });
  m.def("wfdb_scan", [](Address x, int64_t rows, int64_t n, Address zero, Address out) {
    py::gil_scoped_release nogil;
    cpu::wfdb_scan(ptr<const int16_t>(x), rows, n, ptr<const int64_t>(zero), ptr<cpu::WfdbRow>(out));
  });
  m.def("wfdb_millivolts", [](Address x, int64_t rows, int64_t n, Address baseline, Address scale, Address mv) {
    py::gil_scoped_release nogil;
    cpu::wfdb_millivolts(ptr<const int16_t>(x), rows, n, ptr<const double>(baseline), ptr<const double>(scale),
                         ptr<float>(mv));
  });
}

}  // namespace physioclr
