#pragma once
// The two inner loops of augment that compilers do not vectorise well: Philox over consecutive blocks, and the four-tap
// interpolation. Each exists in plain C++ and, on x86, in AVX2 or SSE and AVX-512. All versions give the same bits.
// Included by hot/augment.cpp alone.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/augment_math.h"
#include "core/time_map.h"
#include "cpu/hot_vector.h"
#if defined(__SSE2__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarms inside the headers of GCC 12
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#endif

namespace physioclr::cpu {
namespace {

constexpr int kTile = 8 * kGroup, kGroups = kTile / kGroup;  // samples worked on at a time

inline int lowest_bit(uint64_t bits) {  // bits is not 0
#if defined(__GNUC__)
  return __builtin_ctzll(bits);
#else
  int k = 0;
  while (!(bits >> k & 1)) ++k;
  return k;
#endif
}

// ---- Philox -------------------------------------------------------------------------------------------------------
// words[0 .. 64 groups): of blocks block .. block + 16 groups - 1, in the order of white_noise (core/augment_math.h);
// bit i of tails[g]: word 64 g + i lies in a tail of the normal distribution.

#if defined(__AVX512F__)
// 64-bit lanes, of which the lower half counts: _mm*_mul_epu32 reads no more, so nothing is ever masked.
inline void philox_groups(uint32_t block, uint32_t purpose, const Draws& d, int64_t groups, uint32_t* words,
                          uint64_t* tails) {
  const __m512i m0 = _mm512_set1_epi64(kPhiloxM0), m1 = _mm512_set1_epi64(kPhiloxM1);
  const __m512i step = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i low = _mm512_set1_epi32(kBulkLow), span = _mm512_set1_epi32(kBulkHigh - kBulkLow);
  for (int64_t g = 0; g < groups; ++g) {
    const uint32_t first = block + static_cast<uint32_t>(g) * kLanes;
    __m512i c0[2], c1[2], c2[2], c3[2];
    for (int h = 0; h < 2; ++h) {
      c0[h] = _mm512_add_epi64(_mm512_set1_epi64(first + 8 * h), step);
      c1[h] = _mm512_set1_epi64(purpose);
      c2[h] = _mm512_set1_epi64(d.s0);
      c3[h] = _mm512_set1_epi64(d.s1);
    }
    uint32_t k0 = d.k0, k1 = d.k1;
    for (int round = 0; round < 10; ++round) {
      const __m512i q0 = _mm512_set1_epi64(k0), q1 = _mm512_set1_epi64(k1);
      for (int h = 0; h < 2; ++h) {
        const __m512i p0 = _mm512_mul_epu32(c0[h], m0), p1 = _mm512_mul_epu32(c2[h], m1);
        c0[h] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1[h], q0, 0x96);
        c2[h] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3[h], q1, 0x96);
        c1[h] = p1;
        c3[h] = p0;
      }
      k0 += kPhiloxW0;
      k1 += kPhiloxW1;
    }
    uint64_t tail = 0;
    const __m512i* c[4] = {c0, c1, c2, c3};
    for (int k = 0; k < 4; ++k) {
      const __m512i w =
          _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(c[k][0])), _mm512_cvtepi64_epi32(c[k][1]), 1);
      _mm512_storeu_si512(words + g * kGroup + k * kLanes, w);
      const __mmask16 t = _mm512_cmpge_epu32_mask(_mm512_sub_epi32(_mm512_srli_epi32(w, 9), low), span);
      tail |= static_cast<uint64_t>(t) << (k * kLanes);
    }
    tails[g] = tail;
  }
}
#elif defined(__AVX2__)
// Lanes of 64 bits, of which only the lower half counts.
inline void philox_groups(uint32_t block, uint32_t purpose, const Draws& d, int64_t groups, uint32_t* words,
                          uint64_t* tails) {
  const __m256i m0 = _mm256_set1_epi64x(kPhiloxM0), m1 = _mm256_set1_epi64x(kPhiloxM1);
  const __m256i step = _mm256_setr_epi64x(0, 1, 2, 3), even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  const __m256i low = _mm256_set1_epi32(kBulkLow), last = _mm256_set1_epi32(kBulkHigh - kBulkLow - 1);
  for (int64_t g = 0; g < groups; ++g) {
    uint64_t tail = 0;
    for (int half = 0; half < 2; ++half) {  // eight blocks at a time: their state just fits the registers
      const uint32_t first = block + static_cast<uint32_t>(g) * kLanes + 8 * half;
      __m256i c0[2], c1[2], c2[2], c3[2];
      for (int h = 0; h < 2; ++h) {
        c0[h] = _mm256_add_epi64(_mm256_set1_epi64x(first + 4 * h), step);
        c1[h] = _mm256_set1_epi64x(purpose);
        c2[h] = _mm256_set1_epi64x(d.s0);
        c3[h] = _mm256_set1_epi64x(d.s1);
      }
      uint32_t k0 = d.k0, k1 = d.k1;
      for (int round = 0; round < 10; ++round) {
        const __m256i q0 = _mm256_set1_epi64x(k0), q1 = _mm256_set1_epi64x(k1);
        for (int h = 0; h < 2; ++h) {
          const __m256i p0 = _mm256_mul_epu32(c0[h], m0), p1 = _mm256_mul_epu32(c2[h], m1);
          c0[h] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1[h]), q0);
          c2[h] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3[h]), q1);
          c1[h] = p1;
          c3[h] = p0;
        }
        k0 += kPhiloxW0;
        k1 += kPhiloxW1;
      }
      const __m256i* c[4] = {c0, c1, c2, c3};
      for (int k = 0; k < 4; ++k) {
        const __m256i a = _mm256_permutevar8x32_epi32(c[k][0], even), b = _mm256_permutevar8x32_epi32(c[k][1], even);
        const __m256i w = _mm256_blend_epi32(a, b, 0xF0);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + g * kGroup + k * kLanes + 8 * half), w);
        const __m256i x = _mm256_sub_epi32(_mm256_srli_epi32(w, 9), low);  // a tail: negative, or above `last`
        const __m256i t = _mm256_or_si256(x, _mm256_cmpgt_epi32(x, last));
        tail |= static_cast<uint64_t>(_mm256_movemask_ps(_mm256_castsi256_ps(t))) << (k * kLanes + 8 * half);
      }
    }
    tails[g] = tail;
  }
}
#else
inline void philox_groups(uint32_t block, uint32_t purpose, const Draws& d, int64_t groups, uint32_t* words,
                          uint64_t* tails) {
  for (int64_t g = 0; g < groups; ++g) {
    tails[g] = 0;
    for (uint32_t j = 0; j < kLanes; ++j) {
      const Words w = d.block(purpose, block + static_cast<uint32_t>(g) * kLanes + j);
      for (uint32_t k = 0; k < 4; ++k) {
        words[g * kGroup + k * kLanes + j] = w.w[k];
        tails[g] |= static_cast<uint64_t>(is_tail(w.w[k])) << (k * kLanes + j);
      }
    }
  }
}
#endif

