#pragma once
// Where the grids of detect_rpeaks lie. Working samples, envelope samples and blocks could begin with the record, but
// then a beat would be seen on another grid in a recording that begins a sample later. They hang on the record's anchor
// instead, a steep place of the ECG: what does not cut it away moves all grids along. Pieces of one recording, whose
// anchors differ, may be told where they start in it, and then share the grids of its first sample.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/macros.h"
#include "core/rpeaks_constants.h"

namespace physioclr::rpeaks {

// Steepness at a sample: the bits of |after - here|, which rise with it; 0 where one of them is missing.
PHYSIOCLR_HD int32_t steepness_bits(float here, float after) {
  const float d = std::fabs(after - here);
  int32_t bits;
  std::memcpy(&bits, &d, sizeof bits);
  return bits < 0x7f800000 ? bits : 0;
}
PHYSIOCLR_HD int32_t steepness_bits(int16_t here, int16_t after) {
  return steepness_bits(static_cast<float>(here), static_cast<float>(after));
}

// As steep as counts for the anchor of samples of which the steepest is `top`.
PHYSIOCLR_HD int32_t steep_enough(int32_t top) {
  float v;
  std::memcpy(&v, &top, sizeof v);
  v *= kAnchorShare;
  std::memcpy(&top, &v, sizeof v);
  return top > 0 ? top : 1;  // of the smallest numbers nothing would be left
}

// Where an anchor is sought: a piece of `span` samples from `begin` on, and where there is no slope at all the next
// piece, to `end`. Each sample is compared with that `apart` after it. The ends of the record are left out, where a
// filter's transient may be the steepest there is and a cut takes it away.
struct AnchorRange {
  int64_t begin, end, span, apart;
};
PHYSIOCLR_HD AnchorRange anchor_range(int64_t samples, int64_t step, double fs) {
  const int64_t edge = static_cast<int64_t>(kAnchorEdge * fs), eighth = samples / 8;
  const int64_t begin = edge < eighth ? edge : eighth;
  return {begin, samples - begin - step, static_cast<int64_t>(kAnchorSpan * fs) + 1, step};
}

// The sample with which the first whole block of `period` samples begins: with the anchor amid a block, or, of a piece
// that starts with sample `start` of a recording, with a block at its first sample.
PHYSIOCLR_HD int64_t begin_around(int64_t anchor, int64_t period) { return (anchor + period / 2) % period; }
PHYSIOCLR_HD int64_t begin_from(int64_t start, int64_t period) { return (period - start % period) % period; }

// The grid of a record: its samples from `first` on, n working samples, m envelope samples; block k begins with
// envelope sample k * block - offset, the first and the last of `blocks` are at least as long as others, below twice
// as long.
struct Grid {
  int64_t first, n, m, offset, blocks;
};
PHYSIOCLR_HD Grid grid_of(int64_t begin, int64_t samples, int64_t step, int64_t hop, int64_t block) {
  const int64_t each = step * hop;
  Grid g;
  g.first = begin % each;
  if (samples < g.first + each) g.first = 0;
  g.n = (samples - g.first) / step;
  g.m = (g.n + hop - 1) / hop;
  g.offset = -(begin / each);
  g.blocks = (g.m + g.offset) / block;
  if (g.blocks < 1) g.blocks = 1;
  return g;
}

}  // namespace physioclr::rpeaks
