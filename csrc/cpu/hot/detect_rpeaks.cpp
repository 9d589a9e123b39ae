// detect_rpeaks on the CPU. Per lead: average down to about 125 Hz, moduli of two Gabor wavelets (the envelopes). Per
// record: the envelopes added, each scaled to a common level and weighted by how far its beats stand out; candidates
// are the separate maxima of the sum; dynamic programming chooses among them, twice, the second time with the rhythm of
// the first; each beat is placed on the full-rate signal.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/rpeaks_math.h"
#include "core/rpeaks_t_waves.h"
#include "core/guard.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "cpu/rpeaks_refine.h"
#include "cpu/rpeaks_scratch.h"
#include "cpu/rpeaks_stages.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kLong = 1 << 18;       // samples of a record that are worth a team of threads
constexpr int64_t kMostAhead = 1 << 16;  // samples that are fetched ahead

inline auto means_for(const float*) { return PHYSIOCLR_ISA::rpeaks_front.means_float; }
inline auto means_for(const int16_t*) { return PHYSIOCLR_ISA::rpeaks_front.means_int16; }
inline auto anchor_for(const float*) { return PHYSIOCLR_ISA::rpeaks_front.anchor_float; }
inline auto anchor_for(const int16_t*) { return PHYSIOCLR_ISA::rpeaks_front.anchor_int16; }

// The anchor of a record, that of its first lead with a signal; 0 of a flat record.
template <class T>
int64_t anchor_of(const T* x, int64_t leads, int64_t samples, const WorkPlan& p) {
  const AnchorRange r = anchor_range(samples, p.step, p.fs);
  for (int64_t l = 0; l < leads; ++l)
    for (int64_t begin = r.begin; begin < r.end; begin += r.span) {
      const int64_t at = anchor_for(x)(x + l * samples + begin, std::min(r.span, r.end - begin), r.apart);
      if (at >= 0) return begin + at;
    }
  return 0;
}

// The lead at the working rate, less its first valid value, in y, and, where one thread works, also in its two halves.
// Returns the largest magnitude, 0 if nothing is valid.
template <class T>
float work_rate(const T* x, int64_t samples, const WorkPlan& p, Scratch& s, float* y, float* origin, bool* gaps,
                Ahead* ahead) {
  const auto means = means_for(x);
  *origin = mean_of_step(x, samples, 0, p.step, p.spike);
  float* const half[2] = {s.local[0].half(p, 0), s.local[0].half(p, 1)};
  const bool apart = s.team == 1 && p.hop == 2;
  for (Local& l : s.local) l.largest = 0;
  s.over(p.n, kSomeSamples, [&](int64_t begin, int64_t end, Local& l) {
    const uint32_t bits = means(x, samples, p, begin, end, *origin, y, apart ? half : nullptr, ahead);
    l.largest = std::max(l.largest, bits);
  });
  uint32_t largest = 0;
  for (const Local& l : s.local) largest = std::max(largest, l.largest);
  *gaps = largest >= kMissing;
  if (!*gaps) {
    float top;
    std::memcpy(&top, &largest, sizeof top);
    return top;
  }
  s.over(p.n, kSomeSamples, [&](int64_t begin, int64_t end, Local&) {
    constexpr int64_t kSome = 128;
    for (int64_t i = begin; i < end; i += kSome) {
      const int64_t to = std::min(i + kSome, end);
      if (means(x, samples, p, i, to, 0.0f, y, nullptr, ahead) < kMissing) continue;
      for (int64_t k = i; k < to; ++k) y[k] = mean_of_step(x, samples, k, p.step, p.spike);
    }
  });
  return bridge(y, p.n, s.missing.data(), origin);
}

