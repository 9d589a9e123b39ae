"""Scalar pieces of the delineation: resampling, slopes, QRS edges, humps and their feet.

Compiled by Numba for the CPU and (from `cuda`) for the GPU: no allocation, no Python objects.
Not cached themselves: the cached code of their caller contains them (see SOURCES in delineate.py).
"""

from __future__ import annotations

import math

import numpy as np

from . import constants as C
from .scalar import jit, larger, prefix_sums, smaller, spikes, total_of

# Not literals, or Numba would compile the functions for each. T_WIDE: a T wave, its peak by slopes over a longer time.
P_WAVE, T_WAVE, T_WIDE = np.int64(0), np.int64(1), np.int64(2)


@jit
def internal_factors(fs):
    """(q, u): q input samples are averaged into one, or u samples are interpolated between two."""
    if fs >= 200.0:
        return larger(1, int(fs / C.INTERNAL_RATE + 0.5)), 1
    return 1, int(math.ceil(200.0 / fs))  # noqa: RUF046 (CUDA's ceil gives a float)


@jit
def rises(s, lo, m, w, d):
    """d[j] = the sum of the w samples after sample lo + j minus that of the w before it, for j < m. s: prefix sums.

    w (w + 1) times the mean slope there; only ratios and signs of it are used. Every array is indexed from 0 on: Numba
    does not vectorise an index that may be negative.
    """
    a, b, c, e = s[lo - w : lo - w + m], s[lo : lo + m], s[lo + 1 : lo + 1 + m], s[lo + 1 + w : lo + 1 + w + m]
    for j in range(m):
        d[j] = (e[j] - c[j]) - (b[j] - a[j])


@jit
def box(s, i, h):
    """Mean of the samples i - h .. i + h."""
    return (s[i + h + 1] - s[i - h]) * (1.0 / (2 * h + 1))


@jit
def width(seconds, fi):
    return larger(1, int(seconds * fi + 0.5))


