// peak_reconstruction_loss: the CUDA kernels on host threads against the CPU kernels, float and double.
#include "cuda_host_sim.h"

#include <limits>

#include "cuda/reconstruction_kernel.cuh"
#include "ops.h"

using namespace physioclr;

template <class T>
static void compare(int64_t records, int64_t leads, int64_t samples, int64_t half) {
  const int64_t columns = 6, size = records * leads * samples;
  hostsim::Array<T> p(size), q(size), grad(size), cpu_grad(size), scale(records);
  hostsim::Array<int32_t> peaks(records * columns);
  hostsim::Array<double> sum(records), cpu_sum(records);
  hostsim::Array<int64_t> count(records), cpu_count(records);
  hostsim::Random random(samples);
  for (int64_t i = 0; i < size; ++i) {
    p[i] = static_cast<T>(random());
    q[i] = i % 29 == 3 ? std::numeric_limits<T>::quiet_NaN() : static_cast<T>(random());
  }
  for (int64_t b = 0; b < records; ++b) {
    scale[b] = static_cast<T>(b + 1);
    for (int64_t k = 0; k < columns; ++k)  // record b has b % (columns + 1) peaks, some close together
      peaks[b * columns + k] = k < b % (columns + 1) ? static_cast<int32_t>(k * (samples - 1) / (columns * 2)) : -1;
  }
  const unsigned threads = 64;
  hostsim::launch(cuda::peak_reconstruction_fwd_kernel<T>, {static_cast<unsigned>(records)}, {threads}, p.get(),
                  q.get(), leads, samples, peaks.get(), columns, half, sum.get(), count.get());
  hostsim::launch(cuda::peak_reconstruction_bwd_kernel<T>,
                  {static_cast<unsigned>(records), static_cast<unsigned>((samples + threads - 1) / threads)}, {threads},
                  p.get(), q.get(), leads, samples, peaks.get(), columns, half, scale.get(), grad.get());
  const Cube<const T> vp{p.get(), records, leads, samples}, vq{q.get(), records, leads, samples};
  const Matrix<const int32_t> vr{peaks.get(), records, columns};
  if (!cpu::run(PeakLossCall<T>{vp, vq, vr, half, cpu_sum.get(), cpu_count.get()})) ++hostsim::failures;
  cpu::run(PeakLossBwdCall<T>{vp, vq, vr, half, scale.get(), cpu_grad.get()});
  for (int64_t b = 0; b < records; ++b) {
    hostsim::expect_near(sum[b], cpu_sum[b], 1e-12 * (1 + std::fabs(cpu_sum[b])), "sum", b);
    hostsim::expect_near(static_cast<double>(count[b]), static_cast<double>(cpu_count[b]), 0, "count", b);
  }
  for (int64_t i = 0; i < size; ++i) hostsim::expect_near(grad[i], cpu_grad[i], 0, "grad", i);
}

int main() {
  compare<float>(8, 2, 129, 5);
  compare<double>(3, 12, 151, 20);
  compare<float>(7, 1, 1, 0);
  return hostsim::finish("peak_reconstruction_loss");
}
