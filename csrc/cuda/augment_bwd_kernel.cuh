#pragma once
// The adjoint of augment on the GPU: gx = sum over the views of A^T gy. Each thread takes one input sample of all leads
// and gathers, in the CPU's order, from the output samples that read it; so nothing is added atomically and the result
// has the same bits as on the CPU. Bodies only, no launch (tests/host_sim runs them).
#include <cstdint>

#include "cuda/augment_kernel.cuh"

namespace physioclr::cuda {

constexpr int kGradLeads = 12;  // leads of a thread at a time

struct StepTables {
  double s1[kWarps][kGroup], c1[kWarps][kGroup];
};

// Where output sample t reads in the shuffled record; false: padding.
PHYSIOCLR_HD bool position_at(const RecordState& s, const StepTables& steps, int t, int samples, double& position) {
  const int group = t / kGroup * kGroup, j = t - group, shift = static_cast<int>(s.map.shift);
  position = t + shift;
  if (s.p.warped) {
    double s0[kWarps], c0[kWarps];
    for (int k = 0; k < kWarps; ++k) turn_sincos(warp_turns(k, group + shift, samples), s0[k], c0[k]);
    position = warped(s.p, position, s0, c0, 1, steps.s1[0] + j, steps.c1[0] + j, kGroup, samples - 1);
  }
  return through_corners(s.map, samples, position);
}

// What the adjoint looks at, of one record and view.
template <class T>
struct Grad {
  const RecordState& s;
  const StepTables& steps;
  const Turn<T>& turn;
  const uint8_t* dropped;
  const T* gy;  // of the record and its lead l0
  T* gx;
  int leads, samples, l0;

  // g[0 .. kGradLeads) = what output sample t hands on, of leads l0 on, before the time map.
  PHYSIOCLR_HD void output(int t, T* g) const {
    const bool masked = time_masked(s, t);
    const T gain = static_cast<T>(s.p.gain);
    auto own = [&](int k) {
      const bool none = l0 + k >= leads || masked || dropped[l0 + k];
      return none ? T(0) : gy[static_cast<int64_t>(k) * samples + t] * gain;
    };
#pragma unroll
    for (int k = 0; k < kGradLeads; ++k) g[k] = own(k);
    if (!s.p.vcg) return;
    T d[3] = {T(0), T(0), T(0)};
#pragma unroll 1  // read again, not kept: registers are short
    for (int l = 0; l < 12; ++l) add_dipole(turn.to[l], own(l), d);
#pragma unroll
    for (int l = 0; l < 12; ++l) add_lead(turn.from[l], d, g[l]);
  }

  // z[0 .. kGradLeads) = the gradient of sample q of the shuffled record.
  PHYSIOCLR_HD void shuffled(int q, T* z) const {
    const RecordMap& m = s.map;
#pragma unroll
    for (int k = 0; k < kGradLeads; ++k) z[k] = T(0);
    const int begin = static_cast<int>(m.begin), end = static_cast<int>(m.end);
    double position;
    int low = begin, high = end;  // the first output that reads q or above it; padding lies above everything
    if (!m.smooth) low = high = q - static_cast<int>(m.shift);
    while (low < high) {
      const int middle = (low + high) / 2;
      if (position_at(s, steps, middle, samples, position) && floor(position) + 2 < q) low = middle + 1;
      else high = middle;
    }
    for (int t = low; t >= begin && t < end && position_at(s, steps, t, samples, position); ++t) {
      const int whole = static_cast<int>(floor(position)), first = m.smooth ? whole - 1 : whole;
      if (first > q) break;
      float w[4] = {1.0f, 0.0f, 0.0f, 0.0f};
      if (m.smooth) cubic_weights(static_cast<float>(position - whole), w);
      T g[kGradLeads];
      output(t, g);
#pragma unroll
      for (int tap = 0; tap < 4; ++tap)
        if ((tap == 0 || m.smooth) && within(first + tap, samples) == q)
#pragma unroll
          for (int k = 0; k < kGradLeads; ++k) z[k] += g[k] * static_cast<T>(w[tap]);
    }
  }

