// Every CPU kernel on arrays of random size, empty axes among them, and of random values, NaN, infinite and huge ones
// among them:  random_calls ROUNDS SEED [THREADS]. Each array is its own allocation of exactly its size, so that one
// element too far is seen. What comes out is not looked at here: the tests do that.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/threads.h"
#include "cpu/gemm.h"
#include "cpu/wfdb_frames.h"
#include "cpu/wfdb_units.h"
#include "random_losses.h"
#include "testing.h"

template <class T>
static void rpeaks() {
  const int64_t records = length(3), leads = length(12), samples = chance(0.5) ? length(40) : length(2500);
  const int64_t beats = length(12);
  auto x = values<T>(records * leads * samples, kind_of_values());
  Array<int32_t> index(records * beats), count(records);
  Array<float> quality(records);
  const double rates[] = {50, 100, 250, 257.3, 360, 500, 1000, 4000};
  cpu::run(RpeaksCall<T>{{x.get(), records, leads, samples},
                         rates[whole(0, 7)],
                         chance(0.5) ? -1 : whole(0, 100000),
                         {index.get(), records, beats},
                         count.get(),
                         quality.get(),
                         nullptr});
}

static void waves() {
  const int64_t records = length(3), leads = chance(0.5) ? 12 : length(4), beats = length(40);
  const int64_t samples = chance(0.5) ? length(400) : length(6000);
  const double rates[] = {50, 100, 199.9, 250, 257.3, 360, 500, 1000, 4000};
  auto x = values<float>(records * leads * samples, kind_of_values());
  auto r = peaks(records, beats, samples, false);
  const Cube<const float> ecg{x.get(), records, leads, samples};
  const Matrix<const int32_t> rpeaks{r.get(), records, beats};
  const int64_t lead = leads && chance(0.5) ? whole(0, leads - 1) : whole(-2, -1);
  Array<int32_t> out(8 * records * (lead == -2 ? leads + 1 : 1) * beats);
  cpu::run(DelineateCall{ecg, lead, rpeaks, rates[whole(0, 8)], out.get()});

  const int64_t chosen = whole(1, 3), segments = whole(1, 4);
  Array<int64_t> numbers(chosen);
  for (int64_t j = 0; j < chosen; ++j) numbers[j] = leads ? whole(-1, leads - 1) : -1;
  auto taps = values<float>(16, Values::kPlain);
  Array<float> features(records * segments * chosen * 159);
  Array<bool> paced(records * segments);
  cpu::run(FeaturesCall{ecg,
                        {numbers.get(), chosen},
                        rpeaks,
                        chance(0.5) ? INFINITY : real(500, 1500),
                        segments,
                        chance(0.5),
                        taps.get(),
                        features.get(),
                        paced.get()});
}

static void variability() {
  const int64_t records = length(9), beats = length(200), samples = length(400000);
  auto r = peaks(records, beats, samples, chance(0.3));
  Array<float> values(records * 10);
  Array<bool> ectopic(records * beats);
  cpu::run(HrvCall{{r.get(), records, beats}, real(50, 4000), chance(0.5), values.get(), ectopic.get()});
}

template <class T>
static void peak_loss() {
  const int64_t records = length(4), leads = length(12), samples = length(600), beats = length(9), half = length(60);
  const int64_t n = records * leads * samples;
  auto x_hat = values<T>(n, kind_of_values()), x = values<T>(n, kind_of_values()),
       scale = values<T>(records, Values::kPlain);
  auto r = peaks(records, beats, samples, chance(0.3));
  Array<double> sum(records);
  Array<int64_t> count(records);
  Array<T> grad(n);
  const Cube<const T> a{x_hat.get(), records, leads, samples}, b{x.get(), records, leads, samples};
  const Matrix<const int32_t> m{r.get(), records, beats};
  if (cpu::run(PeakLossCall<T>{a, b, m, half, sum.get(), count.get()}))
    cpu::run(PeakLossBwdCall<T>{a, b, m, half, scale.get(), grad.get()});
}

