#pragma once
// What the kernels of hybrid_contrastive_loss take (ops.h says how to read this), and for which types they exist. The
// loss is computed in T, float or double. E is how embeddings and their gradients are stored: T, or with T = float a
// 16-bit type (core/elements.h), widened a row at a time. Nothing of size N x N or n x N is allocated.
#include <cstdint>
#include <type_traits>

#include "core/contrastive_math.h"
#include "core/elements.h"
#include "core/fields.h"
#include "core/views.h"

namespace physioclr {

template <class E>
using ContrastNumber = std::conditional_t<std::is_same_v<E, double>, double, float>;  // T of E

// anchor (N, D): all rows. views (V, n, D), which a Cube calls (records, leads, samples): of the n rows from `begin`
// on, those that this process owns.
template <class E>
struct ContrastBatch {
  Matrix<const E> anchor;
  Cube<const E> views;
  int64_t begin;
  int64_t n_views() const { return views.records; }
  int64_t owned() const { return views.leads; }
  int64_t end() const { return begin + views.leads; }
  PHYSIOCLR_FIELDS(anchor, views, begin)
};

// ---- in three steps; 1 and 3 on the CPU alone ----

// Step 1, per owned row: L_i = stats[0] - stats[1]; stats (n, 3) = {log neg, log pos, 0} (ratio), {log Z, mean of s /
// tau over positives and views, 0} (supcon) or {log Z, sum of q s / tau, log W} (soft), METHOD: Z sums exp(s / tau), W
// the unnormalised targets. counts (n, 2) = {|P_i|, |N_i|}. features (N, F); group (N), or null: every row its own
// record. False if a feature is NaN or infinite.
template <class E>
struct ContrastiveRowsCall {
  ContrastBatch<E> batch;
  Matrix<const ContrastNumber<E>> features;
  const int64_t* group;
  ContrastSettings settings;
  double* stats;
  int64_t* counts;
  double* measures;  // (n, 3), or null: as ContrastiveLossCall has them, partners being the views
  PHYSIOCLR_FIELDS(batch, features, group, settings, stats, counts, measures)
};

// Step 2: the mean over the rows of stats (rows, 3) that count; *skipped the number of the others. The CPU's is false
// where none counts.
template <class T>
struct ContrastiveFinishCall {
  Matrix<const double> stats;
  const int64_t* counts;
  int64_t n_views;
  Contrast mode;
  T* loss;
  int64_t* skipped;
  PHYSIOCLR_FIELDS(stats, counts, n_views, mode, loss, skipped)
};

// Step 3: *grad_loss times dL / d(anchor[begin:end]) (n, D) and dL / d(views) (V, n, D), from stats and counts of all
// rows.
template <class E>
struct ContrastiveBackwardCall {
  const double* grad_loss;
  ContrastBatch<E> batch;
  Matrix<const ContrastNumber<E>> features;
  const int64_t* group;
  ContrastSettings settings;
  const double* stats;
  const int64_t* counts;
  E *grad_anchor, *grad_views;
  double* grad_tau;  // *grad_loss dL / dtau: the part of the pairs of owned rows and of their views
  PHYSIOCLR_FIELDS(grad_loss, batch, features, group, settings, stats, counts, grad_anchor, grad_views, grad_tau)
};

// ---- contrastive_loss: every loss over rows a (N, D) and b (N, D) that are views of each other, on the CPU ----

// sides: 0, the rows of a and b all meet; 1, those of a meet those of b; 2, and those of b those of a, as anchors. b
// may have no rows (sides 0). negatives (M, D): no partner, no gradient, a negative of every anchor. kind: PairFeatures
// of cpu/contrastive_problem.h, for which delta is kJaccard's threshold. group (N): of the records, rows i of a and b;
// kLabels: the labels.
template <class E>
struct ContrastiveSides {
  Matrix<const E> a, b, negatives;
  Matrix<const ContrastNumber<E>> features;  // (N, F)
  int kind, sides;
  const int64_t* group;
  ContrastSettings settings;
  PHYSIOCLR_FIELDS(a, b, negatives, features, kind, sides, group, settings)
};

// stats (rows of a and b, 3) and counts (.., 2) as above, counts {-1, 0} for rows that are no anchors; of kHard stats
// are {loss + log S0, log S0, log S1}. measures (.., 3), or null: of each anchor the effective number of its positives,
// (sum w)^2 / sum w^2 of its targets w (kRatio: of the weights of its first logarithm); the mean |h - k|^2 over its
// positives and partner, 0 without; the sum of exp(-2 |h - k|^2) over the rows of a and b, its partner left out, that
// it is compared with.
template <class E>
struct ContrastiveLossCall {
  ContrastiveSides<E> sides;
  double* stats;
  int64_t* counts;
  ContrastNumber<E>* loss;
  int64_t* skipped;
  double* measures;
  PHYSIOCLR_FIELDS(sides, stats, counts, loss, skipped, measures)
};

template <class E>
struct ContrastiveLossBwdCall {
  const double* grad_loss;
  ContrastiveSides<E> sides;
  const double* stats;
  const int64_t* counts;
  E *grad_a, *grad_b;
  double* grad_tau;
  PHYSIOCLR_FIELDS(grad_loss, sides, stats, counts, grad_a, grad_b, grad_tau)
};

// Both in one, for a gradient that is known to be wanted: rows are made ready once, and the cosines that fit in a
// constant amount of memory are not computed again. grad_a, grad_b and grad_tau for a *grad_loss of 1.
template <class E>
struct ContrastiveStepCall {
  ContrastiveSides<E> sides;
  double* stats;
  int64_t* counts;
  ContrastNumber<E>* loss;
  int64_t* skipped;
  double* measures;
  ContrastNumber<E>*grad_a, *grad_b;
  double* grad_tau;
  PHYSIOCLR_FIELDS(sides, stats, counts, loss, skipped, measures, grad_a, grad_b, grad_tau)
};

// ---- a part of the pairs of a batch that is spread over processes, on the CPU ----

// Rows x (n, D) of one matrix that meet rows y (m, D) of another; m = 0: that meet each other. Unit rows, or any: they
// are normalised. features and group: of x, then of y; kind as above.
template <class T>
struct ContrastivePart {
  Matrix<const T> x, y, features;
  int kind;
  const int64_t* group;
  ContrastSettings settings;
  PHYSIOCLR_FIELDS(x, y, features, kind, group, settings)
};

// state (n, kRowState) of the rows of x. measures (n, 4), or null: RowMeasures of cpu/contrastive_pairs.h.
template <class T>
struct ContrastivePartSumsCall {
  ContrastivePart<T> part;
  double *state, *measures;
  PHYSIOCLR_FIELDS(part, state, measures)
};

// grad (n, D): sum_j G_ij h_j of the rows of x, G the parts of both rows of a pair. stats and counts: of x, then of y,
// over all parts. used: the rows of the whole batch that count.
template <class T>
struct ContrastivePartGradientCall {
  ContrastivePart<T> part;
  const double* stats;
  const int64_t* counts;
  int64_t n_views, used;
  T* grad;
  PHYSIOCLR_FIELDS(part, stats, counts, n_views, used, grad)
};

// ---- by tiles ----
// The same loss with its large products left to the caller (ops/contrastive/cuda.py): the CUDA version of any width and
// dtype, and the oracle of the fused one. The CPU has it too (cpu/oracle), so that the caller's part is tested
// everywhere. Every state is kRowState doubles a row.

// h (N, D) and unit (N, F): the unit rows; inv_norm (N) of the embeddings; id (N) holds the group numbers and becomes
// -1 where all features are 0. A row with NaN or infinite features gets h = NaN, so that the loss is NaN.
template <class E>
struct ContrastivePrepareCall {
  Matrix<const E> anchor;
  Matrix<const ContrastNumber<E>> features;
  ContrastNumber<E>* h;
  ContrastNumber<E>* unit;
  double* inv_norm;
  int32_t* id;
  PHYSIOCLR_FIELDS(anchor, features, h, unit, inv_norm, id)
};

// out (a.rows, b.rows) = a b^T, in the accuracy of T whatever torch allows its products.
template <class T>
struct ContrastiveSimilarityCall {
  Matrix<const T> a, b;
  T* out;
  PHYSIOCLR_FIELDS(a, b, out)
};

// One tile of pairs: s (rows, cols) are cosines of embeddings, f (rows, cols) of features, null in a mode without;
// id_i, id_j: group numbers of its rows and columns (core/contrastive_math.h).
template <class T>
struct ContrastTile {
  T* s;
  const T* f;
  int64_t rows, cols;
  const int32_t *id_i, *id_j;
  PHYSIOCLR_FIELDS(s, f, rows, cols, id_i, id_j)
};

template <int MODE, class T>
PHYSIOCLR_HD T pair_feature(const ContrastTile<T>& t, int64_t r, int64_t c) {
  if constexpr (MODE < 3) return t.f[r * t.cols + c];
  else return T(0);
}

// Adds the pairs of a tile to the states of its rows and, unless null, of its columns.
template <class T>
struct ContrastiveSumsCall {
  ContrastTile<T> tile;
  ContrastSettings settings;
  double *row_state, *col_state;
  PHYSIOCLR_FIELDS(tile, settings, row_state, col_state)
};

// stats and counts of the owned rows from their states, (strips, n, kRowState).
template <class E>
struct ContrastiveRowStatsCall {
  ContrastBatch<E> batch;
  const double* inv_norm;
  Cube<const double> state;
  ContrastSettings settings;
  double* stats;
  int64_t* counts;
  PHYSIOCLR_FIELDS(batch, inv_norm, state, settings, stats, counts)
};

// w (rows, 2): row_weights of all rows; *log_tn is left for ContrastiveRowGradientsCall.
template <class T>
struct ContrastiveWeightsCall {
  Matrix<const double> stats;
  const int64_t* counts;
  int64_t n_views;
  ContrastSettings settings;
  double* log_tn;
  T* w;
  PHYSIOCLR_FIELDS(stats, counts, n_views, settings, log_tn, w)
};

// Writes dL / d(h_i . h_j) over tile.s, 0 where i and j are no pair.
template <class T>
struct ContrastiveCoefficientsCall {
  ContrastTile<T> tile;
  ContrastSettings settings;
  const T *w_i, *w_j;
  PHYSIOCLR_FIELDS(tile, settings, w_i, w_j)
};

// From grad_h (strips, n, D), which sums up to sum_j G_ij h_j (the first strip is used as scratch), to the gradients of
// ContrastiveBackwardCall.
template <class E>
struct ContrastiveRowGradientsCall {
  const double* grad_loss;
  ContrastBatch<E> batch;
  const double* inv_norm;
  Cube<ContrastNumber<E>> grad_h;
  const double* stats;
  const int64_t* counts;
  const double* log_tn;
  ContrastSettings settings;
  E *grad_anchor, *grad_views;
  PHYSIOCLR_FIELDS(grad_loss, batch, inv_norm, grad_h, stats, counts, log_tn, settings, grad_anchor, grad_views)
};

// ---- fused ----
// CUDA; on the CPU plain loops over the same operands, to test the kernels and their caller. d <= 256, f <= 64. X is
// what is multiplied: 16-bit embeddings as they are; float32 ones as SplitHalf, with float32's accuracy, or as Half,
// which has the significand of TF32. The other steps are those of the version by tiles.

// What is multiplied, all in `padded` = fused_padded(N) rows, of which those past N have id -1.
template <class X>
struct ContrastRows {
  // x (padded, dk): embeddings times a power of 2; SplitHalf (padded, 2 dk): high, low parts
  typename Operand<X>::Number* x;
  Half* f;      // (padded, 2 fk): unit features times kFeatureScale, high parts and low parts
  float* r;     // (padded): |h| = x r
  int32_t* id;  // (padded)
  int64_t padded;
  int dk, fk;  // fused_width(D), fused_feature_width(F)
  PHYSIOCLR_FIELDS(x, f, r, id, padded, dk, fk)
};

// Writes `rows`, padded as it says, and inv_norm (N). group (N): group numbers.
template <class E, class X>
struct ContrastiveFusedPrepareCall {
  Matrix<const E> anchor;
  Matrix<const float> features;
  const int32_t* group;
  ContrastRows<X> rows;
  double* inv_norm;
  PHYSIOCLR_FIELDS(anchor, features, group, rows, inv_norm)
};

// state (strips, n, kRowState) of the n rows from `begin` on, the columns dealt out to the strips.
template <class X>
struct ContrastiveFusedSumsCall {
  ContrastRows<X> rows;
  ContrastSettings settings;
  int64_t begin;
  Cube<double> state;
  PHYSIOCLR_FIELDS(rows, settings, begin, state)
};

// grad_h (strips, n, D) as ContrastiveRowGradientsCall takes it; stats (N, 3) and counts of all rows. w: scratch
// (padded, 2).
template <class X>
struct ContrastiveFusedGradientCall {
  ContrastRows<X> rows;
  ContrastSettings settings;
  int64_t begin;
  Matrix<const double> stats;
  const int64_t* counts;
  int64_t n_views;
  const double* log_tn;
  float* w;
  Cube<float> grad_h;
  PHYSIOCLR_FIELDS(rows, settings, begin, stats, counts, n_views, log_tn, w, grad_h)
};

// ---- the kernels by their names in Python ----

#define PHYSIOCLR_CONTRAST_COMPUTED(X, name, Call) X(name##_float32, Call<float>) X(name##_float64, Call<double>)
#define PHYSIOCLR_CONTRAST_STORED(X, name, Call) \
  PHYSIOCLR_CONTRAST_COMPUTED(X, name, Call)     \
  X(name##_float16, Call<Half>) X(name##_bfloat16, Call<BFloat>)
#define PHYSIOCLR_CONTRAST_OPERANDS(X, name, Call) \
  X(name##_float16, Call<Half>) X(name##_bfloat16, Call<BFloat>) X(name##_float32, Call<SplitHalf>)

#define PHYSIOCLR_CONTRASTIVE_HOST_CALLS(X)                                      \
  PHYSIOCLR_CONTRAST_STORED(X, contrastive_rows, ContrastiveRowsCall)            \
  PHYSIOCLR_CONTRAST_STORED(X, contrastive_loss, ContrastiveLossCall)            \
  PHYSIOCLR_CONTRAST_STORED(X, contrastive_loss_bwd, ContrastiveLossBwdCall)     \
  PHYSIOCLR_CONTRAST_COMPUTED(X, contrastive_step, ContrastiveStepCall)          \
  X(contrastive_step_bfloat16, ContrastiveStepCall<BFloat>)                      \
  PHYSIOCLR_CONTRAST_STORED(X, contrastive_backward, ContrastiveBackwardCall)    \
  PHYSIOCLR_CONTRAST_COMPUTED(X, contrastive_part_sums, ContrastivePartSumsCall) \
  PHYSIOCLR_CONTRAST_COMPUTED(X, contrastive_part_gradient, ContrastivePartGradientCall)

#define PHYSIOCLR_CONTRASTIVE_FINISH_CALLS(X) PHYSIOCLR_CONTRAST_COMPUTED(X, contrastive_finish, ContrastiveFinishCall)

#define PHYSIOCLR_CONTRASTIVE_TILE_CALLS(X)                                            \
  PHYSIOCLR_CONTRAST_STORED(X, contrastive_prepare, ContrastivePrepareCall)            \
  PHYSIOCLR_CONTRAST_STORED(X, contrastive_row_stats, ContrastiveRowStatsCall)         \
  PHYSIOCLR_CONTRAST_STORED(X, contrastive_row_gradients, ContrastiveRowGradientsCall) \
  PHYSIOCLR_CONTRAST_COMPUTED(X, contrastive_similarity, ContrastiveSimilarityCall)    \
  PHYSIOCLR_CONTRAST_COMPUTED(X, contrastive_sums, ContrastiveSumsCall)                \
  PHYSIOCLR_CONTRAST_COMPUTED(X, contrastive_weights, ContrastiveWeightsCall)          \
  PHYSIOCLR_CONTRAST_COMPUTED(X, contrastive_coefficients, ContrastiveCoefficientsCall)

#define PHYSIOCLR_CONTRASTIVE_FUSED_CALLS(X)                                          \
  X(contrastive_fused_prepare_float16, ContrastiveFusedPrepareCall<Half, Half>)       \
  X(contrastive_fused_prepare_bfloat16, ContrastiveFusedPrepareCall<BFloat, BFloat>)  \
  X(contrastive_fused_prepare_float32, ContrastiveFusedPrepareCall<float, SplitHalf>) \
  X(contrastive_fused_prepare_tf32, ContrastiveFusedPrepareCall<float, Half>)         \
  PHYSIOCLR_CONTRAST_OPERANDS(X, contrastive_fused_sums, ContrastiveFusedSumsCall)    \
  PHYSIOCLR_CONTRAST_OPERANDS(X, contrastive_fused_gradient, ContrastiveFusedGradientCall)

#define PHYSIOCLR_CONTRASTIVE_CALLS(X)  \
  PHYSIOCLR_CONTRASTIVE_FINISH_CALLS(X) \
  PHYSIOCLR_CONTRASTIVE_TILE_CALLS(X)   \
  PHYSIOCLR_CONTRASTIVE_FUSED_CALLS(X)

}  // namespace physioclr
