// Part of hot/rpeaks_front.cpp: vectors of kBytes bytes.

constexpr int kV = kBytes / 4;
constexpr int kTile = kTileVectors * kV;   // envelope samples
constexpr int kAtOnce = 2 * kTileVectors;  // vectors of the sum of the envelopes
static_assert(kTile <= kExcess && kAtOnce * kV <= kExcess && kRowLanes % kV == 0, "others rely on it");

using Vf = float __attribute__((vector_size(kBytes)));
using Vi = int32_t __attribute__((vector_size(kBytes)));
using Vs = int16_t __attribute__((vector_size(kBytes)));

// By memcpy, which every compiler makes one unaligned instruction of: clang drops the alignment of an `aligned(4)`
// alias of a vector type where it is the result of a cast, and moves it as an aligned one.
template <class V>
INLINE V copied(const void* x) {
  V v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
INLINE Vf load(const float* x) { return copied<Vf>(x); }
INLINE Vs load(const int16_t* x) { return copied<Vs>(x); }
// The same, and not again at each use: loads are what the envelope has most of.
INLINE Vf loaded(const float* x) {
  Vf v = load(x);
#if defined(__AVX2__)
  asm("" : "+v"(v));
#endif
  return v;
}
INLINE void store(float* y, Vf v) { std::memcpy(y, &v, sizeof v); }
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
#if defined(__AVX2__)  // GCC makes a comparison and a choice of some
INLINE Vf least(Vf a, Vf b) { return _mm256_min_ps(a, b); }
INLINE Vf most(Vf a, Vf b) { return _mm256_max_ps(b, a); }
#endif

// a * b + c, rounded once.
INLINE Vf fused_multiply_add(Vf a, Vf b, Vf c) {
#if defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
  return reinterpret_cast<Vf>(
      vfmaq_f32(reinterpret_cast<float32x4_t>(c), reinterpret_cast<float32x4_t>(a), reinterpret_cast<float32x4_t>(b)));
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
#if defined(__AVX2__)
  return _mm256_sqrt_ps(x);
#elif defined(__SSE2__)
  return _mm_sqrt_ps(x);
#elif defined(__aarch64__)
  return reinterpret_cast<Vf>(vsqrtq_f32(reinterpret_cast<float32x4_t>(x)));
#else
  for (int l = 0; l < kV; ++l) x[l] = __builtin_sqrtf(x[l]);
  return x;
#endif
}

// Element `index(l)` of a and b, which follow each other, at each l.
template <class V, class Index, int... l>
INLINE V picked(V a, V b, Index index, std::integer_sequence<int, l...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, decltype(index)::at(l)...);
#else  // GCC has the other name from 12 on only
  return __builtin_shuffle(a, b, decltype(a < b){decltype(index)::at(l)...});
#endif
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
