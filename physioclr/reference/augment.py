"""Definition of augment and shuffle_beats: every random number by its address, every sample by its formula."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from .time_map import time_map

PURPOSES = 64
MASK = 0xFFFFFFFF


def philox4x32(counter, key):
    """(..., 4) words of Philox4x32-10 for (..., 4) counter words and one 64-bit key."""
    c = np.array(counter, dtype=np.uint64)
    k0, k1 = key & MASK, key >> 32 & MASK
    for _ in range(10):
        p0, p1 = c[..., 0] * np.uint64(0xD2511F53), c[..., 2] * np.uint64(0xCD9E8D57)
        c = np.stack(
            [p1 >> np.uint64(32) ^ c[..., 1] ^ np.uint64(k0), p1, p0 >> np.uint64(32) ^ c[..., 3] ^ np.uint64(k1), p0],
            axis=-1,
        ) & np.uint64(MASK)
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c.astype(np.uint32)


def unit(words):
    """Uniform numbers strictly between 0 and 1, from the upper 23 bits."""
    return ((np.asarray(words) >> 9) + 0.5) / 2**23


class Stream:
    """The numbers of one record and one purpose, in order."""

    def __init__(self, seed, sample, purpose):
        self.seed, self.sample, self.purpose, self.used = seed, sample & (2**64 - 1), purpose, 0

    def words(self, blocks):
        blocks = np.asarray(blocks)
        counter = np.empty((*blocks.shape, 4), np.uint64)
        counter[..., 0], counter[..., 1] = blocks, self.purpose
        counter[..., 2], counter[..., 3] = self.sample & MASK, self.sample >> 32
        return philox4x32(counter, self.seed)

    def uniform(self, low=0.0, high=1.0):
        u = unit(self.words(self.used // 4)[self.used % 4])
        self.used += 1
        return low + (high - low) * u


def white_noise(seed, sample, purpose, samples):
    """Normals of one channel: sample t is word (t // 16) % 4 of block 16 (t // 64) + t % 16."""
    t = np.arange(samples)
    words = Stream(seed, sample, purpose).words(t // 64 * 16 + t % 16)
    return ndtri(unit(words[t, t // 16 % 4]))


ELECTRODES_TO_LEADS = np.array(
    [  # RA LA LL V1 .. V6
        [-1, 1, 0],
        [-1, 0, 1],
        [0, -1, 1],
        [1, -1 / 2, -1 / 2],
        [-1 / 2, 1, -1 / 2],
        [-1 / 2, -1 / 2, 1],
        *[[-1 / 3, -1 / 3, -1 / 3]] * 6,
    ]
)
ELECTRODES_TO_LEADS = np.hstack([ELECTRODES_TO_LEADS, np.vstack([np.zeros((6, 6)), np.eye(6)])])


def channel_matrix(leads):
    """(leads, channels): how noise drawn per channel adds to the leads."""
    return ELECTRODES_TO_LEADS if leads == 12 else np.eye(leads)


def beat_order(seed, sample, n):
    """A permutation of n segments (Fisher and Yates)."""
    u = Stream(seed, sample, PURPOSES)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = int((i + 1) * u.uniform())
        order[i], order[j] = order[j], order[i]
    return order


def shuffle_record(x, peaks, *, seed, sample, cut="r", fs=500.0):
    """(L, T) and its R peaks -> the same after the beat shuffle."""
    peaks = [int(p) for p in peaks if p >= 0]
    samples = x.shape[-1]
    if len(peaks) < 3:
        return x.copy(), peaks
    rr = np.diff(peaks)
    rr = np.r_[rr[:1], rr]
    cuts = peaks if cut == "r" else [int(p - np.floor(0.38 * d + 0.5)) for p, d in zip(peaks, rr, strict=True)]
    first = 1 if cuts[0] < 0 else 0
    segments = [(cuts[k], cuts[k + 1]) for k in range(first, len(peaks) - 1)]
    order = beat_order(seed, sample, len(segments))
    pieces = [(0, cuts[first]), *[segments[k] for k in order], (cuts[-1], samples)]
    source = np.concatenate([np.arange(a, b) for a, b in pieces])
    y = x[..., source]
    start = np.cumsum([0] + [b - a for a, b in pieces])
    new = peaks.copy()
    for i, k in enumerate(order):
        new[first + i] = int(start[i + 1] + peaks[first + k] - segments[k][0])
    if cut == "tp":
        widest = int(np.floor(0.004 * fs + 0.5))
        for (a0, a1), (b0, b1), joint in zip(pieces[:-1], pieces[1:], start[1:-1], strict=True):
            half = 0 if a1 == b0 else min(widest, (a1 - a0) // 2, (b1 - b0) // 2)
            for k in range(-half, half):
                w = (k + half + 0.5) / (2 * half)
                before, after = (min(max(i + k, 0), samples - 1) for i in (a1, b0))
                y[..., joint + k] = (1 - w) * x[..., before] + w * x[..., after]
    return y, new


def shuffle_beats(ecg, rpeaks, *, seed, sample_id=None, cut="r", fs=500.0):
    """(B, T) or (B, L, T) and (B, P) indices -> shuffled batch, new (B, P) indices."""
    ecg, rpeaks = np.asarray(ecg, np.float64), np.asarray(rpeaks)
    out, index = np.empty_like(ecg), np.full(rpeaks.shape, -1)
    for b in range(len(ecg)):
        sample = b if sample_id is None else int(sample_id[b])
        out[b], new = shuffle_record(ecg[b], rpeaks[b], seed=seed, sample=sample, cut=cut, fs=fs)
        index[b, : len(new)] = new
    return out, index


def mask_spans(plan, seed, sample, samples, fs, peaks):
    """(T,) bool, True where the time mask sets zero."""
    masked = np.zeros(samples, bool)
    s = plan.time_mask
    u = Stream(seed, sample, 4)
    if s is None or u.uniform() >= s.p:
        return masked
    left = int(np.floor(s.most * samples))
    for _ in range(int(np.floor(s.spans[0] + (s.spans[1] - s.spans[0] + 1) * u.uniform()))):
        duration, place = u.uniform(*s.duration), u.uniform()
        n = min(int(np.floor(duration * fs + 0.5)), left)
        start = int((samples - n + 1) * place)
        masked[start : start + n] = True
        left -= n
        if left <= 0:
            break
    if s.away_from_qrs is not None:
        guard = int(np.floor((s.away_from_qrs + 0.05) * fs + 0.5))
        for p in peaks:
            masked[max(p - guard, 0) : p + guard + 1] = False
    return masked


def dropped_leads(plan, seed, sample, leads):
    s = plan.lead_dropout
    if s is None or Stream(seed, sample, 5).uniform() >= s.p:
        return np.zeros(leads, bool)
    draw = Stream(seed, sample, 5 + PURPOSES)
    u = np.array([draw.uniform() for _ in range(leads)])
    rank = np.empty(leads, int)
    rank[np.argsort(u, kind="stable")] = np.arange(leads)
    limit = min(leads - s.kept, np.inf if s.dropped is None else s.dropped)
    return (u < s.lead) & (rank < limit)


def wander(plan, seed, sample, leads, samples, fs):
    """(leads, T) baseline wander, or None."""
    s = plan.baseline_wander
    u = Stream(seed, sample, 8)
    on = s is not None and u.uniform() < s.p
    if not on:
        return None
    amplitude = u.uniform(*s.amplitude)
    breath = min(max(s.band[0], 0.15), max(s.band[1], s.band[0]))
    f = [u.uniform(breath if k == 0 else s.band[0], s.band[1]) for k in range(3)]
    mix, t = channel_matrix(leads), np.arange(samples) / fs
    out = np.zeros((mix.shape[1], samples))
    for c in range(mix.shape[1]):
        v = Stream(seed, sample, 8 + PURPOSES * (1 + c))
        w = np.array([v.uniform(0.25, 1.0) for _ in range(3)])
        w *= amplitude * (0.5 if leads == 12 else 1.0) / w.sum()
        out[c] = sum(w[k] * np.cos(2 * np.pi * (f[k] * t - v.uniform())) for k in range(3))
    return mix @ out


def powerline(plan, seed, sample, leads, samples, fs):
    """(leads, T) mains hum, or None."""
    s = plan.powerline
    if s is None:
        return None
    u = Stream(seed, sample, 9)
    on, strength, which, second, third = (u.uniform() for _ in range(5))
    f = s.frequency or (50.0 if which < 0.5 else 60.0)
    if on >= s.p or f > 0.45 * fs:
        return None
    amplitude = s.amplitude[0] + (s.amplitude[1] - s.amplitude[0]) * strength
    share = np.array([1.0, 0.1 * second, 0.3 * third]) * (f * np.arange(1, 4) <= 0.45 * fs)
    share /= share.sum()
    mix, t = channel_matrix(leads), np.arange(samples) / fs
    out = np.zeros((mix.shape[1], samples))
    for c in range(mix.shape[1]):
        v = Stream(seed, sample, 9 + PURPOSES * (1 + c))
        peak = amplitude * (0.5 if leads == 12 else 1.0) * v.uniform(0.5, 1.0)
        out[c] = sum(peak * share[k] * np.cos(2 * np.pi * ((k + 1) * f * t - v.uniform())) for k in range(3))
    return mix @ out


def gaussian(plan, seed, sample, leads, samples):
    """(leads, T) white noise, or None."""
    s = plan.gaussian_noise
    u = Stream(seed, sample, 11)
    if s is None or u.uniform() >= s.p:
        return None
    sd = u.uniform(*s.sd) * (np.sqrt(0.5) if leads == 12 else 1.0)
    mix = channel_matrix(leads)
    return (
        sd * mix @ np.stack([white_noise(seed, sample, 11 + PURPOSES * (1 + c), samples) for c in range(mix.shape[1])])
    )


def muscle(plan, seed, sample, leads, samples, fs):
    """(leads, T) muscle noise, or None: a carrier with two spline-interpolated quadratures, times the envelope."""
    s = plan.muscle_noise
    if s is None:
        return None
    u = Stream(seed, sample, 10)
    on, rms, count = u.uniform(), u.uniform(*s.rms), u.uniform()
    low, high = s.band[0], min(s.band[1], 0.45 * fs)
    if on >= s.p or high <= low:
        return None
    t = np.arange(samples)
    envelope = np.zeros(samples)
    for _ in range(1 + int(4 * count)):
        at, width = samples * u.uniform(), u.uniform(0.25, 1.0) * fs
        envelope = np.maximum(envelope, np.clip(1 - ((t - at) / width) ** 2, 0, None) ** 2)
    envelope = 0.2 + 0.8 * envelope
    at = t * (1.5 * (high - low) / fs)
    node, f = np.floor(at).astype(int), at % 1
    g = 1 - f
    weights = [g**3 / 6, (4 + f * f * (3 * f - 6)) / 6, (4 + g * g * (3 * g - 6)) / 6, f**3 / 6]
    turns = 2 * np.pi * (low + high) / 2 / fs * t
    mix = channel_matrix(leads)
    out = np.zeros((mix.shape[1], samples))
    for c in range(mix.shape[1]):
        share = Stream(seed, sample, 10 + PURPOSES * (1 + 3 * c)).uniform(0.5, 1.0) * (
            np.sqrt(0.5) if leads == 12 else 1
        )
        part = []
        for quadrature in (0, 1):
            z = white_noise(seed, sample, 10 + PURPOSES * (2 + 3 * c + quadrature), samples + 4)
            part.append(sum(w * z[node + k] for k, w in enumerate(weights)))
        out[c] = share * rms / np.sqrt(151 / 315) * envelope * (part[0] * np.cos(turns) + part[1] * np.sin(turns))
    return mix @ out


DOWER = np.array(  # of I II V1 .. V6: the potential that a dipole (X, Y, Z) gives
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)


def rotate(x, angles):
    """(12, T) with the dipole turned by the angles (degrees) about X, then Y, then Z."""
    (sx, cx), (sy, cy), (sz, cz) = ((np.sin(a), np.cos(a)) for a in np.radians(angles))
    r = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    r = r @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    i, ii, chest = DOWER[0], DOWER[1], DOWER[2:]
    d = np.vstack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, chest])
    independent = x[[0, 1, 6, 7, 8, 9, 10, 11]]
    there = np.isfinite(independent).all(axis=0)
    dipole = np.linalg.pinv(DOWER) @ np.where(there, independent, 0.0)
    return x + d @ (r - np.eye(3)) @ dipole


def augment(ecg, plan, *, fs, seed, sample_id=None, rpeaks=None):
    """(B, T) or (B, L, T) -> augmented float64 batch, new (B, P) R-peak indices (None without rpeaks)."""
    ecg = np.asarray(ecg, np.float64)
    if ecg.ndim == 2:
        out, index = augment(ecg[:, None], plan, fs=fs, seed=seed, sample_id=sample_id, rpeaks=rpeaks)
        return out[:, 0], index
    out = np.empty_like(ecg)
    index = None if rpeaks is None else np.full(np.shape(rpeaks), -1)
    leads, samples = ecg.shape[1:]
    for b, x in enumerate(ecg):
        sample = b if sample_id is None else int(sample_id[b])
        peaks = [] if rpeaks is None else [int(p) for p in rpeaks[b] if p >= 0]
        shuffle = plan.beat_shuffle
        if shuffle is not None and Stream(seed, sample, 0).uniform() < shuffle.p:
            x, peaks = shuffle_record(x, peaks, seed=seed, sample=sample, cut=shuffle.cut, fs=fs)
        x, valid, peaks = time_map(x, peaks, plan, lambda row: Stream(seed, sample, row), fs)  # noqa: B023
        if plan.vcg_rotation is not None and leads == 12:
            u = Stream(seed, sample, 6)
            if u.uniform() < plan.vcg_rotation.p:
                x = rotate(x, [u.uniform(*plan.vcg_rotation.angle) for _ in range(3)])
        scale = plan.amplitude_scale
        if scale is not None:
            u = Stream(seed, sample, 7)
            if u.uniform() < scale.p:
                x = x * u.uniform(*scale.gain)
        for noise in (
            wander(plan, seed, sample, leads, samples, fs),
            powerline(plan, seed, sample, leads, samples, fs),
            muscle(plan, seed, sample, leads, samples, fs),
            gaussian(plan, seed, sample, leads, samples),
        ):
            if noise is not None:
                x = x + noise
        zero = dropped_leads(plan, seed, sample, leads)[:, None] | mask_spans(plan, seed, sample, samples, fs, peaks)
        out[b] = np.where((zero & np.isfinite(x)) | ~valid, 0.0, x)
        if index is not None:
            index[b, : len(peaks)] = peaks
    return out, index
