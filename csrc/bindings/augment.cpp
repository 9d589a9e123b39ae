#include <pybind11/stl.h>  // the plan arrives as a list of floats

#include <vector>

#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {
namespace {

AugmentCall call_of(const std::vector<double>& plan, double fs, int64_t seed, Address sample_id, Address rpeaks,
                    int64_t beats) {
  AugmentCall call{{}, fs, static_cast<uint64_t>(seed), ptr<const int64_t>(sample_id), ptr<const int32_t>(rpeaks), beats};
  if (plan.size() != kAugmentations * kSettings) throw py::value_error("plan has the wrong length");
  for (int k = 0; k < kAugmentations * kSettings; ++k) call.plan.v[k / kSettings][k % kSettings] = plan[k];
  return call;
}

}  // namespace

void bind_augment(py::module_& m) {
  m.attr("PLAN_SHAPE") = py::make_tuple(static_cast<int>(kAugmentations), kSettings);
  m.def("augment", [](Address x, int64_t b, int64_t l, int64_t t, bool f64, const std::vector<double>& plan, double fs,
                      int64_t seed, Address sample_id, Address rpeaks, int64_t beats, Address y, Address rpeaks_out,
                      Address count_out) {
    const AugmentCall call = call_of(plan, fs, seed, sample_id, rpeaks, beats);
    auto run = [&](auto zero) {
      using T = decltype(zero);
      cpu::augment(Cube<const T>{ptr<const T>(x), b, l, t}, call, Cube<T>{ptr<T>(y), b, l, t}, ptr<int32_t>(rpeaks_out),
                   ptr<int32_t>(count_out));
    };
    py::gil_scoped_release nogil;
    f64 ? run(0.0) : run(0.0f);
  });
  m.def("augment_bwd", [](Address gy, int64_t b, int64_t l, int64_t t, bool f64, const std::vector<double>& plan,
                          double fs, int64_t seed, Address sample_id, Address rpeaks, int64_t beats, Address gx) {
    const AugmentCall call = call_of(plan, fs, seed, sample_id, rpeaks, beats);
    auto run = [&](auto zero) {
      using T = decltype(zero);
      cpu::augment_bwd(Cube<const T>{ptr<const T>(gy), b, l, t}, call, Cube<T>{ptr<T>(gx), b, l, t});
    };
    py::gil_scoped_release nogil;
    f64 ? run(0.0) : run(0.0f);
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
