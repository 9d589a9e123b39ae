#include "testing.h"

#include <pybind11/numpy.h>

#include "bindings/bindings.h"

namespace physioclr {
namespace {
template <class T>
using Given = py::array_t<T, py::array::c_style>;
}  // namespace

void bind_testing(py::module_& core) {
  py::module_ m = core.def_submodule("testing", "What only the tests call.");
  m.def("philox", [](const Given<uint32_t>& counters, uint64_t key) {
    if (counters.ndim() != 2 || counters.shape(1) != 4) throw py::value_error("counters must be (n, 4)");
    Given<uint32_t> words({counters.shape(0), counters.shape(1)});
    testing::philox(counters.data(), counters.shape(0), key, words.mutable_data());
    return words;
  });
  m.def("normals", [](const Given<uint32_t>& words) {
    Given<float> out(std::vector<py::ssize_t>(words.shape(), words.shape() + words.ndim()));
    testing::normals(words.data(), words.size(), out.mutable_data());
    return out;
  });
  m.def("limit_isa", &testing::limit_isa);
  m.def("limit_bf16", &testing::limit_bf16);
  m.def("features_of_waves",
        [](const Given<float>& ecg, const Given<int32_t>& rpeaks, Given<int32_t> waves, const Given<uint8_t>& paced,
           double segment, int64_t segments, bool bazett, const Given<float>& taps) {
          const int64_t records = ecg.shape(0), beats = rpeaks.shape(1);
          if (ecg.ndim() != 3 || rpeaks.ndim() != 2 || rpeaks.shape(0) != records ||
              waves.size() != 8 * rpeaks.size() || paced.size() != rpeaks.size() || taps.size() != 16)
            throw py::value_error("ecg (B, L, T), rpeaks and paced (B, P), waves (8, B, P), taps (16)");
          Given<float> out({records, segments, int64_t{159}});
          FeaturesCall call{};
          call.ecg = {ecg.data(), records, ecg.shape(1), ecg.shape(2)}, call.rpeaks = {rpeaks.data(), records, beats};
          call.segment = segment, call.segments = segments, call.bazett = bazett;
          call.taps = taps.data(), call.out = out.mutable_data();
          testing::features_of_waves(call, waves.mutable_data(), paced.data());
          return out;
        });
}

}  // namespace physioclr
