#pragma once
// detect_rpeaks: the rates, sizes and wavelets that follow from the length of a record and its sampling rate. Made on
// the host; RpeaksPlan is what a CUDA kernel takes of it, by value.
#include <cstdint>
#include <vector>

#include "core/macros.h"
#include "core/rpeaks_math.h"
#include "core/rpeaks_place.h"

namespace physioclr::rpeaks {

struct Wavelet {
  int reach;                     // in working samples
  std::vector<float> even, odd;  // taps for k = 0..reach

  Wavelet(double centre, double fw);
};

// What depends on (samples, fs) alone.
struct WorkPlan {
  int64_t samples, step, n, spike;  // samples per working sample, working samples, samples of a spike
  int64_t hop, m, blocks;           // working samples per envelope sample, envelope samples, blocks of them
  double fs, fw, fe;                // the three rates
  float block;
  std::vector<Wavelet> bands;
  std::vector<float> taps;    // even and odd tap of the first band, then of the second (0 beyond its reach), for each k
  std::vector<int64_t> ramp;  // first sample at or after the centre of each block, then n
  int pad = 0;

  WorkPlan(int64_t length, double rate);

  int64_t separation() const;  // of candidates

  PHYSIOCLR_INLINE int64_t block_begin(int64_t k) const {
    return k == 0 ? 0 : k >= blocks ? m : static_cast<int64_t>(static_cast<float>(k) * block);
  }
};

constexpr int kMostReach = 32;    // of a wavelet, at the highest working rate (below 1.5 * kWorkRate)
constexpr int kMostWindow = 200;  // samples of a refinement, at 4000 Hz

struct RpeaksPlan {
  int samples, step, n, spike, hop, m, blocks;  // as in WorkPlan
  int separation;                               // of candidates, envelope samples
  int refine, baseline, fine;                   // half windows: working samples, and samples at full rate
  bool too_short;
  double fw;
  float fe, block;
  int reach[kBands];
  float even[kBands][kMostReach + 1], odd[kBands][kMostReach + 1];

  PHYSIOCLR_HD int block_begin(int k) const {
    return k == 0 ? 0 : k >= blocks ? m : static_cast<int>(static_cast<float>(k) * block);
  }
};

RpeaksPlan device_plan(const WorkPlan& p, int64_t samples);

// The plan of the last call of this thread: most come with records of one form, one at a time, and then the wavelets
// would cost as much as a short record.
const WorkPlan& plan_of(int64_t samples, double fs);

}  // namespace physioclr::rpeaks
