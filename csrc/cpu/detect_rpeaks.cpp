// detect_rpeaks on the CPU. Per lead: average down to about 125 Hz, modulus of a Gabor wavelet (the envelope). Per record:
// the leads' envelopes added, each scaled by its own level and weighted by how far its beats stand out; candidates are the
// envelope's separate maxima; dynamic programming chooses among them; each beat is refined on the full-rate signal.
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

struct Plan {  // what depends on (samples, fs) alone
  int64_t step, n, blocks;
  double fs, fw;
  float block;
  int reach;                     // of the wavelet, in working samples
  std::vector<float> even, odd;  // the wavelet's taps for k = 0..reach

  Plan(int64_t samples, double rate) : fs(rate) {
    step = std::max<int64_t>(1, std::llround(fs / kWorkRate));
    n = samples / step;
    fw = fs / static_cast<double>(step);
    block = static_cast<float>(kBlock * fw);
    blocks = std::max<int64_t>(1, static_cast<int64_t>(static_cast<float>(n) / block));
    reach = static_cast<int>(std::ceil(kSupport * kSigma * fw));
    even.resize(reach + 1);
    odd.resize(reach + 1);
    std::vector<double> g(reach + 1);
    double sum_g = 0, sum_c = 0, norm = 0;
    for (int k = 0; k <= reach; ++k) {
      const double t = k / fw, twice = k ? 2 : 1;
      g[k] = std::exp(-0.5 * (t / kSigma) * (t / kSigma));
      sum_g += twice * g[k];
      sum_c += twice * g[k] * std::cos(2 * kPi * kCentre * t);
    }
    for (int k = 0; k <= reach; ++k) {
      const double t = k / fw, twice = k ? 2 : 1;
      const double c = g[k] * (std::cos(2 * kPi * kCentre * t) - sum_c / sum_g);  // no response to a constant
      norm += twice * std::fabs(c);
      even[k] = static_cast<float>(c);
      odd[k] = static_cast<float>(g[k] * std::sin(2 * kPi * kCentre * t));
    }
    for (int k = 0; k <= reach; ++k) {
      even[k] = static_cast<float>(even[k] / norm);
      odd[k] = static_cast<float>(odd[k] / norm);
    }
  }
};

struct Scratch {  // one per thread, so that no record allocates
  std::vector<float> padded, origin, env, fused, maxima, level, amp, rhythm, value;
  std::vector<float> slow;  // (leads, n): the averaged signal, kept for the baselines
  std::vector<uint8_t> missing;
  std::vector<int32_t> cand, back, chosen;
  std::vector<float> lead_weight;
  mutable std::vector<float> window;  // of the refinement

  void fit(const Plan& p, int64_t leads) {
    padded.resize(p.n + 2 * p.reach);
    for (auto* v : {&env, &fused}) v->resize(p.n);
    missing.resize(p.n);
    slow.resize(p.n * leads);
    const int64_t most = p.n / 2 + 2;
    for (auto* v : {&amp, &rhythm, &value}) v->resize(most);
    for (auto* v : {&cand, &back, &chosen}) v->resize(most);
    maxima.resize(p.blocks);
    level.resize(p.blocks);
    lead_weight.resize(leads * p.blocks);
    origin.resize(leads);
    window.resize(2 * static_cast<int64_t>(kRefine * p.fs) + 1);
  }
};

