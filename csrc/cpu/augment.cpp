// augment and shuffle_beats on the CPU: the canonical program of core/augment_math.h, a tile of kTile samples of one
// record at a time, so that everything between reading and writing stays in the first-level cache. Compiled with
// -ffp-contract=off.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/augment_math.h"
#include "core/macros.h"
#include "core/threads.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int kTile = 8 * kGroup;

// A stretch of the output that reads a stretch of the input: y[dst + i] = x[src + i]. `half` > 0: its start is blended
// with the continuation of the piece before it over half samples on either side.
struct Piece {
  int64_t dst, src, length, half;
};

struct Span {
  int64_t start, end;
};

// What one thread works with; vectors keep their memory from record to record.
struct Scratch {
  std::vector<Piece> pieces;
  std::vector<Span> masked;
  std::vector<int32_t> peaks, order;
  std::vector<double> tone_a, tone_b;    // (channels, kTones)
  std::vector<float> lead_a, lead_b;     // (leads, kTones)
  std::vector<float> white;              // (channels, kTile)
  std::vector<uint8_t> dropped;          // (leads)
  float cosines[kTones][kGroup], sines[kTones][kGroup];
};

// ---- white noise, 64 samples at a time ----------------------------------------------------------------------------

inline void philox_lanes(uint32_t block, uint32_t purpose, const Draws& d, uint32_t (*out)[kLanes]) {
  uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
  for (int j = 0; j < kLanes; ++j) c0[j] = block + j, c1[j] = purpose, c2[j] = d.s0, c3[j] = d.s1;
  uint32_t k0 = d.k0, k1 = d.k1;
  for (int round = 0; round < 10; ++round) {
    for (int j = 0; j < kLanes; ++j) {
      const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * c0[j], p1 = static_cast<uint64_t>(kPhiloxM1) * c2[j];
      c0[j] = static_cast<uint32_t>(p1 >> 32) ^ c1[j] ^ k0;
      c1[j] = static_cast<uint32_t>(p1);
      c2[j] = static_cast<uint32_t>(p0 >> 32) ^ c3[j] ^ k1;
      c3[j] = static_cast<uint32_t>(p0);
    }
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  for (int j = 0; j < kLanes; ++j) out[0][j] = c0[j], out[1][j] = c1[j], out[2][j] = c2[j], out[3][j] = c3[j];
}

// out[0 .. n) = sd * normals of samples t0 .. t0 + n of one channel; t0 and the room in `out` are multiples of kGroup.
PHYSIOCLR_SIMD void white_tile(const Draws& d, uint32_t purpose, int64_t t0, int64_t n, float sd, float* out) {
  uint32_t words[kTile];
  for (int64_t i = 0; i < n; i += kGroup)
    philox_lanes(static_cast<uint32_t>((t0 + i) / 4), purpose, d, reinterpret_cast<uint32_t(*)[kLanes]>(words + i));
  uint8_t tail[kTile];
  const int64_t padded = (n + kGroup - 1) / kGroup * kGroup;
  for (int64_t i = 0; i < padded; ++i) {
    out[i] = normal_bulk(words[i]) * sd;
    tail[i] = is_tail(words[i]);
  }
  for (int64_t i = 0; i < padded; i += 8) {
    uint64_t any;
    std::memcpy(&any, tail + i, 8);
    if (any)
      for (int64_t k = i; k < i + 8; ++k)
        if (tail[k]) out[k] = normal_tail(words[k]) * sd;
  }
}

// ---- a record's tables --------------------------------------------------------------------------------------------

int64_t count_peaks(const int32_t* r, int64_t beats) {
  int64_t n = 0;
  while (n < beats && r[n] >= 0) ++n;
  return n;
}

// The time map as pieces, and the R peaks after it in s.peaks.
void time_map(const RecordParams& p, const Draws& draws, const AugmentCall& call, int64_t b, int64_t samples,
              Scratch& s) {
  const int32_t* r = call.rpeaks ? call.rpeaks + b * call.beats : nullptr;
  const int64_t n = r ? count_peaks(r, call.beats) : 0;
  s.peaks.assign(r, r + n);
  s.pieces.clear();
  s.pieces.push_back({0, 0, samples, 0});
  if (!p.shuffle || n < 3) return;
  const int64_t first = cut_before(r, 0, p.tp) < 0, segments = n - 1 - first;
  s.order.resize(segments);
  draw_order(draws, s.order.data(), segments);
  const int64_t half = p.tp ? to_samples(kCrossFade / 2, call.fs) : 0;
  s.pieces[0].length = cut_before(r, first, p.tp);
  auto append = [&](int64_t from, int64_t to) {
    const Piece last = s.pieces.back();
    const bool joined = last.src + last.length == from;
    const int64_t h = joined ? 0 : std::min({half, last.length / 2, (to - from) / 2});
    s.pieces.push_back({last.dst + last.length, from, to - from, h});
  };
  for (int64_t i = 0; i < segments; ++i) {
    const int64_t k = first + s.order[i], from = cut_before(r, k, p.tp);
    append(from, cut_before(r, k + 1, p.tp));
    s.peaks[first + i] = static_cast<int32_t>(s.pieces.back().dst + r[k] - from);
  }
  append(cut_before(r, n - 1, p.tp), samples);
}

// The masked stretches: the drawn spans without the neighbourhoods of the (mapped) R peaks.
void mask_spans(const RecordParams& p, Scratch& s) {
  s.masked.clear();
  for (int k = 0; k < p.spans; ++k) {
    int64_t from = p.span_start[k];
    if (p.guard >= 0)
      for (const int32_t peak : s.peaks) {
        if (peak - p.guard >= p.span_end[k]) break;
        if (peak + p.guard < from) continue;
        if (peak - p.guard > from) s.masked.push_back({from, peak - p.guard});
        from = std::max<int64_t>(from, peak + p.guard + 1);
      }
    if (from < p.span_end[k]) s.masked.push_back({from, p.span_end[k]});
  }
}

void lead_tones(const RecordParams& p, const Draws& draws, int64_t leads, Scratch& s) {
  const int n = channels(leads);
  s.tone_a.resize(n * kTones);
  s.tone_b.resize(n * kTones);
  s.lead_a.resize(leads * kTones);
  s.lead_b.resize(leads * kTones);
  for (int c = 0; c < n; ++c)
    channel_tones(p, draws, c, n != leads, s.tone_a.data() + c * kTones, s.tone_b.data() + c * kTones);
  for (int64_t l = 0; l < leads; ++l)
    for (int k = 0; k < kTones; ++k) {
      auto mix = [&](const std::vector<double>& v) {
        auto at = [&](int c) { return v[c * kTones + k]; };
        return static_cast<float>(n != leads ? lead_value(static_cast<int>(l), at) : at(static_cast<int>(l)));
      };
      s.lead_a[l * kTones + k] = mix(s.tone_a);
      s.lead_b[l * kTones + k] = mix(s.tone_b);
    }
  for (int k = p.tones.first; k < p.tones.last; ++k)
    for (int i = 0; i < kGroup; ++i) {
      double sine, cosine;
      turn_sincos(p.tones.frequency[k] * i, sine, cosine);
      s.cosines[k][i] = static_cast<float>(cosine);
      s.sines[k][i] = static_cast<float>(sine);
    }
}

// ---- a tile -------------------------------------------------------------------------------------------------------

// noise[0 .. n) += the tones of one lead. Each group of 64 samples turns the amplitudes to its start; inside it, the
// angle-addition formula with the table of the first 64 samples.
PHYSIOCLR_SIMD void add_tones(const RecordParams& p, const Scratch& s, int64_t lead, int64_t t0, int64_t n, float* noise) {
  for (int64_t i = 0; i < n; i += kGroup)
    for (int k = p.tones.first; k < p.tones.last; ++k) {
      double sine, cosine;
      turn_sincos(p.tones.frequency[k] * static_cast<double>(t0 + i), sine, cosine);
      const float a = s.lead_a[lead * kTones + k], b = s.lead_b[lead * kTones + k];
      const float cs = static_cast<float>(cosine), sn = static_cast<float>(sine);
      const float u = a * cs + b * sn, v = b * cs - a * sn;
      float* o = noise + i;
      for (int j = 0; j < kGroup; ++j) o[j] += u * s.cosines[k][j] + v * s.sines[k][j];
    }
}

PHYSIOCLR_SIMD void mix_white(const float* white, int64_t lead, int64_t n, float* noise) {
  const int l = static_cast<int>(lead);
  for (int64_t i = 0; i < n; ++i) noise[i] += lead_value(l, [&](int c) { return white[c * kTile + i]; });
}

PHYSIOCLR_SIMD void add(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

template <class T>
inline void gain_and_noise_body(const T* x, int64_t n, T gain, const float* noise, T* y) {
  if (noise)
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * gain + static_cast<T>(noise[i]);
  else
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * gain;
}
PHYSIOCLR_SIMD void gain_and_noise(const float* x, int64_t n, float gain, const float* noise, float* y) {
  gain_and_noise_body(x, n, gain, noise, y);
}
PHYSIOCLR_SIMD void gain_and_noise(const double* x, int64_t n, double gain, const float* noise, double* y) {
  gain_and_noise_body(x, n, gain, noise, y);
}

// f(source, destination of the blend, weight) for the samples of a cross-fade within [t0, t1).
template <class F>
void for_fade(const Piece& before, const Piece& after, int64_t samples, int64_t t0, int64_t t1, F f) {
  const int64_t last = samples - 1, end = before.src + before.length;
  for (int64_t k = -after.half; k < after.half; ++k) {
    const int64_t t = after.dst + k;
    if (t < t0 || t >= t1) continue;
    const double w = fade_weight(k, after.half);
    f(t, std::clamp<int64_t>(end + k, 0, last), 1.0 - w, std::clamp<int64_t>(after.src + k, 0, last), w);
  }
}

// out[0 .. n) = the time-mapped samples t0 .. t0 + n.
template <class T>
void read_tile(const T* x, const std::vector<Piece>& pieces, int64_t samples, int64_t t0, int64_t n, T* out) {
  const int64_t t1 = t0 + n;
  for (size_t k = 0; k < pieces.size(); ++k) {
    const Piece& p = pieces[k];
    const int64_t from = std::max(p.dst, t0), to = std::min(p.dst + p.length, t1);
    if (from < to) std::memcpy(out + (from - t0), x + p.src + (from - p.dst), (to - from) * sizeof(T));
  }
  for (size_t k = 1; k < pieces.size(); ++k)
    if (pieces[k].half > 0)
      for_fade(pieces[k - 1], pieces[k], samples, t0, t1, [&](int64_t t, int64_t a, double wa, int64_t b, double wb) {
        out[t - t0] = x[a] * static_cast<T>(wa) + x[b] * static_cast<T>(wb);
      });
}

// A masked sample becomes 0; a missing one (NaN, infinite) stays missing.
template <class T>
void mask_tile(T* y, int64_t from, int64_t to) {
  for (int64_t t = from; t < to; ++t) y[t] = y[t] - y[t] == T(0) ? T(0) : y[t];
}

// ---- a record -----------------------------------------------------------------------------------------------------

RecordParams prepare(const AugmentCall& call, const Draws& draws, int64_t b, int64_t leads, int64_t samples,
                     Scratch& s) {
  const RecordParams p = draw_record(call.plan, draws, call.fs, samples);
  time_map(p, draws, call, b, samples, s);
  mask_spans(p, s);
  s.dropped.resize(leads);
  for (int64_t l = 0; l < leads; ++l) s.dropped[l] = lead_dropped(call.plan, p, draws, l, leads);
  return p;
}

Draws draws_for(const AugmentCall& call, int64_t b) {
  return draws_of(call.seed, call.sample_id ? call.sample_id[b] : b);
}

template <class T>
void record(Cube<const T> x, const AugmentCall& call, int64_t b, Cube<T> y, int32_t* rpeaks_out, int32_t* count_out,
            Scratch& s) {
  const int64_t leads = x.leads, samples = x.samples;
  const Draws draws = draws_for(call, b);
  const RecordParams p = prepare(call, draws, b, leads, samples, s);
  const bool tones = p.tones.first < p.tones.last, white = p.gaussian > 0;
  if (tones) lead_tones(p, draws, leads, s);
  const int n_white = white ? channels(leads) : 0;
  const bool electrodes = n_white != leads;
  s.white.resize(static_cast<size_t>(n_white) * kTile);
  const float sd = static_cast<float>(channels(leads) != leads ? p.gaussian * kElectrodeSd : p.gaussian);
  float noise[kTile];
  T tile[kTile];
  for (int64_t t0 = 0; t0 < samples; t0 += kTile) {
    const int64_t n = std::min<int64_t>(kTile, samples - t0), t1 = t0 + n;
    for (int c = 0; c < n_white; ++c)
      white_tile(draws, kGaussianNoise + kPurposes * static_cast<uint32_t>(1 + c), t0, n, sd, s.white.data() + c * kTile);
    for (int64_t l = 0; l < leads; ++l) {
      const T* in = x.lead(b, l) + t0;
      T* out = y.lead(b, l) + t0;
      if (s.pieces.size() > 1) {
        read_tile(x.lead(b, l), s.pieces, samples, t0, n, tile);
        in = tile;
      }
      if (s.dropped[l]) {
        std::memcpy(out, in, n * sizeof(T));
        mask_tile(out, 0, n);
        continue;
      }
      if (tones || white) {
        std::fill(noise, noise + kTile, 0.0f);
        if (tones) add_tones(p, s, l, t0, n, noise);
        if (white && electrodes) mix_white(s.white.data(), l, n, noise);
        if (white && !electrodes) add(s.white.data() + l * kTile, n, noise);
      }
      if (p.gain != 1 || tones || white)
        gain_and_noise(in, n, static_cast<T>(p.gain), tones || white ? noise : nullptr, out);
      else
        std::memcpy(out, in, n * sizeof(T));
      for (const Span& m : s.masked) {
        const int64_t from = std::max(m.start, t0), to = std::min(m.end, t1);
        if (from < to) mask_tile(out, from - t0, to - t0);
      }
    }
  }
  int32_t* r = rpeaks_out + b * call.beats;  // not touched where no peaks came in: beats is 0
  for (int64_t k = 0; k < call.beats; ++k) r[k] = k < static_cast<int64_t>(s.peaks.size()) ? s.peaks[k] : -1;
  count_out[b] = static_cast<int32_t>(s.peaks.size());
}

template <class T>
void record_bwd(Cube<const T> gy, const AugmentCall& call, int64_t b, Cube<T> gx, Scratch& s) {
  const int64_t leads = gy.leads, samples = gy.samples;
  const RecordParams p = prepare(call, draws_for(call, b), b, leads, samples, s);
  const T gain = static_cast<T>(p.gain);
  std::vector<T> g(samples);
  for (int64_t l = 0; l < leads; ++l) {
    T* out = gx.lead(b, l);
    std::fill(out, out + samples, T(0));
    if (s.dropped[l]) continue;
    gain_and_noise(gy.lead(b, l), samples, gain, nullptr, g.data());
    for (const Span& m : s.masked) std::fill(g.begin() + m.start, g.begin() + m.end, T(0));
    for (size_t k = 1; k < s.pieces.size(); ++k)
      if (s.pieces[k].half > 0)
        for_fade(s.pieces[k - 1], s.pieces[k], samples, 0, samples,
                 [&](int64_t t, int64_t from_a, double wa, int64_t from_b, double wb) {
                   out[from_a] += g[t] * static_cast<T>(wa);
                   out[from_b] += g[t] * static_cast<T>(wb);
                   g[t] = T(0);
                 });
    for (const Piece& q : s.pieces)
      for (int64_t i = 0; i < q.length; ++i) out[q.src + i] += g[q.dst + i];
  }
}

// Small batches are faster on fewer threads.
int team_for(int64_t records, int64_t leads, int64_t samples) {
  return static_cast<int>(std::min<int64_t>(threads(), 1 + records * leads * samples / 65536));
}

template <class T>
void augment_all(Cube<const T> x, const AugmentCall& call, Cube<T> y, int32_t* rpeaks_out, int32_t* count_out) {
  const int team = team_for(x.records, x.leads, x.samples);
#pragma omp parallel num_threads(team)
  {
    Scratch s;
#pragma omp for schedule(dynamic)
    for (int64_t b = 0; b < x.records; ++b) record(x, call, b, y, rpeaks_out, count_out, s);
  }
}

template <class T>
void augment_bwd_all(Cube<const T> gy, const AugmentCall& call, Cube<T> gx) {
  const int team = team_for(gy.records, gy.leads, gy.samples);
#pragma omp parallel num_threads(team)
  {
    Scratch s;
#pragma omp for schedule(dynamic)
    for (int64_t b = 0; b < gy.records; ++b) record_bwd(gy, call, b, gx, s);
  }
}

}  // namespace

void augment(Cube<const float> x, const AugmentCall& call, Cube<float> y, int32_t* rpeaks_out, int32_t* count_out) {
  augment_all(x, call, y, rpeaks_out, count_out);
}
void augment(Cube<const double> x, const AugmentCall& call, Cube<double> y, int32_t* rpeaks_out, int32_t* count_out) {
  augment_all(x, call, y, rpeaks_out, count_out);
}
void augment_bwd(Cube<const float> gy, const AugmentCall& call, Cube<float> gx) { augment_bwd_all(gy, call, gx); }
void augment_bwd(Cube<const double> gy, const AugmentCall& call, Cube<double> gx) { augment_bwd_all(gy, call, gx); }

void philox(const uint32_t* counters, int64_t n, uint64_t key, uint32_t* words) {
  for (int64_t i = 0; i < n; ++i) {
    Words c;
    std::memcpy(c.w, counters + 4 * i, sizeof c.w);
    c = philox4x32(c, static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
    std::memcpy(words + 4 * i, c.w, sizeof c.w);
  }
}

void normals(const uint32_t* words, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = normal_of(words[i]);
}

}  // namespace physioclr::cpu
