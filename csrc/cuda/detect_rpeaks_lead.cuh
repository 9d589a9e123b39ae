#pragma once
// detect_rpeaks on the device, the first two kernels: one block a record finds where its grids begin, then one block a
// lead makes its working rate, bridges its gaps and computes its envelopes and weights. The method is told at the head
// of csrc/cpu/hot/detect_rpeaks.cpp, and every decision here is that of core/rpeaks_math.h in the same order of
// operations, so the beats are the CPU's, index for index (products and sums are fused only where fmaf says so). Bodies
// only, no launch, so that this file also compiles for the host.
#include <cstdint>

#include "core/reconstruction_math.h"
#include "core/rpeaks_math.h"
#include "core/rpeaks_place.h"
#include "core/rpeaks_plan.h"

namespace physioclr::cuda {

using namespace rpeaks;

constexpr int kAnchorThreads = 128, kLeadThreads = 128, kRecordThreads = 128, kRhythmThreads = 64;
constexpr int kRawTile = 1024;    // samples at full rate
constexpr int kEnvTile = 256;     // envelope samples
constexpr int kFusedHere = 1024;  // envelope samples of a record that fit in shared memory: 16 s
constexpr int kStatLanes = 16;    // lanes of maximum_and_sum

// The caller's scratch (rpeaks_work divides it up). Rows: one for each record and lead; a row has kBands bands. n, m
// and blocks are those of the plan, so that no record reaches into the next; within its part a record has its own.
struct RpeaksWork {
  int64_t* begin;                          // (records) where the first whole block begins
  float *slow, *env;                       // (rows, n), (rows, bands, m)
  float *maxima, *means, *level, *weight;  // (rows, bands, blocks)
  float *origin, *gain;                    // (rows)
  int32_t* alive;                          // (rows) whether the lead has a signal
  uint8_t* missing;                        // (rows, n), written where a lead has gaps
  float* fused;                            // (records, m)
  float *top, *mean, *height, *noise;      // (records, blocks): of the sum
  float *amp, *z, *doubt, *rhythm, *cost;  // (records, most), cost (records, most, kLookBack)
  double* value;                           // (records, most)
  int32_t *cand, *back, *chosen, *at;      // (records, most)
  uint8_t *mark, *before, *smooth;         // (records, most)
  float *base, *share;                     // (records, warps, leads)
};

// Most candidates of a record: they are more than the separation apart.
PHYSIOCLR_HD int64_t most_candidates(const RpeaksShape& p) { return p.m / (p.separation + 1) + 1; }

// The plan of record b.
__device__ inline RpeaksShape shape_of(const RpeaksPlan& plan, const RpeaksWork& work, int64_t b) {
  RpeaksShape p = plan;
  p.put(grid_of(work.begin[b], p.samples, p.step, p.hop, static_cast<int64_t>(p.block)));
  return p;
}

__device__ inline float block_largest(float v, int* cell) {  // of values >= 0
  if (threadIdx.x == 0) *cell = 0;
  __syncthreads();
  for (int by = 16; by > 0; by /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, v, by);
    v = v < other ? other : v;
  }
  if (threadIdx.x % 32 == 0) atomicMax(cell, __float_as_int(v));  // bits of such floats are in the order of the floats
  __syncthreads();
  return __int_as_float(*cell);
}

// Maximum and sum of n values by 16 lanes, in the order of the CPU's. The result is that of lane 0.
__device__ inline void maximum_and_sum(const float* x, int n, int lane, float* top, float* sum) {
  float m = 0, a = 0;
  for (int i = lane; i < n; i += kStatLanes) {
    m = m < x[i] ? x[i] : m;
    a += x[i];
  }
  const unsigned mask = 0xffffu << (threadIdx.x & 16);
  for (int half = kStatLanes / 2; half > 0; half /= 2) {
    const float om = __shfl_down_sync(mask, m, half, kStatLanes), oa = __shfl_down_sync(mask, a, half, kStatLanes);
    m = m < om ? om : m;
    a += oa;
  }
  *top = m;
  *sum = a;
}

// Maximum and mean of each block of `rows` envelopes. Every thread of the block takes part.
__device__ inline void block_statistics(const float* env, int rows, const RpeaksShape& p, float* maxima, float* means) {
  const int lane = threadIdx.x % kStatLanes, groups = blockDim.x / kStatLanes;
  for (int item = threadIdx.x / kStatLanes; item < rows * p.blocks; item += groups) {
    const int r = item / p.blocks, k = item % p.blocks, begin = p.core_begin(k), n = p.core_end(k) - begin;
    float top, sum;
    maximum_and_sum(env + static_cast<int64_t>(r) * p.m + begin, n, lane, &top, &sum);
    if (lane == 0) {
      maxima[item] = top;
      means[item] = n > 0 ? sum / static_cast<float>(n) : 0.0f;
    }
  }
}

