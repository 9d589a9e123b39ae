// Compiled for avx512_bf16 alone (CMakeLists.txt), and run where multiplies_bf16 says so. Nothing of the standard
// library is used here: a function that other files instantiate too must not be compiled for this processor.
#include "cpu/contrastive_bf16.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#include <immintrin.h>

namespace physioclr::cpu {
namespace {

constexpr int kRows = 8, kLanes = 16;

struct Args {
  const uint32_t* a;
  int64_t rs, ks;
  const uint32_t* b;
  int64_t k;
  float* c;
  int64_t ldc;
  const float *scale_a, *scale_b;
  const char* ahead;
};

inline __m512bh pairs(__m512i x) { return (__m512bh)x; }

// 32 rows and 32 columns. ADD: to what is there; otherwise scaled.
template <bool ADD>
inline __attribute__((always_inline)) void panel(const Args& g) {
  const char* ahead = g.ahead;
  for (int64_t r0 = 0; r0 < kPanel; r0 += kRows) {
    __m512 acc[kRows][2];
    const uint32_t *a = g.a + r0 * g.rs, *b = g.b;
    float* const c = g.c + r0 * g.ldc;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        acc[r][v] = _mm512_setzero_ps();
        if (ADD) __builtin_prefetch(c + r * g.ldc + v * kLanes, 1);
      }
    const auto step = [&]() __attribute__((always_inline)) {
      const __m512i x0 = _mm512_loadu_si512(b), x1 = _mm512_loadu_si512(b + kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m512i y = _mm512_set1_epi32(static_cast<int>(a[r * g.rs]));
        acc[r][0] = _mm512_dpbf16_ps(acc[r][0], pairs(y), pairs(x0));
        acc[r][1] = _mm512_dpbf16_ps(acc[r][1], pairs(y), pairs(x1));
      }
      a += g.ks;
      b += kPanel;
    };
    int64_t k = 0;
    if (ahead)
      for (; k + 2 <= g.k; k += 2, ahead += kLine) {
        _mm_prefetch(ahead, _MM_HINT_T1);
        step();
        step();
      }
    for (; k < g.k; ++k) step();
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        float* const out = c + r * g.ldc + v * kLanes;
        const __m512 sum = ADD ? _mm512_add_ps(_mm512_loadu_ps(out), acc[r][v])
                               : _mm512_mul_ps(_mm512_mul_ps(acc[r][v], _mm512_set1_ps(g.scale_a[r0 + r])),
                                               _mm512_loadu_ps(g.scale_b + v * kLanes));
        _mm512_storeu_ps(out, sum);
      }
  }
}

}  // namespace

void bf16_panels(const uint32_t* a, const uint32_t* b, int64_t k, int64_t ni, int64_t nj, const float* scale_a,
                 const float* scale_b, float* c, int64_t ldc, const Ahead& ahead) {
  int64_t fetched = 0;
  for (int64_t j = 0; j < nj; j += kPanel)
    for (int64_t i = 0; i < ni; i += kPanel, fetched += bf16_fetched_ahead(k))
      panel<false>(
          {a + i * k, 1, kPanel, b + j * k, k, c + i * ldc + j, ldc, scale_a + i, scale_b + j, ahead.at(fetched)});
}

void bf16_add(const uint32_t* a, int64_t rs, int64_t ks, const uint32_t* b, int64_t k, float* c, int64_t ldc,
              const char* ahead) {
  panel<true>({a, rs, ks, b, k, c, ldc, nullptr, nullptr, ahead});
}

void bf16_pairs_along_rows(const float* g, int64_t ldg, int64_t rows, int64_t cols, const float* scale, uint32_t* out) {
  for (int64_t r = 0; r < rows; ++r, g += ldg, out += cols / 2)
    for (int64_t c = 0; c < cols; c += 2 * kLanes) {
      const __m512 low = _mm512_mul_ps(_mm512_loadu_ps(g + c), _mm512_loadu_ps(scale + c));
      const __m512 high = _mm512_mul_ps(_mm512_loadu_ps(g + c + kLanes), _mm512_loadu_ps(scale + c + kLanes));
      _mm512_storeu_si512(out + c / 2, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

void bf16_pairs_along_columns(const float* g, int64_t ldg, int64_t rows, int64_t cols, const float* scale,
                              uint32_t* out) {
  for (int64_t r = 0; r < rows; r += 2, g += 2 * ldg, out += cols) {
    const __m512 first = _mm512_set1_ps(scale[r]), second = _mm512_set1_ps(scale[r + 1]);
    for (int64_t c = 0; c < cols; c += kLanes) {
      const __m256i low = (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_loadu_ps(g + c), first));
      const __m256i high = (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_loadu_ps(g + ldg + c), second));
      _mm512_storeu_si512(
          out + c, _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16)));
    }
  }
}

}  // namespace physioclr::cpu
#endif
