// The functions of RpeaksFront for vectors of kBytes bytes. rpeaks_front.cpp includes this file once for each
// instruction set, in a namespace of its own, which is why it has no guard. Elements are worked on in the same order
// and with the same roundings whatever the width, so that every processor gets the same numbers.

constexpr int kV = kBytes / 4;
constexpr int kTile = kTileVectors * kV;  // envelope samples
constexpr int kAtOnce = 2 * kTileVectors;  // vectors of the sum of the envelopes
static_assert(kTile <= kExcess && kAtOnce * kV <= kExcess && kRowLanes % kV == 0, "others rely on it");

using Vf = float __attribute__((vector_size(kBytes)));
using Vi = int32_t __attribute__((vector_size(kBytes)));
using Vs = int16_t __attribute__((vector_size(kBytes)));
using UnalignedVf = Vf __attribute__((aligned(4), may_alias));
using UnalignedVs = Vs __attribute__((aligned(2), may_alias));

INLINE Vf load(const float* x) { return *reinterpret_cast<const UnalignedVf*>(x); }
INLINE Vs load(const int16_t* x) { return *reinterpret_cast<const UnalignedVs*>(x); }
// The same, and not again at each use: loads are what the envelope has most of.
INLINE Vf loaded(const float* x) {
  Vf v = load(x);
#if PHYSIOCLR_ISA >= 3
  asm("" : "+v"(v));
#endif
  return v;
}
INLINE void store(float* y, Vf v) { *reinterpret_cast<UnalignedVf*>(y) = v; }
INLINE Vf splat(float x) { return x - Vf{}; }
// float(i + l) in lane l.
INLINE Vf position(int64_t i, Vi lanes) { return __builtin_convertvector(static_cast<int32_t>(i) + lanes, Vf); }
template <class V>
INLINE V least(V a, V b) {
  return a < b ? a : b;
}
template <class V>
INLINE V most(V a, V b) {
  return a < b ? b : a;
}
#if PHYSIOCLR_ISA >= 3  // GCC makes a comparison and a choice of some
INLINE Vf least(Vf a, Vf b) { return _mm256_min_ps(a, b); }
INLINE Vf most(Vf a, Vf b) { return _mm256_max_ps(b, a); }
#endif

// a * b + c, rounded once.
INLINE Vf fused_multiply_add(Vf a, Vf b, Vf c) {
#if PHYSIOCLR_ISA >= 3
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__FP_FAST_FMAF)
  Vf out;
  for (int l = 0; l < kV; ++l) out[l] = __builtin_fmaf(a[l], b[l], c[l]);
  return out;
#else
  // In double the product is exact. The sum is rounded to odd (its last bit is set where something is lost), which is
  // known to make the second rounding, to float, that of the exact sum. For finite numbers.
  using Vd = double __attribute__((vector_size(2 * kBytes)));
  using Vl = int64_t __attribute__((vector_size(2 * kBytes)));
  const Vd p = __builtin_convertvector(a, Vd) * __builtin_convertvector(b, Vd), d = __builtin_convertvector(c, Vd);
  const Vd sum = p + d, part = sum - p, lost = (p - (sum - part)) + (d - part);
  const Vl bits = reinterpret_cast<Vl>(sum), away = (reinterpret_cast<Vl>(lost) ^ bits) < 0;  // -1: towards zero
  const Vl odd = bits + (((lost != 0.0) & ((bits & 1) == 0)) & (1 + 2 * away));
  return __builtin_convertvector(reinterpret_cast<Vd>(odd), Vf);
#endif
}

INLINE Vf square_root(Vf x) {
#if PHYSIOCLR_ISA >= 3
  return _mm256_sqrt_ps(x);
#elif defined(__SSE2__)
  return _mm_sqrt_ps(x);
#else
  for (int l = 0; l < kV; ++l) x[l] = __builtin_sqrtf(x[l]);
  return x;
#endif
}

