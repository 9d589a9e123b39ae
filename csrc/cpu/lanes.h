#pragma once
// For hot files (cpu/isa.h): vectors of a register's width, read from float or bfloat and written as such. Of wider
// vectors GCC keeps the lanes in memory.
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/elements.h"
#include "core/macros.h"

namespace physioclr::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kRegister = 64;  // bytes
#elif defined(__AVX2__)
constexpr int kRegister = 32;
#else
constexpr int kRegister = 16;
#endif

template <int kBytes>
struct Of {
  typedef float F __attribute__((vector_size(kBytes)));
  typedef uint32_t U __attribute__((vector_size(kBytes)));
  typedef uint16_t H __attribute__((vector_size(kBytes / 2)));
};

template <int kBytes>
PHYSIOCLR_INLINE typename Of<kBytes>::F load(const float* p) {
  typename Of<kBytes>::F x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
// To and from 32 bits. GCC's own conversions of a whole register go by its halves.
template <int kBytes>
PHYSIOCLR_INLINE typename Of<kBytes>::U widened(const uint16_t* p) {
#if defined(__AVX512F__)
  if constexpr (kBytes == 64) {
    typename Of<kBytes>::U bits;
    const __m512i wide =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(p))));
    std::memcpy(&bits, &wide, sizeof bits);
    return bits;
  }
#endif
#if defined(__AVX2__)
  if constexpr (kBytes == 32) {
    typename Of<kBytes>::U bits;
    const __m256i wide =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(p))));
    std::memcpy(&bits, &wide, sizeof bits);
    return bits;
  }
#endif
  typename Of<kBytes>::H half;
  std::memcpy(&half, p, sizeof half);
  return __builtin_convertvector(half, typename Of<kBytes>::U);
}
template <int kBytes>
PHYSIOCLR_INLINE void narrowed(const typename Of<kBytes>::U& bits, uint16_t* p) {
#if defined(__AVX512F__)
  if constexpr (kBytes == 64) {
    __m512i wide;
    std::memcpy(&wide, &bits, sizeof wide);
    const __m256i half = _mm512_cvtepi32_epi16(wide);
    std::memcpy(p, &half, sizeof half);
    return;
  }
#endif
  const typename Of<kBytes>::H half = __builtin_convertvector(bits, typename Of<kBytes>::H);
  std::memcpy(p, &half, sizeof half);
}

template <int kBytes>
PHYSIOCLR_INLINE typename Of<kBytes>::F load(const BFloat* p) {
  const typename Of<kBytes>::U bits = widened<kBytes>(&p->bits) << 16;
  typename Of<kBytes>::F x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
template <int kBytes>
PHYSIOCLR_INLINE void store(const typename Of<kBytes>::F& x, float* p) {
  std::memcpy(p, &x, sizeof x);
}
template <int kBytes>
PHYSIOCLR_INLINE void store(const typename Of<kBytes>::F& x, BFloat* p) {  // from_compute, in every lane
  typedef typename Of<kBytes>::U U;
  U bits;
  std::memcpy(&bits, &x, sizeof bits);
  const U rounded = x != x ? U{} + 0x7fc0u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  narrowed<kBytes>(rounded, &p->bits);
}

// f(width, channel) for registers full of channels, and for each of those that are left.
template <class G>
PHYSIOCLR_INLINE void for_channels(int64_t channels, const G& f) {
  constexpr int kOfRegister = kRegister / 4;
  int64_t c = 0;
  for (; c + kOfRegister <= channels; c += kOfRegister) f(std::integral_constant<int, kRegister>{}, c);
  for (; c < channels; ++c) f(std::integral_constant<int, 4>{}, c);
}

}  // namespace
}  // namespace physioclr::cpu
