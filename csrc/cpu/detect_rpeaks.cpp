// detect_rpeaks on the CPU. Per lead: average down to about 125 Hz, moduli of two Gabor wavelets (the envelopes). Per record:
// the envelopes added, each scaled to a common level and weighted by how far its beats stand out; candidates are the
// separate maxima of the sum; dynamic programming chooses among them, twice, the second time with the rhythm of the first;
// each beat is placed on the full-rate signal.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/macros.h"
#include "core/rpeaks_math.h"
#include "core/threads.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

using namespace rpeaks;

constexpr double kPi = 3.14159265358979323846;

struct Wavelet {
  int reach;                     // in working samples
  std::vector<float> even, odd;  // taps for k = 0..reach

  Wavelet(double centre, double fw) {
    const double sigma = kCycles / centre;
    reach = static_cast<int>(std::ceil(kSupport * sigma * fw));
    std::vector<double> gauss(reach + 1), wave(reach + 1);
    double sum_gauss = 0, sum_wave = 0, norm = 0;
    for (int k = 0; k <= reach; ++k) {
      const double t = k / fw, twice = k ? 2 : 1;
      gauss[k] = std::exp(-0.5 * (t / sigma) * (t / sigma));
      wave[k] = gauss[k] * std::cos(2 * kPi * centre * t);
      sum_gauss += twice * gauss[k];
      sum_wave += twice * wave[k];
    }
    for (int k = 0; k <= reach; ++k) {
      wave[k] -= gauss[k] * sum_wave / sum_gauss;  // no response to a constant
      norm += (k ? 2 : 1) * std::fabs(wave[k]);
    }
    for (int k = 0; k <= reach; ++k) {
      even.push_back(static_cast<float>(wave[k] / norm));
      odd.push_back(static_cast<float>(gauss[k] * std::sin(2 * kPi * centre * k / fw) / norm));
    }
  }
};

struct Plan {  // what depends on (samples, fs) alone
  int64_t step, n, blocks, spike;
  double fs, fw;
  float block;
  std::vector<Wavelet> bands;
  int pad = 0;

  Plan(int64_t samples, double rate) : fs(rate) {
    step = std::max<int64_t>(1, std::llround(fs / kWorkRate));
    n = samples / step;
    spike = std::llround(kSpike * fs);
    fw = fs / static_cast<double>(step);
    block = static_cast<float>(kBlock * fw);
    blocks = std::max<int64_t>(1, static_cast<int64_t>(static_cast<float>(n) / block));
    for (const double centre : kCentre) bands.emplace_back(centre, fw);
    for (const Wavelet& w : bands) pad = std::max(pad, w.reach);
  }

  int64_t block_end(int64_t k) const {
    return k + 1 == blocks ? n : static_cast<int64_t>(static_cast<float>(k + 1) * block);
  }
};

struct Scratch {  // one per thread, so that no record allocates
  std::vector<float> slow, env;                      // (leads, n) signal at the working rate, (leads, bands, n) envelopes
  std::vector<float> weight, lead_level;             // (leads, bands, blocks)
  std::vector<float> padded, fused, maxima, means, level, noise, origin, gain, sum;
  std::vector<float> amp, z, doubt, rhythm, value;        // of the candidates
  std::vector<int32_t> cand, back;
  std::vector<uint8_t> missing, mark;

  void fit(const Plan& p, int64_t leads) {
    slow.resize(leads * p.n);
    env.resize(leads * kBands * p.n);
    weight.resize(leads * kBands * p.blocks);
    lead_level.resize(leads * kBands * p.blocks);
    padded.resize(p.n + 2 * p.pad);
    fused.resize(p.n);
    missing.resize(p.n);
    for (auto* v : {&maxima, &means, &level, &noise}) v->resize(p.blocks);
    origin.resize(leads);
    gain.resize(leads);
    sum.resize(2 * static_cast<int64_t>(std::max(kRefine * p.fw, kFine * p.fs)) + 3);
    const int64_t most = p.n / 2 + 2;
    for (auto* v : {&amp, &z, &doubt, &rhythm, &value}) v->resize(most);
    for (auto* v : {&cand, &back}) v->resize(most);
    mark.resize(most);
  }
};

