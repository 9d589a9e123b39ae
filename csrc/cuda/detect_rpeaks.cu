#include "cuda/launch.h"
#include "cuda/rpeaks_work.h"
#include "ops.h"

namespace physioclr::cuda {

int64_t detect_rpeaks_workspace(int64_t records, int64_t leads, int64_t samples, double fs) {
  RpeaksWork work;
  return rpeaks_work(device_plan(rpeaks::Plan(samples, fs), samples), records, leads, nullptr, &work);
}

template <class T>
static void run(Cube<const T> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality, void* scratch,
                void* stream) {
  if (ecg.records == 0) return;
  const RpeaksPlan plan = device_plan(rpeaks::Plan(ecg.samples, fs), ecg.samples);
  const int64_t rows = ecg.records * ecg.leads;
  if (rows > INT32_MAX) throw std::runtime_error("detect_rpeaks: more than 2,147,483,647 leads in the batch");
  RpeaksWork work;
  rpeaks_work(plan, ecg.records, ecg.leads, static_cast<unsigned char*>(scratch), &work);
  if (rows > 0 && !plan.too_short) {
    rpeaks_lead_kernel<T><<<static_cast<unsigned>(rows), kLeadThreads, 0, as_stream(stream)>>>(ecg.data, plan, work);
    check(cudaGetLastError(), "detect_rpeaks (leads)");
  }
  rpeaks_record_kernel<T><<<static_cast<unsigned>(ecg.records), kRecordThreads, 0, as_stream(stream)>>>(
      ecg.data, static_cast<int>(ecg.leads), plan, work, index.data, index.cols, count, quality);
  check(cudaGetLastError(), "detect_rpeaks (records)");
}

void detect_rpeaks(Cube<const float> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality,
                   void* scratch, void* stream) {
  run(ecg, fs, index, count, quality, scratch, stream);
}
void detect_rpeaks(Cube<const int16_t> ecg, double fs, Matrix<int32_t> index, int32_t* count, float* quality,
                   void* scratch, void* stream) {
  run(ecg, fs, index, count, quality, scratch, stream);
}

}  // namespace physioclr::cuda
