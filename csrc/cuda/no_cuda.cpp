// The CUDA backend of a build without nvcc: the same symbols and one clear error. Keeps #if out of the bindings.
#include <stdexcept>

#include "core/contrastive_instances.h"
#include "ops.h"

namespace physioclr::cuda {
namespace {
[[noreturn]] void none() {
  throw std::runtime_error(
      "physioclr was built without CUDA, so it takes CPU arrays only; reinstall it where nvcc is on PATH, with "
      "PHYSIOCLR_CUDA=ON in the environment (pip install --no-cache-dir .)");
}
}  // namespace

#define PHYSIOCLR_NONE(name, ...) \
  void run(const __VA_ARGS__&, void*) { none(); }
PHYSIOCLR_CALLS(PHYSIOCLR_NONE)

template <class T, class E>
void contrastive_prepare(Matrix<const E>, Matrix<const T>, T*, T*, double*, int32_t*, void*) {
  none();
}
template <class T>
void contrastive_tile_similarity(Matrix<const T>, Matrix<const T>, T*, void*) {
  none();
}
template <class T>
void contrastive_tile_sums(const ContrastTile<T>&, const ContrastSettings&, double*, double*, void*) {
  none();
}
template <class T, class E>
void contrastive_row_stats(Matrix<const E>, const E*, int64_t, int64_t, int64_t, const double*, const double*, int64_t,
                           const ContrastSettings&, double*, int64_t*, void*) {
  none();
}
template <class T>
void contrastive_finish(const double*, const int64_t*, int64_t, int64_t, Contrast, T*, int64_t*, void*) {
  none();
}
template <class T>
void contrastive_weights(const double*, const int64_t*, int64_t, int64_t, const ContrastSettings&, double*, T*, void*) {
  none();
}
template <class T>
void contrastive_tile_coefficients(const ContrastTile<T>&, const ContrastSettings&, const T*, const T*, void*) {
  none();
}
template <class T, class E>
void contrastive_row_gradients(const double*, Matrix<const E>, const E*, int64_t, int64_t, int64_t, const double*, T*,
                               int64_t, const double*, const int64_t*, const double*, const ContrastSettings&, E*, E*,
                               void*) {
  none();
}
PHYSIOCLR_CONTRASTIVE_TILES(, void*)
template void contrastive_finish<float>(const double*, const int64_t*, int64_t, int64_t, Contrast, float*, int64_t*,
                                        void*);
template void contrastive_finish<double>(const double*, const int64_t*, int64_t, int64_t, Contrast, double*, int64_t*,
                                         void*);
int64_t detect_rpeaks_workspace(int64_t, int64_t, int64_t, double) { return 0; }
int64_t augment_workspace(int64_t, int64_t, int64_t, int64_t) noexcept { return 0; }
ContrastPlan contrastive_fused_plan(int64_t, int64_t, bool) { none(); }
template <class E, class X>
void contrastive_fused_prepare(Matrix<const E>, Matrix<const float>, const int32_t*, const ContrastRows<X>&, double*,
                               void*) {
  none();
}
template <class X>
void contrastive_fused_sums(const ContrastRows<X>&, const ContrastSettings&, int64_t, int64_t, int64_t, double*,
                            void*) {
  none();
}
template <class X>
void contrastive_fused_gradient(const ContrastRows<X>&, const ContrastSettings&, int64_t, int64_t, int64_t,
                                const double*, const int64_t*, int64_t, int64_t, const double*, float*, int64_t, float*,
                                void*) {
  none();
}
PHYSIOCLR_CONTRASTIVE_FUSED(, void*)
int device_count() noexcept { return 0; }
int driver_version() noexcept { return 0; }
std::string device_name(int) { none(); }
bool compiled() noexcept { return false; }
const char* archs() noexcept { return ""; }

}  // namespace physioclr::cuda
