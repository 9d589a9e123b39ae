#pragma once
// Scratch of detect_rpeaks.cpp, and its last stage: where a beat is placed.
#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "cpu/rpeaks_stages.h"

namespace physioclr::cpu {
namespace {

struct Local {  // of one thread
  Buffer<float> padded[2];  // even and odd working samples of some blocks, or all of them in the first
  Buffer<float> window;
  Buffer<uint8_t> flag;
  // Around a beat, see Placing: samples and running means of each lead, a row each; their sum.
  Buffer<float> rows, means, sum, clean, base, share, votes;
  Buffer<int32_t> order, place;
  Buffer<uint8_t> whole;
  float near[kNeighbours];
  uint32_t largest;  // bits of a magnitude
  float* half(const Plan& p, int h) const { return padded[h].data() + p.pad; }
};

constexpr int64_t kSomeSamples = 1 << 14, kSomeCandidates = 256;

struct Scratch {  // of one record, reused for the next
  int team;                                   // threads that work on it together
  std::vector<Local> local;
  Buffer<float> slow, env;                    // (leads, n) at the working rate, (leads, bands, m)
  int64_t stride;                             // rows, rounded up
  Buffer<float> weight, row_level;            // (blocks, rows): a row is a lead and band
  Buffer<float> row_maxima, row_means;
  Buffer<float> maxima, means;                // (blocks), of the sum, with infinities around
  Buffer<float> fused, level, noise, origin, gain;
  Buffer<float> amp, z, doubt, rhythm;        // of the candidates
  Buffer<double> value;
  Buffer<int32_t> slots, found, cand, back;   // slots: candidates of each range of the envelope, from begin / 2 on
  Buffer<int64_t> at;
  Buffer<uint8_t> missing, mark, before;

