#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {

void bind_neighbors(py::module_& m) {
  m.def("physio_neighbors", [](Address a, int64_t n, Address b, int64_t m_, int64_t f, bool self, int kind,
                               float inv_two_sigma2, Address group, int64_t k, Address scale, Address index,
                               Address similarity, int device, Address stream) {
    const Matrix<const float> va{ptr<const float>(a), n, f}, vb{ptr<const float>(b), m_, f};
    const auto s = static_cast<Similarity>(kind);
    const auto ids = ptr<const int64_t>(group);
    py::gil_scoped_release nogil;
    if (device < 0)
      return cpu::physio_neighbors(va, vb, self, s, inv_two_sigma2, ids, k, ptr<int64_t>(index), ptr<float>(similarity));
    cuda::physio_neighbors(va, vb, self, s, inv_two_sigma2, ids, k, ptr<float>(scale), ptr<int64_t>(index),
                           ptr<float>(similarity), ptr<void>(stream));
    return true;
  });
}

}  // namespace physioclr