static void pairs() {
  const int64_t n = length(90), f = length(40), k = whole(1, 40);
  const bool own = chance(0.5);
  const int64_t m = own ? n : length(90);
  const auto kind = kind_of_values();
  auto a = values<float>(n * f, kind), b = values<float>(own ? 0 : m * f, kind);
  const Matrix<const float> rows{a.get(), n, f}, others{own ? a.get() : b.get(), m, f};
  const double widths[] = {1e-30, 1e-3, 0.2, 1, 70, 1e20};
  const auto similarity = static_cast<Similarity>(whole(0, 1));
  const auto form = static_cast<SimilarityOut>(whole(0, 2));
  const double width = widths[whole(0, 5)];
  Array<float> scale(n + m), best(n * k);
  Array<int64_t> group(n), index(n * k);
  for (int64_t i = 0; i < n; ++i) group[i] = whole(0, 9);
  Array<unsigned char> out(form == SimilarityOut::kFloat  ? n * m * 4
                           : form == SimilarityOut::kMask ? n * m
                                                          : n * ((m + 7) / 8));
  if (form == SimilarityOut::kFloat) out.type = Element::kFloat;
  cpu::run(
      SimilarityCall{rows, others, similarity, width, form, static_cast<float>(real(-1, 1)), scale.get(), out.get()});
  cpu::run(NeighborsCall{rows, others, own, similarity, width, own && chance(0.5) ? group.get() : nullptr, k,
                         scale.get(), index.get(), best.get()});
}

static int64_t bytes_of(Element type) { return type == Element::kDouble ? 8 : type == Element::kFloat ? 4 : 2; }

static Array<unsigned char> samples_of(Element type, int64_t n, Values kind) {
  Array<unsigned char> out(n * bytes_of(type));
  out.type = type;
  auto fill = [&](auto x) {
    if (n) std::memcpy(out.get(), x.get(), static_cast<size_t>(n * bytes_of(type)));
  };
  switch (type) {
    case Element::kFloat: fill(values<float>(n, kind)); break;
    case Element::kDouble: fill(values<double>(n, kind)); break;
    case Element::kHalf: fill(values<Half>(n, kind)); break;
    case Element::kBFloat: fill(values<BFloat>(n, kind)); break;
    case Element::kInt16: fill(values<int16_t>(n, kind)); break;
  }
  return out;
}

static AugmentPlan random_plan(int64_t leads) {
  const double of[kAugmentations][kSettings] = {{1, real(0, 2) < 1 ? 0.0 : 1.0},
                                                {1, 0, 0.3},
                                                {1, 0.7, 1.4},
                                                {1, 0.5, 1},
                                                {1, 0.02, 0.1, 1, 3, 0.3, 0.02},
                                                {1, 0.5, 1, 2147483648.0},
                                                {1, -15, 15},
                                                {1, 0.8, 1.25},
                                                {1, 0.1, 0.2, 0.05, 0.5},
                                                {1, 0.01, 0.03, 0},
                                                {1, 0.01, 0.04, 20, 120},
                                                {1, 0.005, 0.02}};
  AugmentPlan plan{};
  for (int row = 0; row < kAugmentations; ++row)
    if (chance(0.4) && !(row == kVcgRotation && leads != 12)) std::memcpy(plan.v[row], of[row], sizeof of[row]);
  return plan;
}

