// Coverage-guided fuzzing (libFuzzer) of what reads the bytes of a signal file: decoding in memory and from a file, the
// scan and the scaling, each against its definition, one sample after the other.
//   fuzz_samples -runs=1000000 -max_len=200 WORK tests/fuzz/corpus/samples
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cpu/wfdb_frames.h"
#include "cpu/wfdb_units.h"

using namespace physioclr;

namespace {

constexpr int16_t kMissing = -32768;

void must(bool good) {
  if (!good) std::abort();
}

cpu::WfdbOut as_samples(std::vector<int16_t>& x) { return {x.data(), nullptr, nullptr, nullptr}; }

// The input, from its beginning; zeros after its end.
struct Bytes {
  const uint8_t* at;
  size_t left;
  int64_t next(int64_t low, int64_t high) {
    const uint8_t byte = left ? *at : 0;
    if (left) ++at, --left;
    return low + byte % (high - low + 1);
  }
};

// signal(5): sample k of the bytes.
int16_t sample(const uint8_t* raw, WfdbFormat format, int64_t k) {
  if (format == WfdbFormat::k16) return static_cast<int16_t>(raw[2 * k] | raw[2 * k + 1] << 8);
  if (format == WfdbFormat::k80) return raw[k] ? static_cast<int16_t>(raw[k] - 128) : kMissing;
  const uint8_t* p = raw + k / 2 * 3;
  int bits = k % 2 ? p[2] + 256 * (p[1] / 16) : p[0] + 256 * (p[1] % 16);
  if (bits >= 2048) bits -= 4096;
  return bits == -2048 ? kMissing : static_cast<int16_t>(bits);
}

int64_t bytes_of(WfdbFormat format, int64_t n) {
  return format == WfdbFormat::k16 ? 2 * n : format == WfdbFormat::k80 ? n : (3 * n + 1) / 2;
}

void rows_of(const std::vector<int16_t>& x, int64_t rows, Bytes in) {
  const int64_t n = static_cast<int64_t>(x.size()) / rows;
  std::vector<int64_t> zero;
  std::vector<double> baseline, scale;
  for (int64_t r = 0; r < rows; ++r) {
    zero.push_back(in.next(-128, 127) * 300), baseline.push_back(static_cast<double>(zero.back()) / 7);
    scale.push_back(std::ldexp(1.0, static_cast<int>(in.next(-20, 20))));
  }
  std::vector<cpu::WfdbRow> found(static_cast<size_t>(rows));
  std::vector<float> mv(static_cast<size_t>(rows * n));
  cpu::wfdb_scan(x.data(), rows, n, zero.data(), found.data());
  cpu::wfdb_millivolts(x.data(), rows, n, baseline.data(), scale.data(), mv.data());
  for (int64_t r = 0; r < rows; ++r) {
    cpu::WfdbRow want{32767, -32768, 0, 0};
    for (int64_t i = 0; i < n; ++i) {
      const int16_t v = x[r * n + i];
      const float y = mv[r * n + i];
      if (v == kMissing) ++want.missing;
      else want.low = v < want.low ? v : want.low, want.high = v > want.high ? v : want.high;
      want.zeros += v == zero[r] && v != kMissing;
      must(v == kMissing ? std::isnan(y) : y == static_cast<float>((v - baseline[r]) * scale[r]));
    }
    const auto& got = found[static_cast<size_t>(r)];
    must(got.low == want.low && got.high == want.high && got.missing == want.missing && got.zeros == want.zeros);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int file = fileno(std::tmpfile());
  Bytes in{data, size};
  const WfdbFormat formats[] = {WfdbFormat::k16, WfdbFormat::k80, WfdbFormat::k212};
  const WfdbFormat format = formats[in.next(0, 2)];
  std::vector<WfdbColumn> columns;
  int64_t frame = 0;
  const int64_t n_columns = in.next(1, 14), offset = in.next(0, 40), cut = in.next(0, 9), before = in.next(0, 3),
                after = in.next(0, 3);
  for (int64_t c = 0; c < n_columns; ++c) {
    const int64_t count = in.next(0, 9) ? 1 : in.next(1, 9);
    if (in.next(0, 5)) columns.push_back({frame, count});
    frame += count;
  }
  // As many frames as the bytes hold; some more by their repetition, as a file is read by pieces.
  std::vector<uint8_t> raw(in.at, in.at + in.left);
  for (int64_t times = in.next(0, 40) == 0 ? 40 : 0; times > 0; --times) raw.insert(raw.end(), in.at, in.at + in.left);
  const int64_t bytes = static_cast<int64_t>(raw.size());
  int64_t frames = (format == WfdbFormat::k16 ? bytes / 2 : format == WfdbFormat::k80 ? bytes : bytes * 2 / 3) / frame;
  while (frames > 0 && bytes_of(format, frames * frame) > bytes) --frames;
  raw.resize(static_cast<size_t>(bytes_of(format, frames * frame)));
  raw.shrink_to_fit();
  const int64_t first = format == WfdbFormat::k212 ? 2 * before : before, total = first + frames + after;
  int64_t length = 0;
  for (const auto& column : columns) length += column.count * total;
  std::vector<int16_t> out(static_cast<size_t>(length), 77), again(out), want(out);
  int16_t* to = want.data();
  for (const auto& [start, count] : columns) {
    for (int64_t f = 0; f < frames; ++f)
      for (int64_t k = 0; k < count; ++k)
        to[(first + f) * count + k] = sample(raw.data(), format, f * frame + start + k);
    to += count * total;
  }
  const auto n = static_cast<int64_t>(columns.size());
  cpu::wfdb_frames(raw.data(), format, frame, frames, columns.data(), n, as_samples(out), first, total);
  must(out == want);

  const int64_t kept = cut < static_cast<int64_t>(raw.size()) ? static_cast<int64_t>(raw.size()) - cut : 0;
  must(ftruncate(file, 0) == 0 && pwrite(file, raw.data(), static_cast<size_t>(kept), offset) == kept);
  const int64_t rest =
      cpu::wfdb_read(file, offset, format, frame, frames, columns.data(), n, as_samples(again), first, total);
  must(rest == static_cast<int64_t>(raw.size()) - kept && (rest || again == want));
  rows_of(out, in.next(1, 4), in);
  return 0;
}
