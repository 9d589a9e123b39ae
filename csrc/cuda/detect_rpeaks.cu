#include "cuda/launch.h"
#include "cuda/rpeaks_work.h"
#include "ops.h"

namespace physioclr::cuda {

int64_t detect_rpeaks_workspace(int64_t records, int64_t leads, int64_t samples, double fs) {
  RpeaksWork work;
  return rpeaks_work(device_plan(rpeaks::WorkPlans(samples, fs), samples), records, leads, nullptr, &work);
}

namespace {

template <class T>
void detect(const RpeaksCall<T>& call, void* stream) {
  const Cube<const T> ecg = call.ecg;
  if (ecg.records == 0) return;
  const RpeaksPlan plan = device_plan(rpeaks::WorkPlans(ecg.samples, call.fs), ecg.samples);
  const int64_t rows = ecg.records * ecg.leads;
  if (rows > INT32_MAX) throw std::runtime_error("detect_rpeaks: more than 2,147,483,647 leads in the batch");
  RpeaksWork work;
  rpeaks_work(plan, ecg.records, ecg.leads, static_cast<unsigned char*>(call.scratch), &work);
  const int leads = static_cast<int>(ecg.leads);
  if (rows > 0 && !plan.too_short) {
    rpeaks_anchor_kernel<T><<<static_cast<unsigned>(ecg.records), kAnchorThreads, 0, as_stream(stream)>>>(
        ecg.data, leads, plan, call.start, work);
    check(cudaGetLastError(), "detect_rpeaks (anchors)");
    rpeaks_lead_kernel<T>
        <<<static_cast<unsigned>(rows), kLeadThreads, 0, as_stream(stream)>>>(ecg.data, leads, plan, work);
    check(cudaGetLastError(), "detect_rpeaks (leads)");
  }
  rpeaks_record_kernel<T><<<static_cast<unsigned>(ecg.records), kRecordThreads, 0, as_stream(stream)>>>(
      ecg.data, leads, plan, work, call.index.data, call.index.cols, call.count, call.quality);
  check(cudaGetLastError(), "detect_rpeaks (records)");
}

}  // namespace

void run(const RpeaksCall<float>& call, void* stream) { detect(call, stream); }
void run(const RpeaksCall<int16_t>& call, void* stream) { detect(call, stream); }

}  // namespace physioclr::cuda
