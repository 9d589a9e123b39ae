#pragma once
// Tensor cores of sm_80 and newer, one warp at a time: D (16 x 8) += A (16 x 16) B (16 x 8) of 16-bit numbers with
// float32 sums, the loads that bring the fragments into registers, and copies to shared memory in the background.
// With g = lane / 4, q = lane % 4 (PTX ISA, mma.m16n8k16): a[0..3] hold the pairs (g, 2q), (g + 8, 2q), (g, 2q + 8),
// (g + 8, 2q + 8), two along k each; b[0..1] hold (2q, g) and (2q + 8, g), two along k each; c[0..3] are (g, 2q),
// (g, 2q + 1), (g + 8, 2q), (g + 8, 2q + 1). The host's versions (tests/host_sim) follow the same tables.
#include <cstdint>
#include <cstring>

#include "core/elements.h"

namespace physioclr::cuda {

#if defined(__CUDACC__)
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define PHYSIOCLR_TENSOR_CORES 1
#endif

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ __forceinline__ void mma(float* c, const uint32_t* a, const uint32_t* b, BFloat) {
#ifdef PHYSIOCLR_TENSOR_CORES
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
__device__ __forceinline__ void mma(float* c, const uint32_t* a, const uint32_t* b, Half) {
#ifdef PHYSIOCLR_TENSOR_CORES
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
// Four 8 x 8 matrices of 16-bit numbers; lane l gives the address of row l % 8 of matrix l / 8 and receives, of each
// matrix, row g, columns 2q and 2q + 1; with TRANS rows 2q and 2q + 1, column g.
template <bool TRANS>
__device__ __forceinline__ void load_matrices(uint32_t* r, const void* row) {
#ifdef PHYSIOCLR_TENSOR_CORES
  if (TRANS)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}
__device__ __forceinline__ void copy_16(void* to, const void* from) {
#ifdef PHYSIOCLR_TENSOR_CORES
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
#endif
}
__device__ __forceinline__ void wait_for_copies() {
#ifdef PHYSIOCLR_TENSOR_CORES
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}
// Two numbers rounded to 16 bits, the first in the low half.
__device__ __forceinline__ uint32_t pack(float low, float high, BFloat) {
  uint32_t r = 0;
#ifdef PHYSIOCLR_TENSOR_CORES
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
#endif
  return r;
}
__device__ __forceinline__ uint32_t pack(float low, float high, Half) {
  uint32_t r = 0;
#ifdef PHYSIOCLR_TENSOR_CORES
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
#endif
  return r;
}

// Number k of the two.
__device__ __forceinline__ float half_of(uint32_t pair, int k, Half) {
  float x = 0;
#ifdef PHYSIOCLR_TENSOR_CORES
  const uint16_t bits = static_cast<uint16_t>(k ? pair >> 16 : pair);
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
#endif
  return x;
}

#else  // the host, one thread per lane

template <class E>
uint32_t pack(float low, float high, E) {
  E x, y;
  from_compute(low, x);
  from_compute(high, y);
  return static_cast<uint32_t>(x.bits) | static_cast<uint32_t>(y.bits) << 16;
}
template <class E>
float half_of(uint32_t pair, int k, E) {
  return to_compute(E{static_cast<uint16_t>(k ? pair >> 16 : pair)});
}
template <class E>
void mma(float* c, const uint32_t* a, const uint32_t* b, E) {
  static uint32_t exchange[32][32][6];  // by warp and lane
  auto& mine = exchange[hostsim::thread_in_block / 32];
  const unsigned lane = hostsim::lane();
  for (int k = 0; k < 6; ++k) __atomic_store_n(&mine[lane][k], k < 4 ? a[k] : b[k - 4], __ATOMIC_RELAXED);
  hostsim::warp().meet<false>(0xffffffffu, lane);
  for (int e = 0; e < 4; ++e) {
    const unsigned row = lane / 4 + e / 2 * 8, col = lane % 4 * 2 + e % 2;
    float sum = 0;
    for (unsigned k = 0; k < 16; ++k) {
      const uint32_t x = __atomic_load_n(&mine[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], __ATOMIC_RELAXED);
      const uint32_t y = __atomic_load_n(&mine[col * 4 + k % 8 / 2][4 + k / 8], __ATOMIC_RELAXED);
      sum += half_of(x, k % 2, E()) * half_of(y, k % 2, E());
    }
    c[e] += sum;
  }
  hostsim::warp().meet<false>(0xffffffffu, lane);
}
template <bool TRANS>
void load_matrices(uint32_t* r, const void* row) {
  const unsigned lane = hostsim::lane(), g = lane / 4, q = lane % 4;
  hostsim::together(0xffffffffu, reinterpret_cast<uint64_t>(row), [&](hostsim::Warp& w) {
    const auto at = [&](unsigned matrix, unsigned i, unsigned j) {
      return reinterpret_cast<const uint16_t*>(__atomic_load_n(&w.value[matrix * 8 + i], __ATOMIC_RELAXED))[j];
    };
    for (unsigned m = 0; m < 4; ++m)
      r[m] = TRANS ? at(m, 2 * q, g) | static_cast<uint32_t>(at(m, 2 * q + 1, g)) << 16
                   : at(m, g, 2 * q) | static_cast<uint32_t>(at(m, g, 2 * q + 1)) << 16;
    return 0;
  });
}
inline void copy_16(void* to, const void* from) { std::memcpy(to, from, 16); }
inline void wait_for_copies() {}
#endif

}  // namespace physioclr::cuda
