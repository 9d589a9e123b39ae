#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace physioclr::cuda {

inline void check(cudaError_t e, const char* what) {
  if (e != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(e));
}
inline cudaStream_t as_stream(void* s) { return static_cast<cudaStream_t>(s); }

}  // namespace physioclr::cuda
