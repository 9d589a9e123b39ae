#include "cpu/wfdb_frames.h"

#include "bindings/bindings.h"

namespace physioclr {

void bind_wfdb_frames(py::module_& m) {
  m.def("wfdb_frames", [](Address raw, int format, int64_t frame, int64_t frames, Address columns, int64_t n_columns,
                          Address out) {
    py::gil_scoped_release nogil;
    cpu::wfdb_frames(ptr<const uint8_t>(raw), static_cast<WfdbFormat>(format), frame, frames,
                     ptr<const WfdbColumn>(columns), n_columns, ptr<int16_t>(out));
  });
}

}  // namespace physioclr
