"""The pieces of the delineation: the resampled lead, QRS edges, humps and their feet. See delineate.py beside it."""

from __future__ import annotations

import math

import numpy as np

from ..ops._numba import constants as C


def samples_in(seconds, fi):
    return max(1, int(seconds * fi + 0.5))


class Signal:
    """A signal y at the rate fi, with the two measures taken on it: mean slope and mean level."""

    def __init__(self, y, fi, missing=None):
        self.y, self.fi, self.n = y, fi, len(y)
        self.missing = np.zeros(len(y), bool) if missing is None else missing
        self.sums = np.concatenate([[0.0], np.cumsum(y)])

    def slope(self, w):
        """Mean of the w samples after each sample minus the mean of the w before it, per sample; 0 at the ends."""
        out = np.zeros(self.n)
        i = np.arange(w, self.n - 1 - w)
        s = self.sums
        out[i] = ((s[i + 1 + w] - s[i + 1]) - (s[i] - s[i - w])) / (w * (w + 1))
        return out

    def level(self, i, h):
        """Mean of the samples i - h .. i + h."""
        return (self.sums[i + h + 1] - self.sums[i - h]) / (2 * h + 1)

    def level_before(self, on):
        """Mean of the 20 ms before a QRS that begins at sample `on`."""
        left = max(0, on - samples_in(0.02, self.fi))
        return (self.sums[on + 1] - self.sums[left]) / (on + 1 - left)


