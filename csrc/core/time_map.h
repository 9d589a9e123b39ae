#pragma once
// The smooth part of the time map: where in the (shuffled) record an output sample reads, and how it interpolates.
//   output t -> crop -> u -> warp -> v -> rr_scale -> w, the position read
// R peaks go the other way. Positions are double, so that they are exact to 1e-9 samples on any record.
#include <cstdint>

#include "core/augment_math.h"

namespace physioclr {

// v = u + sum_k warp_k sin(pi k u / (T - 1)): monotone, because the speeds sum to less than 1.
PHYSIOCLR_HD double warp_turns(int k, double u, int64_t samples) {
  return 0.5 * (k + 1) * u / static_cast<double>(samples - 1);
}

// The same at t = group + i by the angle-addition formula, from sines and cosines of the start of a group of 64 samples
// and of i: how every backend computes it. s0, c0: of u at the group; s1, c1: of i.
PHYSIOCLR_HD double warp_step(double s0, double c0, double s1, double c1) { return s0 * c1 + c0 * s1; }

// Where the warp reads v: Newton's method, which needs three or four steps because the speed is never below 1/2.
PHYSIOCLR_HD double unwarp_position(const RecordParams& r, double v, int64_t samples) {
  double u = v;
  for (int i = 0; i < 40; ++i) {
    double excess = u - v, speed = 1;
    for (int k = 0; k < kWarps; ++k) {
      double s, c;
      turn_sincos(warp_turns(k, u, samples), s, c);
      excess += r.warp[k] * s;
      speed += r.warp[k] * c * (3.14159265358979324 * (k + 1) / static_cast<double>(samples - 1));
    }
    u -= excess / speed;
    if (excess < 1e-6 && excess > -1e-6) break;
  }
  return u;
}

PHYSIOCLR_HD double cube_root(double x) {  // of numbers around 1, by Newton's method
  double y = 1;
  for (int k = 0; k < 40; ++k) y -= (y * y * y - x) / (3 * y * y);
  return y;
}

// rr_scale as corners of a piecewise linear map. Every RR interval becomes `factor` times as long: from the P onset to
// the end of QRS nothing stretches, the QT interval goes with the cube root, TP takes the rest (but keeps a quarter).
// Boundaries are not known here, so they are what is usual: P onset 200 ms before R (at most 0.3 RR), QRS from 40 ms
// before to 50 ms after it, T offset where a QTc of 400 ms (Fridericia) puts it, at most 0.6 RR after R.
struct Corner {
  double out, in;
};

constexpr int kCornersPerBeat = 3;

PHYSIOCLR_HD double pr_interval(double rr, double fs) { return 0.2 * fs < 0.3 * rr ? 0.2 * fs : 0.3 * rr; }

// What the corners between the beats at r0 and r1 are made of: the outputs hold lengths until rr_corners adds them up.
PHYSIOCLR_HD void rr_parts(double r0, double r1, double factor, double root, double fs, Corner* c) {
  const double rr = r1 - r0;
  const double qrs = 0.05 * fs < 0.15 * rr ? 0.05 * fs : 0.15 * rr, pr = pr_interval(rr, fs);
  double t_off = (0.4 * cube_root(rr / fs) - 0.04) * fs;
  t_off = t_off > 0.6 * rr ? 0.6 * rr : t_off < 0.2 * rr ? 0.2 * rr : t_off;
  double new_t_off = (t_off + 0.04 * fs) * root - 0.04 * fs;
  const double least = 0.5 * (qrs + t_off);
  new_t_off = new_t_off < least ? least : new_t_off;
  const double tp = rr - t_off - pr;
  double new_tp = factor * rr - new_t_off - pr;
  new_tp = new_tp < 0.25 * tp ? 0.25 * tp : new_tp;
  c[0] = Corner{qrs, r0 + qrs};
  c[1] = Corner{new_t_off, r0 + t_off};
  c[2] = Corner{new_tp, r1 - pr};
}

// The corners of beat r0, which came to lie at `at`; returns where the next beat comes to lie.
PHYSIOCLR_HD double rr_corners(double r0, double r1, double at, double fs, Corner* c) {
  const double new_t_off = c[1].out, new_tp = c[2].out;
  c[0].out = at + c[0].out;
  c[1].out = at + new_t_off;
  c[2].out = at + new_t_off + new_tp;
  return c[2].out + pr_interval(r1 - r0, fs);
}

// Cubic convolution (Keys 1981, a = -1/2): weights of samples i - 1 .. i + 2 at i + f.
PHYSIOCLR_HD void cubic_weights(float f, float* w) {
  const float g = 1.0f - f;
  w[0] = -0.5f * f * g * g;
  w[1] = 1.0f + f * f * (1.5f * f - 2.5f);
  w[2] = 1.0f + g * g * (1.5f * g - 2.5f);
  w[3] = -0.5f * g * f * f;
}

// The order of the sums is part of the definition.
template <class T>
PHYSIOCLR_HD T four_taps(const T* z, const float* w) {
  return (z[0] * T(w[0]) + z[2] * T(w[2])) + (z[1] * T(w[1]) + z[3] * T(w[3]));
}

// The same where some of the four samples may be missing (NaN, infinite): a missing neighbour on either side gives
// linear interpolation; with one of the inner two missing, the nearer of them as it is. Nothing spreads.
template <class T>
PHYSIOCLR_HD T four_taps_missing(const T* z, const float* w, double f) {
  const bool there[4] = {z[0] - z[0] == 0, z[1] - z[1] == 0, z[2] - z[2] == 0, z[3] - z[3] == 0};
  if (there[0] && there[1] && there[2] && there[3]) return four_taps(z, w);
  if (f == 0) return z[1];
  if (there[1] && there[2]) return z[1] * T(1 - f) + z[2] * T(f);
  return f < 0.5 ? z[1] : z[2];
}

}  // namespace physioclr