static void augment() {
  const bool gathered = chance(0.4), raw = chance(0.4);
  const int64_t n_rows = length(5), records = gathered && !n_rows ? 0 : length(4), rows = gathered ? n_rows : records;
  const int64_t leads = chance(0.5) ? 12 : length(12), samples = length(800), beats = length(9), views = whole(1, 2);
  const int64_t wide = gathered ? samples + length(50) : samples;
  const Element reals[] = {Element::kFloat, Element::kHalf, Element::kBFloat, Element::kDouble};
  const Element in = raw ? Element::kInt16 : reals[whole(0, 3)];
  const Element out = raw ? reals[whole(0, 2)] : in == Element::kDouble ? in : reals[whole(0, 2)];
  auto x = samples_of(in, rows * leads * wide, kind_of_values());
  auto r = peaks(rows, beats, wide, chance(0.3));
  Array<float> scale(rows * leads);
  for (int64_t i = 0; i < scale.size; ++i) scale[i] = static_cast<float>(real(1e-4, 1e-2));
  Array<int64_t> row(records), start(records), ids(records), seeds(views);
  for (int64_t b = 0; b < records; ++b) {
    row[b] = gathered ? whole(0, rows - 1) : 0;  // the caller has seen that they lie in x
    start[b] = whole(0, wide - samples);
    ids[b] = whole(INT64_MIN, INT64_MAX);
  }
  for (int64_t v = 0; v < views; ++v) seeds[v] = whole(0, INT64_MAX);
  Array<unsigned char> y(views * records * leads * samples * bytes_of(out));
  y.type = out;
  Array<int32_t> r_out(views * records * beats), count(views * records);
  AugmentCall call{};
  call.x = {x.get(), in};
  if (raw) call.scale = scale.get(), call.scale_stride = chance(0.5) ? leads : 0;
  if (gathered) call.gather = {row.get(), start.get(), rows, wide};
  const double fs = chance(0.5) ? 500.0 : real(50, 4000);
  call.pass = {random_plan(leads),
               fs,
               {seeds.get(), views},
               records,
               leads,
               samples,
               chance(0.5) ? ids.get() : nullptr,
               {beats ? r.get() : nullptr, rows, beats}};
  call.y = {y.get(), out}, call.rpeaks_out = r_out.get(), call.count_out = count.get();
  cpu::run(call);

  const Element type = chance(0.5) ? Element::kFloat : Element::kDouble;
  auto grad = samples_of(type, views * records * leads * samples, kind_of_values());
  auto r2 = peaks(records, beats, samples, false);
  Array<unsigned char> grad_ecg(records * leads * samples * bytes_of(type));
  grad_ecg.type = type;
  AugmentPass pass = call.pass;
  pass.rpeaks = {beats ? r2.get() : nullptr, records, beats};
  cpu::run(AugmentBwdCall{{grad.get(), type}, pass, {grad_ecg.get(), type}, nullptr});
}

