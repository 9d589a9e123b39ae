#include "core/contrastive_instances.h"
#include "cuda/contrastive_fused_kernel.cuh"
#include "cuda/launch.h"
#include "ops.h"

namespace physioclr::cuda {
namespace {

constexpr int kWarpColumns = 2;  // WN of every launch: 64 columns a tile, 32 of SplitHalf
// WM, the first that fits into shared memory: with 256 columns 4 on compute capability 9.0, 2 on 8.0; SplitHalf 3 on 9.0.
template <class X>
constexpr int kWarpRows[2] = {4, 2};
template <>
constexpr int kWarpRows<SplitHalf>[2] = {3, 3};

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "hybrid_contrastive_loss (device)");
  return value;
}

int width_of(int64_t d) { return d <= 128 ? 128 : 256; }

template <class Kernel>
void allow_shared(Kernel kernel, int64_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "hybrid_contrastive_loss (shared memory)");
}

template <class X, int DK, int WM>
struct Launch {
  static dim3 grid(int64_t begin, int64_t end, int64_t strips) {
    return dim3(static_cast<unsigned>((end - begin + 32 * WM - 1) / (32 * WM)), static_cast<unsigned>(strips));
  }
  static int64_t tiles(int64_t padded, int64_t strips) {
    const int64_t all = padded / (kWarpCols<X> * kWarpColumns);
    return (all + strips - 1) / strips;
  }
  static void sums(const ContrastRows<X>& in, const ContrastSettings& set, int64_t begin, int64_t end, int64_t strips,
                   double* state, cudaStream_t stream) {
    const auto kernel = contrastive_fused_rows_kernel<X, DK, WM, kWarpColumns>;
    const int64_t bytes = fused_shared<X>(DK, in.fk, WM, kWarpColumns, false);
    allow_shared(kernel, bytes);
    kernel<<<grid(begin, end, strips), 32 * WM * kWarpColumns, bytes, stream>>>(in, set, begin, end,
                                                                                tiles(in.padded, strips), state);
  }
  static void gradient(const ContrastRows<X>& in, const ContrastSettings& set, int64_t begin, int64_t end,
                       int64_t strips, const float* w, const double* log_tn, int64_t d, float* grad_h,
                       cudaStream_t stream) {
    const auto kernel = contrastive_fused_backward_kernel<X, DK, WM, kWarpColumns>;
    const int64_t bytes = fused_shared<X>(DK, in.fk, WM, kWarpColumns, true);
    allow_shared(kernel, bytes);
    kernel<<<grid(begin, end, strips), 32 * WM * kWarpColumns, bytes, stream>>>(
        in, set, begin, end, tiles(in.padded, strips), w, log_tn, d, grad_h);
  }
};

// Rows of a block on the current device; 0 if it has no tensor cores that fit or too little shared memory.
template <class X>
int64_t block_rows(int dk, int fk) {
  int device = 0;
  check(cudaGetDevice(&device), "hybrid_contrastive_loss (device)");
  if (attribute(cudaDevAttrComputeCapabilityMajor, device) < 8) return 0;
  const int64_t room = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  for (const int wm : kWarpRows<X>)
    if (fused_shared<X>(dk, fk, wm, kWarpColumns, true) <= room && fused_shared<X>(dk, fk, wm, kWarpColumns, false) <= room)
      return 32 * wm;
  return 0;
}

// call(Launch<...>()) for this width on this device.
template <class X, class Call>
void choose(const ContrastRows<X>& in, Call call) {
  constexpr int kMost = kWarpRows<X>[0], kLeast = kWarpRows<X>[1];
  const int64_t rows = block_rows<X>(in.dk, in.fk);
  if (rows == 0) throw std::runtime_error("hybrid_contrastive_loss: the fused kernels do not run on this device");
  if (in.dk == 128) rows == 32 * kMost ? call(Launch<X, 128, kMost>()) : call(Launch<X, 128, kLeast>());
  else rows == 32 * kMost ? call(Launch<X, 256, kMost>()) : call(Launch<X, 256, kLeast>());
}

}  // namespace

ContrastPlan contrastive_fused_plan(int64_t d, int64_t f, bool split) {
  if (d < 1 || d > 256 || f < 1 || f > 64) return {0, 0};
  int device = 0;
  check(cudaGetDevice(&device), "hybrid_contrastive_loss (device)");
  const int dk = width_of(d), fk = static_cast<int>((f + 15) / 16 * 16);
  return {split ? block_rows<SplitHalf>(dk, fk) : block_rows<Half>(dk, fk),
          attribute(cudaDevAttrMultiProcessorCount, device)};
}

template <class E, class X>
void contrastive_fused_prepare(Matrix<const E> anchor, Matrix<const float> features, const int32_t* group,
                               const ContrastRows<X>& rows, double* inv_norm, void* stream) {
  contrastive_fused_prepare_kernel<E, X><<<static_cast<unsigned>(rows.padded), kRowThreads, 0, as_stream(stream)>>>(
      anchor.data, anchor.rows, anchor.cols, features.data, features.cols, group, rows, inv_norm);
  check(cudaGetLastError(), "hybrid_contrastive_loss (rows)");
}

template <class X>
void contrastive_fused_sums(const ContrastRows<X>& rows, const ContrastSettings& set, int64_t begin, int64_t end,
                            int64_t strips, double* state, void* stream) {
  if (end == begin) return;
  choose(rows, [&](auto launch) { launch.sums(rows, set, begin, end, strips, state, as_stream(stream)); });
  check(cudaGetLastError(), "hybrid_contrastive_loss (sums)");
}

template <class X>
void contrastive_fused_gradient(const ContrastRows<X>& rows, const ContrastSettings& set, int64_t begin, int64_t end,
                                int64_t strips, const double* stats, const int64_t* counts, int64_t n, int64_t n_views,
                                const double* log_tn, float* w, int64_t d, float* grad_h, void* stream) {
  if (end == begin) return;
  contrastive_fused_weights_kernel<<<static_cast<unsigned>((rows.padded + 255) / 256), 256, 0, as_stream(stream)>>>(
      stats, counts, n, rows.padded, n_views, set, w);
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (weights)");
  choose(rows, [&](auto launch) {
    launch.gradient(rows, set, begin, end, strips, w, log_tn, d, grad_h, as_stream(stream));
  });
  check(cudaGetLastError(), "hybrid_contrastive_loss backward");
}

PHYSIOCLR_CONTRASTIVE_FUSED(, void*)

}  // namespace physioclr::cuda