// Envelopes of every lead and band, and their sum in s.fused. `end`: of the batch. Returns false if no lead has a
// signal.
template <class T>
bool fuse(const T* x, const T* end, int64_t leads, int64_t samples, const WorkPlan& p, Scratch& s) {
  const RpeaksFront& front = PHYSIOCLR_ISA::rpeaks_front;
  bool any = false;
  for (int64_t l = 0; l < leads; ++l) {
    float* y = s.slow.data() + l * p.n;
    float* env[kBands];
    for (int b = 0; b < kBands; ++b) env[b] = s.env.data() + (l * kBands + b) * p.m;
    float *maxima = s.row_maxima.data() + l * kBands, *means = s.row_means.data() + l * kBands;
    bool gaps = false;
    // While one thread works on a lead, the next one is fetched.
    const T* next = x + (l + 1) * samples;
    Ahead ahead(next, s.team == 1 && next < end ? std::min(end, next + std::min(samples, kMostAhead)) : next);
    float largest = work_rate(x + l * samples + p.first, samples - p.first, p, s, y, &s.origin[l], &gaps, &ahead);
    any = any || largest > 0;
    s.gain[l] = 1;
    bool apart = s.team == 1 && p.hop == 2 && !gaps;
    if (largest > 1e15f || largest < 1e-12f) {  // its squares would leave the range of float32
      s.gain[l] = largest > 1e-37f ? 1 / largest : 0.0f;
      for (int64_t i = 0; i < p.n; ++i) y[i] *= s.gain[l];
      largest *= s.gain[l];
      apart = false;
    }
    if (!(largest > 0)) {  // flat, or nothing valid
      std::fill(y, y + p.n, 0.0f);
      for (float* e : env) std::fill(e, e + p.m, 0.0f);
      for (int64_t k = 0; k < p.blocks; ++k)
        for (int b = 0; b < kBands; ++b) maxima[k * s.stride + b] = means[k * s.stride + b] = 0;
      continue;
    }
    const float floor = 4e-6f * largest;  // rounding of the wavelet's sums
    s.over(p.blocks, kSomeBlocks, [&](int64_t k0, int64_t k1, Local& local) {
      const int64_t begin = p.block_begin(k0), n = p.block_begin(k1) - begin;
      float* const half[2] = {local.half(p, 0), local.half(p, 1)};
      for (int64_t h = 0; h < p.hop; ++h) {
        if (apart) continue_ends(y, p, h, half[h]);
        else take_apart(y, p, begin, n, h, half[h]);
      }
      front.envelopes(half, p, k0, k1, floor, gaps ? s.missing.data() : nullptr, env, maxima, means, s.stride, &ahead);
    });
  }
  if (!any) return false;
  const int64_t rows = leads * kBands;
  s.over(p.blocks, kSomeBlocks, [&](int64_t k0, int64_t k1, Local&) {
    front.weights(s.row_maxima.data(), s.row_means.data(), p.blocks, k0, k1, rows, s.stride, s.row_level.data(),
                  s.weight.data());
  });
  s.over(p.blocks, kSomeBlocks, [&](int64_t k0, int64_t k1, Local&) {
    front.fuse(s.env.data(), p.m, s.weight.data(), rows, s.stride, p, k0, k1, s.fused.data(), s.maxima.data() + kExcess,
               s.means.data() + kExcess);
  });
  return true;
}

// How much lead l counts at envelope sample t.
inline float share_at(const Scratch& s, const WorkPlan& p, int64_t l, int64_t t) {
  float w = 0;
  for (int b = 0; b < kBands; ++b)
    w += at_centres(s.weight.data() + (l * kBands + b), p.blocks, p.block, t + p.offset, s.stride);
  return w;
}

// See sharpness. Of several leads: the sum of their envelopes.
inline float sharpness_at(const Scratch& s, const WorkPlan& p, int64_t leads, int64_t t, float z) {
  if (!(z > 0)) return 0;
  float low = 0, high = 0;
  for (int64_t l = 0; l < leads; ++l) {
    const float w = leads == 1 ? 1.0f : share_at(s, p, l, t), *env = s.env.data() + l * kBands * p.m + t;
    low += w * env[0];
    high += w * env[p.m];
  }
  return sharpness(low, high, z);
}

