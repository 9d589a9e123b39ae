#pragma once
// Vectors for the waves and features, for the instruction set of waves_math.h, and the sums and searches that use them.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace physioclr::waves::PHYSIOCLR_ISA {

constexpr int kLanes = 8, kShortLanes = 32, kFloats = 16;  // of the sums of double, of float; of a vector of float

// A vector wider than the set's registers, as two halves. GCC keeps a wider vector_size in memory, which makes a chain
// of sums three times as long.
template <class V>
struct Pair {
  V lo, hi;
};
#define PHYSIOCLR_OF_PAIRS(op)                                                                \
  template <class V, class W>                                                                 \
  inline auto operator op(const Pair<V>& a, const Pair<W>& b)->Pair<decltype(a.lo op b.lo)> { \
    return {a.lo op b.lo, a.hi op b.hi};                                                      \
  }                                                                                           \
  template <class V, class S, class = std::enable_if_t<std::is_arithmetic_v<S>>>              \
  inline auto operator op(const Pair<V>& a, S b)->Pair<decltype(a.lo op b)> {                 \
    return {a.lo op b, a.hi op b};                                                            \
  }                                                                                           \
  template <class V, class S, class = std::enable_if_t<std::is_arithmetic_v<S>>>              \
  inline auto operator op(S a, const Pair<V>& b)->Pair<decltype(a op b.lo)> {                 \
    return {a op b.lo, a op b.hi};                                                            \
  }
PHYSIOCLR_OF_PAIRS(+)
PHYSIOCLR_OF_PAIRS(-)
PHYSIOCLR_OF_PAIRS(*)
PHYSIOCLR_OF_PAIRS(/)
PHYSIOCLR_OF_PAIRS(&)
PHYSIOCLR_OF_PAIRS(|)
PHYSIOCLR_OF_PAIRS(<)
PHYSIOCLR_OF_PAIRS(>)
PHYSIOCLR_OF_PAIRS(!=)
#undef PHYSIOCLR_OF_PAIRS
template <class V>
inline Pair<V> operator~(const Pair<V>& a) {
  return {~a.lo, ~a.hi};
}
template <class V, class W>
inline Pair<V>& operator+=(Pair<V>& a, const Pair<W>& b) {
  return a = {a.lo + b.lo, a.hi + b.hi};
}
template <class V, class W>
inline Pair<V>& operator|=(Pair<V>& a, const Pair<W>& b) {
  return a = {a.lo | b.lo, a.hi | b.hi};
}

using QuarterDoubles = double __attribute__((vector_size(16)));
using QuarterFloats = float __attribute__((vector_size(16)));
using QuarterIntegers = int64_t __attribute__((vector_size(16)));
using QuarterShort = int32_t __attribute__((vector_size(16)));
#if defined(__AVX__)
using HalfDoubles = double __attribute__((vector_size(32)));
using HalfFloats = float __attribute__((vector_size(32)));
using HalfIntegers = int64_t __attribute__((vector_size(32)));
using HalfShort = int32_t __attribute__((vector_size(32)));
#else
using HalfDoubles = Pair<QuarterDoubles>;
using HalfFloats = Pair<QuarterFloats>;
using HalfIntegers = Pair<QuarterIntegers>;
using HalfShort = Pair<QuarterShort>;
#endif
#if defined(__AVX512F__)
using Doubles = double __attribute__((vector_size(64)));
using Floats = float __attribute__((vector_size(64)));  // half of kShortLanes
using Integers = int64_t __attribute__((vector_size(64)));
using ShortIntegers = int32_t __attribute__((vector_size(64)));
#else
using Doubles = Pair<HalfDoubles>;
using Floats = Pair<HalfFloats>;
using Integers = Pair<HalfIntegers>;
using ShortIntegers = Pair<HalfShort>;
#endif

// Types of one number.
template <class V>
struct IsPair : std::false_type {};
template <class V>
struct IsPair<Pair<V>> : std::true_type {};

// Elements that may be read beyond the last one of any array of double that a sum or search is over.
constexpr int64_t kSlack = kLanes;

// By memcpy, which every compiler makes one unaligned instruction of.
template <class V>
inline V vector_at(const void* x) {
  if constexpr (IsPair<V>::value) {
    using H = decltype(V::lo);
    return {vector_at<H>(x), vector_at<H>(static_cast<const char*>(x) + sizeof(H))};
  } else {
    V v;
    std::memcpy(&v, x, sizeof v);
    return v;
  }
}
template <class V>
inline void store(double* y, const V& v) {
  if constexpr (IsPair<V>::value) store(y, v.lo), store(y + sizeof v.lo / sizeof *y, v.hi);
  else std::memcpy(y, &v, sizeof v);
}
inline Doubles load(const double* x) { return vector_at<Doubles>(x); }

