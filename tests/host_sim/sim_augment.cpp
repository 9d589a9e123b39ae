// augment and its adjoint: the CUDA kernels on host threads against the CPU kernels, bit for bit, on ragged sizes:
// every field, two views, every element type, gathered batches, records split over blocks.
#include "cuda_host_sim.h"

#include <cstring>
#include <limits>

#include "cuda/augment_bwd_kernel.cuh"
#include "cuda/augment_kernel.cuh"
#include "ops.h"

using namespace physioclr;

constexpr unsigned kThreads = 64;
constexpr int64_t kViews = 2, kColumns = 9;
static const int64_t kSeeds[kViews] = {7, (int64_t{1} << 62) + 5};

struct Field {
  int row;
  double settings[kSettings];
};
static const Field kShuffle = {kBeatShuffle, {1, 0}}, kShuffleTp = {kBeatShuffle, {1, 1}},
                   kWarp = {kTimeWarp, {1, 0, 0.3}}, kRr = {kRrScale, {1, 0.7, 1.4}}, kCropped = {kCrop, {1, 0.5, 1}},
                   kMask = {kTimeMask, {1, 0.02, 0.1, 1, 3, 0.3, 0.02}},
                   kDropout = {kLeadDropout, {1, 0.5, 2, 2147483648.0}}, kTurned = {kVcgRotation, {1, -15, 15}},
                   kGain = {kAmplitudeScale, {1, 0.8, 1.25}}, kWander = {kBaselineWander, {1, 0.1, 0.2, 0.05, 0.5}},
                   kMains = {kPowerline, {1, 0.01, 0.03, 0}}, kMuscle = {kMuscleNoise, {1, 0.01, 0.04, 20, 120}},
                   kGaussian = {kGaussianNoise, {1, 0.005, 0.02}};

static AugmentPlan plan_of(std::vector<Field> fields) {
  AugmentPlan plan{};
  for (const Field& f : fields) std::memcpy(plan.v[f.row], f.settings, sizeof f.settings);
  return plan;
}

static int64_t bytes_of(Element type) { return type == Element::kDouble ? 8 : type == Element::kFloat ? 4 : 2; }

// One NaN for all: a processor keeps the payload of either operand.
static bool same(const unsigned char* a, const unsigned char* b, Element type) {
  if (std::memcmp(a, b, bytes_of(type)) == 0) return true;
  double v[2];
  const unsigned char* from[2] = {a, b};
  for (int k = 0; k < 2; ++k) {
    float f;
    if (type == Element::kDouble) {
      std::memcpy(&v[k], from[k], 8);
      continue;
    }
    Half h;
    BFloat w;
    std::memcpy(&f, from[k], type == Element::kFloat ? 4 : 2);
    std::memcpy(&h, from[k], 2);
    std::memcpy(&w, from[k], 2);
    v[k] = type == Element::kFloat ? f : type == Element::kHalf ? to_compute(h) : to_compute(w);
  }
  return v[0] != v[0] && v[1] != v[1];
}

struct Case {
  int64_t records, leads, samples;
  std::vector<Field> fields;
  Element in = Element::kFloat, out = Element::kFloat;
  int64_t splits = 1;
  bool gathered = false;
};

static void fill_peaks(hostsim::Array<int32_t>& r, int64_t rows, int64_t samples, hostsim::Random& random) {
  for (int64_t b = 0; b < rows; ++b) {
    int64_t at = 0;
    for (int64_t k = 0; k < kColumns; ++k) {
      at += 1 + static_cast<int64_t>((random() + 1) * static_cast<double>(samples) / kColumns);
      r[b * kColumns + k] = at < samples && (k == 0 || r[b * kColumns + k - 1] >= 0) ? static_cast<int32_t>(at) : -1;
    }
  }
}

static void put(unsigned char* to, Element type, double v) {
  if (type == Element::kDouble) return void(std::memcpy(to, &v, 8));
  const auto f = static_cast<float>(v);
  if (type == Element::kFloat) return void(std::memcpy(to, &f, 4));
  const auto i = static_cast<int16_t>(v != v ? -32768.0 : v * 1000);
  Half h;
  BFloat w;
  from_compute(f, h);
  from_compute(f, w);
  std::memcpy(to,
              type == Element::kInt16  ? static_cast<const void*>(&i)
              : type == Element::kHalf ? &h.bits
                                       : &w.bits,
              2);
}

