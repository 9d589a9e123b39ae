// Blocks of frames that stay in the first cache are decoded to int16, then every signal gathers its own.
#include "cpu/wfdb_frames.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "core/macros.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kBlock = 4096;   // samples
constexpr int64_t kPiece = 49152;  // samples read at a time: less than malloc asks the system for anew
constexpr int16_t kMissing = -32768;

PHYSIOCLR_SIMD void decode_80(const uint8_t* raw, int64_t n, int16_t* x) {
  for (int64_t i = 0; i < n; ++i) x[i] = raw[i] ? static_cast<int16_t>(raw[i] - 128) : kMissing;
}

inline int16_t sample_of_12_bits(int bits) {
  const auto x = static_cast<int16_t>(static_cast<uint16_t>(bits << 4));  // the sign bit of 12 where that of 16 is
  return x == kMissing ? kMissing : static_cast<int16_t>(x >> 4);         // -2048 << 4 is -32768
}

#if defined(__GNUC__) && !defined(__clang__)
typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef int16_t Words __attribute__((vector_size(16)));

// Eight samples of the first twelve bytes at raw, of which sixteen are read.
inline void eight_of_212(const uint8_t* raw, int16_t* x) {
  Bytes b;
  std::memcpy(&b, raw, 16);
  b = __builtin_shuffle(b, Bytes{0, 1, 2, 1, 3, 4, 5, 4, 6, 7, 8, 7, 9, 10, 11, 10});  // odd samples: high byte last
  const Words w = reinterpret_cast<Words>(b), up = w << 4;
  const Words even{-1, 0xFF0, -1, 0xFF0, -1, 0xFF0, -1, 0xFF0}, odd{0, -4096, 0, -4096, 0, -4096, 0, -4096};
  const Words v = (up & even) | (w & odd), missing = v == kMissing;
  const Words y = ((v >> 4) & ~missing) | (missing & kMissing);
  std::memcpy(x, &y, 16);
}
#endif

// Three bytes hold two samples: the middle one the upper 4 bits of both, those of the first in its lower half.
PHYSIOCLR_SIMD void decode_212(const uint8_t* raw, int64_t n, int16_t* x) {
  int64_t i = 0;
#if defined(__GNUC__) && !defined(__clang__)
  for (; i + 12 <= n; i += 8) eight_of_212(raw + i / 2 * 3, x + i);
#endif
  for (; i < n; i += 2) {
    const uint8_t* p = raw + i / 2 * 3;
    x[i] = sample_of_12_bits(p[0] | p[1] << 8);
    if (i + 1 < n) x[i + 1] = sample_of_12_bits((p[1] << 4 & 0xF00) | p[2]);
  }
}

template <int64_t kCount>
inline void gather_runs(const int16_t* x, int64_t frame, int64_t frames, int16_t* out) {
  for (int64_t f = 0; f < frames; ++f) std::memcpy(out + f * kCount, x + f * frame, kCount * sizeof(int16_t));
}

template <int64_t kFrame>
inline void gather_every(const int16_t* x, int64_t frames, int16_t* out) {
  for (int64_t f = 0; f < frames; ++f) out[f] = x[f * kFrame];
}

PHYSIOCLR_SIMD void gather(const int16_t* x, int64_t frame, int64_t frames, int64_t count, int16_t* out) {
  if (count == frame) {
    std::memcpy(out, x, static_cast<size_t>(frames * frame) * sizeof(int16_t));
  } else if (count == 1) {
    switch (frame) {  // with a stride that is known the compiler shuffles vectors
      case 2: return gather_every<2>(x, frames, out);
      case 3: return gather_every<3>(x, frames, out);
      case 4: return gather_every<4>(x, frames, out);
      case 8: return gather_every<8>(x, frames, out);
      case 12: return gather_every<12>(x, frames, out);
    }
    for (int64_t f = 0; f < frames; ++f) out[f] = x[f * frame];
  } else {
    switch (count) {
      case 2: return gather_runs<2>(x, frame, frames, out);
      case 4: return gather_runs<4>(x, frame, frames, out);
      case 8: return gather_runs<8>(x, frame, frames, out);
    }
    for (int64_t f = 0; f < frames; ++f)
      std::memcpy(out + f * count, x + f * frame, static_cast<size_t>(count) * sizeof(int16_t));
  }
}

