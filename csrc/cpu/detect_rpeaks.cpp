// detect_rpeaks on the CPU. Per lead: average down to about 125 Hz, moduli of two Gabor wavelets (the envelopes). Per
// record: the envelopes added, each scaled to a common level and weighted by how far its beats stand out; candidates
// are the separate maxima of the sum; dynamic programming chooses among them, twice, the second time with the rhythm of
// the first; each beat is placed on the full-rate signal.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/rpeaks_math.h"
#include "core/threads.h"
#include "cpu/rpeaks_stages.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

struct Scratch {  // one per thread, so that no record allocates
  std::vector<float> slow, env;           // (leads, n) at the working rate, (leads, bands, m)
  std::vector<float> weight, lead_level;  // (leads, bands, blocks)
  std::vector<float> padded[2];           // even and odd working samples, or all of them in the first
  std::vector<float> fused, maxima, means, level, noise, origin, gain, base, share, sum;
  std::vector<float> amp, z, doubt, rhythm;  // of the candidates
  std::vector<double> value;
  std::vector<int32_t> cand, back;
  std::vector<uint8_t> missing, mark, before;
  float near[kNeighbours];

  void fit(const Plan& p, int64_t leads) {
    slow.resize(leads * p.n);
    env.resize(leads * kBands * p.m);
    weight.resize(leads * kBands * p.blocks);
    lead_level.resize(leads * kBands * p.blocks);
    for (auto& half : padded) half.resize(p.m + 2 * p.pad + kTile);
    fused.resize(p.m);
    missing.resize(p.n);
    for (auto* v : {&maxima, &means, &level, &noise}) v->resize(p.blocks);
    for (auto* v : {&origin, &gain, &base, &share}) v->resize(leads);
    sum.resize(2 * static_cast<int64_t>(std::max(kRefine * p.fw, kFine * p.fs)) + 3);
    const int64_t most = p.m / 2 + 2;
    for (auto* v : {&amp, &z, &doubt, &rhythm}) v->resize(most);
    value.resize(most);
    for (auto* v : {&cand, &back}) v->resize(most);
    mark.resize(most);
    before.resize(most);
  }
};

// Envelopes of every lead and band, and their sum in s.fused. Returns false if no lead has a signal.
template <class T>
bool fuse(const T* x, int64_t leads, int64_t samples, const Plan& p, Scratch& s) {
  bool any = false;
  for (int64_t l = 0; l < leads; ++l) {
    float* y = s.slow.data() + l * p.n;
    float* env = s.env.data() + l * kBands * p.m;
    float largest = 0;
    bool gaps = false;
    if (work_rate(x + l * samples, samples, p, y, s.missing.data(), &s.origin[l], &gaps))
      largest = largest_of(y, p.n);
    else
      s.origin[l] = 0;
    any = any || largest > 0;
    s.gain[l] = 1;
    if (largest > 1e15f || largest < 1e-12f) {  // its squares would leave the range of float32
      s.gain[l] = largest > 1e-37f ? 1 / largest : 0.0f;
      for (int64_t i = 0; i < p.n; ++i) y[i] *= s.gain[l];
      largest *= s.gain[l];
    }
    if (!(largest > 0)) {  // flat, or nothing valid
      std::fill(y, y + p.n, 0.0f);
      std::fill(env, env + kBands * p.m, 0.0f);
    } else {
      const float* centre[2] = {s.padded[0].data() + p.pad, s.padded[1].data() + p.pad};
      for (int64_t h = 0; h < p.hop; ++h) {
        float* half = s.padded[h].data();
        const int64_t count = (p.n - h + p.hop - 1) / p.hop;
        std::fill(half, half + p.pad, y[0]);
        split(y + h, p.hop, count, half + p.pad);
        std::fill(half + p.pad + count, half + s.padded[h].size(), y[p.n - 1]);
      }
      const float floor = 4e-6f * largest;  // rounding of the wavelet's sums
      for (int b = 0; b < kBands; ++b) {
        float* e = env + b * p.m;
        envelope(centre, p.hop, p.m, p.bands[b], floor, e);
        if (gaps)
          for (int64_t i = 0; i < p.m; ++i)
            if (s.missing[i * p.hop]) e[i] = 0;
      }
    }
    for (int b = 0; b < kBands; ++b) {
      float* level = s.lead_level.data() + (l * kBands + b) * p.blocks;
      float* weight = s.weight.data() + (l * kBands + b) * p.blocks;
      block_statistics(env + b * p.m, p, s.maxima.data(), s.means.data());
      for (int64_t k = 0; k < p.blocks; ++k) {
        level[k] = near_level(s.maxima.data(), p.blocks, k, s.near);
        weight[k] = contrast(level[k], block_mean(s.means.data(), p.blocks, k, s.near));
      }
    }
  }
  if (!any) return false;
  const int64_t rows = leads * kBands;
  for (int64_t k = 0; k < p.blocks; ++k) {  // shares that add up to 1, times common level over own level
    float total = 0, common = 0;
    for (int64_t r = 0; r < rows; ++r) {
      total += s.weight[r * p.blocks + k];
      common += s.weight[r * p.blocks + k] * s.lead_level[r * p.blocks + k];
    }
    const float scale = total > 0 ? common / (total * total) : 0.0f;
    for (int64_t r = 0; r < rows; ++r) {
      float& w = s.weight[r * p.blocks + k];
      w = w > 0 ? w * scale / s.lead_level[r * p.blocks + k] : 0.0f;
    }
  }
  std::fill(s.fused.begin(), s.fused.end(), 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    add_weighted(s.env.data() + r * p.m, s.weight.data() + r * p.blocks, p, s.fused.data());
  }
  return true;
}

