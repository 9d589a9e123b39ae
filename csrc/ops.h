#pragma once
// READ FIRST. The kernel interface: one struct per kernel says what it takes, PHYSIOCLR_CALLS at the end lists them all
// by the name that they have in Python, and every backend has one `run` for each. Addresses are borrowed, arrays
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

// S = cos(a_i, b_j) or exp(-|(a_i - b_j) inv_width|^2), inv_width = 1 / (sqrt(2) sigma), written as `form` says; mask =
// S >= threshold. S is symmetric, exactly 1 for equal rows, and within [-1, 1] or [0, 1] (core/similarity_math.h).
// False, with `out` unspecified, if a feature is NaN or infinite. CUDA does not look, because it would synchronise:
// such a row gives NaN, and 0 in a mask.
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
// feature is NaN or infinite; on CUDA a pair whose similarity is NaN is no neighbour. Nothing of size N x M is
// allocated.
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
// NaN and Inf samples are missing. T: float or int16_t. start: of the first sample in a recording of which the records
// are pieces, or -1, see core/rpeaks_grid.h.
template <class T>
struct RpeaksCall {
  Cube<const T> ecg;
  double fs;
  int64_t start;
  Matrix<int32_t> index;
  int32_t* count;
  float* quality;
  void* scratch;  // for CUDA: detect_rpeaks_workspace bytes, aligned to 256
  PHYSIOCLR_FIELDS(ecg, fs, start, index, count, quality, scratch)
};

// Boundaries of the waves of every beat (core/waves_lead.h): out (8, records, rows, beats), in the order of
// Delineation, -1 where there is none. lead: an index, one row; waves::kLeadMean, one row of the mean of the leads;
// waves::kLeadAll, a row for each and one for their consensus. NaN and Inf samples are missing.
struct DelineateCall {
  Cube<const float> ecg;
  int64_t lead;
  Matrix<const int32_t> rpeaks;  // (records, beats), rising, padded with -1
  double fs;
  int32_t* out;
  PHYSIOCLR_FIELDS(ecg, lead, rpeaks, fs, out)
};

// The 159 features of every segment of records at 500 Hz, and whether a beat of it is paced: out (records, segments,
// leads, 159), paced (records, segments). Delineated with the same R peaks.
struct FeaturesCall {
  Cube<const float> ecg;
  Vector<const int64_t> leads;  // indices; waves::kLeadMean: the mean of the leads
  Matrix<const int32_t> rpeaks;
  double segment;  // samples
  int64_t segments;
  bool bazett;
  const float* taps;  // 16: the first half of an antisymmetric filter
  float* out;
  bool* paced;
  PHYSIOCLR_FIELDS(ecg, leads, rpeaks, segment, segments, bazett, taps, out, paced)
};

// Heart rate variability of every record (core/hrv_math.h): values (hrv::kValues, records), NaN where undefined;
// ectopic (records, beats), whether a beat is a candidate. exclude: without the intervals on either side of one.
struct HrvCall {
  Matrix<const int32_t> rpeaks;  // (records, beats), rising, padded with -1
  double fs;
  bool exclude;
  float* values;
  bool* ectopic;
  PHYSIOCLR_FIELDS(rpeaks, fs, exclude, values, ectopic)
};

// Sum of squared errors over the windows [r - half, r + half] around the R peaks (their union), all leads, per record:
// sum[b], count[b]. T is float or double. A sample where x is not finite is left out. rpeaks: (records, P), rising,
// padded with -1. False if an R peak is outside the record or out of order; CUDA does not look, and passes over it.
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

// y (views, records, leads, samples) = one pass over x for each seed (core/augment_math.h); rpeaks_out (views, records,
// beats) and count_out (views, records) are where the R peaks went. y is float, half or bfloat; double if x is. x is
// (records, leads, samples), or what `gather` gathers from. y may be x where the plan moves no samples and there is one
// view. The CUDA version gives the same bits. It counts R peaks up to the first that is not above the one before it or
// beyond the record, and what is gathered from outside of x is missing samples.
struct AugmentCall {
  Samples<const void> x;
  const float* scale;    // mV per unit of int16 samples: one for each lead (scale_stride 0),
  int64_t scale_stride;  // or for each lead of each row of x (scale_stride = leads); nullptr: x is mV
  Gather gather;
  AugmentPass pass;
  Samples<void> y;
  int32_t *rpeaks_out, *count_out;
  void* workspace;  // of CUDA: augment_workspace() bytes, aligned to 16
  PHYSIOCLR_FIELDS(x, scale, scale_stride, gather, pass, y, rpeaks_out, count_out, workspace)
};

// The adjoint, in float or double: grad_ecg (records, leads, samples) = sum over the views of A^T grad, where y = A x +
// noise.
struct AugmentBwdCall {
  Samples<const void> grad;  // (views, records, leads, samples)
  AugmentPass pass;
  Samples<void> grad_ecg;  // of the same type
  void* workspace;         // as above
  PHYSIOCLR_FIELDS(grad, pass, grad_ecg, workspace)
};

// out[l, i] = the sum over j, in this order, of taps[j] * x[l, down * i + j]; x is 0 after its end. T: float or double,
// every product and sum rounded by itself.
template <class T>
struct DecimateCall {
  Matrix<const T> x;
  Vector<const T> taps;
  int64_t down;
  Matrix<T> out;
  PHYSIOCLR_FIELDS(x, taps, down, out)
};

// out = x through a filter of second order, forwards and backwards, in double precision: scipy.signal.sosfiltfilt of
// one section with padtype "odd" and padlen `pad`, which is less than the samples of x. b, a: 3 each, a[0] = 1; state:
// 2, in which a constant 1 goes through unchanged (sosfilt_zi).
template <class T>
struct ZeroPhaseCall {
  Matrix<const T> x;
  Vector<const double> b, a, state;
  int64_t pad;
  Matrix<float> out;
  PHYSIOCLR_FIELDS(x, b, a, state, pad, out)
};

