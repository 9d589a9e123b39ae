#pragma once
// Rotation of the heart's electrical axis: x + D (R - I) D+ x, where D gives the leads from the vectorcardiogram
// (Dower, Machado, Osborne 1980) and D+ is its least-squares inverse from I, II and V1 to V6. What a dipole does not
// explain stays as it was, and so does everything if R = I.
#include <cstdint>

#include "core/augment_math.h"

namespace physioclr {

struct Rotation {
  double from[12][3];  // D+ transposed; 0 for III and the augmented leads, which follow from I and II
  double to[12][3];    // D (R - I)
};

PHYSIOCLR_HD void dower_row(int lead, double* d) {
  const double table[8][3] = {
      {0.632, -0.235, 0.059}, {0.235, 1.066, -0.132}, {-0.515, 0.157, -0.917}, {0.044, 0.164, -1.387},
      {0.882, 0.098, -1.277}, {1.213, 0.127, -0.601}, {1.125, 0.127, -0.086},  {0.831, 0.076, 0.230},
  };  // I II V1 V2 V3 V4 V5 V6
  for (int k = 0; k < 3; ++k) {
    const double i = table[0][k], ii = table[1][k];
    switch (lead) {
      case 0: d[k] = i; break;
      case 1: d[k] = ii; break;
      case 2: d[k] = ii - i; break;
      case 3: d[k] = -0.5 * (i + ii); break;
      case 4: d[k] = i - 0.5 * ii; break;
      case 5: d[k] = ii - 0.5 * i; break;
      default: d[k] = table[lead - 4][k];
    }
  }
}

PHYSIOCLR_HD bool independent_lead(int lead) { return lead < 2 || lead > 5; }

PHYSIOCLR_HD Rotation rotation_of(const RecordParams& r) {
  double s[3], c[3];
  for (int k = 0; k < 3; ++k) turn_sincos(r.turn[k], s[k], c[k]);
  // about X, then Y, then Z; minus the identity
  const double m[3][3] = {
      {c[1] * c[2] - 1, s[0] * s[1] * c[2] - c[0] * s[2], c[0] * s[1] * c[2] + s[0] * s[2]},
      {c[1] * s[2], s[0] * s[1] * s[2] + c[0] * c[2] - 1, c[0] * s[1] * s[2] - s[0] * c[2]},
      {-s[1], s[0] * c[1], c[0] * c[1] - 1},
  };
  double g[3][3] = {}, d[12][3];
  for (int l = 0; l < 12; ++l) {
    dower_row(l, d[l]);
    if (independent_lead(l))
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) g[i][j] += d[l][i] * d[l][j];
  }
  // Inverse of the symmetric 3 x 3 matrix by cofactors.
  double q[3][3];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const int a = (i + 1) % 3, b = (i + 2) % 3, e = (j + 1) % 3, f = (j + 2) % 3;
      q[j][i] = g[a][e] * g[b][f] - g[a][f] * g[b][e];
    }
  const double det = g[0][0] * q[0][0] + g[0][1] * q[1][0] + g[0][2] * q[2][0];
  Rotation out{};
  for (int l = 0; l < 12; ++l)
    for (int i = 0; i < 3; ++i) {
      double from = 0, to = 0;
      for (int j = 0; j < 3; ++j) from += q[i][j] * d[l][j], to += d[l][j] * m[j][i];
      out.from[l][i] = independent_lead(l) ? from / det : 0.0;
      out.to[l][i] = to;
    }
  return out;
}

}  // namespace physioclr
