#pragma once
// detect_rpeaks on the device: two kernels whatever the batch. The first, one block a lead, is in detect_rpeaks_lead.cuh;
// the second, here, is one block a record: sum of the envelopes, candidates, choice, refinement.
// Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/rpeaks_place.h"
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
__device__ inline bool is_candidate(const float* e, const RpeaksPlan& p, int i) {
  const float v = e[i];
  if (!(v > 0) || (i > 0 && !(e[i - 1] < v)) || (i + 1 < p.m && !(e[i + 1] <= v))) return false;
  for (int j = i - 2; j >= 0 && j >= i - p.separation; --j)
    if (!(e[j] < v)) return false;
  for (int j = i + 2; j < p.m && j <= i + p.separation; ++j)
    if (e[j] > v) return false;
  return true;
}

// As share_at of the CPU. weight: of the lead.
__device__ inline float share_at(const float* weight, const RpeaksPlan& p, int t) {
  float w = 0;
  for (int b = 0; b < kBands; ++b) w += at_centres(weight + static_cast<int64_t>(b) * p.blocks, p.blocks, p.block, t);
  return w;
}

// As bands_at of the CPU. weights, env: of the record.
__device__ inline void bands_at(const float* weights, const float* env, int leads, const RpeaksPlan& p, int t, float* low,
                                float* high) {
  *low = *high = 0;
  for (int l = 0; l < leads; ++l) {
    const float w = leads == 1 ? 1.0f : share_at(weights + static_cast<int64_t>(l) * kBands * p.blocks, p, t);
    const float* e = env + static_cast<int64_t>(l) * kBands * p.m + t;
    *low += w * e[0];
    *high += w * e[p.m];
  }
}

// As looks_at of the CPU: returns the evidence of sharpness.
__device__ inline float looks_at(const float* weights, const float* env, int leads, const RpeaksPlan& p, const int32_t* cand,
                                 const float* amp, float z, int i, bool* t_like) {
  const int reach = static_cast<int>(t_reach(cand, amp, i, p.fe));
  *t_like = false;
  if (!(z > 0) && reach == 0) return 0;
  float low, high;
  bands_at(weights, env, leads, p, cand[i], &low, &high);
  for (int j = i - 1; j >= i - reach && !*t_like; --j) {
    float low_before, high_before;
    bands_at(weights, env, leads, p, cand[j], &low_before, &high_before);
    *t_like = like_t_wave(low, high, amp[j], low_before, high_before);
  }
  return sharpness(low, high, z);
}

// Working samples around a dip, on its grid.
template <class T>
struct MeansAround {
  const T* x;
  const float* y;
  const Placing* q;
  float origin, gain;
  int64_t first;
  __device__ float operator[](int64_t k) const { return running_mean(x, y, *q, origin, gain, first + k * q->step); }
};

// As r_wave of the CPU, by one lane. mean: the running means in the window. Returns the sample.
template <class T>
__device__ int64_t r_wave(const T* x, const float* y, const RpeaksPlan& p, const Window& w, const float* mean, float base,
                          float origin, float gain, float z, float* deflection, bool* up) {
  float high = 0, low = 0;
  int64_t crest = w.mid, dip = w.mid;
  for (int64_t i = w.lo; i <= w.hi; ++i) {
    const float d = tapered(mean[i - w.lo] - base, w, i);
    if (d > high) high = d, crest = i;
    if (d < low) low = d, dip = i;
  }
  *up = high * kInverted >= -low;
  if (*up) {
    *deflection = mean[crest - w.lo] - base;
    return crest;
  }
  const Placing& q = p.place;
  const Sides sides = sides_of(q, dip);
  const MeansAround<T> grid{x, y, &q, origin, gain, dip - sides.before * q.step};
  int64_t first;
  const int64_t lo = sides.before - (dip - w.lo) / q.step;
  const int64_t wave = r_before(grid, sides.before + sides.after + 1, p.fw, lo, sides.before, base, z, &first);
  *up = wave >= 0;
  const int64_t k = *up ? wave : first;
  *deflection = grid[k] - base;
  return dip + (k - sides.before) * q.step;
}

