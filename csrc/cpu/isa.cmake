# The sources of the CPU library and how they are compiled, for the library itself and for the tests that build it their
# own way. physioclr_cpu_library(NAME SETS...): the object library NAME of the ordinary files, and NAME_SET of the hot
# files for each instruction set of csrc/cpu/isa.h; ${NAME}_objects: what to link, with the objects of all. Options that
# are given with target_compile_options to one are for the caller to give to all of ${NAME}_targets.
include_guard(GLOBAL)
include(CheckCXXCompilerFlag)
set(PHYSIOCLR_CPU_DIR ${CMAKE_CURRENT_LIST_DIR})

set(PHYSIOCLR_CPU_PLAIN
  contrastive.cpp
  contrastive_bf16_choice.cpp
  hrv.cpp
  isa.cpp
  neighbors.cpp
  reconstruction.cpp
  rpeaks_plan.cpp
  similarity.cpp
  testing.cpp
  threads.cpp
  waves.cpp
  wfdb_frames.cpp
  wfdb_units.cpp
)
# The same bits on every processor need every product and sum rounded by itself: fused multiply-add only where the code
# asks for it.
set(PHYSIOCLR_CPU_HOT_EXACT
  hot/augment.cpp
  hot/batch_norm.cpp
  hot/decimate.cpp
  hot/detect_rpeaks.cpp
  hot/halve.cpp
  hot/rpeaks_front.cpp
  hot/waves.cpp
  hot/zero_phase.cpp
)
set(PHYSIOCLR_CPU_HOT
  hot/contrastive_pairs.cpp
  hot/gemm.cpp
  hot/hrv.cpp
  hot/similarity.cpp
  hot/wfdb_samples.cpp
)
foreach(list IN ITEMS PLAIN HOT_EXACT HOT)
  list(TRANSFORM PHYSIOCLR_CPU_${list} PREPEND ${PHYSIOCLR_CPU_DIR}/)
endforeach()

# Sets of this compiler and processor.
set(PHYSIOCLR_ISA_SETS base)
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$"
   AND NOT "${CMAKE_OSX_ARCHITECTURES}" MATCHES "arm64")
  check_cxx_compiler_flag(-march=x86-64-v4 PHYSIOCLR_HAS_X86_64_V4)
  if(PHYSIOCLR_HAS_X86_64_V4)
    set(PHYSIOCLR_ISA_SETS base avx2 avx512)
  endif()
endif()
# The contrastive losses multiply bfloat16 by instructions of their own, which no set has.
set(PHYSIOCLR_CPU_BF16 ${PHYSIOCLR_CPU_DIR}/contrastive_bf16.cpp)
if("avx512" IN_LIST PHYSIOCLR_ISA_SETS)
  check_cxx_compiler_flag(-mavx512bf16 PHYSIOCLR_HAS_BF16)
endif()
set(PHYSIOCLR_ISA_avx2 -march=x86-64-v3)
set(PHYSIOCLR_ISA_avx512 -march=x86-64-v4)

function(physioclr_cpu_library name)
  set(sets ${ARGN})
  add_library(${name} OBJECT ${PHYSIOCLR_CPU_PLAIN})
  set(targets ${name})
  foreach(set IN LISTS sets)
    add_library(${name}_${set} OBJECT ${PHYSIOCLR_CPU_HOT_EXACT} ${PHYSIOCLR_CPU_HOT})
    target_compile_definitions(${name}_${set} PRIVATE PHYSIOCLR_ISA=${set})
    target_compile_options(${name}_${set} PRIVATE ${PHYSIOCLR_ISA_${set}})
    list(APPEND targets ${name}_${set})
  endforeach()
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    # (GCC also suspects scratch that a vector path fills, and warns of vectors as arguments, which here stay within one
    # file: no such warnings.)
    set(quiet -Wno-maybe-uninitialized -Wno-uninitialized -Wno-psabi)
    if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
      set(quiet -Wno-psabi -Wno-pass-failed)
    endif()
    set_source_files_properties(${PHYSIOCLR_CPU_HOT_EXACT} PROPERTIES COMPILE_OPTIONS "-ffp-contract=off;${quiet}")
    set_source_files_properties(${PHYSIOCLR_CPU_HOT} ${PHYSIOCLR_CPU_PLAIN} PROPERTIES COMPILE_OPTIONS "${quiet}")
    set_source_files_properties(${PHYSIOCLR_CPU_DIR}/rpeaks_plan.cpp ${PHYSIOCLR_CPU_DIR}/testing.cpp PROPERTIES
      COMPILE_OPTIONS "-ffp-contract=off;${quiet}")
  endif()
  if("avx512" IN_LIST sets AND PHYSIOCLR_HAS_BF16)
    target_sources(${name} PRIVATE ${PHYSIOCLR_CPU_BF16})
    set_source_files_properties(${PHYSIOCLR_CPU_BF16} PROPERTIES COMPILE_DEFINITIONS PHYSIOCLR_ISA=avx512
      COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512bf16;${quiet}")
    set_source_files_properties(${PHYSIOCLR_CPU_DIR}/contrastive_bf16_choice.cpp PROPERTIES
      COMPILE_DEFINITIONS PHYSIOCLR_BF16)
  endif()
  foreach(target IN LISTS targets)
    target_include_directories(${target} PUBLIC ${PHYSIOCLR_CPU_DIR}/..)
    if("avx512" IN_LIST sets)
      target_compile_definitions(${target} PUBLIC PHYSIOCLR_ISA_X86)
    endif()
    list(APPEND objects $<TARGET_OBJECTS:${target}>)
  endforeach()
  set(${name}_targets ${targets} PARENT_SCOPE)
  set(${name}_objects ${objects} PARENT_SCOPE)
endfunction()
