"""The 159 physiological features of each record, from its samples, R peaks and wave boundaries. Compiled by Numba.

Scalar code over one record at a time: no allocation, no exceptions, no calls into NumPy below `features_range`, so that
a CUDA kernel can call `record_features` with its own scratch memory. Times are in samples of a 500 Hz record.

Missing samples (NaN or infinite) and absent waves (-1) make a quantity missing (NaN), never wrong: sums are written so
that a NaN in a window reaches the result, and every statistic skips NaN. Divisions are those of IEEE 754 and never
raise; what float32 cannot hold is missing (LARGEST, FLAT), so that no finite sample gives an infinite feature. float()
of a float32 stays a float32 in Numba: what must not overflow says np.float64.

Column order and meaning: `physioclr.FEATURE_NAMES`; the definition to compare with: `physioclr.reference`.
"""

import math

import numpy as np
from numba import boolean, float32, float64, int32, int64, intp, types, uint8

from ..._jit import njit
from .scalar import F, larger, smaller
from .sums import is_level, sum_of, sum_of_products

SOURCES = "d12914d21d8c6d34"  # as in `delineate`: the cached code holds code of scalar.py and sums.py

jit = njit(nogil=True, cache=True, error_model="numpy")


def jit_range(*signature):
    """Compiled (or loaded) when this module is imported, for the one signature that the launchers use."""
    return njit(types.void(intp, intp, *signature), nogil=True, cache=True, error_model="numpy")


def array(dtype, ndim):
    return types.Array(dtype, ndim, "C", readonly=True)


P_ON, P_PEAK, P_OFF, QRS_ON, QRS_OFF, T_ON, T_PEAK, T_OFF = range(8)  # fields of a Delineation

# From csrc/core/features_constants.h.
N_FEATURES = F["FEATURES"]
N_BEATS, N_TAPS, CHUNK, R_SEARCH, GAP = F["BEATS"], F["TAPS"], F["CHUNK"], F["R_SEARCH"], F["GAP"]
MS, CORR_BEFORE, CORR_AFTER = F["MS"], F["CORR_BEFORE"], F["CORR_AFTER"]
LARGEST, FLAT = F["LARGEST"], F["FLAT"]

# rows of the scratch memory, one number per beat; the first ten in the order of the columns
RR, PR, QRS, QT, P_DUR, T_DUR, R_AMP, T_AMP, P_AMP, SLOPE, ST60, ST40, CORR, SORTED = range(14)
N_ROWS = 14


# ---- statistics of a few numbers ----------------------------------------------------------------------------------


@jit
def sort_valid(values, first, last, out):
    """Copies the finite values[first:last] to the head of `out`, sorted; how many there are. A Shell sort."""
    n = 0
    for k in range(first, last):
        if math.isfinite(values[k]):
            out[n] = values[k]
            n += 1
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            v = out[i]
            j = i
            while j >= gap and out[j - gap] > v:
                out[j] = out[j - gap]
                j -= gap
            out[j] = v
        gap //= 3
    return n


@jit
def quantile(ordered, n, q):
    """Linear interpolation between the order statistics, as numpy.quantile does it."""
    if n == 0:
        return math.nan
    at = q * (n - 1)
    i = int(at)
    if i + 1 >= n:
        return np.float64(ordered[n - 1])
    low = np.float64(ordered[i])
    return low + (at - i) * (ordered[i + 1] - low)


@jit
def mean_sd(ordered, n):
    """Mean and SD (ddof 0) of ordered[:n]."""
    if n == 0:
        return math.nan, math.nan
    total = 0.0
    for i in range(n):
        total += ordered[i]
    mean = total / n
    square = 0.0
    for i in range(n):
        square += (ordered[i] - mean) * (ordered[i] - mean)
    return mean, math.sqrt(square / n)


@jit
def percent(part, whole):
    return 100.0 * part / whole if whole > 0 else math.nan


# ---- one beat -----------------------------------------------------------------------------------------------------


