#pragma once
// What int16 samples of WFDB records are in mV, and what a row of them looks like.
#include <cstdint>

namespace physioclr::cpu {

constexpr int16_t kWfdbMissing = -32768;
constexpr int kWfdb80Zero = 128;  // of format 80, whose byte 0 is missing

// mV of a sample: (x - baseline) * scale in double precision, rounded to float; NaN for -32768.
//
// A double takes three times as long as a float, most of it to convert. So does a row of many samples: with scale = hi
// + lo, two floats, fma(d, hi, d * lo) is the same float as a rule, and whether it is for every value that a sample may
// have is tried beforehand. Where one value differs, or is not a whole number from the baseline, it is double
// precision.
class WfdbUnits {
 public:
  // highest: no sample's magnitude is above it. n: how many samples will be converted.
  WfdbUnits(double baseline, double scale, int highest, int64_t n);
  void convert(const int16_t* x, int64_t n, float* mv) const;
  void convert(const uint8_t* bytes_of_80, int64_t n, float* mv) const;
  bool in_floats() const { return in_floats_; }

 private:
  double baseline_, scale_;
  bool in_floats_ = false;
};

// The same for each row of n samples.
void wfdb_millivolts(const int16_t* x, int64_t rows, int64_t n, const double* baseline, const double* scale, float* mv);

// What the samples of a row are: the smallest and largest that is not missing (32767, -32768 if all are), how many are
// missing, and how many equal `zero`, one per row (beyond 16 bits: none does).
struct WfdbRow {
  int64_t low, high, missing, zeros;
};
void wfdb_scan(const int16_t* x, int64_t rows, int64_t n, const int64_t* zero, WfdbRow* out);

}  // namespace physioclr::cpu
