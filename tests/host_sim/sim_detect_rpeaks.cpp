// detect_rpeaks: the CUDA kernels on host threads against the CPU kernel. Everything must be the same, index for index
// and in every bit of the quality: on ragged sizes and rates, gaps, flat and huge leads, and on the records shipped
// with the package (HOSTSIM_RECORDS says how many of them).
#include "cuda_host_sim.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "cuda/rpeaks_work.h"
#include "ops.h"

using namespace physioclr;

template <class T>
static int64_t compare(hostsim::Array<T>& x, int64_t records, int64_t leads, int64_t samples, double fs,
                       int64_t columns, const char* what, int64_t first = -1) {
  const rpeaks::RpeaksPlan plan = rpeaks::device_plan(rpeaks::WorkPlans(samples, fs), samples);
  cuda::RpeaksWork work;
  hostsim::Array<unsigned char> scratch(cuda::rpeaks_work(plan, records, leads, nullptr, &work) + 256);
  unsigned char* start = scratch.get() + (256 - reinterpret_cast<uintptr_t>(scratch.get()) % 256) % 256;
  cuda::rpeaks_work(plan, records, leads, start, &work);
  hostsim::Array<int32_t> index(records * columns), cpu_index(records * columns), count(records), cpu_count(records);
  hostsim::Array<float> quality(records), cpu_quality(records);
  if (leads > 0 && !plan.too_short) {
    hostsim::launch(cuda::rpeaks_anchor_kernel<T>, {static_cast<unsigned>(records)}, {cuda::kAnchorThreads}, x.get(),
                    static_cast<int>(leads), plan, first, work);
    hostsim::launch(cuda::rpeaks_lead_kernel<T>, {static_cast<unsigned>(records * leads)}, {cuda::kLeadThreads},
                    x.get(), static_cast<int>(leads), plan, work);
  }
  hostsim::launch(cuda::rpeaks_record_kernel<T>, {static_cast<unsigned>(records)}, {cuda::kRecordThreads}, x.get(),
                  static_cast<int>(leads), plan, work, index.get(), columns, count.get(), quality.get());
  cpu::run(RpeaksCall<T>{{x.get(), records, leads, samples},
                         fs,
                         first,
                         {cpu_index.get(), records, columns},
                         cpu_count.get(),
                         cpu_quality.get(),
                         nullptr});
  int64_t beats = 0;
  for (int64_t b = 0; b < records; ++b) {
    hostsim::expect_near(count[b], cpu_count[b], 0, what, b);
    hostsim::expect_near(quality[b], cpu_quality[b], 0, "quality", b);
    for (int64_t k = 0; k < columns; ++k)
      hostsim::expect_near(index[b * columns + k], cpu_index[b * columns + k], 0, "index", b * columns + k);
    beats += cpu_count[b];
  }
  return beats;
}

// Beats of random size in noise; some leads flat, some with gaps, one too large for its squares.
static void made_up(int64_t records, int64_t leads, int64_t samples, double fs, double noise, int64_t columns) {
  hostsim::Array<float> x(records * leads * samples);
  hostsim::Array<int16_t> raw(records * leads * samples);
  hostsim::Random random(static_cast<uint64_t>(samples * 31 + leads));
  for (int64_t r = 0; r < records * leads; ++r) {
    const double rate = 1.0 + 0.5 * (r / leads % 3) + 0.2 * random(), gain = r % 5 == 1 ? -0.7 : 1.0 + 0.5 * random();
    for (int64_t t = 0; t < samples; ++t) {
      const double phase = std::fmod(t / fs * rate, 1.0);
      const double qrs = std::exp(-0.5 * std::pow((phase - 0.4) / rate / 0.011, 2));
      const double s = -0.3 * std::exp(-0.5 * std::pow((phase - 0.44) / rate / 0.012, 2));
      const double wave = 0.25 * std::exp(-0.5 * std::pow((phase - 0.75) / rate / 0.045, 2));
      const double v = gain * (qrs + s + wave) + noise * random() + 0.3 * std::sin(2.1 * t / fs);
      x[r * samples + t] = static_cast<float>(r % 7 == 6 ? 0.25 : r % 7 == 5 ? v * 1e18 : v);
      raw[r * samples + t] = static_cast<int16_t>(std::lround(v * 1000));
    }
    const float gone = r % 2 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
    if (r % 4 == 3) {
      for (int64_t t = 0; t < samples / 9; ++t) x[r * samples + t] = gone;
      for (int64_t t = samples / 2; t < samples / 2 + samples / 7; ++t) x[r * samples + t] = gone;
      for (int64_t t = samples - samples / 11; t < samples; ++t) x[r * samples + t] = gone;
    }
    if (r % 11 == 10)
      for (int64_t t = 0; t < samples; ++t) x[r * samples + t] = gone;
  }
  const int64_t found = compare(x, records, leads, samples, fs, columns, "count");
  compare(raw, records, leads, samples, fs, columns, "count of int16");
  compare(x, records, leads, samples, fs, columns, "count of a piece", 12345);
  std::printf("%lld x %lld x %lld at %g Hz: %lld beats\n", static_cast<long long>(records),
              static_cast<long long>(leads), static_cast<long long>(samples), fs, static_cast<long long>(found));
  std::fflush(stdout);
}

