// A second-order filter forwards and backwards. Time is the outer loop, because each sample needs the one before it;
// the leads lie beside each other and become vectors, several at once because each waits for itself.
#include <algorithm>
#include <cstring>
#include <memory>

#include "core/interrupt.h"
#include "core/macros.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kLeads = 16;   // at a time, at most
constexpr int64_t kTurn = 128;   // samples of all leads that the first cache holds
constexpr int64_t kPart = 4096;  // samples between two looks at whether to give up

typedef double Two __attribute__((vector_size(16)));
typedef double Four __attribute__((vector_size(32)));

struct Filter {
  double b0, b1, b2, a1, a2;
};

// Samples of leads beside each other, kVectors of so many lanes, one time after another at y + step * t; filtered in
// place. state: z1 of all, then z2. An array of vectors, unrolled, is what the compiler keeps in registers.
template <int kVectors, class Lanes>
inline void filter_part(const Filter& f, double* y, int64_t step, int64_t n, double* state) {
  constexpr int64_t kLanes = sizeof(Lanes) / sizeof(double);
  Lanes z1[kVectors], z2[kVectors];
  std::memcpy(z1, state, sizeof z1);
  std::memcpy(z2, state + kVectors * kLanes, sizeof z2);
  for (int64_t t = 0; t < n; ++t, y += step) {
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) {
      Lanes u;
      std::memcpy(&u, y + k * kLanes, sizeof u);
      const Lanes v = f.b0 * u + z1[k];
      z1[k] = f.b1 * u - f.a1 * v + z2[k];
      z2[k] = f.b2 * u - f.a2 * v;
      std::memcpy(y + k * kLanes, &v, sizeof v);
    }
  }
  std::memcpy(state, z1, sizeof z1);
  std::memcpy(state + kVectors * kLanes, z2, sizeof z2);
}

void filter(const Filter& f, int64_t wide, double* y, int64_t step, int64_t n, double* state) {
  switch (wide) {
    case 1: return filter_part<1, double>(f, y, step, n, state);
    case 2: return filter_part<1, Two>(f, y, step, n, state);
    case 4: return filter_part<1, Four>(f, y, step, n, state);
    case 8: return filter_part<2, Four>(f, y, step, n, state);
    case 12: return filter_part<3, Four>(f, y, step, n, state);
    case 16: return filter_part<4, Four>(f, y, step, n, state);
  }
}

int64_t wide_of(int64_t leads) {
  for (const int64_t wide : {1, 2, 4, 8, 12})
    if (leads <= wide) return wide;
  return kLeads;
}

// Rows of x beside each other, y (n, wide), in turns that stay in the first cache; a row more than once where wide is
// more than there are. And back.
template <class T>
void interleave(const Matrix<const T>& x, int64_t first, int64_t leads, int64_t wide, double* y) {
  for (int64_t t0 = 0; t0 < x.cols; t0 += kTurn)
    for (int64_t l = 0; l < wide; ++l) {
      const T* const row = x.row(first + std::min(l, leads - 1));
      for (int64_t t = t0; t < std::min(x.cols, t0 + kTurn); ++t) y[t * wide + l] = row[t];
    }
}
void separate(const double* y, int64_t first, int64_t leads, int64_t wide, const Matrix<float>& out) {
  for (int64_t t0 = 0; t0 < out.cols; t0 += kTurn)
    for (int64_t l = 0; l < leads; ++l) {
      float* const row = out.row(first + l);
      for (int64_t t = t0; t < std::min(out.cols, t0 + kTurn); ++t) row[t] = static_cast<float>(y[t * wide + l]);
    }
}

// Leads [first, first + leads) by way of y (n + 2 pad, wide). False: a signal has come.
template <class T>
bool some_leads(const ZeroPhaseCall<T>& c, int64_t first, int64_t leads, double* y) {
  const int64_t n = c.x.cols, pad = c.pad, wide = wide_of(leads), length = n + 2 * pad;
  const Interrupt stop;
  double* const inside = y + pad * wide;
  interleave(c.x, first, leads, wide, inside);
  for (int64_t t = 0; t < pad; ++t)
    for (int64_t l = 0; l < wide; ++l) {
      y[t * wide + l] = 2.0 * inside[l] - inside[(pad - t) * wide + l];
      inside[(n + t) * wide + l] = 2.0 * inside[(n - 1) * wide + l] - inside[(n - 2 - t) * wide + l];
    }
  const Filter f{c.b.data[0], c.b.data[1], c.b.data[2], c.a.data[1], c.a.data[2]};
  for (const bool backwards : {false, true}) {
    double* const begin = backwards ? y + (length - 1) * wide : y;
    const int64_t step = backwards ? -wide : wide;
    double state[2 * kLeads];
    for (int64_t l = 0; l < wide; ++l) {
      state[l] = c.state.data[0] * begin[l];
      state[wide + l] = c.state.data[1] * begin[l];
    }
    for (int64_t t = 0; t < length; t += kPart) {
      if (stop()) return false;
      filter(f, wide, begin + t * step, step, std::min(kPart, length - t), state);
    }
  }
  separate(inside, first, leads, wide, c.out);
  return true;
}

template <class T>
bool zero_phase(const ZeroPhaseCall<T>& c) {
  if (c.x.rows == 0 || c.x.cols == 0) return true;
  const int64_t most = wide_of(std::min(c.x.rows, kLeads));
  const std::unique_ptr<double[]> y(new double[static_cast<size_t>((c.x.cols + 2 * c.pad) * most)]);
  for (int64_t first = 0; first < c.x.rows; first += kLeads)
    if (!some_leads(c, first, std::min(kLeads, c.x.rows - first), y.get())) break;
  return true;
}

}  // namespace

namespace PHYSIOCLR_ISA {
bool run(const ZeroPhaseCall<float>& call) { return zero_phase(call); }
bool run(const ZeroPhaseCall<double>& call) { return zero_phase(call); }
}  // namespace PHYSIOCLR_ISA

}  // namespace physioclr::cpu
