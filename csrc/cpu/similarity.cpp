// physio_similarity on the CPU. Version 1 was a dot product per pair; version 2 kept 4 x 32 sums in registers; version
// 3, this one, takes the register-blocked product of gemm.h into a 128 x 128 tile that stays in the cache, turns it
// into the wanted form there, and writes whole lines past the cache. A matrix with itself is symmetric: each tile above
// the diagonal is computed once and written twice, the second time transposed. Every S_ij is one sum over k in rising
// order, so S is exactly symmetric and a mask agrees with the dense matrix.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>
#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "core/huge_pages.h"
#include "core/interrupt.h"
#include "core/macros.h"
#include "core/threads.h"
#include "cpu/panels.h"
#include "cpu/similarity_rows.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kTile = kPairCols;
constexpr int64_t kStreamBytes = 8 << 20;  // a result this large leaves the cache anyway

struct Job {
  Matrix<const float> a, b;
  SimilarityOut form;
  float threshold;
  void* out;
  bool stream;
  const PairKernels& kernels;
};

// Eight bytes of 0 or 1 to one byte, the first to its highest bit.
inline uint8_t pack_bits(const uint8_t* mask) {
  uint64_t x;
  std::memcpy(&x, mask, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  x = __builtin_bswap64(x);
#endif
  return static_cast<uint8_t>((x * 0x8040201008040201ull) >> 56);  // byte k times 2^(63 - 9k): no two terms meet
}

void transpose(const float* x, float* y) {
  typedef float V __attribute__((vector_size(16)));
  for (int64_t r = 0; r < kTile; r += 4)
    for (int64_t c = 0; c < kTile; c += 4) {
      V m[4];
      for (int q = 0; q < 4; ++q) std::memcpy(&m[q], x + (r + q) * kTile + c, sizeof(V));
#if defined(__clang__)
      const V a = __builtin_shufflevector(m[0], m[1], 0, 4, 1, 5), b = __builtin_shufflevector(m[0], m[1], 2, 6, 3, 7);
      const V d = __builtin_shufflevector(m[2], m[3], 0, 4, 1, 5), e = __builtin_shufflevector(m[2], m[3], 2, 6, 3, 7);
      m[0] = __builtin_shufflevector(a, d, 0, 1, 4, 5), m[1] = __builtin_shufflevector(a, d, 2, 3, 6, 7);
      m[2] = __builtin_shufflevector(b, e, 0, 1, 4, 5), m[3] = __builtin_shufflevector(b, e, 2, 3, 6, 7);
#else
      typedef int32_t I __attribute__((vector_size(16)));
      const V a = __builtin_shuffle(m[0], m[1], I{0, 4, 1, 5}), b = __builtin_shuffle(m[0], m[1], I{2, 6, 3, 7});
      const V d = __builtin_shuffle(m[2], m[3], I{0, 4, 1, 5}), e = __builtin_shuffle(m[2], m[3], I{2, 6, 3, 7});
      m[0] = __builtin_shuffle(a, d, I{0, 1, 4, 5}), m[1] = __builtin_shuffle(a, d, I{2, 3, 6, 7});
      m[2] = __builtin_shuffle(b, e, I{0, 1, 4, 5}), m[3] = __builtin_shuffle(b, e, I{2, 3, 6, 7});
#endif
      for (int q = 0; q < 4; ++q) std::memcpy(y + (c + q) * kTile + r, &m[q], sizeof(V));
    }
}

// n bytes past the cache: whole 16-byte words are written without being read first.
inline void stream_copy(void* dst, const void* src, int64_t n) {
#if defined(__SSE2__)
  auto* d = static_cast<char*>(dst);
  auto* s = static_cast<const char*>(src);
  const int64_t head = std::min<int64_t>(n, -reinterpret_cast<intptr_t>(d) & 15);
  std::memcpy(d, s, head);
  int64_t k = head;
  for (; k + 16 <= n; k += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(d + k), _mm_loadu_si128(reinterpret_cast<const __m128i*>(s + k)));
  std::memcpy(d + k, s + k, n - k);
#else
  std::memcpy(dst, src, n);
#endif
}

// One finished tile of similarities into rows i0.., columns j0.. of the result.
void emit(const Job& job, const float* tile, int64_t i0, int64_t j0, int64_t rows, int64_t cols) {
  const int64_t nr = std::min(kTile, rows - i0), nc = std::min(kTile, cols - j0);
  uint8_t mask[kTile], bits[kTile / 8];
  for (int64_t r = 0; r < nr; ++r) {
    const float* s = tile + r * kTile;
    if (job.form == SimilarityOut::kFloat) {
      float* o = static_cast<float*>(job.out) + (i0 + r) * cols + j0;
      job.stream ? stream_copy(o, s, nc * sizeof(float)) : void(std::memcpy(o, s, nc * sizeof(float)));
      continue;
    }
    job.kernels.at_least(s, job.threshold, mask);
    if (job.form == SimilarityOut::kMask) {
      std::memcpy(static_cast<uint8_t*>(job.out) + (i0 + r) * cols + j0, mask, nc);
      continue;
    }
    std::memset(mask + nc, 0, kTile - nc);
    for (int64_t q = 0; q < kTile / 8; ++q) bits[q] = pack_bits(mask + q * 8);
    std::memcpy(static_cast<uint8_t*>(job.out) + (i0 + r) * ((cols + 7) / 8) + j0 / 8, bits, (nc + 7) / 8);
  }
}

}  // namespace