// T waves as tall as the R wave, which look like beats at first.
static void tall_t_waves(int64_t leads, double fs) {
  const int64_t samples = static_cast<int64_t>(12 * fs);
  hostsim::Array<float> x(leads * samples);
  hostsim::Random random(7);
  for (int64_t r = 0; r < leads; ++r)
    for (int64_t t = 0; t < samples; ++t) {
      const double s = std::fmod(t / fs, 1.2) - 0.3;
      const double v = std::exp(-0.5 * std::pow(s / 0.011, 2)) + std::exp(-0.5 * std::pow((s - 0.35) / 0.025, 2));
      x[r * samples + t] = static_cast<float>((r % 2 ? -0.6 : 1.0) * v + 0.005 * random());
    }
  const int64_t found = compare(x, 1, leads, samples, fs, 60, "count of tall T waves");
  std::printf("%lld leads of tall T waves: %lld beats\n", static_cast<long long>(leads), static_cast<long long>(found));
  if (found != 10) ++hostsim::failures;
}

// Records of 12 leads x 5000 samples in format 16: little-endian int16, the leads interleaved.
static void shipped(int64_t most) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(PHYSIOCLR_SAMPLE))
    if (entry.path().extension() == ".dat") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  const int64_t n = std::min<int64_t>(most, static_cast<int64_t>(files.size())), size = 12 * 5000;
  if (n == 0 && most > 0) ++hostsim::failures;
  hostsim::Array<int16_t> raw(n * size);
  hostsim::Array<float> mv(n * size);
  for (int64_t b = 0; b < n; ++b) {
    std::vector<int16_t> file(size);
    std::ifstream in(files[b], std::ios::binary);
    in.read(reinterpret_cast<char*>(file.data()), size * 2);
    if (in.gcount() != size * 2) ++hostsim::failures;
    for (int64_t i = 0; i < size; ++i) raw[b * size + i % 12 * 5000 + i / 12] = file[i];
  }
  for (int64_t i = 0; i < n * size; ++i) mv[i] = 0.001f * raw[i];
  const int64_t found = compare(raw, n, 12, 5000, 500.0, 51, "count of shipped int16");
  compare(mv, n, 12, 5000, 500.0, 51, "count of shipped mV");
  compare(mv, n * 12, 1, 5000, 500.0, 51, "count of shipped leads");
  std::printf("%lld shipped records: %lld beats\n", static_cast<long long>(n), static_cast<long long>(found));
  if (n > 0 && found < 5 * n) ++hostsim::failures;  // it did find them
}

int main() {
  made_up(2, 12, 2600, 500, 0.02, 27);
  made_up(3, 1, 1134, 250, 0.1, 4);     // more beats than columns
  made_up(3, 2, 901, 100, 0.05, 20);    // every second working sample is an envelope sample
  made_up(2, 3, 777, 50, 0.02, 80);     // every one is
  made_up(2, 2, 9000, 4000, 0.02, 20);  // 32 samples a working sample
  made_up(2, 1, 2900, 128, 0.5, 120);   // noise; longer than shared memory holds
  made_up(1, 3, 2000, 360, 0.1, 0);     // no columns
  made_up(2, 2, 129, 500, 0.02, 3);     // too short
  made_up(2, 1, 1, 360, 0.02, 3);
  tall_t_waves(1, 500);
  tall_t_waves(3, 250);
  const char* records = std::getenv("HOSTSIM_RECORDS");
  shipped(records ? std::atoll(records) : 2);
  return hostsim::finish("detect_rpeaks");
}