// out[i] = median of x[i - w], x[i], x[i + w]: takes out pulses narrower than w samples and leaves waves as they are. A
// neighbour that is missing or outside the record leaves x[i] alone.
template <class T>
inline void despike(const T* x, int64_t samples, int64_t begin, int64_t n, int64_t w, float* out) {
  const int64_t lo = std::min(std::max<int64_t>(begin, w), begin + n);
  const int64_t hi = std::max(std::min(begin + n, samples - w), lo);
  for (int64_t i = begin; i < lo; ++i) out[i - begin] = static_cast<float>(x[i]);
  for (int64_t i = lo; i < hi; ++i) {
    const float a = static_cast<float>(x[i - w]), b = static_cast<float>(x[i]), c = static_cast<float>(x[i + w]);
    const float low = a < c ? a : c, high = a < c ? c : a, m = b < low ? low : b > high ? high : b;
    out[i - begin] = (a - a) + (c - c) == 0.0f ? m : b;
  }
  for (int64_t i = hi; i < begin + n; ++i) out[i - begin] = static_cast<float>(x[i]);
}

// Means of `step` samples without spikes; a mean with a missing sample is missing.
template <class T>
inline void means_of(const T* x, int64_t samples, const Plan& p, float* y) {
  constexpr int64_t kTile = 64, kMostStep = 32;
  float clean[kTile * kMostStep];
  const float scale = 1.0f / static_cast<float>(p.step);
  for (int64_t i0 = 0; i0 < p.n; i0 += kTile) {
    const int64_t m = std::min(kTile, p.n - i0);
    despike(x, samples, i0 * p.step, m * p.step, p.spike, clean);
    for (int64_t i = 0; i < m; ++i) {
      float sum = 0;
      for (int64_t k = 0; k < p.step; ++k) sum += clean[i * p.step + k];
      y[i0 + i] = sum * scale;
    }
  }
}

PHYSIOCLR_SIMD void means(const float* x, int64_t samples, const Plan& p, float* y) { means_of(x, samples, p, y); }
PHYSIOCLR_SIMD void means(const int16_t* x, int64_t samples, const Plan& p, float* y) { means_of(x, samples, p, y); }

// The lead at the working rate, less its first valid value. Gaps are bridged. False if nothing is valid.
template <class T>
bool work_rate(const T* x, int64_t samples, const Plan& p, float* y, uint8_t* missing, float* origin) {
  means(x, samples, p, y);
  for (int64_t i = 0; i < p.n; ++i) missing[i] = !std::isfinite(y[i]);
  int64_t first = 0;
  while (first < p.n && missing[first]) ++first;
  if (first == p.n) return false;
  *origin = y[first];
  for (int64_t i = 0; i < p.n; ++i) y[i] -= *origin;
  // Gaps: a straight line between their edges, constant at the ends of the record.
  for (int64_t i = 0; i < first; ++i) y[i] = 0;
  for (int64_t i = first; i < p.n;) {
    if (!missing[i]) {
      ++i;
      continue;
    }
    int64_t e = i;
    while (e < p.n && missing[e]) ++e;
    const float a = y[i - 1], d = e < p.n ? (y[e] - a) / static_cast<float>(e - i + 1) : 0.0f;
    for (int64_t k = i; k < e; ++k) y[k] = a + d * static_cast<float>(k - i + 1);
    i = e;
  }
  return true;
}

PHYSIOCLR_SIMD void envelope(const float* y, int64_t n, const Wavelet& w, float* env) {
  constexpr int kTile = 64;
  for (int64_t i0 = 0; i0 < n; i0 += kTile) {
    const int m = static_cast<int>(std::min<int64_t>(kTile, n - i0));
    float a[kTile], b[kTile];
    const float* x = y + i0;
    for (int i = 0; i < m; ++i) a[i] = w.even[0] * x[i], b[i] = 0;
    for (int k = 1; k <= w.reach; ++k) {
      const float c = w.even[k], s = w.odd[k];
      for (int i = 0; i < m; ++i) {
        a[i] += c * (x[i + k] + x[i - k]);
        b[i] += s * (x[i + k] - x[i - k]);
      }
    }
    for (int i = 0; i < m; ++i) env[i0 + i] = std::sqrt(a[i] * a[i] + b[i] * b[i]);
  }
}

// Maximum and mean of each block.
void block_statistics(const float* env, const Plan& p, float* maxima, float* means) {
  int64_t i = 0;
  for (int64_t k = 0; k < p.blocks; ++k) {
    const int64_t begin = i;
    float top = 0, sum = 0;
    for (const int64_t e = p.block_end(k); i < e; ++i) {
      top = std::max(top, env[i]);
      sum += env[i];
    }
    maxima[k] = top;
    means[k] = i > begin ? sum / static_cast<float>(i - begin) : 0.0f;
  }
}

