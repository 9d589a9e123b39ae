// physio_features on the CPU: the waves and the features of one record after the other on each thread, with the
// thread's own scratch (core/waves_lead.h, core/features_record.h).
#include <optional>

#include "core/features_leads.h"
#include "core/features_record.h"
#include "core/guard.h"
#include "core/interrupt.h"
#include "core/macros.h"
#include "core/threads.h"
#include "core/waves_lead.h"
#include "ops.h"
#include "testing.h"

namespace physioclr::cpu {
namespace {

struct Scratch {
  explicit Scratch(const FeaturesCall& c, const Interrupt* stop = nullptr)
      : lead(c.ecg.samples, c.rpeaks.cols, kRate, stop),
        mean(static_cast<size_t>(c.ecg.samples)),
        beats(static_cast<size_t>(features::kRows * width(c))),
        waves(static_cast<size_t>(waves::kFields * c.rpeaks.cols)),
        paced(static_cast<size_t>(c.rpeaks.cols)) {}
  static int64_t width(const FeaturesCall& c) { return std::max<int64_t>(c.rpeaks.cols, features::kChunk); }
  static constexpr double kRate = 500.0;

  waves::LeadScratch lead;
  std::vector<float> mean, beats;
  std::vector<int32_t> waves;
  std::vector<uint8_t> paced;
};

PHYSIOCLR_SIMD void measure_record(const FeaturesCall& call, int64_t b, Scratch& scratch) {
  const Cube<const float>& ecg = call.ecg;
  const Matrix<const float> record{ecg.lead(b, 0), ecg.leads, ecg.samples};
  const int64_t beats = call.rpeaks.cols, leads = call.leads.size;
  const int32_t* const r = call.rpeaks.row(b);
  uint8_t* const paced = scratch.paced.data();
  features::paced_record(record, r, beats, paced);
  const features::Settings settings{call.segment, call.segments, call.bazett, call.taps};
  const features::Rows rows{scratch.beats.data(), Scratch::width(call)};
  const waves::Boundaries found{scratch.waves.data(), beats, beats};
  for (int64_t j = 0; j < leads; ++j) {
    const float* x = scratch.mean.data();
    if (call.leads.data[j] < 0) features::mean_lead(record, scratch.mean.data());
    else x = record.row(call.leads.data[j]);
    waves::delineate_lead(x, ecg.samples, Scratch::kRate, r, found, scratch.lead);
    if (scratch.lead.stopped()) return;
    features::record_features(record, x, r, paced, found, settings, rows,
                              call.out + (b * call.segments * leads + j) * features::kFeatures,
                              leads * features::kFeatures);
  }
  bool* const any = call.paced + b * call.segments;
  std::fill(any, any + call.segments, false);
  for (int64_t k = 0, s = 0; k < beats && r[k] >= 0; ++k) {
    while (s < call.segments && r[k] >= call.segment * static_cast<double>(s + 1)) ++s;
    if (s < call.segments && paced[k]) any[s] = true;
  }
}

}  // namespace

bool run(const FeaturesCall& call) {
  const Interrupt stop;
  Guard guard;
#pragma omp parallel num_threads(threads()) if (call.ecg.records > 1)
  {
    std::optional<Scratch> scratch;
    guard([&] { scratch.emplace(call, &stop); });
#pragma omp for schedule(dynamic, 4)
    for (int64_t b = 0; b < call.ecg.records; ++b)
      if (!stop()) guard([&] { measure_record(call, b, *scratch); });
  }
  guard.raise();
  return true;
}

}  // namespace physioclr::cpu

void physioclr::testing::features_of_waves(const FeaturesCall& call, int32_t* waves, const uint8_t* paced) {
  cpu::Scratch scratch(call);
  const Cube<const float>& ecg = call.ecg;
  const int64_t beats = call.rpeaks.cols;
  const features::Settings settings{call.segment, call.segments, call.bazett, call.taps};
  for (int64_t b = 0; b < ecg.records; ++b)
    features::record_features({ecg.lead(b, 0), ecg.leads, ecg.samples}, ecg.lead(b, 0), call.rpeaks.row(b),
                              paced + b * beats, {waves + b * beats, ecg.records * beats, beats}, settings,
                              {scratch.beats.data(), cpu::Scratch::width(call)},
                              call.out + b * call.segments * features::kFeatures, features::kFeatures);
}
