#pragma once
// What needs more leads than the one that is measured: pacing spikes, and the mean of the leads. Times in samples of a
// 500 Hz record.
#include "core/views.h"
#include "core/waves_math.h"

namespace physioclr::features::PHYSIOCLR_ISA {

namespace waves = physioclr::waves::PHYSIOCLR_ISA;

using waves::larger;
using waves::smaller;

// In how many of the leads first, first + step, ... below stop a ventricular pacing spike goes before the R peak at r.
inline int leads_with_spike(const Matrix<const float>& record, int64_t r, int64_t first, int64_t stop, int64_t step) {
  const int64_t a = larger<int64_t>(r - kPacedFrom - 2 * kPacedHalf, 0);
  const int64_t b = smaller(r + kPacedTo + 2 * kPacedHalf, record.cols);
  int seen = 0;
  if (b - a <= 4 * kPacedHalf) return 0;
  for (int64_t lead = first; lead < stop; lead += step)
    seen += waves::spikes(record.row(lead) + a, b - a, kPacedHalf) > 0;
  return seen;
}

// Marks the beats led by a ventricular pacing spike, seen on two leads (on the only one where there is one).
//
// Every third lead is looked at (of twelve II, aVL, V2, V5): a spike shows in nearly all of them. To spare the memory
// of leads that nothing else reads, a record is looked through only if the first of them, or at every fourth beat any
// of them, shows a spike.
// Returns whether the first of them shows none.
inline bool paced_record(const Matrix<const float>& record, const int32_t* rpeaks, int64_t beats, uint8_t* paced) {
  const int64_t leads = record.rows, step = leads >= 6 ? 3 : 1, first = leads >= 6 ? 1 : 0;
  bool suspect = false;
  for (int64_t k = 0; k < beats; ++k) {
    paced[k] = 0;
    if (rpeaks[k] < 0 || suspect) continue;
    const int64_t stop = k % 4 == 1 ? leads : smaller(first + 1, leads);  // a record may have no lead at all
    suspect = leads_with_spike(record, rpeaks[k], first, stop, step) > 0;
  }
  for (int64_t k = 0; suspect && k < beats; ++k)
    if (rpeaks[k] >= 0)
      paced[k] = leads_with_spike(record, rpeaks[k], first, leads, step) >= smaller<int64_t>(2, leads);
  return !suspect;
}
inline int64_t first_looked_at(int64_t leads) { return leads >= 6 ? 1 : 0; }

// Fetches what paced_record looks at in leads that nothing else reads.
inline void fetch_paced(const Matrix<const float>& record, const int32_t* rpeaks, int64_t beats) {
  const int64_t step = record.rows >= 6 ? 3 : 1, first = record.rows >= 6 ? 1 : 0;
  for (int64_t k = 1; k < beats && rpeaks[k] >= 0; k += 4)
    for (int64_t lead = first + step; lead < record.rows; lead += step) {
      const float* x = record.row(lead);
      const int64_t a = larger<int64_t>(rpeaks[k] - kPacedFrom - 2 * kPacedHalf, 0);
      const int64_t b = smaller<int64_t>(rpeaks[k] + kPacedTo + 2 * kPacedHalf, record.cols);
      for (int64_t i = a; i < b; i += 16) __builtin_prefetch(x + i, 0, 2);
    }
}

// out: the mean of the leads present at each sample; NaN where there is none.
inline void mean_lead(const Matrix<const float>& record, float* out) {
  for (int64_t i = 0; i < record.cols; ++i) {
    double total = 0;
    int64_t seen = 0;
    for (int64_t lead = 0; lead < record.rows; ++lead)
      if (const float v = record.row(lead)[i]; std::isfinite(v)) total += static_cast<double>(v), ++seen;
    out[i] = seen > 0 ? static_cast<float>(total / static_cast<double>(seen)) : std::nanf("");
  }
}

}  // namespace physioclr::features::PHYSIOCLR_ISA
