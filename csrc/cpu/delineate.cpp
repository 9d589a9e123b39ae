// delineate on the CPU: one record after the other on each thread, with the thread's own scratch (core/waves_lead.h).
#include <optional>

#include "core/features_leads.h"
#include "core/guard.h"
#include "core/interrupt.h"
#include "core/macros.h"
#include "core/threads.h"
#include "core/waves_lead.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

struct Scratch {
  Scratch(const DelineateCall& c, const Interrupt* stop)
      : lead(c.ecg.samples, c.rpeaks.cols, c.fs, stop),
        mean(static_cast<size_t>(c.lead == waves::kLeadMean ? c.ecg.samples : 0)),
        votes(static_cast<size_t>(c.ecg.leads)) {}
  waves::LeadScratch lead;
  std::vector<float> mean;
  std::vector<double> votes;
};

PHYSIOCLR_SIMD void delineate_record(const DelineateCall& call, int64_t b, Scratch& scratch) {
  const Cube<const float>& ecg = call.ecg;
  const int64_t beats = call.rpeaks.cols, rows = call.lead == waves::kLeadAll ? ecg.leads + 1 : 1;
  const int32_t* const rpeaks = call.rpeaks.row(b);
  const waves::Boundaries out{call.out + b * rows * beats, ecg.records * rows * beats, beats};
  if (call.lead == waves::kLeadAll) {
    for (int64_t l = 0; l < ecg.leads && !scratch.lead.stopped(); ++l)
      waves::delineate_lead(ecg.lead(b, l), ecg.samples, call.fs, rpeaks, {out.data + l * beats, out.stride, beats},
                            scratch.lead);
    if (scratch.lead.stopped()) return;
    return waves::consensus(out, ecg.leads, scratch.votes.data());
  }
  const float* x = scratch.mean.data();
  if (call.lead == waves::kLeadMean) features::mean_lead({ecg.lead(b, 0), ecg.leads, ecg.samples}, scratch.mean.data());
  else x = ecg.lead(b, call.lead);
  waves::delineate_lead(x, ecg.samples, call.fs, rpeaks, out, scratch.lead);
}

}  // namespace

bool run(const DelineateCall& call) {
  const Interrupt stop;
  Guard guard;
#pragma omp parallel num_threads(threads()) if (call.ecg.records > 1)
  {
    std::optional<Scratch> scratch;
    guard([&] { scratch.emplace(call, &stop); });
#pragma omp for schedule(dynamic, 4)
    for (int64_t b = 0; b < call.ecg.records; ++b)
      if (!stop()) guard([&] { delineate_record(call, b, *scratch); });
  }
  guard.raise();
  return true;
}

}  // namespace physioclr::cpu
