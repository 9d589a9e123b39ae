// augment and shuffle_beats on the CPU: the canonical program of core/augment_math.h, a tile of kTile samples of one
// record at a time, so that everything between reading and writing stays in the first-level caches. Version 1 gathered
// samples in scalar code and mixed the noise lead by lead; version 2, this one, keeps noise per electrode until the
// last loop. Compiled with -ffp-contract=off.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "core/guard.h"
#include "core/interrupt.h"
#include "core/augment_math.h"
#include "core/macros.h"
#include "core/threads.h"
#include "core/vcg.h"
#include "cpu/augment_map.h"
#include "cpu/augment_noise.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int64_t kStreamBytes = 16 << 20;  // larger results are written past the caches

struct Span {
  int64_t start, end;
};

// What one thread works with; vectors keep their memory from record to record.
struct Scratch {
  TimeMap map;
  NoiseTables noise;
  Rotation rotation;
  Vector<Span> masked;
  Vector<uint8_t> dropped;  // (leads)
};

// The masked stretches: the drawn spans without the neighbourhoods of the (mapped) R peaks.
void mask_spans(const RecordParams& p, Scratch& s) {
  s.masked.clear();
  for (int k = 0; k < p.spans; ++k) {
    int64_t from = p.span_start[k];
    if (p.guard >= 0)
      for (const int32_t peak : s.map.peaks) {
        if (peak - p.guard >= p.span_end[k]) break;
        if (peak + p.guard < from) continue;
        if (peak - p.guard > from) s.masked.push_back({from, peak - p.guard});
        from = std::max<int64_t>(from, peak + p.guard + 1);
      }
    if (from < p.span_end[k]) s.masked.push_back({from, p.span_end[k]});
  }
}

// ---- a tile -------------------------------------------------------------------------------------------------------

template <class T>
inline void gain_and_noise_body(const T* x, int64_t n, T gain, const NoiseTables* s, int lead, bool electrodes, T* y) {
  if (!s) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * gain;
  } else if (electrodes) {
    const float* v = s->out.data();
    auto mix = [&](int l) {
      for (int64_t i = 0; i < n; ++i)
        y[i] = x[i] * gain + static_cast<T>(lead_value(l, [&](int c) { return v[c * kTile + i]; }));
    };
    switch (lead) {  // a constant lead, or the loop does not vectorise
      case 0: return mix(0);
      case 1: return mix(1);
      case 2: return mix(2);
      case 3: return mix(3);
      case 4: return mix(4);
      case 5: return mix(5);
    }
    const float* own = v + (lead - 3) * kTile;
    for (int64_t i = 0; i < n; ++i)
      y[i] = x[i] * gain + static_cast<T>(own[i] - (v[i] + v[kTile + i] + v[2 * kTile + i]) * (1.0f / 3.0f));
  } else {
    const float* v = s->out.data() + static_cast<int64_t>(lead) * kTile;
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * gain + static_cast<T>(v[i]);
  }
}
PHYSIOCLR_FLAT void gain_and_noise(const float* x, int64_t n, float gain, const NoiseTables* s, int lead,
                                   bool electrodes, float* y) {
  gain_and_noise_body(x, n, gain, s, lead, electrodes, y);
}
PHYSIOCLR_FLAT void gain_and_noise(const double* x, int64_t n, double gain, const NoiseTables* s, int lead,
                                   bool electrodes, double* y) {
  gain_and_noise_body(x, n, gain, s, lead, electrodes, y);
}

// y[l] += to[l] . (from^T y), in place; with `missing`, where one of the eight leads is missing nothing turns.
template <class T>
inline void rotate_body(const double (*from)[3], const double (*to)[3], bool missing, T* y, int64_t stride, int64_t n) {
  constexpr int kStep = 64;
  for (int64_t i0 = 0; i0 < n; i0 += kStep) {
    const int64_t count = std::min<int64_t>(kStep, n - i0);
    alignas(kLine) T d[3][kStep] = {};
    for (int l = 0; l < 12; ++l) {
      const T* x = y + l * stride + i0;
      const T f0 = static_cast<T>(from[l][0]), f1 = static_cast<T>(from[l][1]), f2 = static_cast<T>(from[l][2]);
      if (f0 == 0 && f1 == 0 && f2 == 0) continue;
      for (int64_t i = 0; i < count; ++i) d[0][i] += f0 * x[i], d[1][i] += f1 * x[i], d[2][i] += f2 * x[i];
    }
    if (missing)
      for (int k = 0; k < 3; ++k)
        for (int64_t i = 0; i < count; ++i) d[k][i] = d[k][i] - d[k][i] == 0 ? d[k][i] : T(0);
    for (int l = 0; l < 12; ++l) {
      T* x = y + l * stride + i0;
      const T t0 = static_cast<T>(to[l][0]), t1 = static_cast<T>(to[l][1]), t2 = static_cast<T>(to[l][2]);
      for (int64_t i = 0; i < count; ++i) x[i] += (t0 * d[0][i] + t1 * d[1][i]) + t2 * d[2][i];
    }
  }
}
PHYSIOCLR_FLAT void rotate(const double (*from)[3], const double (*to)[3], bool missing, float* y, int64_t stride,
                           int64_t n) {
  rotate_body(from, to, missing, y, stride, n);
}
PHYSIOCLR_FLAT void rotate(const double (*from)[3], const double (*to)[3], bool missing, double* y, int64_t stride,
                           int64_t n) {
  rotate_body(from, to, missing, y, stride, n);
}

