#pragma once
// Products of bfloat16 rows for the contrastive losses (contrastive_problem.h), two multiply-adds for one of float32. A
// pair holds two neighbours of the depth in 32 bits, the first in the low half; a panel of pairs is a panel of gemm.h
// with a pair for each number. Sums are float32, and their order does not depend on threads or sizes.
//
// Where an operand or a sum is denormal the instruction takes it as 0: rows are scaled to a length of 1 to 2 first.
#include <cstdint>
#include <cstring>

#include "core/elements.h"
#include "cpu/gemm.h"

namespace physioclr::cpu {

// Whether this processor has the instruction, the build its code, and no test forbids it.
bool multiplies_bf16() noexcept;

inline uint32_t bf16_pair(float low, float high) {
  BFloat a, b;
  from_compute(low, a);
  from_compute(high, b);
  return static_cast<uint32_t>(b.bits) << 16 | a.bits;
}
inline float bf16_of_pair(uint32_t pair, int64_t which) {
  return float_of_bits(which & 1 ? pair & 0xffff0000u : pair << 16);
}

// The bytes that a product of two panels over k pairs fetches of what comes next.
constexpr int64_t bf16_fetched_ahead(int64_t k) { return 128 * k; }

// c[r][j] (row length ldc) = scale_a[r] scale_b[j] sum_k a[r][k] b[j][k] for r < ni, j < nj, both multiples of 32; a
// and b are panels of k pairs.
void bf16_panels(const uint32_t* a, const uint32_t* b, int64_t k, int64_t ni, int64_t nj, const float* scale_a,
                 const float* scale_b, float* c, int64_t ldc, const Ahead& ahead);

// c[r][q] (row length ldc) += sum_k a[r * rs + k * ks] b[k * 32 + q] for r < 32, q < 32, over k pairs. ahead:
// bf16_fetched_ahead(k) bytes, or null.
void bf16_add(const uint32_t* a, int64_t rs, int64_t ks, const uint32_t* b, int64_t k, float* c, int64_t ldc,
              const char* ahead);

// Coefficients g (rows, cols), row length ldg, both sizes multiples of 32, as pairs to multiply by: of neighbours in a
// row, each number times its column's scale, out (rows, cols / 2); or in a column, times its row's, out (rows / 2,
// cols).
void bf16_pairs_along_rows(const float* g, int64_t ldg, int64_t rows, int64_t cols, const float* scale, uint32_t* out);
void bf16_pairs_along_columns(const float* g, int64_t ldg, int64_t rows, int64_t cols, const float* scale,
                              uint32_t* out);

}  // namespace physioclr::cpu
