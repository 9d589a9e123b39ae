#pragma once
// delineate and physio_features of one record, for each instruction set (hot/waves.cpp),
// and the scratch that a thread keeps for the next record.
#include <cstdint>
#include <vector>

#include "core/delineate_constants.h"
#include "core/features_constants.h"
#include "core/interrupt.h"
#include "cpu/isa.h"
#include "ops.h"

namespace physioclr::cpu {

// Numbers of a thread, as one piece of memory of each kind; the kernels hand it out (core/waves_lead.h). stop: asked
// between blocks of beats, so that a record of a day ends soon after Ctrl-C, its results unfinished.
struct WavesScratch {
  const Interrupt* stop = nullptr;
  std::vector<double> numbers;
  std::vector<float> samples;
  std::vector<int32_t> counts;
  std::vector<uint8_t> marks;
  // At least n elements.
  double* fit_numbers(int64_t n);
  float* fit_samples(int64_t n);
  int32_t* fit_counts(int64_t n);
  uint8_t* fit_marks(int64_t n);
  size_t bytes() const;
};

struct WavesKernels {
  // Record b of the call.
  void (*delineate)(const DelineateCall& call, int64_t b, WavesScratch& scratch);
  void (*features)(const FeaturesCall& call, int64_t b, WavesScratch& scratch);
  // Of the first lead of record b, with boundaries (8, records, beats) and pacing (records, beats) given.
  void (*features_of_waves)(const FeaturesCall& call, int64_t b, int32_t* waves, const uint8_t* paced,
                            WavesScratch& scratch);
};

PHYSIOCLR_KERNELS(WavesKernels, waves_kernels)

}  // namespace physioclr::cpu
