#pragma once
// Vectors for the waves and features, for the instruction set of waves_math.h, and the sums and searches that use them.
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace physioclr::waves::PHYSIOCLR_ISA {

constexpr int kLanes = 8, kShortLanes = 32, kFloats = 16;  // of the sums of double, of float; of a vector of float
using Doubles = double __attribute__((vector_size(64)));
using Integers = int64_t __attribute__((vector_size(64)));
using HalfDoubles = double __attribute__((vector_size(32)));
using Floats = float __attribute__((vector_size(64)));  // half of kShortLanes
using HalfFloats = float __attribute__((vector_size(32)));
using QuarterFloats = float __attribute__((vector_size(16)));

using ShortIntegers = int32_t __attribute__((vector_size(64)));

constexpr Integers kLaneNumbers = {0, 1, 2, 3, 4, 5, 6, 7};
constexpr ShortIntegers kShortLaneNumbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
// Elements that may be read beyond the last one of any array of double that a sum or search is over.
constexpr int64_t kSlack = kLanes;

// By memcpy, which every compiler makes one unaligned instruction of.
template <class V>
inline V vector_at(const void* x) {
  V v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
inline void store(double* y, Doubles v) { std::memcpy(y, &v, sizeof v); }
inline Doubles load(const double* x) { return vector_at<Doubles>(x); }
inline Doubles magnitude(Doubles v) { return reinterpret_cast<Doubles>(reinterpret_cast<Integers>(v) & INT64_MAX); }
inline Floats magnitude(Floats v) { return reinterpret_cast<Floats>(reinterpret_cast<ShortIntegers>(v) & INT32_MAX); }
// v in the first `n` lanes, otherwise 0.
inline Doubles first_lanes(Doubles v, int64_t n) { return kLaneNumbers < n ? v : Doubles{}; }

inline bool any_lane(Integers v) {
  int64_t bits = 0;
  for (int l = 0; l < kLanes; ++l) bits |= v[l];
  return bits != 0;
}
// Elements offset, offset + 2, ...
template <int offset>
inline HalfFloats each_second(Floats v) {
#if defined(__clang__)
  return __builtin_shufflevector(v, v, offset, offset + 2, offset + 4, offset + 6, offset + 8, offset + 10, offset + 12,
                                 offset + 14);
#else  // GCC has the other name from 12 on only
  using Order = int32_t __attribute__((vector_size(64)));
  constexpr Order order = {offset,      offset + 2,  offset + 4, offset + 6, offset + 8, offset + 10,
                           offset + 12, offset + 14, 0,          0,          0,          0,
                           0,           0,           0,          0};
  return vector_at<HalfFloats>(&(v = __builtin_shuffle(v, order)));
#endif
}

// The upper half of the lanes is added to the lower one until one is left.
inline double folded(Doubles v) {
  HalfDoubles half[2];
  std::memcpy(half, &v, sizeof v);
  const HalfDoubles h = half[0] + half[1];
  return (h[0] + h[2]) + (h[1] + h[3]);
}
inline float folded(Floats a, Floats b) {
  a += b;
  HalfFloats half[2];
  std::memcpy(half, &a, sizeof a);
  half[0] += half[1];
  QuarterFloats quarter[2];
  std::memcpy(quarter, half, sizeof half[0]);
  const QuarterFloats q = quarter[0] + quarter[1];
  return (q[0] + q[2]) + (q[1] + q[3]);
}

// Sum of term(i), a vector of the terms from the i-th on, for the first n terms: lane l adds every eighth from the l-th
// on, and then the lanes are folded. kSlack terms more are computed, and left out.
template <class Term>
inline double lane_sum(int64_t n, Term term) {
  Doubles sum{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum += term(i);
  if (i < n) sum += first_lanes(term(i), n - i);
  return folded(sum);
}
inline double total_of(const double* v, int64_t n) {
  return lane_sum(n, [=](int64_t i) { return load(v + i); });
}
inline double product_of(const double* u, const double* v, int64_t n) {
  return lane_sum(n, [=](int64_t i) { return load(u + i) * load(v + i); });
}
// float(i + l) in lane l.
inline Doubles positions(int64_t i) { return __builtin_convertvector(i + kLaneNumbers, Doubles); }

// The same of the n elements of u and v in 32 lanes of float, term(vector of u, vector of v); term(0, 0) may be
// anything.
template <int64_t n, class Term>
inline float lane_sum_of(const float* u, const float* v, Term term) {
  constexpr int64_t half = kShortLanes / 2, rest = n % kShortLanes;
  static_assert(rest < half);
  Floats low{}, high{};
  for (int64_t i = 0; i + kShortLanes <= n; i += kShortLanes) {
    low += term(vector_at<Floats>(u + i), vector_at<Floats>(v + i));
    high += term(vector_at<Floats>(u + i + half), vector_at<Floats>(v + i + half));
  }
  Floats last_u{}, last_v{};
  std::memcpy(&last_u, u + n - rest, rest * sizeof(float));
  std::memcpy(&last_v, v + n - rest, rest * sizeof(float));
  const Floats last = term(last_u, last_v);
  Floats kept{};
  std::memcpy(&kept, &last, rest * sizeof(float));
  return folded(low + kept, high);
}

// Bit l: whether lane l is above `than`, or at least it.
template <bool at_least>
inline unsigned compared(Doubles v, double than) {
#if defined(__AVX512F__)
  return _mm512_cmp_pd_mask(reinterpret_cast<__m512d>(v), _mm512_set1_pd(than), at_least ? _CMP_GE_OQ : _CMP_GT_OQ);
#else
  unsigned bits = 0;
#if defined(__AVX__)
  __m256d part[2];
  std::memcpy(part, &v, sizeof v);
  for (unsigned k = 0; k < 2; ++k) {
    const __m256d is = _mm256_cmp_pd(part[k], _mm256_set1_pd(than), at_least ? _CMP_GE_OQ : _CMP_GT_OQ);
    bits |= static_cast<unsigned>(_mm256_movemask_pd(is)) << 4 * k;
  }
#elif defined(__SSE2__)
  __m128d part[4];
  std::memcpy(part, &v, sizeof v);
  for (unsigned k = 0; k < 4; ++k) {
    const __m128d t = _mm_set1_pd(than), is = at_least ? _mm_cmpge_pd(part[k], t) : _mm_cmpgt_pd(part[k], t);
    bits |= static_cast<unsigned>(_mm_movemask_pd(is)) << 2 * k;
  }
#else
  for (unsigned l = 0; l < kLanes; ++l) bits |= ((at_least ? v[l] >= than : v[l] > than) ? 1u : 0u) << l;
#endif
  return bits;
#endif
}
inline unsigned above(Doubles v, double than) { return compared<false>(v, than); }

// Bit l: whether lane l is below `than`, or equal to it.
template <bool equal>
inline unsigned compared(Floats v, float than) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), _mm512_set1_ps(than), equal ? _CMP_EQ_OQ : _CMP_LT_OQ);
#else
  unsigned bits = 0;
#if defined(__AVX__)
  __m256 part[2];
  std::memcpy(part, &v, sizeof v);
  for (unsigned k = 0; k < 2; ++k) {
    const __m256 is = _mm256_cmp_ps(part[k], _mm256_set1_ps(than), equal ? _CMP_EQ_OQ : _CMP_LT_OQ);
    bits |= static_cast<unsigned>(_mm256_movemask_ps(is)) << 8 * k;
  }
#elif defined(__SSE2__)
  __m128 part[4];
  std::memcpy(part, &v, sizeof v);
  for (unsigned k = 0; k < 4; ++k) {
    const __m128 t = _mm_set1_ps(than), is = equal ? _mm_cmpeq_ps(part[k], t) : _mm_cmplt_ps(part[k], t);
    bits |= static_cast<unsigned>(_mm_movemask_ps(is)) << 4 * k;
  }
#else
  for (unsigned l = 0; l < 16; ++l) bits |= ((equal ? v[l] == than : v[l] < than) ? 1u : 0u) << l;
#endif
  return bits;
#endif
}
// v[:n] and infinities behind it, n <= 32.
inline void padded(const float* v, int64_t n, float* own) {
  for (int64_t i = 0; i < kShortLanes; ++i) own[i] = HUGE_VALF;
  for (int64_t i = 0; i < n; ++i) own[i] = v[i];
}

