// physio_similarity: the CUDA kernels on host threads against the CPU kernel, all forms, ragged sizes.
#include "cuda_host_sim.h"

#include "cuda/similarity_kernel.cuh"
#include "ops.h"

using namespace physioclr;

// offset: of all features, so that products alone cannot tell the rows apart; the last rows of b are rows of a, and
// their opposites.
static void compare(int64_t n, int64_t m, int64_t f, bool cosine, int form, float offset = 0.0f,
                    float scale_all = 1.0f) {
  hostsim::Array<float> a(n * f), b(m * f), scale(n + m), cpu_scale(n + m);
  hostsim::Random random(n * 1000 + m);
  for (int64_t i = 0; i < n * f; ++i) a[i] = static_cast<float>(random() + offset) * scale_all;
  for (int64_t i = 0; i < m * f; ++i) b[i] = static_cast<float>(random() + offset) * scale_all;
  for (int64_t r = 1; r < std::min(n, m / 2); ++r)
    for (int64_t k = 0; k < f; ++k) b[(m - r) * f + k] = (r % 2 ? 1.0f : -1.0f) * a[r * f + k];
  for (int64_t k = 0; k < f; ++k) a[k] = 0.0f;  // a zero row
  const int64_t width = form == 2 ? (m + 7) / 8 : m, bytes = n * width * (form == 0 ? 4 : 1);
  hostsim::Array<unsigned char> got(bytes), want(bytes);
  const float threshold = 0.1234f;
  const double inv = 0.5 / scale_all;
  const unsigned blocks_n = static_cast<unsigned>((n + 31) / 32), blocks_m = static_cast<unsigned>((m + 31) / 32);
  hostsim::launch(cuda::row_scale_kernel<0>, {blocks_n}, {32}, a.get(), n, f, cosine, scale.get());
  hostsim::launch(cuda::row_scale_kernel<0>, {blocks_m}, {32}, b.get(), m, f, cosine, scale.get() + n);
  const unsigned gx = static_cast<unsigned>((m + cuda::kPairTile - 1) / cuda::kPairTile);
  const unsigned gy = static_cast<unsigned>((n + cuda::kPairTile - 1) / cuda::kPairTile);
  hostsim::launch(cuda::similarity_kernel, {gx, gy}, {cuda::kPairSide, cuda::kPairSide}, a.get(), n, b.get(), m, f,
                  cosine, inv, form, threshold, scale.get(), scale.get() + n, static_cast<void*>(got.get()));
  cpu::run(SimilarityCall{{a.get(), n, f},
                          {b.get(), m, f},
                          cosine ? Similarity::kCosine : Similarity::kRbf,
                          inv,
                          static_cast<SimilarityOut>(form),
                          threshold,
                          cpu_scale.get(),
                          want.get()});
  for (int64_t i = 0; i < n * width; ++i) {
    if (form == 0 && offset + scale_all != 1.0f && !(reinterpret_cast<float*>(got.get())[i] <= 1.0f))
      ++hostsim::failures;
    if (form == 0)
      hostsim::expect_near(reinterpret_cast<float*>(got.get())[i], reinterpret_cast<float*>(want.get())[i], 2e-6, "S",
                           i);
    else hostsim::expect_near(got[i], want[i], 0, form == 1 ? "mask" : "packed", i);
  }
}

int main() {
  for (int form = 0; form < 3; ++form)
    for (bool cosine : {true, false}) {
      compare(1, 1, 1, cosine, form);
      compare(70, 133, 20, cosine, form);
      compare(5, 19, 16, cosine, form);
      compare(40, 90, 20, cosine, form, 50.0f);
      compare(40, 90, 20, cosine, form, 0.0f, 1e-42f);
      compare(40, 90, 20, cosine, form, 0.0f, 1e30f);
    }
  return hostsim::finish("physio_similarity");
}