// A masked sample becomes 0; a missing one (NaN, infinite) stays missing.
template <class T>
void mask_tile(T* y, int64_t from, int64_t to) {
  for (int64_t t = from; t < to; ++t) y[t] = y[t] - y[t] == T(0) ? T(0) : y[t];
}

bool overlaps(const Vector<Span>& spans, int64_t from, int64_t to) {
  for (const Span& m : spans)
    if (m.start < to && from < m.end) return true;
  return false;
}

// The next tile to be read lies where no hardware prefetcher looks: in another lead.
template <class T>
void fetch_ahead(const T* from, const T* end) {
#if defined(__GNUC__)
  constexpr int kStep = kLine / sizeof(T);
  for (int i = 0; i < kTile && from + i < end; i += kStep) __builtin_prefetch(from + i);
#endif
}

// A lead of which only whole samples move: piece by piece to where they go, without a tile in between.
template <class T>
void move_lead(const T* x, const TimeMap& m, int64_t samples, bool past_caches, T* y) {
  std::fill(y, y + m.begin, T(0));
  std::fill(y + m.end, y + samples, T(0));
  const int64_t t0 = m.begin + m.shift, t1 = m.end + m.shift;
  for (const Piece& p : m.pieces) {
    const int64_t from = std::max(p.dst, t0), to = std::min(p.dst + p.length, t1);
    if (from >= to) continue;
    const T* source = x + p.src + (from - p.dst);
    T* target = y + (from - m.shift);
    if (past_caches) stream_out(source, (to - from) * static_cast<int64_t>(sizeof(T)), target);
    else std::memcpy(target, source, (to - from) * sizeof(T));
  }
  blend_joints(Row<T>{x, 1.0f}, m.pieces, samples, t0, t1, y + m.begin);
}

// ---- a record -----------------------------------------------------------------------------------------------------

Draws draws_for(const AugmentPass& pass, int64_t view, int64_t b) {
  return draws_of(static_cast<uint64_t>(pass.seeds.data[view]), pass.sample_id ? pass.sample_id[b] : b);
}

RecordParams prepare(const AugmentPass& pass, const Draws& draws, const Place& place, Scratch& s) {
  RecordParams p = draw_record(pass.plan, draws, pass.fs, pass.samples);
  p.vcg = p.vcg && pass.leads == 12;
  if (p.vcg) s.rotation = rotation_of(p);
  time_map(p, draws, pass, place, s.map);
  mask_spans(p, s);
  s.dropped.resize(pass.leads);
  for (int64_t l = 0; l < pass.leads; ++l) s.dropped[l] = lead_dropped(pass.plan, p, draws, l, pass.leads);
  return p;
}

// What is written: a float or double tile, rounded where the result is half or bfloat.
PHYSIOCLR_FLAT void round_tile(const float* x, int64_t n, BFloat* y) {
  for (int64_t i = 0; i < n; ++i) from_compute(x[i], y[i]);
}
PHYSIOCLR_FLAT void round_tile(const float* x, int64_t n, Half* y) {
  for (int64_t i = 0; i < n; ++i) from_compute(x[i], y[i]);
}

int64_t bytes_of(Element type) { return type == Element::kDouble ? 8 : type == Element::kFloat ? 4 : 2; }

