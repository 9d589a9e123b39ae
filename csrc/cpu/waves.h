#pragma once
// delineate and physio_features of one record, for each instruction set (waves_base.cpp, waves_v3.cpp, waves_v4.cpp),
// and the scratch that a thread keeps for the next record.
#include <cstdint>
#include <vector>

#include "core/delineate_constants.h"
#include "core/features_constants.h"
#include "core/interrupt.h"
#include "ops.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(PHYSIOCLR_NO_CLONES)
#define PHYSIOCLR_WAVES_X86 1
#endif

namespace physioclr::cpu {

// Numbers of a thread, as one piece of memory of each kind; the kernels hand it out (core/waves_lead.h). stop: asked
// between blocks of beats, so that a record of a day ends soon after Ctrl-C, its results unfinished.
struct WavesScratch {
  const Interrupt* stop = nullptr;
  std::vector<double> numbers;
  std::vector<float> samples;
  std::vector<int32_t> counts;
  std::vector<uint8_t> marks;
  size_t bytes() const {
    return numbers.size() * sizeof numbers[0] + samples.size() * sizeof samples[0] + counts.size() * sizeof counts[0] +
           marks.size();
  }
};

struct WavesKernels {
  // Record b of the call.
  void (*delineate)(const DelineateCall& call, int64_t b, WavesScratch& scratch);
  void (*features)(const FeaturesCall& call, int64_t b, WavesScratch& scratch);
  // Of the first lead of record b, with boundaries (8, records, beats) and pacing (records, beats) given.
  void (*features_of_waves)(const FeaturesCall& call, int64_t b, int32_t* waves, const uint8_t* paced,
                            WavesScratch& scratch);
};

extern const WavesKernels kWavesBase, kWavesV3, kWavesV4;

}  // namespace physioclr::cpu
