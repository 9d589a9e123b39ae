"""Wave boundaries of one lead, as scalar functions that Numba compiles for the CPU and can compile for the GPU.

Nothing here allocates except `delineate_range`, the loop over records: every scalar function works in the scratch it is
given. Times are in seconds and converted with the internal rate, so that a rule means the same at every sampling rate.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types

FI = 250.0  # Hz, the rate aimed at inside: 20 ms, the period of 50 Hz mains, is then a whole number of samples
LEAD_MEAN, LEAD_ALL = -1, -2

jit = njit(nogil=True, cache=True)


@jit
def internal_factors(fs):
    """(q, u): q input samples are averaged into one, or u samples are interpolated between two."""
    if fs >= 200.0:
        return max(1, int(fs / FI + 0.5)), 1
    return 1, math.ceil(200.0 / fs)


@jit
def slope(s, i, w):
    """Mean of the w samples after i minus mean of the w before it, per sample. s: prefix sums."""
    return ((s[i + 1 + w] - s[i + 1]) - (s[i] - s[i - w])) / (w * (w + 1))


@jit
def box(s, i, h):
    """Mean of the samples i - h .. i + h."""
    return (s[i + h + 1] - s[i - h]) / (2 * h + 1)


@jit
def width(seconds, fi):
    return max(1, int(seconds * fi + 0.5))


@jit
def prepare(x, q, u, y, s, bad):
    """Resamples x to the internal rate. y: samples, missing ones interpolated; s: their prefix sums; bad: prefix counts
    of the missing ones. Returns the number of internal samples, 0 if nothing is there or the lead is flat."""
    n_in = len(x)
    n = n_in // q if u == 1 else (n_in - 1) * u + 1
    low, high = math.inf, -math.inf
    last = -1  # the last valid internal sample
    bad[0] = 0
    for i in range(n):
        total, count = 0.0, 0
        if u == 1:
            for j in range(i * q, i * q + q):
                if math.isfinite(x[j]):
                    total += x[j]
                    count += 1
        else:
            j, f = i // u, (i % u) / u
            if f == 0.0 and math.isfinite(x[j]):
                total, count = float(x[j]), 1
            elif f > 0.0 and math.isfinite(x[j]) and math.isfinite(x[j + 1]):
                total, count = x[j] * (1.0 - f) + x[j + 1] * f, 1
        bad[i + 1] = bad[i] + (1 if count == 0 else 0)
        if count == 0:
            continue
        v = total / count
        y[i] = v
        low, high = min(low, v), max(high, v)
        for j in range(last + 1, i):  # a gap ends here: a straight line across, or the first value carried back
            y[j] = v if last < 0 else y[last] + (v - y[last]) * (j - last) / (i - last)
        last = i
    if last < 0 or not high > low:
        return 0
    for j in range(last + 1, n):
        y[j] = y[last]
    mid = 0.5 * (low + high)  # keeps the prefix sums small
    s[0] = 0.0
    for i in range(n):
        y[i] -= mid
        s[i + 1] = s[i] + y[i]
    return n


@jit
def find_hump(s, n, lo, hi, w, centre, spread, found):
    """The most prominent extremum of the box-smoothed signal between lo and hi.

    Score: geometric mean of the rise before and the fall after, times a Gaussian prior on its place. found: peak (-1:
    none), score, previous and next extremum.
    """
    found[0], found[1] = -1.0, 0.0
    lo, hi = max(lo, w), min(hi, n - 2 - w)
    if hi - lo < 3:
        return
    h = w // 2
    before, mid = lo, -1
    v_before, v_mid = box(s, lo, h), 0.0
    d = slope(s, lo, w)
    for i in range(lo + 1, hi + 1):
        d_next = slope(s, i, w)
        if (d > 0.0) != (d_next > 0.0) or i == hi:
            v = box(s, i, h)
            if mid >= 0:
                rise, fall = v_mid - v_before, v_mid - v
                if rise * fall > 0.0:
                    t = (mid - centre) / spread
                    score = math.sqrt(rise * fall) * math.exp(-0.5 * t * t)
                    if score > found[1]:
                        found[0], found[1], found[2], found[3] = mid, score, before, i
                before, v_before = mid, v_mid
            mid, v_mid = (i if abs(d_next) < abs(d) else i - 1), v
        d = d_next


@jit
def find_foot(s, n, peak, stop, w, fraction, step):
    """From a peak past the steepest slope (up to stop) to where the slope falls below a fraction of it."""
    stop = min(max(stop, w), n - 2 - w)
    steepest, at, i = 0.0, peak, peak
    while (stop - i) * step > 0:
        a = abs(slope(s, i, w))
        if a > steepest:
            steepest, at = a, i
        i += step
    threshold, before, i = fraction * steepest, steepest, at
    while (stop - i) * step > 0:
        a = abs(slope(s, i, w))
        if a < threshold:
            return i - step * (threshold - a) / max(before - a, 1e-30)
        before = a
        i += step
    return float(stop)


@jit
def find_qrs_edge(g, c, n, r, stop, step, steepest, min_run, max_gap, fi):
    """From r outwards (step -1 or 1): the last steep sample, then where the slope stays below the threshold."""
    quiet = width(0.04, fi)
    noise = math.inf
    near, far = r + step * width(0.05, fi), r + step * width(0.30, fi)
    for i in range(max(0, min(near, far)), min(n, max(near, far)) - quiet, 2):
        noise = min(noise, (c[i + quiet] - c[i]) / quiet)
    if noise == math.inf:
        noise = 0.0
    steep = max(0.2 * steepest, 3.0 * noise)
    last, i = r, r
    while (stop - i) * step >= 0 and (i - last) * step <= max_gap:
        if g[i] >= steep:
            last = i
        i += step
    threshold = max(0.08 * steepest, 2.0 * noise)
    edge, run, i = float(last), 0, last
    while (stop - i) * step > 0:
        if g[i] < threshold:
            if run == 0:
                inner = g[i - step]
                edge = i - step * (threshold - g[i]) / (inner - g[i]) if inner > threshold else float(i)
            run += 1
            if run >= min_run:
                return edge
        else:
            run, edge = 0, float(i)
        i += step
    return float(stop) if run == 0 else edge


@jit
def median_of(v, m):
    """Median of v[:m], by insertion sort in place (m is a few dozen)."""
    for i in range(1, m):
        a, j = v[i], i - 1
        while j >= 0 and v[j] > a:
            v[j + 1] = v[j]
            j -= 1
        v[j + 1] = a
    return v[m // 2] if m % 2 else 0.5 * (v[m // 2 - 1] + v[m // 2])


@jit
def delineate_lead(x, fs, rpeaks, out, y, s, g, c, bad, wave, rr, found):
    """One lead of one record. out: (8, P) int32, filled with -1. wave: (8, P) float64 scratch, internal positions."""
    q, u = internal_factors(fs)
    fi = fs / q * u
    scale, shift = q / u, 0.5 * (q - 1)  # input index = internal position * scale + shift
    beats = 0
    while beats < len(rpeaks) and rpeaks[beats] >= 0:
        beats += 1
    if beats == 0:
        return
    n = prepare(x, q, u, y, s, bad)
    if n < width(0.2, fi):
        return
    wave[:, :beats] = -1.0
    for k in range(beats - 1):
        rr[k] = (rpeaks[k + 1] - rpeaks[k]) / fs
    typical_rr = median_of(rr, beats - 1) if beats > 1 else 0.9
    root_rr = math.sqrt(min(max(typical_rr, 0.3), 2.0))

    w = width(0.008, fi)
    c[0] = 0.0
    for i in range(n):
        g[i] = abs(slope(s, i, w)) if w <= i < n - 1 - w else 0.0
        c[i + 1] = c[i] + g[i]
    for k in range(beats):
        r = min(n - 1, int((rpeaks[k] - shift) / scale + 0.5))
        lo, hi = max(w, r - width(0.13, fi)), min(n - 2 - w, r + width(0.20, fi))
        if k > 0:
            lo = max(lo, int((rpeaks[k - 1] - shift) / scale) + width(0.2, fi))
        if k < beats - 1:
            hi = min(hi, int((rpeaks[k + 1] - shift) / scale) - width(0.15, fi))
        lo, hi = min(lo, r), max(hi, r)
        steepest = 0.0
        for i in range(max(lo, r - width(0.08, fi)), min(hi, r + width(0.08, fi)) + 1):
            steepest = max(steepest, g[i])
        if steepest == 0.0:
            continue
        wave[3, k] = find_qrs_edge(g, c, n, r, lo, -1, steepest, width(0.012, fi), width(0.03, fi), fi)
        wave[4, k] = find_qrs_edge(g, c, n, r, hi, 1, steepest, width(0.012, fi), width(0.04, fi), fi)

    w_find, w_foot = width(0.04, fi), width(0.03, fi)
    for k in range(beats):
        if wave[4, k] < 0:
            continue
        r = (rpeaks[k] - shift) / scale
        limit = float(n - 1)
        if k < beats - 1:
            limit = wave[3, k + 1] if wave[3, k + 1] >= 0 else (rpeaks[k + 1] - shift) / scale
        lo = int(wave[4, k] + 0.04 * fi)
        hi = int(min(r + 0.6 * root_rr * fi, limit - 0.06 * fi))
        find_hump(s, n, lo, hi, w_find, r + 0.29 * root_rr * fi, 0.12 * root_rr * fi, found)
        if found[0] < 0:
            continue
        peak = int(found[0])
        wave[6, k] = peak
        wave[5, k] = find_foot(s, n, peak, max(int(found[2]) - w_foot, int(wave[4, k])), w_foot, 0.25, -1)
        wave[7, k] = find_foot(s, n, peak, min(int(found[3]) + w_foot, int(limit)), w_foot, 0.20, 1)

    w_find, w_foot = width(0.024, fi), width(0.016, fi)
    for k in range(beats):
        if wave[3, k] < 0:
            continue
        on = wave[3, k]
        lo = on - 0.30 * fi
        if k > 0:
            lo = max(lo, wave[7, k - 1] if wave[7, k - 1] >= 0 else (rpeaks[k - 1] - shift) / scale + 0.2 * fi)
        find_hump(s, n, int(lo), int(on - 0.01 * fi), w_find, on - 0.11 * fi, 0.08 * fi, found)
        if found[1] < 0.01:
            continue
        peak = int(found[0])
        wave[1, k] = peak
        wave[0, k] = find_foot(s, n, peak, max(int(found[2]) - w_foot, int(lo)), w_foot, 0.25, -1)
        wave[2, k] = find_foot(s, n, peak, min(int(found[3]) + w_foot, int(on)), w_foot, 0.25, 1)

    for first, last in ((0, 2), (3, 4), (5, 7)):
        for k in range(beats):
            a, b = wave[first, k], wave[last, k]
            if a < 0 or b < a or bad[min(n, int(b) + 1)] > bad[max(0, int(a))]:
                continue  # absent, or part of it is missing
            for f in range(first, last + 1):
                out[f, k] = min(max(int(wave[f, k] * scale + shift + 0.5), 0), len(x) - 1)


@jit
def consensus(out, v):
    """The last row of out (8, L + 1, P) from the L rows above it: earliest onset, latest offset, median peak.

    A wave counts if a third of the leads that have this beat's QRS (and at least two, where there are as many) show
    it. The outermost boundary of one lead is not believed: the second one counts (of three leads or more).
    """
    rows, beats = out.shape[1] - 1, out.shape[2]
    for k in range(beats):
        valid = 0
        for r in range(rows):
            valid += 1 if out[3, r, k] >= 0 else 0
        for f in range(8):
            m = 0
            for r in range(rows):
                if out[f, r, k] >= 0:
                    v[m] = out[f, r, k]
                    m += 1
            if m == 0 or 3 * m < valid or (m < 2 and valid > 2):
                out[f, rows, k] = -1
                continue
            middle = median_of(v, m)
            if f == 1 or f == 6:
                out[f, rows, k] = int(middle + 0.5)
            elif m < 3:
                out[f, rows, k] = int(v[0] if f in (0, 3, 5) else v[m - 1])
            else:
                out[f, rows, k] = int(v[1] if f in (0, 3, 5) else v[m - 2])


@njit(
    types.void(
        types.intp,
        types.intp,
        types.Array(types.float32, 3, "C", readonly=True),
        types.intp,
        types.Array(types.int32, 2, "C", readonly=True),
        types.float64,
        types.Array(types.int32, 4, "C"),
    ),
    nogil=True,
    cache=True,
)
def delineate_range(start, stop, ecg, lead, rpeaks, fs, out):
    """Records start .. stop - 1 of ecg (B, L, T), rpeaks (B, P), into out (8, B, rows, P). lead: index, mean or all."""
    leads, samples, beats = ecg.shape[1], ecg.shape[2], rpeaks.shape[1]
    _, u = internal_factors(fs)
    size = samples * u + 2
    y, s, g, c = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    bad = np.empty(size, np.int32)
    wave, rr, found, v = np.empty((8, beats)), np.empty(beats + 1), np.empty(4), np.empty(leads)
    mean = np.empty(samples if lead == LEAD_MEAN else 0, np.float32)
    for b in range(start, stop):
        out[:, b] = -1
        if lead == LEAD_MEAN:
            for t in range(samples):
                total, count = 0.0, 0
                for r in range(leads):
                    if math.isfinite(ecg[b, r, t]):
                        total += ecg[b, r, t]
                        count += 1
                mean[t] = total / count if count else math.nan
            delineate_lead(mean, fs, rpeaks[b], out[:, b, 0], y, s, g, c, bad, wave, rr, found)
        elif lead == LEAD_ALL:
            for r in range(leads):
                delineate_lead(ecg[b, r], fs, rpeaks[b], out[:, b, r], y, s, g, c, bad, wave, rr, found)
            consensus(out[:, b], v)
        else:
            delineate_lead(ecg[b, lead], fs, rpeaks[b], out[:, b, 0], y, s, g, c, bad, wave, rr, found)