// y = ReLU((x - mean) / sd weight + bias) of (rows, channels), mean and variance of each channel over the rows: batch
// normalisation in training. x, y: float or bfloat; at least two rows. stats (2, channels): mean and 1 / sqrt(var +
// eps). The running statistics move by `momentum` towards the mean and the unbiased variance. NaN stays NaN.
struct BatchNormReluCall {
  Samples<const void> x;
  int64_t rows, channels;
  const float *weight, *bias;
  double momentum, eps;
  float *running_mean, *running_var, *stats;
  Samples<void> y;
  PHYSIOCLR_FIELDS(x, rows, channels, weight, bias, momentum, eps, running_mean, running_var, stats, y)
};
// Its gradients for grad, that of y; x, grad and grad_x of one type.
struct BatchNormReluBwdCall {
  Samples<const void> x, grad;
  int64_t rows, channels;
  const float *weight, *bias, *stats;
  Samples<void> grad_x;
  float *grad_weight, *grad_bias;
  PHYSIOCLR_FIELDS(x, grad, rows, channels, weight, bias, stats, grad_x, grad_weight, grad_bias)
};

// out (records, (samples + 1) / 2, channels): the mean of each two neighbours in time of x (records, samples,
// channels), the last one alone where samples is odd; and the gradient. float or bfloat, both of one type.
struct HalveCall {
  Samples<const void> x;
  int64_t records, samples, channels;
  Samples<void> out;
  PHYSIOCLR_FIELDS(x, records, samples, channels, out)
};
struct HalveBwdCall {
  Samples<const void> grad;
  int64_t records, samples, channels;
  Samples<void> grad_x;
  PHYSIOCLR_FIELDS(grad, records, samples, channels, grad_x)
};

namespace cuda {

// Bytes of the workspace of augment.
int64_t augment_workspace(int64_t views, int64_t records, int64_t leads, int64_t beats) noexcept;

// Bytes of RpeaksCall::scratch.
int64_t detect_rpeaks_workspace(int64_t records, int64_t leads, int64_t samples, double fs);

// The fused version of hybrid_contrastive_loss on the current device: rows per block (0: it cannot, use the tile
// version) and its processors. split: with operands SplitHalf.
struct ContrastPlan {
  int64_t block_rows, processors;
};
ContrastPlan contrastive_fused_plan(int64_t d, int64_t f, bool split);

int device_count() noexcept;    // 0 where there is no driver
int driver_version() noexcept;  // the newest CUDA it can run, 1000 * major + 10 * minor; 0 without a driver
std::string device_name(int device);
bool compiled() noexcept;      // false in a build without nvcc
const char* archs() noexcept;  // CMAKE_CUDA_ARCHITECTURES of the build, "" without nvcc

}  // namespace cuda

// ---- every kernel: its name in Python, its struct ----

#define PHYSIOCLR_SIGNAL_CALLS(X)                                 \
  X(detect_rpeaks_float32, RpeaksCall<float>)                     \
  X(detect_rpeaks_int16, RpeaksCall<int16_t>)                     \
  X(hrv, HrvCall)                                                 \
  X(peak_reconstruction_loss_fwd_float32, PeakLossCall<float>)    \
  X(peak_reconstruction_loss_fwd_float64, PeakLossCall<double>)   \
  X(peak_reconstruction_loss_bwd_float32, PeakLossBwdCall<float>) \
  X(peak_reconstruction_loss_bwd_float64, PeakLossBwdCall<double>)

#define PHYSIOCLR_PAIR_CALLS(X)        \
  X(physio_similarity, SimilarityCall) \
  X(physio_neighbors, NeighborsCall)

#define PHYSIOCLR_AUGMENT_CALLS(X) \
  X(augment, AugmentCall)          \
  X(augment_bwd, AugmentBwdCall)

#define PHYSIOCLR_CALLS(X)   \
  PHYSIOCLR_SIGNAL_CALLS(X)  \
  PHYSIOCLR_PAIR_CALLS(X)    \
  PHYSIOCLR_AUGMENT_CALLS(X) \
  PHYSIOCLR_CONTRASTIVE_CALLS(X)

// Those of the CPU alone. Waves and features have their CUDA kernels in physioclr/ops/_numba.
#define PHYSIOCLR_WAVES_CALLS(X) \
  X(delineate, DelineateCall)    \
  X(physio_features, FeaturesCall)

// What prepare and the data set of pretrain make of a record.
#define PHYSIOCLR_RECORD_CALLS(X)             \
  X(decimate_float32, DecimateCall<float>)    \
  X(decimate_float64, DecimateCall<double>)   \
  X(zero_phase_float32, ZeroPhaseCall<float>) \
  X(zero_phase_float64, ZeroPhaseCall<double>)

// Layers of physioclr.nn, whose form on a GPU is torch's own.
#define PHYSIOCLR_LAYER_CALLS(X)               \
  X(batch_norm_relu, BatchNormReluCall)        \
  X(batch_norm_relu_bwd, BatchNormReluBwdCall) \
  X(halve, HalveCall)                          \
  X(halve_bwd, HalveBwdCall)

#define PHYSIOCLR_HOST_CALLS(X) \
  PHYSIOCLR_WAVES_CALLS(X)      \
  PHYSIOCLR_LAYER_CALLS(X)      \
  PHYSIOCLR_RECORD_CALLS(X)     \
  PHYSIOCLR_CONTRASTIVE_HOST_CALLS(X)

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
