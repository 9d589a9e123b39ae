#pragma once
#include <cstdint>

#include "core/macros.h"

namespace physioclr {

// Whether t lies within `half` samples of one of the n rising peaks (the union of their windows).
PHYSIOCLR_HD bool in_peak_window(const int32_t* peaks, int64_t n, int64_t t, int64_t half) {
  int64_t lo = 0, hi = n;  // first peak >= t - half
  while (lo < hi) {
    const int64_t mid = (lo + hi) / 2;
    if (peaks[mid] < t - half) lo = mid + 1;
    else hi = mid;
  }
  return lo < n && peaks[lo] <= t + half;
}

// Peaks before the -1 padding.
PHYSIOCLR_HD int64_t count_peaks(const int32_t* peaks, int64_t columns) {
  int64_t n = 0;
  while (n < columns && peaks[n] >= 0) ++n;
  return n;
}

// Finite: x - x is 0 only then. Written so that it does not need <cmath> on the device.
template <class T>
PHYSIOCLR_HD bool is_finite(T x) {
  return x - x == T(0);
}

}  // namespace physioclr
