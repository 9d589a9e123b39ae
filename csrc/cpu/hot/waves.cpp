// The kernels of waves.h. All instruction sets give the same bits.
#include "cpu/waves.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/features_leads.h"
#include "core/features_record.h"
#include "core/waves_lead.h"

namespace physioclr::cpu {
namespace {
namespace waves = physioclr::waves::PHYSIOCLR_ISA;
namespace features = physioclr::features::PHYSIOCLR_ISA;
using physioclr::waves::kLeadAll;
using physioclr::waves::kLeadMean;
constexpr int64_t kColumns = physioclr::features::kFeatures;
constexpr double kFeatureRate = 500.0;

void delineate(const DelineateCall& call, int64_t b, WavesScratch& memory) {
  const Cube<const float>& ecg = call.ecg;
  const int64_t beats = call.rpeaks.cols, rows = call.lead == kLeadAll ? ecg.leads + 1 : 1;
  const int32_t* const rpeaks = call.rpeaks.row(b);
  const waves::Boundaries out{call.out + b * rows * beats, ecg.records * rows * beats, beats};
  const waves::LeadShape shape(ecg.samples, beats, call.fs);
  double* const numbers = memory.fit_numbers(shape.numbers() + ecg.leads);
  const bool last = b + 1 == ecg.records;
  waves::Ahead ahead(last || call.lead < 0 ? nullptr : ecg.lead(b + 1, call.lead), ecg.samples * sizeof(float));
  const waves::LeadScratch scratch(shape, numbers, memory.fit_counts(shape.counts()), &ahead, memory.stop);
  if (call.lead == kLeadAll) {
    for (int64_t l = 0; l < ecg.leads && !scratch.stopped(); ++l)
      waves::delineate_lead(ecg.lead(b, l), ecg.samples, call.fs, rpeaks, {out.data + l * beats, out.stride, beats},
                            scratch);
    if (scratch.stopped()) return;
    return waves::consensus(out, ecg.leads, numbers + shape.numbers());
  }
  const float* x;
  if (call.lead == kLeadMean) {
    float* const mean = memory.fit_samples(ecg.samples);
    features::mean_lead({ecg.lead(b, 0), ecg.leads, ecg.samples}, mean);
    x = mean;
  } else {
    x = ecg.lead(b, call.lead);
  }
  waves::delineate_lead(x, ecg.samples, call.fs, rpeaks, out, scratch);
}

int64_t row_width(const FeaturesCall& call) {
  return call.rpeaks.cols > physioclr::features::kChunk ? call.rpeaks.cols : physioclr::features::kChunk;
}

void measure(const FeaturesCall& call, int64_t b, WavesScratch& memory) {
  const Cube<const float>& ecg = call.ecg;
  const Matrix<const float> record{ecg.lead(b, 0), ecg.leads, ecg.samples};
  const int64_t beats = call.rpeaks.cols, leads = call.leads.size;
  const int32_t* const r = call.rpeaks.row(b);
  const waves::LeadShape shape(ecg.samples, beats, kFeatureRate);
  int32_t* const counts = memory.fit_counts(shape.counts() + waves::kFields * beats);
  // While one record is worked on, the lead of the next is fetched, and what paced_record looks at.
  const int64_t next = b + 1 < ecg.records ? b + 1 : -1, one = leads == 1 ? call.leads.data[0] : -1;
  waves::Ahead ahead(next < 0 || one < 0 ? nullptr : ecg.lead(next, one), ecg.samples * sizeof(float));
  const waves::LeadScratch scratch(shape, memory.fit_numbers(shape.numbers()), counts, &ahead, memory.stop);
  const waves::Boundaries found{counts + shape.counts(), beats, beats};
  const int64_t width = row_width(call);
  float* const samples = memory.fit_samples(ecg.samples + features::kRows * width);
  const features::Rows rows{samples + ecg.samples, width};
  uint8_t* const paced = memory.fit_marks(beats);
  const bool clean = features::paced_record(record, r, beats, paced);
  if (next >= 0) features::fetch_paced({ecg.lead(next, 0), ecg.leads, ecg.samples}, call.rpeaks.row(next), beats);
  const features::Settings settings{call.segment, call.segments, call.bazett, call.taps};
  for (int64_t j = 0; j < leads; ++j) {
    const float* x = samples;
    if (call.leads.data[j] == kLeadMean) features::mean_lead(record, samples);
    else x = record.row(call.leads.data[j]);
    const bool no_spikes = clean && call.leads.data[j] == features::first_looked_at(ecg.leads);
    waves::delineate_lead(x, ecg.samples, kFeatureRate, r, found, scratch, no_spikes);
    if (scratch.stopped()) return;
    features::record_features(record, x, r, paced, found, settings, rows,
                              call.out + (b * call.segments * leads + j) * kColumns, leads * kColumns);
  }
  features::paced_segments(r, paced, beats, settings, call.paced + b * call.segments);
}

void measure_waves(const FeaturesCall& call, int64_t b, int32_t* found, const uint8_t* paced, WavesScratch& memory) {
  const Cube<const float>& ecg = call.ecg;
  const int64_t beats = call.rpeaks.cols, width = row_width(call);
  features::record_features(
      {ecg.lead(b, 0), ecg.leads, ecg.samples}, ecg.lead(b, 0), call.rpeaks.row(b), paced + b * beats,
      {found + b * beats, ecg.records * beats, beats}, {call.segment, call.segments, call.bazett, call.taps},
      {memory.fit_samples(features::kRows * width), width}, call.out + b * call.segments * kColumns, kColumns);
}

}  // namespace

const WavesKernels PHYSIOCLR_ISA::waves_kernels{delineate, measure, measure_waves};

}  // namespace physioclr::cpu
