// physio_neighbors: the CUDA kernel on host threads against the CPU kernel: ties, groups, more neighbours than rows.
#include "cuda_host_sim.h"

#include "cuda/neighbors_kernel.cuh"
#include "cuda/row_scale.cuh"
#include "ops.h"

using namespace physioclr;
using hostsim::Array;

static void compare(int64_t n, int64_t m, int64_t f, int64_t k, bool cosine, bool self, bool groups) {
  if (self) m = n;
  Array<float> a(n * f), other(m * f), scale(n + m);
  Array<int64_t> group(n), index(n * k), index2(n * k);
  Array<float> similarity(n * k), similarity2(n * k);
  hostsim::Random random(n * 1000 + k);
  // small whole numbers: every product is exact, so the kernels agree on every tie
  for (int64_t i = 0; i < n * f; ++i) a[i] = static_cast<float>(std::floor(random() * 3));
  for (int64_t i = 0; i < m * f; ++i) other[i] = static_cast<float>(std::floor(random() * 3));
  for (int64_t i = 0; i < n; ++i) group[i] = i % 3;
  float* b = self ? a.get() : other.get();
  float* scale_b = self ? scale.get() : scale.get() + n;
  const unsigned rows_a = static_cast<unsigned>((n + 31) / 32), rows_b = static_cast<unsigned>((m + 31) / 32);
  hostsim::launch(cuda::row_scale_kernel<0>, {rows_a}, {32}, a.get(), n, f, cosine, scale.get());
  if (!self) hostsim::launch(cuda::row_scale_kernel<0>, {rows_b}, {32}, b, m, f, cosine, scale_b);
  const int64_t* ids = groups ? group.get() : nullptr;
  const double inv = 0.2236;
  hostsim::launch(cuda::neighbors_kernel, {static_cast<unsigned>((n + cuda::kPairTile - 1) / cuda::kPairTile)},
                  {cuda::kPairSide, cuda::kPairSide}, a.get(), n, b, m, f, self, cosine, inv, ids, k, scale.get(),
                  scale_b, index.get(), similarity.get());
  cpu::run(NeighborsCall{{a.get(), n, f},
                         {b, m, f},
                         self,
                         cosine ? Similarity::kCosine : Similarity::kRbf,
                         inv,
                         ids,
                         k,
                         nullptr,
                         index2.get(),
                         similarity2.get()});
  for (int64_t i = 0; i < n * k; ++i) {
    if ((similarity[i] == similarity[i]) != (similarity2[i] == similarity2[i])) ++hostsim::failures;
    if (similarity[i] == similarity[i]) hostsim::expect_near(similarity[i], similarity2[i], 1e-6, "similarity", i);
    hostsim::expect_near(static_cast<double>(index[i]), static_cast<double>(index2[i]), 0, "index", i);
  }
}

int main() {
  compare(70, 0, 5, 9, false, true, true);  // squared distances of whole numbers: exact
  compare(70, 133, 4, 7, false, false, false);
  compare(3, 2, 1, 5, false, false, false);
  compare(66, 0, 1, 3, true, true, false);  // one feature: cosines of -1, 0 and 1
  compare(5, 130, 1, 129, true, false, false);
  return hostsim::finish("physio_neighbors");
}
