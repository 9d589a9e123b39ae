#pragma once
#include <cstdint>

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
};

}  // namespace physioclr
