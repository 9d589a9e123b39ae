// The harness itself: warp functions, dynamic shared memory, votes, atomics, several blocks, threads that leave early.
#include "cuda_host_sim.h"

#include "harness_kernels.cuh"

static void sums(unsigned blocks, unsigned threads, int n) {
  hostsim::Array<int> x(n), sum(1);
  int want = 0;
  for (int i = 0; i < n; ++i) want += x[i] = i * i % 1013;
  sum[0] = 0;
  hostsim::launch(warp_sum_kernel, {blocks}, {threads}, x.get(), n, sum.get());
  hostsim::expect_near(sum[0], want, 0, "sum", threads);
}

int main() {
  sums(1, 32, 1000);
  sums(3, 96, 777);
  sums(2, 70, 500);  // the last warp has six lanes
  sums(1, 1, 5);

  const int n = 96;
  hostsim::Array<int> x(n), reversed(n), rest(n);
  hostsim::Array<unsigned> odd(n / 32);
  for (int i = 0; i < n; ++i) x[i] = i * 7 % 64;
  for (int i = 0; i < n; ++i) rest[i] = -1;
  hostsim::launch_shared(warp_reverse_kernel, {1}, {n}, n * sizeof(int), x.get(), reversed.get(), odd.get(),
                         rest.get());
  for (int i = 0; i < n; ++i) {
    const int lane = i % 32, base = i - lane, want = x[base + 31 - lane];
    hostsim::expect_near(reversed[i], want, 0, "reversed", i);
    hostsim::expect_near(odd[i / 32] >> lane & 1, want % 2, 0, "odd", i);
    const int from = lane < 4 ? 3 : lane % 4 >= 2 ? lane - 2 : lane;
    hostsim::expect_near(rest[i], lane < 20 ? reversed[base + from] : -1, 0, "rest", i);
  }

  hostsim::Array<int> count(1);
  hostsim::Array<float> largest(1);
  count[0] = 0, largest[0] = 0;
  hostsim::launch(vote_kernel, {2, 2}, {8, 2}, x.get(), count.get(), largest.get());
  hostsim::expect_near(count[0], 14, 0, "count", 0);  // threadIdx.x runs to 7, twice: x > 0 for all but x[0]
  hostsim::expect_near(largest[0], 0.5 * 4 * 16, 0, "atomicAdd", 0);
  return hostsim::finish("harness");
}
