#pragma once
// What the steps of the delineation share: whole numbers, sums in a fixed order, prefix sums, pacing spikes.
//
// physioclr/ops/_numba holds the same code for the GPU; both give the same bits on a CPU. So every sum has an order
// that both keep, and no product is fused with a sum (-ffp-contract=off).
#include <cmath>
#include <cstdint>

#include "core/features_constants.h"
#include "core/waves_vectors.h"

namespace physioclr::waves::PHYSIOCLR_ISA {

// As the comparisons say it, which for NaN is neither std::max nor fmax: b.
template <class T>
inline T larger(T a, T b) {
  return a > b ? a : b;
}
template <class T>
inline T smaller(T a, T b) {
  return a < b ? a : b;
}
inline double clip(double v, double limit) { return larger(-limit, smaller(limit, v)); }

inline int64_t whole(double x) { return static_cast<int64_t>(x); }
inline double real(int64_t i) { return static_cast<double>(i); }

// The rate that records of 250, 500 and 1000 Hz are brought to, for the compiler to know. Functions take it or a
// double.
struct Rate250 {
  constexpr operator double() const { return 250.0; }
};

// Samples of a time in seconds, at least one.
template <class Rate>
inline int64_t width(double seconds, Rate fi) {
  return larger<int64_t>(1, whole(seconds * fi + 0.5));
}

// Mean of the samples i - h .. i + h; s: prefix sums.
inline double box(const double* s, int64_t i, int64_t h) { return (s[i + h + 1] - s[i - h]) * (1.0 / real(2 * h + 1)); }

// s[i] = the sum of v[:i] for i = 0 .. n. Four quarters at a time: one sum would wait for the sum before it.
inline void prefix_sums(const double* __restrict v, int64_t n, double* __restrict s) {
  const int64_t m = n / 4;
  const double *v0 = v, *v1 = v + m, *v2 = v + 2 * m, *v3 = v + 3 * m;
  double *s0 = s + 1, *s1 = s0 + m, *s2 = s1 + m, *s3 = s2 + m;
  double a = 0, b = 0, c = 0, d = 0;
  for (int64_t i = 0; i < m; ++i) {
    s0[i] = a += v0[i];
    s1[i] = b += v1[i];
    s2[i] = c += v2[i];
    s3[i] = d += v3[i];
  }
  b += a;
  c += b;
  for (int64_t i = 0; i < m; ++i) {
    s1[i] += a;
    s2[i] += b;
    s3[i] += c;
  }
  s[0] = 0;
  for (int64_t i = 4 * m; i < n; ++i) s[i + 1] = s[i] + v[i];
}

// Median of v[:m], by insertion sort in place (m is a few dozen); 0 of nothing.
inline double median_of(double* v, int64_t m) {
  if (m == 0) return 0;
  for (int64_t i = 1; i < m; ++i) {
    const double a = v[i];
    int64_t j = i - 1;
    for (; j >= 0 && v[j] > a; --j) v[j + 1] = v[j];
    v[j + 1] = a;
  }
  return m % 2 ? v[m / 2] : 0.5 * (v[m / 2 - 1] + v[m / 2]);
}

// How many of the n samples w (2 h of them on each side have no verdict) look like a pacing spike: h = 6 ms wide, out
// of a level line. After a low spike the line must be level again, or it may be a notch; after a high one the QRS
// complex may begin at once. The level before tells it from a narrow QRS complex, whose slopes go on. Without branches,
// for SIMD; comparisons with a missing sample are false.
inline int32_t spikes(const float* w, int64_t n, int64_t h) {
  const int64_t m = n - 4 * h;
  const float *w0 = w, *w1 = w + h, *w2 = w + 2 * h, *w3 = w + 3 * h, *w4 = w + 4 * h;
  int32_t hits = 0;
  for (int64_t i = 0; i < m; ++i) {
    const float left = w2[i] - w3[i], right = w2[i] - w1[i];
    const float up = std::fabs(left), down = std::fabs(right), height = up < down ? up : down;
    const float before = std::fabs(w1[i] - w0[i]), side = features::kSpikeSide * height;
    const int low = (height >= features::kSpikeLow) & (before <= side) & (std::fabs(w3[i] - w4[i]) <= side) &
                    (std::fabs(w1[i] - w3[i]) <= side);
    const int high = (height >= features::kSpikeHigh) & (before <= features::kSpikeLevel * height);
    hits += (left * right > 0.0f) & (low | high);
  }
  return hits;
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
