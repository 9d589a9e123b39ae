#pragma once
// The loops over samples of WFDB records, for each instruction set.
#include <cstdint>

#include "cpu/isa.h"
#include "cpu/wfdb_units.h"

namespace physioclr::cpu {

struct WfdbKernels {  // hot/wfdb_samples.cpp
  void (*decode_80)(const uint8_t* raw, int64_t n, int16_t* x);
  // Three bytes hold two samples: the middle one the upper 4 bits of both, those of the first in its lower half.
  void (*decode_212)(const uint8_t* raw, int64_t n, int16_t* x);
  // The first `count` samples of each of the frames, which have `frame`.
  void (*gather_words)(const int16_t* x, int64_t frame, int64_t frames, int64_t count, int16_t* out);
  void (*gather_bytes)(const uint8_t* x, int64_t frame, int64_t frames, int64_t count, uint8_t* out);
  // See WfdbUnits: in double precision, and in two floats; whether both give the same bits for every sample value.
  void (*words_by_doubles)(const int16_t* x, int64_t n, double baseline, double scale, float* mv);
  void (*bytes_by_doubles)(const uint8_t* x, int64_t n, double baseline, double scale, float* mv);
  void (*words_by_floats)(const int16_t* x, int64_t n, double baseline, double scale, float* mv);
  void (*bytes_by_floats)(const uint8_t* x, int64_t n, double baseline, double scale, float* mv);
  bool (*equal_for_all)(double baseline, double scale, int32_t highest);
  // Takes n <= 32767 samples into the row.
  void (*scan)(const int16_t* x, int64_t n, int16_t zero, WfdbRow& row);
  bool fma;  // has an instruction for it: without, std::fma is right but takes as long as twenty doubles
};
PHYSIOCLR_KERNELS(WfdbKernels, wfdb_kernels)

}  // namespace physioclr::cpu
