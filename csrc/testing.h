#pragma once
// What only the tests call: parts of augment (core/philox.h, core/normal.h) and of the features (csrc/cpu/waves.cpp).
#include <cstdint>

#include "ops.h"

namespace physioclr::testing {

// n blocks of counters (4 words each) under one key.
void philox(const uint32_t* counters, int64_t n, uint64_t key, uint32_t* words);
// The normal of each word.
void normals(const uint32_t* words, int64_t n, float* out);
// Uses at most this set of instructions (isa::Set) from now on; returns the one in use.
int limit_isa(int level);
// Whether the contrastive losses may multiply bfloat16 embeddings as such; returns whether they now do.
bool limit_bf16(bool on);
// Like physio_features, of the first lead, with boundaries (8, records, beats) and pacing (records, beats) given.
void features_of_waves(const FeaturesCall& call, int32_t* waves, const uint8_t* paced);

}  // namespace physioclr::testing