// The lead, from the grid's first sample on, at the working rate, without spikes. Returns (to every thread) whether a
// mean is missing.
template <class T>
__device__ bool work_rate(const T* x, const RpeaksShape& p, float* raw, float* y) {
  const int tile = kRawTile / p.step, tid = threadIdx.x, threads = blockDim.x;
  const float scale = 1.0f / static_cast<float>(p.step);
  bool gap = false;
  for (int i0 = 0; i0 < p.n; i0 += tile) {
    const int count = p.n - i0 < tile ? p.n - i0 : tile, begin = i0 * p.step;
    for (int j = tid; j < count * p.step; j += threads) {
      raw[j + j / 32] =
          despiked(x, p.samples - p.first, begin + j, p.spike);  // a gap each 32: the lanes below read other banks
    }
    __syncthreads();
    for (int i = tid; i < count; i += threads) {
      const auto sample = [=](int64_t k) {
        const int j = i * p.step + static_cast<int>(k);
        return raw[j + j / 32];
      };
      const float v = sum_of_step(sample, p.step) * scale;
      y[i0 + i] = v;
      gap = gap || !is_finite(v);
    }
    __syncthreads();
  }
  return __syncthreads_or(gap);
}

// Straight lines over the gaps of y, 0 before the first valid sample `first`. edge: scratch of 2 * blockDim.x.
__device__ inline void bridge_gaps(float* y, const uint8_t* missing, int n, int first, int* edge) {
  const int tid = threadIdx.x, threads = blockDim.x, piece = (n + threads - 1) / threads;
  const int begin = tid * piece < n ? tid * piece : n, end = begin + piece < n ? begin + piece : n;
  int* last_valid = edge;             // of each thread's piece, -1 if it has none
  int* first_valid = edge + threads;  // n if it has none
  int low = n, high = -1;
  for (int i = begin; i < end; ++i)
    if (!missing[i]) {
      low = low < i ? low : i;
      high = i;
    }
  last_valid[tid] = high;
  first_valid[tid] = low;
  __syncthreads();
  int left = -1, after = n;
  for (int t = tid - 1; t >= 0 && left < 0; --t) left = last_valid[t];
  for (int t = tid + 1; t < threads && after == n; ++t) after = first_valid[t];
  int right = -1;  // the next valid sample, once it is looked for
  for (int i = begin; i < end; ++i) {
    if (!missing[i]) {
      left = i;
      continue;
    }
    if (i < first) {
      y[i] = 0;
      continue;
    }
    if (right < i) {
      right = i + 1;
      while (right < end && missing[right]) ++right;
      if (right == end) right = after;
    }
    const float a = y[left], d = right < n ? (y[right] - a) / static_cast<float>(right - left) : 0.0f;
    y[i] = a + d * static_cast<float>(i - left);
  }
}

// Both envelopes of kEnvTile samples from `begin` on. half: the working samples around them, the even ones and (hop 2)
// the odd ones apart, so that neighbouring lanes read neighbouring words.
__device__ inline void envelope_tile(float (*half)[kEnvTile + 2 * kMostReach], const RpeaksPlan& plan,
                                     const RpeaksShape& p, int begin, float floor, const float* y,
                                     const uint8_t* missing, float* env) {
  for (int h = 0; h < p.hop; ++h)
    for (int j = threadIdx.x; j < kEnvTile + 2 * kMostReach; j += blockDim.x) {
      const int s = (begin - kMostReach + j) * p.hop + h;
      half[h][j] = y[s < 0 ? 0 : s >= p.n ? p.n - 1 : s];
    }
  __syncthreads();
  const int count = p.m - begin < kEnvTile ? p.m - begin : kEnvTile;
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    const float *x = half[0] + kMostReach + i, *between = half[1] + kMostReach + i;
    float a[kBands], b[kBands];
#pragma unroll
    for (int w = 0; w < kBands; ++w) {
      a[w] = plan.even[w][0] * x[0];
      b[w] = 0;
    }
    for (int start = 1; start <= p.hop; ++start)  // hop 2: the odd taps, then the even ones, as on the CPU
      for (int k = start; k <= plan.reach[0]; k += p.hop) {
        const bool odd = p.hop == 2 && start == 1;
        const int off = k / p.hop;
        const float r = odd ? between[off] : x[off], l = odd ? between[-off - 1] : x[-off];
#pragma unroll
        for (int w = 0; w < kBands; ++w)
          if (w == 0 || k <= plan.reach[w]) {
            a[w] = fmaf(plan.even[w][k], r + l, a[w]);
            b[w] = fmaf(plan.odd[w][k], r - l, b[w]);
          }
      }
#pragma unroll
    for (int w = 0; w < kBands; ++w) {
      const float root = sqrtf(a[w] * a[w] + b[w] * b[w]);
      const bool gone = root < floor || (missing != nullptr && missing[(begin + i) * p.hop]);
      env[static_cast<int64_t>(w) * p.m + begin + i] = gone ? 0.0f : root;
    }
  }
  __syncthreads();
}