// Means of `step` samples, less the first valid one; a mean with a missing sample is missing. False if all are.
template <class T>
bool average(const T* x, const Plan& p, float* y, uint8_t* missing, float* origin) {
  const float scale = 1.0f / static_cast<float>(p.step);
  for (int64_t i = 0; i < p.n; ++i) {
    float s = 0;
    for (int64_t k = 0; k < p.step; ++k) s += static_cast<float>(x[i * p.step + k]);
    y[i] = s * scale;
    missing[i] = !std::isfinite(y[i]);
  }
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

PHYSIOCLR_SIMD void envelope(const float* padded, const Plan& p, float* env) {
  const int64_t n = p.n;
  const int r = p.reach;
  constexpr int kTile = 64;
  for (int64_t i0 = 0; i0 < n; i0 += kTile) {
    const int m = static_cast<int>(std::min<int64_t>(kTile, n - i0));
    float a[kTile], b[kTile];
    const float* x = padded + i0 + r;
    for (int i = 0; i < m; ++i) a[i] = p.even[0] * x[i], b[i] = 0;
    for (int k = 1; k <= r; ++k) {
      const float c = p.even[k], s = p.odd[k];
      for (int i = 0; i < m; ++i) {
        a[i] += c * (x[i + k] + x[i - k]);
        b[i] += s * (x[i + k] - x[i - k]);
      }
    }
    for (int i = 0; i < m; ++i) env[i0 + i] = std::sqrt(a[i] * a[i] + b[i] * b[i]);
  }
}

int64_t block_end(const Plan& p, int64_t k) {
  return k + 1 == p.blocks ? p.n : static_cast<int64_t>(static_cast<float>(k + 1) * p.block);
}

void block_maxima(const float* env, const Plan& p, float* maxima) {
  int64_t i = 0;
  for (int64_t k = 0; k < p.blocks; ++k) {
    float m = 0;
    for (const int64_t e = block_end(p, k); i < e; ++i) m = std::max(m, env[i]);
    maxima[k] = m;
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

// The envelopes of the leads, added. Returns false if no lead has a signal.
template <class T>
bool fuse(const T* x, int64_t leads, int64_t samples, const Plan& p, Scratch& s) {
  bool any = false;
  std::fill(s.fused.begin(), s.fused.end(), 0.0f);
  for (int64_t l = 0; l < leads; ++l) {
    float* y = s.slow.data() + l * p.n;
    float* weight = s.lead_weight.data() + l * p.blocks;
    if (!average(x + l * samples, p, y, s.missing.data(), &s.origin[l])) {
      std::fill(y, y + p.n, 0.0f);
      s.origin[l] = 0;
      std::fill(weight, weight + p.blocks, 0.0f);
      continue;
    }
    float largest = 0;
    for (int64_t i = 0; i < p.n; ++i) largest = std::max(largest, std::fabs(y[i]));
    std::fill(s.padded.begin(), s.padded.begin() + p.reach, y[0]);
    std::copy(y, y + p.n, s.padded.begin() + p.reach);
    std::fill(s.padded.begin() + p.reach + p.n, s.padded.end(), y[p.n - 1]);
    envelope(s.padded.data(), p, s.env.data());
    const float floor = 4e-6f * largest;  // rounding of the wavelet's sums: a flat lead must stay flat
    for (int64_t i = 0; i < p.n; ++i)
      if (s.missing[i] || s.env[i] < floor) s.env[i] = 0;
    if (leads == 1) {
      s.fused.swap(s.env);
      return largest > 0;
    }
    block_maxima(s.env.data(), p, s.maxima.data());
    int64_t i = 0;
    for (int64_t k = 0; k < p.blocks; ++k) {  // mean of the envelope, for now in `level`
      const int64_t begin = i;
      float sum = 0;
      for (const int64_t e = block_end(p, k); i < e; ++i) sum += s.env[i];
      s.level[k] = i > begin ? sum / static_cast<float>(i - begin) : 0.0f;
    }
    for (int64_t k = 0; k < p.blocks; ++k) {
      const float top = block_level(s.maxima.data(), p.blocks, k), mean = block_level(s.level.data(), p.blocks, k);
      const float contrast = mean > 0 ? std::max(top / mean - 2.0f, 0.0f) : 0.0f;  // about 0 for noise, 6 for a clean ECG
      weight[k] = top > 0 ? (contrast * contrast + 0.01f) / top : 0.0f;
    }
    for (int64_t j = 0; j < p.n; ++j) s.fused[j] += s.env[j] * level_at(weight, p.blocks, p.block, j);
    any = any || largest > 0;
  }
  return any;
}

// The R peak of one lead: the dominant deflection from the local mean, where a negative one must be clearly larger.
// Of several leads: the top of the weighted sum of their absolute deflections.
template <class T>
int64_t refine(const T* x, int64_t leads, int64_t samples, const Plan& p, const Scratch& s, int64_t t) {
  const int64_t centre = t * p.step + p.step / 2, half = static_cast<int64_t>(kRefine * p.fs);
  const int64_t lo = std::max<int64_t>(0, centre - half), hi = std::min(samples - 1, centre + half);
  const int64_t wide = static_cast<int64_t>(kBaseline * p.fw);
  const int64_t wl = std::max<int64_t>(0, t - wide), wh = std::min(p.n - 1, t + wide);
  float* sum = s.window.data();
  if (leads > 1) std::fill(sum, sum + (hi - lo + 1), 0.0f);
  int64_t at = centre;
  for (int64_t l = 0; l < leads; ++l) {
    const T* v = x + l * samples;
    const float* y = s.slow.data() + l * p.n;
    float base = 0;
    for (int64_t i = wl; i <= wh; ++i) base += y[i];
    base = base / static_cast<float>(wh - wl + 1) + s.origin[l];
    if (leads == 1) {
      float up = -std::numeric_limits<float>::infinity(), down = -up;
      int64_t iu = centre, id = centre;
      for (int64_t i = lo; i <= hi; ++i) {
        const float d = static_cast<float>(v[i]);
        if (d > up && std::isfinite(d)) up = d, iu = i;
        if (d < down && std::isfinite(d)) down = d, id = i;
      }
      at = (up - base) * kInverted >= base - down ? iu : id;
    } else {
      const float weight = level_at(s.lead_weight.data() + l * p.blocks, p.blocks, p.block, t);
      for (int64_t i = lo; i <= hi; ++i) {
        const float d = static_cast<float>(v[i]) - base;
        if (std::isfinite(d)) sum[i - lo] += weight * std::fabs(d);
      }
    }
  }
  if (leads > 1) at = lo + (std::max_element(sum, sum + (hi - lo + 1)) - sum);
  return at;
}

// One record. Returns the number of beats.
template <class T>
int32_t detect(const T* x, int64_t leads, int64_t samples, const Plan& p, Scratch& s, int32_t* index, int64_t most,
               float* quality) {
  *quality = 0;
  if (static_cast<double>(p.n) < kShortest * p.fw || leads == 0 || !fuse(x, leads, samples, p, s)) return 0;
  block_maxima(s.fused.data(), p, s.maxima.data());
  for (int64_t k = 0; k < p.blocks; ++k) s.level[k] = block_level(s.maxima.data(), p.blocks, k);
  const int64_t n = candidates(s.fused.data(), p, s.cand.data());
  const float fw = static_cast<float>(p.fw);
  for (int64_t i = 0; i < n; ++i) {
    const float level = level_at(s.level.data(), p.blocks, p.block, s.cand[i]);
    s.amp[i] = level > 0 ? s.fused[s.cand[i]] / level : kEvidence;
  }
  for (int64_t i = 0; i < n; ++i) s.rhythm[i] = local_rhythm(s.cand.data(), s.amp.data(), n, i, fw);
  const int64_t m = choose(s.cand.data(), s.amp.data(), s.rhythm.data(), n, fw, s.value.data(), s.back.data(),
                           s.chosen.data());
  int64_t count = 0;
  int64_t last = -1;
  for (int64_t k = 0; k < m && count < most; ++k) {
    const int64_t at = refine(x, leads, samples, p, s, s.cand[s.chosen[k]]);
    if (at <= last) continue;  // two windows met on one peak
    index[count++] = static_cast<int32_t>(last = at);
  }
  *quality = beat_quality(s.amp.data(), n, s.chosen.data(), m);
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
