#include "cuda/launch.h"
#include "cuda/reconstruction_kernel.cuh"
#include "ops.h"

namespace physioclr::cuda {

namespace {

template <class T>
void sums(const PeakLossCall<T>& call, void* stream) {
  const Cube<const T> x = call.x;
  if (x.records == 0) return;
  peak_reconstruction_fwd_kernel<T><<<static_cast<unsigned>(x.records), kReconThreads, 0, as_stream(stream)>>>(
      call.x_hat.data, x.data, x.leads, x.samples, call.rpeaks.data, call.rpeaks.cols, call.half, call.sum, call.count);
  check(cudaGetLastError(), "peak_reconstruction_loss forward");
}

template <class T>
void gradient(const PeakLossBwdCall<T>& call, void* stream) {
  const Cube<const T> x = call.x;
  if (x.records == 0 || x.leads == 0 || x.samples == 0) return;
  const int64_t chunks = (x.samples + kReconThreads - 1) / kReconThreads;
  if (chunks > 65535) throw std::runtime_error("peak_reconstruction_loss: more than 16,776,960 samples in a record");
  const dim3 grid(static_cast<unsigned>(x.records), static_cast<unsigned>(chunks));
  peak_reconstruction_bwd_kernel<T>
      <<<grid, kReconThreads, 0, as_stream(stream)>>>(call.x_hat.data, x.data, x.leads, x.samples, call.rpeaks.data,
                                                      call.rpeaks.cols, call.half, call.scale, call.grad);
  check(cudaGetLastError(), "peak_reconstruction_loss backward");
}

}  // namespace

void run(const PeakLossCall<float>& call, void* stream) { sums(call, stream); }
void run(const PeakLossCall<double>& call, void* stream) { sums(call, stream); }
void run(const PeakLossBwdCall<float>& call, void* stream) { gradient(call, stream); }
void run(const PeakLossBwdCall<double>& call, void* stream) { gradient(call, stream); }

}  // namespace physioclr::cuda
