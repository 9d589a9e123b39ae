#pragma once
// READ FIRST, for vector code. The instruction sets that the CPU library is compiled for, and which one it uses.
//
// A hot file (csrc/cpu/hot, listed in csrc/cpu/isa.cmake) is compiled once for each set, with the set's name as the
// macro PHYSIOCLR_ISA. What it offers lies in the namespace of that name; everything else in it has internal linkage,
// functions of shared headers are inlined (core/macros.h), and its vectors are Vector (cpu/hot_vector.h): no function
// of wider instructions may be what the linker keeps for all (tests/support/weak_check.py looks).
//
//   base    what the compiler takes for granted: x86-64 with SSE2, NEON on aarch64
//   avx2    x86-64-v3: AVX2, fused multiply-add, BMI, float16 conversions
//   avx512  x86-64-v4: with AVX-512 F, BW, CD, DQ, VL
//
// The set in use is the highest that the build and the processor have, found when the library is loaded. The
// environment variable PHYSIOCLR_ISA=base|avx2|avx512 limits it.
#include <atomic>

namespace physioclr::isa {

enum class Set : int { kBase, kAvx2, kAvx512 };
constexpr const char* kNames[] = {"base", "avx2", "avx512"};

Set highest() noexcept;      // of this build and processor
Set limit(Set to) noexcept;  // uses no more than this from now on; returns what is used

extern std::atomic<Set> in_use;
inline Set current() noexcept { return in_use.load(std::memory_order_relaxed); }

}  // namespace physioclr::isa

// In a header: the table `name` of kernels that a hot file defines in its namespace, and name(), that of the set in
// use. For every set of the build: PHYSIOCLR_ISA_X86 is from isa.cmake.
#if defined(PHYSIOCLR_ISA_X86)
#define PHYSIOCLR_KERNELS(Type, name)                                               \
  namespace base {                                                                  \
  extern const Type name;                                                           \
  }                                                                                 \
  namespace avx2 {                                                                  \
  extern const Type name;                                                           \
  }                                                                                 \
  namespace avx512 {                                                                \
  extern const Type name;                                                           \
  }                                                                                 \
  [[maybe_unused]] static inline const Type& name() {                               \
    static constexpr const Type* kOf[] = {&base::name, &avx2::name, &avx512::name}; \
    return *kOf[static_cast<int>(isa::current())];                                  \
  }
#else
#define PHYSIOCLR_KERNELS(Type, name) \
  namespace base {                    \
  extern const Type name;             \
  }                                   \
  [[maybe_unused]] static inline const Type& name() { return base::name; }
#endif