def resample(x, fs):
    """(y, missing, fi, scale, shift): the lead at about 250 Hz (None: all missing); index = position scale + shift."""
    if fs >= 200:
        q = max(1, int(fs / C.INTERNAL_RATE + 0.5))
        groups = x[: len(x) // q * q].reshape(-1, q)
        there = np.isfinite(groups)
        with np.errstate(invalid="ignore"):
            y = np.where(there, groups, 0.0).sum(axis=1) / there.sum(axis=1)
        fi, scale, shift = fs / q, float(q), 0.5 * (q - 1)
    else:
        u = math.ceil(200 / fs)
        j, f = np.divmod(np.arange((len(x) - 1) * u + 1), u)
        f = f / u
        x = np.where(np.isfinite(x), x, np.nan)
        y = np.where(f == 0, x[j], x[j] * (1 - f) + x[np.minimum(j + 1, len(x) - 1)] * f)
        fi, scale, shift = fs * u, 1 / u, 0.0
    missing = np.isnan(y)
    if len(y) == 0 or missing.all():
        return None, missing, fi, scale, shift
    there = np.flatnonzero(~missing)
    y = np.interp(np.arange(len(y)), there, y[there])
    return y, missing, fi, scale, shift


def remove_spikes(x, fs, rpeaks, y):
    """A straight line across each pacing spike before an R peak: x shows it, y (means of q samples of x) is changed."""
    h, q = samples_in(C.SPIKE_HALF, fs), len(x) // len(y)
    for r in rpeaks:
        first, last = r - samples_in(C.SPIKE_BEFORE, fs), r + samples_in(C.SPIKE_AFTER, fs)
        for i in range(max(first, 2 * h), min(last, len(y) * q - 2 * h)):
            if is_spike(*x[i - 2 * h : i + 2 * h + 1 : h].astype(np.float32)):
                left, right = max(0, (i - h) // q), min(len(y) - 1, (i + h) // q)
                y[left : right + 1] = np.linspace(y[left], y[right], right - left + 1)


def is_spike(far_left, left, peak, right, far_right):
    """Whether the middle of five samples, 6 ms apart, is the peak of a pacing spike."""
    height = min(abs(peak - left), abs(peak - right))
    before, after, across = abs(left - far_left), abs(far_right - right), abs(right - left)
    low = height >= 0.2 and max(before, after, across) <= np.float32(0.35) * height  # out of a level line, and back
    high = height >= 0.4 and before <= np.float32(0.2) * height  # the QRS complex may follow at once
    return (peak - left) * (peak - right) > 0 and (low or high)


def qrs_edge(g, r, stop, step, steepest, steep, gap, edge, run, factor, fi):
    """From r outwards: the last steep sample, from there to where the slope stays below a threshold."""
    quiet, levels = samples_in(0.04, fi), []
    for block in range(6):  # 40 ms each, from 50 ms to 290 ms beside r
        near = r + step * (samples_in(0.05, fi) + block * quiet)
        lo, hi = sorted([near, near + step * (quiet - 1)])
        if lo < 1 or hi > len(g) - 2:
            break
        levels.append(sum(g[lo : hi + 1]) / quiet)
    noise = min(levels, default=0.0)
    last = r
    for i in range(r, stop + step, step):
        if (i - last) * step > gap:
            break
        if g[i] >= max(steep * steepest, factor * noise):
            last = i
    threshold = max(edge * steepest, factor * noise)
    found, below = float(last), 0
    for i in range(last, stop, step):
        inner = steepest if i == last else g[i - step]
        if g[i] >= threshold:
            found, below = float(i), 0
            continue
        if below == 0:
            found = i - step * (threshold - g[i]) / (inner - g[i]) if inner > threshold else float(i)
        below += 1
        if below >= run:
            break
    return found


def find_qrs(g, r, lo, hi, factor, fi):
    """Onset, offset and centre of the complex around r, or None."""
    lo, hi, reach = max(0, lo), min(len(g) - 1, hi), samples_in(0.08, fi)
    steepest = max(g[max(lo, r - reach) : min(hi, r + reach) + 1], default=0.0)
    if steepest == 0:
        return None
    gap, run = (samples_in(C.QRS_GAP_ON, fi), samples_in(C.QRS_GAP_OFF, fi)), (C.QRS_RUN_ON, C.QRS_RUN_OFF)
    on = qrs_edge(g, r, lo, -1, steepest, C.QRS_STEEP_ON, gap[0], C.QRS_EDGE_ON, samples_in(run[0], fi), factor, fi)
    off = qrs_edge(g, r, hi, 1, steepest, C.QRS_STEEP_OFF, gap[1], C.QRS_EDGE_OFF, samples_in(run[1], fi), factor, fi)
    i = np.arange(max(0, int(on)), min(len(g) - 1, int(off) + 1) + 1)
    energy = g[i] ** 2
    return on, off, r + (energy * (i - r)).sum() / energy.sum() if energy.sum() > 0 else float(r)


def find_hump(signal, lo, hi, w, centre, spread, sign, other):
    """dict(peak, score, prominence, sign, sides): the best extremum between lo and hi, sides the extrema beside it."""
    lo, hi = max(lo, w), min(hi, signal.n - 2 - w)
    if hi - lo < 3:
        return None
    d, h = signal.slope(w), w // 2
    turns = [lo]
    for i in range(lo + 1, hi + 1):
        if (d[i - 1] > 0) != (d[i] > 0) or i == hi:
            turns.append(i if abs(d[i]) < abs(d[i - 1]) else i - 1)
    v = [signal.level(i, h) for i in turns]
    best = None
    for j in range(1, len(turns) - 1):
        rise, fall = v[j] - v[j - 1], v[j] - v[j + 1]
        if rise * fall <= 0:
            continue
        prominence = 2 * rise * fall / abs(rise + fall)
        if prominence < C.LEAST:
            continue
        score = prominence * math.exp(-0.5 * ((turns[j] - centre) / spread) ** 2) * (other if sign * rise < 0 else 1)
        if score > (best["score"] if best else 0):
            best = dict(
                peak=turns[j],
                score=score,
                prominence=prominence,
                sign=np.sign(rise),
                sides=(turns[j - 1], turns[j + 1]),
            )
    return best


def find_foot(signal, peak, stop, w, fraction, step):
    """From the peak past the steepest slope to where the slope falls below a fraction of it."""
    a = np.abs(signal.slope(w))
    stop = min(max(stop, w), signal.n - 2 - w)
    path = np.arange(peak, stop, step)
    at = int(np.argmax(a[path])) if len(path) and a[path].max() > 0 else 0
    threshold = fraction * a[path].max() if len(path) else 0.0
    for j in range(at, len(path)):
        if a[path[j]] < threshold:
            return path[j] - step * (threshold - a[path[j]]) / (a[path[j - 1]] - a[path[j]])
    return float(max(stop, peak) if step > 0 else min(stop, peak))


def find_wave(signal, kind, first, last, lo, hi, centre, spread, sign=0.0, slope=None):
    """dict(peak, feet, ...) of the P or T wave (kind "p", "t"), its peak in lo .. hi and its feet in first .. last."""
    fi, k = signal.fi, {n[2:]: getattr(C, n) for n in dir(C) if n.startswith(kind.upper() + "_")}
    other = 1.0 if sign == 0 else k["OTHER"]
    hump = find_hump(signal, lo, hi, samples_in(slope or k["SLOPE"], fi), centre, spread, sign, other)
    if hump is None:
        return None
    w, peak, feet = samples_in(k["FOOT_SLOPE"], fi), hump["peak"], []
    for side, step in enumerate((-1, 1)):
        edge = k["OFF_EDGE" if side else "ON_EDGE"]
        reach = samples_in(k["REACH"] if kind == "p" else k["OFF_REACH" if side else "ON_REACH"], fi)
        stop = hump["sides"][side] + step * w
        stop = min(stop, last, peak + reach) if side else max(stop, first, peak - reach)
        feet.append(find_foot(signal, peak, stop, w, edge, step))
    return dict(hump, feet=feet, second=[False, False])


def add_second_phase(signal, kind, wave, first, last):
    """Where a phase of the other sign lies beside the wave's, the foot moves to its far side."""
    fi = signal.fi
    k = {n[2:]: getattr(C, n) for n in dir(C) if n.startswith(kind.upper() + "_")}
    w, h, reach = samples_in(k["FOOT_SLOPE"], fi), samples_in(k["SLOPE"], fi) // 2, samples_in(k["SECOND_REACH"], fi)
    height = signal.level(wave["peak"], h)
    if abs(height) < k["SECOND_LEAST"]:
        return
    for side, step in enumerate((-1, 1)):
        at, limit = wave["sides"][side], last if side else first
        if (limit - at) * step <= 2 * w or (at - wave["peak"]) * step > reach:
            continue
        depth = signal.level(at, h)
        if depth * height < 0 and abs(depth) >= k["SECOND"] * abs(height):
            stop = min(at + reach, limit) if side else max(at - reach, limit)
            foot = find_foot(signal, at, stop, w, 0.25, step)
            if abs(signal.level(int(foot), h)) <= 0.3 * abs(depth):
                wave["feet"][side], wave["second"][side] = foot, True


def prefer_first_phase(signal, wave, low, on):
    """Where a positive phase precedes the negative peak of the average's P, the wave is measured from that one."""
    reach, peak, k = C.P_FIRST_REACH * signal.fi, wave["peak"], C.P_SPREAD * signal.fi
    first = find_wave(signal, "p", low, on, max(low, int(peak - 2 * reach)), peak, peak - 0.5 * reach, k, 1.0)
    if first is None or first["sign"] < 0 or peak - first["peak"] > reach:
        return wave
    return first if first["prominence"] >= C.P_FIRST * wave["prominence"] else wave