// Element `index(l)` of a and b, which follow each other, at each l.
template <class V, class Index, int... l>
INLINE V picked(V a, V b, Index index, std::integer_sequence<int, l...>) {
  return __builtin_shufflevector(a, b, decltype(index)::at(l)...);
}
template <class Index, class V>
INLINE V pick(V a, V b) {
  return picked(a, b, Index{}, std::make_integer_sequence<int, kV>{});
}
template <int offset>
struct EachSecond {
  static constexpr int at(int l) { return 2 * l + offset; }
};
template <int phase>
struct EachThirdOfTwo {  // of three vectors: what lies in the first two ...
  static constexpr int at(int l) { return 3 * l + phase < 2 * kV ? 3 * l + phase : 0; }
};
template <int phase>
struct EachThirdOfRest {  // ... and with it what lies in the third
  static constexpr int at(int l) { return 3 * l + phase < 2 * kV ? l : kV + (3 * l + phase - 2 * kV); }
};
template <int by>
struct Turned {
  static constexpr int at(int l) { return (l + by) % kV; }
};

template <int offset>
struct EachSecondInLane {  // the same in each 16 bytes, which is faster
  static constexpr int at(int l) { return l % 4 / 2 * kV + l / 4 * 4 + l % 2 * 2 + offset; }
};
struct LanesInOrder {
  static constexpr int at(int l) { return l % (kV / 4) * 4 + l / (kV / 4); }
};
struct Interleaved {
  static constexpr int at(int l) { return l / 2 + l % 2 * kV; }
};
struct InterleavedRest {
  static constexpr int at(int l) { return kV / 2 + l / 2 + l % 2 * kV; }
};

template <class V>
INLINE V pair_sums(V a, V b) {
  return pick<EachSecond<0>>(a, b) + pick<EachSecond<1>>(a, b);
}
template <class V>
INLINE V lane_pair_sums(V a, V b) {
  return pick<EachSecondInLane<0>>(a, b) + pick<EachSecondInLane<1>>(a, b);
}
template <class V>
INLINE V quad_sums(V a, V b, V c, V d) {
  const V v = lane_pair_sums(lane_pair_sums(a, b), lane_pair_sums(c, d));
  return pick<LanesInOrder>(v, v);
}
INLINE Vf third_sums(Vf a, Vf b, Vf c) {
  const Vf first = pick<EachThirdOfRest<0>>(pick<EachThirdOfTwo<0>>(a, b), c);
  const Vf second = pick<EachThirdOfRest<1>>(pick<EachThirdOfTwo<1>>(a, b), c);
  return first + second + pick<EachThirdOfRest<2>>(pick<EachThirdOfTwo<2>>(a, b), c);
}

// kV samples from x on without spikes. They are added to *all, which is finite only if each of them is.
INLINE Vf clean(const float* x, int64_t w, Vf* all) {
  const Vf a = load(x - w), b = load(x), c = load(x + w);
  *all += b;
  return most(least(a, c), least(b, most(a, c)));
}
// kV sums of kStep samples each, from x on; in the order of sum_of_step.
template <int kStep>
INLINE Vf step_sums(const float* x, int64_t w, Vf* all) {
  if constexpr (kStep == 1) return clean(x, w, all);
  if constexpr (kStep == 2) return pair_sums(clean(x, w, all), clean(x + kV, w, all));
  if constexpr (kStep == 3) return third_sums(clean(x, w, all), clean(x + kV, w, all), clean(x + 2 * kV, w, all));
  if constexpr (kStep == 4)
    return quad_sums(clean(x, w, all), clean(x + kV, w, all), clean(x + 2 * kV, w, all),
                     clean(x + 3 * kV, w, all));
  if constexpr (kStep == 8) return pair_sums(step_sums<4>(x, w, all), step_sums<4>(x + 4 * kV, w, all));
}

