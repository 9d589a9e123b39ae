// augment and shuffle_beats on the GPU: two launches, whatever the plan; nothing is allocated and nothing waits. Compiled
// with --fmad=false.
#include <algorithm>

#include "cuda/augment_bwd_kernel.cuh"
#include "cuda/augment_kernel.cuh"
#include "cuda/launch.h"
#include "ops.h"

namespace physioclr::cuda {
namespace {

constexpr int64_t kBlocksWanted = 2048;  // a few for each multiprocessor of any card, so that small batches fill it too

bool is_on(const Plan& plan, int row) { return plan.v[row][0] > 0; }

// Calls f(arguments of up to kViewsAtOnce views) after their records have been prepared.
template <class F>
void in_groups(const Signal& x, const AugmentCall& call, const Signal& y, int32_t* rpeaks_out, int32_t* count_out,
               void* workspace, void* stream, const char* what, F f) {
  if (x.records == 0 || x.leads == 0 || x.samples == 0) return;
  for (int64_t view0 = 0; view0 < call.views; view0 += kViewsAtOnce) {
    AugmentArgs args{x, y, call, {}, view0, std::min<int64_t>(kViewsAtOnce, call.views - view0), 1, nullptr};
    args.workspace = static_cast<char*>(workspace) + view0 * x.records * slot_bytes(x.leads, call.beats);
    for (int64_t v = 0; v < args.views; ++v) args.seeds[v] = static_cast<uint64_t>(call.seeds[view0 + v]);
    const dim3 grid(static_cast<unsigned>(x.records), static_cast<unsigned>(args.views));
    augment_record_kernel<<<grid, kRecordThreads, 0, as_stream(stream)>>>(args, rpeaks_out, count_out);
    check(cudaGetLastError(), what);
    f(args);
  }
}

template <class In, class T>
void samples_of(AugmentArgs args, void* stream) {
  const Plan& plan = args.call.plan;
  const int64_t records = args.x.records * args.views, tiles = (args.x.samples + kAugTile - 1) / kAugTile;
  args.splits = std::clamp<int64_t>(kBlocksWanted / records, 1, tiles);
  const int64_t blocks = records * args.splits;
  if (blocks > 2147483647) throw std::runtime_error("augment: more than 2^31 - 1 records and views; split the batch");
  const bool mixes = is_on(plan, kBaselineWander) || is_on(plan, kPowerline) || is_on(plan, kMuscleNoise) ||
                     is_on(plan, kGaussianNoise) || (is_on(plan, kVcgRotation) && args.x.leads == 12);
  const auto grid = static_cast<unsigned>(blocks);
  if (mixes)
    augment_kernel<In, T, true><<<grid, kAugThreads, 0, as_stream(stream)>>>(args);
  else
    augment_kernel<In, T, false><<<grid, kAugThreads, 0, as_stream(stream)>>>(args);
  check(cudaGetLastError(), "augment");
}

}  // namespace

int64_t augment_workspace(int64_t views, int64_t records, int64_t leads, int64_t beats) noexcept {
  return views * records * slot_bytes(leads, beats);
}

void augment(const Signal& x, const AugmentCall& call, const Signal& y, int32_t* rpeaks_out, int32_t* count_out,
             void* workspace, void* stream) {
  in_groups(x, call, y, rpeaks_out, count_out, workspace, stream, "augment (records)", [&](const AugmentArgs& args) {
    switch (x.type) {
      case Element::kFloat: return samples_of<float, float>(args, stream);
      case Element::kDouble: return samples_of<double, double>(args, stream);
      case Element::kHalf: return samples_of<Half, float>(args, stream);
      case Element::kBFloat: return samples_of<BFloat, float>(args, stream);
      case Element::kInt16: return samples_of<int16_t, float>(args, stream);
    }
  });
}

void augment_bwd(const Signal& gy, const AugmentCall& call, const Signal& gx, void* workspace, void* stream) {
  if (gy.records == 0 || gy.leads == 0 || gy.samples == 0) return;
  in_groups(gy, call, gx, nullptr, nullptr, workspace, stream, "augment backward (records)", [&](const AugmentArgs& args) {
    const int64_t chunks = (gy.samples + kAugThreads - 1) / kAugThreads;
    const dim3 grid(static_cast<unsigned>(gy.records), static_cast<unsigned>(chunks));
    if (chunks > 65535) throw std::runtime_error("augment: more than 16,776,960 samples in a record");
    if (gy.type == Element::kDouble)
      augment_bwd_kernel<double><<<grid, kAugThreads, 0, as_stream(stream)>>>(args);
    else
      augment_bwd_kernel<float><<<grid, kAugThreads, 0, as_stream(stream)>>>(args);
    check(cudaGetLastError(), "augment backward");
  });
}

}  // namespace physioclr::cuda
