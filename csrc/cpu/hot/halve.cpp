// Mean of each two neighbours in time, and its gradient: see HalveCall in ops.h.
#include <algorithm>

#include "core/macros.h"
#include "core/threads.h"
#include "cpu/lanes.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

// n pairs of rows of x, one behind the other, to n rows.
template <int kBytes, class T>
PHYSIOCLR_INLINE void means(const T* __restrict x, int64_t channels, int64_t n, T* __restrict out) {
  for (int64_t i = 0; i < n; ++i, x += 2 * channels, out += channels)
    store<kBytes>((load<kBytes>(x) + load<kBytes>(x + channels)) * 0.5f, out);
}
template <int kBytes, class T>
PHYSIOCLR_INLINE void halves(const T* __restrict grad, int64_t channels, int64_t n, T* __restrict out) {
  for (int64_t i = 0; i < n; ++i, grad += channels, out += 2 * channels) {
    const typename Of<kBytes>::F half = load<kBytes>(grad) * 0.5f;
    store<kBytes>(half, out);
    store<kBytes>(half, out + channels);
  }
}

template <class Call, class F>
PHYSIOCLR_INLINE bool each_record(const Call& c, const F& f) {
  on_team(static_cast<int>(std::min<int64_t>(threads(), c.records)), [&] {
#pragma omp for schedule(static)
    for (int64_t b = 0; b < c.records; ++b) f(b * c.samples * c.channels, b * ((c.samples + 1) / 2) * c.channels);
  });
  return true;
}

template <class T>
bool forward(const HalveCall& call) {
  const int64_t channels = call.channels, pairs = call.samples / 2;
  return each_record(call, [=](int64_t many, int64_t few) {
    const T* const x = static_cast<const T*>(call.x.data) + many;
    T* const out = static_cast<T*>(call.out.data) + few;
    for_channels(channels, [=](auto width, int64_t c) { means<width()>(x + c, channels, pairs, out + c); });
    if (call.samples % 2) std::copy_n(x + 2 * pairs * channels, channels, out + pairs * channels);
  });
}

template <class T>
bool backward(const HalveBwdCall& call) {
  const int64_t channels = call.channels, pairs = call.samples / 2;
  return each_record(call, [=](int64_t many, int64_t few) {
    const T* const grad = static_cast<const T*>(call.grad.data) + few;
    T* const out = static_cast<T*>(call.grad_x.data) + many;
    for_channels(channels, [=](auto width, int64_t c) { halves<width()>(grad + c, channels, pairs, out + c); });
    if (call.samples % 2) std::copy_n(grad + pairs * channels, channels, out + 2 * pairs * channels);
  });
}

}  // namespace

namespace PHYSIOCLR_ISA {
bool run(const HalveCall& call) {
  return call.x.type == Element::kBFloat ? forward<BFloat>(call) : forward<float>(call);
}
bool run(const HalveBwdCall& call) {
  return call.grad.type == Element::kBFloat ? backward<BFloat>(call) : backward<float>(call);
}
}  // namespace PHYSIOCLR_ISA

}  // namespace physioclr::cpu