// The halves of a vector.
template <class V>
inline V lower(const Pair<V>& v) {
  return v.lo;
}
template <class V>
inline V upper(const Pair<V>& v) {
  return v.hi;
}
template <class H, class V>
inline H part_of(const V& v, int k) {
  H half[2];
  std::memcpy(half, &v, sizeof v);
  return half[k];
}
#if defined(__AVX512F__)
inline HalfDoubles lower(Doubles v) { return part_of<HalfDoubles>(v, 0); }
inline HalfDoubles upper(Doubles v) { return part_of<HalfDoubles>(v, 1); }
inline HalfFloats lower(Floats v) { return part_of<HalfFloats>(v, 0); }
inline HalfFloats upper(Floats v) { return part_of<HalfFloats>(v, 1); }
#endif
#if defined(__AVX__)
inline QuarterDoubles lower(HalfDoubles v) { return part_of<QuarterDoubles>(v, 0); }
inline QuarterDoubles upper(HalfDoubles v) { return part_of<QuarterDoubles>(v, 1); }
inline QuarterFloats lower(HalfFloats v) { return part_of<QuarterFloats>(v, 0); }
inline QuarterFloats upper(HalfFloats v) { return part_of<QuarterFloats>(v, 1); }
#endif

// a where the mask's lanes are set, otherwise b.
template <class M, class V>
inline V chosen(const M& mask, const V& a, const V& b) {
  if constexpr (IsPair<V>::value) return {chosen(mask.lo, a.lo, b.lo), chosen(mask.hi, a.hi, b.hi)};
  else return mask ? a : b;
}
template <class V>
inline V magnitude(const V& v) {
  if constexpr (IsPair<V>::value) {
    return {magnitude(v.lo), magnitude(v.hi)};
  } else if constexpr (std::is_same_v<std::decay_t<decltype(v[0])>, double>) {
    using I = decltype(v < v);
    return reinterpret_cast<V>(reinterpret_cast<I>(v) & INT64_MAX);
  } else {
    using I = decltype(v < v);
    return reinterpret_cast<V>(reinterpret_cast<I>(v) & INT32_MAX);
  }
}
template <class V>
inline V larger_lanes(const V& a, const V& b) {
  return chosen(a > b, a, b);
}

alignas(64) constexpr double kLaneNumbers[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7};
alignas(64) constexpr int32_t kShortLaneNumbers[kFloats] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
// v in the first `n` lanes, otherwise 0.
inline Doubles first_lanes(const Doubles& v, int64_t n) {
  return chosen(load(kLaneNumbers) < static_cast<double>(n), v, Doubles{});
}

template <class V>
inline bool any_lane(const V& v) {
  if constexpr (IsPair<V>::value) return any_lane(v.lo | v.hi);
  else {
    int64_t bits = 0;
    for (size_t l = 0; l < sizeof v / sizeof v[0]; ++l) bits |= v[l];
    return bits != 0;
  }
}
#if defined(__AVX512F__)
inline Doubles both_means(const float* x) {
  const __m512 v = _mm512_loadu_ps(x);
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
  const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
  const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
  return 0.5 * (_mm512_permutex2var_pd(low, even, high) + _mm512_permutex2var_pd(low, odd, high));
}
#endif
// 0.5 (x[2 l] + x[2 l + 1]) in lane l.
template <class V>
inline V means_of_two(const float* x) {
  if constexpr (IsPair<V>::value) {
    using H = decltype(V::lo);
    return {means_of_two<H>(x), means_of_two<H>(x + 2 * sizeof(H) / sizeof(double))};
#if defined(__AVX512F__)
  } else if constexpr (sizeof(V) == 64) {
    return both_means(x);
#elif defined(__AVX2__)
  } else if constexpr (sizeof(V) == 32) {
    const __m256d low = _mm256_cvtps_pd(_mm_loadu_ps(x)), high = _mm256_cvtps_pd(_mm_loadu_ps(x + 4));
    return _mm256_mul_pd(_mm256_set1_pd(0.5), _mm256_permute4x64_pd(_mm256_hadd_pd(low, high), 0xd8));
#endif
  } else {
    V v;
    for (size_t l = 0; l < sizeof v / sizeof v[0]; ++l)
      v[l] = static_cast<double>(x[2 * l]) + static_cast<double>(x[2 * l + 1]);
    return 0.5 * v;
  }
}

