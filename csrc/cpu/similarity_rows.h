#pragma once
// The features of physio_similarity and physio_neighbors as panels: unit rows for the cosine, plain ones with their
// squared norms for the RBF. And what makes tiles of their products into cosines and distances.
#include <cstring>
#include <vector>

#include "core/similarity_math.h"
#include "core/threads.h"
#include "cpu/panels.h"
#include "ops.h"

namespace physioclr::cpu {

struct PackedRows {
  int64_t cols, total;      // total: the rows, padded to whole panels
  Buffer<float> panels;
  std::vector<float> norm;  // squared norms, padded to whole tiles; RBF only
  bool finite = true;

  PackedRows(Matrix<const float> x, bool cosine)
      : cols(x.cols), total(padded(x.rows)), panels(total * cols), norm(cosine ? 0 : total + 128, 0.0f) {
    int bad = 0;
    const int team = total * cols < 100'000 ? 1 : threads();
#pragma omp parallel for num_threads(team) schedule(static) reduction(+ : bad)
    for (int64_t p0 = 0; p0 < total; p0 += kPanel)
      for (int64_t q = 0; q < kPanel; ++q) {
        const int64_t i = p0 + q;
        double scale = 0;
        if (i < x.rows) {
          const double ss = squared_norm(x.row(i), cols);
          if (!std::isfinite(ss) || ss == 0) bad += !all_finite(x.row(i), cols);
          scale = !cosine ? 1.0 : ss > 0 ? 1.0 / std::sqrt(ss) : 0.0;
          if (!cosine) norm[i] = static_cast<float>(ss);
        }
        for (int64_t k = 0; k < cols; ++k)
          panels.get()[p0 * cols + k * kPanel + q] = i < x.rows ? static_cast<float>(x.row(i)[k] * scale) : 0.0f;
      }
    finite = bad == 0;
  }
  const float* panel(int64_t row) const { return panels.get() + row * cols; }
};

// A tile of products of rows i0.. of one panel matrix and j0.. of another; nj is a multiple of kPanel.
struct PairTile {
  float* s;  // rows of kPairCols
  int64_t ni, nj, cols;
  const float *a, *b;            // their panels
  const float *norm_a, *norm_b;  // RBF only
};
constexpr int64_t kPairCols = 128;

// d[q] = sum_k ((half a_k - half b_kq) up unit)^2 for the 32 columns of a panel, with sign -1 of the sum in place of the
// difference; a is a column of a panel.
inline __attribute__((always_inline)) void squared_differences(const float* a, const float* b, int64_t cols,
                                                               const RbfUnit& u, float sign, float* d) {
  typedef float V __attribute__((vector_size(64)));
  static_assert(kPanel == 32, "two vectors");
  V x, y, sx = {}, sy = {};
  const float other = u.half * sign, up = u.up, unit = u.unit;
  for (int64_t k = 0; k < cols; ++k, a += kPanel, b += kPanel) {
    std::memcpy(&x, b, sizeof x);
    std::memcpy(&y, b + 16, sizeof y);
    const float own = u.half * *a;
    x = (own - x * other) * up * unit;
    y = (own - y * other) * up * unit;
    sx += x * x;
    sy += y * y;
  }
  std::memcpy(d, &sx, sizeof sx);
  std::memcpy(d + 16, &sy, sizeof sy);
}

// Products of unit rows to cosines.
PHYSIOCLR_SIMD static inline void to_cosine(const PairTile& t) {
  const float sure = sure_cosine(t.cols);
  const RbfUnit one{1.0f, 1.0f, 1.0f, 1.0f};
  float d[kPanel];
  for (int64_t r = 0; r < t.ni; ++r)
    for (int64_t c0 = 0; c0 < t.nj; c0 += kPanel) {
      float* const s = t.s + r * kPairCols + c0;
      int high = 0, low = 0;
#pragma omp simd reduction(| : high, low)
      for (int64_t q = 0; q < kPanel; ++q) high |= s[q] > sure, low |= s[q] < -sure;
      const float* const a = t.a + r / kPanel * kPanel * t.cols + r % kPanel;
      if (high) {
        squared_differences(a, t.b + c0 * t.cols, t.cols, one, 1.0f, d);
        for (int64_t q = 0; q < kPanel; ++q) s[q] = s[q] > sure ? 1.0f - 0.5f * d[q] : s[q];
      }
      if (low) {
        squared_differences(a, t.b + c0 * t.cols, t.cols, one, -1.0f, d);
        for (int64_t q = 0; q < kPanel; ++q) s[q] = s[q] < -sure ? 0.5f * d[q] - 1.0f : s[q];
      }
    }
}

// Products of rows to |a - b|^2 / (2 sigma^2); inv_width = 1 / (sqrt(2) sigma).
PHYSIOCLR_SIMD static inline void to_distance(const PairTile& t, double inv_width) {
  const RbfUnit u = rbf_unit(inv_width);
  const float width = u.inv_width;
  float d[kPanel];
  for (int64_t r = 0; r < t.ni; ++r) {
    const float norm = t.norm_a[r];
    float* const row = t.s + r * kPairCols;
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t c = 0; c < t.nj; ++c) {
      const float norms = norm + t.norm_b[c], d2 = norms - 2.0f * row[c];
      const int sure = distance_is_sure(d2, norms);
      row[c] = sure ? d2 * width * width : -1.0f;
      any |= !sure;
    }
    if (!any) continue;
    for (int64_t c0 = 0; c0 < t.nj; c0 += kPanel) {
      float* const s = row + c0;
      int here = 0;
#pragma omp simd reduction(| : here)
      for (int64_t q = 0; q < kPanel; ++q) here |= s[q] < 0;
      if (!here) continue;
      squared_differences(t.a + r / kPanel * kPanel * t.cols + r % kPanel, t.b + c0 * t.cols, t.cols, u, 1.0f, d);
      for (int64_t q = 0; q < kPanel; ++q) s[q] = s[q] < 0 ? d[q] : s[q];
    }
  }
}

}  // namespace physioclr::cpu
