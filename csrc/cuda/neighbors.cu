#include "cuda/launch.h"
#include "cuda/neighbors_kernel.cuh"
#include "cuda/row_scale.cuh"
#include "ops.h"

namespace physioclr::cuda {

void physio_neighbors(Matrix<const float> a, Matrix<const float> b, bool self, Similarity kind, float inv_two_sigma2,
                      const int64_t* group, int64_t k, float* scale, int64_t* index, float* similarity, void* stream) {
  if (a.rows == 0) return;
  const bool cosine = kind == Similarity::kCosine;
  const cudaStream_t s = as_stream(stream);
  float* const scales[2] = {scale, self ? scale : scale + a.rows};
  const Matrix<const float> sides[2] = {a, b};
  for (int q = 0; q < (self || b.rows == 0 ? 1 : 2); ++q) {
    row_scale_kernel<0><<<static_cast<unsigned>((sides[q].rows + 127) / 128), 128, 0, s>>>(
        sides[q].data, sides[q].rows, sides[q].cols, cosine, scales[q]);
    check(cudaGetLastError(), "physio_neighbors (row scales)");
  }
  neighbors_kernel<<<static_cast<unsigned>((a.rows + kPairTile - 1) / kPairTile), dim3(kPairSide, kPairSide), 0, s>>>(
      a.data, a.rows, b.data, b.rows, a.cols, self, cosine, inv_two_sigma2, group, k, scales[0], scales[1], index,
      similarity);
  check(cudaGetLastError(), "physio_neighbors");
}

}  // namespace physioclr::cuda
