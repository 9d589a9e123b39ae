#pragma once
// Matrix products of small tiles, one thread each: what the pairwise kernels need between two passes over a tile.
// A "panel" holds 32 rows of a matrix transposed, (K, 32): the 32 values of one column lie side by side.
#include <cstdint>

#include "core/macros.h"
#include "cpu/isa.h"

namespace physioclr::cpu {

constexpr int64_t kPanel = 32;
constexpr int64_t kLine = 64;  // bytes of a cache line

// Two stretches of memory that the caller reads next. Products fetch them into the cache beside their arithmetic, which
// leaves the ports of memory idle; of tiles that come from the third level or from memory that hides the way.
struct Ahead {
  const void* first = nullptr;
  int64_t first_bytes = 0;
  const void* second = nullptr;
  int64_t second_bytes = 0;
  PHYSIOCLR_INLINE const char* at(int64_t offset) const {  // of both, one behind the other; null: past the end
    if (offset < first_bytes) return static_cast<const char*>(first) + offset;
    return offset < first_bytes + second_bytes ? static_cast<const char*>(second) + (offset - first_bytes) : nullptr;
  }
};
// The bytes that one product of 32 rows and 32 columns over a depth of k fetches: a tile of 128 rows fetches two blocks
// of its operands.
template <class T>
PHYSIOCLR_INLINE constexpr int64_t fetched_ahead(int64_t k) {
  return 16 * k * static_cast<int64_t>(sizeof(T));
}

template <class T>
struct ProductsOf {
  void (*panels)(const T* a, const T* b, int64_t k, int64_t ni, int64_t nj, T* c, int64_t ldc, const Ahead& ahead);
  void (*add)(const T* a, int64_t rs, int64_t ks, const T* b, int64_t k, int64_t ni, T* c, int64_t ldc,
              const char* ahead);
  void (*dot)(const T* x, const T* y, int64_t n, double* xy, double* yy);
};
struct Products {  // hot/gemm.cpp
  ProductsOf<float> of_float;
  ProductsOf<double> of_double;
};
PHYSIOCLR_KERNELS(Products, products)
inline const ProductsOf<float>& products_of(const float*) { return products().of_float; }
inline const ProductsOf<double>& products_of(const double*) { return products().of_double; }

// c[r][j] (row length ldc) = sum_k a[r][k] b[j][k] for r < ni, j < nj, both multiples of 32. a and b are panels.
template <class T>
void gemm_panels(const T* a, const T* b, int64_t k, int64_t ni, int64_t nj, T* c, int64_t ldc,
                 const Ahead& ahead = {}) {
  products_of(a).panels(a, b, k, ni, nj, c, ldc, ahead);
}

// c[r][q] (row length ldc) += sum_k a[r * rs + k * ks] b[k * 32 + q] for r < ni (a multiple of 32), q < 32. ahead:
// fetched_ahead(k) bytes, or null.
template <class T>
void gemm_add(const T* a, int64_t rs, int64_t ks, const T* b, int64_t k, int64_t ni, T* c, int64_t ldc,
              const char* ahead = nullptr) {
  products_of(a).add(a, rs, ks, b, k, ni, c, ldc, ahead);
}

// x . y and y . y in double
template <class T>
void dot(const T* x, const T* y, int64_t n, double* xy, double* yy) {
  products_of(x).dot(x, y, n, xy, yy);
}

}  // namespace physioclr::cpu
