#pragma once
// The constants of the features and of pacing spikes, for the C++ code and for Numba's alike (see
// delineate_constants.h). Times in samples are of a 500 Hz record.

// clang-format off
#define PHYSIOCLR_FEATURES_CONSTANTS(X) \
  /* Columns of a segment; beats with columns of their own. */ \
  X(int, kFeatures, 159) X(int, kBeats, 10) \
  /* Length of the filter that gives the slope; samples that are filtered at a time. */ \
  X(int, kTaps, 32) X(int, kChunk, 64) \
  /* ms of a sample. */ \
  X(double, kMs, 2.0) \
  /* Samples: an R peak found on other leads is this far at most from the peak on this one. */ \
  X(int, kRSearch, 10) \
  /* Samples: a beat may hide where so many are missing in a row. */ \
  X(int, kGap, 50) \
  /* Samples around R that adjacent beats are compared over. */ \
  X(int, kCorrBefore, 125) X(int, kCorrAfter, 200) \
  /* mV: an amplitude from here on is missing, so that differences of two fit into float32. mV^2: the summed squares of \
     a window below which float32 has too few digits left for a correlation. */ \
  X(double, kLargest, 1e38) X(double, kFlat, 1e-30) \
  /* A ventricular pacing spike lies from 160 ms before the R peak to 20 ms after it; samples from its peak to where the \
     line goes on. */ \
  X(int, kPacedFrom, 80) X(int, kPacedTo, 10) X(int, kPacedHalf, 3) \
  /* Height of a pacing spike that is level again after it, and of one that need not be, mV; steps beside the spike, \
     relative to its height: on either side of a low one, before a high one. */ \
  X(float, kSpikeLow, 0.2f) X(float, kSpikeHigh, 0.4f) X(float, kSpikeSide, 0.35f) X(float, kSpikeLevel, 0.2f)
// clang-format on

namespace physioclr::features {

#define PHYSIOCLR_FEATURES_CONSTANT(type, name, value) constexpr type name = value;
PHYSIOCLR_FEATURES_CONSTANTS(PHYSIOCLR_FEATURES_CONSTANT)
#undef PHYSIOCLR_FEATURES_CONSTANT

}  // namespace physioclr::features
