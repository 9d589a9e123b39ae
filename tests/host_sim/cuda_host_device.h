#pragma once
// What CUDA kernels may call, for the host: barriers, warp functions, atomics, vector types, a few intrinsics. Add what
// a kernel needs, with the device's semantics, including what it leaves undefined: that ends the test here.
#include <cmath>
#include <type_traits>

#include "host_block.h"

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
inline HOSTSIM_OWN dim3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

#ifdef HOSTSIM_FIBERS
#include <ucontext.h>

#include <functional>
#include <memory>

namespace hostsim {

// Functions that take turns on this thread: each runs until it yields.
class Fibers {
 public:
  Fibers(unsigned n, const std::function<void(unsigned)>& body) : body_(body), fibers_(n) {
    for (unsigned t = 0; t < n; ++t) {
      Fiber& f = fibers_[t];
      f.stack.reset(new char[kStack]);
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = f.stack.get();
      f.context.uc_stack.ss_size = kStack;
      f.context.uc_link = &turn_;
      makecontext(&f.context, reinterpret_cast<void (*)()>(&Fibers::start), 0);
    }
  }
  bool done(unsigned t) const { return fibers_[t].done; }
  void resume(unsigned t) {
    current = this;
    now_ = t;
    swapcontext(&turn_, &fibers_[t].context);
  }
  void leave_turn() {
    const dim3 thread = threadIdx, where = blockIdx;
    const uint32_t number = thread_in_block;
    swapcontext(&fibers_[now_].context, &turn_);
    threadIdx = thread;
    blockIdx = where;
    thread_in_block = number;
  }
  static inline Fibers* current = nullptr;

 private:
  static constexpr size_t kStack = 128 << 10;
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    bool done = false;
  };
  static void start() {
    const unsigned t = current->now_;
    current->body_(t);
    current->fibers_[t].done = progress = true;
  }
  const std::function<void(unsigned)>& body_;
  std::vector<Fiber> fibers_;
  ucontext_t turn_;
  unsigned now_ = 0;
};
inline void yield() { Fibers::current->leave_turn(); }

}  // namespace hostsim
#endif

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
// core/macros.h has the device's form: T* name, of as many bytes as the launch asks for.
#define PHYSIOCLR_DYNAMIC_SHARED(T, name) T* const name = reinterpret_cast<T*>(hostsim::block.shared)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(4) short2 {
  short x, y;
};
struct alignas(8) short4 {
  short x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- barriers ----------------------------------------------------------------------------------------------------

#ifdef PHYSIOCLR_BREAK_BARRIER  // the test of the harness: every barrier gone
inline void __syncthreads() {}
#else
inline void __syncthreads() { hostsim::block.sync(); }
#endif

// How many threads of the block say yes.
inline int __syncthreads_count(int yes) {
  hostsim::Block& b = hostsim::block;
  if (yes) __atomic_fetch_add(&b.votes, 1, __ATOMIC_RELAXED);
  b.sync();
  const int n = static_cast<int>(__atomic_load_n(&b.votes, __ATOMIC_RELAXED));
  b.sync();
  if (yes) __atomic_fetch_sub(&b.votes, 1, __ATOMIC_RELAXED);
  return n;
}
inline int __syncthreads_or(int yes) { return __syncthreads_count(yes) > 0; }
inline int __syncthreads_and(int yes) { return __syncthreads_count(!yes) == 0; }

// One block runs after the other, each ordered after the one before: there is nobody to fence against. (Only a kernel
// whose last block reads what the others wrote needs a fence; whether it has one, this harness cannot tell.)
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- warps: lanes 32 k to 32 k + 31 of the block, threads counted x first ------------------------------------------

namespace hostsim {

inline unsigned lane() { return thread_in_block % kWarp; }
inline Warp& warp() { return block.warps[thread_in_block / kWarp]; }

// Every lane of the mask gives `v`; calls f(values) while they lie there. Orders no memory.
template <class F>
auto together(unsigned mask, uint64_t v, F f) {
  Warp& w = warp();
  __atomic_store_n(&w.value[lane()], v, __ATOMIC_RELAXED);
  w.meet<false>(mask, lane());
  const auto result = f(w);
  w.meet<false>(mask, lane());
  return result;
}

template <class T>
T shuffle(unsigned mask, T v, unsigned from) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  bits = together(mask, bits, [=](Warp& w) {
    if (!(mask & __atomic_load_n(&w.alive, __ATOMIC_RELAXED) & 1u << from))
      fail("a shuffle reads a lane that is not in its mask or has left the kernel");
    return __atomic_load_n(&w.value[from], __ATOMIC_RELAXED);
  });
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

}  // namespace hostsim

#ifdef PHYSIOCLR_BREAK_SYNCWARP  // the lanes still meet, as they do for a shuffle, but it orders no memory
inline void __syncwarp(unsigned mask = 0xffffffffu) { hostsim::warp().meet<false>(mask, hostsim::lane()); }
#else
inline void __syncwarp(unsigned mask = 0xffffffffu) { hostsim::warp().meet<true>(mask, hostsim::lane()); }
#endif

template <class T>
T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
  return hostsim::shuffle(mask, v, (hostsim::lane() & ~(width - 1u)) | (from & (width - 1u)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
  const unsigned me = hostsim::lane(), place = me & (width - 1u);
  return hostsim::shuffle(mask, v, place >= by ? me - by : me);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
  const unsigned me = hostsim::lane(), place = me & (width - 1u);
  return hostsim::shuffle(mask, v, place + by < static_cast<unsigned>(width) ? me + by : me);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32) {
  const unsigned me = hostsim::lane(), from = me ^ with;
  return hostsim::shuffle(mask, v, from / width <= me / width ? from : me);
}
inline unsigned __ballot_sync(unsigned mask, int yes) {
  return hostsim::together(mask, yes != 0, [=](hostsim::Warp& w) {
    unsigned bits = 0;
    const unsigned there = mask & __atomic_load_n(&w.alive, __ATOMIC_RELAXED);
    for (unsigned l = 0; l < hostsim::kWarp; ++l)
      if (there >> l & 1) bits |= static_cast<unsigned>(__atomic_load_n(&w.value[l], __ATOMIC_RELAXED)) << l;
    return bits;
  });
}
inline int __any_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) != 0; }
inline int __all_sync(unsigned mask, int yes) { return __ballot_sync(mask, !yes) == 0; }

