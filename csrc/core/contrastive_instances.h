#pragma once
// The types for which every backend compiles the tile and the fused version of hybrid_contrastive_loss: PHYSIOCLR_CONTRASTIVE_TILES()
// on the CPU, PHYSIOCLR_CONTRASTIVE_TILES(, void*) where the functions take a stream.

#define PHYSIOCLR_CONTRASTIVE_TILES_E(T, E, ...)                                                                       \
  template void contrastive_prepare<T, E>(Matrix<const E>, Matrix<const T>, T*, T*, double*, int32_t * __VA_ARGS__);   \
  template void contrastive_row_stats<T, E>(Matrix<const E>, const E*, int64_t, int64_t, int64_t, const double*,       \
                                            const double*, int64_t, const ContrastSettings&, double*,                  \
                                            int64_t * __VA_ARGS__);                                                    \
  template void contrastive_row_gradients<T, E>(const double*, Matrix<const E>, const E*, int64_t, int64_t, int64_t,   \
                                                const double*, T*, int64_t, const double*, const int64_t*,             \
                                                const double*, const ContrastSettings&, E*, E * __VA_ARGS__);

#define PHYSIOCLR_CONTRASTIVE_TILES_T(T, ...)                                                                          \
  template void contrastive_tile_similarity<T>(Matrix<const T>, Matrix<const T>, T * __VA_ARGS__);                     \
  template void contrastive_tile_sums<T>(const ContrastTile<T>&, const ContrastSettings&, double*,                     \
                                         double * __VA_ARGS__);                                                        \
  template void contrastive_weights<T>(const double*, const int64_t*, int64_t, int64_t, const ContrastSettings&,       \
                                       double*, T * __VA_ARGS__);                                                      \
  template void contrastive_tile_coefficients<T>(const ContrastTile<T>&, const ContrastSettings&, const T*,            \
                                                 const T * __VA_ARGS__);

#define PHYSIOCLR_CONTRASTIVE_TILES(...)                     \
  PHYSIOCLR_CONTRASTIVE_TILES_E(float, float, __VA_ARGS__)   \
  PHYSIOCLR_CONTRASTIVE_TILES_E(double, double, __VA_ARGS__) \
  PHYSIOCLR_CONTRASTIVE_TILES_E(float, Half, __VA_ARGS__)    \
  PHYSIOCLR_CONTRASTIVE_TILES_E(float, BFloat, __VA_ARGS__)  \
  PHYSIOCLR_CONTRASTIVE_TILES_T(float, __VA_ARGS__)          \
  PHYSIOCLR_CONTRASTIVE_TILES_T(double, __VA_ARGS__)

#define PHYSIOCLR_CONTRASTIVE_FUSED_E(E, X, ...)                                                                       \
  template void contrastive_fused_prepare<E, X>(Matrix<const E>, Matrix<const float>, const int32_t*,                  \
                                                const ContrastRows<X>&, double * __VA_ARGS__);
#define PHYSIOCLR_CONTRASTIVE_FUSED_X(X, ...)                                                                          \
  template void contrastive_fused_sums<X>(const ContrastRows<X>&, const ContrastSettings&, int64_t, int64_t, int64_t,  \
                                          double * __VA_ARGS__);                                                       \
  template void contrastive_fused_gradient<X>(const ContrastRows<X>&, const ContrastSettings&, int64_t, int64_t,       \
                                              int64_t, const double*, const int64_t*, int64_t, int64_t, const double*, \
                                              float*, int64_t, float * __VA_ARGS__);
#define PHYSIOCLR_CONTRASTIVE_FUSED(...)                       \
  PHYSIOCLR_CONTRASTIVE_FUSED_E(Half, Half, __VA_ARGS__)       \
  PHYSIOCLR_CONTRASTIVE_FUSED_E(BFloat, BFloat, __VA_ARGS__)   \
  PHYSIOCLR_CONTRASTIVE_FUSED_E(float, SplitHalf, __VA_ARGS__) \
  PHYSIOCLR_CONTRASTIVE_FUSED_E(float, Half, __VA_ARGS__)      \
  PHYSIOCLR_CONTRASTIVE_FUSED_X(Half, __VA_ARGS__)             \
  PHYSIOCLR_CONTRASTIVE_FUSED_X(BFloat, __VA_ARGS__)           \
  PHYSIOCLR_CONTRASTIVE_FUSED_X(SplitHalf, __VA_ARGS__)

// CALL(mode, safe) with both as compile-time constants.
#define PHYSIOCLR_CONTRAST_VARIANTS(MODE, SAFE, CALL)      \
  switch (static_cast<int>(MODE) * 2 + ((SAFE) ? 1 : 0)) { \
    case 0: CALL(0, false); break;                         \
    case 1: CALL(0, true); break;                          \
    case 2: CALL(1, false); break;                         \
    case 3: CALL(1, true); break;                          \
    case 4: CALL(2, false); break;                         \
    default: CALL(2, true);                                \
  }
