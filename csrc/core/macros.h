#pragma once
// The one place that knows which compiler reads a function and for which processors it is built.

#if defined(__CUDACC__)
#define PHYSIOCLR_HD __host__ __device__ __forceinline__
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

// Put before a hot CPU function: the compiler emits it for the baseline, x86-64-v3 (AVX2) and x86-64-v4 (AVX-512),
// and the loader picks one, so that one binary also runs where there is no AVX2. Three rules: everything such a
// function calls must be inlined into it (`flatten` does that, for functions visible in the same file); an OpenMP
// region is outlined and would lose the target, so the parallel loop lives in an ordinary function that calls the
// cloned one; and it must not be a template itself. PHYSIOCLR_NO_CLONES is for sanitizer builds (they dislike ifunc).
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__) && \
    !defined(PHYSIOCLR_NO_CLONES)
#define PHYSIOCLR_SIMD __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4"), flatten))
#else
#define PHYSIOCLR_SIMD
#endif