// Takes kTWave off the evidence of the n candidates that were chosen and are T waves; false if there are none. On few
// records more than the first loop is done.
inline bool drop_t_waves(const WorkPlan& p, int64_t leads, int64_t n, Scratch& s) {
  const float fe = static_cast<float>(p.fe), *amp = s.amp.data();
  const int32_t* t = s.cand.data();
  const uint8_t* mark = s.mark.data();
  const auto share = [&](int64_t i) {
    return [&s, &p, leads, at = t[i]](int64_t l) { return leads == 1 ? 1.0f : share_at(s, p, l, at); };
  };
  constexpr float kUnknown = -1;
  bool any = false;
  const auto steep = [&](int64_t i) {
    if (s.steep[i] == kUnknown) s.steep[i] = steepness(s.slow.data(), leads, p.n, p.fw, t[i] * p.hop, share(i));
    return s.steep[i];
  };
  uint8_t* known_alone = s.before.data();  // 2: not known
  const auto alone = [&](int64_t i) {
    if (known_alone[i] == 2)
      known_alone[i] =
          beat_follows(t, mark, n, i, fe) || !recovers(s.slow.data(), leads, p.n, p.fw, t[i] * p.hop, share(i));
    return known_alone[i] != 0;
  };
  bool known = false;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t j = t_wave_of(t, amp, s.z.data(), mark, i, fe);
    if (j >= 0 && !known) {
      std::fill_n(s.steep.data(), n, kUnknown);
      std::fill_n(s.smooth.data(), n, uint8_t{0});
      known = true;
    }
    if (j >= 0) any |= s.smooth[i] = steep(i) < kTSlope * steep(j);
  }
  if (!any) return false;
  std::fill_n(known_alone, n, uint8_t{2});
  any = false;
  for (int64_t i = 0; i < n; ++i) {
    if (!s.smooth[i]) continue;
    if (!is_t_wave(t, amp, mark, s.smooth.data(), n, i, t_wave_of(t, amp, s.z.data(), mark, i, fe), fe, steep, alone))
      continue;
    s.doubt[i] += kTWave;
    any = true;
  }
  return any;
}

// One record. Returns the number of beats.
template <class T>
int32_t detect(const T* x, const T* end, int64_t leads, int64_t samples, WorkPlan p, int64_t start, Scratch& s,
               int32_t* index, int64_t most, float* quality) {
  *quality = 0;
  if (static_cast<double>(p.n) < kShortest * p.fw || leads == 0) return 0;
  const int64_t block = static_cast<int64_t>(p.block), period = p.step * p.hop * block;
  const int64_t begin = start < 0 ? begin_around(anchor_of(x, leads, samples, p), period) : begin_from(start, period);
  p.put(grid_of(begin, samples, p.step, p.hop, block));
  for (auto* v : {&s.maxima, &s.means}) std::fill_n(v->data() + kExcess + p.blocks, kExcess, HUGE_VALF);
  if (!fuse(x, end, leads, samples, p, s)) return 0;
  s.over(p.blocks, kSomeBlocks, [&](int64_t k0, int64_t k1, Local& local) {
    const float *maxima = s.maxima.data() + kExcess, *means = s.means.data() + kExcess;
    if (p.blocks > 2 * kWide)
      return PHYSIOCLR_ISA::rpeaks_front.levels(maxima, means, p.blocks, k0, k1, &s.level[0], &s.noise[0]);
    for (int64_t k = k0; k < k1; ++k) {
      s.level[k] = block_level(maxima, p.blocks, k, local.near);
      const float mean = block_mean(means, p.blocks, k, local.near);
      s.noise[k] = s.level[k] > 0 ? mean / s.level[k] : 0.0f;
    }
  });
  s.over(p.m, kSomeSamples, [&](int64_t begin, int64_t end, Local& local) {
    s.found[begin / kSomeSamples] = static_cast<int32_t>(
        candidates(s.fused.data(), p, begin, end, local.window.data(), local.flag.data(), &s.slots[begin / 2]));
  });
  int64_t n = 0;
  const int64_t part = s.team == 1 ? p.m : kSomeSamples;
  for (int64_t begin = 0; begin < p.m; begin += part) {
    const int64_t some = s.found[begin / kSomeSamples];
    std::copy_n(&s.slots[begin / 2], some, &s.cand[n]);
    n += some;
  }
  const float fe = static_cast<float>(p.fe);
  s.over(n, kSomeCandidates, [&](int64_t begin, int64_t end, Local&) {
    for (int64_t i = begin; i < end; ++i) {
      const float level = at_centres(s.level.data(), p.blocks, p.block, s.cand[i] + p.offset);
      s.amp[i] = level > 0 ? s.fused[s.cand[i]] / level : 1.0f;
      s.z[i] = std::max(at_centres(s.noise.data(), p.blocks, p.block, s.cand[i] + p.offset) - kCalm, 0.0f);
    }
  });
  s.over(n, kSomeCandidates, [&](int64_t begin, int64_t end, Local&) {
    for (int64_t i = begin; i < end; ++i)
      s.doubt[i] =
          doubt(s.cand.data(), s.amp.data(), s.z.data(), n, i, fe) - sharpness_at(s, p, leads, s.cand[i], s.z[i]);
  });
  const auto cost = [&](int64_t i, int64_t j) {
    return link_cost(s.cand.data(), s.z.data(), s.rhythm.data(), i, j, fe);
  };
  double worth = 0;
  const auto choose_beats = [&] {
    for (int64_t i = 0; i < n; ++i) s.mark[i] = s.amp[i] > kClear;
    for (int pass = 0; pass < 2; ++pass) {
      s.over(n, kSomeCandidates, [&](int64_t begin, int64_t end, Local&) {
        local_rhythms(s.cand.data(), s.mark.data(), n, begin, end, fe, s.rhythm.data());
      });
      std::copy_n(s.mark.data(), n, s.before.data());
      choose(s.cand.data(), s.amp.data(), s.z.data(), s.doubt.data(), n, fe, cost, s.value.data(), s.back.data(),
             s.mark.data(), &worth);
      if (std::equal(s.mark.data(), s.mark.data() + n, s.before.data())) break;  // the next pass would repeat this one
    }
  };
  choose_beats();
  for (int round = 0; round < kTRounds && drop_t_waves(p, leads, n, s); ++round) choose_beats();
  int64_t beats = 0;
  for (int64_t i = 0; i < n; ++i)
    if (s.mark[i]) s.back[beats++] = static_cast<int32_t>(i);
  s.over(beats, kSomeCandidates, [&](int64_t begin, int64_t end, Local& local) {
    for (int64_t k = begin; k < end; ++k)
      s.at[k] = refine(x, leads, samples, p, s, local, s.cand[s.back[k]], s.z[s.back[k]]);
  });
  int64_t count = 0, last = -1;
  for (int64_t k = 0; k < beats && count < most; ++k)
    if (s.at[k] > last) index[count++] = static_cast<int32_t>(last = s.at[k]);  // else two windows met on one peak
  *quality = beat_quality(s.amp.data(), s.z.data(), s.mark.data(), n, worth);
  return static_cast<int32_t>(count);
}

