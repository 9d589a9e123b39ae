#include "cpu/wfdb_samples.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/macros.h"

namespace physioclr::cpu {
namespace {

constexpr int16_t kMissing = kWfdbMissing;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
#if defined(__FMA__) || defined(__aarch64__)
constexpr bool kFma = true;
#else
constexpr bool kFma = false;
#endif

PHYSIOCLR_FLAT void decode_80(const uint8_t* raw, int64_t n, int16_t* x) {
  for (int64_t i = 0; i < n; ++i) x[i] = raw[i] ? static_cast<int16_t>(raw[i] - kWfdb80Zero) : kMissing;
}

inline int16_t sample_of_12_bits(int bits) {
  const auto x = static_cast<int16_t>(static_cast<uint16_t>(bits << 4));  // the sign bit of 12 where that of 16 is
  return x == kMissing ? kMissing : static_cast<int16_t>(x >> 4);         // -2048 << 4 is -32768
}

#if defined(__GNUC__)
typedef uint8_t Half __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(32)));
typedef int16_t Words __attribute__((vector_size(32)));
typedef int64_t Quarters __attribute__((vector_size(32)));

// 16 bytes from raw on and 16 from raw + 12 on, put together in registers: by way of memory the load would wait.
inline Bytes halves_of_212(const uint8_t* raw) {
#if __GNUC__ >= 12 || defined(__clang__)
  Half low, high;
  std::memcpy(&low, raw, 16);
  std::memcpy(&high, raw + 12, 16);
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
                                 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
#else
  int64_t q[4];
  std::memcpy(q, raw, 16);
  std::memcpy(q + 2, raw + 12, 16);
  return reinterpret_cast<Bytes>(Quarters{q[0], q[1], q[2], q[3]});
#endif
}

// Of odd samples the high byte last.
#define PHYSIOCLR_ORDER \
  0, 1, 2, 1, 3, 4, 5, 4, 6, 7, 8, 7, 9, 10, 11, 10, 16, 17, 18, 17, 19, 20, 21, 20, 22, 23, 24, 23, 25, 26, 27, 26
inline Bytes ordered(Bytes v) {
#if defined(__clang__)
  return __builtin_shufflevector(v, v, PHYSIOCLR_ORDER);
#else  // GCC has the other name from 12 on only
  return __builtin_shuffle(v, Bytes{PHYSIOCLR_ORDER});
#endif
}

// Sixteen samples of the first 24 bytes at raw, of which 28 are read; a half has twelve bytes and eight samples, so
// that no byte crosses over.
inline void sixteen_of_212(const uint8_t* raw, int16_t* x) {
  const Words even{-1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0};
  const Words odd{0, -4096, 0, -4096, 0, -4096, 0, -4096, 0, -4096, 0, -4096, 0, -4096, 0, -4096};
  const Words w = reinterpret_cast<Words>(ordered(halves_of_212(raw))), up = w << 4;
  const Words v = (up & even) | (w & odd), missing = v == kMissing;
  const Words y = ((v >> 4) & ~missing) | (missing & kMissing);
  std::memcpy(x, &y, 32);
}
#endif

PHYSIOCLR_FLAT void decode_212(const uint8_t* raw, int64_t n, int16_t* x) {
  int64_t i = 0;
#if defined(__GNUC__)
  for (; i + 20 <= n; i += 16) sixteen_of_212(raw + i / 2 * 3, x + i);
#endif
  for (; i < n; i += 2) {
    const uint8_t* p = raw + i / 2 * 3;
    x[i] = sample_of_12_bits(p[0] | p[1] << 8);
    if (i + 1 < n) x[i + 1] = sample_of_12_bits((p[1] << 4 & 0xF00) | p[2]);
  }
}

// Every kFrame-th element, wherever it lies. With a stride that is known the compiler shuffles vectors.
template <class Element, int64_t kFrame>
inline void gather_every(const uint8_t* x, int64_t frames, uint8_t* out) {
  for (int64_t f = 0; f < frames; ++f) {
    Element e;
    std::memcpy(&e, x + f * kFrame * sizeof e, sizeof e);
    std::memcpy(out + f * sizeof e, &e, sizeof e);
  }
}

template <class Element>
inline void gather_one(const void* from, int64_t frame, int64_t frames, void* to) {
  const auto* x = static_cast<const uint8_t*>(from);
  auto* const out = static_cast<uint8_t*>(to);
  switch (frame) {
    case 2: return gather_every<Element, 2>(x, frames, out);
    case 3: return gather_every<Element, 3>(x, frames, out);
    case 4: return gather_every<Element, 4>(x, frames, out);
    case 8: return gather_every<Element, 8>(x, frames, out);
    case 12: return gather_every<Element, 12>(x, frames, out);
  }
  for (int64_t f = 0; f < frames; ++f)
    std::memcpy(out + f * sizeof(Element), x + f * frame * sizeof(Element), sizeof(Element));
}

// Two or four samples as one element.
template <class T>
struct Wide;
template <>
struct Wide<uint8_t> {
  using Two = uint16_t;
  using Four = uint32_t;
};
template <>
struct Wide<int16_t> {
  using Two = uint32_t;
  using Four = uint64_t;
};

