#include "core/contrastive_instances.h"
#include "cuda/contrastive_kernel.cuh"
#include "cuda/launch.h"
#include "ops.h"

namespace physioclr::cuda {
namespace {

unsigned blocks(int64_t n, int64_t per_block) { return static_cast<unsigned>((n + per_block - 1) / per_block); }

}  // namespace

template <class T, class E>
void contrastive_prepare(Matrix<const E> anchor, Matrix<const T> features, T* h, T* unit, double* inv_norm,
                         int32_t* id, void* stream) {
  if (anchor.rows == 0) return;
  contrastive_prepare_kernel<T, E><<<blocks(anchor.rows, 1), kRowThreads, 0, as_stream(stream)>>>(
      anchor.data, anchor.cols, features.data, features.cols, h, unit, inv_norm, id);
  check(cudaGetLastError(), "hybrid_contrastive_loss (rows)");
}

template <class T>
void contrastive_tile_similarity(Matrix<const T> a, Matrix<const T> b, T* out, void* stream) {
  if (a.rows == 0 || b.rows == 0) return;
  const dim3 grid(blocks(b.rows, kPairTile), blocks(a.rows, kPairTile));
  contrastive_tile_similarity_kernel<T><<<grid, dim3(kPairSide, kPairSide), 0, as_stream(stream)>>>(
      a.data, a.rows, b.data, b.rows, a.cols, out);
  check(cudaGetLastError(), "hybrid_contrastive_loss (similarity)");
}

template <class T>
void contrastive_tile_sums(const ContrastTile<T>& tile, const ContrastSettings& set, double* row_state,
                           double* col_state, void* stream) {
  if (tile.rows == 0 || tile.cols == 0) return;
#define CALL(M, S)                                                                                        \
  contrastive_row_sums_kernel<T, M, S>                                                                    \
      <<<blocks(tile.rows, 1), kSumThreads, 0, as_stream(stream)>>>(tile, set, row_state);                \
  if (col_state)                                                                                          \
    contrastive_col_sums_kernel<T, M, S><<<blocks(tile.cols, kColLanes), dim3(kColLanes, kColGroups), 0,  \
                                           as_stream(stream)>>>(tile, set, col_state)
  PHYSIOCLR_CONTRAST_VARIANTS(set.mode, needs_maxima<T>(set), CALL)
#undef CALL
  check(cudaGetLastError(), "hybrid_contrastive_loss (sums)");
}

template <class T, class E>
void contrastive_row_stats(Matrix<const E> anchor, const E* views, int64_t n_views, int64_t begin, int64_t end,
                           const double* inv_norm, const double* state, int64_t strips, const ContrastSettings& set,
                           double* stats, int64_t* counts, void* stream) {
  if (end == begin) return;
  contrastive_row_stats_kernel<T, E><<<blocks(end - begin, 1), kRowThreads, 0, as_stream(stream)>>>(
      anchor.data, views, n_views, begin, end - begin, anchor.cols, inv_norm, state, strips, set, stats, counts);
  check(cudaGetLastError(), "hybrid_contrastive_loss (statistics)");
}

template <class T>
void contrastive_finish(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views, Contrast mode,
                        T* loss, int64_t* skipped, void* stream) {
  contrastive_finish_kernel<T>
      <<<1, kListThreads, 0, as_stream(stream)>>>(stats, counts, rows, n_views, mode, loss, skipped);
  check(cudaGetLastError(), "hybrid_contrastive_loss (mean)");
}

template <class T>
void contrastive_weights(const double* stats, const int64_t* counts, int64_t rows, int64_t n_views,
                         const ContrastSettings& set, double* log_tn, T* w, void* stream) {
  contrastive_log_tn_kernel<<<1, kListThreads, 0, as_stream(stream)>>>(counts, rows, n_views, set, log_tn);
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (count)");
  if (rows == 0) return;
  contrastive_weights_kernel<T><<<blocks(rows, kListThreads), kListThreads, 0, as_stream(stream)>>>(
      stats, counts, rows, n_views, set, log_tn, w);
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (weights)");
}

template <class T>
void contrastive_tile_coefficients(const ContrastTile<T>& tile, const ContrastSettings& set, const T* w_i,
                                   const T* w_j, void* stream) {
  if (tile.rows == 0 || tile.cols == 0) return;
  if (tile.rows > 65535) throw std::runtime_error("hybrid_contrastive_loss: a tile of more than 65,535 rows");
  const dim3 grid(blocks(tile.cols, kListThreads), static_cast<unsigned>(tile.rows));
#define CALL(M, S) \
  contrastive_coefficients_kernel<T, M, S><<<grid, kListThreads, 0, as_stream(stream)>>>(tile, set, w_i, w_j)
  PHYSIOCLR_CONTRAST_VARIANTS(set.mode, needs_maxima<T>(set), CALL)
#undef CALL
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (coefficients)");
}

template <class T, class E>
void contrastive_row_gradients(const double* grad_loss, Matrix<const E> anchor, const E* views, int64_t n_views,
                               int64_t begin, int64_t end, const double* inv_norm, T* grad_h, int64_t strips,
                               const double* stats, const int64_t* counts, const double* log_tn,
                               const ContrastSettings& set, E* grad_anchor, E* grad_views, void* stream) {
  if (end == begin) return;
  contrastive_row_gradients_kernel<T, E><<<blocks(end - begin, 1), kRowThreads, 0, as_stream(stream)>>>(
      grad_loss, anchor.data, views, n_views, begin, end - begin, anchor.cols, inv_norm, grad_h, strips, stats, counts,
      log_tn, set, grad_anchor, grad_views);
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (rows)");
}

PHYSIOCLR_CONTRASTIVE_TILES(, void*)
template void contrastive_finish<float>(const double*, const int64_t*, int64_t, int64_t, Contrast, float*, int64_t*,
                                        void*);
template void contrastive_finish<double>(const double*, const int64_t*, int64_t, int64_t, Contrast, double*, int64_t*,
                                         void*);

}  // namespace physioclr::cuda