// Sorts v[:n], n <= 8, without NaN, by a network without branches.
inline void sort_few(float* v, int64_t n) {
  float own[kShortLanes];
  padded(v, n, own);
  constexpr int8_t kPairs[19][2] = {{0, 2}, {1, 3}, {4, 6}, {5, 7}, {0, 4}, {1, 5}, {2, 6}, {3, 7}, {0, 1}, {2, 3},
                                    {4, 5}, {6, 7}, {2, 4}, {3, 5}, {1, 4}, {3, 6}, {1, 2}, {3, 4}, {5, 6}};
#pragma GCC unroll 19
  for (const auto& pair : kPairs) {
    const float a = own[pair[0]], b = own[pair[1]];
    own[pair[0]] = a < b ? a : b;
    own[pair[1]] = a < b ? b : a;
  }
  for (int64_t i = 0; i < n; ++i) v[i] = own[i];
}

// Sorts v[:n], n <= 32, without NaN: how many are smaller, or equal and before it, is the place of each.
inline void sort_by_rank(float* v, int64_t n) {
  float own[kShortLanes];
  padded(v, n, own);
  const Floats low = vector_at<Floats>(own), high = vector_at<Floats>(own + kFloats);
  for (int i = 0; i < n; ++i) {
    const unsigned less = compared<false>(low, own[i]) | compared<false>(high, own[i]) << kFloats;
    const unsigned same = compared<true>(low, own[i]) | compared<true>(high, own[i]) << kFloats;
    v[__builtin_popcount(less | (same & ((1u << i) - 1)))] = own[i];
  }
}

