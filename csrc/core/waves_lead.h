#pragma once
// Wave boundaries of one lead.
//
// Method. The record is brought to about 250 Hz and the QRS complexes are measured one by one. In blocks of up to 20
// beats those alike are averaged, aligned at the centre of gravity of their squared slope; the waves are found on the
// average, where noise is small, and every beat then looks for its own near by. P waves are accepted when the beats
// repeat them: the coherence of the P windows is near 1 in sinus rhythm and near 0 in fibrillation.
//
// physioclr.reference.delineate says the same slowly.
#include "core/interrupt.h"
#include "core/waves_blocks.h"
#include "core/waves_order.h"

namespace physioclr::waves::PHYSIOCLR_ISA {

// What the scratch of a lead of `samples` samples and `beats` R peaks at the rate fs depends on.
struct LeadShape {
  LeadShape(int64_t samples, int64_t most_beats, double fs) : rate(fs), beats(most_beats) {
    before = width(kBefore, rate.fi), total = before + width(kAfter, rate.fi);
    window = total + 2 + kSlack, length = samples * rate.u + window;
  }
  int64_t numbers() const { return 3 * length + 3 * window + kRows * beats + kBlock + kSlack; }
  int64_t counts() const { return length; }

  Internal rate;
  int64_t beats, before, total, window, length;  // before, total: samples of the averaging window, up to its centre
};

// Memory that is wanted next, asked for piece by piece: all at once would stop the loads of now.
class Ahead {
 public:
  Ahead(const void* begin, int64_t bytes) : at_(static_cast<const char*>(begin)), end_(at_ ? at_ + bytes : at_) {}
  void some(int lines) {
    for (int i = 0; i < lines && at_ < end_; ++i, at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const char *at_, *end_;
};
constexpr int kLinesAhead = 32, kLinesOfBeat = 12;

// Memory of shape.numbers() and shape.counts() elements. stop: see cpu/waves.h.
struct LeadScratch {
  LeadScratch(const LeadShape& of, double* numbers, int32_t* counts, Ahead* next, const Interrupt* interrupt)
      : shape(of), bad(counts), ahead(next), stop(interrupt) {
    const auto take = [&](int64_t n) { return numbers += n, numbers - n; };
    y = take(of.length), s = take(of.length), g = take(of.length);
    mean = take(of.window), count = take(of.window), sums = take(of.window);
    for (double*& row : rows) row = take(of.beats);
    rr = take(kBlock);
  }
  const LeadShape& shape;
  double *y, *s, *g, *mean, *count, *sums, *rows[kRows], *rr;
  int32_t* bad;
  Ahead* ahead;
  const Interrupt* stop;

  bool stopped() const { return stop && (*stop)(); }
};

// The QRS complexes, and the intervals between the R peaks.
template <class Rate>
inline void measure_complexes(const Lead& lead, const Beats& wave, const int32_t* rpeaks, double fs, Rate fi,
                              double scale, double shift, double* g, Ahead* ahead) {
  const int64_t before = width(kQrsBefore, fi), after = width(kQrsAfter, fi);
  slopes(lead.s, lead.n, width(kQrsSlope, fi), g);
  for (int64_t k = 0; k < wave.beats; ++k) {
    for (int f = 0; f < kFields; ++f) wave.row[f][k] = -1;
    int64_t r = whole((rpeaks[k] - shift) / scale + 0.5);
    int64_t lo = r - before, hi = r + after;
    if (k > 0) {
      wave[kRr][k] = (rpeaks[k] - rpeaks[k - 1]) / fs;
      lo = larger(lo, whole((rpeaks[k - 1] - shift) / scale) + width(0.2, fi));
    }
    ahead->some(kLinesOfBeat);
    if (k < wave.beats - 1) hi = smaller(hi, whole((rpeaks[k + 1] - shift) / scale) - width(0.15, fi));
    r = smaller(larger<int64_t>(r, 0), lead.n - 1);
    Complex found;
    measure_qrs(g, lead.n, r, smaller(lo, r), larger(hi, r), kQrsNoise, fi, found);
    wave[kCentre][k] = real(r);
    if (found.edge[0] >= 0)
      wave[kOn][k] = found.edge[0], wave[kOff][k] = found.edge[1], wave[kCentre][k] = found.centre;
  }
}

// The boundaries of the beats as samples of the record.
inline void write_boundaries(const Lead& lead, const Beats& wave, int64_t samples, double scale, double shift,
                             const Boundaries& out) {
  const auto held = [&](double v) { return larger<int64_t>(0, smaller(lead.n, whole(v))); };
  for (int64_t k = 0; k < wave.beats; ++k) {
    if (wave[kPOff][k] > wave[kOn][k]) wave[kPOff][k] = larger(wave[kOn][k], wave[kPPeak][k]);
    if (wave[kTOn][k] >= 0 && wave[kTOn][k] < wave[kOff][k]) wave[kTOn][k] = smaller(wave[kOff][k], wave[kTPeak][k]);
    constexpr int ends[3][2] = {{kPOn, kPOff}, {kOn, kOff}, {kTOn, kTOff}};
    for (const auto& part : ends) {
      const double i = wave.row[part[0]][k], j = wave.row[part[1]][k];
      if (wave.row[part[0] + 1][k] < 0 || j < 0) continue;
      // Part of it is missing:
      if (lead.missing && lead.bad[larger<int64_t>(0, smaller(lead.n, whole(j) + 1))] > lead.bad[held(i)]) continue;
      for (int f = part[0]; f <= part[1]; ++f) {
        const int64_t at = whole(wave.row[f][k] * scale + shift + 0.5);
        out[f][k] = static_cast<int32_t>(smaller(larger<int64_t>(at, 0), samples - 1));
      }
    }
  }
}

// The beats `wave` of a lead, whose rate is fi; out is filled with -1.
template <class Rate>
inline void delineate_beats(const float* x, int64_t samples, double fs, const int32_t* rpeaks, const Boundaries& out,
                            const LeadScratch& scratch, const Beats& wave, bool no_spikes, Rate fi) {
  const Internal& rate = scratch.shape.rate;
  const double scale = real(rate.q) / real(rate.u), shift = 0.5 * real(rate.q - 1);  // input = internal * scale + shift
  const int64_t beats = wave.beats;
  const Lead lead = prepare(x, samples, rpeaks, beats, fs, rate, no_spikes, scratch.y, scratch.s, scratch.bad);
  if (lead.n == 0) return;
  measure_complexes(lead, wave, rpeaks, fs, fi, scale, shift, scratch.g, scratch.ahead);
  const Window window{scratch.shape.before, scratch.shape.total, scratch.mean, scratch.count, scratch.sums};
  const int64_t blocks = (beats + kBlock - 1) / kBlock;  // of nearly equal size
  Hump found{};
  Wave t{}, a{};
  for (int64_t b = 0; b < blocks; ++b) {
    if (scratch.stopped()) return;
    Block block{b * beats / blocks, (b + 1) * beats / blocks, 0, 0, 0};
    const double rhythm = block_rhythm(wave, block.first, block.last, scratch.rr, &block.irregular);
    block.root_rr = std::sqrt(smaller(larger(rhythm, 0.3), 2.0));
    block.group = label_beats(lead, wave, block.first, block.last, fi);
    scratch.ahead->some(kLinesAhead);
    BlockQrs qrs{};
    block_t(lead, wave, block, window, fi, qrs, scratch.g, found, t, a);
    scratch.ahead->some(kLinesAhead);
    block_p(lead, wave, block, window, fi, qrs, found, t, a);
    scratch.ahead->some(kLinesAhead);
    settle_qrs(lead, wave, block, qrs, fi);
  }
  for (int64_t k = 1; k < beats; ++k) meet(lead, wave, k, fi);
  write_boundaries(lead, wave, samples, scale, shift, out);
  order({out.data, out.stride, beats}, rpeaks, rpeaks, samples);
}

// One lead of one record, x at the rate fs. rpeaks: rising, -1 after the last. out is filled. no_spikes: whether it is
// known that no pacing spike goes before an R peak.
inline void delineate_lead(const float* x, int64_t samples, double fs, const int32_t* rpeaks, const Boundaries& out,
                           const LeadScratch& scratch, bool no_spikes = false) {
  for (int f = 0; f < kFields; ++f) std::fill(out[f], out[f] + out.beats, -1);
  Beats wave{{}, 0};
  std::copy(scratch.rows, scratch.rows + kRows, wave.row);
  while (wave.beats < out.beats && rpeaks[wave.beats] >= 0) ++wave.beats;
  if (wave.beats == 0 || real(samples) < 0.2 * fs) return;
  if (const double fi = scratch.shape.rate.fi; fi == Rate250())
    delineate_beats(x, samples, fs, rpeaks, out, scratch, wave, no_spikes, Rate250());
  else delineate_beats(x, samples, fs, rpeaks, out, scratch, wave, no_spikes, fi);
}

}  // namespace physioclr::waves::PHYSIOCLR_ISA
