#pragma once
// detect_rpeaks on the device; the method is told at the head of csrc/cpu/detect_rpeaks.cpp, and every decision here is
// that of core/rpeaks_math.h in the same order of operations, so the beats are the CPU's, index for index (the library is
// compiled without fused multiply-add for that). Two kernels whatever the batch: one block a lead (working rate, gaps,
// envelopes, weights), then one block a record (sum of the envelopes, candidates, choice, refinement).
// Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/reconstruction_math.h"
#include "core/rpeaks_math.h"
#include "core/rpeaks_plan.h"

namespace physioclr::cuda {

using namespace rpeaks;

constexpr int kLeadThreads = 128, kRecordThreads = 128, kRhythmThreads = 64;
constexpr int kRawTile = 1024;  // samples at full rate
constexpr int kEnvTile = 256;   // envelope samples
constexpr int kFusedHere = 1024;  // envelope samples of a record that fit in shared memory: 16 s
constexpr int kStatLanes = 16;  // lanes of maximum_and_sum

// The caller's scratch (rpeaks_work divides it up). Rows: one for each record and lead; a row has kBands bands.
struct RpeaksWork {
  float *slow, *env;                     // (rows, n), (rows, bands, m)
  float *maxima, *means, *level, *weight;  // (rows, bands, blocks)
  float *origin, *gain;                  // (rows)
  int32_t* alive;                        // (rows) whether the lead has a signal
  uint8_t* missing;                      // (rows, n), written where a lead has gaps
  float* fused;                          // (records, m)
  float *top, *mean, *height, *noise;    // (records, blocks): of the sum
  float *amp, *z, *doubt, *rhythm, *cost;  // (records, most), cost (records, most, kLookBack)
  double* value;                         // (records, most)
  int32_t *cand, *back, *chosen, *at;    // (records, most)
  uint8_t *mark, *before;                // (records, most)
  float *base, *share;                   // (records, warps, leads)
};

// Most candidates of a record: they are more than the separation apart.
PHYSIOCLR_HD int64_t most_candidates(const RpeaksPlan& p) { return p.m / (p.separation + 1) + 1; }

// ---- one lead --------------------------------------------------------------------------------------------------------

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
__device__ inline void block_statistics(const float* env, int rows, const RpeaksPlan& p, float* maxima, float* means) {
  const int lane = threadIdx.x % kStatLanes, groups = blockDim.x / kStatLanes;
  for (int item = threadIdx.x / kStatLanes; item < rows * p.blocks; item += groups) {
    const int r = item / p.blocks, k = item % p.blocks, begin = p.block_begin(k), n = p.block_begin(k + 1) - begin;
    float top, sum;
    maximum_and_sum(env + static_cast<int64_t>(r) * p.m + begin, n, lane, &top, &sum);
    if (lane == 0) {
      maxima[item] = top;
      means[item] = n > 0 ? sum / static_cast<float>(n) : 0.0f;
    }
  }
}

// The lead at the working rate, without spikes. Returns (to every thread) whether a mean is missing.
template <class T>
__device__ bool work_rate(const T* x, const RpeaksPlan& p, float* raw, float* y) {
  const int tile = kRawTile / p.step, tid = threadIdx.x, threads = blockDim.x;
  const float scale = 1.0f / static_cast<float>(p.step);
  bool gap = false;
  for (int i0 = 0; i0 < p.n; i0 += tile) {
    const int count = p.n - i0 < tile ? p.n - i0 : tile, begin = i0 * p.step;
    for (int j = tid; j < count * p.step; j += threads) {
      raw[j + j / 32] = despiked(x, p.samples, begin + j, p.spike);  // a gap each 32: the lanes below read other banks
    }
    __syncthreads();
    for (int i = tid; i < count; i += threads) {
      int j = i * p.step;
      float sum = raw[j + j / 32];
      for (int k = 1; k < p.step; ++k) {
        ++j;
        sum += raw[j + j / 32];
      }
      const float v = sum * scale;
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
__device__ inline void envelope_tile(float (*half)[kEnvTile + 2 * kMostReach], const RpeaksPlan& p, int begin, float floor,
                                     const float* y, const uint8_t* missing, float* env) {
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
      a[w] = p.even[w][0] * x[0];
      b[w] = 0;
    }
    for (int start = 1; start <= p.hop; ++start)  // hop 2: the odd taps, then the even ones, as on the CPU
      for (int k = start; k <= p.reach[0]; k += p.hop) {
        const bool odd = p.hop == 2 && start == 1;
        const int off = k / p.hop;
        const float r = odd ? between[off] : x[off], l = odd ? between[-off - 1] : x[-off];
#pragma unroll
        for (int w = 0; w < kBands; ++w)
          if (w == 0 || k <= p.reach[w]) {
            a[w] += p.even[w][k] * (r + l);
            b[w] += p.odd[w][k] * (r - l);
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

template <class T>
__global__ void __launch_bounds__(kLeadThreads) rpeaks_lead_kernel(const T* ecg, RpeaksPlan p, RpeaksWork work) {
  __shared__ float raw[kRawTile + kRawTile / 32];
  __shared__ float half[2][kEnvTile + 2 * kMostReach];
  __shared__ float sorted[kLeadThreads][2 * kAside + 1];
  __shared__ int cell, edge[2 * kLeadThreads];
  const int64_t row = blockIdx.x;
  const int tid = threadIdx.x, threads = blockDim.x;
  float* y = work.slow + row * p.n;
  float* env = work.env + row * kBands * p.m;
  uint8_t* missing = work.missing + row * p.n;

  const bool gaps = work_rate(ecg + row * p.samples, p, raw, y);
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
  float* level = work.level + row * kBands * p.blocks;
  float* weight = work.weight + row * kBands * p.blocks;
  if (!(largest > 0)) {  // flat, or nothing valid
    for (int i = tid; i < p.n; i += threads) y[i] = 0;
    for (int64_t i = tid; i < static_cast<int64_t>(kBands) * p.m; i += threads) env[i] = 0;
    for (int i = tid; i < kBands * p.blocks; i += threads) level[i] = weight[i] = 0;
    return;
  }
  __syncthreads();
  const float floor = 4e-6f * largest;  // rounding of the wavelet's sums
  for (int begin = 0; begin < p.m; begin += kEnvTile)
    envelope_tile(half, p, begin, floor, y, gaps ? missing : nullptr, env);
  float* maxima = work.maxima + row * kBands * p.blocks;
  float* means = work.means + row * kBands * p.blocks;
  block_statistics(env, kBands, p, maxima, means);
  __syncthreads();
  for (int item = tid; item < kBands * p.blocks; item += threads) {
    const int k = item % p.blocks, b = item - k;
    level[item] = near_level(maxima + b, p.blocks, k, sorted[tid]);
    weight[item] = contrast(level[item], block_mean(means + b, p.blocks, k, sorted[tid]));
  }
}

// ---- one record ------------------------------------------------------------------------------------------------------

// Where each thread whose flag is set puts its item so that items keep the order of the threads; *count grows by their
// number. Every thread of the block takes part. slots: one for each warp.
__device__ inline int place_in_order(bool flag, int* count, int* slots) {
  const int tid = threadIdx.x, warp = tid / 32;
  const unsigned flags = __ballot_sync(0xffffffffu, flag);
  if (tid % 32 == 0) slots[warp] = __popc(flags);
  __syncthreads();
  int at = *count + __popc(flags & ((1u << tid % 32) - 1u)), total = *count;
  for (int w = 0; w < kRecordThreads / 32; ++w) {
    if (w < warp) at += slots[w];
    total += slots[w];
  }
  __syncthreads();
  *count = total;
  return at;
}

// Whether sample i is the largest within the separation, of equals the first.
__device__ inline bool is_candidate(const float* e, const RpeaksPlan& p, int i) {
  const float v = e[i];
  if (!(v > 0) || (i > 0 && !(e[i - 1] < v)) || (i + 1 < p.m && !(e[i + 1] <= v))) return false;
  for (int j = i - 2; j >= 0 && j >= i - p.separation; --j)
    if (!(e[j] < v)) return false;
  for (int j = i + 2; j < p.m && j <= i + p.separation; ++j)
    if (e[j] > v) return false;
  return true;
}

// As refine of the CPU; a warp works on one beat. base, share: scratch of one float a lead; sum: of kMostWindow.
template <class T>
__device__ int refine(const T* x, int leads, const RpeaksPlan& p, const RpeaksWork& work, int64_t row, int peak, float z,
                      float* base, float* share, float* sum) {
  const unsigned all = 0xffffffffu;
  const int lane = threadIdx.x % 32, t = peak * p.hop;
  const float* slow = work.slow + row * p.n;
  int coarse = t;
  float height = 0;
  if (leads == 1) {
    if (lane == 0) {
      bool up;
      coarse = static_cast<int>(r_wave(slow, p.n, p.fw, t, z, &base[0], &up));
      share[0] = up ? 1.0f : -1.0f;
      height = fabsf(slow[coarse] - base[0]);
    }
  } else {
    const int lo = t > p.refine ? t - p.refine : 0, hi = t + p.refine < p.n ? t + p.refine : p.n - 1;
    for (int l = lane; l < leads; l += 32) {
      float w = 0;
      for (int b = 0; b < kBands; ++b)
        w += at_centres(work.weight + ((row + l) * kBands + b) * p.blocks, p.blocks, p.block, peak);
      share[l] = w;
      if (w > 0)
        base[l] = mean_of(slow + static_cast<int64_t>(l) * p.n, t > p.baseline ? t - p.baseline : 0,
                          t + p.baseline < p.n ? t + p.baseline : p.n - 1);
    }
    __syncwarp();
    const float fw = static_cast<float>(p.fw), taper = 0.5f * kTaper * z / (fw * fw);
    float most = 0;
    for (int i = lo + lane; i <= hi; i += 32) {
      float v = 0;
      for (int l = 0; l < leads; ++l)
        if (share[l] > 0) v += share[l] * deflection(slow[static_cast<int64_t>(l) * p.n + i] - base[l]);
      const float dt = static_cast<float>(i - t), d = v / (1.0f + taper * dt * dt);
      if (d > most) {
        most = d;
        coarse = i;
      }
    }
    for (int by = 16; by > 0; by /= 2) {  // the first of the largest
      const float other = __shfl_xor_sync(all, most, by);
      const int where = __shfl_xor_sync(all, coarse, by);
      if (other > most || (other == most && where < coarse)) {
        most = other;
        coarse = where;
      }
    }
    if (!(most > 0)) coarse = t;
    for (int l = 0; l < leads; ++l)
      if (share[l] > 0) height += share[l] * fabsf(slow[static_cast<int64_t>(l) * p.n + coarse] - base[l]);
    __syncwarp();  // every lane has read the shares
    for (int l = lane; l < leads; l += 32)
      if (share[l] > 0 && slow[static_cast<int64_t>(l) * p.n + coarse] - base[l] < 0) share[l] = -share[l];
  }
  __syncwarp();
  coarse = __shfl_sync(all, coarse, 0);
  const int centre = coarse * p.step + p.step / 2;
  const int from = centre > p.fine ? centre - p.fine : 0, to = centre + p.fine < p.samples ? centre + p.fine : p.samples - 1;
  bool valid = false;
  for (int i = from + lane; i <= to; i += 32) {
    float v = 0;
    for (int l = 0; l < leads; ++l) {
      const float w = share[l];
      if (w == 0) continue;
      const float d = (despiked(x + static_cast<int64_t>(l) * p.samples, p.samples, i, p.spike) - work.origin[row + l]) *
                      work.gain[row + l];
      if (is_finite(d)) {
        v += w * d;
        valid = true;
      } else if (leads == 1) {
        v = -INFINITY;
      }
    }
    sum[i - from] = v;
  }
  valid = __any_sync(all, valid);
  __syncwarp();
  int at = centre < p.samples ? centre : p.samples - 1;
  if (lane == 0 && valid) at = from + static_cast<int>(middle_of_top(sum, to - from + 1, height));
  __syncwarp();  // sum, base and share are the next beat's from here
  return at;     // lane 0's
}

template <class T>
__global__ void __launch_bounds__(kRecordThreads)
    rpeaks_record_kernel(const T* ecg, int leads, RpeaksPlan p, RpeaksWork work, int32_t* index, int64_t columns,
                         int32_t* count, float* quality) {
  __shared__ float fused_here[kFusedHere];
  __shared__ float sorted[kRhythmThreads][kNeighbours];
  __shared__ int32_t gaps[kRhythmThreads][kMostGaps + 1];
  __shared__ float window[kRecordThreads / 32][kMostWindow];
  __shared__ int slots[kRecordThreads / 32];
  __shared__ int beats;
  __shared__ double worth;
  const int64_t b = blockIdx.x, row = b * leads, most = most_candidates(p);
  const int tid = threadIdx.x, threads = kRecordThreads, warp = tid / 32, rows = leads * kBands;
  int32_t* out = index + b * columns;

  bool any = false;
  if (!p.too_short)
    for (int l = tid; l < leads; l += threads) any = any || work.alive[row + l];
  if (!__syncthreads_or(any)) {
    for (int64_t i = tid; i < columns; i += threads) out[i] = -1;
    if (tid == 0) {
      count[b] = 0;
      quality[b] = 0;
    }
    return;
  }

  // Shares that add up to 1, times common level over own level.
  const float* levels = work.level + row * kBands * p.blocks;
  float* weights = work.weight + row * kBands * p.blocks;
  for (int k = tid; k < p.blocks; k += threads) {
    float total = 0, common = 0;
    for (int r = 0; r < rows; ++r) {
      const float w = weights[static_cast<int64_t>(r) * p.blocks + k];
      total += w;
      common += w * levels[static_cast<int64_t>(r) * p.blocks + k];
    }
    const float scale = total > 0 ? common / (total * total) : 0.0f;
    for (int r = 0; r < rows; ++r) {
      float& w = weights[static_cast<int64_t>(r) * p.blocks + k];
      w = w > 0 ? w * scale / levels[static_cast<int64_t>(r) * p.blocks + k] : 0.0f;
    }
  }
  __syncthreads();
  float* fused = p.m <= kFusedHere ? fused_here : work.fused + b * p.m;
  const float* env = work.env + row * kBands * p.m;
  for (int i = tid; i < p.m; i += threads) {
    float pos = static_cast<float>(i) / p.block - 0.5f, sum = 0;
    pos = pos < 0 ? 0 : pos;
    int k = static_cast<int>(pos);
    k = k < p.blocks ? k : p.blocks - 1;
    const int next = k + 1 < p.blocks ? k + 1 : k;
    const float past = pos - static_cast<float>(k);
    for (int r = 0; r < rows; ++r) {
      const float* w = weights + static_cast<int64_t>(r) * p.blocks;
      sum += env[static_cast<int64_t>(r) * p.m + i] * (w[k] + past * (w[next] - w[k]));
    }
    fused[i] = sum;
  }
  __syncthreads();

  float *tops = work.top + b * p.blocks, *means = work.mean + b * p.blocks;
  float *heights = work.height + b * p.blocks, *noise = work.noise + b * p.blocks;
  block_statistics(fused, 1, p, tops, means);
  __syncthreads();
  if (tid < kRhythmThreads)
    for (int k = tid; k < p.blocks; k += kRhythmThreads) {
      heights[k] = block_level(tops, p.blocks, k, sorted[tid]);
      noise[k] = heights[k] > 0 ? block_mean(means, p.blocks, k, sorted[tid]) / heights[k] : 0.0f;
    }

  int32_t* cand = work.cand + b * most;
  int n = 0;
  for (int i0 = 0; i0 < p.m; i0 += threads) {
    const bool top = i0 + tid < p.m && is_candidate(fused, p, i0 + tid);
    const int at = place_in_order(top, &n, slots);
    if (top) cand[at] = i0 + tid;
  }
  __syncthreads();
  float *amp = work.amp + b * most, *z = work.z + b * most, *doubts = work.doubt + b * most;
  float *rhythm = work.rhythm + b * most, *cost = work.cost + b * most * kLookBack;
  uint8_t *mark = work.mark + b * most, *before = work.before + b * most;
  for (int i = tid; i < n; i += threads) {
    const float level = at_centres(heights, p.blocks, p.block, cand[i]);
    amp[i] = level > 0 ? fused[cand[i]] / level : 1.0f;
    const float over = at_centres(noise, p.blocks, p.block, cand[i]) - kCalm;
    z[i] = over < 0.0f ? 0.0f : over;
    mark[i] = amp[i] > kClear;
  }
  __syncthreads();
  for (int i = tid; i < n; i += threads) doubts[i] = doubt(cand, amp, z, n, i, p.fe);

  for (int pass = 0; pass < 2; ++pass) {
    if (tid < kRhythmThreads)
      for (int i = tid; i < n; i += kRhythmThreads) rhythm[i] = local_rhythm(cand, mark, n, i, p.fe, gaps[tid]);
    __syncthreads();
    for (int i = tid; i < n; i += threads) before[i] = mark[i];
    for (int item = tid; item < n * kLookBack; item += threads) {
      const int i = item / kLookBack, j = i - 1 - item % kLookBack;
      cost[item] = j < 0 ? 0.0f : link_cost(cand, z, rhythm, i, j, p.fe);
    }
    __syncthreads();
    if (tid == 0) {
      const auto known = [cost](int64_t i, int64_t j) { return cost[i * kLookBack + (i - j - 1)]; };
      choose(cand, amp, z, doubts, n, p.fe, known, work.value + b * most, work.back + b * most, mark, &worth);
    }
    __syncthreads();
    bool differs = false;
    for (int i = tid; i < n; i += threads) differs = differs || mark[i] != before[i];
    if (!__syncthreads_or(differs)) break;  // the next pass would repeat this one
  }

  int32_t *chosen = work.chosen + b * most, *at = work.at + b * most;
  int found = 0;
  for (int i0 = 0; i0 < n; i0 += threads) {
    const bool beat = i0 + tid < n && mark[i0 + tid];
    const int place = place_in_order(beat, &found, slots);
    if (beat) chosen[place] = i0 + tid;
  }
  __syncthreads();
  float* base = work.base + (b * (kRecordThreads / 32) + warp) * leads;
  float* share = work.share + (b * (kRecordThreads / 32) + warp) * leads;
  for (int k = warp; k < found; k += kRecordThreads / 32) {
    const int where = refine(ecg + row * p.samples, leads, p, work, row, cand[chosen[k]], z[chosen[k]], base, share,
                             window[warp]);
    if (tid % 32 == 0) at[k] = where;
  }
  __syncthreads();
  if (tid == 0) {
    int32_t kept = 0, last = -1;
    for (int k = 0; k < found && kept < columns; ++k)
      if (at[k] > last) out[kept++] = last = at[k];  // else two windows met on one peak
    beats = kept;
    count[b] = kept;
  }
  if (tid == 32) quality[b] = beat_quality(amp, z, mark, n, worth);
  __syncthreads();
  for (int64_t i = beats + tid; i < columns; i += threads) out[i] = -1;
}

}  // namespace physioclr::cuda
