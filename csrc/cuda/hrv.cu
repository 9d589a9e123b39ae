#include "cuda/hrv_kernel.cuh"
#include "cuda/launch.h"
#include "ops.h"

namespace physioclr::cuda {

void run(const HrvCall& call, void* stream) {
  const Matrix<const int32_t> r = call.rpeaks;
  if (r.rows == 0) return;
  if (r.rows > 2147483647) throw std::runtime_error("hrv: more than 2^31 - 1 records; split the batch");
  hrv_kernel<<<static_cast<unsigned>(r.rows), kHrvThreads, 0, as_stream(stream)>>>(
      r.data, r.rows, r.cols, call.fs, call.exclude, call.values, call.ectopic);
  check(cudaGetLastError(), "hrv");
}

}  // namespace physioclr::cuda