template <class In, class T>
static void forward(const Case& c) {
  const int64_t rows = c.gathered ? c.records + 2 : c.records, wide = c.gathered ? c.samples + 37 : c.samples;
  const int64_t size = rows * c.leads * wide, out_size = kViews * c.records * c.leads * c.samples;
  hostsim::Random random(c.samples + c.leads);
  hostsim::Array<unsigned char> x(size * bytes_of(c.in)), got(out_size * bytes_of(c.out)),
      want(out_size * bytes_of(c.out));
  for (int64_t i = 0; i < size; ++i)
    put(&x[i * bytes_of(c.in)], c.in, i % 97 == 5 ? std::numeric_limits<double>::quiet_NaN() : random());
  hostsim::Array<float> scale(rows * c.leads);
  for (int64_t i = 0; i < scale.size(); ++i) scale[i] = 0.001f * static_cast<float>(1 + i % 5);
  hostsim::Array<int32_t> peaks(rows * kColumns), index(kViews * c.records * kColumns), cpu_index(index.size());
  hostsim::Array<int32_t> count(kViews * c.records), cpu_count(count.size());
  fill_peaks(peaks, rows, wide, random);
  hostsim::Array<int64_t> ids(c.records), row(c.records), start(c.records);
  for (int64_t b = 0; b < c.records; ++b) {
    ids[b] = b * b * 1234567 - 3;
    row[b] = (b * 2 + 1) % rows;
    start[b] = b * 5 % 38;
  }
  const bool raw = c.in == Element::kInt16;
  AugmentCall call{};
  call.x = {x.get(), c.in};
  if (raw) call.scale = scale.get(), call.scale_stride = c.gathered ? c.leads : 0;
  if (c.gathered) call.gather = {row.get(), start.get(), rows, wide};
  call.pass = {plan_of(c.fields), 250.0,     {kSeeds, kViews}, c.records,
               c.leads,           c.samples, ids.get(),        {peaks.get(), rows, kColumns}};
  call.y = {want.get(), c.out}, call.rpeaks_out = cpu_index.get(), call.count_out = cpu_count.get();
  cpu::run(call);
  call.y = {got.get(), c.out}, call.rpeaks_out = index.get(), call.count_out = count.get();

  hostsim::Array<unsigned char> workspace(kViews * c.records * cuda::slot_bytes(c.leads, kColumns));
  bool mixes = false;
  for (int k = kVcgRotation; k < kAugmentations; ++k) mixes |= k != kAmplitudeScale && call.pass.plan.v[k][0] > 0;
  cuda::AugmentArgs args{call, {}, 0, kViews, c.splits, reinterpret_cast<char*>(workspace.get())};
  for (int64_t v = 0; v < kViews; ++v) args.seeds[v] = static_cast<uint64_t>(kSeeds[v]);
  hostsim::launch(cuda::augment_record_kernel, {static_cast<unsigned>(c.records), kViews}, {8}, args);
  const dim3 grid{static_cast<unsigned>(c.records * kViews * c.splits)};
  mixes ? hostsim::launch(cuda::augment_kernel<In, T, true>, grid, {kThreads}, args)
        : hostsim::launch(cuda::augment_kernel<In, T, false>, grid, {kThreads}, args);
  for (int64_t i = 0; i < index.size(); ++i) hostsim::expect_near(index[i], cpu_index[i], 0, "R peak", i);
  for (int64_t i = 0; i < count.size(); ++i) hostsim::expect_near(count[i], cpu_count[i], 0, "count", i);
  for (int64_t i = 0; i < out_size; ++i) {
    const int64_t at = i * bytes_of(c.out);
    if (!same(&got[at], &want[at], c.out) && ++hostsim::failures < 10)
      std::printf("sample %lld of (%lld, %lld, %lld, %lld), %zu fields from row %d\n", static_cast<long long>(i),
                  static_cast<long long>(kViews), static_cast<long long>(c.records), static_cast<long long>(c.leads),
                  static_cast<long long>(c.samples), c.fields.size(), c.fields.empty() ? -1 : c.fields[0].row);
  }
}

