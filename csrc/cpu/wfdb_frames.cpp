// Blocks of frames that stay in the first cache are decoded to int16, then every signal gathers its own.
#include "cpu/wfdb_frames.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/macros.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kBlock = 4096;  // samples
constexpr int16_t kMissing = -32768;

PHYSIOCLR_SIMD void decode_80(const uint8_t* raw, int64_t n, int16_t* x) {
  for (int64_t i = 0; i < n; ++i) x[i] = raw[i] ? static_cast<int16_t>(raw[i] - 128) : kMissing;
}

inline int16_t sample_of_12_bits(uint32_t bits) {
  const auto x = static_cast<int16_t>(static_cast<uint16_t>(bits << 4));  // the sign bit of 12 where that of 16 is
  return x == kMissing ? kMissing : static_cast<int16_t>(x >> 4);         // -2048 << 4 is -32768
}

// Three bytes hold two samples: the middle one the upper 4 bits of both, those of the first in its lower half.
PHYSIOCLR_SIMD void decode_212(const uint8_t* raw, int64_t n, int16_t* x) {
  const int64_t pairs = n / 2;
  int64_t i = 0;
  for (; i + 1 < pairs; ++i) {  // four bytes at once: not for the last pair, behind which nothing need be
    uint32_t w;
    std::memcpy(&w, raw + 3 * i, 4);
    x[2 * i] = sample_of_12_bits(w);
    x[2 * i + 1] = sample_of_12_bits((w >> 4 & 0xF00) | (w >> 16 & 0xFF));
  }
  for (; 2 * i < n; ++i) {
    const uint8_t* p = raw + 3 * i;
    x[2 * i] = sample_of_12_bits(p[0] | p[1] << 8);
    if (2 * i + 1 < n) x[2 * i + 1] = sample_of_12_bits((p[1] << 4 & 0xF00) | p[2]);
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

}  // namespace

void wfdb_frames(const uint8_t* raw, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                 int64_t n_columns, int16_t* out) {
  const int64_t step = std::max<int64_t>(kBlock / frame & ~int64_t{1}, 2);  // even: a block of 212 begins with a byte
  std::vector<int16_t> block(static_cast<size_t>(std::min(step, frames) * frame));
  for (int64_t f0 = 0; f0 < frames; f0 += step) {
    const int64_t nf = std::min(step, frames - f0), n = nf * frame, first = f0 * frame;
    switch (format) {
      case WfdbFormat::k16: std::memcpy(block.data(), raw + 2 * first, static_cast<size_t>(2 * n)); break;
      case WfdbFormat::k80: decode_80(raw + first, n, block.data()); break;
      case WfdbFormat::k212: decode_212(raw + first / 2 * 3, n, block.data()); break;
    }
    int16_t* to = out;
    for (int64_t c = 0; c < n_columns; ++c) {
      gather(block.data() + columns[c].start, frame, nf, columns[c].count, to + f0 * columns[c].count);
      to += columns[c].count * frames;
    }
  }
}

}  // namespace physioclr::cpu