PHYSIOCLR_SIMD void millivolts_of(const int16_t* x, int64_t n, double baseline, double scale, float* mv) {
  for (int64_t i = 0; i < n; ++i) {
    const double y = (x[i] - baseline) * scale;
    mv[i] = x[i] == kMissing ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(y);
  }
}

// Counts in 16 bits, as wide as the samples, so that vectors hold as many; hence no more than 32767 samples at a time.
PHYSIOCLR_SIMD void scan_run(const int16_t* x, int64_t n, int16_t zero, WfdbRow& row) {
  uint16_t above = 65535;  // the smallest sample above -32767; a missing one wraps round to 65535
  int16_t high = kMissing, missing = 0, zeros = 0;
  for (int64_t i = 0; i < n; ++i) {
    above = std::min(above, static_cast<uint16_t>(x[i] + 32767));
    high = std::max(high, x[i]);
    missing = static_cast<int16_t>(missing + (x[i] == kMissing));
    zeros = static_cast<int16_t>(zeros + (x[i] == zero));
  }
  row.low = std::min<int64_t>(row.low, static_cast<int64_t>(above) - 32767);
  row.high = std::max<int64_t>(row.high, high);
  row.missing += missing;
  row.zeros += zeros;
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

}  // namespace

int64_t wfdb_read(int file, int64_t offset, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                  int64_t n_columns, int16_t* out, int64_t first, int64_t total) {
  const int64_t step = std::max<int64_t>(kPiece / frame & ~int64_t{1}, 2);  // even, as in wfdb_frames
  const std::unique_ptr<uint8_t[]> raw(new uint8_t[bytes_of(format, std::min(step, frames) * frame)]);
  for (int64_t f0 = 0; f0 < frames; f0 += step) {
    const int64_t nf = std::min(step, frames - f0);
    const int64_t failed =
        read_at(file, raw.get(), bytes_of(format, nf * frame), offset + bytes_of(format, f0 * frame));
    if (failed) return failed;
    wfdb_frames(raw.get(), format, frame, nf, columns, n_columns, out, first + f0, total);
  }
  return 0;
}

void wfdb_scan(const int16_t* x, int64_t rows, int64_t n, const int64_t* zero, WfdbRow* out) {
  for (int64_t r = 0; r < rows; ++r, x += n) {
    out[r] = {32767, kMissing, 0, 0};
    const bool fits = zero[r] > kMissing && zero[r] <= 32767;
    for (int64_t i = 0; i < n; i += 32767)
      scan_run(x + i, std::min<int64_t>(n - i, 32767), static_cast<int16_t>(fits ? zero[r] : 0), out[r]);
    if (!fits) out[r].zeros = 0;
  }
}

void wfdb_frames(const uint8_t* raw, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                 int64_t n_columns, int16_t* out, int64_t first, int64_t total) {
  const int64_t step = std::max<int64_t>(kBlock / frame & ~int64_t{1}, 2);  // even: a block of 212 begins with a byte
  std::vector<int16_t> block(format == WfdbFormat::k16 ? 0 : static_cast<size_t>(std::min(step, frames) * frame));
  for (int64_t f0 = 0; f0 < frames; f0 += step) {
    const int64_t nf = std::min(step, frames - f0), n = nf * frame, sample = f0 * frame;
    const int16_t* x = block.data();
    switch (format) {
      case WfdbFormat::k16: x = reinterpret_cast<const int16_t*>(raw) + sample; break;
      case WfdbFormat::k80: decode_80(raw + sample, n, block.data()); break;
      case WfdbFormat::k212: decode_212(raw + sample / 2 * 3, n, block.data()); break;
    }
    int16_t* to = out;
    for (int64_t c = 0; c < n_columns; ++c) {
      const auto [start, count] = columns[c];
      gather(x + start, frame, nf, count, to + (first + f0) * count);
      to += count * total;
    }
  }
}

void wfdb_millivolts(const int16_t* x, int64_t rows, int64_t n, const double* baseline, const double* scale,
                     float* mv) {
  for (int64_t r = 0; r < rows; ++r) millivolts_of(x + r * n, n, baseline[r], scale[r], mv + r * n);
}

}  // namespace physioclr::cpu
