#include "cuda/launch.h"
#include "cuda/neighbors_kernel.cuh"
#include "cuda/row_scale.cuh"
#include "ops.h"

namespace physioclr::cuda {

void run(const NeighborsCall& call, void* stream) {
  const Matrix<const float> a = call.a, b = call.b;
  if (a.rows == 0) return;
  const bool cosine = call.kind == Similarity::kCosine;
  const cudaStream_t s = as_stream(stream);
  float* const scales[2] = {call.scale, call.own ? call.scale : call.scale + a.rows};
  const Matrix<const float> sides[2] = {a, b};
  for (int q = 0; q < (call.own || b.rows == 0 ? 1 : 2); ++q) {
    row_scale_kernel<0><<<static_cast<unsigned>((sides[q].rows + 127) / 128), 128, 0, s>>>(
        sides[q].data, sides[q].rows, sides[q].cols, cosine, scales[q]);
    check(cudaGetLastError(), "physio_neighbors (row scales)");
  }
  neighbors_kernel<<<static_cast<unsigned>((a.rows + kPairTile - 1) / kPairTile), dim3(kPairSide, kPairSide), 0, s>>>(
      a.data, a.rows, b.data, b.rows, a.cols, call.own, cosine, call.inv_width, call.group, call.k, scales[0],
      scales[1], call.index, call.similarity);
  check(cudaGetLastError(), "physio_neighbors");
}

}  // namespace physioclr::cuda
