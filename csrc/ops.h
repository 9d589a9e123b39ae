#pragma once
// READ FIRST. The kernel interface: one struct per kernel says what it takes, PHYSIOCLR_CALLS at the end lists them all by
// the name that they have in Python, and every backend has one `run` for each. Addresses are borrowed, arrays
// C-contiguous, shapes checked by the caller (physioclr/ops). `stream` is a cudaStream_t as void*. No kernel allocates
// device memory or synchronises: scratch comes from the caller. cpu::run returns false where the data are refused.
#include <cstdint>
#include <string>

#include "core/augment_plan.h"
#include "core/contrastive_math.h"
#include "core/elements.h"
#include "core/fields.h"
#include "core/views.h"

namespace physioclr {

enum class Similarity : int32_t { kCosine = 0, kRbf = 1 };
enum class SimilarityOut : int32_t { kFloat = 0, kMask = 1, kPacked = 2 };  // float32, bool bytes, np.packbits order

// S = cos(a_i, b_j) or exp(-|(a_i - b_j) inv_width|^2), inv_width = 1 / (sqrt(2) sigma), written as `form` says; mask =
// S >= threshold. S is symmetric, exactly 1 for equal rows, and within [-1, 1] or [0, 1] (core/similarity_math.h). False, with `out` unspecified, if a feature is NaN or infinite. CUDA does not look, because it would synchronise: such a
// row gives NaN, and 0 in a mask.
struct SimilarityCall {
  Matrix<const float> a, b;
  Similarity kind;
  double inv_width;
  SimilarityOut form;
  float threshold;
  float* scale;  // scratch of a.rows + b.rows
  void* out;
  PHYSIOCLR_FIELDS(a, b, kind, inv_width, form, threshold, scale, out)
};

// The k rows of b most similar to each row of a, best first, ties by the lower index: index and similarity (a.rows, k),
// -1 and NaN where there are fewer. own: b is a; then neither the row itself nor one of its group counts. False if a
// feature is NaN or infinite; on CUDA a pair whose similarity is NaN is no neighbour. Nothing of size N x M is allocated.
struct NeighborsCall {
  Matrix<const float> a, b;
  bool own;
  Similarity kind;
  double inv_width;
  const int64_t* group;  // or null
  int64_t k;
  float* scale;  // scratch of a.rows + b.rows, for CUDA
  int64_t* index;
  float* similarity;
  PHYSIOCLR_FIELDS(a, b, own, kind, inv_width, group, k, scale, index, similarity)
};

// R peaks of every record, fused over its leads: index (records, P), rising, padded with -1; count, quality (records).
// NaN and Inf samples are missing. T: float or int16_t.
template <class T>
struct RpeaksCall {
  Cube<const T> ecg;
  double fs;
  Matrix<int32_t> index;
  int32_t* count;
  float* quality;
  void* scratch;  // for CUDA: detect_rpeaks_workspace bytes, aligned to 256
  PHYSIOCLR_FIELDS(ecg, fs, index, count, quality, scratch)
};

// Sum of squared errors over the windows [r - half, r + half] around the R peaks (their union), all leads, per record:
// sum[b], count[b]. T is float or double. A sample where x is not finite is left out. rpeaks: (records, P), rising, padded
// with -1. False if an R peak is outside the record or out of order; CUDA does not look, and passes over it.
template <class T>
struct PeakLossCall {
  Cube<const T> x_hat, x;
  Matrix<const int32_t> rpeaks;
  int64_t half;
  double* sum;
  int64_t* count;
  PHYSIOCLR_FIELDS(x_hat, x, rpeaks, half, sum, count)
};
// grad = scale[b] * (x_hat - x) inside those windows, 0 elsewhere; scale = 2 * (upstream gradient of sum[b]).
template <class T>
struct PeakLossBwdCall {
  Cube<const T> x_hat, x;
  Matrix<const int32_t> rpeaks;
  int64_t half;
  const T* scale;
  T* grad;
  PHYSIOCLR_FIELDS(x_hat, x, rpeaks, half, scale, grad)
};

// One tile of pairs of the loss: s (rows, cols) are cosines of embeddings, f (rows, cols) of features; id: group numbers
// of its rows and columns (core/contrastive_math.h).
template <class T>
struct ContrastTile {
  T* s;
  const T* f;
  int64_t rows, cols;
  const int32_t *id_i, *id_j;
};

// What the fused version multiplies, all in `padded` = fused_padded(N) rows, of which those past N have id -1. X: Half,
// BFloat or SplitHalf.
template <class X>
struct ContrastRows {
  typename Operand<X>::Number* x;  // (padded, dk): embeddings times a power of 2; SplitHalf (padded, 2 dk): high, low parts
  Half* f;                         // (padded, 2 fk): unit features times kFeatureScale, high parts and low parts
  float* r;                        // (padded): |h| = x r
  int32_t* id;                     // (padded)
  int64_t padded;
  int dk, fk;  // 128 or 256; a multiple of 16
};

// A batch (records, leads, samples) of one element type. scale: mV per unit of int16 samples, one for each lead
// (scale_stride 0) or for each lead of each row (scale_stride = leads); else nullptr.
struct Signal {
  void* data;
  Element type;
  int64_t records, leads, samples;
  const float* scale;
  int64_t scale_stride = 0;
};

namespace cpu {

// y (views x records) = one pass of the plan over x for each seed (core/augment_math.h); rpeaks_out (views x records,
// beats) and count_out (views x records) are where the R peaks went. y is float, half or bfloat; double if x is.
// augment_bwd is the adjoint, float or double: gx = sum over the views of A^T gy, where y = A x + noise. With call.row the
// batch is gathered from x, whose `records` is then that of the batch (AugmentCall). y may be x where the plan has no
// time map (beat_shuffle, time_warp, rr_scale, crop) and there is one view.
void augment(const Signal& x, const AugmentCall& call, const Signal& y, int32_t* rpeaks_out, int32_t* count_out);
void augment_bwd(const Signal& gy, const AugmentCall& call, const Signal& gx);

// For the tests of the generator: n blocks of counters (4 words each) under one key; the normal of each word.
void philox(const uint32_t* counters, int64_t n, uint64_t key, uint32_t* words);
void normals(const uint32_t* words, int64_t n, float* out);

// Makes augment use at most this level of vector code (0 plain, 1 AVX2, 2 AVX-512); returns the level now in use.
int limit_simd(int level);
// hybrid_contrastive_loss in three steps, computed in T = float or double. E is how embeddings and their gradients are
// stored: T, or with T = float a 16-bit type (core/elements.h), widened a row at a time. `anchor`, `features`, `group` (null:
// every row its own record), `stats` and `counts` of all N rows; `views` (V, n, D) and the gradients of the
// n = end - begin rows that this process owns. Nothing of size N x N or n x N is allocated.
//
// Step 1, per owned row: L_i = stats[0] - stats[1]; stats (n, 3) = {log neg, log pos, 0} (ratio), {log Z, mean of s / tau
// over positives and views, 0} (supcon) or {log Z, sum of q s / tau, log W} (soft), METHOD: Z sums exp(s / tau), W the
// unnormalised targets. counts (n, 2) = {|P_i|, |N_i|}. Returns false if a feature is NaN or infinite.
template <class T, class E>
bool contrastive_rows(Matrix<const E> anchor, const E* views, int64_t n_views, Matrix<const T> features,
                      const int64_t* group, int64_t begin, int64_t end, const ContrastSettings& settings, double* stats,
                      int64_t* counts);
// Step 2: the mean over the rows that count; *skipped the number of the others.
template <class T>
void contrastive_finish(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views, Contrast mode,
                        T* loss, int64_t* skipped);
// Step 3: *grad_loss times dL / d(anchor[begin:end]) (n, D) and dL / d(views) (V, n, D).
template <class T, class E>
void contrastive_backward(const double* grad_loss, Matrix<const E> anchor, const E* views, int64_t n_views,
                          Matrix<const T> features, const int64_t* group, int64_t begin, int64_t end,
                          const ContrastSettings& settings, const double* stats, const int64_t* counts, E* grad_anchor,
                          E* grad_views);

// The same loss with its large products left to the caller (ops/_torch/contrastive_tiles.py): the CUDA version of any
// width and dtype, and the oracle of the fused one. The CPU has it too, so that the caller's part is tested everywhere.
// T and E as above, with the types of core/elements.h. Every state is kRowState doubles a row.
//
// h (N, D) and unit (N, F): the unit rows; inv_norm (N) of the embeddings; id (N) holds the group numbers and becomes -1
// where all features are 0. A row with NaN or infinite features gets h = NaN, so that the loss is NaN.
template <class T, class E>
void contrastive_prepare(Matrix<const E> anchor, Matrix<const T> features, T* h, T* unit, double* inv_norm,
                         int32_t* id);
// out (a.rows, b.rows) = a b^T, in the accuracy of T whatever torch allows its products.
template <class T>
void contrastive_tile_similarity(Matrix<const T> a, Matrix<const T> b, T* out);
// Adds the pairs of a tile to the states of its rows and, unless null, of its columns.
template <class T>
void contrastive_tile_sums(const ContrastTile<T>& tile, const ContrastSettings& settings, double* row_state,
                           double* col_state);
// stats and counts of the rows [begin, end) from their states, `strips` arrays (n, kRowState) one behind the other.
template <class T, class E>
void contrastive_row_stats(Matrix<const E> anchor, const E* views, int64_t n_views, int64_t begin, int64_t end,
                           const double* inv_norm, const double* state, int64_t strips, const ContrastSettings& settings,
                           double* stats, int64_t* counts);
// w (rows, 2): row_weights of all rows; *log_tn is left for contrastive_row_gradients.
template <class T>
void contrastive_weights(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views,
                         const ContrastSettings& settings, double* log_tn, T* w);
// Writes dL / d(h_i . h_j) over tile.s, 0 where i and j are no pair.
template <class T>
void contrastive_tile_coefficients(const ContrastTile<T>& tile, const ContrastSettings& settings, const T* w_i,
                                   const T* w_j);
// From grad_h (n, D) = sum_j G_ij h_j, `strips` arrays one behind the other (the first is used as scratch), to the
// gradients of contrastive_backward.
template <class T, class E>
void contrastive_row_gradients(const double* grad_loss, Matrix<const E> anchor, const E* views, int64_t n_views,
                               int64_t begin, int64_t end, const double* inv_norm, T* grad_h, int64_t strips,
                               const double* stats, const int64_t* counts, const double* log_tn,
                               const ContrastSettings& settings, E* grad_anchor, E* grad_views);

// The fused version (CUDA; on the CPU plain loops over the same operands, to test the kernels and their caller): d <= 256,
// f <= 64. X is what is multiplied: 16-bit embeddings as they are; float32 ones as SplitHalf, with float32's accuracy, or
// as Half, which has the significand of TF32. The other steps are those of the tile version.
//
// Writes `rows`, padded as it says, and inv_norm (N). group (N): group numbers.
template <class E, class X>
void contrastive_fused_prepare(Matrix<const E> anchor, Matrix<const float> features, const int32_t* group,
                               const ContrastRows<X>& rows, double* inv_norm);
// state (strips, end - begin, kRowState) of the rows [begin, end), the columns dealt out to the strips.
template <class X>
void contrastive_fused_sums(const ContrastRows<X>& rows, const ContrastSettings& settings, int64_t begin, int64_t end,
                            int64_t strips, double* state);
// grad_h (strips, end - begin, d) as contrastive_row_gradients takes it. w: scratch (padded, 2).
template <class X>
void contrastive_fused_gradient(const ContrastRows<X>& rows, const ContrastSettings& settings, int64_t begin,
                                int64_t end, int64_t strips, const double* stats, const int64_t* counts, int64_t n,
                                int64_t n_views, const double* log_tn, float* w, int64_t d, float* grad_h);

}  // namespace cpu

namespace cuda {

// contrastive_finish and the tile version of hybrid_contrastive_loss, as in cpu::.
template <class T, class E>
void contrastive_prepare(Matrix<const E> anchor, Matrix<const T> features, T* h, T* unit, double* inv_norm,
                         int32_t* id, void* stream);
template <class T>
void contrastive_tile_similarity(Matrix<const T> a, Matrix<const T> b, T* out, void* stream);
template <class T>
void contrastive_tile_sums(const ContrastTile<T>& tile, const ContrastSettings& settings, double* row_state,
                           double* col_state, void* stream);
template <class T, class E>
void contrastive_row_stats(Matrix<const E> anchor, const E* views, int64_t n_views, int64_t begin, int64_t end,
                           const double* inv_norm, const double* state, int64_t strips, const ContrastSettings& settings,
                           double* stats, int64_t* counts, void* stream);
template <class T>
void contrastive_finish(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views, Contrast mode,
                        T* loss, int64_t* skipped, void* stream);
template <class T>
void contrastive_weights(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views,
                         const ContrastSettings& settings, double* log_tn, T* w, void* stream);
template <class T>
void contrastive_tile_coefficients(const ContrastTile<T>& tile, const ContrastSettings& settings, const T* w_i,
                                   const T* w_j, void* stream);
template <class T, class E>
void contrastive_row_gradients(const double* grad_loss, Matrix<const E> anchor, const E* views, int64_t n_views,
                               int64_t begin, int64_t end, const double* inv_norm, T* grad_h, int64_t strips,
                               const double* stats, const int64_t* counts, const double* log_tn,
                               const ContrastSettings& settings, E* grad_anchor, E* grad_views, void* stream);
// As cpu::, the same bits. x, y, rpeaks and what `call` points to lie on the device, but seeds on the host. R peaks count
// up to the first that is not above the one before it or beyond the record; a place outside the rows is missing samples.
// workspace: augment_workspace() bytes, aligned to 16.
int64_t augment_workspace(int64_t views, int64_t records, int64_t leads, int64_t beats) noexcept;
void augment(const Signal& x, const AugmentCall& call, const Signal& y, int32_t* rpeaks_out, int32_t* count_out,
             void* workspace, void* stream);
void augment_bwd(const Signal& gy, const AugmentCall& call, const Signal& gx, void* workspace, void* stream);

// Bytes of RpeaksCall::scratch.
int64_t detect_rpeaks_workspace(int64_t records, int64_t leads, int64_t samples, double fs);

// The fused version on the current device: rows per block (0: it cannot, use the tile version) and its processors. split:
// with operands SplitHalf.
struct ContrastPlan {
  int64_t block_rows, processors;
};
ContrastPlan contrastive_fused_plan(int64_t d, int64_t f, bool split);
template <class E, class X>
void contrastive_fused_prepare(Matrix<const E> anchor, Matrix<const float> features, const int32_t* group,
                               const ContrastRows<X>& rows, double* inv_norm, void* stream);
template <class X>
void contrastive_fused_sums(const ContrastRows<X>& rows, const ContrastSettings& settings, int64_t begin, int64_t end,
                            int64_t strips, double* state, void* stream);
template <class X>
void contrastive_fused_gradient(const ContrastRows<X>& rows, const ContrastSettings& settings, int64_t begin,
                                int64_t end, int64_t strips, const double* stats, const int64_t* counts, int64_t n,
                                int64_t n_views, const double* log_tn, float* w, int64_t d, float* grad_h, void* stream);

int device_count() noexcept;     // 0 where there is no driver
int driver_version() noexcept;   // the newest CUDA it can run, 1000 * major + 10 * minor; 0 without a driver
std::string device_name(int device);
bool compiled() noexcept;        // false in a build without nvcc
const char* archs() noexcept;    // CMAKE_CUDA_ARCHITECTURES of the build, "" without nvcc

}  // namespace cuda

// ---- every kernel: its name in Python, its struct ----

#define PHYSIOCLR_SIGNAL_CALLS(X)                                  \
  X(detect_rpeaks_float32, RpeaksCall<float>)                      \
  X(detect_rpeaks_int16, RpeaksCall<int16_t>)                      \
  X(peak_reconstruction_loss_fwd_float32, PeakLossCall<float>)     \
  X(peak_reconstruction_loss_fwd_float64, PeakLossCall<double>)    \
  X(peak_reconstruction_loss_bwd_float32, PeakLossBwdCall<float>)  \
  X(peak_reconstruction_loss_bwd_float64, PeakLossBwdCall<double>)

#define PHYSIOCLR_PAIR_CALLS(X)      \
  X(physio_similarity, SimilarityCall) \
  X(physio_neighbors, NeighborsCall)

#define PHYSIOCLR_CALLS(X)  \
  PHYSIOCLR_SIGNAL_CALLS(X) \
  PHYSIOCLR_PAIR_CALLS(X)

#define PHYSIOCLR_DECLARE(name, ...)              \
  namespace cpu {                                 \
  bool run(const __VA_ARGS__& call);              \
  }                                               \
  namespace cuda {                                \
  void run(const __VA_ARGS__& call, void* stream); \
  }
PHYSIOCLR_CALLS(PHYSIOCLR_DECLARE)
#undef PHYSIOCLR_DECLARE

}  // namespace physioclr
