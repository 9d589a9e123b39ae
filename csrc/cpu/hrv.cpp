// hrv on the CPU. The periodogram turns every interval's cosine and sine on by one step of frequency at a time, so that
// a frequency costs a few products an interval and no call of sin().
#include <algorithm>
#include <vector>

#include "core/hrv_math.h"
#include "core/interrupt.h"
#include "core/threads.h"
#include "cpu/hrv_turns.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

using namespace hrv;

constexpr int64_t kFrequencies = 64;  // between two questions whether to stop

// What the normal intervals of a record have, side by side.
struct Intervals {
  std::vector<double> t, y, c, s, step_c, step_s;  // s, ms about the mean; cosine, sine and their step

  void start(const Grid& grid) {
    const size_t n = t.size();
    for (auto* v : {&c, &s, &step_c, &step_s}) v->resize(n);
    for (size_t j = 0; j < n; ++j) {
      const double at = kTwoPi * t[j], first = static_cast<double>(grid.first) * grid.step;
      c[j] = std::cos(at * first), s[j] = std::sin(at * first);
      step_c[j] = std::cos(at * grid.step), step_s[j] = std::sin(at * grid.step);
    }
  }
};

double band_power(Intervals& of, const Band& in, const Interrupt& stop) {
  const auto n = static_cast<int64_t>(of.t.size());
  const double span = n > 0 ? of.t.back() - of.t.front() : 0.0;
  const Grid grid = grid_of(static_cast<double>(n), span, in);
  if (grid.first > grid.last) return NAN;
  of.start(grid);
  Waves waves[kFrequencies];
  double power = 0;
  for (int64_t k = grid.first; k <= grid.last && !stop(); k += kFrequencies) {
    const int64_t count = std::min(kFrequencies, grid.last + 1 - k);
    turns().turn(of.y.data(), of.c.data(), of.s.data(), of.step_c.data(), of.step_s.data(), n, count, waves);
    for (int64_t f = 0; f < count; ++f) power += weight(grid, k + f) * density(waves[f], static_cast<double>(n), span);
  }
  return power;
}

void one_record(const HrvCall& call, int64_t b, Intervals& of, const Interrupt& stop) {
  const int32_t* r = call.rpeaks.row(b);
  const int64_t columns = call.rpeaks.cols;
  const Record record{r, count_beats(r, columns), call.fs, call.exclude};
  for (int64_t k = 0; k < columns; ++k) call.ectopic[b * columns + k] = is_ectopic(r, record.beats, k);
  Sums sums{};
  double total = 0;
  of.t.clear(), of.y.clear();
  for (int64_t k = 0; k < record.intervals(); ++k) {
    if (!record.normal(k)) continue;
    sums.n += 1, total += record.nn(k);
    of.t.push_back(record.end(k)), of.y.push_back(record.nn(k));
  }
  const double mean = sums.n > 0 ? total / sums.n : NAN;
  for (double& y : of.y) y -= mean;
  for (int64_t k = 0; k < record.intervals(); ++k) add_deviation(record, k, mean, sums);
  const double lf = band_power(of, band(0), stop), hf = band_power(of, band(1), stop);
  write_values(sums, mean, lf, hf, call.values + b, call.rpeaks.rows);
}

}  // namespace

bool run(const HrvCall& call) {
  constexpr int64_t kRecords = 8;  // what a thread takes at a time
  const int64_t rows = call.rpeaks.rows, parts = (rows + kRecords - 1) / kRecords;
  // No more threads than parts: a caller without one would wait for the others, and nobody would ask for a signal.
  const int team = rows * call.rpeaks.cols < 4096 ? 1 : static_cast<int>(std::min<int64_t>(threads(), parts));
  const Interrupt stop;
  on_team(team, [&] {
    Intervals of;
#pragma omp for schedule(dynamic, kRecords)
    for (int64_t b = 0; b < rows; ++b)
      if (!stop()) one_record(call, b, of, stop);
  });
  return true;
}

}  // namespace physioclr::cpu
