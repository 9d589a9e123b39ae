// delineate and physio_features on the CPU: one record after the other on each thread.
#include "cpu/waves.h"

#include <algorithm>

#include "core/guard.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "testing.h"

namespace physioclr::cpu {
namespace {

template <class T>
T* fitted(std::vector<T>& v, int64_t n) {
  if (v.size() < static_cast<size_t>(n)) v.resize(static_cast<size_t>(n));
  return v.data();
}

constexpr size_t kKept = 1 << 20;  // bytes of scratch that stay with a thread for its next call

// f(record, scratch) for all records.
template <class F>
void each_record(int64_t records, F f) {
  const Interrupt stop;
  Guard guard;
  constexpr int64_t kRecords = 4;  // what a thread takes at a time; a caller without any could not ask for a signal
  on_team(static_cast<int>(std::min<int64_t>(threads(), (records + kRecords - 1) / kRecords)), [&] {
    thread_local WavesScratch scratch;
    scratch.stop = &stop;
#pragma omp for schedule(dynamic, kRecords)
    for (int64_t b = 0; b < records; ++b)
      if (!stop()) guard([&] { f(b, scratch); });
    if (scratch.bytes() > kKept) scratch = {};
  });
  guard.raise();
}

}  // namespace

double* WavesScratch::fit_numbers(int64_t n) { return fitted(numbers, n); }
float* WavesScratch::fit_samples(int64_t n) { return fitted(samples, n); }
int32_t* WavesScratch::fit_counts(int64_t n) { return fitted(counts, n); }
uint8_t* WavesScratch::fit_marks(int64_t n) { return fitted(marks, n); }
size_t WavesScratch::bytes() const {
  return numbers.size() * sizeof numbers[0] + samples.size() * sizeof samples[0] + counts.size() * sizeof counts[0] +
         marks.size();
}

bool run(const DelineateCall& call) {
  each_record(call.ecg.records, [&](int64_t b, WavesScratch& scratch) { waves_kernels().delineate(call, b, scratch); });
  return true;
}

bool run(const FeaturesCall& call) {
  each_record(call.ecg.records, [&](int64_t b, WavesScratch& scratch) { waves_kernels().features(call, b, scratch); });
  return true;
}

}  // namespace physioclr::cpu

void physioclr::testing::features_of_waves(const FeaturesCall& call, int32_t* waves, const uint8_t* paced) {
  cpu::WavesScratch scratch;
  for (int64_t b = 0; b < call.ecg.records; ++b) cpu::waves_kernels().features_of_waves(call, b, waves, paced, scratch);
}
