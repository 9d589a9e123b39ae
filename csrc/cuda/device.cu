#include "cuda/launch.h"
#include "ops.h"

namespace physioclr::cuda {

int device_count() noexcept {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess) {
    cudaGetLastError();  // no driver is an answer here, not an error to leave behind
    return 0;
  }
  return n;
}
bool compiled() noexcept { return true; }
const char* archs() noexcept { return PHYSIOCLR_ARCHS; }

}  // namespace physioclr::cuda
