// Part of hot/rpeaks_front.cpp: weights of the rows of each block, the sum of the envelopes, and its levels.

INLINE void exchange(Vf* a, int i, int j) {
  const Vf x = a[i], y = a[j];
  a[i] = least(x, y);
  a[j] = most(x, y);
}

// The q-th quantile of n sorted values, as quantile.
template <int n>
INLINE Vf quantile_of(const Vf* v, float q) {
  const float pos = q * static_cast<float>(n - 1);
  const int a = static_cast<int>(pos), b = a + 1 < n ? a + 1 : n - 1;
  return v[a] + (pos - static_cast<float>(a)) * (v[b] - v[a]);
}

template <int size>
INLINE void sort(Vf* v) {
  static_assert(size == 5 || size == 9, "as sort5 and sort9");
  if (size == 5) {
    exchange(v, 0, 1), exchange(v, 3, 4), exchange(v, 2, 4), exchange(v, 2, 3), exchange(v, 1, 4);
    exchange(v, 0, 3), exchange(v, 0, 2), exchange(v, 1, 3), exchange(v, 1, 2);
  } else {
    constexpr int e = size == 9 ? 8 : 0, d = size == 9 ? 7 : 0, c = size == 9 ? 6 : 0, b = size == 9 ? 5 : 0;
    exchange(v, 0, 3), exchange(v, 1, d), exchange(v, 2, b), exchange(v, 4, e), exchange(v, 0, d), exchange(v, 2, 4);
    exchange(v, 3, e), exchange(v, b, c), exchange(v, 0, 2), exchange(v, 1, 3), exchange(v, 4, b), exchange(v, d, e);
    exchange(v, 1, 4), exchange(v, 3, c), exchange(v, b, d), exchange(v, 0, 1), exchange(v, 2, 4), exchange(v, 3, b);
    exchange(v, c, e), exchange(v, 2, 3), exchange(v, 4, b), exchange(v, c, d), exchange(v, 1, 2), exchange(v, 3, 4);
    exchange(v, b, c);
  }
}

// Sorts the values of the blocks around k, kV rows at once; from the n-th on infinity.
template <int n>
INLINE void near_blocks(const float* value, int64_t stride, int64_t k, Vf* v) {
  static_assert(kAside == 2, "a sorting network of 5");
  const int64_t first = k < kAside ? 0 : k - kAside;
  for (int j = 0; j < 5; ++j) v[j] = j < n ? load(value + (first + j) * stride) : splat(HUGE_VALF);
  sort<5>(v);
}

// Levels and, before they are made to add up to 1, weights of block k, which has n blocks around it: as near_level,
// block_mean and contrast.
template <int n>
INLINE void contrasts(const float* maxima, const float* means, int64_t k, int64_t rows, int64_t stride, float* level,
                      float* weight) {
  for (int64_t r = 0; r < rows; r += kV) {
    Vf v[5];
    near_blocks<n>(maxima + r, stride, k, v);
    Vf top = quantile_of<n>(v, kQuantile);
    if (n > 1) top = most(kSecond * v[n > 1 ? n - 2 : 0], top);
    near_blocks<n>(means + r, stride, k, v);
    const Vf mean = quantile_of<n>(v, 0.5f), c = mean > 0 ? top / mean - kQuiet : Vf{};
    store(level + k * stride + r, top);
    store(weight + k * stride + r, top > 0 ? (c > 0 ? c * c : Vf{}) + kLeast : Vf{});
  }
}

void weights(const float* maxima, const float* means, int64_t blocks, int64_t k0, int64_t k1, int64_t rows,
             int64_t stride, float* level, float* weight) {
  for (int64_t k = k0; k < k1; ++k) {
    const int64_t first = std::max<int64_t>(k - kAside, 0), last = std::min(k + kAside, blocks - 1);
    switch (last - first + 1) {
      case 1: contrasts<1>(maxima, means, k, rows, stride, level, weight); break;
      case 2: contrasts<2>(maxima, means, k, rows, stride, level, weight); break;
      case 3: contrasts<3>(maxima, means, k, rows, stride, level, weight); break;
      case 4: contrasts<4>(maxima, means, k, rows, stride, level, weight); break;
      default: contrasts<5>(maxima, means, k, rows, stride, level, weight);
    }
  }
  for (int64_t k = k0; k < k1; ++k) {
    float *levels = level + k * stride, *shares = weight + k * stride;
    float total = 0, common = 0;  // shares that add up to 1, times common level over own level
    for (int64_t r = 0; r < rows; ++r) {
      total += shares[r];
      common += shares[r] * levels[r];
    }
    const Vf scale = splat(total > 0 ? common / (total * total) : 0.0f);
    for (int64_t r = 0; r < rows; r += kV) {
      const Vf share = load(shares + r);
      store(shares + r, share > 0 ? share * scale / load(levels + r) : Vf{});
    }
  }
}