// The same of int16, all of it exact: medians as int16, two in an int32, sums as int32.
struct Pairs {
  Vi first, second;
};
INLINE Pairs clean(const int16_t* x, int64_t w) {
  const Vs a = load(x - w), b = load(x), c = load(x + w);
  const Vi both = reinterpret_cast<Vi>(most(least(a, c), least(b, most(a, c))));
  return {both << 16 >> 16, both >> 16};
}
INLINE Vi clean_pair_sums(const int16_t* x, int64_t w) {
  const Pairs p = clean(x, w);
  return p.first + p.second;
}
INLINE Vf floats(Vi v) { return __builtin_convertvector(v, Vf); }
template <int kStep>
INLINE Vf step_sums(const int16_t* x, int64_t w, Vf* all) {
  if constexpr (kStep == 1) {
    const Pairs p = clean(x, w);
    return floats(pick<Interleaved>(p.first, p.second));
  }
  if constexpr (kStep == 2) return floats(clean_pair_sums(x, w));
  if constexpr (kStep == 3) {
    const Pairs p = clean(x, w), q = clean(x + 2 * kV, w);
    return third_sums(floats(pick<Interleaved>(p.first, p.second)), floats(pick<InterleavedRest>(p.first, p.second)),
                      floats(pick<Interleaved>(q.first, q.second)));
  }
  if constexpr (kStep == 4) return floats(pair_sums(clean_pair_sums(x, w), clean_pair_sums(x + 2 * kV, w)));
  if constexpr (kStep == 8) return pair_sums(step_sums<4>(x, w, all), step_sums<4>(x + 4 * kV, w, all));
}

INLINE uint32_t magnitude_bits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits & 0x7fffffffu;
}
INLINE bool is_missing(float v) { return magnitude_bits(v) >= 0x7f800000u; }
INLINE bool is_missing(int16_t) { return false; }

// kStep 0: any.
template <int kStep, class T>
INLINE uint32_t means_of(const T* x, int64_t samples, const Plan& p, int64_t begin, int64_t end, float origin, float* y,
                         float* const half[2], Ahead* ahead) {
  const int64_t step = kStep ? kStep : p.step, w = p.spike;
  const float scale = 1.0f / static_cast<float>(step);
  uint32_t largest = 0;
  const auto one = [&](int64_t i) {
    for (int64_t j = i * step; j < (i + 1) * step; ++j)
      if (is_missing(x[j])) largest = kMissing;
    const float v = mean_of_step(x, samples, i, step, w) - origin;
    y[i] = v;
    if (half) half[i & 1][i / 2] = v;
    const uint32_t bits = magnitude_bits(v);
    largest = largest < bits ? bits : largest;
  };
  int64_t i = begin;
  if constexpr (kStep > 0) {
    constexpr int kOut = 2 * kV;
    constexpr int64_t kReads = kOut * kStep + (sizeof(T) == 2 && kStep % 2 ? kV : 0);  // see step_sums of int16
    while (i < end && i * step < w) one(i), one(i + 1 < end ? i + 1 : i), i += 2;
    // The last results that vectors can make begin at `last`; those before may overlap.
    const int64_t room = samples - w - kReads, last = std::min(end - kOut, room / step) & ~int64_t{1};
    if (room >= 0 && i <= last) {
      const Vf factor = splat(scale), zero = splat(origin);
      Vf all[2] = {};
      Vi top{};
      for (int64_t s = i * step - w; s < i * step; ++s)
        if (is_missing(x[s])) largest = kMissing;
      for (;;) {
        const T* from = x + i * step;
        ahead->some(kOut * kStep * sizeof(T) / 64);
        const Vf a = step_sums<kStep>(from, w, &all[0]) * factor - zero;
        const Vf b = step_sums<kStep>(from + kV * kStep, w, &all[1]) * factor - zero;
        store(y + i, a);
        store(y + i + kV, b);
        if (half) {
          store(half[0] + i / 2, pick<EachSecond<0>>(a, b));
          store(half[1] + i / 2, pick<EachSecond<1>>(a, b));
        }
        top = most(top, reinterpret_cast<Vi>(a) & 0x7fffffff);
        top = most(top, reinterpret_cast<Vi>(b) & 0x7fffffff);
        i += kOut;
        if (i > last) {
          if (i >= last + kOut) break;
          i = last;
        }
      }
      i = last + kOut;
      all[0] += all[1];
      for (int l = 0; l < kV; ++l) {
        largest = std::max(largest, static_cast<uint32_t>(top[l]));
        if (is_missing(all[0][l])) largest = kMissing;  // or their sum is too large: the other way decides
      }
      for (int64_t s = i * step; s < i * step + w; ++s)
        if (is_missing(x[s])) largest = kMissing;
    }
  }
  for (; i < end; ++i) one(i);
  return largest;
}