// ---- interpolation ------------------------------------------------------------------------------------------------
// out[i] = four_taps(z + index[i], weights of i); weight k of sample i is w[k * kTile + i]. False where a result is not
// finite.

#if defined(__SSE2__)
inline bool interpolate_sse(const float* z, const int32_t* index, const float* w, int64_t n, float* out) {
  __m128 bad = _mm_setzero_ps();
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    __m128 a = _mm_loadu_ps(z + index[i]), b = _mm_loadu_ps(z + index[i + 1]);
    __m128 c = _mm_loadu_ps(z + index[i + 2]), d = _mm_loadu_ps(z + index[i + 3]);
    _MM_TRANSPOSE4_PS(a, b, c, d);  // now tap by tap
    const __m128 ac = _mm_add_ps(_mm_mul_ps(a, _mm_loadu_ps(w + i)), _mm_mul_ps(c, _mm_loadu_ps(w + 2 * kTile + i)));
    const __m128 bd =
        _mm_add_ps(_mm_mul_ps(b, _mm_loadu_ps(w + kTile + i)), _mm_mul_ps(d, _mm_loadu_ps(w + 3 * kTile + i)));
    const __m128 y = _mm_add_ps(ac, bd);
    _mm_storeu_ps(out + i, y);
    bad = _mm_or_ps(bad, _mm_cmpneq_ps(_mm_sub_ps(y, y), _mm_setzero_ps()));
  }
  bool good = _mm_movemask_ps(bad) == 0;
  for (; i < n; ++i) {
    const float own[4] = {w[i], w[kTile + i], w[2 * kTile + i], w[3 * kTile + i]};
    out[i] = four_taps(z + index[i], own);
    good &= out[i] - out[i] == 0;
  }
  return good;
}
#endif

