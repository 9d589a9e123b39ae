#pragma once
// The memory of detect_rpeaks.cpp, of one record and of the threads that work on it together.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/threads.h"
#include "cpu/rpeaks_stages.h"

namespace physioclr::cpu {
namespace {

struct Local {                     // of one thread
  GrowingBuffer<float> padded[2];  // even and odd working samples of some blocks, or all of them in the first
  GrowingBuffer<float> sum, clean, base, share, window;
  GrowingBuffer<uint8_t> flag;
  float near[kNeighbours];
  uint32_t largest;  // bits of a magnitude
  float* half(const WorkPlan& p, int h) const { return padded[h].data() + p.pad; }
};

constexpr int64_t kSomeSamples = 1 << 14, kSomeCandidates = 256;

struct Scratch {  // of one record, reused for the next
  int team = 0;   // threads that work on it together
  Vector<Local> local;
  GrowingBuffer<float> slow, env;          // (leads, n) at the working rate, (leads, bands, m)
  int64_t stride = 0;                      // rows, rounded up
  GrowingBuffer<float> weight, row_level;  // (blocks, rows): a row is a lead and band
  GrowingBuffer<float> row_maxima, row_means;
  GrowingBuffer<float> maxima, means;  // (blocks), of the sum, with infinities around
  GrowingBuffer<float> fused, level, noise, origin, gain;
  GrowingBuffer<float> amp, z, doubt, rhythm, steep;  // of the candidates
  GrowingBuffer<double> value;
  GrowingBuffer<int32_t> slots, found, cand,
      back;  // slots: candidates of each range of the envelope, from begin / 2 on
  GrowingBuffer<int64_t> at;
  GrowingBuffer<uint8_t> missing, mark, before, smooth;

  // For records of this plan.
  void fit(const WorkPlan& p, int64_t leads, int size) {
    team = size;
    local.resize(size);
    const int64_t part =
        static_cast<int64_t>(static_cast<float>(std::min(kSomeBlocks, p.most_blocks) + 2) * p.block) + 2;
    const int64_t most = p.m / 2 + 2, length = std::min(p.m, team > 1 ? part : p.m);
    for (Local& l : local) {
      for (auto& half : l.padded) half.fit(length + 2 * p.pad + kExcess);
      for (auto* v : {&l.sum, &l.clean})
        v->fit(2 * static_cast<int64_t>(std::max((kRefine + kBroadRS) * p.fw, kFine * p.fs)) + 3);
      for (auto* v : {&l.base, &l.share}) v->fit(leads);
      const int64_t range = team > 1 ? std::min(p.m, kSomeSamples) : p.m;
      l.flag.fit(range + 8);
      l.window.fit(range + 2 * p.separation() + 1);
    }
    slow.fit(leads * p.n);
    env.fit(leads * kBands * p.m + kExcess);
    stride = row_stride(leads);
    for (auto* v : {&weight, &row_level, &row_maxima, &row_means}) v->fit(stride * p.most_blocks);
    for (auto* v : {&row_maxima, &row_means}) std::fill_n(v->data(), stride * p.most_blocks, 0.0f);
    for (auto* v : {&maxima, &means}) {
      v->fit(p.most_blocks + 2 * kExcess);
      std::fill_n(v->data(), kExcess, HUGE_VALF);
    }
    fused.fit(p.m + kExcess);
    missing.fit(p.n);
    for (auto* v : {&level, &noise}) v->fit(p.most_blocks + kExcess);
    for (auto* v : {&origin, &gain}) v->fit(leads);
    for (auto* v : {&amp, &z, &doubt, &rhythm, &steep}) v->fit(most);
    value.fit(most);
    for (auto* v : {&slots, &cand, &back}) v->fit(most);
    found.fit(p.m / kSomeSamples + 1);
    at.fit(most);
    for (auto* v : {&mark, &before, &smooth}) v->fit(most);
  }

  // f(begin, end, local) over all of 0..n: by one thread at once, or in parts by the team.
  template <class F>
  void over(int64_t n, int64_t part, F f) {
    if (team == 1 || n <= part) {
      if (n > 0) f(int64_t{0}, n, local[0]);
      return;
    }
#pragma omp parallel for num_threads(team) schedule(dynamic)
    for (int64_t begin = 0; begin < n; begin += part) f(begin, std::min(n, begin + part), local[thread_number()]);
  }
};

}  // namespace
}  // namespace physioclr::cpu
