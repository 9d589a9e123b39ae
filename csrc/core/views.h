#pragma once
// Borrowed views: an address and a shape. They never own and never allocate. All are C-contiguous.
#include <cstdint>

namespace physioclr {

template <class T>
struct Vector {
  T* data;
  int64_t size;
};

template <class T>
struct Matrix {  // (rows, cols)
  T* data;
  int64_t rows, cols;
  T* row(int64_t r) const { return data + r * cols; }
};

template <class T>
struct Cube {  // (records, leads, samples)
  T* data;
  int64_t records, leads, samples;
  T* lead(int64_t b, int64_t l) const { return data + (b * leads + l) * samples; }
};

}  // namespace physioclr