constexpr int64_t kKept = 1 << 16;  // working samples of all leads: scratch of half a megabyte stays with its thread

template <class T>
bool detect_all(const RpeaksCall<T>& call) {
  const Cube<const T> ecg = call.ecg;
  const Matrix<int32_t> index = call.index;
  int32_t* const count = call.count;
  const WorkPlan& plan = plan_of(ecg.samples, call.fs);
  const Interrupt stop;
  const int64_t records = ecg.records;
  const auto one = [&](int64_t b, Scratch& s) {
    int32_t* row = index.row(b);
    count[b] = detect(ecg.lead(b, 0), ecg.lead(records, 0), ecg.leads, ecg.samples, plan, call.start, s, row,
                      index.cols, call.quality + b);
    std::fill(row + count[b], row + index.cols, -1);
  };
  // Few long records: one after the other, all threads on each.
  if (const int team = threads(); team > 1 && records < 2 * team && ecg.leads * ecg.samples > kLong) {
    Scratch s;
    s.fit(plan, ecg.leads, team);
    for (int64_t b = 0; b < records && !stop(); ++b) one(b, s);
    return true;
  }
  Guard guard;
  constexpr int64_t kRecords = 4;  // what a thread takes at a time; a caller without any could not ask for a signal
#pragma omp parallel num_threads(threads()) if (records > kRecords)
  {
    thread_local Scratch kept;
    Scratch own, &s = ecg.leads * plan.n <= kKept ? kept : own;
    guard([&] { s.fit(plan, ecg.leads, 1); });
#pragma omp for schedule(dynamic, kRecords)
    for (int64_t b = 0; b < records; ++b)
      if (!stop()) guard([&] { one(b, s); });
  }
  guard.raise();
  return true;
}

}  // namespace

namespace PHYSIOCLR_ISA {
bool run(const RpeaksCall<float>& call) { return detect_all(call); }
bool run(const RpeaksCall<int16_t>& call) { return detect_all(call); }
}  // namespace PHYSIOCLR_ISA

}  // namespace physioclr::cpu
