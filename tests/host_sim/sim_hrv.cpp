// hrv: the CUDA kernel on host threads against the CPU kernel; records of no beat to five minutes, premature beats.
#include "cuda_host_sim.h"

#include <cmath>

#include "cuda/hrv_kernel.cuh"
#include "ops.h"

using namespace physioclr;

static void compare(int64_t records, int64_t columns, bool exclude, unsigned threads) {
  const int64_t values = hrv::kValues * records;
  hostsim::Array<int32_t> peaks(records * columns);
  hostsim::Array<float> got(values), want(values);
  hostsim::Array<bool> ectopic(records * columns), cpu_ectopic(records * columns);
  hostsim::Random random(columns);
  for (int64_t b = 0; b < records; ++b) {
    const int64_t beats = b * columns / (records > 1 ? records - 1 : 1);
    double at = 100;
    for (int64_t k = 0; k < columns; ++k) {
      peaks[b * columns + k] = k < beats ? static_cast<int32_t>(at) : -1;
      at += (k % 17 == 5 ? 260 : 400) + 30 * std::sin(0.5 * static_cast<double>(k)) + 10 * random();
    }
  }
  hostsim::launch(cuda::hrv_kernel, {static_cast<unsigned>(records)}, {threads}, peaks.get(), records, columns, 500.0,
                  exclude, got.get(), ectopic.get());
  cpu::run(HrvCall{{peaks.get(), records, columns}, 500.0, exclude, want.get(), cpu_ectopic.get()});
  for (int64_t i = 0; i < values; ++i) {
    if (std::isnan(got[i]) != std::isnan(want[i])) ++hostsim::failures;
    else if (!std::isnan(want[i])) hostsim::expect_near(got[i], want[i], 1e-5 * (1 + std::fabs(want[i])), "value", i);
  }
  for (int64_t i = 0; i < records * columns; ++i) hostsim::expect_near(ectopic[i], cpu_ectopic[i], 0, "ectopic", i);
}

int main() {
  for (bool exclude : {false, true}) {
    compare(5, 4, exclude, 32);
    compare(3, 90, exclude, 64);
    compare(2, 380, exclude, 32);
    compare(1, 0, exclude, 32);
  }
  return hostsim::finish("hrv");
}
