#pragma once
// How the scratch of detect_rpeaks is divided up. Host code, without CUDA, so that tests/host_sim uses it too.
#include <type_traits>

#include "cuda/detect_rpeaks_kernel.cuh"

namespace physioclr::cuda {

// Fills *work with addresses from `start` on (nullptr: only measures); returns the bytes.
inline int64_t rpeaks_work(const RpeaksPlan& p, int64_t records, int64_t leads, unsigned char* start,
                           RpeaksWork* work) {
  int64_t used = 0;
  const auto take = [&](auto*& array, int64_t count) {
    array = start ? reinterpret_cast<std::remove_reference_t<decltype(array)>>(start + used) : nullptr;
    used += (count * static_cast<int64_t>(sizeof(*array)) + 255) / 256 * 256;
  };
  const int64_t rows = records * leads, bands = rows * kBands, most = records * most_candidates(p);
  take(work->begin, records);
  take(work->slow, rows * p.n);
  take(work->env, bands * p.m);
  for (float** a : {&work->maxima, &work->means, &work->level, &work->weight}) take(*a, bands * p.blocks);
  take(work->origin, rows);
  take(work->gain, rows);
  take(work->alive, rows);
  take(work->missing, rows * p.n);
  take(work->fused, p.m <= kFusedHere ? 0 : records * p.m);
  for (float** a : {&work->top, &work->mean, &work->height, &work->noise}) take(*a, records * p.blocks);
  for (float** a : {&work->amp, &work->z, &work->doubt, &work->rhythm}) take(*a, most);
  take(work->cost, most * kLookBack);
  take(work->value, most);
  for (int32_t** a : {&work->cand, &work->back, &work->chosen, &work->at}) take(*a, most);
  for (uint8_t** a : {&work->mark, &work->before, &work->smooth}) take(*a, most);
  take(work->base, rows * (kRecordThreads / 32));
  take(work->share, rows * (kRecordThreads / 32));
  return used;
}

}  // namespace physioclr::cuda
