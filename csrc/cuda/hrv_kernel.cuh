#pragma once
// Bodies only, no launch, so that this file also compiles for the host (tests/host_sim).
#include <cstdint>

#include "core/hrv_math.h"
#include "cuda/block_sum.cuh"

namespace physioclr::cuda {

constexpr int kHrvThreads = 128;

// One block per record: its threads share the intervals, then the frequencies. values: (kValues, records).
// ptxas-allow hrv_kernel: 40 bytes of stack, because sin and cos of large doubles are reduced with a table of digits.
__global__ void hrv_kernel(const int32_t* rpeaks, int64_t records, int64_t columns, double fs, bool exclude,
                           float* values, bool* ectopic) {
  using namespace hrv;
  __shared__ double part[kHrvThreads];
  __shared__ int64_t beats;
  const int64_t b = blockIdx.x, tid = threadIdx.x, threads = blockDim.x;
  const int32_t* r = rpeaks + b * columns;
  if (tid == 0) beats = count_beats(r, columns);
  __syncthreads();
  for (int64_t k = tid; k < columns; k += threads) ectopic[b * columns + k] = is_ectopic(r, beats, k);
  const Record record{r, beats, fs, exclude};
  const int64_t intervals = record.intervals();
  int64_t first = 0, last = intervals - 1;
  while (first < intervals && !record.normal(first)) ++first;
  while (last > first && !record.normal(last)) --last;
  Sums mine{}, sums{};
  double total = 0;
  for (int64_t k = tid; k < intervals; k += threads)
    if (record.normal(k)) mine.n += 1, total += record.nn(k);
  sums.n = block_sum(mine.n, part);
  total = block_sum(total, part);
  const double mean = sums.n > 0 ? total / sums.n : NAN;
  for (int64_t k = tid; k < intervals; k += threads) add_deviation(record, k, mean, mine);
  sums.squares = block_sum(mine.squares, part);
  sums.changes = block_sum(mine.changes, part);
  sums.change_squares = block_sum(mine.change_squares, part);
  sums.above_50 = block_sum(mine.above_50, part);
  const double span = first < intervals ? record.end(last) - record.end(first) : 0.0;
  double power[2];
  for (int k = 0; k < 2; ++k) {
    const Grid grid = grid_of(sums.n, span, band(k));
    double sum = 0;
    for (int64_t f = grid.first + tid; f <= grid.last; f += threads) {
      const double turn = kTwoPi * static_cast<double>(f) * grid.step;
      Waves w{};
      for (int64_t j = first; j <= last; ++j) {
        if (!record.normal(j)) continue;
        const double c = cos(turn * record.end(j)), s = sin(turn * record.end(j)), y = record.nn(j) - mean;
        w.c += c, w.s += s, w.cc += c * c, w.cs += c * s, w.yc += y * c, w.ys += y * s;
      }
      sum += weight(grid, f) * density(w, sums.n, span);
    }
    power[k] = block_sum(sum, part);
    if (grid.first > grid.last) power[k] = NAN;
  }
  if (tid == 0) write_values(sums, mean, power[0], power[1], values + b, records);
}

}  // namespace physioclr::cuda
