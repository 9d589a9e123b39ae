// Batch normalisation in training and ReLU of (rows, channels): see BatchNormReluCall in ops.h. A lane is a channel and
// goes through its rows in one order, in blocks whose size follows from the channels alone; sums of blocks are added up
// in double in the order of the blocks. So the bits depend neither on the threads nor on the width of the registers.
#include <algorithm>
#include <cmath>

#include "core/elements.h"
#include "core/macros.h"
#include "core/threads.h"
#include "cpu/hot_vector.h"
#include "cpu/lanes.h"
#include "ops.h"

namespace physioclr::cpu {
namespace {

constexpr int kStreams = 4;  // rows whose sums do not wait for each other

template <class F>
PHYSIOCLR_INLINE F relu(const F& z) {  // NaN stays
  return z <= 0.0f ? F{} : z;
}

struct Blocks {
  int64_t rows, channels, size, count;
  Blocks(int64_t rows, int64_t channels)
      : rows(rows), channels(channels), size(std::max<int64_t>(32, 8192 / channels)), count((rows + size - 1) / size) {}
  int64_t first(int64_t b) const { return b * size; }
  int64_t of(int64_t b) const { return std::min(size, rows - b * size); }
  template <class G>
  void each(const G& f) const {
    on_team(static_cast<int>(std::min<int64_t>(threads(), count)), [&] {
#pragma omp for schedule(static)
      for (int64_t b = 0; b < count; ++b) f(b);
    });
  }
};

// The sum over n rows of what add(row, sums) adds, in kStreams turns.
template <int kSums, class F, class G>
PHYSIOCLR_INLINE void sum_rows(int64_t n, F (&sum)[kSums], const G& add) {
  F part[kStreams][kSums] = {};
  int64_t r = 0;
  for (; r + kStreams <= n; r += kStreams)
#pragma GCC unroll 4
    for (int s = 0; s < kStreams; ++s) add(r + s, part[s]);
  for (; r < n; ++r) add(r, part[0]);
  for (int q = 0; q < kSums; ++q) sum[q] = (part[0][q] + part[1][q]) + (part[2][q] + part[3][q]);
}

// Of a block: mean[c], and the sum of the squares around it. Counted from the first row, so that what is far from 0
// loses nothing.
template <int kBytes, class T>
PHYSIOCLR_INLINE void moments(const T* x, int64_t stride, int64_t n, float* mean, float* squares) {
  typedef typename Of<kBytes>::F F;
  const F first = load<kBytes>(x);
  F sum[2];
  sum_rows(n, sum, [=](int64_t r, F* s) {
    const F d = load<kBytes>(x + r * stride) - first;
    s[0] += d;
    s[1] += d * d;
  });
  const F off = sum[0] * (1.0f / static_cast<float>(n));
  store<kBytes>(first + off, mean);
  store<kBytes>(sum[1] - sum[0] * off, squares);
}

// What a register of channels has in common over the rows.
template <int kBytes>
struct Channels {
  typename Of<kBytes>::F mean, scale, bias;
  PHYSIOCLR_INLINE Channels(const float* mean, const float* scale, const float* bias)
      : mean(load<kBytes>(mean)), scale(load<kBytes>(scale)), bias(load<kBytes>(bias)) {}
};

template <int kBytes, class T>
PHYSIOCLR_INLINE void normalise(const Channels<kBytes> k, const T* __restrict x, int64_t stride, int64_t n,
                                T* __restrict y) {
#pragma GCC unroll 4
  for (int64_t at = 0; at < n * stride; at += stride)
    store<kBytes>(relu((load<kBytes>(x + at) - k.mean) * k.scale + k.bias), y + at);
}

// d = x - mean, and the gradient g where ReLU let its input through.
template <int kBytes, class T>
PHYSIOCLR_INLINE void gradient_at(const Channels<kBytes>& k, const T* x, const T* grad, typename Of<kBytes>::F& d,
                                  typename Of<kBytes>::F& g) {
  typedef typename Of<kBytes>::F F;
  d = load<kBytes>(x) - k.mean;
  const F given = load<kBytes>(grad);
  g = d * k.scale + k.bias <= 0.0f ? F{} : given;
}

template <int kBytes, class T>
PHYSIOCLR_INLINE void gradient_sums(const Channels<kBytes> k, const T* x, const T* grad, int64_t stride, int64_t n,
                                    float* of_g, float* of_gd) {
  typedef typename Of<kBytes>::F F;
  F sum[2];
  sum_rows(n, sum, [=](int64_t r, F* s) {
    F d, g;
    gradient_at(k, x + r * stride, grad + r * stride, d, g);
    s[0] += g;
    s[1] += g * d;
  });
  store<kBytes>(sum[0], of_g);
  store<kBytes>(sum[1], of_gd);
}

template <int kBytes, class T>
PHYSIOCLR_INLINE void gradient_of_x(const Channels<kBytes> k, const float* slopes, const float* shifts,
                                    const T* __restrict x, const T* __restrict grad, int64_t stride, int64_t n,
                                    T* __restrict out) {
  typedef typename Of<kBytes>::F F;
  const F slope = load<kBytes>(slopes), shift = load<kBytes>(shifts);
#pragma GCC unroll 4
  for (int64_t at = 0; at < n * stride; at += stride) {
    F d, g;
    gradient_at(k, x + at, grad + at, d, g);
    store<kBytes>(g * k.scale - d * slope - shift, out + at);
  }
}

template <class T>
bool forward(const BatchNormReluCall& call) {
  const T* const x = static_cast<const T*>(call.x.data);
  T* const y = static_cast<T*>(call.y.data);
  const int64_t channels = call.channels;
  if (call.rows == 0 || channels == 0) return true;
  const Blocks blocks(call.rows, channels);
  Vector<float> parts(static_cast<size_t>(2 * blocks.count * channels)), scale(static_cast<size_t>(channels));
  blocks.each([&](int64_t b) {
    float* const part = parts.data() + 2 * b * channels;
    const T* const from = x + blocks.first(b) * channels;
    for_channels(channels, [&](auto width, int64_t c) {
      moments<width()>(from + c, channels, blocks.of(b), part + c, part + channels + c);
    });
  });
  const double n = static_cast<double>(call.rows);
  Vector<double> mean(static_cast<size_t>(channels)), squares(static_cast<size_t>(channels));
  for (int64_t b = 0; b < blocks.count; ++b)
    for (int64_t c = 0; c < channels; ++c) mean[c] += static_cast<double>(blocks.of(b)) * parts[2 * b * channels + c];
  for (int64_t c = 0; c < channels; ++c) mean[c] /= n;
  for (int64_t b = 0; b < blocks.count; ++b)
    for (int64_t c = 0; c < channels; ++c) {
      const double apart = parts[2 * b * channels + c] - mean[c];
      squares[c] += parts[(2 * b + 1) * channels + c] + static_cast<double>(blocks.of(b)) * (apart * apart);
    }
  float *const center = call.stats, *const inverse = call.stats + channels;
  const double keep = 1.0 - call.momentum;
  for (int64_t c = 0; c < channels; ++c) {
    const double sum = squares[c] < 0 ? 0.0 : squares[c];  // NaN stays
    center[c] = static_cast<float>(mean[c]);
    inverse[c] = static_cast<float>(1.0 / std::sqrt(sum / n + call.eps));
    scale[c] = inverse[c] * call.weight[c];
    float &m = call.running_mean[c], &v = call.running_var[c];
    m = static_cast<float>(call.momentum * mean[c] + keep * m);
    v = static_cast<float>(call.momentum * (sum / (n - 1.0)) + keep * v);
  }
  blocks.each([&](int64_t b) {
    const int64_t at = blocks.first(b) * channels;
    for_channels(channels, [&](auto width, int64_t c) {
      const Channels<width()> k(center + c, scale.data() + c, call.bias + c);
      normalise(k, x + at + c, channels, blocks.of(b), y + at + c);
    });
  });
  return true;
}

// With g the gradient where y > 0 or is NaN, d = x - mean and s = weight / sd: grad_bias = sum g, grad_weight = sum g d
// / sd, grad_x = s (g - mean g - d mean(g d) / var).
template <class T>
bool backward(const BatchNormReluBwdCall& call) {
  const T* const x = static_cast<const T*>(call.x.data);
  const T* const grad = static_cast<const T*>(call.grad.data);
  T* const grad_x = static_cast<T*>(call.grad_x.data);
  const int64_t channels = call.channels;
  if (call.rows == 0 || channels == 0) return true;
  const Blocks blocks(call.rows, channels);
  const float *const center = call.stats, *const inverse = call.stats + channels;
  Vector<float> parts(static_cast<size_t>(2 * blocks.count * channels)), factors(static_cast<size_t>(3 * channels));
  float *const scale = factors.data(), *const slope = scale + channels, *const shift = slope + channels;
  for (int64_t c = 0; c < channels; ++c) scale[c] = inverse[c] * call.weight[c];
  blocks.each([&](int64_t b) {
    float* const part = parts.data() + 2 * b * channels;
    const int64_t at = blocks.first(b) * channels;
    for_channels(channels, [&](auto width, int64_t c) {
      const Channels<width()> k(center + c, scale + c, call.bias + c);
      gradient_sums(k, x + at + c, grad + at + c, channels, blocks.of(b), part + c, part + channels + c);
    });
  });
  const double n = static_cast<double>(call.rows);
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, product = 0;
    for (int64_t b = 0; b < blocks.count; ++b) {
      sum += parts[2 * b * channels + c];
      product += parts[(2 * b + 1) * channels + c];
    }
    const double sd = inverse[c];
    call.grad_bias[c] = static_cast<float>(sum);
    call.grad_weight[c] = static_cast<float>(product * sd);
    shift[c] = static_cast<float>(scale[c] * sum / n);
    slope[c] = static_cast<float>(scale[c] * (sd * sd) * product / n);
  }
  blocks.each([&](int64_t b) {
    const int64_t at = blocks.first(b) * channels;
    for_channels(channels, [&](auto width, int64_t c) {
      const Channels<width()> k(center + c, scale + c, call.bias + c);
      gradient_of_x(k, slope + c, shift + c, x + at + c, grad + at + c, channels, blocks.of(b), grad_x + at + c);
    });
  });
  return true;
}

}  // namespace

namespace PHYSIOCLR_ISA {
bool run(const BatchNormReluCall& call) {
  return call.x.type == Element::kBFloat ? forward<BFloat>(call) : forward<float>(call);
}
bool run(const BatchNormReluBwdCall& call) {
  return call.x.type == Element::kBFloat ? backward<BFloat>(call) : backward<float>(call);
}
}  // namespace PHYSIOCLR_ISA

}  // namespace physioclr::cpu