// The R peak near a maximum of the envelope, see r_wave, and then the middle of its top at full rate. Of several leads:
// their weighted sum, each with the sign that it has at the dominant deflection.
template <class T>
int64_t refine(const T* x, int64_t leads, int64_t samples, const Plan& p, Scratch& s, int64_t peak, float z) {
  const int64_t t = peak * p.hop;
  int64_t coarse = t;
  float height = 0;
  if (leads == 1) {
    bool up;
    coarse = r_wave(s.slow.data(), p.n, p.fw, t, z, &s.base[0], &up);
    s.share[0] = up ? 1.0f : -1.0f;
    height = std::fabs(s.slow[coarse] - s.base[0]);
  } else {
    const int64_t half = static_cast<int64_t>(kRefine * p.fw), wide = static_cast<int64_t>(kBaseline * p.fw);
    const int64_t lo = std::max<int64_t>(0, t - half), hi = std::min(p.n - 1, t + half);
    float* sum = s.sum.data();
    std::fill(sum, sum + (hi - lo + 1), 0.0f);
    for (int64_t l = 0; l < leads; ++l) {
      const float* y = s.slow.data() + l * p.n;
      float w = 0;
      for (int b = 0; b < kBands; ++b)
        w += at_centres(s.weight.data() + (l * kBands + b) * p.blocks, p.blocks, p.block, peak);
      s.share[l] = w;
      if (!(w > 0)) continue;
      const float mean = s.base[l] = mean_of(y, std::max<int64_t>(0, t - wide), std::min(p.n - 1, t + wide));
      for (int64_t i = lo; i <= hi; ++i) sum[i - lo] += w * deflection(y[i] - mean);
    }
    const float fw = static_cast<float>(p.fw), taper = 0.5f * kTaper * z / (fw * fw);
    float most = 0;
    for (int64_t i = lo; i <= hi; ++i) {
      const float dt = static_cast<float>(i - t), d = sum[i - lo] / (1.0f + taper * dt * dt);
      if (d > most) most = d, coarse = i;
    }
    for (int64_t l = 0; l < leads; ++l) {
      if (!(s.share[l] > 0)) continue;
      const float d = s.slow[l * p.n + coarse] - s.base[l];
      height += s.share[l] * std::fabs(d);
      if (d < 0) s.share[l] = -s.share[l];
    }
  }
  const int64_t centre = coarse * p.step + p.step / 2, fine = span_of(kFine, p.fs);
  const int64_t from = std::max<int64_t>(0, centre - fine), to = std::min(samples - 1, centre + fine);
  float* sum = s.sum.data();
  std::fill(sum, sum + (to - from + 1), 0.0f);
  bool valid = false;
  for (int64_t l = 0; l < leads; ++l) {
    const float w = s.share[l];
    if (w == 0) continue;
    for (int64_t i = from; i <= to; ++i) {
      const float d = (despiked(x + l * samples, samples, i, p.spike) - s.origin[l]) * s.gain[l];
      if (std::isfinite(d)) {
        sum[i - from] += w * d;
        valid = true;
      } else if (leads == 1) {
        sum[i - from] = -std::numeric_limits<float>::infinity();
      }
    }
  }
  return valid ? from + middle_of_top(sum, to - from + 1, height) : std::min(centre, samples - 1);
}

