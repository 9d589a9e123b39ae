#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {

void bind_similarity(py::module_& m) {
  m.def("physio_similarity",
        [](Address a, int64_t n, Address b, int64_t m_, int64_t f, int kind, float inv_two_sigma2, int form,
           float threshold, Address scale, Address out, int device, Address stream) {
          const Matrix<const float> va{ptr<const float>(a), n, f}, vb{ptr<const float>(b), m_, f};
          const auto k = static_cast<Similarity>(kind);
          const auto o = static_cast<SimilarityOut>(form);
          py::gil_scoped_release nogil;
          if (device < 0)
            return cpu::physio_similarity(va, vb, k, inv_two_sigma2, o, threshold, ptr<float>(scale), ptr<void>(out));
          cuda::physio_similarity(va, vb, k, inv_two_sigma2, o, threshold, ptr<float>(scale), ptr<void>(out),
                                  ptr<void>(stream));
          return true;
        });
}

}  // namespace physioclr
