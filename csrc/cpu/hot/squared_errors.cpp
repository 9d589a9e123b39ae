// Squared errors of a reconstruction and their gradient, one pass each: see SquaredErrorsCall in ops.h. 16 sums for the
// samples of a lead by their number modulo 16, whatever the width of the registers, then all leads in double.
#include <algorithm>
#include <cstring>

#include "core/macros.h"
#include "core/threads.h"
#include "cpu/lanes.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int kTurn = 16, kOf = kRegister / 4, kVectors = kTurn / kOf;
typedef Of<kRegister>::F F;
typedef uint8_t Bytes __attribute__((vector_size(kOf)));

// A lead, or the last samples of one, with zeros behind them.
template <class T>
struct Lead {
  const T* x_hat;
  const float* x;
  const bool* valid;
  const float* near;
};
template <class T>
struct Rest {
  T x_hat[kTurn] = {};
  float x[kTurn] = {}, near[kTurn] = {};
  bool valid[kTurn] = {};
  Lead<T> lead;
  Rest(const Lead<T>& from, int64_t at, int64_t n)
      : lead{x_hat, x, from.valid ? valid : nullptr, from.near ? near : nullptr} {
    std::memcpy(x_hat, from.x_hat + at, static_cast<size_t>(n) * sizeof(T));
    std::memcpy(x, from.x + at, static_cast<size_t>(n) * sizeof(float));
    if (from.valid) std::memcpy(valid, from.valid + at, static_cast<size_t>(n));
    if (from.near) std::memcpy(near, from.near + at, static_cast<size_t>(n) * sizeof(float));
  }
};

// 0 where the sample is not valid, whatever stands there.
template <class T>
PHYSIOCLR_INLINE F error(const Lead<T>& lead, int64_t t) {
  const F e = load<kRegister>(lead.x_hat + t) - load<kRegister>(lead.x + t);
  if (!lead.valid) return e;
  Bytes bytes;
  std::memcpy(&bytes, lead.valid + t, sizeof bytes);
  return __builtin_convertvector(bytes, Of<kRegister>::U) != 0u ? e : F{};
}

template <class T>
PHYSIOCLR_INLINE void add(const Lead<T>& lead, int64_t t, F (&sum)[kVectors], F (&near)[kVectors]) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const F e = error(lead, t + v * kOf), square = e * e;
    sum[v] += square;
    if (lead.near) near[v] += square * load<kRegister>(lead.near + t + v * kOf);
  }
}

PHYSIOCLR_INLINE double total(const F (&sum)[kVectors]) {
  float lanes[kTurn];
  std::memcpy(lanes, sum, sizeof lanes);
  double all = 0;
  for (const float lane : lanes) all += lane;
  return all;
}

template <class Call, class T>
PHYSIOCLR_INLINE Lead<T> lead_of(const Call& c, const T* x_hat, int64_t b, int64_t l) {
  const int64_t at = (b * c.x.leads + l) * c.x.samples;
  return {x_hat + at, c.x.data + at, c.valid ? c.valid + at : nullptr, c.near ? c.near + b * c.x.samples : nullptr};
}

template <class T>
bool sums(const SquaredErrorsCall& c) {
  const int64_t samples = c.x.samples, whole = samples / kTurn * kTurn;
  on_team(static_cast<int>(std::min<int64_t>(threads(), c.x.records)), [&] {
#pragma omp for schedule(static)
    for (int64_t b = 0; b < c.x.records; ++b) {
      double all = 0, all_near = 0;
      for (int64_t l = 0; l < c.x.leads; ++l) {
        const Lead<T> lead = lead_of(c, static_cast<const T*>(c.x_hat.data), b, l);
        F sum[kVectors] = {}, near[kVectors] = {};
        for (int64_t t = 0; t < whole; t += kTurn) add(lead, t, sum, near);
        if (whole < samples) add(Rest<T>(lead, whole, samples - whole).lead, 0, sum, near);
        all += total(sum), all_near += total(near);
      }
      c.sum[b] = static_cast<float>(all);
      c.near_sum[b] = static_cast<float>(all_near);
    }
  });
  return true;
}

template <class T>
PHYSIOCLR_INLINE void write(const Lead<T>& lead, int64_t t, float weight, float near_weight, T* grad) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = v * kOf;
    F w = F{} + weight;
    if (lead.near) w += near_weight * load<kRegister>(lead.near + t + at);
    store<kRegister>(F(error(lead, t + at) * w), grad + at);
  }
}

template <class T>
bool gradient(const SquaredErrorsBwdCall& c) {
  const int64_t samples = c.x.samples, whole = samples / kTurn * kTurn;
  on_team(static_cast<int>(std::min<int64_t>(threads(), c.x.records)), [&] {
#pragma omp for schedule(static)
    for (int64_t b = 0; b < c.x.records; ++b) {
      const float weight = 2.0f * c.grad[b], near_weight = 2.0f * c.near_grad[b];
      for (int64_t l = 0; l < c.x.leads; ++l) {
        const Lead<T> lead = lead_of(c, static_cast<const T*>(c.x_hat.data), b, l);
        T* const out = static_cast<T*>(c.grad_x_hat.data) + (b * c.x.leads + l) * samples;
        for (int64_t t = 0; t < whole; t += kTurn) write(lead, t, weight, near_weight, out + t);
        if (whole < samples) {
          T rest[kTurn];
          write(Rest<T>(lead, whole, samples - whole).lead, 0, weight, near_weight, rest);
          std::memcpy(out + whole, rest, static_cast<size_t>(samples - whole) * sizeof(T));
        }
      }
    }
  });
  return true;
}

}  // namespace

namespace PHYSIOCLR_ISA {
bool run(const SquaredErrorsCall& call) {
  return call.x_hat.type == Element::kBFloat ? sums<BFloat>(call) : sums<float>(call);
}
bool run(const SquaredErrorsBwdCall& call) {
  return call.x_hat.type == Element::kBFloat ? gradient<BFloat>(call) : gradient<float>(call);
}
}  // namespace PHYSIOCLR_ISA

}  // namespace physioclr::cpu
