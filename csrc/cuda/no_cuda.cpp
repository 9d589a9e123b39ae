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

int64_t detect_rpeaks_workspace(int64_t, int64_t, int64_t, double) { return 0; }
int64_t augment_workspace(int64_t, int64_t, int64_t, int64_t) noexcept { return 0; }
ContrastPlan contrastive_fused_plan(int64_t, int64_t, bool) { none(); }
int device_count() noexcept { return 0; }
int driver_version() noexcept { return 0; }
std::string device_name(int) { none(); }
bool compiled() noexcept { return false; }
const char* archs() noexcept { return ""; }

}  // namespace physioclr::cuda