// ---- levels of the sum, kV blocks at once
// -------------------------------------------------------------------------------

// The values of the blocks within `aside` of each block k.., sorted; their number in each lane.
template <int aside>
INLINE Vi near_each(const float* value, int64_t blocks, int64_t k, Vf* v) {
  for (int j = 0; j < 2 * aside + 1; ++j) v[j] = load(value + k + j - aside);
  sort<2 * aside + 1>(v);
  const Vi at = static_cast<int32_t>(k) + lane_numbers();
  const Vi last = least(at + aside, Vi{} + static_cast<int32_t>(blocks - 1)), first = most(at - aside, Vi{});
  return last - first + 1;
}

// quantile_of in each lane, of as many values as the lane has: between aside + 1 and 2 aside + 1.
template <int n, int most_values>
INLINE Vf quantile_each(const Vf* v, Vi count, float q) {
  const Vf own = quantile_of<n>(v, q);
  if constexpr (n < most_values) return count == n ? own : quantile_each<n + 1, most_values>(v, count, q);
  return own;
}

// As block_level and block_mean. There are at least 2 kWide + 1 blocks.
void levels(const float* maxima, const float* means, int64_t blocks, int64_t k0, int64_t k1, float* level,
            float* noise) {
  static_assert(kAside == 2 && kWide == 4 && kSomeBlocks % kV == 0, "networks of 5 and 9; parts begin with a vector");
  for (int64_t k = k0; k < k1; k += kV) {
    Vf v[9];
    Vi count = near_each<2>(maxima, blocks, k, v);
    const Vf second = kSecond * (count == 5 ? v[3] : count == 4 ? v[2] : v[1]);
    Vf top = most(second, quantile_each<3, 5>(v, count, kQuantile));
    count = near_each<4>(maxima, blocks, k, v);
    top = most(kFloor * quantile_each<5, 9>(v, count, kWideQuantile), top);
    count = near_each<2>(means, blocks, k, v);
    store(level + k, top);
    store(noise + k, top > 0 ? quantile_each<3, 5>(v, count, 0.5f) / top : Vf{});
  }
}

// ---- sum of the envelopes
// --------------------------------------------------------------------------------------------

// kVectors vectors of fused from sample i on. w: the weights of this block, next: of the next one.
template <int kVectors>
INLINE void add_rows(const float* env, int64_t env_stride, const float* w, const float* next, int64_t rows,
                     const Vf* past, float* out) {
  Vf sum[kVectors] = {};
  for (int64_t r = 0; r < rows; ++r, env += env_stride) {
    const Vf own = splat(w[r]), slope = splat(next[r] - w[r]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[v] += load(env + v * kV) * (own + past[v] * slope);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store(out + v * kV, sum[v]);
}

// The weights are interpolated between the centres of the blocks as at_centres does.
void fuse(const float* env, int64_t env_stride, const float* weight, int64_t rows, int64_t stride, const WorkPlan& p,
          int64_t k0, int64_t k1, float* fused, float* maxima, float* means) {
  const int64_t begin = p.block_begin(k0), end = p.block_begin(k1);
  const Vi lanes = lane_numbers();
  int64_t ramp = p.ramp(k0 > 0 ? k0 - 1 : 0);
  for (int64_t k = k0 > 0 ? k0 - 1 : 0; k < p.blocks && ramp < end; ++k) {
    const float *w = weight + k * stride, *next = k + 1 < p.blocks ? w + stride : w;
    const int64_t from = std::max(ramp, begin), to = std::min(ramp = p.ramp(k + 1), end);
    for (int64_t i = from; i < to; i += kAtOnce * kV) {
      Vf past[kAtOnce];
#pragma GCC unroll 8
      for (int v = 0; v < kAtOnce; ++v) {
        const Vf at = position(p.offset + i + v * kV, lanes) / p.block - 0.5f;
        past[v] = most(at, Vf{}) - static_cast<float>(k);
      }
      float here[kAtOnce * kV];
      const bool whole = i + kAtOnce * kV <= end;
      float* out = whole ? fused + i : here;
      add_rows<kAtOnce>(env + i, env_stride, w, next, rows, past, out);
      if (!whole) std::memcpy(fused + i, here, (to - i) * sizeof(float));
    }
  }
  for (int64_t k = k0; k < k1; ++k)
    maximum_and_mean(fused + p.core_begin(k), p.core_end(k) - p.core_begin(k), maxima + k, means + k);
}