template <class T>
inline void gather_samples(const T* x, int64_t frame, int64_t frames, int64_t count, T* out) {
  if (count == frame) {
    std::memcpy(out, x, static_cast<size_t>(frames * frame) * sizeof(T));
  } else if (count == 1) {
    gather_one<T>(x, frame, frames, out);
  } else if (count == 2 && frame % 2 == 0) {
    gather_one<typename Wide<T>::Two>(x, frame / 2, frames, out);
  } else if (count == 4 && frame % 4 == 0) {
    gather_one<typename Wide<T>::Four>(x, frame / 4, frames, out);
  } else {
    for (int64_t f = 0; f < frames; ++f)
      std::memcpy(out + f * count, x + f * frame, static_cast<size_t>(count) * sizeof(T));
  }
}

PHYSIOCLR_FLAT void gather_words(const int16_t* x, int64_t frame, int64_t frames, int64_t count, int16_t* out) {
  gather_samples(x, frame, frames, count, out);
}
PHYSIOCLR_FLAT void gather_bytes(const uint8_t* x, int64_t frame, int64_t frames, int64_t count, uint8_t* out) {
  gather_samples(x, frame, frames, count, out);
}

// ---- units

inline float in_double(int32_t x, double baseline, double scale) { return static_cast<float>((x - baseline) * scale); }

struct Split {
  int32_t baseline;
  float hi, lo;
  Split(double b, double scale)
      : baseline(static_cast<int32_t>(b)), hi(static_cast<float>(scale)), lo(static_cast<float>(scale - hi)) {}
};
inline float in_floats(int32_t x, const Split& s) {
  const float d = static_cast<float>(x - s.baseline);
  return std::fma(d, s.hi, d * s.lo);
}

inline bool is_missing(int16_t x) { return x == kWfdbMissing; }
inline bool is_missing(uint8_t x) { return x == 0; }
inline int32_t value_of(int16_t x) { return x; }
inline int32_t value_of(uint8_t x) { return x - kWfdb80Zero; }

template <class T>
inline void double_loop(const T* x, int64_t n, double baseline, double scale, float* mv) {
  for (int64_t i = 0; i < n; ++i) mv[i] = is_missing(x[i]) ? kNan : in_double(value_of(x[i]), baseline, scale);
}
template <class T>
inline void float_loop(const T* x, int64_t n, double baseline, double scale, float* mv) {
  const Split s(baseline, scale);
  for (int64_t i = 0; i < n; ++i) mv[i] = is_missing(x[i]) ? kNan : in_floats(value_of(x[i]), s);
}
PHYSIOCLR_FLAT void words_by_doubles(const int16_t* x, int64_t n, double b, double s, float* mv) {
  double_loop(x, n, b, s, mv);
}
PHYSIOCLR_FLAT void bytes_by_doubles(const uint8_t* x, int64_t n, double b, double s, float* mv) {
  double_loop(x, n, b, s, mv);
}
PHYSIOCLR_FLAT void words_by_floats(const int16_t* x, int64_t n, double b, double s, float* mv) {
  float_loop(x, n, b, s, mv);
}
PHYSIOCLR_FLAT void bytes_by_floats(const uint8_t* x, int64_t n, double b, double s, float* mv) {
  float_loop(x, n, b, s, mv);
}

// Whether both give the same bits for every sample value.
PHYSIOCLR_FLAT bool equal_for_all(double baseline, double scale, int32_t highest) {
  const Split s(baseline, scale);
  uint32_t differ = 0;
  for (int32_t x = -highest; x <= highest; ++x) {
    const float a = in_double(x, baseline, scale), b = in_floats(x, s);
    uint32_t bits_a, bits_b;
    std::memcpy(&bits_a, &a, 4), std::memcpy(&bits_b, &b, 4);
    differ |= bits_a ^ bits_b;
  }
  return differ == 0;
}

// Counts in 16 bits, as wide as the samples, so that vectors hold as many; hence no more than 32767 samples at a time.
PHYSIOCLR_FLAT void scan_run(const int16_t* x, int64_t n, int16_t zero, WfdbRow& row) {
  uint16_t above = 65535;  // the smallest sample above -32767; a missing one wraps round to 65535
  int16_t high = kWfdbMissing, missing = 0, zeros = 0;
  for (int64_t i = 0; i < n; ++i) {
    above = std::min(above, static_cast<uint16_t>(x[i] + 32767));
    high = std::max(high, x[i]);
    missing = static_cast<int16_t>(missing + (x[i] == kWfdbMissing));
    zeros = static_cast<int16_t>(zeros + (x[i] == zero));
  }
  row.low = std::min<int64_t>(row.low, static_cast<int64_t>(above) - 32767);
  row.high = std::max<int64_t>(row.high, high);
  row.missing += missing;
  row.zeros += zeros;
}

}  // namespace

const WfdbKernels PHYSIOCLR_ISA::wfdb_kernels{
    decode_80,       decode_212,    gather_words, gather_bytes, words_by_doubles, bytes_by_doubles, words_by_floats,
    bytes_by_floats, equal_for_all, scan_run,     kFma};

}  // namespace physioclr::cpu