static void frames() {
  const WfdbFormat formats[] = {WfdbFormat::k16, WfdbFormat::k80, WfdbFormat::k212};
  const WfdbFormat format = formats[whole(0, 2)];
  const int64_t columns = whole(1, 5), total = length(300), first = total ? whole(0, total) : 0;
  const int64_t n = total ? whole(0, total - first) : 0;
  std::vector<WfdbColumn> column;
  int64_t frame = 0, out_size = 0;
  for (int64_t c = 0; c < columns; ++c) {
    const int64_t count = whole(1, 4);
    if (chance(0.8)) column.push_back({frame, count}), out_size += count * total;
    frame += count;
  }
  const int64_t samples = frame * n;
  const int64_t bytes = format == WfdbFormat::k16   ? 2 * samples
                        : format == WfdbFormat::k80 ? samples
                                                    : (3 * samples + 1) / 2;
  Array<uint8_t> raw(bytes);
  for (int64_t i = 0; i < bytes; ++i) raw[i] = static_cast<uint8_t>(whole(0, 255));
  Array<int16_t> out(out_size);
  cpu::wfdb_frames(raw.get(), format, frame, n, column.data(), static_cast<int64_t>(column.size()),
                   {out.get(), nullptr, nullptr, nullptr}, first, total);
  Array<int16_t> again(out_size);
  std::FILE* file = std::tmpfile();
  const int64_t offset = whole(0, 9), kept = chance(0.9) ? bytes : bytes / 2;
  for (int64_t i = 0; i < offset; ++i) std::fputc(0, file);
  std::fwrite(raw.get(), 1, static_cast<size_t>(kept), file);
  std::fflush(file);
  const cpu::WfdbOut as_samples{again.get(), nullptr, nullptr, nullptr};
  const int64_t rest = cpu::wfdb_read(fileno(file), offset, format, frame, n, column.data(),
                                      static_cast<int64_t>(column.size()), as_samples, first, total);
  if (rest != bytes - kept) std::abort();
  Array<float> volts(out_size);
  const auto zeros = values<double>(columns, chance(0.5) ? Values::kWild : Values::kPlain);
  const auto gains = values<double>(columns, Values::kPlain);
  cpu::wfdb_read(fileno(file), offset, format, frame, n, column.data(), static_cast<int64_t>(column.size()),
                 {nullptr, volts.get(), zeros.get(), gains.get()}, first, total);
  std::fclose(file);
  const int64_t rows = columns, each = length(200);
  auto x = values<int16_t>(rows * each, Values::kGaps);
  auto baseline = values<double>(rows, Values::kWild), scale = values<double>(rows, Values::kPlain);
  Array<int64_t> zero(rows);
  for (int64_t r = 0; r < rows; ++r) zero[r] = whole(-40000, 40000);
  std::vector<cpu::WfdbRow> found(static_cast<size_t>(rows));
  cpu::wfdb_scan(x.get(), rows, each, zero.get(), found.data());
  Array<float> mv(rows * each);
  cpu::wfdb_millivolts(x.get(), rows, each, baseline.get(), scale.get(), mv.get());
}

// The products by themselves, on arrays that begin and whose rows begin at any element: no vector is aligned.
template <class T>
static void products() {
  const int64_t k = length(40), ni = cpu::kPanel * whole(0, 3), nj = cpu::kPanel * whole(0, 3), ldc = nj + whole(0, 5);
  const int64_t ahead = whole(0, 7), wide = cpu::kPanel + whole(0, 5);
  const auto kind = kind_of_values();
  auto a = values<T>(ahead + ni * k, kind), b = values<T>(ahead + nj * k, kind), c = values<T>(ahead + ni * ldc, kind);
  if (nj > 0) cpu::gemm_panels(a.get() + ahead, b.get() + ahead, k, ni, nj, c.get() + ahead, ldc);
  auto one = values<T>(ahead + k * cpu::kPanel, kind), sums = values<T>(ahead + ni * wide, kind);
  cpu::gemm_add(a.get() + ahead, 1, ni, one.get() + ahead, k, ni, sums.get() + ahead, wide);
}

// What prepare and pretrain make of a record.
template <class T>
static void records() {
  const int64_t leads = length(20), samples = length(900), down = whole(1, 9), outputs = length(300);
  const auto x = values<T>(leads * samples, kind_of_values());
  const auto taps = values<T>(whole(1, 90), Values::kPlain);
  Array<T> out(leads * outputs);
  cpu::run(DecimateCall<T>{{x.get(), leads, samples}, {taps.get(), taps.size}, down, {out.get(), leads, outputs}});
  const auto y = values<T>(leads * samples, Values::kGaps);
  const auto b = values<double>(3, Values::kPlain), state = values<double>(2, Values::kPlain);
  auto a = values<double>(3, Values::kPlain);
  a[1] *= 0.1, a[2] *= 0.1;  // stable: a float holds what comes out
  Array<float> filtered(leads * samples);
  cpu::run(ZeroPhaseCall<T>{{y.get(), leads, samples},
                            {b.get(), 3},
                            {a.get(), 3},
                            {state.get(), 2},
                            samples > 1 ? whole(0, samples - 1) : 0,
                            {filtered.get(), leads, samples}});
}