  // gx of leads l0 on += the gradient of input sample i: the cross-fades that read it, in order, then the piece that
  // holds it (pieces part the input).
  PHYSIOCLR_HD void input(int i) const {
    const RecordMap& m = s.map;
    const int pieces = static_cast<int>(m.n_pieces);
    for (int j = 1; j <= 2 * pieces - 1; ++j) {
      const bool joint = j < pieces;
      const Piece& piece = m.pieces[joint ? j : j - pieces];
      const int dst = static_cast<int>(piece.dst), src = static_cast<int>(piece.src);
      int from = 0, to = 1, end = 0;
      if (joint) {
        const Piece& before = m.pieces[j - 1];
        end = static_cast<int>(before.src + before.length);
        to = static_cast<int>(piece.half), from = -to;
      } else {
        const int q = i - src;
        if (q < 0 || q >= piece.length || (pieces > 1 && fade_at(m, j - pieces, dst + q) != 0)) continue;
        from = q, to = q + 1;
      }
      for (int step = from; step < to; ++step) {
        const bool first = joint && within(end + step, samples) == i, second = within(src + step, samples) == i;
        if (!first && !second) continue;
        const double w = joint ? fade_weight(step, to) : 1.0;
        T z[kGradLeads];
        shuffled(dst + step, z);
#pragma unroll
        for (int k = 0; k < kGradLeads; ++k) {
          if (l0 + k >= leads) break;
          T sum = gx[static_cast<int64_t>(k) * samples + i];
          if (first) sum += z[k] * static_cast<T>(1.0 - w);
          if (second) sum += z[k] * static_cast<T>(w);
          gx[static_cast<int64_t>(k) * samples + i] = sum;
        }
      }
    }
  }
};

// args.call as as_pass() makes it; one launch adds all the views of `args`, and with view0 > 0 adds to what is there.
// blockIdx.x: record, blockIdx.y: chunk of time.
template <class T>
__global__ void __launch_bounds__(kAugThreads) augment_bwd_kernel(AugmentArgs args) {
  __shared__ AnyWord state[sizeof(RecordState) / 8];
  __shared__ StepTables steps;
  __shared__ Turn<T> turn;
  const Block team{static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
  RecordState& s = *reinterpret_cast<RecordState*>(state);
  const int leads = static_cast<int>(args.call.pass.leads), samples = static_cast<int>(args.call.pass.samples);
  const int i = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const int64_t b = blockIdx.x, record = static_cast<int64_t>(leads) * samples;
  T* gx = static_cast<T*>(args.call.y.data) + b * record;
  for (int k = team.rank; k < kWarps * kGroup; k += team.size)
    turn_sincos(warp_turns(k / kGroup, k % kGroup, samples), steps.s1[k / kGroup][k % kGroup],
                steps.c1[k / kGroup][k % kGroup]);
  for (int64_t view = 0; view < args.views; ++view) {
    const RecordSlot slot =
        slot_of(args.workspace, view * args.call.pass.records + b, leads, args.call.pass.rpeaks.cols, nullptr);
    copy_state(slot.state, &s, team);
    team.sync();
    for (int k = team.rank; k < 36; k += team.size) {
      turn.from[k / 3][k % 3] = static_cast<T>(s.rotation.from[k / 3][k % 3]);
      turn.to[k / 3][k % 3] = static_cast<T>(s.rotation.to[k / 3][k % 3]);
    }
    team.sync();
    const T* gy = static_cast<const T*>(args.call.x.data) + ((args.view0 + view) * args.call.pass.records + b) * record;
    const bool adds = args.view0 + view > 0;
    for (int l0 = 0; i < samples && l0 < leads; l0 += kGradLeads) {
      const int64_t at = static_cast<int64_t>(l0) * samples;
      if (!adds)
        for (int k = 0; k < kGradLeads && l0 + k < leads; ++k) gx[at + static_cast<int64_t>(k) * samples + i] = T(0);
      Grad<T>{s, steps, turn, slot.dropped, gy + at, gx + at, leads, samples, l0}.input(i);
    }
    team.sync();  // the next view's state goes where this one was read
  }
}

}  // namespace physioclr::cuda