// Maxima of the envelope that are the largest within +-separation (of equals the first).
int64_t candidates(const float* e, const Plan& p, int32_t* out) {
  const int64_t sep = std::max<int64_t>(1, std::llround(kSeparation * p.fw));
  int64_t m = 0;
  for (int64_t i = 0; i < p.n;) {
    const float v = e[i];
    int64_t next = i + 1;
    bool top = v > 0;
    for (int64_t j = std::max<int64_t>(0, i - sep); top && j < i; ++j) top = e[j] < v;
    if (top)
      for (int64_t j = i + 1; j <= std::min(p.n - 1, i + sep); ++j)
        if (e[j] > v) {
          top = false;
          next = j;
          break;
        }
    if (top) {
      out[m++] = static_cast<int32_t>(i);
      next = i + sep + 1;
    }
    i = next;
  }
  return m;
}

// Envelopes of every lead and band, and their sum in s.fused. Returns false if no lead has a signal.
template <class T>
bool fuse(const T* x, int64_t leads, int64_t samples, const Plan& p, Scratch& s) {
  bool any = false;
  for (int64_t l = 0; l < leads; ++l) {
    float* y = s.slow.data() + l * p.n;
    float* env = s.env.data() + l * kBands * p.n;
    float largest = 0;
    if (work_rate(x + l * samples, samples, p, y, s.missing.data(), &s.origin[l]))
      for (int64_t i = 0; i < p.n; ++i) largest = std::max(largest, std::fabs(y[i]));
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
      std::fill(env, env + kBands * p.n, 0.0f);
    } else {
      std::fill(s.padded.begin(), s.padded.begin() + p.pad, y[0]);
      std::copy(y, y + p.n, s.padded.begin() + p.pad);
      std::fill(s.padded.begin() + p.pad + p.n, s.padded.end(), y[p.n - 1]);
      const float floor = 4e-6f * largest;  // rounding of the wavelet's sums
      for (int b = 0; b < kBands; ++b) {
        float* e = env + b * p.n;
        envelope(s.padded.data() + p.pad, p.n, p.bands[b], e);
        for (int64_t i = 0; i < p.n; ++i)
          if (s.missing[i] || e[i] < floor) e[i] = 0;
      }
    }
    for (int b = 0; b < kBands; ++b) {
      float* level = s.lead_level.data() + (l * kBands + b) * p.blocks;
      float* weight = s.weight.data() + (l * kBands + b) * p.blocks;
      block_statistics(env + b * p.n, p, s.maxima.data(), s.means.data());
      for (int64_t k = 0; k < p.blocks; ++k) {
        level[k] = block_level(s.maxima.data(), p.blocks, k);
        weight[k] = contrast(level[k], block_mean(s.means.data(), p.blocks, k));
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
    const float* e = s.env.data() + r * p.n;
    const float* w = s.weight.data() + r * p.blocks;
    for (int64_t i = 0; i < p.n; ++i) s.fused[i] += e[i] * at_centres(w, p.blocks, p.block, i);
  }
  return true;
}

// The R peak near working sample t: the dominant deflection from the local mean, where a negative one must be clearly
// larger, first at the working rate and then among the samples around it. Of several leads: their weighted sum, each
// with the sign that it has at the dominant deflection.
template <class T>
int64_t refine(const T* x, int64_t leads, int64_t samples, const Plan& p, Scratch& s, int64_t t, float z) {
  const int64_t half = static_cast<int64_t>(kRefine * p.fw), wide = static_cast<int64_t>(kBaseline * p.fw);
  const int64_t lo = std::max<int64_t>(0, t - half), hi = std::min(p.n - 1, t + half);
  const int64_t wl = std::max<int64_t>(0, t - wide), wh = std::min(p.n - 1, t + wide);
  const float fw = static_cast<float>(p.fw), taper = 0.5f * kTaper * z / (fw * fw);
  const auto base = [&](const float* y) {
    float sum = 0;
    for (int64_t i = wl; i <= wh; ++i) sum += y[i];
    return sum / static_cast<float>(wh - wl + 1);
  };
  const auto weight_of = [&](int64_t l) {
    float w = leads == 1 ? 1.0f : 0.0f;
    for (int b = 0; b < kBands && leads > 1; ++b)
      w += at_centres(s.weight.data() + (l * kBands + b) * p.blocks, p.blocks, p.block, t);
    return w;
  };
  float* sum = s.sum.data();
  float up = 0, down = 0;
  int64_t iu = t, id = t;
  if (leads == 1) {
    const float mean = base(s.slow.data());
    for (int64_t i = lo; i <= hi; ++i) {
      const float dt = static_cast<float>(i - t), d = (s.slow[i] - mean) / (1.0f + taper * dt * dt);
      if (d > up) up = d, iu = i;
      if (d < down) down = d, id = i;
    }
  } else {
    std::fill(sum, sum + (hi - lo + 1), 0.0f);
    for (int64_t l = 0; l < leads; ++l) {
      const float* y = s.slow.data() + l * p.n;
      const float mean = base(y), w = weight_of(l);
      if (w > 0)
        for (int64_t i = lo; i <= hi; ++i) sum[i - lo] += w * std::fabs(y[i] - mean);
    }
    for (int64_t i = lo; i <= hi; ++i) {
      const float dt = static_cast<float>(i - t), d = sum[i - lo] / (1.0f + taper * dt * dt);
      if (d > up) up = d, iu = i;
    }
  }
  const bool positive = up * kInverted >= -down;
  const int64_t coarse = positive ? iu : id, centre = coarse * p.step + p.step / 2;
  const int64_t fine = static_cast<int64_t>(kFine * p.fs + 0.5);
  const int64_t from = std::max<int64_t>(0, centre - fine), to = std::min(samples - 1, centre + fine);
  std::fill(sum, sum + (to - from + 1), 0.0f);
  bool valid = false;
  for (int64_t l = 0; l < leads; ++l) {
    const float* y = s.slow.data() + l * p.n;
    const bool upward = leads == 1 ? positive : y[coarse] >= base(y);
    const float w = upward ? weight_of(l) : -weight_of(l);
    if (w == 0) continue;
    for (int64_t i = from; i <= to; ++i) {
      const float d = (static_cast<float>(x[l * samples + i]) - s.origin[l]) * s.gain[l];
      if (std::isfinite(d)) {
        sum[i - from] += w * d;
        valid = true;
      } else if (leads == 1) {
        sum[i - from] = -std::numeric_limits<float>::infinity();
      }
    }
  }
  return valid ? from + (std::max_element(sum, sum + (to - from + 1)) - sum) : std::min(centre, samples - 1);
}

// One record. Returns the number of beats.
template <class T>
int32_t detect(const T* x, int64_t leads, int64_t samples, const Plan& p, Scratch& s, int32_t* index, int64_t most,
               float* quality) {
  *quality = 0;
  if (static_cast<double>(p.n) < kShortest * p.fw || leads == 0 || !fuse(x, leads, samples, p, s)) return 0;
  block_statistics(s.fused.data(), p, s.maxima.data(), s.means.data());
  for (int64_t k = 0; k < p.blocks; ++k) {
    s.level[k] = block_level(s.maxima.data(), p.blocks, k);
    const float mean = block_mean(s.means.data(), p.blocks, k);
    s.noise[k] = s.level[k] > 0 ? mean / s.level[k] : 0.0f;
  }
  const int64_t n = candidates(s.fused.data(), p, s.cand.data());
  const float fw = static_cast<float>(p.fw);
  for (int64_t i = 0; i < n; ++i) {
    const float level = at_centres(s.level.data(), p.blocks, p.block, s.cand[i]);
    s.amp[i] = level > 0 ? s.fused[s.cand[i]] / level : 1.0f;
    s.z[i] = std::max(at_centres(s.noise.data(), p.blocks, p.block, s.cand[i]) - kCalm, 0.0f);
    s.mark[i] = s.amp[i] > kClear;
  }
  for (int64_t i = 0; i < n; ++i) s.doubt[i] = doubt(s.cand.data(), s.amp.data(), s.z.data(), n, i, fw);
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t i = 0; i < n; ++i) s.rhythm[i] = local_rhythm(s.cand.data(), s.mark.data(), n, i, fw);
    choose(s.cand.data(), s.amp.data(), s.z.data(), s.doubt.data(), s.rhythm.data(), n, fw, s.value.data(), s.back.data(), s.mark.data());
  }
  int64_t count = 0, last = -1;
  for (int64_t i = 0; i < n && count < most; ++i) {
    if (!s.mark[i]) continue;
    const int64_t at = refine(x, leads, samples, p, s, s.cand[i], s.z[i]);
    if (at > last) index[count++] = static_cast<int32_t>(last = at);  // else two windows met on one peak
  }
  *quality = beat_quality(s.amp.data(), s.z.data(), s.mark.data(), n);
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