// As anchor_of of the CPU. start: as in RpeaksCall.
template <class T>
__global__ void __launch_bounds__(kAnchorThreads)
    rpeaks_anchor_kernel(const T* ecg, int leads, RpeaksShape p, int64_t start, RpeaksWork work) {
  __shared__ int top, first;
  const int tid = threadIdx.x, none = p.samples;
  const int64_t b = blockIdx.x;
  const T* record = ecg + b * leads * p.samples;
  int64_t anchor = 0;
  bool found = start >= 0;
  for (int l = 0; l < leads && !found; ++l) {
    const T* x = record + static_cast<int64_t>(l) * p.samples;
    for (int64_t begin = p.anchor.begin; begin < p.anchor.end && !found; begin += p.anchor.span) {
      const int64_t end = begin + p.anchor.span < p.anchor.end ? begin + p.anchor.span : p.anchor.end;
      if (tid == 0) top = 0, first = none;
      __syncthreads();
      int own = 0;
      for (int64_t i = begin + tid; i < end; i += kAnchorThreads) {
        const int bits = steepness_bits(x[i], x[i + p.anchor.apart]);
        own = own < bits ? bits : own;
      }
      atomicMax(&top, own);
      __syncthreads();
      if (top > 0) {
        const int enough = steep_enough(top);
        for (int64_t i = begin + tid; i < end; i += kAnchorThreads)
          if (steepness_bits(x[i], x[i + p.anchor.apart]) >= enough) {
            atomicMin(&first, static_cast<int>(i));
            break;
          }
        found = true;
      }
      __syncthreads();
      if (found) anchor = first;
    }
  }
  if (tid == 0) work.begin[b] = start < 0 ? begin_around(anchor, p.period()) : begin_from(start, p.period());
}

template <class T>
__global__ void __launch_bounds__(kLeadThreads)
    rpeaks_lead_kernel(const T* ecg, int leads, RpeaksPlan plan, RpeaksWork work) {
  __shared__ float raw[kRawTile + kRawTile / 32];
  __shared__ float half[2][kEnvTile + 2 * kMostReach];
  __shared__ float sorted[kLeadThreads][2 * kAside + 1];
  __shared__ int cell, edge[2 * kLeadThreads];
  const int64_t row = blockIdx.x, lead = row % leads, before = row - lead;  // rows of earlier records
  const RpeaksShape p = shape_of(plan, work, row / leads);
  const int tid = threadIdx.x, threads = blockDim.x;
  float* y = work.slow + before * plan.n + lead * p.n;
  float* env = work.env + (before * plan.m + lead * p.m) * kBands;
  uint8_t* missing = work.missing + before * plan.n + lead * p.n;

  const bool gaps = work_rate(ecg + row * p.samples + p.first, p, raw, y);
  int first = 0;
  if (gaps) {
    if (tid == 0) cell = p.n;
    __syncthreads();
    int own = p.n;
    for (int i = tid; i < p.n; i += threads) {
      const bool gone = !is_finite(y[i]);
      missing[i] = gone;
      if (!gone && own == p.n) own = i;
    }
    atomicMin(&cell, own);
    __syncthreads();
    first = cell;
  }
  const float origin = first < p.n ? y[first] : 0.0f;
  __syncthreads();
  if (first < p.n)
    for (int i = tid; i < p.n; i += threads) y[i] -= origin;
  if (gaps && first < p.n) {
    __syncthreads();
    bridge_gaps(y, missing, p.n, first, edge);
    __syncthreads();
  }
  float largest = 0;
  if (first < p.n)
    for (int i = tid; i < p.n; i += threads) {
      const float v = fabsf(y[i]);
      largest = largest < v ? v : largest;
    }
  largest = block_largest(largest, &cell);
  const bool alive = largest > 0;
  float gain = 1;
  if (largest > 1e15f || largest < 1e-12f) {  // its squares would leave the range of float32
    gain = largest > 1e-37f ? 1 / largest : 0.0f;
    for (int i = tid; i < p.n; i += threads) y[i] *= gain;
    largest *= gain;
  }
  if (tid == 0) {
    work.origin[row] = origin;
    work.gain[row] = gain;
    work.alive[row] = alive;
  }
  const int64_t blocks = (before * plan.blocks + lead * p.blocks) * kBands;
  float* level = work.level + blocks;
  float* weight = work.weight + blocks;
  if (!(largest > 0)) {  // flat, or nothing valid
    for (int i = tid; i < p.n; i += threads) y[i] = 0;
    for (int64_t i = tid; i < static_cast<int64_t>(kBands) * p.m; i += threads) env[i] = 0;
    for (int i = tid; i < kBands * p.blocks; i += threads) level[i] = weight[i] = 0;
    return;
  }
  __syncthreads();
  const float floor = 4e-6f * largest;  // rounding of the wavelet's sums
  for (int begin = 0; begin < p.m; begin += kEnvTile)
    envelope_tile(half, plan, p, begin, floor, y, gaps ? missing : nullptr, env);
  float* maxima = work.maxima + blocks;
  float* means = work.means + blocks;
  block_statistics(env, kBands, p, maxima, means);
  __syncthreads();
  for (int item = tid; item < kBands * p.blocks; item += threads) {
    const int k = item % p.blocks, b = item - k;
    level[item] = near_level(maxima + b, p.blocks, k, sorted[tid]);
    weight[item] = contrast(level[item], block_mean(means + b, p.blocks, k, sorted[tid]));
  }
}

}  // namespace physioclr::cuda
