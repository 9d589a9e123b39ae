#pragma once
// Kernels that exercise the harness itself. They also compile with nvcc, so that only what the device has is used.
#include <cstdint>

#include "core/macros.h"

// One block of up to 1024 threads: sum of n values by shuffles, a partial last warp included.
__global__ void warp_sum_kernel(const int* x, int n, int* sum) {
  __shared__ int part[32];
  const int t = threadIdx.x, lane = t % 32, threads = static_cast<int>(blockDim.x);
  const int in_warp = threads - (t - lane) < 32 ? threads - (t - lane) : 32;
  const unsigned mask = in_warp == 32 ? 0xffffffffu : (1u << in_warp) - 1;
  int v = 0;
  for (int i = blockIdx.x * threads + t; i < n; i += static_cast<int>(gridDim.x) * threads) v += x[i];
  for (int by = 16; by > 0; by /= 2) {
    const int other = __shfl_down_sync(mask, v, lane + by < in_warp ? by : 0);
    if (lane + by < in_warp) v += other;
  }
  if (lane == 0) part[t / 32] = v;
  __syncthreads();
  if (t == 0) {
    for (int w = 1; w < (threads + 31) / 32; ++w) part[0] += part[w];
    atomicAdd(sum, part[0]);
  }
}

// Each warp reverses its 32 values through dynamic shared memory and counts the odd ones; lanes 20 on leave early in
// the second half, where the rest meets without them. 32 ints of shared memory a warp.
__global__ void warp_reverse_kernel(const int* x, int* reversed, unsigned* odd, int* rest) {
  PHYSIOCLR_DYNAMIC_SHARED(int, tile);
  const int t = threadIdx.x, lane = t % 32, base = t - lane;
#ifdef PHYSIOCLR_BREAK_SHARED
  tile[t + 1] = x[t];
#else
  tile[t] = x[t];
#endif
  __syncwarp();
  const int v = tile[base + 31 - lane];
  reversed[t] = v;
  const unsigned bits = __ballot_sync(0xffffffffu, v % 2 != 0);
  if (lane == 0) odd[t / 32] = bits;
#ifdef PHYSIOCLR_BREAK_LANE
  if (lane >= 20) return;
  rest[t] = __shfl_xor_sync(0xffffffffu, v, 16);  // lane 4 reads lane 20, which has left
#else
  if (lane >= 20) return;
  rest[t] = lane < 4 ? __shfl_sync(0xfu, v, 3) : __shfl_up_sync(0xffff0u, v, 2, 4);
#endif
}

__global__ void vote_kernel(const int* x, int* count, float* largest) {
  const int n = __syncthreads_count(x[threadIdx.x] > 0);
#ifdef PHYSIOCLR_BREAK_DEADLOCK
  if (threadIdx.x > 3) __syncwarp(0xffffu);
#endif
  if (__syncthreads_or(x[threadIdx.x] > 1000)) return;
  atomicMax(count, n);
  atomicAdd(largest, 0.5f);
}