// What the encoder has on a CPU.
template <class T>
static void layers() {
  const Element type = std::is_same_v<T, float> ? Element::kFloat : Element::kBFloat;
  const int64_t rows = length(300), channels = length(70);
  const auto x = values<T>(rows * channels, kind_of_values()), grad = values<T>(rows * channels, kind_of_values());
  const auto weight = values<float>(channels, Values::kPlain), bias = values<float>(channels, Values::kPlain);
  Array<float> mean(channels), var(channels), stats(2 * channels), of_weight(channels), of_bias(channels);
  Array<T> y(rows * channels), of_x(rows * channels);
  if (rows > 1) {
    cpu::run(BatchNormReluCall{{x.get(), type},
                               rows,
                               channels,
                               weight.get(),
                               bias.get(),
                               0.1,
                               1e-5,
                               mean.get(),
                               var.get(),
                               stats.get(),
                               {y.get(), type}});
    cpu::run(BatchNormReluBwdCall{{x.get(), type},
                                  {grad.get(), type},
                                  rows,
                                  channels,
                                  weight.get(),
                                  bias.get(),
                                  stats.get(),
                                  {of_x.get(), type},
                                  of_weight.get(),
                                  of_bias.get()});
  }
  const int64_t records = length(4), leads = length(12), samples = length(90), n = records * leads * samples;
  const auto signal = values<T>(n, kind_of_values());
  Array<T> half(records * leads * ((samples + 1) / 2)), again(n);
  cpu::run(HalveCall{{signal.get(), type}, records, samples, leads, {half.get(), type}});
  cpu::run(HalveBwdCall{{half.get(), type}, records, samples, leads, {again.get(), type}});
}

struct Kind {
  const char* name;
  void (*call)();
};
static const Kind kinds[] = {{"detect_rpeaks float", rpeaks<float>},
                             {"detect_rpeaks int16", rpeaks<int16_t>},
                             {"delineate, physio_features", waves},
                             {"peak_reconstruction_loss float", peak_loss<float>},
                             {"peak_reconstruction_loss double", peak_loss<double>},
                             {"hrv", variability},
                             {"physio_similarity, physio_neighbors", pairs},
                             {"augment", augment},
                             {"contrastive float", contrastive<float>},
                             {"contrastive double", contrastive<double>},
                             {"contrastive half", contrastive<Half>},
                             {"contrastive bfloat16", contrastive<BFloat>},
                             {"two views float", two_views<float>},
                             {"two views double", two_views<double>},
                             {"two views half", two_views<Half>},
                             {"two views bfloat16", two_views<BFloat>},
                             {"products float", products<float>},
                             {"products double", products<double>},
                             {"WFDB samples", frames},
                             {"decimate, zero_phase float", records<float>},
                             {"decimate, zero_phase double", records<double>},
                             {"layers float", layers<float>},
                             {"layers bfloat16", layers<BFloat>}};

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::atol(argv[1]) : 300, seed = argc > 2 ? std::atol(argv[2]) : 1;
  if (argc > 3) set_threads(std::atoi(argv[3]));
#if defined(RANDOM_BITS)  // by the set of PHYSIOCLR_ISA; each kind of call has random numbers of its own
  for (const Kind& kind : kinds) {
    digest = 0;
    for (long round = 0; round < rounds; ++round) {
      engine.seed(static_cast<uint64_t>(seed) * 1000003u + static_cast<uint64_t>(round));
      kind.call();
    }
    std::printf("%016llx %s\n", static_cast<unsigned long long>(digest), kind.name);
  }
#else
  for (long round = 0; round < rounds; ++round) {
    engine.seed(static_cast<uint64_t>(seed) * 1000003u + static_cast<uint64_t>(round));
    std::fprintf(stderr, "\rround %ld", round);         // the sanitizer's report comes after it
    testing::limit_isa(static_cast<int>(whole(0, 2)));  // as on a processor without the wider vectors
    for (const Kind& kind : kinds) kind.call();
  }
  std::printf("\n%ld rounds of %zu kinds of call, no report\n", rounds, sizeof kinds / sizeof kinds[0]);
#endif
  return 0;
}
