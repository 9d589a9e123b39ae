#include <pybind11/stl.h>  // the plan arrives as a list of floats

#include <vector>

#include "bindings/bindings.h"
#include "ops.h"

namespace physioclr {
namespace {

// The arguments that the two directions share, in this order.
AugmentCall call_of(const std::vector<double>& plan, double fs, const std::vector<int64_t>& seeds, Address sample_id,
                    Address rpeaks, int64_t beats) {
  AugmentCall call{{}, fs, seeds.data(), static_cast<int64_t>(seeds.size()), ptr<const int64_t>(sample_id),
                   ptr<const int32_t>(rpeaks), beats};
  if (plan.size() != kAugmentations * kSettings) throw py::value_error("plan has the wrong length");
  for (int k = 0; k < kAugmentations * kSettings; ++k) call.plan.v[k / kSettings][k % kSettings] = plan[k];
  return call;
}

Signal signal(Address data, int type, int64_t b, int64_t l, int64_t t, Address scale = 0, int64_t scale_stride = 0) {
  return Signal{ptr<void>(data), static_cast<Element>(type), b, l, t, ptr<const float>(scale), scale_stride};
}

}  // namespace

void bind_augment(py::module_& m) {
  m.attr("PLAN_SHAPE") = py::make_tuple(static_cast<int>(kAugmentations), kSettings);
  m.def("augment_workspace", &cuda::augment_workspace);
  m.def("augment", [](Address x, int type, int64_t b, int64_t l, int64_t t, Address scale, int64_t scale_stride,
                      Address row, Address start, int64_t rows, int64_t row_samples, const std::vector<double>& plan,
                      double fs, const std::vector<int64_t>& seeds, Address sample_id, Address rpeaks, int64_t beats,
                      Address y, int out_type, Address rpeaks_out, Address count_out, Address workspace, int device,
                      Address stream) {
    AugmentCall call = call_of(plan, fs, seeds, sample_id, rpeaks, beats);
    call.row = ptr<const int64_t>(row), call.start = ptr<const int64_t>(start);
    call.rows = rows, call.row_samples = row_samples;
    const Signal in = signal(x, type, b, l, t, scale, scale_stride), out = signal(y, out_type, b, l, t);
    py::gil_scoped_release nogil;
    if (device < 0) return cpu::augment(in, call, out, ptr<int32_t>(rpeaks_out), ptr<int32_t>(count_out));
    cuda::augment(in, call, out, ptr<int32_t>(rpeaks_out), ptr<int32_t>(count_out), ptr<void>(workspace),
                  ptr<void>(stream));
  });
  m.def("augment_bwd", [](Address gy, int type, int64_t b, int64_t l, int64_t t, const std::vector<double>& plan,
                          double fs, const std::vector<int64_t>& seeds, Address sample_id, Address rpeaks,
                          int64_t beats, Address gx, Address workspace, int device, Address stream) {
    const AugmentCall call = call_of(plan, fs, seeds, sample_id, rpeaks, beats);
    const Signal in = signal(gy, type, b, l, t), out = signal(gx, type, b, l, t);
    py::gil_scoped_release nogil;
    if (device < 0) return cpu::augment_bwd(in, call, out);
    cuda::augment_bwd(in, call, out, ptr<void>(workspace), ptr<void>(stream));
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
