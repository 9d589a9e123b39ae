#pragma once
// Rows of a matrix as the panels that gemm.h multiplies, and the memory for them.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/macros.h"
#include "cpu/gemm.h"

namespace physioclr::cpu {

// A large buffer is its own mapping: the heap would keep its pages after it, beside those of the next.
constexpr int64_t kMappedBytes = int64_t{4} << 20;

template <class T>
struct AlignedBuffer {  // aligned for whole-vector loads, not initialised
  struct Free {
    int64_t bytes;
    void operator()(T* p) const {
#if defined(__linux__)
      if (bytes >= kMappedBytes) {
        ::munmap(p, bytes);
        return;
      }
#endif
      ::operator delete(p, std::align_val_t{64});
    }
  };
  std::unique_ptr<T, Free> p;
  explicit AlignedBuffer(int64_t n) : AlignedBuffer(std::max<int64_t>(n, 1) * sizeof(T), 0) {}
  T* get() const { return p.get(); }

 private:
  AlignedBuffer(int64_t bytes, int) : p(make(bytes), Free{bytes}) {}
  static T* make(int64_t bytes) {
#if defined(__linux__)
    if (bytes >= kMappedBytes) {
      void* const x = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (x == MAP_FAILED) throw std::bad_alloc();
      ::madvise(x, bytes, MADV_HUGEPAGE);  // a wish: fewer page faults
      return static_cast<T*>(x);
    }
#endif
    return static_cast<T*>(::operator new(bytes, std::align_val_t{64}));
  }
};

inline int64_t padded(int64_t n) { return (n + kPanel - 1) / kPanel * kPanel; }

template <class T>
double squared_norm(const T* x, int64_t n) {
  double ss, same;
  dot(x, x, n, &same, &ss);
  return ss;
}

template <class T>
double inverse_norm(const T* x, int64_t n) {  // 0 for a zero row
  const double ss = squared_norm(x, n);
  return ss > 0 || std::isnan(ss) ? 1.0 / std::sqrt(ss) : 0.0;
}

template <class T>
bool all_finite(const T* x, int64_t n) {
  return std::all_of(x, x + n, [](T v) { return std::isfinite(v); });
}

}  // namespace physioclr::cpu
