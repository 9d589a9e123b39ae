#pragma once
// What makes tiles of products of rows into cosines and distances, for each instruction set.
#include <cstdint>

#include "cpu/isa.h"

namespace physioclr::cpu {

// A tile of products of rows i0.. of one panel matrix and j0.. of another; nj is a multiple of kPanel.
struct PairTile {
  float* s;  // rows of kPairCols
  int64_t ni, nj, cols;
  const float *a, *b;            // their panels
  const float *norm_a, *norm_b;  // RBF only
};
constexpr int64_t kPairCols = 128;

struct PairKernels {                                                 // hot/similarity.cpp
  void (*to_cosine)(const PairTile& t);                              // products of unit rows to cosines
  void (*to_rbf)(const PairTile& t, double inv_width);               // of rows to exp(-|a - b|^2 / (2 sigma^2))
  void (*to_exponent)(const PairTile& t, double inv_width);          // ... to that exponent
  void (*at_least)(const float* s, float threshold, uint8_t* mask);  // of kPairCols
  bool (*any_above)(const float* s, int64_t n, float bound);
};
PHYSIOCLR_KERNELS(PairKernels, pair_kernels)

}  // namespace physioclr::cpu