// ---- atomics: relaxed, so they order no other memory ----------------------------------------------------------------

namespace hostsim {

// Replaces *at by f(*at); returns what was there.
template <class T, class F>
T update(T* at, F f) {
  T old, next;
  __atomic_load(at, &old, __ATOMIC_RELAXED);
  do next = f(old);
  while (!__atomic_compare_exchange(at, &old, &next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T>
constexpr bool kWord = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

}  // namespace hostsim

template <class T>
T atomicAdd(T* at, std::type_identity_t<T> v) {
  static_assert(hostsim::kWord<T> || std::is_same_v<T, float> || std::is_same_v<T, double>, "not a type of the device");
  return hostsim::update(at, [=](T x) { return x + v; });
}
template <class T>
T atomicMax(T* at, std::type_identity_t<T> v) {
  static_assert(hostsim::kWord<T> || std::is_same_v<T, long long>, "not a type of the device");
  return hostsim::update(at, [=](T x) { return x < v ? v : x; });
}
template <class T>
T atomicMin(T* at, std::type_identity_t<T> v) {
  static_assert(hostsim::kWord<T> || std::is_same_v<T, long long>, "not a type of the device");
  return hostsim::update(at, [=](T x) { return v < x ? v : x; });
}
template <class T>
T atomicOr(T* at, std::type_identity_t<T> v) {
  static_assert(hostsim::kWord<T>, "not a type of the device");
  return hostsim::update(at, [=](T x) { return x | v; });
}
template <class T>
T atomicAnd(T* at, std::type_identity_t<T> v) {
  static_assert(hostsim::kWord<T>, "not a type of the device");
  return hostsim::update(at, [=](T x) { return x & v; });
}
template <class T>
T atomicExch(T* at, std::type_identity_t<T> v) {
  static_assert(hostsim::kWord<T> || std::is_same_v<T, float>, "not a type of the device");
  return hostsim::update(at, [=](T) { return v; });
}
template <class T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  static_assert(hostsim::kWord<T>, "not a type of the device");
  __atomic_compare_exchange(at, &expected, &v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

// ---- intrinsics
// ------------------------------------------------------------------------------------------------------

template <class T>
T __ldg(const T* p) {
  return *p;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
// Rounded by themselves, never contracted: on the host the sources are built without fused multiply-add.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
template <class To, class From>
To bits_as(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To r;
  std::memcpy(&r, &v, sizeof r);
  return r;
}
inline int __float_as_int(float v) { return bits_as<int>(v); }
inline unsigned __float_as_uint(float v) { return bits_as<unsigned>(v); }
inline float __int_as_float(int v) { return bits_as<float>(v); }
inline float __uint_as_float(unsigned v) { return bits_as<float>(v); }
inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline long min(long a, long b) { return b < a ? b : a; }
inline long max(long a, long b) { return a < b ? b : a; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
