#include "cuda/launch.h"
#include "cuda/similarity_kernel.cuh"
#include "ops.h"

namespace physioclr::cuda {

void run(const SimilarityCall& call, void* stream) {
  const Matrix<const float> a = call.a, b = call.b;
  if (a.rows == 0 || b.rows == 0) return;
  const bool cosine = call.kind == Similarity::kCosine;
  const cudaStream_t s = as_stream(stream);
  float* const scales[2] = {call.scale, call.scale + a.rows};
  const Matrix<const float> sides[2] = {a, b};
  for (int k = 0; k < 2; ++k) {
    row_scale_kernel<0><<<static_cast<unsigned>((sides[k].rows + 127) / 128), 128, 0, s>>>(
        sides[k].data, sides[k].rows, sides[k].cols, cosine, scales[k]);
    check(cudaGetLastError(), "physio_similarity (row scales)");
  }
  const int64_t gy = (a.rows + kPairTile - 1) / kPairTile;
  if (gy > 65535) throw std::runtime_error("physio_similarity: more than 4,194,240 rows of a; split a");
  const dim3 grid(static_cast<unsigned>((b.rows + kPairTile - 1) / kPairTile), static_cast<unsigned>(gy));
  similarity_kernel<<<grid, dim3(kPairSide, kPairSide), 0, s>>>(a.data, a.rows, b.data, b.rows, a.cols, cosine,
                                                                call.inv_width, static_cast<int>(call.form),
                                                                call.threshold, scales[0], scales[1], call.out);
  check(cudaGetLastError(), "physio_similarity");
}

}  // namespace physioclr::cuda