template <class In, class T>
void record(const AugmentCall& call, int64_t view, int64_t b, Scratch& s, Vector<T>& z, Vector<T>& tiles,
            bool past_caches) {
  const Samples<const void> x = call.x;
  const Samples<void> y = call.y;
  const int64_t leads = call.pass.leads, samples = call.pass.samples, beats = call.pass.rpeaks.cols;
  const int64_t number = view * call.pass.records + b;  // of the result
  const Draws draws = draws_for(call.pass, view, b);
  const Place place = place_of(call.gather, b, samples);
  const RecordParams p = prepare(call.pass, draws, place, s);
  const bool noisy = p.gaussian > 0 || p.muscle > 0 || p.tones.first < p.tones.last;
  const bool direct = !s.map.smooth && s.map.pieces.size() == 1 && s.map.begin == 0 && s.map.end == samples && !p.vcg &&
                      std::is_same_v<In, T>;
  const bool rounds = bytes_of(y.type) != sizeof(T);
  const auto row = [&](int64_t l) {
    return Row<In>{static_cast<const In*>(x.data) + (place.row * leads + l) * place.row_samples + place.start,
                   call.scale ? call.scale[place.row * call.scale_stride + l] : 1.0f};
  };
  const T gain = static_cast<T>(p.gain);
  if (noisy) noise_record(p, draws, leads, s.noise);
  tiles.resize((p.vcg ? 13 : 2) * kTile);
  T* const finished = tiles.data() + (p.vcg ? 12 : 1) * kTile;
  int64_t i0 = 0, i1 = 0;
  const auto lead_tile = [&](int64_t l, int64_t t0, int64_t n) {
    char* const target = static_cast<char*>(y.data) + ((number * leads + l) * samples + t0) * bytes_of(y.type);
    T* tile = tiles.data() + (p.vcg ? l * kTile : 0);
    const T* in = direct ? in_place(row(l)) + t0 : tile;
    if (!direct && !p.vcg) read_tile(row(l), s.map, samples, t0, n, i0, i1, z, tile);
    const bool changes = !s.dropped[l] && (noisy || gain != 1);
    const bool masks = s.dropped[l] || i0 > 0 || i1 < n || overlaps(s.masked, t0, t0 + n);
    const bool aside = past_caches || rounds || x.data == y.data;
    T* out = aside ? finished : reinterpret_cast<T*>(target);
    if (changes)
      gain_and_noise(in, n, gain, noisy ? &s.noise : nullptr, static_cast<int>(l), channels(leads) != leads, out);
    else if (aside && !masks) out = const_cast<T*>(in);  // read only: it goes straight to its place
    else std::memcpy(out, in, n * sizeof(T));
    if (s.dropped[l]) {
      mask_tile(out, 0, n);
    } else if (masks) {
      std::fill(out, out + i0, T(0));
      std::fill(out + i1, out + n, T(0));
      for (const Span& m : s.masked) {
        const int64_t from = std::max(m.start, t0), to = std::min(m.end, t0 + n);
        if (from < to) mask_tile(out, from - t0, to - t0);
      }
    }
    if constexpr (std::is_same_v<T, float>) {
      alignas(kLine) uint16_t rounded[kTile];
      if (rounds) {
        y.type == Element::kHalf ? round_tile(out, n, reinterpret_cast<Half*>(rounded))
                                 : round_tile(out, n, reinterpret_cast<BFloat*>(rounded));
        std::memcpy(target, rounded, n * 2);
        return;
      }
    }
    if (past_caches) stream_out(out, n * static_cast<int64_t>(sizeof(T)), target);
    else if (aside && reinterpret_cast<char*>(out) != target) std::memcpy(target, out, n * sizeof(T));
  };
  const auto tile_length = [&](int64_t t0) { return std::min<int64_t>(kTile, samples - t0); };
  if (!noisy && !p.vcg && !s.map.smooth) {  // nothing to share between the leads: one after the other
    for (int64_t l = 0; l < leads; ++l) {
      if constexpr (std::is_same_v<In, T>)
        if (!rounds && gain == 1 && s.masked.empty() && !s.dropped[l] && x.data != y.data) {
          T* const to = static_cast<T*>(y.data) + (number * leads + l) * samples;
          move_lead(row(l).x, s.map, samples, past_caches, to);
          continue;
        }
      for (int64_t t0 = 0; t0 < samples; t0 += kTile) {
        map_tile(p, t0, tile_length(t0), samples, s.map, i0, i1);
        lead_tile(l, t0, tile_length(t0));
      }
    }
  } else {
    for (int64_t t0 = 0; t0 < samples; t0 += kTile) {
      const int64_t n = tile_length(t0);
      map_tile(p, t0, n, samples, s.map, i0, i1);
      if (noisy) noise_tile(p, draws, leads, t0, n, s.noise);
      if (p.vcg) {
        for (int64_t l = 0; l < leads; ++l)
          read_tile(row(l), s.map, samples, t0, n, i0, i1, z, tiles.data() + l * kTile);
        rotate(s.rotation.from, s.rotation.to, true, tiles.data(), kTile, n);
      }
      for (int64_t l = 0; l < leads; ++l) {
        const int64_t next = std::clamp<int64_t>((i0 < i1 && s.map.smooth ? s.map.lo : t0 + s.map.shift), 0, samples);
        const In* const there = l + 1 < leads ? row(l + 1).x + next : row(0).x + std::min(next + n, samples);
        fetch_ahead(there, row(leads - 1).x + samples);
        lead_tile(l, t0, n);
      }
    }
  }
  const Vector<int32_t>& peaks = s.map.peaks;
  int32_t* r = call.rpeaks_out + number * beats;  // not touched where no peaks came in: beats is 0
  for (int64_t k = 0; k < beats; ++k) r[k] = k < static_cast<int64_t>(peaks.size()) ? peaks[k] : -1;
  call.count_out[number] = static_cast<int32_t>(peaks.size());
}

