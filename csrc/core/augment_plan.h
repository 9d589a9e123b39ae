#pragma once
// What a pass of augment over a batch is told, in the terms that the CPU, the GPU and the binding share.
#include <cstdint>

#include "core/fields.h"
#include "core/macros.h"
#include "core/views.h"

namespace physioclr {

// What a row does to the samples: moves them, mixes or scales or masks them, or adds to them.
enum class Does { kMove, kMix, kAdd };

// The rows of a plan: its name here, the field of physioclr.Augment, what it does. The number of a row, in this order,
// is also its Philox purpose.
#define PHYSIOCLR_AUGMENTATIONS(X)          \
  X(kBeatShuffle, beat_shuffle, kMove)      \
  X(kTimeWarp, time_warp, kMove)            \
  X(kRrScale, rr_scale, kMove)              \
  X(kCrop, crop, kMove)                     \
  X(kTimeMask, time_mask, kMix)             \
  X(kLeadDropout, lead_dropout, kMix)       \
  X(kVcgRotation, vcg_rotation, kMix)       \
  X(kAmplitudeScale, amplitude_scale, kMix) \
  X(kBaselineWander, baseline_wander, kAdd) \
  X(kPowerline, powerline, kAdd)            \
  X(kMuscleNoise, muscle_noise, kAdd)       \
  X(kGaussianNoise, gaussian_noise, kAdd)

enum Augmentation : int {
#define PHYSIOCLR_ROW(name, field, does) name,
  PHYSIOCLR_AUGMENTATIONS(PHYSIOCLR_ROW)
#undef PHYSIOCLR_ROW
      kAugmentations
};

constexpr int kSettings = 8;  // per row: the probability, then the settings in the order of the field's dataclass

struct AugmentPlan {
  double v[kAugmentations][kSettings];
};

// A pass over a batch (records, leads, samples), forward or back, once for each seed.
struct AugmentPass {
  AugmentPlan plan;
  double fs;
  Vector<const int64_t> seeds;  // one for each view; in the host's memory
  int64_t records, leads, samples;
  const int64_t* sample_id;      // (records); nullptr: 0, 1, 2, ...
  Matrix<const int32_t> rpeaks;  // (records, beats), -1 after the last; nullptr and 0 beats: none
  PHYSIOCLR_FIELDS(plan, fs, seeds, records, leads, samples, sample_id, rpeaks)
};

// The batch may be gathered from a larger array (rows, leads, row_samples), of which record b of the batch is the
// stretch of row[b] that begins at start[b]; rpeaks are then (rows, beats), and of the whole rows. row nullptr: it is
// not.
struct Gather {
  const int64_t *row, *start;
  int64_t rows, row_samples;
  PHYSIOCLR_FIELDS(row, start, rows, row_samples)
};

// Where record b of the batch lies. Outside the array: nowhere, and all its samples are missing.
struct Place {
  int64_t row, start, row_samples;
  bool there;
};
PHYSIOCLR_HD Place place_of(const Gather& gather, int64_t b, int64_t samples) {
  if (!gather.row) return Place{b, 0, samples, true};
  const int64_t row = gather.row[b], start = gather.start[b];
  const bool there = row >= 0 && row < gather.rows && start >= 0 && start <= gather.row_samples - samples;
  return Place{row, start, gather.row_samples, there};
}

}  // namespace physioclr
