// Every k-th sample after a low-pass. The samples are first put apart by their phase (index modulo k), so that the
// inner loop runs over neighbours in memory; a tile of outputs takes all its taps before it is written.
#include <algorithm>
#include <cstring>
#include <memory>

#include "core/interrupt.h"
#include "core/macros.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kPart = 512;  // outputs in turn whose inputs stay in the first cache

template <class T>
struct Phases {
  const T* x;  // (down, length)
  int64_t down, length;
};

// out[i] = the sum over j, in this order, of taps[j] * x[down * i + j]: every product and sum rounded by itself. An
// array of vectors, unrolled, is what the compiler keeps in registers.
template <class T, int kVectors, int kBytes>
inline void tile(const Phases<T>& p, const T* taps, int64_t n_taps, int64_t first, T* out) {
  typedef T Lanes __attribute__((vector_size(kBytes)));
  constexpr int64_t kWide = kBytes / sizeof(T);
  Lanes sum[kVectors] = {};
  int64_t phase = 0, at = first;
  for (int64_t j = 0; j < n_taps; ++j) {
    const T* x = p.x + phase * p.length + at;
    const T tap = taps[j];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      Lanes lanes;
      std::memcpy(&lanes, x + v * kWide, kBytes);
      sum[v] += tap * lanes;
    }
    if (++phase == p.down) phase = 0, ++at;
  }
  std::memcpy(out, sum, sizeof sum);
}

template <class T>
inline void part(const Phases<T>& p, const T* taps, int64_t n_taps, int64_t first, int64_t n, T* out) {
  constexpr int64_t kMany = 8 * 32 / sizeof(T), kFew = 32 / sizeof(T);  // vectors of 32 bytes
  int64_t i = 0;
  for (; i + kMany <= n; i += kMany) tile<T, 8, 32>(p, taps, n_taps, first + i, out + i);
  for (; i + kFew <= n; i += kFew) tile<T, 1, 32>(p, taps, n_taps, first + i, out + i);
  for (; i < n; ++i) tile<T, 1, sizeof(T)>(p, taps, n_taps, first + i, out + i);
}
void part_of(const Phases<float>& p, const float* taps, int64_t n_taps, int64_t i, int64_t n, float* out) {
  part(p, taps, n_taps, i, n, out);
}
void part_of(const Phases<double>& p, const double* taps, int64_t n_taps, int64_t i, int64_t n, double* out) {
  part(p, taps, n_taps, i, n, out);
}

template <class T>
bool decimate(const DecimateCall<T>& c) {
  const int64_t n = c.out.cols, down = c.down, length = n + (c.taps.size - 1) / down + 1;
  const std::unique_ptr<T[]> phases(new T[static_cast<size_t>(down * length)]);
  const Interrupt stop;
  for (int64_t lead = 0; lead < c.out.rows; ++lead) {
    const T* const x = c.x.row(lead);
    for (int64_t p = 0; p < down; ++p) {
      T* const to = phases.get() + p * length;
      const int64_t there = std::clamp<int64_t>((c.x.cols - p + down - 1) / down, 0, length);
      for (int64_t i = 0; i < there; ++i) to[i] = x[i * down + p];
      std::fill(to + there, to + length, T{0});
    }
    for (int64_t i = 0; i < n; i += kPart) {
      if (stop()) return true;
      part_of({phases.get(), down, length}, c.taps.data, c.taps.size, i, std::min(kPart, n - i), c.out.row(lead) + i);
    }
  }
  return true;
}

}  // namespace

namespace PHYSIOCLR_ISA {
bool run(const DecimateCall<float>& call) { return decimate(call); }
bool run(const DecimateCall<double>& call) { return decimate(call); }
}  // namespace PHYSIOCLR_ISA

}  // namespace physioclr::cpu
