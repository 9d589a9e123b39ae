#pragma once
// Matrix products of small tiles, one thread each: what the pairwise kernels need between two passes over a tile.
// A "panel" holds 32 rows of a matrix transposed, (K, 32): the 32 values of one column lie side by side.
#include <cstdint>

namespace physioclr::cpu {

constexpr int64_t kPanel = 32;

// c[r][j] (row length ldc) = sum_k a[r][k] b[j][k] for r < ni, j < nj, both multiples of 32. a and b are panels.
void gemm_panels(const float* a, const float* b, int64_t k, int64_t ni, int64_t nj, float* c, int64_t ldc);
void gemm_panels(const double* a, const double* b, int64_t k, int64_t ni, int64_t nj, double* c, int64_t ldc);

// c[r][q] (row length ldc) += sum_k a[r * rs + k * ks] b[k * 32 + q] for r < ni (a multiple of 32), q < 32.
void gemm_add(const float* a, int64_t rs, int64_t ks, const float* b, int64_t k, int64_t ni, float* c, int64_t ldc);
void gemm_add(const double* a, int64_t rs, int64_t ks, const double* b, int64_t k, int64_t ni, double* c, int64_t ldc);

}  // namespace physioclr::cpu
