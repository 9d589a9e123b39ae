#pragma once
// Arrays of random size and values, each its own allocation of exactly its size, so that one element too far is seen.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>

#include "ops.h"

using namespace physioclr;

static std::mt19937_64 engine;

static int64_t whole(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine); }
static double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine); }
static bool chance(double p) { return real(0, 1) < p; }
// A length: 0, 1 and 2 often.
static int64_t length(int64_t high) { return chance(0.3) ? whole(0, 2) : whole(0, high); }

#if defined(RANDOM_BITS)
// For tests/bits: what every array holds at its end, so that two processors can be compared. Any NaN counts as one, for
// processors differ in the sign of the one that they make.
static uint64_t digest;
static void tell(uint64_t bits) { digest = (digest ^ bits) * 0x9E3779B97F4A7C15u, digest ^= digest >> 29; }
static void tell(float x) { tell(uint64_t{x == x ? bits_of_float(x) : 0x7fc00000u}); }
static void tell(double x) {
  uint64_t bits = 0x7ff8000000000000u;
  if (x == x) std::memcpy(&bits, &x, sizeof bits);
  tell(bits);
}
static void tell(Half x) { tell(to_compute(x)); }
static void tell(BFloat x) { tell(to_compute(x)); }
template <class T>
static void tell(const T* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_integral_v<T>) tell(static_cast<uint64_t>(x[i]));
    else tell(x[i]);
  }
}
static void tell(const void* x, int64_t bytes, Element type) {
  switch (type) {
    case Element::kFloat: return tell(static_cast<const float*>(x), bytes / 4);
    case Element::kDouble: return tell(static_cast<const double*>(x), bytes / 8);
    case Element::kHalf: return tell(static_cast<const Half*>(x), bytes / 2);
    case Element::kBFloat: return tell(static_cast<const BFloat*>(x), bytes / 2);
    case Element::kInt16: return tell(static_cast<const int16_t*>(x), bytes / 2);
  }
}
#endif

template <class T>
struct Array {
  explicit Array(int64_t n) : size(n), data(new T[static_cast<size_t>(n)]()) {}
#if defined(RANDOM_BITS)
  Array(Array&&) = default;
  ~Array() {
    if (!data) return;
    if constexpr (std::is_same_v<T, unsigned char>) tell(data.get(), size, type);
    else tell(data.get(), size);
  }
#endif
  T* get() const { return data.get(); }
  T& operator[](int64_t i) { return data[static_cast<size_t>(i)]; }
  int64_t size;
  std::unique_ptr<T[]> data;
  Element type = Element::kInt16;  // of bytes: what they are
};

static void set(float& x, double v) { x = static_cast<float>(v); }
static void set(double& x, double v) { x = v; }
static void set(Half& x, double v) { from_compute(static_cast<float>(v), x); }
static void set(BFloat& x, double v) { from_compute(static_cast<float>(v), x); }
static void set(int16_t& x, double v) {
  x = static_cast<int16_t>(v != v ? -32768.0 : std::fmin(std::fmax(v * 1000, -32768), 32767));
}

static double real_square(double x, double width) { return x / width * (x / width); }

enum class Values { kPlain, kGaps, kWild };
template <class T>
static Array<T> values(int64_t n, Values kind) {
  Array<T> x(n);
  const double noise = chance(0.5) ? 1 : 0.05, t_wave = chance(0.5) ? real(-2, 2) : 0;
  const double odd[] = {NAN, INFINITY, -INFINITY, 3e38, -3e38, 1e-40, 0, -0.0};
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = i % 400;  // a beat, and a T wave that is taller in some
    double v = real(-1, 1) * noise + (at < 12 ? 1.5 : 0) + t_wave * std::exp(-real_square(at - 150.0, 25.0));
    if (kind == Values::kGaps && chance(0.1)) v = NAN;
    if (kind == Values::kWild && chance(0.1)) v = odd[whole(0, 7)];
    set(x[i], v);
  }
  return x;
}
static Values kind_of_values() { return static_cast<Values>(whole(0, 2)); }

// (records, beats) rising, -1 after the last. wild: anything.
static Array<int32_t> peaks(int64_t records, int64_t beats, int64_t samples, bool wild) {
  Array<int32_t> r(records * beats);
  for (int64_t b = 0; b < records; ++b) {
    int64_t at = -1;
    for (int64_t k = 0; k < beats; ++k) {
      at += whole(1, samples / (beats + 1) + 2);
      r[b * beats + k] = static_cast<int32_t>(at < samples ? at : -1);
      if (at >= samples) at = samples;
      if (wild && chance(0.2)) r[b * beats + k] = static_cast<int32_t>(whole(INT32_MIN, INT32_MAX));
    }
  }
  return r;
}
