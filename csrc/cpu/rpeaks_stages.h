#pragma once
// The stages of detect_rpeaks.cpp that go over the samples of one lead: median and mean down to the working rate,
// wavelet envelope, block statistics, weighted sum, separate maxima. Vectorised with fixed lanes and without fused
// multiply-add, so that every processor gets the same numbers.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/macros.h"
#include "core/rpeaks_math.h"
#include "core/rpeaks_plan.h"

namespace physioclr::cpu {
namespace {

using namespace rpeaks;
using rpeaks::Plan;  // not that of augment

constexpr int kTile = 32;  // working samples

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

// Means of `step` samples without spikes; a mean with a missing sample is missing. kStep: a common step, or 0.
template <int kStep, class T>
inline void means_of(const T* x, int64_t samples, const Plan& p, float* y) {
  constexpr int64_t kMostStep = 32;  // 4000 Hz
  const int64_t step = kStep ? kStep : p.step;
  float clean[kTile * kMostStep] = {}, out[kTile];
  const float scale = 1.0f / static_cast<float>(step);
  for (int64_t i0 = 0; i0 < p.n; i0 += kTile) {
    const int64_t m = std::min<int64_t>(kTile, p.n - i0);
    despike(x, samples, i0 * step, m * step, p.spike, clean);
    for (int64_t i = 0; i < kTile; ++i) {
      float sum = clean[i * step];
      for (int64_t k = 1; k < step; ++k) sum += clean[i * step + k];
      out[i] = sum * scale;
    }
    std::memcpy(y + i0, out, m * sizeof(float));
  }
}

template <class T>
inline void means_by_step(const T* x, int64_t samples, const Plan& p, float* y) {
  if (p.step == 2)
    means_of<2>(x, samples, p, y);
  else if (p.step == 3)
    means_of<3>(x, samples, p, y);
  else if (p.step == 4)
    means_of<4>(x, samples, p, y);
  else
    means_of<0>(x, samples, p, y);
}

PHYSIOCLR_SIMD void means(const float* x, int64_t samples, const Plan& p, float* y) { means_by_step(x, samples, p, y); }
PHYSIOCLR_SIMD void means(const int16_t* x, int64_t samples, const Plan& p, float* y) {
  means_by_step(x, samples, p, y);
}

PHYSIOCLR_SIMD bool all_finite(const float* x, int64_t n) {
  float bad[16] = {}, sum = 0;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int l = 0; l < 16; ++l) bad[l] += x[i + l] * 0.0f;  // NaN where x is not finite
  for (; i < n; ++i) sum += x[i] * 0.0f;
  for (const float b : bad) sum += b;
  return sum == 0;
}

PHYSIOCLR_SIMD void subtract(float* y, int64_t n, float origin) {
  for (int64_t i = 0; i < n; ++i) y[i] -= origin;
}

// The lead at the working rate, less its first valid value. Gaps are marked and bridged. False if nothing is valid.
template <class T>
bool work_rate(const T* x, int64_t samples, const Plan& p, float* y, uint8_t* missing, float* origin, bool* gaps) {
  means(x, samples, p, y);
  *gaps = !all_finite(y, p.n);
  if (!*gaps) {
    *origin = y[0];
    subtract(y, p.n, *origin);
    return true;
  }
  for (int64_t i = 0; i < p.n; ++i) missing[i] = !std::isfinite(y[i]);
  int64_t first = 0;
  while (first < p.n && missing[first]) ++first;
  if (first == p.n) return false;
  *origin = y[first];
  subtract(y, p.n, *origin);
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

// A vector type of GCC and Clang: plain arrays of sums are not kept in registers over the loop of taps, and take four
// times as long. The element arithmetic, and so the result, is that of scalars on every processor.
using Vec = float __attribute__((vector_size(32), aligned(4), may_alias));
constexpr int kVecs = kTile / 8;

// a and b: the sums of kVecs vectors. after, before: the samples k to the right and to the left.
inline void add_tap(const float* after, const float* before, float c, float s, Vec* a, Vec* b) {
  for (int v = 0; v < kVecs; ++v) {
    const Vec r = reinterpret_cast<const Vec*>(after)[v], l = reinterpret_cast<const Vec*>(before)[v];
    a[v] += c * (r + l);
    b[v] += s * (r - l);
  }
}

// n values of the envelope, one each `hop` working samples. y[0]: working samples 0, hop, 2 hop ...; y[1]: those
// between. Both go on beyond their ends: the last tile is whole, its excess is dropped.
PHYSIOCLR_SIMD void envelope(const float* const y[2], int64_t hop, int64_t n, const Wavelet& w, float floor,
                             float* env) {
  for (int64_t i0 = 0; i0 < n; i0 += kTile) {
    Vec a[kVecs], b[kVecs] = {};
    const float *x = y[0] + i0, *between = y[1] + i0;
    for (int v = 0; v < kVecs; ++v) a[v] = w.even[0] * reinterpret_cast<const Vec*>(x)[v];
    if (hop == 1) {
      for (int k = 1; k <= w.reach; ++k) add_tap(x + k, x - k, w.even[k], w.odd[k], a, b);
    } else {
      for (int k = 1; k <= w.reach; k += 2)
        add_tap(between + k / 2, between - k / 2 - 1, w.even[k], w.odd[k], a, b);
      for (int k = 2; k <= w.reach; k += 2) add_tap(x + k / 2, x - k / 2, w.even[k], w.odd[k], a, b);
    }
    float e[kTile];
    for (int v = 0; v < kVecs; ++v) a[v] = a[v] * a[v] + b[v] * b[v];
    std::memcpy(e, a, sizeof e);
    for (int i = 0; i < kTile; ++i) {
      const float root = std::sqrt(e[i]);
      e[i] = root < floor ? 0.0f : root;
    }
    std::memcpy(env + i0, e, std::min<int64_t>(kTile, n - i0) * sizeof(float));
  }
}

PHYSIOCLR_SIMD void split(const float* y, int64_t hop, int64_t n, float* out) {
  if (hop == 2)
    for (int64_t i = 0; i < n; ++i) out[i] = y[2 * i];
  else
    std::memcpy(out, y, n * sizeof(float));
}

// Maximum and sum of n values. Sixteen partial sums, always added in the same order, so that every processor agrees.
PHYSIOCLR_SIMD void maximum_and_sum(const float* x, int64_t n, float* top, float* sum) {
  constexpr int kLanes = 16;
  float m[kLanes] = {}, a[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) {
      m[l] = m[l] < x[i + l] ? x[i + l] : m[l];
      a[l] += x[i + l];
    }
  for (int l = 0; i + l < n; ++l) {
    m[l] = m[l] < x[i + l] ? x[i + l] : m[l];
    a[l] += x[i + l];
  }
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) {
      m[l] = m[l] < m[l + half] ? m[l + half] : m[l];
      a[l] += a[l + half];
    }
  *top = m[0];
  *sum = a[0];
}

PHYSIOCLR_SIMD float largest_of(const float* x, int64_t n) {
  float top = 0, m[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int l = 0; l < 16; ++l) m[l] = m[l] < std::fabs(x[i + l]) ? std::fabs(x[i + l]) : m[l];
  for (; i < n; ++i) top = std::max(top, std::fabs(x[i]));
  return std::max(top, *std::max_element(m, m + 16));
}

// fused += env * weight, the weight interpolated between the centres of the blocks as at_centres does.
PHYSIOCLR_SIMD void add_weighted(const float* env, const float* weight, const Plan& p, float* fused) {
  for (int64_t k = 0; k < p.blocks; ++k) {
    const float w = weight[k], slope = weight[k + 1 < p.blocks ? k + 1 : k] - w, at = static_cast<float>(k);
    const int32_t end = static_cast<int32_t>(p.ramp[k + 1]);
    for (int32_t i = static_cast<int32_t>(p.ramp[k]); i < end; ++i) {
      float pos = static_cast<float>(i) / p.block - 0.5f;
      pos = pos < 0 ? 0 : pos;
      fused[i] += env[i] * (w + (pos - at) * slope);
    }
  }
}

// Maximum and mean of each block.
void block_statistics(const float* env, const Plan& p, float* maxima, float* means) {
  int64_t begin = 0;
  for (int64_t k = 0; k < p.blocks; ++k) {
    const int64_t end = p.block_end(k);
    maximum_and_sum(env + begin, end - begin, maxima + k, means + k);
    means[k] = end > begin ? means[k] / static_cast<float>(end - begin) : 0.0f;
    begin = end;
  }
}

// Maxima of the envelope that are the largest within +-separation (of equals the first).
int64_t candidates(const float* e, const Plan& p, int32_t* out) {
  const int64_t sep = std::max<int64_t>(1, std::llround(kSeparation * p.fe));
  int64_t m = 0;
  for (int64_t i = 0; i < p.m;) {
    const float v = e[i];
    int64_t next = i + 1;
    bool top = v > 0 && (i == 0 || e[i - 1] < v) && (i + 1 == p.m || e[i + 1] <= v);
    for (int64_t j = i - 2, end = std::max<int64_t>(0, i - sep); top && j >= end; --j) top = e[j] < v;
    for (int64_t j = i + 2, end = std::min(p.m - 1, i + sep); top && j <= end; ++j)
      if (e[j] > v) {
        top = false;
        next = j;
      }
    if (top) {
      out[m++] = static_cast<int32_t>(i);
      next = i + sep + 1;
    }
    i = next;
  }
  return m;
}

}  // namespace
}  // namespace physioclr::cpu
