#include "core/rpeaks_constants.h"

#include "bindings/bindings.h"

namespace physioclr {

void bind_rpeaks_constants(py::module_& m) {
  m.def("rpeaks_constants", [] {
    py::dict table;
#define PHYSIOCLR_RPEAKS_ENTRY(type, name, value) table[#name] = rpeaks::name;
    PHYSIOCLR_RPEAKS_CONSTANTS(PHYSIOCLR_RPEAKS_ENTRY)
#undef PHYSIOCLR_RPEAKS_ENTRY
    return table;
  });
}

}  // namespace physioclr
