#include "cuda/launch.h"
#include "cuda/reconstruction_kernel.cuh"
#include "ops.h"

namespace physioclr::cuda {

template <class T>
void peak_reconstruction_loss_fwd(Cube<const T> x_hat, Cube<const T> x, Matrix<const int32_t> rpeaks, int64_t half,
                                  double* sum, int64_t* count, void* stream) {
  if (x.records == 0) return;
  peak_reconstruction_fwd_kernel<T><<<static_cast<unsigned>(x.records), kReconThreads, 0, as_stream(stream)>>>(
      x_hat.data, x.data, x.leads, x.samples, rpeaks.data, rpeaks.cols, half, sum, count);
  check(cudaGetLastError(), "peak_reconstruction_loss forward");
}

template <class T>
void peak_reconstruction_loss_bwd(Cube<const T> x_hat, Cube<const T> x, Matrix<const int32_t> rpeaks, int64_t half,
                                  const T* scale, T* grad, void* stream) {
  if (x.records == 0 || x.leads == 0 || x.samples == 0) return;
  const int64_t chunks = (x.samples + kReconThreads - 1) / kReconThreads;
  if (chunks > 65535) throw std::runtime_error("peak_reconstruction_loss: more than 16,776,960 samples in a record");
  const dim3 grid(static_cast<unsigned>(x.records), static_cast<unsigned>(chunks));
  peak_reconstruction_bwd_kernel<T><<<grid, kReconThreads, 0, as_stream(stream)>>>(
      x_hat.data, x.data, x.leads, x.samples, rpeaks.data, rpeaks.cols, half, scale, grad);
  check(cudaGetLastError(), "peak_reconstruction_loss backward");
}

#define INSTANTIATE(T)                                                                                                 \
  template void peak_reconstruction_loss_fwd(Cube<const T>, Cube<const T>, Matrix<const int32_t>, int64_t, double*,    \
                                             int64_t*, void*);                                                         \
  template void peak_reconstruction_loss_bwd(Cube<const T>, Cube<const T>, Matrix<const int32_t>, int64_t, const T*,   \
                                             T*, void*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace physioclr::cuda
