#pragma once
// What detect_rpeaks.cpp has of its own beside the front end (cpu/rpeaks_front.h): memory, gaps, separate maxima, sums
// at full rate. Vectorised without fused multiply-add, so that every processor gets the same numbers.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "core/macros.h"
#include "core/rpeaks_math.h"
#include "core/rpeaks_place.h"
#include "core/rpeaks_plan.h"
#include "cpu/hot_vector.h"
#include "cpu/rpeaks_front.h"

namespace physioclr::cpu {
namespace {

using namespace rpeaks;
using rpeaks::WorkPlan;  // not that of augment

// Memory that is written before it is read: growing does not touch it, so that its pages come to the threads that use
// them. Large ones ask for huge pages: of a day, the faults of small ones would take a third of the time.
template <class T>
class GrowingBuffer {
 public:
  void fit(int64_t n) {
    if (n <= size_) return;
    constexpr std::size_t kHugePage = std::size_t{1} << 21;
    const std::size_t page = n * sizeof(T) < 2 * kHugePage ? 64 : kHugePage;
    const std::size_t bytes = (n * sizeof(T) + page - 1) / page * page;
    size_ = 0;
    data_.reset(static_cast<T*>(std::aligned_alloc(page, bytes)));
    if (!data_) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (page == kHugePage) madvise(data_.get(), bytes, MADV_HUGEPAGE);
#endif
    size_ = n;
  }
  T* data() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t size_ = 0;
};

inline bool finite_samples(const int16_t*, int64_t) { return true; }
inline bool finite_samples(const float* x, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7fffffffu;
    largest = largest < bits ? bits : largest;
  }
  return largest < 0x7f800000u;
}

// out[0..n): the samples from `begin` on without spikes, see despiked. The usual case, where nothing is missing and no
// end of the record is near, has a loop of its own.
template <class T>
inline void despike(const T* x, int64_t samples, int64_t begin, int64_t n, int64_t w, float* out) {
  if (begin >= w && begin + n + w <= samples && finite_samples(x + begin - w, n + 2 * w)) {
    const T* y = x + begin;
    for (int64_t i = 0; i < n; ++i) {
      const float a = static_cast<float>(y[i - w]), b = static_cast<float>(y[i]), c = static_cast<float>(y[i + w]);
      const float low = a < c ? a : c, high = a < c ? c : a, under = b < high ? b : high;
      out[i] = low < under ? under : low;
    }
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = despiked(x, samples, begin + i, w);
  }
}

// Adds to sum[0..n) the samples from `begin` on without spikes, less origin, times scale. Missing ones add nothing, or,
// of the only lead, become -infinity. False if all are missing.
template <class T>
inline bool add_samples(const T* x, int64_t samples, int64_t begin, int64_t n, int64_t spike, float origin, float gain,
                        float weight, bool only, float* clean, float* sum) {
  despike(x, samples, begin, n, spike, clean);
  int valid = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float d = (clean[i] - origin) * gain;
    const bool ok = d - d == 0.0f;
    sum[i] = ok ? sum[i] + weight * d : only ? -HUGE_VALF : sum[i];
    valid |= ok;
  }
  return valid;
}
bool add_lead(const float* x, int64_t samples, int64_t begin, int64_t n, int64_t spike, float origin, float gain,
              float weight, bool only, float* clean, float* sum) {
  return add_samples(x, samples, begin, n, spike, origin, gain, weight, only, clean, sum);
}
bool add_lead(const int16_t* x, int64_t samples, int64_t begin, int64_t n, int64_t spike, float origin, float gain,
              float weight, bool only, float* clean, float* sum) {
  return add_samples(x, samples, begin, n, spike, origin, gain, weight, only, clean, sum);
}

// y -= origin; returns the largest magnitude of the results.
float subtract(float* y, int64_t n, float origin) {
  uint32_t largest = 0;  // as bits, which rise with the magnitude
  for (int64_t i = 0; i < n; ++i) {
    y[i] -= origin;
    uint32_t bits;
    std::memcpy(&bits, y + i, sizeof bits);
    bits &= 0x7fffffffu;
    largest = largest < bits ? bits : largest;
  }
  float top;
  std::memcpy(&top, &largest, sizeof top);
  return top;
}