// Scratch of a warp that places a beat.
struct PlaceScratch {
  float *means, *base, *share, *votes;  // (leads, p.place.width()), (leads) ...
  int32_t* place;                       // (leads)
  float *sum, *samples;                 // in shared memory, kMostWindow each
};

// As vote of the CPU; a lane works on one lead. Votes are added in the order of the leads.
template <class T>
__device__ int vote(const T* x, int leads, const RpeaksPlan& p, const RpeaksWork& work, int64_t row, const Window& w, float z,
                    const PlaceScratch& own, int otherwise) {
  const int lane = threadIdx.x % 32, width = static_cast<int>(p.place.width());
  for (int l = lane; l < leads; l += 32) {
    own.votes[l] = 0;
    own.place[l] = 0;
    if (!(own.share[l] > 0)) continue;
    float deflection;
    bool up;
    own.place[l] = static_cast<int32_t>(
        r_wave(x + static_cast<int64_t>(l) * p.samples, work.slow + (row + l) * p.n, p, w, own.means + static_cast<int64_t>(l) * width,
               own.base[l], work.origin[row + l], work.gain[row + l], z, &deflection, &up));
    own.votes[l] = own.share[l] * fabsf(deflection);
  }
  __syncwarp();
  float total = 0;
  for (int l = 0; l < leads; ++l) total += own.votes[l];
  int best = INT32_MAX;
  for (int l = lane; l < leads; l += 32)
    if (own.place[l] < best && is_voted(own.place, own.votes, leads, total, l)) best = own.place[l];
  for (int by = 16; by > 0; by /= 2) {
    const int other = __shfl_xor_sync(0xffffffffu, best, by);
    best = other < best ? other : best;
  }
  return best == INT32_MAX ? otherwise : best;
}

// The first of the largest values of the window's sum, tapered, or its middle; by a warp.
__device__ inline int top_of(const float* sum, const Window& w) {
  const int n = static_cast<int>(w.width());
  float most = 0;
  int top = n;
  for (int i = threadIdx.x % 32; i < n; i += 32)
    if (const float d = tapered(sum[i], w, w.lo + i); d > most) most = d, top = i;
  for (int by = 16; by > 0; by /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, most, by);
    const int at = __shfl_xor_sync(0xffffffffu, top, by);
    if (other > most || (other == most && at < top)) most = other, top = at;
  }
  return top < n ? top : static_cast<int>(w.mid - w.lo);
}

