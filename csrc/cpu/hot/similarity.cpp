// Tiles of products to cosines and distances, and comparisons of tiles: see cpu/similarity_tiles.h.
#include "cpu/similarity_tiles.h"

#include <cstring>

#include "core/macros.h"
#include "core/similarity_math.h"
#include "cpu/gemm.h"
#include "cpu/simd_math.h"

namespace physioclr::cpu {
namespace {

// Bytes of a register of this set: of wider vectors GCC keeps the lanes in memory, and compares them one by one.
#if defined(__AVX512F__)
constexpr int kRegister = 64;
#elif defined(__AVX2__)
constexpr int kRegister = 32;
#else
constexpr int kRegister = 16;
#endif
constexpr int kOfRegister = kRegister / 4, kOfPanel = kPanel / kOfRegister;  // numbers; registers

// d[q] = sum_k ((half a_k - half b_kq) up unit)^2 for the 32 columns of a panel, with sign -1 of the sum in place of
// the difference; a is a column of a panel.
PHYSIOCLR_INLINE void squared_differences(const float* a, const float* b, int64_t cols, const RbfUnit& u, float sign,
                                          float* d) {
  typedef float V __attribute__((vector_size(kRegister)));
  V sum[kOfPanel] = {};
  const float other = u.half * sign, up = u.up, unit = u.unit;
  for (int64_t k = 0; k < cols; ++k, a += kPanel, b += kPanel) {
    const float own = u.half * *a;
#pragma GCC unroll 8
    for (int h = 0; h < kOfPanel; ++h) {
      V x;
      std::memcpy(&x, b + h * kOfRegister, sizeof x);
      x = (own - x * other) * up * unit;
      sum[h] += x * x;
    }
  }
  std::memcpy(d, sum, sizeof sum);
}

// Whether any of rows x 32 numbers is beyond +-bound. The bits of floats without their sign have the floats' order.
PHYSIOCLR_INLINE bool any_beyond(const float* s, int64_t rows, float bound) {
  typedef int32_t I __attribute__((vector_size(kRegister)));
  constexpr int sets = kOfPanel < 4 ? 2 : 1;  // four maxima or more: one would wait for the one before it
  I most[kOfPanel * sets] = {}, x;
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int h = 0; h < kOfPanel; ++h) {
      std::memcpy(&x, s + r * kPairCols + kOfRegister * h, sizeof x);
      I& m = most[sets * h + (r & (sets - 1))];
      x &= 0x7fffffff;
      m = x > m ? x : m;
    }
  int32_t limit, all = 0;
  std::memcpy(&limit, &bound, sizeof limit);
  for (const I& m : most)
    for (int q = 0; q < kOfRegister; ++q) all |= m[q] > limit;
  return all != 0;
}

// Products of unit rows to cosines.
PHYSIOCLR_FLAT void to_cosine(const PairTile& t) {
  const float sure = sure_cosine(t.cols);
  const RbfUnit one{1.0f, 1.0f, 1.0f, 1.0f};
  float d[kPanel];
  for (int64_t c0 = 0; c0 < t.nj; c0 += kPanel) {
    if (!any_beyond(t.s + c0, t.ni, sure)) continue;
    for (int64_t r = 0; r < t.ni; ++r) {
      float* const s = t.s + r * kPairCols + c0;
      int high = 0, low = 0;
#pragma omp simd reduction(| : high, low)
      for (int64_t q = 0; q < kPanel; ++q) high |= s[q] > sure, low |= s[q] < -sure;
      const float* const a = t.a + r / kPanel * kPanel * t.cols + r % kPanel;
      if (high) {
        squared_differences(a, t.b + c0 * t.cols, t.cols, one, 1.0f, d);
        for (int64_t q = 0; q < kPanel; ++q) s[q] = s[q] > sure ? 1.0f - 0.5f * d[q] : s[q];
      }
      if (low) {
        squared_differences(a, t.b + c0 * t.cols, t.cols, one, -1.0f, d);
        for (int64_t q = 0; q < kPanel; ++q) s[q] = s[q] < -sure ? 0.5f * d[q] - 1.0f : s[q];
      }
    }
  }
}

// Products of rows to exp(-|a - b|^2 / (2 sigma^2)), or to that exponent.
template <bool EXP>
PHYSIOCLR_INLINE void of_distance(const PairTile& t, double inv_width) {
  const RbfUnit u = rbf_unit(inv_width);
  const float width = u.inv_width;
  float d[kPanel], near[kPairCols], largest = 0;
  for (int64_t c = 0; c < t.nj; ++c) {
    largest = t.norm_b[c] > largest ? t.norm_b[c] : largest;
    near[c] = 0.43f * t.norm_b[c];
  }
  for (int64_t r = 0; r < t.ni; ++r) {
    const float norm = t.norm_a[r], own = 0.43f * norm;
    float* const row = t.s + r * kPairCols;
    // Mostly the products tell all of a row: nothing under- or overflows, and distance_is_sure with some to spare.
    int doubt = !(norm > 1e-30f && norm < 1e30f && largest < 1e30f);
#pragma omp simd reduction(| : doubt)
    for (int64_t c = 0; c < t.nj; ++c) doubt |= row[c] - near[c] > own;
    for (int64_t c0 = 0; doubt && c0 < t.nj; c0 += kPanel) {
      float* const s = row + c0;
      const float* const n = t.norm_b + c0;
      int here = 0;
#pragma omp simd reduction(| : here)
      for (int64_t q = 0; q < kPanel; ++q) here |= !distance_is_sure(norm + n[q] - 2.0f * s[q], norm + n[q]);
      if (here)
        squared_differences(t.a + r / kPanel * kPanel * t.cols + r % kPanel, t.b + c0 * t.cols, t.cols, u, 1.0f, d);
      for (int64_t q = 0; q < kPanel; ++q) {
        const float norms = norm + n[q], d2 = norms - 2.0f * s[q];
        s[q] = distance_is_sure(d2, norms) ? -d2 * width * width : -d[q];
      }
    }
    if (!doubt) {
#pragma omp simd
      for (int64_t c = 0; c < t.nj; ++c) {
        const float x = (2.0f * row[c] - (norm + t.norm_b[c])) * width * width;
        row[c] = EXP ? exp_simd(x) : x;
      }
    } else if (EXP) {
#pragma omp simd
      for (int64_t c = 0; c < t.nj; ++c) row[c] = exp_simd(row[c]);
    }
  }
}
PHYSIOCLR_FLAT void to_rbf(const PairTile& t, double inv_width) { of_distance<true>(t, inv_width); }
PHYSIOCLR_FLAT void to_exponent(const PairTile& t, double inv_width) { of_distance<false>(t, inv_width); }

PHYSIOCLR_FLAT void at_least(const float* s, float threshold, uint8_t* mask) {
  for (int64_t c = 0; c < kPairCols; ++c) mask[c] = s[c] >= threshold;
}

PHYSIOCLR_FLAT bool any_above(const float* s, int64_t n, float bound) {
  int any = 0;
#pragma omp simd reduction(| : any)
  for (int64_t c = 0; c < n; ++c) any |= s[c] > bound;
  return any != 0;
}

}  // namespace

const PairKernels PHYSIOCLR_ISA::pair_kernels{to_cosine, to_rbf, to_exponent, at_least, any_above};

}  // namespace physioclr::cpu
