// Part of hot/rpeaks_front.cpp: the anchor of a record, see core/rpeaks_grid.h.

// Steepness of as many samples as a vector of T has, in parts of kV; no part has the samples in order. Missing ones are
// above all others.
struct Slopes {
  Vi part[2];
  INLINE Vi top() const { return most(part[0], part[1]); }
};
INLINE Slopes slopes(const float* x, int64_t apart) {
  const Vf a = load(x + apart) - load(x), b = load(x + apart + kV) - load(x + kV);
  return {{reinterpret_cast<Vi>(a) & 0x7fffffff, reinterpret_cast<Vi>(b) & 0x7fffffff}};
}
INLINE Slopes slopes(const int16_t* x, int64_t apart) {
  const Vi here = reinterpret_cast<Vi>(load(x)), after = reinterpret_cast<Vi>(load(x + apart));
  const Vf a = floats((after << 16 >> 16) - (here << 16 >> 16)), b = floats((after >> 16) - (here >> 16));
  return {{reinterpret_cast<Vi>(a) & 0x7fffffff, reinterpret_cast<Vi>(b) & 0x7fffffff}};
}

INLINE bool reaches(Vi v, int32_t least_bits) {
  const Vi yes = v >= least_bits;
  int32_t any = 0;
  for (int l = 0; l < kV; ++l) any |= yes[l];
  return any != 0;
}

template <class T>
INLINE int64_t anchor(const T* x, int64_t n, int64_t apart) {
  constexpr int64_t kOnce = 2 * kV;
  constexpr int kPieces = 128;
  const int64_t vectors = n / kOnce, each = std::max<int64_t>(16, (vectors + kPieces - 1) / kPieces);
  Vi tops[kPieces];
  Vi all = {};
  for (int64_t piece = 0, v = 0; v < vectors; ++piece) {
    Vi top = {};
    for (const int64_t end = std::min(v + each, vectors); v < end; ++v)
      top = most(top, slopes(x + v * kOnce, apart).top());
    tops[piece] = top;
    all = most(all, top);
  }
  int32_t top = 0;
  for (int l = 0; l < kV; ++l) top = std::max(top, all[l]);
  const bool gaps = top >= static_cast<int32_t>(kMissing);
  if (gaps) top = 0;
  for (int64_t i = gaps ? 0 : vectors * kOnce; i < n; ++i) top = std::max(top, steepness_bits(x[i], x[i + apart]));
  if (top == 0) return -1;
  const int32_t enough = steep_enough(top);
  int64_t v = 0;
  if (!gaps) {
    for (int64_t piece = 0; v < vectors && !reaches(tops[piece], enough); ++piece) v += each;
    while (v < vectors && !reaches(slopes(x + v * kOnce, apart).top(), enough)) ++v;
  }
  for (int64_t i = std::min(v, vectors) * kOnce; i < n; ++i)
    if (steepness_bits(x[i], x[i + apart]) >= enough) return i;
  return -1;
}

int64_t anchor_float(const float* x, int64_t n, int64_t apart) { return anchor(x, n, apart); }
int64_t anchor_int16(const int16_t* x, int64_t n, int64_t apart) { return anchor(x, n, apart); }
