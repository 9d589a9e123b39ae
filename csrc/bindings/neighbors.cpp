#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {

void bind_neighbors(py::module_& m) {
  m.def("physio_neighbors", [](Address a, int64_t n, Address b, int64_t m_, int64_t f, bool self, int kind,
                               float inv_two_sigma2, Address group, int64_t k, Address index, Address similarity) {
    py::gil_scoped_release nogil;
    return cpu::physio_neighbors({ptr<const float>(a), n, f}, {ptr<const float>(b), m_, f}, self,
                                 static_cast<Similarity>(kind), inv_two_sigma2, ptr<const int64_t>(group), k,
                                 ptr<int64_t>(index), ptr<float>(similarity));
  });
}

}  // namespace physioclr
