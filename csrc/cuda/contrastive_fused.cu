#include "cuda/contrastive_fused_kernel.cuh"
#include "cuda/launch.h"
#include "ops.h"

namespace physioclr::cuda {
namespace {

constexpr int kWarpColumns = 2;  // WN of every launch: 64 columns a tile, 32 of SplitHalf
// WM, the first that fits into shared memory: with 256 columns 4 on compute capability 9.0, 2 on 8.0; SplitHalf 3
// on 9.0.
template <class X>
constexpr int kWarpRows[2] = {4, 2};
template <>
constexpr int kWarpRows<SplitHalf>[2] = {3, 3};

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "hybrid_contrastive_loss (device)");
  return value;
}

template <class Kernel>
void allow_shared(Kernel kernel, int64_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "hybrid_contrastive_loss (shared memory)");
}

template <class X, int DK, int WM>
struct Launch {
  static dim3 grid(int64_t owned, int64_t strips) {
    return dim3(static_cast<unsigned>((owned + 32 * WM - 1) / (32 * WM)), static_cast<unsigned>(strips));
  }
  static int64_t tiles(int64_t padded, int64_t strips) {
    const int64_t all = padded / (kWarpCols<X> * kWarpColumns);
    return (all + strips - 1) / strips;
  }
  static void run(const ContrastiveFusedSumsCall<X>& call, cudaStream_t stream) {
    const ContrastRows<X>& in = call.rows;
    const int64_t strips = call.state.records, owned = call.state.leads;
    const auto kernel = contrastive_fused_rows_kernel<X, DK, WM, kWarpColumns>;
    const int64_t bytes = fused_shared<X>(DK, in.fk, WM, kWarpColumns, false);
    allow_shared(kernel, bytes);
    kernel<<<grid(owned, strips), 32 * WM * kWarpColumns, bytes, stream>>>(
        in, call.settings, call.begin, call.begin + owned, tiles(in.padded, strips), call.state.data);
  }
  static void run(const ContrastiveFusedGradientCall<X>& call, cudaStream_t stream) {
    const ContrastRows<X>& in = call.rows;
    const int64_t strips = call.grad_h.records, owned = call.grad_h.leads;
    const auto kernel = contrastive_fused_backward_kernel<X, DK, WM, kWarpColumns>;
    const int64_t bytes = fused_shared<X>(DK, in.fk, WM, kWarpColumns, true);
    allow_shared(kernel, bytes);
    kernel<<<grid(owned, strips), 32 * WM * kWarpColumns, bytes, stream>>>(
        in, call.settings, call.begin, call.begin + owned, tiles(in.padded, strips), call.w, call.log_tn,
        call.grad_h.samples, call.grad_h.data);
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
    if (fused_shared<X>(dk, fk, wm, kWarpColumns, true) <= room &&
        fused_shared<X>(dk, fk, wm, kWarpColumns, false) <= room)
      return 32 * wm;
  return 0;
}

// run(Launch<...>()) for this width on this device.
template <class X, class Run>
void choose(const ContrastRows<X>& in, Run run) {
  constexpr int kMost = kWarpRows<X>[0], kLeast = kWarpRows<X>[1];
  const int64_t rows = block_rows<X>(in.dk, in.fk);
  if (rows == 0) throw std::runtime_error("hybrid_contrastive_loss: the fused kernels do not run on this device");
  if (in.dk == 128) rows == 32 * kMost ? run(Launch<X, 128, kMost>()) : run(Launch<X, 128, kLeast>());
  else rows == 32 * kMost ? run(Launch<X, 256, kMost>()) : run(Launch<X, 256, kLeast>());
}

template <class E, class X>
void launch(const ContrastiveFusedPrepareCall<E, X>& call, cudaStream_t stream) {
  contrastive_fused_prepare_kernel<E, X><<<static_cast<unsigned>(call.rows.padded), kRowThreads, 0, stream>>>(
      call.anchor.data, call.anchor.rows, call.anchor.cols, call.features.data, call.features.cols, call.group,
      call.rows, call.inv_norm);
  check(cudaGetLastError(), "hybrid_contrastive_loss (rows)");
}

template <class X>
void launch(const ContrastiveFusedSumsCall<X>& call, cudaStream_t stream) {
  if (call.state.leads == 0) return;
  choose(call.rows, [&](auto width) { width.run(call, stream); });
  check(cudaGetLastError(), "hybrid_contrastive_loss (sums)");
}

template <class X>
void launch(const ContrastiveFusedGradientCall<X>& call, cudaStream_t stream) {
  if (call.grad_h.leads == 0) return;
  const int64_t padded = call.rows.padded;
  contrastive_fused_weights_kernel<<<static_cast<unsigned>((padded + 255) / 256), 256, 0, stream>>>(
      call.stats.data, call.counts, call.stats.rows, padded, call.n_views, call.settings, call.w);
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (weights)");
  choose(call.rows, [&](auto width) { width.run(call, stream); });
  check(cudaGetLastError(), "hybrid_contrastive_loss backward");
}

}  // namespace

ContrastPlan contrastive_fused_plan(int64_t d, int64_t f, bool split) {
  if (d < 1 || d > 256 || f < 1 || f > 64) return {0, 0};
  int device = 0;
  check(cudaGetDevice(&device), "hybrid_contrastive_loss (device)");
  const int dk = fused_width(d), fk = fused_feature_width(f);
  return {split ? block_rows<SplitHalf>(dk, fk) : block_rows<Half>(dk, fk),
          attribute(cudaDevAttrMultiProcessorCount, device)};
}

#define PHYSIOCLR_RUN(name, ...) \
  void run(const __VA_ARGS__& call, void* stream) { launch(call, as_stream(stream)); }
PHYSIOCLR_CONTRASTIVE_FUSED_CALLS(PHYSIOCLR_RUN)
#undef PHYSIOCLR_RUN

}  // namespace physioclr::cuda
