// delineate and physio_features on the CPU: one record after the other on each thread.
#include "cpu/waves.h"

#include <atomic>

#include "core/guard.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "testing.h"

namespace physioclr::cpu {
namespace {

// 0: what every processor has, 1: AVX2, 2: AVX-512.
int highest_level() {
#if PHYSIOCLR_WAVES_X86
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512cd");
  if (v4) return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

std::atomic<int> level{highest_level()};

const WavesKernels& kernels() {
#if PHYSIOCLR_WAVES_X86
  const WavesKernels* const of[] = {&kWavesBase, &kWavesV3, &kWavesV4};
  return *of[level.load(std::memory_order_relaxed)];
#else
  return kWavesBase;
#endif
}

constexpr size_t kKept = 1 << 20;  // bytes of scratch that stay with a thread for its next call

// f(record, scratch) for all records.
template <class F>
void each_record(int64_t records, F f) {
  const Interrupt stop;
  Guard guard;
#pragma omp parallel num_threads(threads()) if (records > 1)
  {
    thread_local WavesScratch scratch;
    scratch.stop = &stop;
#pragma omp for schedule(dynamic, 4)
    for (int64_t b = 0; b < records; ++b)
      if (!stop()) guard([&] { f(b, scratch); });
    if (scratch.bytes() > kKept) scratch = {};
  }
  guard.raise();
}

}  // namespace

bool run(const DelineateCall& call) {
  each_record(call.ecg.records, [&](int64_t b, WavesScratch& scratch) { kernels().delineate(call, b, scratch); });
  return true;
}

bool run(const FeaturesCall& call) {
  each_record(call.ecg.records, [&](int64_t b, WavesScratch& scratch) { kernels().features(call, b, scratch); });
  return true;
}

}  // namespace physioclr::cpu

int physioclr::testing::limit_waves(int level) {
  cpu::level = level < cpu::highest_level() ? level : cpu::highest_level();
  return cpu::level;
}

void physioclr::testing::features_of_waves(const FeaturesCall& call, int32_t* waves, const uint8_t* paced) {
  cpu::WavesScratch scratch;
  for (int64_t b = 0; b < call.ecg.records; ++b) cpu::kernels().features_of_waves(call, b, waves, paced, scratch);
}