@jit
def median_between(x, first, last, scratch):
    """Median of the finite samples x[first..last], both included; at most 21 of them."""
    if first < 0:
        first = 0
    n = sort_valid(x, first, last + 1, scratch)
    return quantile(scratch, n, 0.5)


@jit
def largest_deflection(x, first, last, level, start):
    """Index in first..last where |x - level| is largest; `start` where nothing is finite. Ties go to `start`."""
    best, at = -1.0, start
    if math.isfinite(x[start]):
        best = abs(x[start] - level)
    for i in range(first, last + 1):
        d = abs(x[i] - level)
        if math.isfinite(d) and d > best:
            best, at = d, i
    return at


@jit
def max_slope(x, first, last, taps, scratch):
    """Largest |dV/dt| (mV/ms) after the low-pass between samples first and last; NaN where the filter has no room.

    taps: the first half of the filter, which is antisymmetric.
    """
    best = -1.0
    before = N_TAPS // 2 - 1
    end = smaller(last, x.size - N_TAPS // 2)
    for start in range(larger(first, before), end, CHUNK):
        n = smaller(CHUNK, end - start)
        slopes = scratch[:n]
        for i in range(n):
            slopes[i] = 0.0
        for j in range(N_TAPS // 2):
            at = start - before + j
            for i in range(n):
                slopes[i] += taps[j] * (x[at + i] - x[at + i + N_TAPS - 1 - 2 * j])
        for i in range(n):
            d = abs(slopes[i])
            if math.isfinite(d) and d > best:
                best = d
    return best / MS if best >= 0 else math.nan


@jit
def value_at(x, i, level):
    """x[i] above `level`; NaN outside the record, in a gap, without a level, and from LARGEST on."""
    if i < 0 or i >= x.size:
        return math.nan
    v = np.float64(x[i]) - level
    return v if abs(v) < LARGEST else math.nan


@jit
def measure_beat(x, k, r, paced, p_on, p_peak, p_off, qrs_on, qrs_off, t_on, t_peak, t_off, taps, rows):
    """Everything about beat k but its RR interval and its likeness to the beat before."""
    for q in range(PR, ST40 + 1):
        rows[q, k] = math.nan
    if p_on >= 0 and p_off >= p_on and not paced:
        rows[P_DUR, k] = MS * (p_off - p_on)
    if t_on >= 0 and t_off >= t_on:
        rows[T_DUR, k] = MS * (t_off - t_on)
    if qrs_on < 0:
        return  # no level to measure from
    if p_on >= 0 and not paced:
        rows[PR, k] = MS * (qrs_on - p_on)
    if qrs_off >= qrs_on and not paced:
        rows[QRS, k] = MS * (qrs_off - qrs_on)
    if t_off >= qrs_on:
        rows[QT, k] = MS * (t_off - qrs_on)

    has_p = p_off >= 0 and p_off <= qrs_on
    level = median_between(x, larger(p_off, qrs_on - 20) if has_p else qrs_on - 10, qrs_on, rows[SORTED])
    left = larger(r - R_SEARCH, smaller(qrs_on, r))
    right = smaller(r + R_SEARCH, larger(qrs_off if qrs_off >= 0 else r, r))
    peak = largest_deflection(x, left, right, level, r)
    rows[R_AMP, k] = value_at(x, peak, level)
    rows[T_AMP, k] = value_at(x, t_peak, level)
    if not paced:
        rows[P_AMP, k] = value_at(x, p_peak, level)
        rows[SLOPE, k] = max_slope(x, qrs_on, peak, taps, rows[SORTED])
    if qrs_off >= 0:
        rows[ST60, k] = value_at(x, qrs_off + 30, level)
        rows[ST40, k] = value_at(x, qrs_off + 20, level)


@jit
def beat_moments(x, r):
    """Mean of the samples around R, and their summed squares about it.

    Not between FLAT and infinity where the window leaves the record, has a gap, is level, or too small or too large for
    float32: then it has no correlation. The mean of equal samples is not quite their value; hence is_level.
    """
    if r < CORR_BEFORE or r + CORR_AFTER >= x.size:
        return np.float32(math.nan), np.float32(math.nan)
    w = x[r - CORR_BEFORE : r + CORR_AFTER + 1]
    mean = sum_of(w) / np.float32(w.size)
    square = sum_of_products(w, mean, w, mean)
    rounding = 1e-5 * np.float64(mean)
    if square <= w.size * rounding * rounding and is_level(w):
        square = np.float32(0.0)
    return mean, square


@jit
def beat_correlation(x, a, b, mean_a, mean_b, square_a, square_b):
    """Pearson correlation of the windows around R peaks a and b, from their moments."""
    if not (square_a >= FLAT and square_b >= FLAT and math.isfinite(square_a) and math.isfinite(square_b)):
        return math.nan
    u = x[a - CORR_BEFORE : a + CORR_AFTER + 1]
    v = x[b - CORR_BEFORE : b + CORR_AFTER + 1]
    c = sum_of_products(u, mean_a, v, mean_b) / math.sqrt(np.float64(square_a) * np.float64(square_b))
    return smaller(larger(c, -1.0), 1.0)


@jit
def hides_a_beat(record, first, last):
    """Whether every lead misses GAP samples in a row between two R peaks: then their distance is not an RR interval."""
    run = 0
    for i in range(first, last):
        seen = False
        for lead in range(record.shape[0]):
            if math.isfinite(record[lead, i]):
                seen = True
                break
        run = 0 if seen else run + 1
        if run >= GAP:
            return True
    return False


# ---- one segment --------------------------------------------------------------------------------------------------


@jit
def write_spread(values, first, last, scratch, out, at):
    """Mean, SD, median and IQR of the finite values[first:last] to out[at:at + 4]."""
    n = sort_valid(values, first, last, scratch)
    out[at], out[at + 1] = mean_sd(scratch, n)
    out[at + 2] = quantile(scratch, n, 0.5)
    out[at + 3] = quantile(scratch, n, 0.75) - quantile(scratch, n, 0.25)


@jit
def share(values, first, last, low, high):
    """Percentage of the finite values[first:last] that lie in low <= value < high."""
    n, inside = 0, 0
    for k in range(first, last):
        if math.isfinite(values[k]):
            n += 1
            if values[k] >= low and values[k] < high:
                inside += 1
    return percent(inside, n)


@jit
def write_rhythm(rr, first, last, median, out):
    """RMSSD, pNN50, CV and the share of short intervals, from the RR intervals of beats first..last - 1."""
    steps, large, square = 0, 0, 0.0
    for k in range(first + 1, last):
        d = np.float64(rr[k]) - np.float64(rr[k - 1])
        if math.isfinite(d):
            steps += 1
            square += d * d
            if abs(d) > 50.0:
                large += 1
    out[144] = math.sqrt(square / steps) if steps > 0 else math.nan
    out[145] = percent(large, steps)
    out[146] = out[101] / out[100]  # SD over mean
    out[147] = share(rr, first, last, -math.inf, 0.8 * median)


@jit
def segment_features(rows, first, last, p_peak, qrs_on, paced, bazett, out):
    """The 159 columns from the beats first..last - 1."""
    scratch = rows[SORTED]
    median_rr = quantile(scratch, sort_valid(rows[RR], first, last, scratch), 0.5)
    seconds = median_rr / 1000.0
    correction = 1.0 / (math.sqrt(seconds) if bazett else seconds ** (1.0 / 3.0))
    st = ST40 if median_rr < 500.0 else ST60  # above 120 per minute the T wave starts early

    for k in range(first, last):
        rows[QT, k] *= correction  # a beat belongs to one segment: from here on the row is QTc
    for q in range(10):
        for k in range(N_BEATS):
            out[N_BEATS * q + k] = rows[q, first + k] if first + k < last else math.nan
        write_spread(rows[q], first, last, scratch, out, 100 + 4 * q)
    write_spread(rows[st], first, last, scratch, out, 140)
    write_rhythm(rows[RR], first, last, median_rr, out)
    out[148] = 100.0 - share(rows[PR], first, last, -math.inf, 200.001)  # PR > 200 ms; it is a multiple of 2 ms
    out[149] = share(rows[QRS], first, last, 120.0, math.inf)
    out[150] = share(rows[QRS], first, last, 100.0, 120.0)
    out[151] = share(rows[QT], first, last, 500.0, math.inf)

    beats, unpaced, no_p, inverted = 0, 0, 0, 0
    for k in range(first, last):
        if qrs_on[k] >= 0:  # otherwise this lead shows no beat here, and nothing can be said of its waves
            beats += 1
            if rows[T_AMP, k] < -0.05:
                inverted += 1
            if paced[k] == 0:
                unpaced += 1
                if p_peak[k] < 0:
                    no_p += 1
    out[152] = percent(no_p, unpaced)
    out[153] = percent(inverted, beats)

    n, large = 0, 0
    for k in range(first, last):
        if math.isfinite(rows[st, k]):
            n += 1
            if abs(rows[st, k]) >= 0.1:
                large += 1
    out[154] = percent(large, n)
    median_st = out[142]
    for k in range(first, last):
        rows[st, k] = abs(rows[st, k] - median_st)
    out[155] = quantile(scratch, sort_valid(rows[st], first, last, scratch), 0.5)

    n = sort_valid(rows[CORR], first + 1, last, scratch)  # the first beat's neighbour lies in another segment
    out[156], out[157] = mean_sd(scratch, n)
    out[158] = scratch[0] if n > 0 else math.nan


# ---- one record ---------------------------------------------------------------------------------------------------


@jit
def record_features(record, x, r, paced, waves, segment, bazett, taps, rows, out):
    """out (S, 159) of one lead x (T,) of a record (L, T).

    r, paced (P,); waves (8, P); segment in samples; rows (N_ROWS, at least P and CHUNK) is scratch memory.
    """
    beats = 0
    while beats < r.size and r[beats] >= 0:
        beats += 1
    complete = math.isfinite(sum_of(x))
    mean_before, square_before = np.float32(0.0), np.float32(0.0)
    for k in range(beats):
        measure_beat(
            x, k, r[k], paced[k] != 0, waves[P_ON, k], waves[P_PEAK, k], waves[P_OFF, k], waves[QRS_ON, k],
            waves[QRS_OFF, k], waves[T_ON, k], waves[T_PEAK, k], waves[T_OFF, k], taps, rows,
        )  # fmt: skip
        mean, square = beat_moments(x, r[k])
        rows[RR, k] = math.nan
        rows[CORR, k] = math.nan
        if k > 0 and r[k] > r[k - 1]:  # peaks of a faster rate may fall on one sample: no interval, no likeness
            if complete or not hides_a_beat(record, r[k - 1], r[k]):
                rows[RR, k] = MS * (r[k] - r[k - 1])
            rows[CORR, k] = beat_correlation(x, r[k - 1], r[k], mean_before, mean, square_before, square)
        mean_before, square_before = mean, square
    first = 0
    for s in range(out.shape[0]):
        last = first
        while last < beats and r[last] < segment * (s + 1):
            last += 1
        segment_features(rows, first, last, waves[P_PEAK], waves[QRS_ON], paced, bazett, out[s])
        first = last


@jit_range(
    array(float32, 3), array(int64, 1), array(int32, 2), array(uint8, 2), array(int32, 4), float64, boolean,
    array(float32, 1), types.Array(float32, 4, "C"),
)  # fmt: skip
def features_range(start, stop, ecg, leads, rpeaks, paced, waves, segment, bazett, taps, out):
    """Records start..stop - 1.

    ecg (B, L, T), leads (K,), rpeaks and paced (B, P), waves (K, 8, B, P), out (B, S, K, 159).
    """
    rows = np.empty((N_ROWS, larger(rpeaks.shape[1], CHUNK)), np.float32)
    for n in range(start, stop):
        for j in range(leads.size):
            record_features(
                ecg[n], ecg[n, leads[j]], rpeaks[n], paced[n], waves[j, :, n], segment, bazett, taps, rows, out[n, :, j]
            )