template <class T>
static void backward(int64_t records, int64_t leads, int64_t samples, std::vector<Field> fields) {
  const int64_t size = records * leads * samples;
  const Element type = sizeof(T) == 8 ? Element::kDouble : Element::kFloat;
  hostsim::Random random(samples);
  hostsim::Array<T> gy(kViews * size), gx(size), cpu_gx(size);
  for (int64_t i = 0; i < gy.size(); ++i) gy[i] = static_cast<T>(random());
  hostsim::Array<int32_t> peaks(records * kColumns);
  fill_peaks(peaks, records, samples, random);
  const AugmentPass pass{plan_of(fields), 250.0,   {kSeeds, kViews}, records,
                         leads,           samples, nullptr,          {peaks.get(), records, kColumns}};
  cpu::run(AugmentBwdCall{{gy.get(), type}, pass, {cpu_gx.get(), type}, nullptr});
  const AugmentCall call = cuda::as_pass({{gy.get(), type}, pass, {gx.get(), type}, nullptr});
  hostsim::Array<unsigned char> workspace(kViews * records * cuda::slot_bytes(leads, kColumns));
  for (int64_t view = 0; view < kViews; ++view) {  // a launch for each, as where there are more than fit into one
    cuda::AugmentArgs args{call, {}, view, 1, 1, reinterpret_cast<char*>(workspace.get())};
    args.seeds[0] = static_cast<uint64_t>(kSeeds[view]);
    hostsim::launch(cuda::augment_record_kernel, {static_cast<unsigned>(records), 1}, {8}, args);
    const dim3 grid{static_cast<unsigned>(records), static_cast<unsigned>((samples + kThreads - 1) / kThreads)};
    hostsim::launch(cuda::augment_bwd_kernel<T>, grid, {kThreads}, args);
  }
  for (int64_t i = 0; i < size; ++i)
    hostsim::expect_near(static_cast<double>(gx[i]), static_cast<double>(cpu_gx[i]), 0, "gradient", i);
}

int main() {
  const std::vector<Field> every = {kShuffle, kWarp, kRr,     kCropped, kMask,   kDropout,
                                    kTurned,  kGain, kWander, kMains,   kMuscle, kGaussian};
  for (const Field& f : every) forward<float, float>({1, 12, 151, {f}});
  forward<float, float>({2, 12, 1134, every});
  forward<float, float>({2, 2, 700, {kShuffleTp, kRr, kCropped, kMask}, Element::kFloat, Element::kFloat, 2});
  forward<float, float>({2, 3, 600, {kShuffleTp, kGain}});
  forward<float, float>({2, 11, 129, {kWander, kMains, kMuscle, kGaussian, kShuffle}, Element::kFloat, Element::kHalf});
  forward<double, double>({2, 12, 530, every, Element::kDouble, Element::kDouble, 2});
  forward<Half, float>({2, 13, 65, {kWarp, kDropout}, Element::kHalf, Element::kBFloat});
  forward<BFloat, float>({1, 12, 65, every, Element::kBFloat, Element::kBFloat});
  forward<int16_t, float>({3, 12, 520, every, Element::kInt16, Element::kFloat, 2, true});
  forward<int16_t, float>({3, 2, 140, {kShuffleTp, kWarp}, Element::kInt16, Element::kHalf, 1, true});
  forward<float, float>({1, 1, 1, every});
  forward<float, float>({1, 1, 2, {}});

  backward<float>(2, 12, 151, {kShuffleTp, kTurned, kMask, kDropout, kGain, kCropped});
  backward<float>(2, 2, 300, {kShuffleTp, kWarp, kRr, kCropped});
  backward<double>(1, 13, 140, {kWarp, kMask, kDropout, kShuffle});
  backward<double>(1, 12, 200, {kRr, kTurned});
  backward<float>(1, 1, 1, {kWarp});
  return hostsim::finish("augment");
}