#if defined(__AVX512F__)
// Sixteen samples read at most 32 neighbours where time runs at less than 1.8 times its speed: two registers, of which
// each tap is a permutation. Rising indices are taken for granted.
inline bool interpolate_avx512(const float* z, const int32_t* index, const float* w, int64_t n, float* out) {
  const __m512i one = _mm512_set1_epi32(1);
  __mmask16 bad = 0;
  bool good = true;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const int32_t first = index[i], span = index[i + 15] + 4 - first;
    if (span > 32) {
      good &= interpolate_sse(z, index + i, w + i, 16, out + i);
      continue;
    }
    const uint32_t there = span < 32 ? (1u << span) - 1 : ~0u;
    const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(there), z + first);
    const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(there >> 16), z + first + 16);
    __m512i at = _mm512_sub_epi32(_mm512_loadu_si512(index + i), _mm512_set1_epi32(first));
    __m512 p[4];
    for (int k = 0; k < 4; ++k) {
      p[k] = _mm512_mul_ps(_mm512_permutex2var_ps(low, at, high), _mm512_loadu_ps(w + k * kTile + i));
      at = _mm512_add_epi32(at, one);
    }
    const __m512 y = _mm512_add_ps(_mm512_add_ps(p[0], p[2]), _mm512_add_ps(p[1], p[3]));
    _mm512_storeu_ps(out + i, y);
    bad |= _mm512_cmp_ps_mask(_mm512_sub_ps(y, y), _mm512_setzero_ps(), _CMP_NEQ_UQ);
  }
  return interpolate_sse(z, index + i, w + i, n - i, out + i) && good && bad == 0;
}
#endif

template <class T>
inline bool interpolate(const T* z, const int32_t* index, const float* w, int64_t n, T* out) {
  T bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float own[4] = {w[i], w[kTile + i], w[2 * kTile + i], w[3 * kTile + i]};
    out[i] = four_taps(z + index[i], own);
    bad += out[i] - out[i];
  }
  return bad == 0;
}
#if defined(__SSE2__)
inline bool interpolate(const float* z, const int32_t* index, const float* w, int64_t n, float* out) {
#if defined(__AVX512F__)
  return interpolate_avx512(z, index, w, n, out);
#else
  return interpolate_sse(z, index, w, n, out);
#endif
}
#endif

// ---- writing ------------------------------------------------------------------------------------------------------

// Copies a finished tile past the caches: a large batch would push itself out of them anyway, and a plain store first
// reads the line it writes to.
#if defined(__SSE2__)
inline int64_t stream_lines(const char* src, char* dst, int64_t bytes) {
  int64_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(dst + i), _mm512_loadu_si512(src + i));
#else
    for (int k = 0; k < 64; k += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(dst + i + k),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i + k)));
#endif
  }
  return i;
}
#endif

inline void stream_out(const void* from, int64_t bytes, void* to) {
#if defined(__SSE2__)
  auto* src = static_cast<const char*>(from);
  auto* dst = static_cast<char*>(to);
  const auto head = std::min<int64_t>(bytes, -reinterpret_cast<uintptr_t>(dst) & 63);
  std::memcpy(dst, src, head);
  const int64_t body = stream_lines(src + head, dst + head, bytes - head);
  std::memcpy(dst + head + body, src + head + body, bytes - head - body);
#else
  std::memcpy(to, from, bytes);
#endif
}

inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

#if defined(__GNUC__) && !defined(__clang__) && defined(__SSE2__)
#pragma GCC diagnostic pop
#endif

}  // namespace
}  // namespace physioclr::cpu
