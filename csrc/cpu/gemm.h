#pragma once
// Matrix products of small tiles, one thread each: what the pairwise kernels need between two passes over a tile.
// A "panel" holds 32 rows of a matrix transposed, (K, 32): the 32 values of one column lie side by side.
#include <cstdint>

#include "cpu/isa.h"

namespace physioclr::cpu {

constexpr int64_t kPanel = 32;

template <class T>
struct ProductsOf {
  void (*panels)(const T* a, const T* b, int64_t k, int64_t ni, int64_t nj, T* c, int64_t ldc);
  void (*add)(const T* a, int64_t rs, int64_t ks, const T* b, int64_t k, int64_t ni, T* c, int64_t ldc);
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
void gemm_panels(const T* a, const T* b, int64_t k, int64_t ni, int64_t nj, T* c, int64_t ldc) {
  products_of(a).panels(a, b, k, ni, nj, c, ldc);
}

// c[r][q] (row length ldc) += sum_k a[r * rs + k * ks] b[k * 32 + q] for r < ni (a multiple of 32), q < 32.
template <class T>
void gemm_add(const T* a, int64_t rs, int64_t ks, const T* b, int64_t k, int64_t ni, T* c, int64_t ldc) {
  products_of(a).add(a, rs, ks, b, k, ni, c, ldc);
}

// x . y and y . y in double
template <class T>
void dot(const T* x, const T* y, int64_t n, double* xy, double* yy) {
  products_of(x).dot(x, y, n, xy, yy);
}

}  // namespace physioclr::cpu
