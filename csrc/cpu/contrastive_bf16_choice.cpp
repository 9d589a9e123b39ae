// Whether contrastive_bf16.cpp is used, in a file of its own: this one runs on every processor.
#include <atomic>

#include "cpu/contrastive_bf16.h"
#include "cpu/isa.h"
#include "testing.h"

namespace physioclr {
namespace {

bool possible() noexcept {
#if defined(PHYSIOCLR_BF16)
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw");
#else
  return false;
#endif
}

std::atomic<bool>& allowed() noexcept {
  static std::atomic<bool> x{possible()};
  return x;
}

}  // namespace

bool cpu::multiplies_bf16() noexcept {
  return isa::current() == isa::Set::kAvx512 && allowed().load(std::memory_order_relaxed);
}

bool testing::limit_bf16(bool on) {
  allowed().store(on && possible(), std::memory_order_relaxed);
  return cpu::multiplies_bf16();
}

}  // namespace physioclr

#if !defined(PHYSIOCLR_BF16)  // never called: multiplies_bf16 is false
namespace physioclr::cpu {
void bf16_panels(const uint32_t*, const uint32_t*, int64_t, int64_t, int64_t, const float*, const float*, float*,
                 int64_t, const Ahead&) {}
void bf16_add(const uint32_t*, int64_t, int64_t, const uint32_t*, int64_t, float*, int64_t, const char*) {}
void bf16_pairs_along_rows(const float*, int64_t, int64_t, int64_t, const float*, uint32_t*) {}
void bf16_pairs_along_columns(const float*, int64_t, int64_t, int64_t, const float*, uint32_t*) {}
}  // namespace physioclr::cpu
#endif
