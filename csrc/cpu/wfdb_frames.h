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

// raw: `frames` frames of `frame` samples each, aligned to 2 bytes; for format 212 as many bytes as hold them. They are
// the frames from `first` on, of `total`. out: the columns one after another, count * total samples each. A missing
// sample is -32768, whatever the format's own code.
void wfdb_frames(const uint8_t* raw, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                 int64_t n_columns, int16_t* out, int64_t first, int64_t total);

// The same of an open file, from `offset` on, a piece at a time that stays in the cache. Returns 0; the number of bytes
// that the file has too few; or -errno.
int64_t wfdb_read(int file, int64_t offset, WfdbFormat format, int64_t frame, int64_t frames, const WfdbColumn* columns,
                  int64_t n_columns, int16_t* out, int64_t first, int64_t total);

// What the samples of a row are: the smallest and largest that is not missing (32767, -32768 if all are), how many are
// missing, and how many equal `zero`, one per row (beyond 16 bits: none does).
struct WfdbRow {
  int64_t low, high, missing, zeros;
};
void wfdb_scan(const int16_t* x, int64_t rows, int64_t n, const int64_t* zero, WfdbRow* out);

// (x - baseline) * scale in double precision, for each row of n samples; NaN for -32768.
void wfdb_millivolts(const int16_t* x, int64_t rows, int64_t n, const double* baseline, const double* scale, float* mv);

}  // namespace cpu
}  // namespace physioclr
