#pragma once
// READ FIRST. The kernel interface: one struct per kernel says what it takes, PHYSIOCLR_CALLS at the end lists them all by
// the name that they have in Python, and every backend has one `run` for each. Addresses are borrowed, arrays
// C-contiguous, shapes checked by the caller (physioclr/ops). `stream` is a cudaStream_t as void*. No kernel allocates
// device memory or synchronises: scratch comes from the caller. cpu::run returns false where the data are refused.
#include <cstdint>
#include <string>

#include "core/augment_plan.h"
#include "core/contrastive_calls.h"
#include "core/elements.h"
#include "core/fields.h"
#include "core/views.h"

namespace physioclr {

enum class Similarity : int32_t { kCosine = 0, kRbf = 1 };
enum class SimilarityOut : int32_t { kFloat = 0, kMask = 1, kPacked = 2 };  // float32, bool bytes, np.packbits order

// S = cos(a_i, b_j) or exp(-|a_i - b_j|^2 * inv_two_sigma2), written as `form` says; mask = S >= threshold.
// False, with `out` unspecified, if a feature is NaN or infinite. CUDA does not look, because it would synchronise: such a
// row gives NaN, and 0 in a mask.
struct SimilarityCall {
  Matrix<const float> a, b;
  Similarity kind;
  float inv_two_sigma2;
  SimilarityOut form;
  float threshold;
  float* scale;  // scratch of a.rows + b.rows
  void* out;
  PHYSIOCLR_FIELDS(a, b, kind, inv_two_sigma2, form, threshold, scale, out)
};

// The k rows of b most similar to each row of a, best first, ties by the lower index: index and similarity (a.rows, k),
// -1 and NaN where there are fewer. own: b is a; then neither the row itself nor one of its group counts. False if a
// feature is NaN or infinite; on CUDA a pair whose similarity is NaN is no neighbour. Nothing of size N x M is allocated.
struct NeighborsCall {
  Matrix<const float> a, b;
  bool own;
  Similarity kind;
  float inv_two_sigma2;
  const int64_t* group;  // or null
  int64_t k;
  float* scale;  // scratch of a.rows + b.rows, for CUDA
  int64_t* index;
  float* similarity;
  PHYSIOCLR_FIELDS(a, b, own, kind, inv_two_sigma2, group, k, scale, index, similarity)
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

// Sum of squared errors over the windows [r - half, r + half] around the R peaks (their union), all leads, per record:
// sum[b], count[b]. T is float or double. A sample where x is not finite is left out. rpeaks: (records, P), rising, padded
// with -1. Returns false if an R peak is outside the record or out of order.
template <class T>
bool peak_reconstruction_loss_fwd(Cube<const T> x_hat, Cube<const T> x, Matrix<const int32_t> rpeaks, int64_t half,
                                  double* sum, int64_t* count);
// grad = scale[b] * (x_hat - x) inside those windows, 0 elsewhere; scale = 2 * (upstream gradient of sum[b]).
template <class T>
void peak_reconstruction_loss_bwd(Cube<const T> x_hat, Cube<const T> x, Matrix<const int32_t> rpeaks, int64_t half,
                                  const T* scale, T* grad);
// R peaks of every record, fused over its leads. index (records, P), rising, padded with -1; count, quality (records).
// NaN and Inf samples are missing.
void detect_rpeaks(Cube<const float> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality);
void detect_rpeaks(Cube<const int16_t> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality);
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

}  // namespace cpu

namespace cuda {

// As cpu::, without the check of the R peaks (those outside the record are ignored).
template <class T>
void peak_reconstruction_loss_fwd(Cube<const T> x_hat, Cube<const T> x, Matrix<const int32_t> rpeaks, int64_t half,
                                  double* sum, int64_t* count, void* stream);
template <class T>
void peak_reconstruction_loss_bwd(Cube<const T> x_hat, Cube<const T> x, Matrix<const int32_t> rpeaks, int64_t half,
                                  const T* scale, T* grad, void* stream);

// As cpu::, the same bits. x, y, rpeaks and what `call` points to lie on the device, but seeds on the host. R peaks count
// up to the first that is not above the one before it or beyond the record; a place outside the rows is missing samples.
// workspace: augment_workspace() bytes, aligned to 16.
int64_t augment_workspace(int64_t views, int64_t records, int64_t leads, int64_t beats) noexcept;
void augment(const Signal& x, const AugmentCall& call, const Signal& y, int32_t* rpeaks_out, int32_t* count_out,
             void* workspace, void* stream);
void augment_bwd(const Signal& gy, const AugmentCall& call, const Signal& gx, void* workspace, void* stream);

// As cpu::, in two launches. scratch: detect_rpeaks_workspace bytes, aligned to 256.
int64_t detect_rpeaks_workspace(int64_t records, int64_t leads, int64_t samples, double fs);
void detect_rpeaks(Cube<const float> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality,
                   void* scratch, void* stream);
void detect_rpeaks(Cube<const int16_t> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality,
                   void* scratch, void* stream);

// The fused version of hybrid_contrastive_loss on the current device: rows per block (0: it cannot, use the tile version) and its processors. split:
// with operands SplitHalf.
struct ContrastPlan {
  int64_t block_rows, processors;
};
ContrastPlan contrastive_fused_plan(int64_t d, int64_t f, bool split);

int device_count() noexcept;     // 0 where there is no driver
int driver_version() noexcept;   // the newest CUDA it can run, 1000 * major + 10 * minor; 0 without a driver
std::string device_name(int device);
bool compiled() noexcept;        // false in a build without nvcc
const char* archs() noexcept;    // CMAKE_CUDA_ARCHITECTURES of the build, "" without nvcc

}  // namespace cuda

// ---- every kernel: its name in Python, its struct ----

#define PHYSIOCLR_PAIR_CALLS(X)      \
  X(physio_similarity, SimilarityCall) \
  X(physio_neighbors, NeighborsCall)

#define PHYSIOCLR_CALLS(X) \
  PHYSIOCLR_PAIR_CALLS(X) \
  PHYSIOCLR_CONTRASTIVE_CALLS(X)

// Those of the CPU alone.
#define PHYSIOCLR_HOST_CALLS(X) PHYSIOCLR_CONTRASTIVE_HOST_CALLS(X)

#define PHYSIOCLR_DECLARE(name, ...) bool run(const __VA_ARGS__& call);
namespace cpu {
PHYSIOCLR_CALLS(PHYSIOCLR_DECLARE)
PHYSIOCLR_HOST_CALLS(PHYSIOCLR_DECLARE)
}  // namespace cpu
#undef PHYSIOCLR_DECLARE
#define PHYSIOCLR_DECLARE(name, ...) void run(const __VA_ARGS__& call, void* stream);
namespace cuda {
PHYSIOCLR_CALLS(PHYSIOCLR_DECLARE)
}  // namespace cuda
#undef PHYSIOCLR_DECLARE

}  // namespace physioclr