bool run(const SimilarityCall& call) {
  const Matrix<const float> a = call.a, b = call.b;
  const SimilarityOut form = call.form;
  const bool cosine = call.kind == Similarity::kCosine, same = a.data == b.data && a.rows == b.rows;
  const PackedRows pa(a, cosine), pb(same ? Matrix<const float>{b.data, 0, b.cols} : b, cosine);
  if (!pa.finite || !pb.finite) return false;
  const PackedRows& right = same ? pa : pb;
  const int64_t width = form == SimilarityOut::kFloat  ? b.rows * 4
                        : form == SimilarityOut::kMask ? b.rows
                                                       : (b.rows + 7) / 8;
  const bool stream = a.rows * width >= kStreamBytes;
  if (stream) advise_huge(call.out, a.rows * width);
  const PairKernels& kernels = pair_kernels();
  const Job job{a, b, form, call.threshold, call.out, stream, kernels};

  const int64_t ti = (a.rows + kTile - 1) / kTile, tj = (b.rows + kTile - 1) / kTile;
  const int team = a.rows * b.rows * a.cols < 1'000'000 ? 1 : threads();
  const Interrupt stop;
  on_team(team, [&] {
    const AlignedBuffer<float> tile(kTile * kTile), turned(kTile * kTile);
#pragma omp for schedule(dynamic)
    for (int64_t p = 0; p < ti; ++p)
      for (int64_t q = same ? p : 0; q < tj && !stop(); ++q) {
        const int64_t i0 = p * kTile, j0 = q * kTile;
        const int64_t ni = std::min(kTile, pa.total - i0), nj = std::min(kTile, right.total - j0);
        gemm_panels(pa.panel(i0), right.panel(j0), a.cols, ni, nj, tile.get(), kTile);
        const PairTile pairs{tile.get(), ni, nj, a.cols, pa.panel(i0), right.panel(j0), pa.norms(i0), right.norms(j0)};
        cosine ? kernels.to_cosine(pairs) : kernels.to_rbf(pairs, call.inv_width);
        emit(job, tile.get(), i0, j0, a.rows, b.rows);
        if (same && p != q) {
          transpose(tile.get(), turned.get());
          emit(job, turned.get(), j0, i0, b.rows, a.rows);
        }
      }
#if defined(__SSE2__)
    _mm_sfence();
#endif
  });
  return true;
}

}  // namespace physioclr::cpu