// One record. Returns the number of beats.
template <class T>
int32_t detect(const T* x, int64_t leads, int64_t samples, const Plan& p, Scratch& s, int32_t* index, int64_t most,
               float* quality) {
  *quality = 0;
  if (static_cast<double>(p.n) < kShortest * p.fw || leads == 0 || !fuse(x, leads, samples, p, s)) return 0;
  block_statistics(s.fused.data(), p, s.maxima.data(), s.means.data());
  for (int64_t k = 0; k < p.blocks; ++k) {
    s.level[k] = block_level(s.maxima.data(), p.blocks, k, s.near);
    const float mean = block_mean(s.means.data(), p.blocks, k, s.near);
    s.noise[k] = s.level[k] > 0 ? mean / s.level[k] : 0.0f;
  }
  const int64_t n = candidates(s.fused.data(), p, s.cand.data());
  const float fe = static_cast<float>(p.fe);
  for (int64_t i = 0; i < n; ++i) {
    const float level = at_centres(s.level.data(), p.blocks, p.block, s.cand[i]);
    s.amp[i] = level > 0 ? s.fused[s.cand[i]] / level : 1.0f;
    s.z[i] = std::max(at_centres(s.noise.data(), p.blocks, p.block, s.cand[i]) - kCalm, 0.0f);
    s.mark[i] = s.amp[i] > kClear;
  }
  for (int64_t i = 0; i < n; ++i) s.doubt[i] = doubt(s.cand.data(), s.amp.data(), s.z.data(), n, i, fe);
  double worth = 0;
  for (int pass = 0; pass < 2; ++pass) {
    local_rhythms(s.cand.data(), s.mark.data(), n, fe, s.rhythm.data());
    std::copy_n(s.mark.begin(), n, s.before.begin());
    const auto cost = [&](int64_t i, int64_t j) {
      return link_cost(s.cand.data(), s.z.data(), s.rhythm.data(), i, j, fe);
    };
    choose(s.cand.data(), s.amp.data(), s.z.data(), s.doubt.data(), n, fe, cost, s.value.data(), s.back.data(),
           s.mark.data(), &worth);
    if (std::equal(s.mark.begin(), s.mark.begin() + n, s.before.begin())) break;  // the next pass would repeat this one
  }
  int64_t count = 0, last = -1;
  for (int64_t i = 0; i < n && count < most; ++i) {
    if (!s.mark[i]) continue;
    const int64_t at = refine(x, leads, samples, p, s, s.cand[i], s.z[i]);
    if (at > last) index[count++] = static_cast<int32_t>(last = at);  // else two windows met on one peak
  }
  *quality = beat_quality(s.amp.data(), s.z.data(), s.mark.data(), n, worth);
  return static_cast<int32_t>(count);
}

template <class T>
void run(Cube<const T> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality) {
  const Plan plan(ecg.samples, fs);
#pragma omp parallel num_threads(threads()) if (ecg.records > 1)
  {
    Scratch s;
    s.fit(plan, ecg.leads);
#pragma omp for schedule(dynamic, 4)
    for (int64_t b = 0; b < ecg.records; ++b) {
      int32_t* row = index.row(b);
      count[b] = detect(ecg.lead(b, 0), ecg.leads, ecg.samples, plan, s, row, index.cols, quality + b);
      std::fill(row + count[b], row + index.cols, -1);
    }
  }
}

}  // namespace

void detect_rpeaks(Cube<const float> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality) {
  run(ecg, fs, index, count, quality);
}

void detect_rpeaks(Cube<const int16_t> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality) {
  run(ecg, fs, index, count, quality);
}

}  // namespace physioclr::cpu
