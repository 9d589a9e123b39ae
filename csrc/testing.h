#pragma once
// What only the tests call: parts of augment (csrc/cpu/augment.cpp) and of the features (csrc/cpu/waves.cpp).
#include <cstdint>

#include "ops.h"

namespace physioclr::testing {

// n blocks of counters (4 words each) under one key.
void philox(const uint32_t* counters, int64_t n, uint64_t key, uint32_t* words);
// The normal of each word.
void normals(const uint32_t* words, int64_t n, float* out);
// Makes augment use at most this level of vector code (0 plain, 1 AVX2, 2 AVX-512); returns the level now in use.
int limit_simd(int level);
// The same for waves and features.
int limit_waves(int level);
// Whether the contrastive losses may multiply bfloat16 embeddings as such; returns whether they now do.
bool limit_bf16(bool on);
// Like physio_features, of the first lead, with boundaries (8, records, beats) and pacing (records, beats) given.
void features_of_waves(const FeaturesCall& call, int32_t* waves, const uint8_t* paced);

}  // namespace physioclr::testing
