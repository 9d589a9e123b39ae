// peak_reconstruction_loss on the CPU. The forward pass touches only the samples inside the windows (about a tenth of a
// record at 70 beats per minute); the backward pass writes the gradient once, zeros included.
#include <algorithm>
#include <vector>

#include "core/reconstruction_math.h"
#include "core/threads.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

// Calls f(begin, end) for each stretch of the union of the windows, in rising order. False on bad peaks.
template <class F>
bool for_each_window(const int32_t* peaks, int64_t columns, int64_t samples, int64_t half, F f) {
  int64_t done = 0, last = -1;
  const int64_t n = count_peaks(peaks, columns);
  for (int64_t k = 0; k < n; ++k) {
    const int64_t r = peaks[k];
    if (r >= samples || r < last) return false;
    last = r;
    const int64_t begin = std::max(r - half, done), end = std::min(r + half + 1, samples);
    if (begin < end) f(begin, end);
    done = std::max(done, end);
  }
  return true;
}

template <class T>
bool sums(const PeakLossCall<T>& call) {
  const Cube<const T> x_hat = call.x_hat, x = call.x;
  const Matrix<const int32_t> rpeaks = call.rpeaks;
  std::vector<unsigned char> ok(x.records, 0);
  const int team = static_cast<int>(std::min<int64_t>(threads(), x.records));
  on_team(team, [&] {
#pragma omp for schedule(static)
    for (int64_t b = 0; b < x.records; ++b) {
      double s = 0;
      int64_t n = 0;
      ok[b] = for_each_window(rpeaks.row(b), rpeaks.cols, x.samples, call.half, [&](int64_t begin, int64_t end) {
        for (int64_t l = 0; l < x.leads; ++l) {
          const T *p = x_hat.lead(b, l), *q = x.lead(b, l);
          for (int64_t t = begin; t < end; ++t)
            if (is_finite(q[t])) {
              const double e = static_cast<double>(p[t]) - q[t];
              s += e * e;
              ++n;
            }
        }
      });
      call.sum[b] = s;
      call.count[b] = n;
    }
  });
  return std::all_of(ok.begin(), ok.end(), [](unsigned char v) { return v; });
}

template <class T>
bool gradient(const PeakLossBwdCall<T>& call) {
  const Cube<const T> x_hat = call.x_hat, x = call.x;
  const Matrix<const int32_t> rpeaks = call.rpeaks;
  const int team = static_cast<int>(std::min<int64_t>(threads(), x.records));
  on_team(team, [&] {
#pragma omp for schedule(static)
    for (int64_t b = 0; b < x.records; ++b) {
      T* g = call.grad + b * x.leads * x.samples;
      std::fill(g, g + x.leads * x.samples, T(0));
      for_each_window(rpeaks.row(b), rpeaks.cols, x.samples, call.half, [&](int64_t begin, int64_t end) {
        for (int64_t l = 0; l < x.leads; ++l) {
          const T *p = x_hat.lead(b, l), *q = x.lead(b, l);
          for (int64_t t = begin; t < end; ++t)
            if (is_finite(q[t])) g[l * x.samples + t] = call.scale[b] * (p[t] - q[t]);
        }
      });
    }
  });
  return true;
}

}  // namespace

bool run(const PeakLossCall<float>& call) { return sums(call); }
bool run(const PeakLossCall<double>& call) { return sums(call); }
bool run(const PeakLossBwdCall<float>& call) { return gradient(call); }
bool run(const PeakLossBwdCall<double>& call) { return gradient(call); }

}  // namespace physioclr::cpu