// grad_ecg += A^T grad of one view.
template <class T>
void record_bwd(const AugmentBwdCall& call, int64_t view, int64_t b, Scratch& s, Vector<T>& g) {
  const int64_t leads = call.pass.leads, samples = call.pass.samples;
  const RecordParams p = prepare(call.pass, draws_for(call.pass, view, b), place_of({}, b, samples), s);
  const T* in = static_cast<const T*>(call.grad.data) + (view * call.pass.records + b) * leads * samples;
  T* out = static_cast<T*>(call.grad_ecg.data) + b * leads * samples;
  g.resize((leads + 1) * samples);
  for (int64_t l = 0; l < leads; ++l) {
    T* row = g.data() + l * samples;
    if (s.dropped[l]) {
      std::fill(row, row + samples, T(0));
      continue;
    }
    gain_and_noise(in + l * samples, samples, static_cast<T>(p.gain), nullptr, 0, false, row);
    for (const Span& m : s.masked) std::fill(row + m.start, row + m.end, T(0));
  }
  if (p.vcg) rotate(s.rotation.to, s.rotation.from, false, g.data(), samples, samples);
  T* gz = g.data() + leads * samples;
  for (int64_t l = 0; l < leads; ++l) {
    std::fill(gz, gz + samples, T(0));
    for (int64_t t0 = 0; t0 < samples; t0 += kTile) {
      int64_t i0, i1;
      map_tile(p, t0, std::min<int64_t>(kTile, samples - t0), samples, s.map, i0, i1);
      scatter_tile(s.map, samples, t0, i0, i1, g.data() + l * samples + t0, gz);
    }
    scatter_pieces(s.map.pieces, samples, gz, out + l * samples);
  }
}

// Small batches are faster on fewer threads.
int64_t samples_of(const AugmentPass& p) { return p.seeds.size * p.records * p.leads * p.samples; }
int team_for(const AugmentPass& p) { return static_cast<int>(std::min<int64_t>(threads(), 1 + samples_of(p) / 65536)); }

template <class In, class T>
bool augment_all(const AugmentCall& call) {
  const int64_t views = call.pass.seeds.size;
  const bool past_caches = samples_of(call.pass) * bytes_of(call.y.type) > kStreamBytes;
  const Interrupt stop;
  Guard guard;
  on_team(team_for(call.pass), [&] {
    Scratch s;
    Vector<T> z, tiles;
#pragma omp for schedule(dynamic)
    for (int64_t k = 0; k < call.pass.records * views; ++k)  // a record's views in turn: it is in the cache then
      if (!stop()) guard([&] { record<In>(call, k % views, k / views, s, z, tiles, past_caches); });
    stream_fence();
  });
  guard.raise();
  return true;
}

template <class T>
bool augment_bwd_all(const AugmentBwdCall& call) {
  const int64_t size = call.pass.leads * call.pass.samples;
  const Interrupt stop;
  Guard guard;
  on_team(team_for(call.pass), [&] {
    Scratch s;
    Vector<T> g;
#pragma omp for schedule(dynamic)
    for (int64_t b = 0; b < call.pass.records; ++b) {
      if (stop()) continue;
      std::fill_n(static_cast<T*>(call.grad_ecg.data) + b * size, size, T(0));
      for (int64_t view = 0; view < call.pass.seeds.size; ++view) guard([&] { record_bwd<T>(call, view, b, s, g); });
    }
  });
  guard.raise();
  return true;
}

}  // namespace

namespace PHYSIOCLR_ISA {

bool run(const AugmentCall& call) {
  switch (call.x.type) {
    case Element::kFloat: return augment_all<float, float>(call);
    case Element::kDouble: return augment_all<double, double>(call);
    case Element::kHalf: return augment_all<Half, float>(call);
    case Element::kBFloat: return augment_all<BFloat, float>(call);
    case Element::kInt16: return augment_all<int16_t, float>(call);
  }
  return false;
}

bool run(const AugmentBwdCall& call) {
  return call.grad.type == Element::kDouble ? augment_bwd_all<double>(call) : augment_bwd_all<float>(call);
}

}  // namespace PHYSIOCLR_ISA

}  // namespace physioclr::cpu
