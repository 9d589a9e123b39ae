// Part of hot/rpeaks_front.cpp: from the samples of a lead to means of p.step samples without spikes.

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
    return quad_sums(clean(x, w, all), clean(x + kV, w, all), clean(x + 2 * kV, w, all), clean(x + 3 * kV, w, all));
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
INLINE uint32_t means_of(const T* x, int64_t samples, const WorkPlan& p, int64_t begin, int64_t end, float origin,
                         float* y, float* const half[2], Ahead* ahead) {
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
INLINE uint32_t means_by_step(const T* x, int64_t samples, const WorkPlan& p, int64_t begin, int64_t end, float origin,
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

uint32_t means_float(const float* x, int64_t samples, const WorkPlan& p, int64_t begin, int64_t end, float origin,
                     float* y, float* const half[2], Ahead* ahead) {
  return means_by_step(x, samples, p, begin, end, origin, y, half, ahead);
}
uint32_t means_int16(const int16_t* x, int64_t samples, const WorkPlan& p, int64_t begin, int64_t end, float origin,
                     float* y, float* const half[2], Ahead* ahead) {
  return means_by_step(x, samples, p, begin, end, origin, y, half, ahead);
}
