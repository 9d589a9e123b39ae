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
int driver_version() noexcept {
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return version;
}
std::string device_name(int device) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "device_name");
  return std::string(properties.name) + " sm_" + std::to_string(properties.major) + std::to_string(properties.minor);
}
bool compiled() noexcept { return true; }
const char* archs() noexcept { return PHYSIOCLR_ARCHS; }

}  // namespace physioclr::cuda
