#pragma once
// The features of physio_similarity and physio_neighbors as panels: unit rows for the cosine, plain ones with their
// squared norms for the RBF. And what makes tiles of
// their products into cosines and distances.
#include <cstring>
#include <vector>

#include "core/similarity_math.h"
#include "core/threads.h"
#include "cpu/panels.h"
#include "cpu/similarity_tiles.h"
#include "ops.h"

namespace physioclr::cpu {

struct PackedRows {
  int64_t cols, total;  // total: the rows, padded to whole panels
  AlignedBuffer<float> panels;
  std::vector<float> norm;  // squared norms, padded to whole tiles; RBF only
  const float* norms(int64_t i) const { return norm.empty() ? nullptr : norm.data() + i; }  // of row i on
  bool finite = true;

  PackedRows(Matrix<const float> x, bool cosine)
      : cols(x.cols), total(padded(x.rows)), panels(total * cols), norm(cosine ? 0 : total + 128, 0.0f) {
    int bad = 0;
    const int team = total * cols < 100'000 ? 1 : threads();
    on_team(team, [&] {
      int mine = 0;
#pragma omp for schedule(static)
      for (int64_t p0 = 0; p0 < total; p0 += kPanel)
        for (int64_t q = 0; q < kPanel; ++q) {
          const int64_t i = p0 + q;
          double scale = 0;
          if (i < x.rows) {
            const double ss = squared_norm(x.row(i), cols);
            if (!std::isfinite(ss) || ss == 0) mine += !all_finite(x.row(i), cols);
            scale = !cosine ? 1.0 : ss > 0 ? 1.0 / std::sqrt(ss) : 0.0;
            if (!cosine) norm[i] = static_cast<float>(ss);
          }
          for (int64_t k = 0; k < cols; ++k)
            panels.get()[p0 * cols + k * kPanel + q] = i < x.rows ? static_cast<float>(x.row(i)[k] * scale) : 0.0f;
        }
#pragma omp atomic
      bad += mine;
    });
    finite = bad == 0;
  }
  const float* panel(int64_t row) const { return panels.get() + row * cols; }
};

}  // namespace physioclr::cpu
