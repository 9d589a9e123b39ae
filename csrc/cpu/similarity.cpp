// physio_similarity on the CPU. Version 1 was a dot product per pair; version 2, this one, packs 32 rows of b as columns
// and keeps a 4 x 32 tile of sums in registers, so each packed value loaded serves four rows.
// Every S_ij is one sum over k in rising order, so S is exactly symmetric and a mask agrees with the dense matrix.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/macros.h"
#include "core/threads.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int kRows = 4, kCols = 32;

// Cosine: 1 / |x| (0 for a zero row). RBF: |x|^2. Not finite if a feature is not.
PHYSIOCLR_SIMD void row_scale(const float* x, int64_t cols, bool cosine, float* out) {
  double ss = 0;
  float bad = 0;  // x * 0 is 0 for finite x, NaN otherwise
  for (int64_t k = 0; k < cols; ++k) {
    ss += static_cast<double>(x[k]) * x[k];
    bad += x[k] * 0.0f;
  }
  *out = static_cast<float>(cosine ? (ss > 0 ? 1.0 / std::sqrt(ss) : 0.0) : ss) + bad;
}

// tile[r][c] = sum_k a[r][k] * panel[k][c]
inline void dot_tile(const float* a, const float* panel, int64_t cols, float* tile) {
  float acc[kRows][kCols] = {};
  for (int64_t k = 0; k < cols; ++k) {
    const float* p = panel + k * kCols;
    for (int r = 0; r < kRows; ++r) {
      const float x = a[r * cols + k];
      for (int c = 0; c < kCols; ++c) acc[r][c] += x * p[c];
    }
  }
  std::memcpy(tile, acc, sizeof acc);
}

struct Job {
  Matrix<const float> a, b;
  bool cosine;
  float inv_two_sigma2;
  SimilarityOut form;
  float threshold;
  const float *scale_a, *scale_b;
  void* out;
};

PHYSIOCLR_SIMD void pack_panel(const Job& job, int64_t j0, float* panel) {
  const int64_t f = job.b.cols;
  for (int c = 0; c < kCols; ++c) {
    const int64_t j = j0 + c;
    const float s = j < job.b.rows && job.cosine ? job.scale_b[j] : 1.0f;
    for (int64_t k = 0; k < f; ++k) panel[k * kCols + c] = j < job.b.rows ? job.b.row(j)[k] * s : 0.0f;
  }
}

// Rows i0 .. i0 + kRows - 1 (scaled copies in `rows`) against one panel.
PHYSIOCLR_SIMD void tile(const Job& job, const float* rows, const float* panel, int64_t i0, int64_t j0) {
  float s[kRows * kCols];
  dot_tile(rows, panel, job.a.cols, s);
  const int64_t m = job.b.rows, nr = std::min<int64_t>(kRows, job.a.rows - i0), nc = std::min<int64_t>(kCols, m - j0);
  if (!job.cosine)
    for (int64_t r = 0; r < nr; ++r)
      for (int64_t c = 0; c < nc; ++c) {
        const float d2 = job.scale_a[i0 + r] + job.scale_b[j0 + c] - 2.0f * s[r * kCols + c];
        s[r * kCols + c] = std::exp(-std::max(d2, 0.0f) * job.inv_two_sigma2);
      }
  for (int64_t r = 0; r < nr; ++r) {
    const float* v = s + r * kCols;
    if (job.form == SimilarityOut::kFloat) {
      std::memcpy(static_cast<float*>(job.out) + (i0 + r) * m + j0, v, nc * sizeof(float));
    } else if (job.form == SimilarityOut::kMask) {
      uint8_t* o = static_cast<uint8_t*>(job.out) + (i0 + r) * m + j0;
      for (int64_t c = 0; c < nc; ++c) o[c] = v[c] >= job.threshold;
    } else {
      uint8_t* o = static_cast<uint8_t*>(job.out) + (i0 + r) * ((m + 7) / 8) + j0 / 8;
      for (int64_t c = 0; c < nc; c += 8) {
        unsigned byte = 0;
        for (int64_t q = 0; q < 8; ++q) byte = byte << 1 | (c + q < nc && v[c + q] >= job.threshold);
        o[c / 8] = static_cast<uint8_t>(byte);
      }
    }
  }
}

}  // namespace

bool physio_similarity(Matrix<const float> a, Matrix<const float> b, Similarity kind, float inv_two_sigma2,
                       SimilarityOut form, float threshold, float* scale, void* out) {
  const bool cosine = kind == Similarity::kCosine;
  float* sa = scale;
  float* sb = scale + a.rows;
  const int team = threads();
#pragma omp parallel for num_threads(team) schedule(static)
  for (int64_t r = 0; r < a.rows + b.rows; ++r)
    row_scale(r < a.rows ? a.row(r) : b.row(r - a.rows), a.cols, cosine, scale + r);
  for (int64_t r = 0; r < a.rows + b.rows; ++r)
    if (!std::isfinite(scale[r])) return false;
  if (a.rows == 0 || b.rows == 0) return true;

  const Job job{a, b, cosine, inv_two_sigma2, form, threshold, sa, sb, out};
  const int64_t f = a.cols, panels = (b.rows + kCols - 1) / kCols, groups = (a.rows + kRows - 1) / kRows;
  std::vector<float> rows(groups * kRows * f, 0.0f), packed(panels * kCols * f);
#pragma omp parallel num_threads(team)
  {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < a.rows; ++i) {
      const float s = cosine ? sa[i] : 1.0f;
      for (int64_t k = 0; k < f; ++k) rows[i * f + k] = a.row(i)[k] * s;
    }
#pragma omp for schedule(static)
    for (int64_t p = 0; p < panels; ++p) pack_panel(job, p * kCols, packed.data() + p * kCols * f);
#pragma omp for schedule(static)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t p = 0; p < panels; ++p)
        tile(job, rows.data() + g * kRows * f, packed.data() + p * kCols * f, g * kRows, p * kCols);
  }
  return true;
}

}  // namespace physioclr::cpu
