#pragma once
// What contrastive.cpp does with one tile of cosines while it lies in the cache: row and column sums (forward) or
// gradient coefficients (backward), each pair of the tile once for both of its rows.
//
// S is NaN in the rows and columns of zero features and of padding: such a pair is neither >= delta nor < delta.
// Two forms of every sum: "fast" takes the fixed shift exp((s - 1) / tau), one exponential a pair for both rows; "safe"
// keeps a running maximum for each row and set, for a tau at which the fixed shift would lose small terms.
#include <cstdint>
#include <type_traits>

#include "core/contrastive_math.h"
#include "cpu/isa.h"
#include "ops.h"

namespace physioclr::cpu {

constexpr int64_t kMaxTile = 128;

template <class T>  // group numbers as wide as the cosines, so that one vector of each has as many lanes
using Id = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

// The running sums of the rows of one block. sum: ratio {positives, negatives, -}, supcon {all, -, s over positives},
// soft {all, targets, targets * s}, hard {S1, S0, -}. Sums 0 and 1 are relative to exp(shift / tau).
template <class T>
struct RowSums {
  double* sum[3];
  double* positives;
  T* shift[2];
};

template <class T>
struct PairTile {
  T* s;        // (rows, kMaxTile): h_i . h_j; the backward pass writes its coefficients over it
  const T* f;  // (rows, kMaxTile): S_ij; not read in a mode without features
  int64_t rows, cols;
  bool diagonal;  // rows and columns are the same block: only the pairs above the diagonal count
  const Id<T>*group_i, *group_j;
  T inv_tau, inv_tau_s, delta;
};

// Further sums of a row, for those who ask: closeness, of exp(-2 |h_i - h_j|^2) over its pairs; where features weigh
// them, weight and square, of the targets relative to that of a similarity of 1, and of their squares; cosine, of s
// over its positives in the modes whose RowSums lack it.
struct RowMeasures {
  double *closeness, *weight, *square, *cosine;
};

// The entries of hot/contrastive_pairs.cpp.
template <class T>
struct TileKernels {
  // Adds the pairs of the tile to the sums of its rows and, unless col is null, of its columns.
  void (*sums)(const PairTile<T>& t, Contrast mode, bool safe, const RowSums<T>& row, const RowSums<T>* col);
  // Writes dL / d(h_i . h_j), both rows' parts together, over t.s. a, b: the rows' weights (see `weights` in
  // contrastive.cpp); 0 on and below the diagonal of a diagonal tile.
  void (*coefficients)(const PairTile<T>& t, Contrast mode, bool safe, const T* a_i, const T* b_i, const T* a_j,
                       const T* b_j);
  void (*measures)(const PairTile<T>& t, Contrast mode, const RowMeasures& row, const RowMeasures* col);
};
struct ContrastiveKernels {
  TileKernels<float> of_float;
  TileKernels<double> of_double;
};
PHYSIOCLR_KERNELS(ContrastiveKernels, contrastive_kernels)
inline const TileKernels<float>& tile_kernels(const PairTile<float>&) { return contrastive_kernels().of_float; }
inline const TileKernels<double>& tile_kernels(const PairTile<double>&) { return contrastive_kernels().of_double; }

template <class T>
void tile_sums(const PairTile<T>& t, Contrast mode, bool safe, const RowSums<T>& row, const RowSums<T>* col) {
  tile_kernels(t).sums(t, mode, safe, row, col);
}
template <class T>
void tile_coefficients(const PairTile<T>& t, Contrast mode, bool safe, const T* a_i, const T* b_i, const T* a_j,
                       const T* b_j) {
  tile_kernels(t).coefficients(t, mode, safe, a_i, b_i, a_j, b_j);
}
template <class T>
void tile_measures(const PairTile<T>& t, Contrast mode, const RowMeasures& row, const RowMeasures* col) {
  tile_kernels(t).measures(t, mode, row, col);
}

}  // namespace physioclr::cpu
