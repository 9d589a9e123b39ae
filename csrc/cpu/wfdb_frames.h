#pragma once
// Sample values out of the frames of a WFDB signal file: the reader's inner loop. It has no CUDA twin: files are read
// by the CPU. The formats are defined in signal(5) of the WFDB Applications Guide.
#include <cstdint>

namespace physioclr {

enum class WfdbFormat : int32_t { k16 = 16, k80 = 80, k212 = 212 };

// The samples [start, start + count) of every frame.
struct WfdbColumn {
  int64_t start, count;
};

namespace cpu {

// Where the columns go, one after another, count * total numbers each: as samples, -32768 where one is missing whatever
// the format's own code; or, where samples is null, as mV, of which wfdb_units.h says how they come about.
struct WfdbOut {
  int16_t* samples;
  float* mv;
  const double *baseline, *scale;  // of each column
};

// raw: `frames` frames of `frame` samples each, aligned to 2 bytes; for format 212 as many bytes as hold them. They are
// the frames from `first` on, of `total`.
void wfdb_frames(const uint8_t* raw, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                 int64_t n_columns, const WfdbOut& out, int64_t first, int64_t total);

// The same of an open file, from `offset` on, a piece at a time that stays in the cache. Returns 0; the number of bytes
// that the file has too few; or -errno.
int64_t wfdb_read(int file, int64_t offset, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                  int64_t n_columns, const WfdbOut& out, int64_t first, int64_t total);

}  // namespace cpu
}  // namespace physioclr