template <class T>
INLINE uint32_t means_by_step(const T* x, int64_t samples, const Plan& p, int64_t begin, int64_t end, float origin,
                              float* y, float* const half[2], Ahead* ahead) {
  switch (p.step) {
    case 1: return means_of<1>(x, samples, p, begin, end, origin, y, half, ahead);
    case 2: return means_of<2>(x, samples, p, begin, end, origin, y, half, ahead);
    case 3: return means_of<3>(x, samples, p, begin, end, origin, y, half, ahead);
    case 4: return means_of<4>(x, samples, p, begin, end, origin, y, half, ahead);
    case 8: return means_of<8>(x, samples, p, begin, end, origin, y, half, ahead);
    default: return means_of<0>(x, samples, p, begin, end, origin, y, half, ahead);
  }
}

uint32_t means_float(const float* x, int64_t samples, const Plan& p, int64_t begin, int64_t end, float origin, float* y,
                     float* const half[2], Ahead* ahead) {
  return means_by_step(x, samples, p, begin, end, origin, y, half, ahead);
}
uint32_t means_int16(const int16_t* x, int64_t samples, const Plan& p, int64_t begin, int64_t end, float origin,
                     float* y, float* const half[2], Ahead* ahead) {
  return means_by_step(x, samples, p, begin, end, origin, y, half, ahead);
}

// ---- envelopes -------------------------------------------------------------------------------------------------------

// The sums of kTileVectors vectors: of even and odd taps, for both bands.
struct Sums {
  Vf even[kBands][kTileVectors], odd[kBands][kTileVectors];
};

// Adds the taps k of the first kWide bands: c are its four coefficients (Plan::taps), after and before the samples k to
// the right and to the left.
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
INLINE void add_taps(const float* after, const float* before, int first, int hop, const Plan& p, Sums* s) {
  const float* c = p.taps.data() + 4 * first;
  int k = first;
  for (; k <= p.bands[1].reach; k += hop, ++after, --before, c += 4 * hop) add_tap<2>(after, before, c, s);
  for (; k <= p.bands[0].reach; k += hop, ++after, --before, c += 4 * hop) add_tap<1>(after, before, c, s);
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

void envelopes(const float* const half[2], const Plan& p, int64_t k0, int64_t k1, float floor, const uint8_t* missing,
               float* const env[2], float* maxima, float* means, int64_t stride, Ahead* ahead) {
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
      maximum_and_mean(env[b] + begin, end - begin, maxima + k * stride + b, means + k * stride + b);
    }
  }
}

// ---- weights ---------------------------------------------------------------------------------------------------------

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
INLINE void contrasts(const float* maxima, const float* means, int64_t k, int64_t rows, int64_t stride,
                      float* level, float* weight) {
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

// ---- levels of the sum, kV blocks at once -------------------------------------------------------------------------------

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

// ---- sum of the envelopes --------------------------------------------------------------------------------------------

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
void fuse(const float* env, int64_t env_stride, const float* weight, int64_t rows, int64_t stride, const Plan& p,
          int64_t k0, int64_t k1, float* fused, float* maxima, float* means) {
  const int64_t begin = p.block_begin(k0), end = p.block_begin(k1);
  const Vi lanes = lane_numbers();
  for (int64_t k = k0 > 0 ? k0 - 1 : 0; k < p.blocks && p.ramp[k] < end; ++k) {
    const float *w = weight + k * stride, *next = k + 1 < p.blocks ? w + stride : w;
    const int64_t from = std::max(p.ramp[k], begin), to = std::min(p.ramp[k + 1], end);
    for (int64_t i = from; i < to; i += kAtOnce * kV) {
      Vf past[kAtOnce];
#pragma GCC unroll 8
      for (int v = 0; v < kAtOnce; ++v) {
        const Vf at = position(i + v * kV, lanes) / p.block - 0.5f;
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
    maximum_and_mean(fused + p.block_begin(k), p.block_begin(k + 1) - p.block_begin(k), maxima + k, means + k);
}

const RpeaksFront kFront = {means_float, means_int16, envelopes, weights, fuse, levels};
