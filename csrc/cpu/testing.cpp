#include "testing.h"

#include <cstring>

#include "core/normal.h"
#include "core/philox.h"
#include "cpu/isa.h"

namespace physioclr::testing {

int limit_isa(int level) { return static_cast<int>(isa::limit(static_cast<isa::Set>(level < 0 ? 0 : level))); }

void philox(const uint32_t* counters, int64_t n, uint64_t key, uint32_t* words) {
  for (int64_t i = 0; i < n; ++i) {
    Words c;
    std::memcpy(c.w, counters + 4 * i, sizeof c.w);
    c = philox4x32(c, static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
    std::memcpy(words + 4 * i, c.w, sizeof c.w);
  }
}

void normals(const uint32_t* words, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = normal_of(words[i]);
}

}  // namespace physioclr::testing
