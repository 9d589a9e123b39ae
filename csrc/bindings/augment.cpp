#include <pybind11/stl.h>  // the plan arrives as a list of floats

#include <vector>

#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {
namespace {

AugmentCall call_of(const std::vector<double>& plan, double fs, const std::vector<int64_t>& seeds, Address sample_id,
                    Address rpeaks, int64_t beats) {
  AugmentCall call{{}, fs, seeds.data(), static_cast<int64_t>(seeds.size()), ptr<const int64_t>(sample_id),
                   ptr<const int32_t>(rpeaks), beats};
  if (plan.size() != kAugmentations * kSettings) throw py::value_error("plan has the wrong length");
  for (int k = 0; k < kAugmentations * kSettings; ++k) call.plan.v[k / kSettings][k % kSettings] = plan[k];
  return call;
}

Signal signal(Address data, int type, int64_t b, int64_t l, int64_t t, Address scale = 0) {
  return Signal{ptr<void>(data), static_cast<Element>(type), b, l, t, ptr<const float>(scale)};
}

}  // namespace

void bind_augment(py::module_& m) {
  m.attr("PLAN_SHAPE") = py::make_tuple(static_cast<int>(kAugmentations), kSettings);
  m.def("augment", [](Address x, int type, int64_t b, int64_t l, int64_t t, Address scale,
                      const std::vector<double>& plan, double fs, const std::vector<int64_t>& seeds, Address sample_id,
                      Address rpeaks, int64_t beats, Address y, int out_type, Address rpeaks_out, Address count_out) {
    const AugmentCall call = call_of(plan, fs, seeds, sample_id, rpeaks, beats);
    py::gil_scoped_release nogil;
    cpu::augment(signal(x, type, b, l, t, scale), call, signal(y, out_type, b, l, t), ptr<int32_t>(rpeaks_out),
                 ptr<int32_t>(count_out));
  });
  m.def("augment_bwd", [](Address gy, int type, int64_t b, int64_t l, int64_t t, const std::vector<double>& plan,
                          double fs, const std::vector<int64_t>& seeds, Address sample_id, Address rpeaks,
                          int64_t beats, Address gx) {
    const AugmentCall call = call_of(plan, fs, seeds, sample_id, rpeaks, beats);
    py::gil_scoped_release nogil;
    cpu::augment_bwd(signal(gy, type, b, l, t), call, signal(gx, type, b, l, t));
  });
  m.def("philox", [](Address counters, int64_t n, uint64_t key, Address words) {
    cpu::philox(ptr<const uint32_t>(counters), n, key, ptr<uint32_t>(words));
  });
  m.def("limit_simd", &cpu::limit_simd);
  m.def("normals", [](Address words, int64_t n, Address out) {
    cpu::normals(ptr<const uint32_t>(words), n, ptr<float>(out));
  });
}

}  // namespace physioclr
