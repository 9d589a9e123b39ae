#pragma once
// The front end of detect_rpeaks.cpp: the stages that go over all samples of a lead and over the blocks of all leads.
// hot/rpeaks_front.cpp has them for each instruction set; all sets give the same bits.
#include <cstdint>

#include "core/macros.h"
#include "core/rpeaks_plan.h"

namespace physioclr::cpu {

constexpr int kExcess = 64;  // elements beyond the end of its last result that a stage may read, or write in scratch
constexpr int kRowLanes = 16;
constexpr int64_t kSomeBlocks = 64;         // what a thread takes at a time of a long record
constexpr uint32_t kMissing = 0x7f800000u;  // bits of the magnitude of infinity

// Values for each block and row (lead and band), the rows of a block next to each other.
PHYSIOCLR_INLINE int64_t row_stride(int64_t leads) {
  return (leads * rpeaks::kBands + kRowLanes - 1) / kRowLanes * kRowLanes;
}

// Memory that is wanted soon: each call of `some` asks for a share of it, so that requests neither come in a burst nor
// late.
class Ahead {
 public:
  PHYSIOCLR_INLINE Ahead(const void* begin, const void* end)
      : at_(static_cast<const char*>(begin)), end_(static_cast<const char*>(end)) {}
  PHYSIOCLR_INLINE void some(int lines) {
    for (int i = 0; i < lines && at_ < end_; ++i, at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const char *at_, *end_;
};

struct RpeaksFront {
  // The first of x[0..n) that is as steep as counts (steep_enough) of those, of which each is compared with that
  // `apart` after it; -1 where there is no slope.
  int64_t (*anchor_float)(const float* x, int64_t n, int64_t apart);
  int64_t (*anchor_int16)(const int16_t* x, int64_t n, int64_t apart);
  // Working samples begin..end of a lead, begin even: means of p.step samples without spikes, less origin. y: by
  // working sample; half[h]: working sample 2 i + h at i, or null. Returns the largest magnitude, as bits; those of
  // infinity, or above, where a sample is missing: then the results are not valid.
  uint32_t (*means_float)(const float* x, int64_t samples, const rpeaks::WorkPlan& p, int64_t begin, int64_t end,
                          float origin, float* y, float* const half[2], Ahead* ahead);
  uint32_t (*means_int16)(const int16_t* x, int64_t samples, const rpeaks::WorkPlan& p, int64_t begin, int64_t end,
                          float origin, float* y, float* const half[2], Ahead* ahead);
  // Both envelopes in the blocks k0..k1: env[b] by envelope sample. half[h]: working samples p.hop * i + h, from
  // envelope sample block_begin(k0) on, with p.pad and kExcess more around. missing: by working sample, or null.
  // maxima, means: of each block, from those of block 0 on, `stride` apart.
  void (*envelopes)(const float* const half[2], const rpeaks::WorkPlan& p, int64_t k0, int64_t k1, float floor,
                    const uint8_t* missing, float* const env[2], float* maxima, float* means, int64_t stride,
                    Ahead* ahead);
  // Weights of all rows in the blocks k0..k1, from maxima and means of the blocks around.
  // level: scratch, as weight.
  void (*weights)(const float* maxima, const float* means, int64_t blocks, int64_t k0, int64_t k1, int64_t rows,
                  int64_t stride, float* level, float* weight);
  // fused = sum of the rows of env (env_stride apart) times their weights, in the blocks k0..k1, with the maxima and
  // means of the blocks.
  void (*fuse)(const float* env, int64_t env_stride, const float* weight, int64_t rows, int64_t stride,
               const rpeaks::WorkPlan& p, int64_t k0, int64_t k1, float* fused, float* maxima, float* means);
  // block_level, and block_mean over it, of at least 2 kWide + 1 blocks. Around maxima and means lie kExcess
  // infinities.
  void (*levels)(const float* maxima, const float* means, int64_t blocks, int64_t k0, int64_t k1, float* level,
                 float* noise);
};

namespace PHYSIOCLR_ISA {
extern const RpeaksFront rpeaks_front;
}

}  // namespace physioclr::cpu
