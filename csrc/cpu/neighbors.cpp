// physio_neighbors on the CPU: tiles of similarities as in similarity.cpp, of which each row keeps its k best in a
// heap. A whole row of a tile is compared with the row's k-th best at once, and after the first columns few are better.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/macros.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "cpu/panels.h"
#include "cpu/similarity_rows.h"
#include "cpu/simd_math.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kRows = 64, kCols = kPairCols;

struct Candidate {
  float key;  // the cosine, or minus |a - b|^2 / (2 sigma^2): where exp() underflows the order still holds
  int64_t index;
};
bool better(const Candidate& x, const Candidate& y) { return x.key > y.key || (x.key == y.key && x.index < y.index); }

}  // namespace

bool run(const NeighborsCall& call) {
  const Matrix<const float> a = call.a, b = call.b;
  const bool own = call.own;
  const int64_t* const group = call.group;
  const int64_t k = call.k;
  const bool cosine = call.kind == Similarity::kCosine;
  const PackedRows pa(a, cosine), pb(own ? Matrix<const float>{b.data, 0, b.cols} : b, cosine);
  if (!pa.finite || !pb.finite) return false;
  const PackedRows& right = own ? pa : pb;
  const int64_t blocks = (a.rows + kRows - 1) / kRows, keep = std::min(k, b.rows);
  const int team = a.rows * b.rows * a.cols < 1'000'000 ? 1 : threads();
  std::vector<std::vector<Candidate>> heaps(a.rows);

  const PairKernels& kernels = pair_kernels();
  const Interrupt stop;
  on_team(team, [&] {
    const AlignedBuffer<float> tile(kRows * kCols);
#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t i0 = block * kRows, ni = std::min(kRows, a.rows - i0);
      for (int64_t j0 = 0; j0 < b.rows && !stop(); j0 += kCols) {
        const int64_t nj = std::min(kCols, b.rows - j0);
        gemm_panels(pa.panel(i0), right.panel(j0), a.cols, padded(ni), padded(nj), tile.get(), kCols);
        const PairTile pairs{tile.get(),      ni,           padded(nj),     a.cols, pa.panel(i0),
                             right.panel(j0), pa.norms(i0), right.norms(j0)};
        cosine ? kernels.to_cosine(pairs) : kernels.to_exponent(pairs, call.inv_width);
        for (int64_t i = i0; i < i0 + ni; ++i) {
          float* s = tile.get() + (i - i0) * kCols;
          auto& heap = heaps[i];
          // Columns come in rising order, so one that only equals the k-th best loses the tie.
          if (static_cast<int64_t>(heap.size()) == keep && !kernels.any_above(s, nj, heap.front().key)) continue;
          for (int64_t c = 0; c < nj; ++c) {
            const int64_t j = j0 + c;
            const bool full = static_cast<int64_t>(heap.size()) == keep;
            if ((full && !(s[c] > heap.front().key)) || (own && (i == j || (group && group[i] == group[j])))) continue;
            if (full) {
              std::pop_heap(heap.begin(), heap.end(), better);
              heap.back() = {s[c], j};
            } else {
              heap.push_back({s[c], j});
            }
            std::push_heap(heap.begin(), heap.end(), better);
          }
        }
      }
      for (int64_t i = i0; i < i0 + ni; ++i) {
        auto& heap = heaps[i];
        std::sort_heap(heap.begin(), heap.end(), better);
        const auto found = static_cast<int64_t>(heap.size());
        for (int64_t q = 0; q < k; ++q) {
          call.index[i * k + q] = q < found ? heap[q].index : -1;
          const float key = q < found ? heap[q].key : std::numeric_limits<float>::quiet_NaN();
          call.similarity[i * k + q] = cosine || q >= found ? key : exp_simd(key);
        }
        std::vector<Candidate>().swap(heap);
      }
    }
  });
  return true;
}

}  // namespace physioclr::cpu
