// Register-blocked products. One body, instantiated with the register shape of each instruction set: MR rows by NV
// vectors of W bytes are kept as sums, so each vector of b that is loaded serves MR rows. target_clones would compile
// one shape for all, and 8 x 2 AVX-512 registers spill on AVX2; hence the table below.
#include "cpu/gemm.h"

#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(PHYSIOCLR_NO_CLONES)
#define PHYSIOCLR_GEMM_X86 1
#endif
#define PHYSIOCLR_INLINE inline __attribute__((always_inline))

namespace physioclr::cpu {
namespace {

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
using Kernel = void (*)(const Args<T>&);

#if PHYSIOCLR_GEMM_X86
bool has_v4() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
}
#define PHYSIOCLR_SHAPES(T)                                                                            \
  void panel_base(const Args<T>& g) { panel<T, 4, 2, 16>(g); }                                         \
  __attribute__((target("arch=x86-64-v3"))) void panel_v3(const Args<T>& g) { panel<T, 4, 2, 32>(g); } \
  __attribute__((target("arch=x86-64-v4"))) void panel_v4(const Args<T>& g) { panel<T, 8, 2, 64>(g); } \
  Kernel<T> choose(T) {                                                                                \
    if (has_v4()) return panel_v4;                                                                     \
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return panel_v3;              \
    return panel_base;                                                                                 \
  }
#else
#define PHYSIOCLR_SHAPES(T)                                    \
  void panel_base(const Args<T>& g) { panel<T, 4, 2, 16>(g); } \
  Kernel<T> choose(T) { return panel_base; }
#endif
PHYSIOCLR_SHAPES(float)
PHYSIOCLR_SHAPES(double)

template <class T>
void run(const Args<T>& g) {
  static const Kernel<T> kernel = choose(T{});
  kernel(g);
}

template <class T>
void panels(const T* a, const T* b, int64_t k, int64_t ni, int64_t nj, T* c, int64_t ldc, const Ahead& ahead) {
  int64_t fetched = 0;
  for (int64_t j = 0; j < nj; j += kPanel)
    for (int64_t i = 0; i < ni; i += kPanel, fetched += fetched_ahead<T>(k))
      run(Args<T>{a + i * k, 1, kPanel, b + j * k, k, kPanel, c + i * ldc + j, ldc, false, ahead.at(fetched)});
}

}  // namespace

void gemm_panels(const float* a, const float* b, int64_t k, int64_t ni, int64_t nj, float* c, int64_t ldc,
                 const Ahead& ahead) {
  panels(a, b, k, ni, nj, c, ldc, ahead);
}
void gemm_panels(const double* a, const double* b, int64_t k, int64_t ni, int64_t nj, double* c, int64_t ldc,
                 const Ahead& ahead) {
  panels(a, b, k, ni, nj, c, ldc, ahead);
}
void gemm_add(const float* a, int64_t rs, int64_t ks, const float* b, int64_t k, int64_t ni, float* c, int64_t ldc,
              const char* ahead) {
  run(Args<float>{a, rs, ks, b, k, ni, c, ldc, true, ahead});
}
void gemm_add(const double* a, int64_t rs, int64_t ks, const double* b, int64_t k, int64_t ni, double* c, int64_t ldc,
              const char* ahead) {
  run(Args<double>{a, rs, ks, b, k, ni, c, ldc, true, ahead});
}

}  // namespace physioclr::cpu
