// augment and shuffle_beats on the GPU: two launches, whatever the plan; nothing is allocated and nothing waits.
// Compiled with --fmad=false.
#include <algorithm>

#include "cuda/augment_bwd_kernel.cuh"
#include "cuda/augment_kernel.cuh"
#include "cuda/launch.h"
#include "ops.h"

namespace physioclr::cuda {
namespace {

constexpr int64_t kBlocksWanted = 2048;  // a few for each multiprocessor of any card, so that small batches fill it too

bool is_on(const AugmentPlan& plan, int row) { return plan.v[row][0] > 0; }

// Calls f(arguments of up to kViewsAtOnce views) after their records have been prepared.
template <class F>
void in_groups(const AugmentCall& call, void* stream, const char* what, F f) {
  const AugmentPass& pass = call.pass;
  if (pass.records == 0 || pass.leads == 0 || pass.samples == 0) return;
  for (int64_t view0 = 0; view0 < pass.seeds.size; view0 += kViewsAtOnce) {
    AugmentArgs args{call, {}, view0, std::min<int64_t>(kViewsAtOnce, pass.seeds.size - view0), 1, nullptr};
    args.workspace =
        static_cast<char*>(call.workspace) + view0 * pass.records * slot_bytes(pass.leads, pass.rpeaks.cols);
    for (int64_t v = 0; v < args.views; ++v) args.seeds[v] = static_cast<uint64_t>(pass.seeds.data[view0 + v]);
    const dim3 grid(static_cast<unsigned>(pass.records), static_cast<unsigned>(args.views));
    augment_record_kernel<<<grid, kRecordThreads, 0, as_stream(stream)>>>(args);
    check(cudaGetLastError(), what);
    f(args);
  }
}

template <class In, class T>
void samples_of(AugmentArgs args, void* stream) {
  const AugmentPass& pass = args.call.pass;
  const AugmentPlan& plan = pass.plan;
  const int64_t records = pass.records * args.views, tiles = (pass.samples + kAugTile - 1) / kAugTile;
  args.splits = std::clamp<int64_t>(kBlocksWanted / records, 1, tiles);
  const int64_t blocks = records * args.splits;
  if (blocks > 2147483647) throw std::runtime_error("augment: more than 2^31 - 1 records and views; split the batch");
  const bool mixes = is_on(plan, kBaselineWander) || is_on(plan, kPowerline) || is_on(plan, kMuscleNoise) ||
                     is_on(plan, kGaussianNoise) || (is_on(plan, kVcgRotation) && pass.leads == 12);
  const auto grid = static_cast<unsigned>(blocks);
  if (mixes) augment_kernel<In, T, true><<<grid, kAugThreads, 0, as_stream(stream)>>>(args);
  else augment_kernel<In, T, false><<<grid, kAugThreads, 0, as_stream(stream)>>>(args);
  check(cudaGetLastError(), "augment");
}

}  // namespace

int64_t augment_workspace(int64_t views, int64_t records, int64_t leads, int64_t beats) noexcept {
  return views * records * slot_bytes(leads, beats);
}

void run(const AugmentCall& call, void* stream) {
  in_groups(call, stream, "augment (records)", [&](const AugmentArgs& args) {
    switch (call.x.type) {
      case Element::kFloat: return samples_of<float, float>(args, stream);
      case Element::kDouble: return samples_of<double, double>(args, stream);
      case Element::kHalf: return samples_of<Half, float>(args, stream);
      case Element::kBFloat: return samples_of<BFloat, float>(args, stream);
      case Element::kInt16: return samples_of<int16_t, float>(args, stream);
    }
  });
}

void run(const AugmentBwdCall& call, void* stream) {
  in_groups(as_pass(call), stream, "augment backward (records)", [&](const AugmentArgs& args) {
    const int64_t chunks = (call.pass.samples + kAugThreads - 1) / kAugThreads;
    const dim3 grid(static_cast<unsigned>(call.pass.records), static_cast<unsigned>(chunks));
    if (chunks > 65535) throw std::runtime_error("augment: more than 16,776,960 samples in a record");
    if (call.grad.type == Element::kDouble)
      augment_bwd_kernel<double><<<grid, kAugThreads, 0, as_stream(stream)>>>(args);
    else augment_bwd_kernel<float><<<grid, kAugThreads, 0, as_stream(stream)>>>(args);
    check(cudaGetLastError(), "augment backward");
  });
}

}  // namespace physioclr::cuda
