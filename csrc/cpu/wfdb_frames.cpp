// Blocks of frames that stay in the first cache are decoded to int16, then every signal gathers its own, and converts
// it to mV there where mV are wanted.
#include "cpu/wfdb_frames.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "core/macros.h"
#include "cpu/wfdb_units.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kBlock = 4096;   // samples
constexpr int64_t kPiece = 98304;  // bytes read at a time: less than malloc asks the system for anew
constexpr int16_t kMissing = kWfdbMissing;

PHYSIOCLR_SIMD void decode_80(const uint8_t* raw, int64_t n, int16_t* x) {
  for (int64_t i = 0; i < n; ++i) x[i] = raw[i] ? static_cast<int16_t>(raw[i] - kWfdb80Zero) : kMissing;
}

inline int16_t sample_of_12_bits(int bits) {
  const auto x = static_cast<int16_t>(static_cast<uint16_t>(bits << 4));  // the sign bit of 12 where that of 16 is
  return x == kMissing ? kMissing : static_cast<int16_t>(x >> 4);         // -2048 << 4 is -32768
}

#if defined(__GNUC__) && !defined(__clang__)
typedef uint8_t Half __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(32)));
typedef int16_t Words __attribute__((vector_size(32)));
typedef int64_t Quarters __attribute__((vector_size(32)));

