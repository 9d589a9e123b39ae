#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {
namespace {

template <class T>
bool fwd(Address x_hat, Address x, int64_t records, int64_t leads, int64_t samples, Address rpeaks, int64_t columns,
         int64_t half, Address sum, Address count, int device, Address stream) {
  const Cube<const T> p{ptr<const T>(x_hat), records, leads, samples}, q{ptr<const T>(x), records, leads, samples};
  const Matrix<const int32_t> r{ptr<const int32_t>(rpeaks), records, columns};
  py::gil_scoped_release nogil;
  if (device < 0) return cpu::peak_reconstruction_loss_fwd<T>(p, q, r, half, ptr<double>(sum), ptr<int64_t>(count));
  cuda::peak_reconstruction_loss_fwd<T>(p, q, r, half, ptr<double>(sum), ptr<int64_t>(count), ptr<void>(stream));
  return true;
}

template <class T>
void bwd(Address x_hat, Address x, int64_t records, int64_t leads, int64_t samples, Address rpeaks, int64_t columns,
         int64_t half, Address scale, Address grad, int device, Address stream) {
  const Cube<const T> p{ptr<const T>(x_hat), records, leads, samples}, q{ptr<const T>(x), records, leads, samples};
  const Matrix<const int32_t> r{ptr<const int32_t>(rpeaks), records, columns};
  py::gil_scoped_release nogil;
  if (device < 0) return cpu::peak_reconstruction_loss_bwd<T>(p, q, r, half, ptr<const T>(scale), ptr<T>(grad));
  cuda::peak_reconstruction_loss_bwd<T>(p, q, r, half, ptr<const T>(scale), ptr<T>(grad), ptr<void>(stream));
}

}  // namespace

void bind_reconstruction(py::module_& m) {
  m.def("peak_reconstruction_loss_fwd_float32", &fwd<float>);
  m.def("peak_reconstruction_loss_fwd_float64", &fwd<double>);
  m.def("peak_reconstruction_loss_bwd_float32", &bwd<float>);
  m.def("peak_reconstruction_loss_bwd_float64", &bwd<double>);
}

}  // namespace physioclr
