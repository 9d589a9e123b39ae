#include "cuda/contrastive_kernel.cuh"
#include "cuda/launch.h"
#include "ops.h"

namespace physioclr::cuda {
namespace {

unsigned blocks(int64_t n, int64_t per_block) { return static_cast<unsigned>((n + per_block - 1) / per_block); }

template <class E>
void launch(const ContrastivePrepareCall<E>& call, cudaStream_t stream) {
  if (call.anchor.rows == 0) return;
  contrastive_prepare_kernel<ContrastNumber<E>, E><<<blocks(call.anchor.rows, 1), kRowThreads, 0, stream>>>(
      call.anchor.data, call.anchor.cols, call.features.data, call.features.cols, call.h, call.unit, call.inv_norm,
      call.id);
  check(cudaGetLastError(), "hybrid_contrastive_loss (rows)");
}

template <class T>
void launch(const ContrastiveSimilarityCall<T>& call, cudaStream_t stream) {
  if (call.a.rows == 0 || call.b.rows == 0) return;
  const dim3 grid(blocks(call.b.rows, kPairTile), blocks(call.a.rows, kPairTile));
  contrastive_tile_similarity_kernel<T><<<grid, dim3(kPairSide, kPairSide), 0, stream>>>(
      call.a.data, call.a.rows, call.b.data, call.b.rows, call.a.cols, call.out);
  check(cudaGetLastError(), "hybrid_contrastive_loss (similarity)");
}

template <class T>
void launch(const ContrastiveSumsCall<T>& call, cudaStream_t stream) {
  const ContrastTile<T>& tile = call.tile;
  const ContrastSettings& set = call.settings;
  if (tile.rows == 0 || tile.cols == 0) return;
#define CALL(M, S)                                                                                                   \
  contrastive_row_sums_kernel<T, M, S><<<blocks(tile.rows, 1), kSumThreads, 0, stream>>>(tile, set, call.row_state); \
  if (call.col_state)                                                                                                \
  contrastive_col_sums_kernel<T, M, S>                                                                               \
      <<<blocks(tile.cols, kColLanes), dim3(kColLanes, kColGroups), 0, stream>>>(tile, set, call.col_state)
  PHYSIOCLR_CONTRAST_TILE_VARIANTS(set.mode, needs_maxima<T>(set), CALL)
#undef CALL
  check(cudaGetLastError(), "hybrid_contrastive_loss (sums)");
}

template <class E>
void launch(const ContrastiveRowStatsCall<E>& call, cudaStream_t stream) {
  const ContrastBatch<E>& batch = call.batch;
  if (batch.owned() == 0) return;
  contrastive_row_stats_kernel<ContrastNumber<E>, E><<<blocks(batch.owned(), 1), kRowThreads, 0, stream>>>(
      batch.anchor.data, batch.views.data, batch.n_views(), batch.begin, batch.owned(), batch.anchor.cols,
      call.inv_norm, call.state.data, call.state.records, call.settings, call.stats, call.counts);
  check(cudaGetLastError(), "hybrid_contrastive_loss (statistics)");
}

template <class T>
void launch(const ContrastiveFinishCall<T>& call, cudaStream_t stream) {
  contrastive_finish_kernel<T><<<1, kListThreads, 0, stream>>>(call.stats.data, call.counts, call.stats.rows,
                                                               call.n_views, call.mode, call.loss, call.skipped);
  check(cudaGetLastError(), "hybrid_contrastive_loss (mean)");
}

template <class T>
void launch(const ContrastiveWeightsCall<T>& call, cudaStream_t stream) {
  const int64_t rows = call.stats.rows;
  contrastive_log_tn_kernel<<<1, kListThreads, 0, stream>>>(call.counts, rows, call.n_views, call.settings,
                                                            call.log_tn);
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (count)");
  if (rows == 0) return;
  contrastive_weights_kernel<T><<<blocks(rows, kListThreads), kListThreads, 0, stream>>>(
      call.stats.data, call.counts, rows, call.n_views, call.settings, call.log_tn, call.w);
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (weights)");
}

template <class T>
void launch(const ContrastiveCoefficientsCall<T>& call, cudaStream_t stream) {
  const ContrastTile<T>& tile = call.tile;
  const ContrastSettings& set = call.settings;
  if (tile.rows == 0 || tile.cols == 0) return;
  if (tile.rows > 65535) throw std::runtime_error("hybrid_contrastive_loss: a tile of more than 65,535 rows");
  const dim3 grid(blocks(tile.cols, kListThreads), static_cast<unsigned>(tile.rows));
#define CALL(M, S) \
  contrastive_coefficients_kernel<T, M, S><<<grid, kListThreads, 0, stream>>>(tile, set, call.w_i, call.w_j)
  PHYSIOCLR_CONTRAST_TILE_VARIANTS(set.mode, needs_maxima<T>(set), CALL)
#undef CALL
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (coefficients)");
}

template <class E>
void launch(const ContrastiveRowGradientsCall<E>& call, cudaStream_t stream) {
  const ContrastBatch<E>& batch = call.batch;
  if (batch.owned() == 0) return;
  contrastive_row_gradients_kernel<ContrastNumber<E>, E><<<blocks(batch.owned(), 1), kRowThreads, 0, stream>>>(
      call.grad_loss, batch.anchor.data, batch.views.data, batch.n_views(), batch.begin, batch.owned(),
      batch.anchor.cols, call.inv_norm, call.grad_h.data, call.grad_h.records, call.stats, call.counts, call.log_tn,
      call.settings, call.grad_anchor, call.grad_views);
  check(cudaGetLastError(), "hybrid_contrastive_loss backward (rows)");
}

}  // namespace

#define PHYSIOCLR_RUN(name, ...) \
  void run(const __VA_ARGS__& call, void* stream) { launch(call, as_stream(stream)); }
PHYSIOCLR_CONTRASTIVE_FINISH_CALLS(PHYSIOCLR_RUN)
PHYSIOCLR_CONTRASTIVE_TILE_CALLS(PHYSIOCLR_RUN)
#undef PHYSIOCLR_RUN

}  // namespace physioclr::cuda
