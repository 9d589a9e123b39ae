// Blocks of frames that stay in the first cache are decoded to int16, then every signal gathers its own, and converts
// it to mV there where mV are wanted.
#include "cpu/wfdb_frames.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu/wfdb_samples.h"
#include "cpu/wfdb_units.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kBlock = 4096;   // samples
constexpr int64_t kPiece = 98304;  // bytes read at a time: less than malloc asks the system for anew

void gather(const int16_t* x, int64_t frame, int64_t frames, int64_t count, int16_t* out) {
  wfdb_kernels().gather_words(x, frame, frames, count, out);
}
void gather(const uint8_t* x, int64_t frame, int64_t frames, int64_t count, uint8_t* out) {
  wfdb_kernels().gather_bytes(x, frame, frames, count, out);
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
      wfdb_kernels().decode_212(raw + sample / 2 * 3, nf * frame, block.data());
      x = block.data();
    }
    int64_t to = 0;
    for (int64_t c = 0; c < n_columns; ++c) {
      const auto [start, count] = columns[c];
      const int64_t at = to + (first + f0) * count, n = nf * count;
      if (bytes) {
        const uint8_t* own = column_of(raw + sample + start, frame, nf, count, column_bytes);
        if (out.mv) units[c].convert(own, n, out.mv + at);
        else wfdb_kernels().decode_80(own, n, out.samples + at);
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
