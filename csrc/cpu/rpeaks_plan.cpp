#include "core/rpeaks_plan.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace physioclr::rpeaks {

constexpr double kPi = 3.14159265358979323846;

Wavelet::Wavelet(double centre, double fw) {
  const double sigma = kCycles / centre;
  reach = static_cast<int>(std::ceil(kSupport * sigma * fw));
  std::vector<double> gauss(reach + 1), wave(reach + 1);
  double sum_gauss = 0, sum_wave = 0, norm = 0;
  for (int k = 0; k <= reach; ++k) {
    const double t = k / fw, twice = k ? 2 : 1;
    gauss[k] = std::exp(-0.5 * (t / sigma) * (t / sigma));
    wave[k] = gauss[k] * std::cos(2 * kPi * centre * t);
    sum_gauss += twice * gauss[k];
    sum_wave += twice * wave[k];
  }
  for (int k = 0; k <= reach; ++k) {
    wave[k] -= gauss[k] * sum_wave / sum_gauss;  // no response to a constant
    norm += (k ? 2 : 1) * std::fabs(wave[k]);
  }
  for (int k = 0; k <= reach; ++k) {
    even.push_back(static_cast<float>(wave[k] / norm));
    odd.push_back(static_cast<float>(gauss[k] * std::sin(2 * kPi * centre * k / fw) / norm));
  }
}

WorkPlans::WorkPlans(int64_t samples, double fs) : plan{} {
  WorkPlan& p = plan;
  p.samples = samples, p.fs = fs;
  p.step = std::max<int64_t>(1, std::llround(fs / kWorkRate));
  p.spike = std::llround(kSpike * fs);
  p.fw = fs / static_cast<double>(p.step);
  p.hop = p.fw >= kHopRate ? 2 : 1;
  p.fe = p.fw / static_cast<double>(p.hop);
  const int64_t block = std::max<int64_t>(1, std::llround(kBlock * p.fe));
  p.block = static_cast<float>(block);
  p.put(grid_of(0, samples, p.step, p.hop, block));
  p.most_blocks = p.blocks;
  for (const double centre : kCentre) bands.emplace_back(centre, p.fw);
  static_assert(kBands == 2 && kCentre[0] <= kCentre[1], "the first wavelet is the longer one");
  for (int b = 0; b < kBands; ++b) p.pad = std::max(p.pad, p.reach[b] = bands[b].reach);
  for (int k = 0; k <= p.pad; ++k)
    for (const Wavelet& w : bands)
      for (const std::vector<float>* part : {&w.even, &w.odd}) taps.push_back(k <= w.reach ? (*part)[k] : 0.0f);
  p.taps = taps.data();
}

int64_t WorkPlan::separation() const { return std::max<int64_t>(1, std::llround(kSeparation * fe)); }

RpeaksPlan device_plan(const WorkPlans& plans, int64_t samples) {
  const WorkPlan& p = plans.plan;
  if (samples > int64_t{1} << 30) throw std::runtime_error("detect_rpeaks: more than 2^30 samples in a record");
  RpeaksPlan d{};
  d.samples = static_cast<int>(samples);
  d.step = static_cast<int>(p.step), d.spike = static_cast<int>(p.spike), d.hop = static_cast<int>(p.hop);
  d.put({p.first, p.n, p.m, p.offset, p.blocks});
  d.anchor = anchor_range(samples, p.step, p.fs);
  d.separation = static_cast<int>(p.separation());
  d.refine = static_cast<int>(kRefine * p.fw), d.baseline = static_cast<int>(kBaseline * p.fw);
  d.fine = static_cast<int>(span_of(kFine, p.fs));
  d.too_short = static_cast<double>(p.n) < kShortest * p.fw;
  d.fw = p.fw, d.fe = static_cast<float>(p.fe), d.block = p.block;
  if (p.pad > kMostReach || p.reach[0] < p.reach[1] || 2 * d.fine + 1 > kMostWindow)
    throw std::logic_error("detect_rpeaks: the plan does not fit the kernels");
  for (int b = 0; b < kBands; ++b) {
    d.reach[b] = p.reach[b];
    std::copy(plans.bands[b].even.begin(), plans.bands[b].even.end(), d.even[b]);
    std::copy(plans.bands[b].odd.begin(), plans.bands[b].odd.end(), d.odd[b]);
  }
  return d;
}

const WorkPlan& plan_of(int64_t samples, double fs) {
  thread_local WorkPlans last(0, kWorkRate);
  if (last.plan.samples != samples || last.plan.fs != fs) last = WorkPlans(samples, fs);
  return last.plan;
}

}  // namespace physioclr::rpeaks
