// Register-blocked products and dot products. MR rows by NV vectors of W bytes are kept as sums, so each vector of b
// that is loaded serves MR rows; each instruction set has the shape that fits its registers.
#include "cpu/gemm.h"

#include <cstring>

#include "core/macros.h"

namespace physioclr::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kRows = 8, kVectors = 2, kBytes = 64;
#elif defined(__AVX2__)
constexpr int kRows = 4, kVectors = 2, kBytes = 32;
#else
constexpr int kRows = 4, kVectors = 2, kBytes = 16;
#endif

template <class T>
struct Args {
  const T* a;
  int64_t rs, ks;
  const T* b;
  int64_t k, ni;
  T* c;
  int64_t ldc;
  bool add;
  const char* ahead;  // null: nothing to fetch
};

// Loaded and stored by memcpy, one unaligned instruction: clang may take an alias of lesser alignment as aligned.
template <class T, int W>
struct Vec {
  typedef T type __attribute__((vector_size(W)));
};

template <class T, int MR, int NV, int W>
PHYSIOCLR_INLINE void panel(const Args<T>& g) {
  using V = typename Vec<T, W>::type;
  constexpr int kLanes = W / sizeof(T), kCols = NV * kLanes;
  static_assert(kPanel % kCols == 0 && kPanel % MR == 0, "shapes must divide a panel");
  // One line is fetched in this many steps, so that a panel of rows fetches what fetched_ahead says, at any shape.
  constexpr int kSteps = kPanel / kCols * (kPanel / MR) * 4 / static_cast<int>(sizeof(T));
  const char* ahead = g.ahead;
  for (int64_t q = 0; q < kPanel; q += kCols)
    for (int64_t r0 = 0; r0 < g.ni; r0 += MR) {
      V acc[MR][NV] = {};
      const T* a = g.a + r0 * g.rs;
      const T* b = g.b + q;
      T* const c = g.c + r0 * g.ldc + q;
      if (g.add)  // needed when the sums are done; until then there is time to fetch it
#pragma GCC unroll 8
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
          for (int v = 0; v < NV; ++v) __builtin_prefetch(c + r * g.ldc + v * kLanes, 1);
      const auto step = [&]() __attribute__((always_inline)) {
        V x[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) std::memcpy(&x[v], b + v * kLanes, W);
#pragma GCC unroll 8
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
          for (int v = 0; v < NV; ++v) acc[r][v] += a[r * g.rs] * x[v];
        a += g.ks;
        b += kPanel;
      };
      int64_t k = 0;
      if (ahead)
        for (; k + kSteps <= g.k; k += kSteps, ahead += kLine) {
          __builtin_prefetch(ahead, 0, 2);  // into the second level
          for (int e = 0; e < kSteps; ++e) step();
        }
      for (; k < g.k; ++k) step();
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
          T* const out = c + r * g.ldc + v * kLanes;
          if (g.add) {
            V before;
            std::memcpy(&before, out, W);
            acc[r][v] = before + acc[r][v];
          }
          std::memcpy(out, &acc[r][v], W);
        }
    }
}

template <class T>
PHYSIOCLR_FLAT void run(const Args<T>& g) {
  panel<T, kRows, kVectors, kBytes>(g);
}

template <class T>
void panels(const T* a, const T* b, int64_t k, int64_t ni, int64_t nj, T* c, int64_t ldc, const Ahead& ahead) {
  int64_t fetched = 0;
  for (int64_t j = 0; j < nj; j += kPanel)
    for (int64_t i = 0; i < ni; i += kPanel, fetched += fetched_ahead<T>(k))
      run(Args<T>{a + i * k, 1, kPanel, b + j * k, k, kPanel, c + i * ldc + j, ldc, false, ahead.at(fetched)});
}

template <class T>
void add(const T* a, int64_t rs, int64_t ks, const T* b, int64_t k, int64_t ni, T* c, int64_t ldc, const char* ahead) {
  run(Args<T>{a, rs, ks, b, k, ni, c, ldc, true, ahead});
}

template <class T>
PHYSIOCLR_FLAT void dot_of(const T* x, const T* y, int64_t n, double* xy, double* yy) {
  double a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
  for (int64_t k = 0; k < n; ++k) {
    a += static_cast<double>(x[k]) * y[k];
    b += static_cast<double>(y[k]) * y[k];
  }
  *xy = a;
  *yy = b;
}

}  // namespace

const Products PHYSIOCLR_ISA::products{{panels<float>, add<float>, dot_of<float>},
                                       {panels<double>, add<double>, dot_of<double>}};

}  // namespace physioclr::cpu