// As refine of the CPU; a warp works on one beat.
template <class T>
__device__ int refine(const T* x, int leads, const RpeaksPlan& p, const RpeaksWork& work, int64_t row, const float* fused,
                      int peak, float z, const PlaceScratch& own) {
  const unsigned all = 0xffffffffu;
  const int lane = threadIdx.x % 32, width = static_cast<int>(p.place.width());
  const Placing& q = p.place;
  const Window w = window_around(fused, p.m, p.hop, p.fe, peak, q, &z);
  const int n = static_cast<int>(w.width());
  const int64_t begin = w.lo - q.step / 2;  // of the samples of the running means
  float* sum = own.sum;
  for (int l = lane; l < leads; l += 32) {
    own.share[l] = leads == 1 ? 1.0f : share_at(work.weight + (row + l) * kBands * p.blocks, p, peak);
    own.base[l] = baseline_of(work.slow + (row + l) * p.n, q, w.mid);
  }
  for (int i = lane; i < n; i += 32) sum[i] = 0;
  __syncwarp();
  const float scale = 1.0f / static_cast<float>(q.step);
  for (int l = 0; l < leads; ++l) {
    if (!(own.share[l] > 0)) continue;
    const T* lead = x + static_cast<int64_t>(l) * p.samples;
    const float *y = work.slow + (row + l) * p.n, origin = work.origin[row + l], gain = work.gain[row + l];
    for (int i = lane; i < n + q.step - 1; i += 32) own.samples[i] = bridged_sample(lead, y, q, origin, gain, begin + i);
    __syncwarp();
    for (int i = lane; i < n; i += 32) {
      const float* from = own.samples + i;
      const float mean = sum_of_step([=](int64_t k) { return from[k]; }, q.step) * scale;
      own.means[static_cast<int64_t>(l) * width + i] = mean;
      sum[i] += own.share[l] * fabsf(mean - own.base[l]);
    }
    __syncwarp();
  }
  int coarse = static_cast<int>(w.mid);
  float height = 0;
  if (leads == 1) {
    if (lane == 0) {
      float deflection;
      bool up;
      coarse = static_cast<int>(r_wave(x, work.slow + row * p.n, p, w, own.means, own.base[0], work.origin[row],
                                       work.gain[row], z, &deflection, &up));
      own.share[0] = up ? 1.0f : -1.0f;
      height = fabsf(deflection);
    }
    coarse = __shfl_sync(all, coarse, 0);
  } else {
    const int top = top_of(sum, w);
    bool broad;
    coarse = static_cast<int>(w.lo + first_wave(sum, w, top, q, &broad));
    int voters = 0;
    for (int l = 0; l < leads; ++l) voters += own.share[l] > 0;
    if (broad && voters >= kVoters) coarse = vote(x, leads, p, work, row, w, z, own, coarse);
    __syncwarp();  // every lane has counted the shares, which change sign below
    for (int l = lane; l < leads; l += 32) {
      own.votes[l] = 0;
      if (!(own.share[l] > 0)) continue;
      const float mean = coarse >= w.lo
                             ? own.means[static_cast<int64_t>(l) * width + (coarse - w.lo)]
                             : running_mean(x + static_cast<int64_t>(l) * p.samples, work.slow + (row + l) * p.n, q,
                                            work.origin[row + l], work.gain[row + l], coarse);
      own.votes[l] = own.share[l] * fabsf(mean - own.base[l]);
      if (mean - own.base[l] < 0) own.share[l] = -own.share[l];
    }
    __syncwarp();
    for (int l = 0; l < leads; ++l)
      if (own.share[l] != 0) height += own.votes[l];
  }
  __syncwarp();
  const int fine = static_cast<int>(q.fine);
  const int from = coarse > fine ? coarse - fine : 0, to = coarse + fine < p.samples ? coarse + fine : p.samples - 1;
  bool valid = false;
  for (int i = from + lane; i <= to; i += 32) {
    float v = 0;
    for (int l = 0; l < leads; ++l) {
      const float weight = own.share[l];
      if (weight == 0) continue;
      const float d = (despiked(x + static_cast<int64_t>(l) * p.samples, p.samples, i, p.spike) - work.origin[row + l]) *
                      work.gain[row + l];
      if (is_finite(d)) {
        v += weight * d;
        valid = true;
      } else if (leads == 1) {
        v = -INFINITY;
      }
    }
    sum[i - from] = v;
  }
  valid = __any_sync(all, valid);
  __syncwarp();
  int at = coarse;
  if (lane == 0 && valid) at = from + static_cast<int>(middle_of_top(sum, to - from + 1, height));
  __syncwarp();  // the scratch is the next beat's from here
  return at;     // lane 0's
}

template <class T>
__global__ void __launch_bounds__(kRecordThreads)
    rpeaks_record_kernel(const T* ecg, int leads, RpeaksPlan p, RpeaksWork work, int32_t* index, int64_t columns,
                         int32_t* count, float* quality) {
  __shared__ float fused_here[kFusedHere];
  __shared__ float sorted[kRhythmThreads][kNeighbours];
  __shared__ int32_t gaps[kRhythmThreads][kMostGaps + 1];
  __shared__ float window[2][kRecordThreads / 32][kMostWindow];
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
  for (int i = tid; i < n; i += threads) {
    bool t_like;
    doubts[i] = doubt(cand, amp, z, n, i, p.fe) - looks_at(weights, env, leads, p, cand, amp, z[i], i, &t_like);
    before[i] = t_like;
  }
  __syncthreads();
  for (int i = tid; i < n; i += threads)
    if (is_t_wave(cand, amp, before, n, i, p.fe)) doubts[i] += kTWave;

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
  const int64_t own = (b * (kRecordThreads / 32) + warp) * leads;
  const PlaceScratch scratch{work.around + own * p.place.width(), work.base + own, work.share + own, work.votes + own,
                             work.place + own, window[0][warp], window[1][warp]};
  for (int k = warp; k < found; k += kRecordThreads / 32) {
    const int where = refine(ecg + row * p.samples, leads, p, work, row, fused, cand[chosen[k]], z[chosen[k]], scratch);
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
