"""Where an augmented record reads: crop, warp and rr_scale, composed, and the R peaks the other way."""

from __future__ import annotations

import itertools

import numpy as np


def warp_of(u, speed, samples):
    """Amplitudes of the three half-waves of the displacement, samples."""
    share = np.array([2 * u.uniform() - 1 for _ in range(3)])
    return speed * share / np.abs(share).sum() * (samples - 1) / (np.pi * np.arange(1, 4))


def warp_position(amplitudes, u, samples):
    return u + sum(a * np.sin(np.pi * (k + 1) * u / (samples - 1)) for k, a in enumerate(amplitudes))


def rr_corners(peaks, factor, fs):
    """(corners (out, in), where the peaks come to lie) of rr_scale."""
    at, corners = [float(peaks[0])], []
    for r0, r1 in itertools.pairwise(peaks):
        rr = r1 - r0
        qrs, pr = min(0.05 * fs, 0.15 * rr), min(0.2 * fs, 0.3 * rr)
        t_off = np.clip((0.4 * np.cbrt(rr / fs) - 0.04) * fs, 0.2 * rr, 0.6 * rr)
        new_t_off = max((t_off + 0.04 * fs) * np.cbrt(factor) - 0.04 * fs, (qrs + t_off) / 2)
        tp = rr - t_off - pr
        new_tp = max(factor * rr - new_t_off - pr, tp / 4)
        corners += [
            (at[-1] + qrs, r0 + qrs),
            (at[-1] + new_t_off, r0 + t_off),
            (at[-1] + new_t_off + new_tp, r1 - pr),
        ]
        at.append(at[-1] + new_t_off + new_tp + pr)
    return np.array(corners), np.array(at)


def rr_position(corners, v):
    """Piecewise linear through the corners, slope 1 beyond them."""
    first, last = corners[0], corners[-1]
    w = np.interp(v, corners[:, 0], corners[:, 1])
    return np.where(v < first[0], v, np.where(v > last[0], last[1] + v - last[0], w))


def cubic(z, position):
    """Cubic convolution (Keys, a = -1/2) along the last axis, ends repeated; missing samples do not spread."""
    samples = z.shape[-1]
    i = np.floor(position).astype(int)
    f = position - i
    taps = [z[..., np.clip(i + k, 0, samples - 1)] for k in (-1, 0, 1, 2)]
    g = 1 - f
    weights = [-f * g * g / 2, 1 + f * f * (1.5 * f - 2.5), 1 + g * g * (1.5 * g - 2.5), -g * f * f / 2]
    there = [np.isfinite(t) for t in taps]
    with np.errstate(invalid="ignore"):
        full = sum(w * t for w, t in zip(weights, taps, strict=True))
        line = g * taps[1] + f * taps[2]
    inner = there[1] & there[2]
    y = np.where(there[0] & inner & there[3], full, np.where(inner, line, np.where(f < 0.5, taps[1], taps[2])))
    return np.where(f == 0, taps[1], y)


def time_map(z, peaks, plan, stream, fs):
    """(L, T) and its peaks through crop, warp and rr_scale: (read samples, bool (T,) what is not padding, peaks).

    stream(row) gives the random numbers of an augmentation.
    """
    samples = z.shape[-1]
    t = np.arange(samples, dtype=float)
    start, place, window = 0, 0, samples
    if plan.crop is not None:
        u = stream(3)
        on, kept, a, b = u.uniform(), u.uniform(*plan.crop.kept), u.uniform(), u.uniform()
        if on < plan.crop.p:
            window = max(int(np.floor(kept * samples + 0.5)), 1)
            start, place = int((samples - window + 1) * a), int((samples - window + 1) * b)
    valid = (t >= place) & (t < place + window)
    position = t + start - place
    warp = None
    if plan.time_warp is not None:
        u = stream(1)
        on, speed = u.uniform(), u.uniform(*plan.time_warp.speed)
        if on < plan.time_warp.p and speed > 0 and samples > 1:
            warp = warp_of(u, speed, samples)
            position = np.clip(warp_position(warp, position, samples), 0, samples - 1)
    at = np.array(peaks, dtype=float)
    if plan.rr_scale is not None:
        u = stream(2)
        on, factor = u.uniform(), u.uniform(*plan.rr_scale.factor)
        if on < plan.rr_scale.p and factor != 1 and len(peaks) >= 2:
            corners, at = rr_corners(peaks, factor, fs)
            position = rr_position(corners, position)
            valid &= position <= samples - 1 + 1e-6
    y = np.zeros_like(z)
    y[..., valid] = cubic(z, np.clip(position[valid], 0, samples - 1))
    if warp is not None:
        at = at[at <= samples - 1]
        u = at.copy()
        for _ in range(60):
            u -= warp_position(warp, u, samples) - at
        at = u
    at = np.floor(at + 0.5) - start + place
    return y, valid, sorted({int(k) for k in at if place <= k < place + window})