// The upper half of the lanes is added to the lower one until one is left.
inline double folded(const Doubles& v) {
  const HalfDoubles h = lower(v) + upper(v);
  const QuarterDoubles q = lower(h) + upper(h);
  return q[0] + q[1];
}
inline float folded(const Floats& a, const Floats& b) {
  const Floats sum = a + b;
  const HalfFloats h = lower(sum) + upper(sum);
  const QuarterFloats q = lower(h) + upper(h);
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
inline Doubles positions(int64_t i) { return static_cast<double>(i) + load(kLaneNumbers); }

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
template <bool at_least, class V>
inline unsigned compared(const V& v, double than) {
  if constexpr (IsPair<V>::value) {
    return compared<at_least>(v.lo, than) | compared<at_least>(v.hi, than) << sizeof v.lo / sizeof(double);
  } else {
#if defined(__AVX512F__)
    return _mm512_cmp_pd_mask(reinterpret_cast<__m512d>(v), _mm512_set1_pd(than), at_least ? _CMP_GE_OQ : _CMP_GT_OQ);
#elif defined(__AVX__)
    const __m256d is = _mm256_cmp_pd(v, _mm256_set1_pd(than), at_least ? _CMP_GE_OQ : _CMP_GT_OQ);
    return static_cast<unsigned>(_mm256_movemask_pd(is));
#elif defined(__SSE2__)
    const __m128d t = _mm_set1_pd(than), is = at_least ? _mm_cmpge_pd(v, t) : _mm_cmpgt_pd(v, t);
    return static_cast<unsigned>(_mm_movemask_pd(is));
#else
    unsigned bits = 0;
    for (unsigned l = 0; l < sizeof v / sizeof v[0]; ++l)
      bits |= ((at_least ? v[l] >= than : v[l] > than) ? 1u : 0u) << l;
    return bits;
#endif
  }
}
inline unsigned above(const Doubles& v, double than) { return compared<false>(v, than); }

// Bit l: whether lane l is below `than`, or equal to it.
template <bool equal, class V>
inline unsigned compared_short(const V& v, float than) {
  if constexpr (IsPair<V>::value) {
    return compared_short<equal>(v.lo, than) | compared_short<equal>(v.hi, than) << sizeof v.lo / sizeof(float);
  } else {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), _mm512_set1_ps(than), equal ? _CMP_EQ_OQ : _CMP_LT_OQ);
#elif defined(__AVX__)
    const __m256 is = _mm256_cmp_ps(v, _mm256_set1_ps(than), equal ? _CMP_EQ_OQ : _CMP_LT_OQ);
    return static_cast<unsigned>(_mm256_movemask_ps(is));
#elif defined(__SSE2__)
    const __m128 t = _mm_set1_ps(than), is = equal ? _mm_cmpeq_ps(v, t) : _mm_cmplt_ps(v, t);
    return static_cast<unsigned>(_mm_movemask_ps(is));
#else
    unsigned bits = 0;
    for (unsigned l = 0; l < sizeof v / sizeof v[0]; ++l) bits |= ((equal ? v[l] == than : v[l] < than) ? 1u : 0u) << l;
    return bits;
#endif
  }
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
    const unsigned less = compared_short<false>(low, own[i]) | compared_short<false>(high, own[i]) << kFloats;
    const unsigned same = compared_short<true>(low, own[i]) | compared_short<true>(high, own[i]) << kFloats;
    v[__builtin_popcount(less | (same & ((1u << i) - 1)))] = own[i];
  }
}

// The one of v[:n] that n / 2 others are smaller than, n odd and at most 32; NaN where equal ones lie in its place.
inline float middle_by_rank(const float* v, int64_t n) {
  float own[kShortLanes], found = std::nanf("");
  padded(v, n, own);
  const Floats low = vector_at<Floats>(own), high = vector_at<Floats>(own + kFloats);
  for (int i = 0; i < n; ++i) {
    const unsigned less = compared_short<false>(low, own[i]) | compared_short<false>(high, own[i]) << kFloats;
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

inline double largest_lane(const Doubles& v) {
  const HalfDoubles h = larger_lanes(lower(v), upper(v));
  const QuarterDoubles q = larger_lanes(lower(h), upper(h));
  return q[0] > q[1] ? q[0] : q[1];
}
inline float largest_lane(const Floats& v) {
  const HalfFloats h = larger_lanes(lower(v), upper(v));
  const QuarterFloats q = larger_lanes(lower(h), upper(h));
  const float a = q[0] > q[2] ? q[0] : q[2], b = q[1] > q[3] ? q[1] : q[3];
  return a > b ? a : b;
}
// The largest of v[:n] and 0; n >= 0, no NaN.
inline double largest_of(const double* v, int64_t n) {
  Doubles top{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Doubles x = load(v + i);
    top = larger_lanes(x, top);
  }
  if (i < n) {
    const Doubles x = first_lanes(load(v + i), n - i);
    top = larger_lanes(x, top);
  }
  return largest_lane(top);
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