// 16 bytes from raw on and 16 from raw + 12 on, put together in registers: by way of memory the load would wait.
inline Bytes halves_of_212(const uint8_t* raw) {
#if __GNUC__ >= 12
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

// Sixteen samples of the first 24 bytes at raw, of which 28 are read; a half has twelve bytes and eight samples, so
// that no byte crosses over.
inline void sixteen_of_212(const uint8_t* raw, int16_t* x) {
  const Bytes order{
      0,  1,  2,  1,  3,  4,  5,  4,  6,  7,  8,  7,  9,  10, 11, 10,  // of odd samples the high byte last
      16, 17, 18, 17, 19, 20, 21, 20, 22, 23, 24, 23, 25, 26, 27, 26};
  const Words even{-1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0};
  const Words odd{0, -4096, 0, -4096, 0, -4096, 0, -4096, 0, -4096, 0, -4096, 0, -4096, 0, -4096};
  const Words w = reinterpret_cast<Words>(__builtin_shuffle(halves_of_212(raw), order)), up = w << 4;
  const Words v = (up & even) | (w & odd), missing = v == kMissing;
  const Words y = ((v >> 4) & ~missing) | (missing & kMissing);
  std::memcpy(x, &y, 32);
}
#endif

// Three bytes hold two samples: the middle one the upper 4 bits of both, those of the first in its lower half.
PHYSIOCLR_SIMD void decode_212(const uint8_t* raw, int64_t n, int16_t* x) {
  int64_t i = 0;
#if defined(__GNUC__) && !defined(__clang__)
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

PHYSIOCLR_SIMD void gather(const int16_t* x, int64_t frame, int64_t frames, int64_t count, int16_t* out) {
  gather_samples(x, frame, frames, count, out);
}
PHYSIOCLR_SIMD void gather(const uint8_t* x, int64_t frame, int64_t frames, int64_t count, uint8_t* out) {
  gather_samples(x, frame, frames, count, out);
}

// A column of a block: where it lies, if it is all there is, or what scratch holds then.
template <class T>
const T* column_of(const T* x, int64_t frame, int64_t frames, int64_t count, std::vector<T>& scratch) {
  if (count == frame) return x;
  gather(x, frame, frames, count, scratch.data());
  return scratch.data();
}

// 0; the number of bytes that are not there; or -errno.
int64_t read_at(int file, uint8_t* raw, int64_t n, int64_t offset) {
  while (n > 0) {
    const ssize_t got = pread(file, raw, static_cast<size_t>(n), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) return n;
    raw += got, offset += got, n -= got;
  }
  return 0;
}

int64_t bytes_of(WfdbFormat format, int64_t n) {
  switch (format) {
    case WfdbFormat::k80: return n;
    case WfdbFormat::k212: return (3 * n + 1) / 2;
    case WfdbFormat::k16: break;
  }
  return 2 * n;
}

int highest(WfdbFormat format) {
  switch (format) {
    case WfdbFormat::k80: return 127;
    case WfdbFormat::k212: return 2047;
    case WfdbFormat::k16: break;
  }
  return 32767;
}

// How to convert each column; nothing where samples are wanted.
std::vector<WfdbUnits> conversions(WfdbFormat format, int64_t frames, const WfdbColumn* columns, int64_t n_columns,
                                   const WfdbOut& out) {
  std::vector<WfdbUnits> units;
  if (!out.mv) return units;
  const auto alike = [&](int64_t a, int64_t b) {
    return out.baseline[a] == out.baseline[b] && out.scale[a] == out.scale[b];
  };
  for (int64_t c = 0, end = 0; c < n_columns; c = end) {
    int64_t n = 0;
    for (end = c; end < n_columns && (end == c || alike(c, end)); ++end) n += columns[end].count * frames;
    units.insert(units.end(), static_cast<size_t>(end - c),
                 WfdbUnits(out.baseline[c], out.scale[c], highest(format), n));
  }
  return units;
}

void decode_frames(const uint8_t* raw, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                   int64_t n_columns, const WfdbOut& out, const WfdbUnits* units, int64_t first, int64_t total) {
  const int64_t step = std::max<int64_t>(kBlock / frame & ~int64_t{1}, 2);  // even: a block of 212 begins with a byte
  const auto most = static_cast<size_t>(std::min(step, frames) * frame);
  const bool bytes = format == WfdbFormat::k80;  // samples of one byte are gathered as such
  std::vector<int16_t> block(format == WfdbFormat::k212 ? most : 0), column(!bytes && out.mv ? most : 0);
  std::vector<uint8_t> column_bytes(bytes ? most : 0);
  for (int64_t f0 = 0; f0 < frames; f0 += step) {
    const int64_t nf = std::min(step, frames - f0), sample = f0 * frame;
    const int16_t* x = reinterpret_cast<const int16_t*>(raw) + sample;
    if (format == WfdbFormat::k212) {
      decode_212(raw + sample / 2 * 3, nf * frame, block.data());
      x = block.data();
    }
    int64_t to = 0;
    for (int64_t c = 0; c < n_columns; ++c) {
      const auto [start, count] = columns[c];
      const int64_t at = to + (first + f0) * count, n = nf * count;
      if (bytes) {
        const uint8_t* own = column_of(raw + sample + start, frame, nf, count, column_bytes);
        if (out.mv) units[c].convert(own, n, out.mv + at);
        else decode_80(own, n, out.samples + at);
      } else if (out.mv) {
        units[c].convert(column_of(x + start, frame, nf, count, column), n, out.mv + at);
      } else {
        gather(x + start, frame, nf, count, out.samples + at);
      }
      to += count * total;
    }
  }
}

}  // namespace

int64_t wfdb_read(int file, int64_t offset, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                  int64_t n_columns, const WfdbOut& out, int64_t first, int64_t total) {
  const int64_t step = std::max<int64_t>(kPiece / bytes_of(format, 2 * frame) * 2, 2);  // even, as in decode_frames
  const std::unique_ptr<uint8_t[]> raw(new uint8_t[bytes_of(format, std::min(step, frames) * frame)]);
  const auto units = conversions(format, frames, columns, n_columns, out);
  for (int64_t f0 = 0; f0 < frames; f0 += step) {
    const int64_t nf = std::min(step, frames - f0);
    const int64_t failed =
        read_at(file, raw.get(), bytes_of(format, nf * frame), offset + bytes_of(format, f0 * frame));
    if (failed) return failed;
    decode_frames(raw.get(), format, frame, nf, columns, n_columns, out, units.data(), first + f0, total);
  }
  return 0;
}

void wfdb_frames(const uint8_t* raw, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                 int64_t n_columns, const WfdbOut& out, int64_t first, int64_t total) {
  const auto units = conversions(format, frames, columns, n_columns, out);
  decode_frames(raw, format, frame, frames, columns, n_columns, out, units.data(), first, total);
}

}  // namespace physioclr::cpu
