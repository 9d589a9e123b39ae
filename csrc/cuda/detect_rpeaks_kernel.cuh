#pragma once
// detect_rpeaks on the device: three kernels whatever the batch. The first two, a block a record and a block a lead,
// are in detect_rpeaks_lead.cuh; the third, here, is one block a record: sum of the envelopes, candidates, choice,
// refinement. Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/rpeaks_place.h"
#include "core/rpeaks_t_waves.h"
#include "cuda/detect_rpeaks_lead.cuh"

namespace physioclr::cuda {

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
__device__ inline bool is_candidate(const float* e, const RpeaksShape& p, int i) {
  const float v = e[i];
  if (!(v > 0) || (i > 0 && !(e[i - 1] < v)) || (i + 1 < p.m && !(e[i + 1] <= v))) return false;
  for (int j = i - 2; j >= 0 && j >= i - p.separation; --j)
    if (!(e[j] < v)) return false;
  for (int j = i + 2; j < p.m && j <= i + p.separation; ++j)
    if (e[j] > v) return false;
  return true;
}

// As share_at of the CPU. weight: of the lead.
__device__ inline float share_at(const float* weight, const RpeaksShape& p, int t) {
  float w = 0;
  for (int b = 0; b < kBands; ++b)
    w += at_centres(weight + static_cast<int64_t>(b) * p.blocks, p.blocks, p.block, t + p.offset);
  return w;
}

// As sharpness_at of the CPU. weights, env: of the record.
__device__ inline float sharpness_at(const float* weights, const float* env, int leads, const RpeaksShape& p, int t,
                                     float z) {
  if (!(z > 0)) return 0;
  float low = 0, high = 0;
  for (int l = 0; l < leads; ++l) {
    const float w = leads == 1 ? 1.0f : share_at(weights + static_cast<int64_t>(l) * kBands * p.blocks, p, t);
    const float* e = env + static_cast<int64_t>(l) * kBands * p.m + t;
    low += w * e[0];
    high += w * e[p.m];
  }
  return sharpness(low, high, z);
}

// As drop_t_waves of the CPU, with what that computes when it is asked for made for all candidates. Every thread of the
// block takes part. weights, slow: of the record; smooth, alone, steep: scratch.
__device__ inline bool drop_t_waves(const float* weights, const float* slow, int leads, const RpeaksShape& p,
                                    const int32_t* t, const float* amp, const float* z, const uint8_t* mark, int n,
                                    uint8_t* smooth, uint8_t* alone, float* steep, float* doubts) {
  const auto share = [=, &p](int at) {
    return [=, &p](int64_t l) { return leads == 1 ? 1.0f : share_at(weights + l * kBands * p.blocks, p, at); };
  };
  const auto steep_at = [=, &p](int64_t i) {
    return steepness(slow, leads, p.n, p.fw, static_cast<int64_t>(t[i]) * p.hop, share(t[i]));
  };
  bool any = false;
  for (int i = threadIdx.x; i < n; i += kRecordThreads) {
    const int64_t j = t_wave_of(t, amp, z, mark, i, p.fe);
    smooth[i] = j >= 0 && steep_at(i) < kTSlope * steep_at(j);
    any = any || smooth[i];
  }
  if (!__syncthreads_or(any)) return false;
  for (int i = threadIdx.x; i < n; i += kRecordThreads) {
    steep[i] = steep_at(i);
    alone[i] = beat_follows(t, mark, n, i, p.fe) ||
               !recovers(slow, leads, p.n, p.fw, static_cast<int64_t>(t[i]) * p.hop, share(t[i]));
  }
  __syncthreads();
  any = false;
  for (int i = threadIdx.x; i < n; i += kRecordThreads) {
    if (!smooth[i]) continue;
    const int64_t j = t_wave_of(t, amp, z, mark, i, p.fe);
    const auto known_steep = [=](int64_t k) { return steep[k]; };
    const auto known_alone = [=](int64_t k) { return alone[k] != 0; };
    if (!is_t_wave(t, amp, mark, smooth, n, i, j, p.fe, known_steep, known_alone)) continue;
    doubts[i] += kTWave;
    any = true;
  }
  return __syncthreads_or(any);
}

// As vote of the CPU; a lane works on one lead, and lane 0 adds the votes in the order of the leads. sum: of
// kMostWindow.
__device__ inline int vote(const float* slow, int leads, const RpeaksShape& p, int t, int lo, int hi, float z,
                           const float* share, float* sum, int otherwise) {
  const unsigned all = 0xffffffffu;
  const int lane = threadIdx.x % 32, span = static_cast<int>(span_of(kBroadRS, p.fw));
  const int first = lo > span ? lo - span : 0, n = hi - first + 1;
  __syncwarp();  // lane 0 has read the sum
  for (int i = lane; i < n; i += 32) sum[i] = 0;
  __syncwarp();
  float total = 0;
  for (int l0 = 0; l0 < leads; l0 += 32) {
    const int l = l0 + lane;
    int at = first;
    float weight = 0;
    if (l < leads && share[l] > 0) {
      const float* y = slow + static_cast<int64_t>(l) * p.n;
      float base;
      bool up;
      at = static_cast<int>(r_wave(y, p.n, p.fw, t, z, &base, &up));
      weight = share[l] * fabsf(y[at] - base);
    }
    for (int k = 0; k < 32; ++k) {
      const int where = __shfl_sync(all, at, k);
      const float much = __shfl_sync(all, weight, k);
      if (lane == 0) sum[where - first] += much;
      total += much;
    }
  }
  int coarse = otherwise;
  if (lane == 0 && total > 0) coarse = first + static_cast<int>(voted(sum, n, total));
  __syncwarp();
  return __shfl_sync(all, coarse, 0);
}

// As refine of the CPU; a warp works on one beat. base, share: scratch of one float a lead; sum: of kMostWindow.
template <class T>
__device__ int refine(const T* x, int leads, const RpeaksShape& p, const float* slow, const float* weights,
                      const float* origin, const float* gain, int peak, float z, float* base, float* share,
                      float* sum) {
  const unsigned all = 0xffffffffu;
  const int lane = threadIdx.x % 32, t = peak * p.hop;
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
      const float w = share[l] = share_at(weights + static_cast<int64_t>(l) * kBands * p.blocks, p, peak);
      if (w > 0)
        base[l] = mean_of(slow + static_cast<int64_t>(l) * p.n, t > p.baseline ? t - p.baseline : 0,
                          t + p.baseline < p.n ? t + p.baseline : p.n - 1);
    }
    __syncwarp();
    for (int i = lo + lane; i <= hi; i += 32) {
      float v = 0;
      for (int l = 0; l < leads; ++l)
        if (share[l] > 0) v += share[l] * fabsf(slow[static_cast<int64_t>(l) * p.n + i] - base[l]);
      sum[i - lo] = v;
    }
    __syncwarp();
    bool broad = false;
    if (lane == 0) {
      const float fw = static_cast<float>(p.fw), taper = 0.5f * kTaper * z / (fw * fw);
      coarse = lo + static_cast<int>(first_wave(sum, hi - lo + 1, t - lo, taper, p.fw, &broad));
      int voters = 0;
      for (int l = 0; l < leads; ++l) voters += share[l] > 0;
      broad = broad && voters >= kVoters;
    }
    coarse = __shfl_sync(all, coarse, 0);
    if (__any_sync(all, broad)) coarse = vote(slow, leads, p, t, lo, hi, z, share, sum, coarse);
    for (int l = 0; l < leads; ++l)
      if (share[l] > 0) height += share[l] * fabsf(slow[static_cast<int64_t>(l) * p.n + coarse] - base[l]);
    __syncwarp();  // every lane has read the shares
    for (int l = lane; l < leads; l += 32)
      if (share[l] > 0 && slow[static_cast<int64_t>(l) * p.n + coarse] - base[l] < 0) share[l] = -share[l];
  }
  __syncwarp();
  coarse = __shfl_sync(all, coarse, 0);
  const int centre = p.first + coarse * p.step + p.step / 2;
  const int from = centre > p.fine ? centre - p.fine : 0,
            to = centre + p.fine < p.samples ? centre + p.fine : p.samples - 1;
  bool valid = false;
  for (int i = from + lane; i <= to; i += 32) {
    float v = 0;
    for (int l = 0; l < leads; ++l) {
      const float w = share[l];
      if (w == 0) continue;
      const float d = (despiked(x + static_cast<int64_t>(l) * p.samples, p.samples, i, p.spike) - origin[l]) * gain[l];
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
    rpeaks_record_kernel(const T* ecg, int leads, RpeaksPlan plan, RpeaksWork work, int32_t* index, int64_t columns,
                         int32_t* count, float* quality) {
  __shared__ float fused_here[kFusedHere];
  __shared__ float sorted[kRhythmThreads][kNeighbours];
  __shared__ int32_t gaps[kRhythmThreads][kMostGaps + 1];
  __shared__ float window[kRecordThreads / 32][kMostWindow];
  __shared__ int slots[kRecordThreads / 32];
  __shared__ int beats;
  __shared__ double worth;
  __shared__ RpeaksShape p;  // in registers it would cost a block of the four that a multiprocessor holds
  const int64_t b = blockIdx.x, row = b * leads, most = most_candidates(plan);
  const int tid = threadIdx.x, threads = kRecordThreads, warp = tid / 32, rows = leads * kBands;
  int32_t* out = index + b * columns;

  bool any = false;
  if (!plan.too_short)
    for (int l = tid; l < leads; l += threads) any = any || work.alive[row + l];
  if (!__syncthreads_or(any)) {
    for (int64_t i = tid; i < columns; i += threads) out[i] = -1;
    if (tid == 0) {
      count[b] = 0;
      quality[b] = 0;
    }
    return;
  }

  if (tid == 0) p = shape_of(plan, work, b);
  __syncthreads();
  // Shares that add up to 1, times common level over own level.
  const float* levels = work.level + row * kBands * plan.blocks;
  float* weights = work.weight + row * kBands * plan.blocks;
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
  float* fused = plan.m <= kFusedHere ? fused_here : work.fused + b * plan.m;
  const float *env = work.env + row * kBands * plan.m, *slow = work.slow + row * plan.n;
  for (int i = tid; i < p.m; i += threads) {
    float pos = static_cast<float>(i + p.offset) / p.block - 0.5f, sum = 0;
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

  float *tops = work.top + b * plan.blocks, *means = work.mean + b * plan.blocks;
  float *heights = work.height + b * plan.blocks, *noise = work.noise + b * plan.blocks;
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
  uint8_t *mark = work.mark + b * most, *before = work.before + b * most, *smooth = work.smooth + b * most;
  for (int i = tid; i < n; i += threads) {
    const float level = at_centres(heights, p.blocks, p.block, cand[i] + p.offset);
    amp[i] = level > 0 ? fused[cand[i]] / level : 1.0f;
    const float over = at_centres(noise, p.blocks, p.block, cand[i] + p.offset) - kCalm;
    z[i] = over < 0.0f ? 0.0f : over;
  }
  __syncthreads();
  for (int i = tid; i < n; i += threads)
    doubts[i] = doubt(cand, amp, z, n, i, p.fe) - sharpness_at(weights, env, leads, p, cand[i], z[i]);

  for (int round = 0;; ++round) {
    for (int i = tid; i < n; i += threads) mark[i] = amp[i] > kClear;
    __syncthreads();
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
    if (round == kTRounds ||
        !drop_t_waves(weights, slow, leads, p, cand, amp, z, mark, n, smooth, before, rhythm, doubts))
      break;
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
    const int where = refine(ecg + row * p.samples, leads, p, slow, weights, work.origin + row, work.gain + row,
                             cand[chosen[k]], z[chosen[k]], base, share, window[warp]);
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