// Where working samples are missing: marks and bridges them by a straight line between their edges, constant at the
// ends of the record, and takes off the first valid value. Returns the largest magnitude, 0 if nothing is valid.
inline float bridge(float* y, int64_t n, uint8_t* missing, float* origin) {
  for (int64_t i = 0; i < n; ++i) missing[i] = !std::isfinite(y[i]);
  int64_t first = 0;
  while (first < n && missing[first]) ++first;
  *origin = first < n ? y[first] : 0.0f;
  if (first == n) return 0;
  for (int64_t i = 0; i < n; ++i) y[i] -= *origin;
  for (int64_t i = 0; i < first; ++i) y[i] = 0;
  for (int64_t i = first; i < n;) {
    if (!missing[i]) {
      ++i;
      continue;
    }
    int64_t e = i;
    while (e < n && missing[e]) ++e;
    const float a = y[i - 1], d = e < n ? (y[e] - a) / static_cast<float>(e - i + 1) : 0.0f;
    for (int64_t k = i; k < e; ++k) y[k] = a + d * static_cast<float>(k - i + 1);
    i = e;
  }
  return subtract(y, n, 0.0f);
}

void split(const float* y, int64_t hop, int64_t n, float* out) {
  if (hop == 2)
    for (int64_t i = 0; i < n; ++i) out[i] = y[2 * i];
  else std::memcpy(out, y, n * sizeof(float));
}

// out[i] for i in -pad..n+pad+kExcess: working sample hop * (begin + i) + h, the outermost ones repeated beyond the
// record.
inline void take_apart(const float* y, const WorkPlan& p, int64_t begin, int64_t n, int64_t h, float* out) {
  const int64_t count = (p.n - h + p.hop - 1) / p.hop;  // such samples in the record
  const int64_t lo = std::clamp<int64_t>(-begin, -p.pad, n + p.pad + kExcess);
  const int64_t hi = std::clamp<int64_t>(count - begin, lo, n + p.pad + kExcess);
  std::fill(out - p.pad, out + lo, y[0]);
  split(y + p.hop * (begin + lo) + h, p.hop, hi - lo, out + lo);
  std::fill(out + hi, out + n + p.pad + kExcess, y[p.n - 1]);
}

// The same beyond the ends of the record alone.
inline void continue_ends(const float* y, const WorkPlan& p, int64_t h, float* out) {
  std::fill(out - p.pad, out, y[0]);
  const int64_t count = (p.n - h + p.hop - 1) / p.hop;
  std::fill(out + count, out + p.m + p.pad + kExcess, y[p.n - 1]);
}

// flag[i]: whether e[i] > 0 is the largest within +-sep (of equals the first), for i in 0..n. window[0..n + 2 sep]: e
// from -sep on, -1 outside the record; becomes the maxima of sep values, the first at the place of each.
void separate_maxima(const float* e, int64_t n, int64_t sep, float* window, uint8_t* flag) {
  int64_t width = 1, last = n + 2 * sep;
  for (; 2 * width <= sep; width *= 2) {
    last -= width;
    for (int64_t i = 0; i <= last; ++i) window[i] = window[i] < window[i + width] ? window[i + width] : window[i];
  }
  const int64_t rest = sep - width;
  last -= rest;
  for (int64_t i = 0; i <= last; ++i) window[i] = window[i] < window[i + rest] ? window[i + rest] : window[i];
  const float* after = window + sep + 1;
  for (int64_t i = 0; i < n; ++i) flag[i] = (e[i] > 0) & (window[i] < e[i]) & (after[i] <= e[i]);
}

// Samples begin..end of the envelope that are the largest within +-separation (of equals the first). window: scratch of
// end - begin + 2 separation + 1; flag: of end - begin + 8.
inline int64_t candidates(const float* e, const WorkPlan& p, int64_t begin, int64_t end, float* window, uint8_t* flag,
                          int32_t* out) {
  const int64_t sep = p.separation(), lo = std::max<int64_t>(0, begin - sep), hi = std::min(p.m, end + sep + 1);
  float* w = window - (begin - sep);
  std::fill(window, w + lo, -1.0f);
  std::copy(e + lo, e + hi, w + lo);
  std::fill(w + hi, w + end + sep + 1, -1.0f);
  separate_maxima(e + begin, end - begin, sep, window, flag);
  std::memset(flag + (end - begin), 0, 8);
  int64_t n = 0;
  for (int64_t i = begin; i < end; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, flag + (i - begin), 8);
    for (; eight; eight &= eight - 1) out[n++] = static_cast<int32_t>(i + __builtin_ctzll(eight) / 8);
  }
  return n;
}

}  // namespace
}  // namespace physioclr::cpu
