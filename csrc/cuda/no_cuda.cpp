// The CUDA backend of a build without nvcc: the same symbols and one clear error. Keeps #if out of the bindings.
#include <stdexcept>

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

template <class T>
void peak_reconstruction_loss_fwd(Cube<const T>, Cube<const T>, Matrix<const int32_t>, int64_t, double*, int64_t*,
                                  void*) {
  none();
}
template <class T>
void peak_reconstruction_loss_bwd(Cube<const T>, Cube<const T>, Matrix<const int32_t>, int64_t, const T*, T*, void*) {
  none();
}
template void peak_reconstruction_loss_fwd(Cube<const float>, Cube<const float>, Matrix<const int32_t>, int64_t, double*,
                                           int64_t*, void*);
template void peak_reconstruction_loss_fwd(Cube<const double>, Cube<const double>, Matrix<const int32_t>, int64_t,
                                           double*, int64_t*, void*);
template void peak_reconstruction_loss_bwd(Cube<const float>, Cube<const float>, Matrix<const int32_t>, int64_t,
                                           const float*, float*, void*);
template void peak_reconstruction_loss_bwd(Cube<const double>, Cube<const double>, Matrix<const int32_t>, int64_t,
                                           const double*, double*, void*);
int64_t detect_rpeaks_workspace(int64_t, int64_t, int64_t, double) { return 0; }
void detect_rpeaks(Cube<const float>, double, Matrix<int32_t>, int32_t*, float*, void*, void*) { none(); }
void detect_rpeaks(Cube<const int16_t>, double, Matrix<int32_t>, int32_t*, float*, void*, void*) { none(); }
int64_t augment_workspace(int64_t, int64_t, int64_t, int64_t) noexcept { return 0; }
void augment(const Signal&, const AugmentCall&, const Signal&, int32_t*, int32_t*, void*, void*) { none(); }
void augment_bwd(const Signal&, const AugmentCall&, const Signal&, void*, void*) { none(); }
ContrastPlan contrastive_fused_plan(int64_t, int64_t, bool) { none(); }
int device_count() noexcept { return 0; }
int driver_version() noexcept { return 0; }
std::string device_name(int) { none(); }
bool compiled() noexcept { return false; }
const char* archs() noexcept { return ""; }

}  // namespace physioclr::cuda