// The one of v[:n] that n / 2 others are smaller than, n odd and at most 32; NaN where equal ones lie in its place.
inline float middle_by_rank(const float* v, int64_t n) {
  float own[kShortLanes], found = std::nanf("");
  padded(v, n, own);
  const Floats low = vector_at<Floats>(own), high = vector_at<Floats>(own + kFloats);
  for (int i = 0; i < n; ++i) {
    const unsigned less = compared<false>(low, own[i]) | compared<false>(high, own[i]) << kFloats;
    found = __builtin_popcount(less) == n / 2 ? own[i] : found;
  }
  return found;
}

// The n lowest bits, n < 64; the numbers of the first and the last bit of a word that has some.
inline uint64_t lowest_bits(int64_t n) { return n < 64 ? (uint64_t{1} << n) - 1 : ~uint64_t{0}; }
inline int64_t first_bit(uint64_t bits) { return __builtin_ctzll(bits); }
inline int64_t last_bit(uint64_t bits) { return 63 - __builtin_clzll(bits); }
// Bit j: whether v[j] is at least `than`, for j < n <= 64.
inline uint64_t above_or_at(const double* v, int64_t n, double than) {
  uint64_t bits = 0;
  for (int64_t j = 0; j < n; j += kLanes) bits |= static_cast<uint64_t>(compared<true>(load(v + j), than)) << j;
  return bits & lowest_bits(n);
}

inline double largest_lane(Doubles v) {
  HalfDoubles half[2];
  std::memcpy(half, &v, sizeof v);
  const HalfDoubles h = half[0] > half[1] ? half[0] : half[1];
  const double a = h[0] > h[2] ? h[0] : h[2], b = h[1] > h[3] ? h[1] : h[3];
  return a > b ? a : b;
}
inline float largest_lane(Floats v) {
  HalfFloats half[2];
  std::memcpy(half, &v, sizeof v);
  QuarterFloats quarter[2];
  half[0] = half[0] > half[1] ? half[0] : half[1];
  std::memcpy(quarter, half, sizeof half[0]);
  const QuarterFloats q = quarter[0] > quarter[1] ? quarter[0] : quarter[1];
  const float a = q[0] > q[2] ? q[0] : q[2], b = q[1] > q[3] ? q[1] : q[3];
  return a > b ? a : b;
}
// The largest of v[:n] and 0; n >= 0, no NaN.
inline double largest_of(const double* v, int64_t n) {
  Doubles top{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Doubles x = load(v + i);
    top = x > top ? x : top;
  }
  if (i < n) {
    const Doubles x = first_lanes(load(v + i), n - i);
    top = x > top ? x : top;
  }
  return largest_lane(top);
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