  Scratch(const Plan& p, int64_t leads, int size) : team(size), local(size) {
    const int64_t part = static_cast<int64_t>(static_cast<float>(std::min(kSomeBlocks, p.blocks) + 2) * p.block) + 2;
    const int64_t most = p.m / 2 + 2, length = std::min(p.m, team > 1 ? part : p.m);
    for (Local& l : local) {
      for (auto& half : l.padded) half.fit(length + 2 * p.pad + kExcess);
      const Placing& q = p.place;
      l.rows.fit(leads * q.reach());
      l.means.fit(leads * q.reach());
      l.sum.fit(q.reach());
      l.clean.fit((q.before + q.after + 1) * (2 * q.step + 1) + q.reach());
      l.order.fit(q.reach());
      for (auto* v : {&l.base, &l.share, &l.votes}) v->fit(leads);
      l.place.fit(leads);
      l.whole.fit(leads);
      const int64_t range = team > 1 ? std::min(p.m, kSomeSamples) : p.m;
      l.flag.fit(range + 8);
      l.window.fit(range + 2 * p.separation() + 1);
    }
    slow.fit(leads * p.n);
    env.fit(leads * kBands * p.m + kExcess);
    stride = row_stride(leads);
    for (auto* v : {&weight, &row_level, &row_maxima, &row_means}) v->fit(stride * p.blocks);
    for (auto* v : {&row_maxima, &row_means}) std::fill_n(v->data(), stride * p.blocks, 0.0f);
    for (auto* v : {&maxima, &means}) {
      v->fit(p.blocks + 2 * kExcess);
      std::fill_n(v->data(), kExcess, HUGE_VALF);
      std::fill_n(v->data() + kExcess + p.blocks, kExcess, HUGE_VALF);
    }
    fused.fit(p.m + kExcess);
    missing.fit(p.n);
    for (auto* v : {&level, &noise}) v->fit(p.blocks + kExcess);
    for (auto* v : {&origin, &gain}) v->fit(leads);
    for (auto* v : {&amp, &z, &doubt, &rhythm}) v->fit(most);
    value.fit(most);
    for (auto* v : {&slots, &cand, &back}) v->fit(most);
    found.fit(p.m / kSomeSamples + 1);
    at.fit(most);
    for (auto* v : {&mark, &before}) v->fit(most);
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

// How much each lead counts at envelope sample t: the weights of its bands, interpolated as by at_centres.
inline void shares_at(const Scratch& s, const Plan& p, int64_t leads, int64_t t, float* share) {
  float pos = static_cast<float>(t) / p.block - 0.5f;
  pos = pos < 0 ? 0 : pos;
  const int64_t a = std::min(static_cast<int64_t>(pos), p.blocks - 1), b = std::min(a + 1, p.blocks - 1);
  const float past = pos - static_cast<float>(a), *own = &s.weight[a * s.stride], *next = &s.weight[b * s.stride];
  static_assert(kBands == 2, "two rows a lead");
  for (int64_t l = 0; l < leads; ++l) {
    const float first = own[2 * l] + past * (next[2 * l] - own[2 * l]);
    share[l] = first + (own[2 * l + 1] + past * (next[2 * l + 1] - own[2 * l + 1]));
  }
}

// Of one lead: the wave that the index is put on.
struct Wave {
  int64_t at;        // sample
  float deflection;  // there, from the baseline
  bool up;           // whether it is meant as a positive one
};

// mean: the running means in the window.
template <class T>
Wave r_wave(const T* x, const float* y, const Plan& p, const Window& w, const float* mean, float base, float origin,
            float gain, float z, Local& own) {
  const Placing& q = p.place;
  const Extremes e = extremes(mean, w, base, own.order.data());
  if (e.high * kInverted >= -e.low) return {w.lo + e.crest, mean[e.crest] - base, true};
  // Working samples around the dip, made anew on its grid.
  const int64_t dip = w.lo + e.dip;
  const Sides sides = sides_of(q, dip);
  const int64_t n = sides.before + sides.after + 1, begin = dip - sides.before * q.step - q.step / 2;
  float *grid = own.clean.data(), *d = grid + n, *all = d + n * q.step;
  running_means_of(x, y, q, begin, n * q.step, origin, gain, d, all);
  for (int64_t k = 0; k < n; ++k) grid[k] = all[k * q.step];
  int64_t first;
  const int64_t lo = sides.before - (dip - w.lo) / q.step;
  const int64_t crest = r_before(grid, n, p.fw, lo, sides.before, base, z, &first);
  const int64_t k = crest >= 0 ? crest : first;
  return {dip + (k - sides.before) * q.step, grid[k] - base, crest >= 0};
}

// Of several leads: where most of them, from the front, have their R wave (see kVote), or `otherwise`.
template <class T>
int64_t vote(const T* x, int64_t leads, const Plan& p, const Scratch& s, Local& own, const Window& w, int64_t skip,
             float z, int64_t otherwise) {
  float total = 0;
  for (int64_t l = 0; l < leads; ++l) {
    own.votes[l] = 0;
    own.place[l] = 0;
    if (!(own.share[l] > 0)) continue;
    const Wave wave = r_wave(x + l * p.place.samples, s.slow.data() + l * p.n, p, w,
                             &own.means[l * p.place.reach() + skip], own.base[l], s.origin[l], s.gain[l], z, own);
    own.votes[l] = own.share[l] * std::fabs(wave.deflection);
    own.place[l] = static_cast<int32_t>(wave.at);
    total += own.votes[l];
  }
  int64_t best = otherwise;
  bool any = false;
  for (int64_t l = 0; l < leads; ++l)
    if ((!any || own.place[l] < best) && is_voted(own.place.data(), own.votes.data(), leads, total, l)) {
      best = own.place[l];
      any = true;
    }
  return best;
}

// The R peak near a maximum of the envelope, see r_wave and first_wave, and then the middle of its top at full rate. Of
// several leads: their weighted sum, each with the sign that it has at the wave.
template <class T>
int64_t refine(const T* x, int64_t leads, const Plan& p, const Scratch& s, Local& own, int64_t peak, float z) {
  const Placing& q = p.place;
  const Window w = window_around(s.fused.data(), p.m, p.hop, static_cast<float>(p.fe), peak, q, &z);
  const int64_t begin = std::max<int64_t>(0, w.lo - q.margin()), n = std::min(q.samples, w.hi + q.margin() + 1) - begin;
  const int64_t skip = w.lo - q.step / 2 - begin;  // running means before the first of the window
  const auto read = [&](int64_t l) {
    const float* y = s.slow.data() + l * p.n;
    own.whole[l] = running_means_of(x + l * q.samples, y, q, begin, n, s.origin[l], s.gain[l], &own.rows[l * q.reach()],
                                    &own.means[l * q.reach()]);
    own.base[l] = baseline_of(y, q, w.mid);
  };
  int64_t coarse;
  float height = 0;
  float* sum = own.sum.data();
  if (leads == 1) {
    read(0);
    const Wave wave = r_wave(x, s.slow.data(), p, w, own.means.data() + skip, own.base[0], s.origin[0], s.gain[0], z, own);
    coarse = wave.at;
    own.share[0] = wave.up ? 1.0f : -1.0f;
    height = std::fabs(wave.deflection);
  } else {
    shares_at(s, p, leads, peak, own.share.data());
    std::fill(sum, sum + w.width(), 0.0f);
    int voters = 0;
    for (int64_t l = 0; l < leads; ++l) {
      if (!(own.share[l] > 0)) continue;
      ++voters;
      read(l);
      add_deflections(&own.means[l * q.reach()] + skip, w.width(), own.base[l], own.share[l], sum);
    }
    const int64_t top = extremes(sum, w, 0.0f, own.order.data()).crest;
    bool broad;
    coarse = w.lo + first_wave(sum, w, top, q, &broad);
    if (broad && voters >= kVoters) coarse = vote(x, leads, p, s, own, w, skip, z, coarse);
    const int64_t at = coarse - q.step / 2 - begin;
    for (int64_t l = 0; l < leads; ++l) {
      if (!(own.share[l] > 0)) continue;
      const float mean = at >= 0 ? own.means[l * q.reach() + at]
                                 : running_mean(x + l * q.samples, s.slow.data() + l * p.n, q, s.origin[l], s.gain[l], coarse);
      height += own.share[l] * std::fabs(mean - own.base[l]);
      if (mean - own.base[l] < 0) own.share[l] = -own.share[l];
    }
  }
  const int64_t from = std::max<int64_t>(0, coarse - q.fine), to = std::min(q.samples - 1, coarse + q.fine);
  std::fill(sum, sum + (to - from + 1), 0.0f);
  bool valid = false;
  for (int64_t l = 0; l < leads; ++l) {
    if (own.share[l] == 0) continue;
    if (own.whole[l] && from >= begin && to < begin + n) {
      add_scaled(&own.rows[l * q.reach()] + (from - begin), to - from + 1, own.share[l], sum);
      valid = true;
    } else {
      valid |= add_lead(x + l * q.samples, q.samples, from, to - from + 1, q.spike, s.origin[l], s.gain[l], own.share[l],
                        leads == 1, own.clean.data(), sum);
    }
  }
  return valid ? from + middle_of_top(sum, to - from + 1, height) : coarse;
}

}  // namespace
}  // namespace physioclr::cpu
