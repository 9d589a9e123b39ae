#include "core/macros.h"
#include "cpu/hrv_turns.h"

namespace physioclr::cpu {
namespace {

PHYSIOCLR_FLAT void turn(const double* y, double* c, double* s, const double* step_c, const double* step_s, int64_t n,
                         int64_t count, hrv::Waves* out) {
  for (int64_t f = 0; f < count; ++f) {
    double sum_c = 0, sum_s = 0, cc = 0, cs = 0, yc = 0, ys = 0;
#pragma omp simd reduction(+ : sum_c, sum_s, cc, cs, yc, ys)
    for (int64_t j = 0; j < n; ++j) {
      const double a = c[j], b = s[j];
      sum_c += a, sum_s += b, cc += a * a, cs += a * b, yc += y[j] * a, ys += y[j] * b;
      c[j] = a * step_c[j] - b * step_s[j];
      s[j] = b * step_c[j] + a * step_s[j];
    }
    out[f] = {sum_c, sum_s, cc, cs, yc, ys};
  }
}

}  // namespace

const Turns PHYSIOCLR_ISA::turns{turn};

}  // namespace physioclr::cpu
