#pragma once
// detect_rpeaks: the rates, sizes and wavelets that follow from the length of a record and its sampling rate. Made on
// the host; RpeaksPlan is what a CUDA kernel takes of it, by value.
#include <cstdint>
#include <vector>

#include "core/macros.h"
#include "core/rpeaks_grid.h"
#include "core/rpeaks_math.h"
#include "core/rpeaks_place.h"

namespace physioclr::rpeaks {

struct Wavelet {
  int reach;                     // in working samples
  std::vector<float> even, odd;  // taps for k = 0..reach

  Wavelet(double centre, double fw);
};

// The rates and sizes of one record. With the grid of the first sample they depend on (samples, fs) alone, and no other
// grid has more of anything.
struct WorkPlan {
  int64_t samples, step, spike, hop;  // samples per working sample and of a spike, working samples per envelope sample
  double fs, fw, fe;                  // the three rates
  float block;                        // envelope samples, a whole number
  const float* taps;  // even and odd tap of the first band, then of the second (0 beyond its reach), for each k
  int reach[kBands], pad;
  int64_t most_blocks;
  // The grid, see grid_of.
  int64_t first, n, m, offset, blocks;

  void put(const Grid& g) { first = g.first, n = g.n, m = g.m, offset = g.offset, blocks = g.blocks; }

  int64_t separation() const;  // of candidates

  PHYSIOCLR_INLINE int64_t block_begin(int64_t k) const {
    return k == 0 ? 0 : k >= blocks ? m : k * static_cast<int64_t>(block) - offset;
  }
  // The part of block k that its maximum and mean are of: of the outer ones what is as long as others.
  PHYSIOCLR_INLINE int64_t core_begin(int64_t k) const { return k == 0 && blocks > 3 ? -offset : block_begin(k); }
  PHYSIOCLR_INLINE int64_t core_end(int64_t k) const {
    return k + 1 == blocks && blocks > 3 ? block_begin(k) + static_cast<int64_t>(block) : block_begin(k + 1);
  }
  // From where on envelope samples lie between the centres of block k and the next one; of no block, m.
  PHYSIOCLR_INLINE int64_t ramp(int64_t k) const {
    if (k == 0 || k >= blocks) return k == 0 ? 0 : m;
    const auto before = [&](int64_t t) {
      return static_cast<float>(t + offset) / block - 0.5f < static_cast<float>(k);
    };
    int64_t t = ((2 * k + 1) * static_cast<int64_t>(block) + 1) / 2 - offset;
    while (t > 0 && !before(t - 1)) --t;  // in a record of days the quotient is rounded, see at_centres
    while (t < m && before(t)) ++t;
    return t;
  }
};

// The plan of records of one form, with the grid of the first sample, and the wavelets it points to.
struct WorkPlans {
  WorkPlan plan;
  std::vector<Wavelet> bands;
  std::vector<float> taps;

  WorkPlans(int64_t samples, double fs);
};

constexpr int kMostReach = 32;    // of a wavelet, at the highest working rate (below 1.5 * kWorkRate)
constexpr int kMostWindow = 200;  // samples of a refinement, at 4000 Hz

// What a CUDA kernel takes of it but the wavelets. The grid is the first sample's until a kernel puts that of its
// record; no grid has more of anything.
struct RpeaksShape {
  int samples, step, spike, hop;  // as in WorkPlan
  int separation;                 // of candidates, envelope samples
  int refine, baseline, fine;     // half windows: working samples, and samples at full rate
  AnchorRange anchor;
  bool too_short;
  double fw;
  float fe, block;
  int first, n, m, offset, blocks;  // the grid

  PHYSIOCLR_HD int64_t period() const { return static_cast<int64_t>(step) * hop * static_cast<int>(block); }
  PHYSIOCLR_HD void put(const Grid& g) {
    first = static_cast<int>(g.first), n = static_cast<int>(g.n), m = static_cast<int>(g.m);
    offset = static_cast<int>(g.offset), blocks = static_cast<int>(g.blocks);
  }
  PHYSIOCLR_HD int block_begin(int k) const {
    return k == 0 ? 0 : k >= blocks ? m : k * static_cast<int>(block) - offset;
  }
  PHYSIOCLR_HD int core_begin(int k) const { return k == 0 && blocks > 3 ? -offset : block_begin(k); }
  PHYSIOCLR_HD int core_end(int k) const {
    return k + 1 == blocks && blocks > 3 ? block_begin(k) + static_cast<int>(block) : block_begin(k + 1);
  }
};

struct RpeaksPlan : RpeaksShape {
  int reach[kBands];
  float even[kBands][kMostReach + 1], odd[kBands][kMostReach + 1];
};

RpeaksPlan device_plan(const WorkPlans& p, int64_t samples);

// The plan of the last call of this thread: most come with records of one form, one at a time, and then the wavelets
// would cost as much as a short record.
const WorkPlan& plan_of(int64_t samples, double fs);

}  // namespace physioclr::rpeaks
