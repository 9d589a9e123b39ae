#pragma once
// The one place that knows which compiler reads a function and for which processors it is built.

#if defined(__CUDACC__)
#define PHYSIOCLR_HD __host__ __device__ __forceinline__
#elif defined(PHYSIOCLR_ISA)  // a hot file: see PHYSIOCLR_INLINE
#define PHYSIOCLR_HD inline __attribute__((always_inline))
#else
#define PHYSIOCLR_HD inline
#endif

// Dynamic shared memory of a CUDA kernel: T* name, of as many bytes as the launch asks for, aligned to 16. The form for
// host threads is in tests/host_sim.
#if defined(__CUDACC__)
#define PHYSIOCLR_DYNAMIC_SHARED(T, name)                           \
  extern __shared__ __align__(16) unsigned char physioclr_shared[]; \
  T* const name = reinterpret_cast<T*>(physioclr_shared)
#endif

// Host functions of classes that hot files share with others (cpu/isa.h): inlined, so that no file of wider
// instructions has one for the linker to choose.
#if defined(__GNUC__)
#define PHYSIOCLR_INLINE inline __attribute__((always_inline))
#else
#define PHYSIOCLR_INLINE inline
#endif

// Before a function of a hot file's table: all that it calls and the compiler sees is inlined into it.
#if defined(__GNUC__)
#define PHYSIOCLR_FLAT __attribute__((flatten))
#else
#define PHYSIOCLR_FLAT
#endif
