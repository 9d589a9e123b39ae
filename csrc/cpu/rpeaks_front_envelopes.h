// Part of hot/rpeaks_front.cpp: envelopes of both bands, maximum and mean of each block.

// The sums of kTileVectors vectors: of even and odd taps, for both bands.
struct Sums {
  Vf even[kBands][kTileVectors], odd[kBands][kTileVectors];
};

// Adds the taps k of the first kWide bands: c are its four coefficients (WorkPlan::taps), after and before the samples
// k to the right and to the left.
template <int kWide>
INLINE void add_tap(const float* after, const float* before, const float* c, Sums* s) {
#pragma GCC unroll 4
  for (int v = 0; v < kTileVectors; ++v) {
    const Vf r = loaded(after + v * kV), l = loaded(before + v * kV), sum = r + l, difference = r - l;
#pragma GCC unroll 2
    for (int b = 0; b < kWide; ++b) {
      s->even[b][v] = fused_multiply_add(splat(c[2 * b]), sum, s->even[b][v]);
      s->odd[b][v] = fused_multiply_add(splat(c[2 * b + 1]), difference, s->odd[b][v]);
    }
  }
}

// Taps k = first, first + hop ..., those of both bands before those that only the longer wavelet has.
INLINE void add_taps(const float* after, const float* before, int first, int hop, const WorkPlan& p, Sums* s) {
  const float* c = p.taps + 4 * first;
  int k = first;
  for (; k <= p.reach[1]; k += hop, ++after, --before, c += 4 * hop) add_tap<2>(after, before, c, s);
  for (; k <= p.reach[0]; k += hop, ++after, --before, c += 4 * hop) add_tap<1>(after, before, c, s);
}

INLINE Vi lane_numbers() {
  Vi v;
  for (int l = 0; l < kV; ++l) v[l] = l;
  return v;
}

// Of n values >= 0: 16 partial maxima and sums, as many vectors as that takes.
constexpr int kParts = 16 / kV;
struct Larger {
  INLINE Vf operator()(Vf a, Vf b) const { return most(a, b); }
};
struct Sum {
  INLINE Vf operator()(Vf a, Vf b) const { return a + b; }
};
template <int by, class F>
INLINE Vf folded(Vf v, F f) {
  if constexpr (by > 0) {
    v = f(v, pick<Turned<by>>(v, v));
    return folded<by / 2>(v, f);
  }
  return v;
}
// Element l with l + 8, then with l + 4 and so on: the order of the GPU's.
template <class F>
INLINE float folded(Vf* v, F f) {
  for (int half = kParts / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) v[i] = f(v[i], v[i + half]);
  return folded<kV / 2>(v[0], f)[0];
}
INLINE void maximum_and_mean(const float* x, int64_t n, float* top, float* mean) {
  Vf m[kParts] = {}, a[kParts] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int v = 0; v < kParts; ++v) {
      const Vf e = load(x + i + v * kV);
      m[v] = most(m[v], e);
      a[v] += e;
    }
  const Vi lanes = lane_numbers();
  for (int v = 0; v < kParts; ++v) {
    const Vf e = lanes < static_cast<int32_t>(n - i - v * kV) ? load(x + i + v * kV) : Vf{};
    m[v] = most(m[v], e);
    a[v] += e;
  }
  *top = folded(m, Larger{});
  *mean = n > 0 ? folded(a, Sum{}) / static_cast<float>(n) : 0.0f;
}

void envelopes(const float* const half[2], const WorkPlan& p, int64_t k0, int64_t k1, float floor,
               const uint8_t* missing, float* const env[2], float* maxima, float* means, int64_t stride, Ahead* ahead) {
  const int64_t start = p.block_begin(k0), stop = p.block_begin(k1);
  const int lines = static_cast<int>(p.step * p.hop * kTile * 4 / 64);
  const Vf low = splat(floor);
  for (int64_t i = start; i < stop; i += kTile) {
    ahead->some(lines);
    const float *x = half[0] + (i - start), *between = half[1] + (i - start);
    Sums s = {};
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v)
      for (int b = 0; b < kBands; ++b) s.even[b][v] = splat(p.taps[2 * b]) * load(x + v * kV);
    if (p.hop == 2) {
      add_taps(between, between - 1, 1, 2, p, &s);
      add_taps(x + 1, x - 1, 2, 2, p, &s);
    } else {
      add_taps(x + 1, x - 1, 1, 1, p, &s);
    }
    float here[kBands][kTile];
    const bool whole = i + kTile <= stop;
#pragma GCC unroll 2
    for (int b = 0; b < kBands; ++b) {
      float* out = whole ? env[b] + i : here[b];
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) {
        const Vf root = square_root(s.even[b][v] * s.even[b][v] + s.odd[b][v] * s.odd[b][v]);
        store(out + v * kV, root < low ? Vf{} : root);
      }
    }
    if (!whole)
      for (int b = 0; b < kBands; ++b) std::memcpy(env[b] + i, here[b], (stop - i) * sizeof(float));
  }
  for (int64_t k = k0; k < k1; ++k) {
    const int64_t begin = p.block_begin(k), end = p.block_begin(k + 1);
    for (int b = 0; b < kBands; ++b) {
      if (missing)
        for (int64_t i = begin; i < end; ++i)
          if (missing[i * p.hop]) env[b][i] = 0;
      maximum_and_mean(env[b] + p.core_begin(k), p.core_end(k) - p.core_begin(k), maxima + k * stride + b,
                       means + k * stride + b);
    }
  }
}
