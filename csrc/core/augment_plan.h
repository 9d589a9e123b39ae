#pragma once
#include <cstdint>

#include "core/macros.h"

namespace physioclr {

// The rows of a plan, in the order of physioclr.Augment. The number of a row is also its Philox purpose.
enum Augmentation : int {
  kBeatShuffle, kTimeWarp, kRrScale, kCrop, kTimeMask, kLeadDropout, kVcgRotation, kAmplitudeScale, kBaselineWander,
  kPowerline, kMuscleNoise, kGaussianNoise, kAugmentations
};

constexpr int kSettings = 8;  // per row: the probability, then the settings in the order of the field's dataclass

struct Plan {
  double v[kAugmentations][kSettings];
};

// What a call of augment shares over its records.
struct AugmentCall {
  Plan plan;
  double fs;
  const int64_t* seeds;      // (views): the batch is augmented once for each
  int64_t views;
  const int64_t* sample_id;  // (records); nullptr: 0, 1, 2, ...
  const int32_t* rpeaks;     // (records, beats), -1 after the last; nullptr: none
  int64_t beats;
  // The batch may be gathered from a larger array (rows, leads, row_samples), of which record b of the batch is the
  // stretch of row[b] that begins at start[b]; rpeaks are then (rows, beats), and of the whole rows. nullptr: it is not.
  const int64_t *row = nullptr, *start = nullptr;
  int64_t rows = 0, row_samples = 0;
};

// Where record b of the batch lies. Outside the array: nowhere, and all its samples are missing.
struct Place {
  int64_t row, start, row_samples;
  bool there;
};
PHYSIOCLR_HD Place place_of(const AugmentCall& call, int64_t b, int64_t samples) {
  if (!call.row) return Place{b, 0, samples, true};
  const int64_t row = call.row[b], start = call.start[b];
  const bool there = row >= 0 && row < call.rows && start >= 0 && start <= call.row_samples - samples;
  return Place{row, start, call.row_samples, there};
}

}  // namespace physioclr