@jit
def median_of(v, m):
    """Median of v[:m], by insertion sort in place (m is a few dozen); 0 of nothing."""
    if m == 0:
        return 0.0
    for i in range(1, m):
        a, j = v[i], i - 1
        while j >= 0 and v[j] > a:
            v[j + 1] = v[j]
            j -= 1
        v[j + 1] = a
    return v[m // 2] if m % 2 else 0.5 * (v[m // 2 - 1] + v[m // 2])


@jit
def fill_gaps(y, n, bad):
    """Missing (NaN) samples: a straight line across each gap. bad: prefix counts of them. False if nothing is there."""
    last = -1  # the last valid sample
    bad[0] = 0
    for i in range(n):
        bad[i + 1] = bad[i]
        if math.isnan(y[i]):
            bad[i + 1] += 1
            continue
        for j in range(last + 1, i):
            y[j] = y[i] if last < 0 else y[last] + (y[i] - y[last]) * (j - last) / (i - last)
        last = i
    for j in range(last + 1, n):
        y[j] = y[last] if last >= 0 else 0.0
    return last >= 0


@jit
def remove_spikes(x, rpeaks, beats, fs, q, y, n):
    """Draws a line across the pacing spikes before the R peaks. x at the rate fs shows them, y (x averaged by q) is
    changed."""
    h = width(C.SPIKE_HALF, fs)
    for k in range(beats):
        a = larger(0, rpeaks[k] - width(C.SPIKE_BEFORE, fs) - 2 * h)
        b = smaller(n * q, rpeaks[k] + width(C.SPIKE_AFTER, fs) + 2 * h)
        if b - a <= 4 * h or spikes(x[a:b], h) == 0:
            continue
        for i in range(a + 2 * h, b - 2 * h):
            if spikes(x[i - 2 * h : i + 2 * h + 1], h) > 0:
                left, right = larger(0, (i - h) // q), smaller(n - 1, (i + h) // q)
                for j in range(left + 1, right):
                    y[j] = y[left] + (y[right] - y[left]) * (j - left) / (right - left)


@jit
def prepare(x, rpeaks, beats, fs, q, u, y, s, bad):
    """Resamples x to the internal rate. y: samples relative to the first, gaps interpolated, pacing spikes removed; s:
    their prefix sums.

    Returns the number of samples, 0 if nothing is there or the lead is flat, and whether samples are missing (then bad
    holds their prefix counts).
    """
    n = len(x) // q if u == 1 else (len(x) - 1) * u + 1
    whole = True
    if q == 2:  # the loop that 500 Hz takes; no branch, so that it is vectorised
        for i in range(n):
            y[i] = 0.5 * (np.float64(x[2 * i]) + np.float64(x[2 * i + 1]))
            whole &= abs(y[i]) < math.inf
    elif u == 1:
        for i in range(n):
            total = 0.0
            for j in range(i * q, i * q + q):
                total += x[j]
            y[i] = total / q
            whole &= abs(total) < math.inf
    else:
        for i in range(n):
            j, f = i // u, (i % u) / u
            y[i] = x[j] if f == 0.0 else x[j] * (1.0 - f) + x[j + 1] * f
            whole &= abs(y[i]) < math.inf
    if not whole:
        for i in range(n):
            if not abs(y[i]) < math.inf:  # the mean of what is there, if anything is
                total, m = 0.0, 0
                for j in range(i * q if u == 1 else 0, i * q + q if u == 1 else 0):
                    if math.isfinite(x[j]):
                        total += x[j]
                        m += 1
                y[i] = total / m if m > 0 else math.nan
        if not fill_gaps(y, n, bad):
            return 0, True
    if u == 1:
        remove_spikes(x, rpeaks, beats, fs, q, y, n)
    first, flat = y[0] if n > 0 else 0.0, True
    for i in range(n):
        y[i] -= first
        flat &= y[i] == 0.0
    prefix_sums(y, n, s)
    return (0 if flat else n), not whole


@jit
def slopes(s, n, w, g):
    """g: |mean of the w samples after - mean of the w before| per sample, 0 at the ends."""
    for i in range(smaller(w, n)):
        g[i] = 0.0
    m = n - 1 - 2 * w
    if m > 0:
        scale, inner = 1.0 / (w * (w + 1)), g[w : w + m]
        rises(s, w, m, w, inner)
        for i in range(m):
            inner[i] = abs(inner[i]) * scale
    for i in range(larger(0, n - 1 - w), n):
        g[i] = 0.0


@jit
def find_hump(s, n, lo, hi, w, centre, spread, sign, other, found, d):
    """The most prominent extremum of the box-smoothed signal between lo and hi.

    Score: harmonic mean of the rise before and the fall after, times a Gaussian prior on the place, times `other` if
    `sign` is not 0 and not its own. found: place (-1: none), score, prominence, sign, previous and next extremum.
    d: scratch.
    """
    found[0], found[1] = -1.0, 0.0
    lo, hi = larger(lo, w), smaller(hi, n - 2 - w)
    m = hi - lo
    if m < 3:
        return
    rises(s, lo, m + 1, w, d)
    h = w // 2
    before, mid = lo, -1
    v_before, v_mid = box(s, lo, h), 0.0
    for j in range(1, m + 1):
        if (d[j - 1] > 0.0) != (d[j] > 0.0) or j == m:
            place = lo + (j if abs(d[j]) < abs(d[j - 1]) else j - 1)
            v = box(s, place, h)
            if mid >= 0:
                rise, fall = v_mid - v_before, v_mid - v
                if rise * fall > 0.0:
                    prominence, t = 2.0 * rise * fall / abs(rise + fall), (mid - centre) / spread
                    score = prominence * other if sign * rise < 0.0 else prominence
                    if prominence < C.LEAST:
                        score = 0.0
                    if score > found[1]:  # otherwise the prior cannot raise it
                        score *= math.exp(-0.5 * t * t)
                    if score > found[1]:
                        found[0], found[1], found[2] = mid, score, prominence
                        found[3], found[4], found[5] = (1.0 if rise > 0.0 else -1.0), before, place
                before, v_before = mid, v_mid
            mid, v_mid = place, v


@jit
def find_foot(s, n, peak, stop, w, fraction, step, d):
    """From a peak past the steepest slope (up to stop) to where the slope falls below a fraction of it. d: scratch."""
    stop = smaller(larger(stop, w), n - 2 - w)
    m = (stop - peak) * step
    if m <= 0:
        return float(larger(stop, peak) if step > 0 else smaller(stop, peak))
    rises(s, peak if step > 0 else stop + 1, m, w, d)
    first = 0 if step > 0 else m - 1  # where in d the peak is
    steepest, at = 0.0, 0
    for j in range(m):
        a = abs(d[first + step * j])
        if a > steepest:
            steepest, at = a, j
    threshold, before = fraction * steepest, steepest
    for j in range(at, m):
        a = abs(d[first + step * j])
        if a < threshold:
            return peak + step * (j - (threshold - a) / larger(before - a, 1e-30))
        before = a
    return float(stop)


@jit
def find_qrs_edge(g, n, r, stop, step, steepest, steep, gap, edge, run, noise_factor, fi):
    """From r outwards (step -1 or 1): the last steep sample, then where the slope stays below the threshold."""
    quiet = width(0.04, fi)
    noise = math.inf
    for block in range(6):  # 40 ms each, from 50 ms to 290 ms beside r
        near = r + step * (width(0.05, fi) + block * quiet)
        far = near + step * (quiet - 1)
        if smaller(near, far) < 1 or larger(near, far) > n - 2:
            break
        noise = smaller(noise, total_of(g[smaller(near, far) : larger(near, far) + 1]) / quiet)
    noise = 0.0 if noise == math.inf else noise
    level = larger(steep * steepest, noise_factor * noise)
    last, i = r, r
    while (stop - i) * step >= 0 and (i - last) * step <= gap:
        if g[i] >= level:
            last = i
        i += step
    threshold = larger(edge * steepest, noise_factor * noise)
    found, below, i, inner = float(last), 0, last, steepest
    while (stop - i) * step > 0:
        if g[i] < threshold:
            if below == 0:
                found = i - step * (threshold - g[i]) / (inner - g[i]) if inner > threshold else float(i)
            below += 1
            if below >= run:
                return found
        else:
            below, found = 0, float(i)
        inner = g[i]
        i += step
    return found


@jit
def measure_qrs(g, n, r, lo, hi, noise_factor, fi, found):
    """QRS complex around r within lo .. hi: onset (found[0] = -1: none), offset, centre of gravity of slope^2."""
    found[0] = -1.0
    lo, hi = larger(0, lo), smaller(n - 1, hi)
    reach = width(0.08, fi)
    steepest = 0.0
    for i in range(larger(lo, r - reach), smaller(hi, r + reach) + 1):
        steepest = larger(steepest, g[i])
    if steepest == 0.0:
        return
    for side in range(2):
        on = side == 0
        found[side] = find_qrs_edge(
            g, n, r, lo if on else hi, 2 * side - 1, steepest,
            C.QRS_STEEP_ON if on else C.QRS_STEEP_OFF, width(C.QRS_GAP_ON if on else C.QRS_GAP_OFF, fi),
            C.QRS_EDGE_ON if on else C.QRS_EDGE_OFF, width(C.QRS_RUN_ON if on else C.QRS_RUN_OFF, fi), noise_factor, fi,
        )  # fmt: skip
    weight, moment = 0.0, 0.0
    for i in range(larger(0, int(found[0])), smaller(n - 1, int(found[1]) + 1) + 1):
        weight += g[i] * g[i]
        moment += g[i] * g[i] * (i - r)
    found[2] = r + moment / weight if weight > 0.0 else float(r)


@jit
def clip(v, limit):
    return larger(-limit, smaller(limit, v))


@jit
def measure_wave(s, n, kind, first, last, lo, hi, centre, spread, sign, fi, found, t, d):
    """P (kind 0) or T wave (1, 2) with its peak between lo and hi, its feet between first and last.

    t: peak (-1: none), onset, offset, and for either foot whether it belongs to a second phase, of the other sign.
    d: scratch.
    """
    w = width(C.T_FOOT_SLOPE if kind else C.P_FOOT_SLOPE, fi)
    other = 1.0 if sign == 0.0 else (C.T_OTHER if kind else C.P_OTHER)
    slope = C.T_WIDE_SLOPE if kind == 2 else (C.T_SLOPE if kind else C.P_SLOPE)
    find_hump(s, n, lo, hi, width(slope, fi), centre, spread, sign, other, found, d)
    t[0] = found[0]
    if found[0] < 0:
        return
    peak = int(found[0])
    for side in range(2):
        step = 2 * side - 1
        if kind:
            edge, reach = (C.T_OFF_EDGE if side else C.T_ON_EDGE), width(C.T_OFF_REACH if side else C.T_ON_REACH, fi)
        else:
            edge, reach = (C.P_OFF_EDGE if side else C.P_ON_EDGE), width(C.P_REACH, fi)
        beyond = int(found[4 + side])  # the next extremum
        stop = beyond + step * w
        limit = last if side else first
        if (stop - limit) * step > 0:
            stop = limit
        if (stop - peak) * step > reach:
            stop = peak + step * reach
        t[1 + side] = find_foot(s, n, peak, stop, w, edge, step, d)
        t[3 + side] = 0.0


@jit
def add_second_phase(ms, n, kind, first, last, fi, found, a, d):
    """Moves a foot of the average's wave to the far side of a phase of the other sign; a[3], a[4]: whether it did."""
    w, h = width(C.T_FOOT_SLOPE if kind else C.P_FOOT_SLOPE, fi), width(C.T_SLOPE if kind else C.P_SLOPE, fi) // 2
    reach = width(C.T_SECOND_REACH if kind else C.P_SECOND_REACH, fi)
    share = C.T_SECOND if kind else C.P_SECOND
    height = box(ms, int(a[0]), h)
    if abs(height) < (C.T_SECOND_LEAST if kind else C.P_SECOND_LEAST):
        return
    for side in range(2):
        step = 2 * side - 1
        at, limit = int(found[4 + side]), last if side else first
        if (limit - at) * step <= 2 * w or (at - a[0]) * step > reach:
            continue
        depth = box(ms, at, h)
        if depth * height < 0.0 and abs(depth) >= share * abs(height):
            stop = at + step * reach
            stop = smaller(stop, limit) if side else larger(stop, limit)
            foot = find_foot(ms, n, at, stop, w, 0.25, step, d)
            if abs(box(ms, int(foot), h)) <= 0.3 * abs(depth):  # it comes back: not a sloping ST segment
                a[1 + side], a[3 + side] = foot, 1.0
