#pragma once
// augment on the GPU, first kernel: everything that holds for one record of one view, by one small block. The results
// lie in the caller's workspace, where the sample kernels read them. Bodies only, no launch (tests/host_sim runs them).
#include <cstdint>

#include "core/augment_record.h"
#include "core/vcg.h"
#include "ops.h"

namespace physioclr::cuda {

constexpr int kRecordThreads = 32, kViewsAtOnce = 16;

// Arguments of all augment kernels, passed by value. call.pass.seeds is not used: host memory.
struct AugmentArgs {
  AugmentCall call;
  uint64_t seeds[kViewsAtOnce];
  int64_t view0, views;  // of this launch
  int64_t splits;        // blocks of a record
  char* workspace;       // of this launch
};

// The way back as the kernels take it: x is grad and y is grad_ecg. No R peaks come out.
inline AugmentCall as_pass(const AugmentBwdCall& call) {
  AugmentCall c{};
  c.x = call.grad, c.pass = call.pass, c.y = call.grad_ecg, c.workspace = call.workspace;
  return c;
}

struct RecordState {
  RecordParams p;
  Rotation rotation;
  RecordMap map;
  Draws draws;
  int64_t offset;  // of the record's first sample in x, elements
  bool there, noisy;
};

PHYSIOCLR_HD int64_t rounded_up(int64_t bytes) { return (bytes + 15) / 16 * 16; }

// The workspace of a record of a view: its state, then its arrays.
struct RecordSlot {
  RecordState* state;
  float *a, *b, *share;  // amplitudes of the tones (channels, kTones), share of the muscle noise (channels)
  uint8_t* dropped;      // (leads)
};

PHYSIOCLR_HD int64_t slot_bytes(int64_t leads, int64_t beats) {
  const int64_t n = channels(leads);
  return rounded_up(sizeof(RecordState)) + rounded_up((beats + 1) * sizeof(Piece)) +
         rounded_up(kCornersPerBeat * beats * sizeof(Corner)) + rounded_up(beats * 8) + 2 * rounded_up(beats * 4) +
         2 * rounded_up(n * kTones * 4) + rounded_up(n * 4) + rounded_up(leads);
}

// The slot of number i; with `map`, also tells the record map where its arrays are.
PHYSIOCLR_HD RecordSlot slot_of(char* workspace, int64_t i, int64_t leads, int64_t beats, RecordMap* map) {
  const int64_t n = channels(leads);
  char* at = workspace + i * slot_bytes(leads, beats);
  auto take = [&](int64_t bytes) {
    char* here = at;
    at += rounded_up(bytes);
    return here;
  };
  RecordSlot s;
  s.state = reinterpret_cast<RecordState*>(take(sizeof(RecordState)));
  char* pieces = take((beats + 1) * sizeof(Piece));
  char* corners = take(kCornersPerBeat * beats * sizeof(Corner));
  char *positions = take(beats * 8), *peaks = take(beats * 4), *order = take(beats * 4);
  s.a = reinterpret_cast<float*>(take(n * kTones * 4));
  s.b = reinterpret_cast<float*>(take(n * kTones * 4));
  s.share = reinterpret_cast<float*>(take(n * 4));
  s.dropped = reinterpret_cast<uint8_t*>(take(leads));
  if (map) {
    map->pieces = reinterpret_cast<Piece*>(pieces);
    map->corners = reinterpret_cast<Corner*>(corners);
    map->at = reinterpret_cast<double*>(positions);
    map->peaks = reinterpret_cast<int32_t*>(peaks);
    map->order = reinterpret_cast<int32_t*>(order);
  }
  return s;
}

struct Block {
  int rank, size;
  PHYSIOCLR_HD void sync() const {
#if defined(__CUDA_ARCH__) || !defined(__CUDACC__)  // device code, or the harness; not nvcc's host pass
    __syncthreads();
#endif
  }
};

// A block for each record (blockIdx.x) of each view (blockIdx.y).
// ptxas-allow augment_record_kernel: 512 bytes of stack, because one thread draws lists whose length is drawn too.
__global__ void augment_record_kernel(AugmentArgs args) {
  const AugmentPass& pass = args.call.pass;
  const int64_t b = blockIdx.x, view = blockIdx.y, leads = pass.leads, samples = pass.samples, beats = pass.rpeaks.cols;
  const Block team{static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
  RecordMap arrays{};
  const RecordSlot slot = slot_of(args.workspace, view * pass.records + b, leads, beats, &arrays);
  RecordState& s = *slot.state;
  const Draws draws = draws_of(args.seeds[view], pass.sample_id ? pass.sample_id[b] : b);
  if (team.rank == 0) {
    const Place place = place_of(args.call.gather, b, samples);
    s.p = draw_record(pass.plan, draws, pass.fs, samples);
    s.p.vcg = s.p.vcg && leads == 12;
    if (s.p.vcg) s.rotation = rotation_of(s.p);
    s.map = arrays;
    s.map.n_peaks = pass.rpeaks.data && place.there
                        ? take_peaks(pass.rpeaks.data + place.row * beats, beats, place.start, samples, arrays.peaks)
                        : 0;
    s.draws = draws;
    s.offset = place.row * leads * place.row_samples + place.start;
    s.there = place.there;
    s.noisy = s.p.gaussian > 0 || s.p.muscle > 0 || s.p.tones.first < s.p.tones.last;
  }
  team.sync();
  build_map(team, s.p, draws, pass.fs, samples, s.map);
  const int n = channels(leads);
  for (int64_t l = team.rank; l < leads; l += team.size)
    slot.dropped[l] = lead_dropped(pass.plan, s.p, draws, l, leads);
  for (int c = team.rank; c < n && s.noisy; c += team.size) {
    double a[kTones], bb[kTones];
    channel_tones(s.p, draws, c, n != leads, a, bb);
    for (int k = 0; k < kTones; ++k) {
      slot.a[c * kTones + k] = static_cast<float>(a[k]);
      slot.b[c * kTones + k] = static_cast<float>(bb[k]);
    }
    slot.share[c] = s.p.muscle > 0 ? channel_muscle(s.p, draws, c, n != leads) : 0.0f;
  }
  if (!args.call.count_out) return;
  team.sync();
  const int64_t out = (args.view0 + view) * pass.records + b;
  for (int64_t k = team.rank; k < beats; k += team.size)
    args.call.rpeaks_out[out * beats + k] = k < s.map.n_peaks ? s.map.peaks[k] : -1;
  if (team.rank == 0) args.call.count_out[out] = static_cast<int32_t>(s.map.n_peaks);
}

}  // namespace physioclr::cuda
