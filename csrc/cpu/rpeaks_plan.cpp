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

WorkPlan::WorkPlan(int64_t length, double rate) : samples(length), fs(rate) {
  step = std::max<int64_t>(1, std::llround(fs / kWorkRate));
  n = samples / step;
  spike = std::llround(kSpike * fs);
  fw = fs / static_cast<double>(step);
  hop = fw >= kHopRate ? 2 : 1;
  m = (n + hop - 1) / hop;
  fe = fw / static_cast<double>(hop);
  block = static_cast<float>(kBlock * fe);
  blocks = std::max<int64_t>(1, static_cast<int64_t>(static_cast<float>(m) / block));
  ramp.push_back(0);
  for (int64_t k = 1; k < blocks; ++k) {
    int64_t t = std::max<int64_t>(0, static_cast<int64_t>((static_cast<float>(k) + 0.5f) * block) - 4);
    while (t < m && static_cast<float>(t) / block - 0.5f < static_cast<float>(k)) ++t;
    ramp.push_back(t);
  }
  ramp.push_back(m);
  for (const double centre : kCentre) bands.emplace_back(centre, fw);
  for (const Wavelet& w : bands) pad = std::max(pad, w.reach);
  static_assert(kBands == 2 && kCentre[0] <= kCentre[1], "the first wavelet is the longer one");
  for (int k = 0; k <= pad; ++k)
    for (const Wavelet& w : bands)
      for (const std::vector<float>* part : {&w.even, &w.odd}) taps.push_back(k <= w.reach ? (*part)[k] : 0.0f);
}

int64_t WorkPlan::separation() const { return std::max<int64_t>(1, std::llround(kSeparation * fe)); }

RpeaksPlan device_plan(const WorkPlan& p, int64_t samples) {
  if (samples > int64_t{1} << 30) throw std::runtime_error("detect_rpeaks: more than 2^30 samples in a record");
  RpeaksPlan d{};
  d.samples = static_cast<int>(samples);
  d.step = static_cast<int>(p.step), d.n = static_cast<int>(p.n), d.spike = static_cast<int>(p.spike);
  d.hop = static_cast<int>(p.hop), d.m = static_cast<int>(p.m), d.blocks = static_cast<int>(p.blocks);
  d.separation = static_cast<int>(p.separation());
  d.refine = static_cast<int>(kRefine * p.fw), d.baseline = static_cast<int>(kBaseline * p.fw);
  d.fine = static_cast<int>(span_of(kFine, p.fs));
  d.too_short = static_cast<double>(p.n) < kShortest * p.fw;
  d.fw = p.fw, d.fe = static_cast<float>(p.fe), d.block = p.block;
  if (p.pad > kMostReach || p.bands[0].reach < p.bands[1].reach || 2 * d.fine + 1 > kMostWindow)
    throw std::logic_error("detect_rpeaks: the plan does not fit the kernels");
  for (int b = 0; b < kBands; ++b) {
    d.reach[b] = p.bands[b].reach;
    std::copy(p.bands[b].even.begin(), p.bands[b].even.end(), d.even[b]);
    std::copy(p.bands[b].odd.begin(), p.bands[b].odd.end(), d.odd[b]);
  }
  return d;
}

const WorkPlan& plan_of(int64_t samples, double fs) {
  thread_local WorkPlan last(0, kWorkRate);
  if (last.samples != samples || last.fs != fs) last = WorkPlan(samples, fs);
  return last;
}

}  // namespace physioclr::rpeaks
