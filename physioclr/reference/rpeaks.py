"""detect_rpeaks, step by step. The constants and their reasons are in csrc/core/rpeaks_constants.h."""

import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

from .. import _core

C = SimpleNamespace(  # kBroadRS is C.BROAD_RS
    **{re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name[1:]).upper(): v for name, v in _core.rpeaks_constants().items()}
)
CENTRES = (C.LOW_CENTRE, C.HIGH_CENTRE)


def detect_rpeaks(ecg, fs, *, max_beats=None, start=None):
    """(index, count, quality) of physioclr.detect_rpeaks, in float64."""
    ecg = np.asarray(ecg, dtype=np.float64)
    ecg = ecg[:, None] if ecg.ndim == 2 else ecg
    if max_beats is None:
        max_beats = int(np.ceil(ecg.shape[-1] / (0.2 * fs))) + 1
    index = np.full((len(ecg), max_beats), -1, np.int32)
    count, quality = np.zeros(len(ecg), np.int32), np.zeros(len(ecg), np.float32)
    for b, record in enumerate(ecg):
        beats, quality[b] = detect_record(record, fs, start)
        count[b] = min(len(beats), max_beats)
        index[b, : count[b]] = beats[: count[b]]
    return index, count, quality


def detect_record(record, fs, start=None):
    """Sample indices and quality of one record (L, T)."""
    step = max(1, int(np.floor(fs / C.WORK_RATE + 0.5)))
    fw = fs / step
    if record.shape[1] // step < C.SHORTEST * fw:
        return [], 0.0
    hop = 2 if fw >= C.HOP_RATE else 1
    fe = fw / hop  # rate of the envelope
    grid = Grid(record, fs, step, hop, max(1, int(np.floor(C.BLOCK * fe + 0.5))), start)
    rates = [(x, work_rate(x[grid.first :], fs, step, grid.n)) for x in record]
    leads = [(despiked(x, fs) - rate[2], *rate[:2]) for x, rate in rates if rate is not None]
    if not leads:
        return [], 0.0
    slow = [y for _, y, _ in leads]
    env = np.array([envelope(y, ~ok, fw, f)[::hop] for _, y, ok in leads for f in CENTRES])
    weight = lead_weights(env, grid)
    at_centres = grid.at_centres
    fused = sum(e * at_centres(w, np.arange(env.shape[1])) for e, w in zip(env, weight, strict=True))
    t = candidates(fused, max(1, int(np.floor(C.SEPARATION * fe + 0.5))))
    level = levels(fused, grid, wide=True)
    noise = np.divide(means(fused, grid), level, out=np.zeros_like(level), where=level > 0)
    z = np.maximum(at_centres(noise, t) - C.CALM, 0)
    level = at_centres(level, t)
    amp = np.divide(fused[t], level, out=np.ones(len(t)), where=level > 0)
    share = weight.reshape(len(leads), len(CENTRES), -1).sum(axis=1)
    low, high = (sum(e[t] * at_centres(w, t) for e, w in zip(env[b::2], share, strict=True)) for b in (0, 1))
    off = doubt(t, amp, z, fe) - sharpness(low, high, z)
    for _ in range(C.TROUNDS + 1):
        beat = amp > C.CLEAR
        for _ in range(2):
            beat, worth = choose(t, amp, z, off, local_rhythm(t, beat, fe), fe)
        waves = t_waves(slow, share if len(record) > 1 else None, t, amp, z, beat, fw, hop, at_centres)
        if not waves:
            break
        off[waves] += C.TWAVE
    beats: list[tuple[int, float]] = []
    for k in np.flatnonzero(beat):
        w = np.array([at_centres(v, t[k]) for v in share]) if len(record) > 1 else np.ones(1)
        full = [x for x, _, _ in leads]
        at = refine(full, slow, w, hop * t[k], z[k], step, fs, len(record) == 1, grid.first)
        if not beats or at > beats[-1]:
            beats.append(at)
    return beats, beat_quality(amp, z, beat, worth)


def anchor_of(record, fs, step):
    """The first sample as steep as counts of the first piece with a slope of the first lead that has one."""
    length = record.shape[1]
    begin, span = min(int(C.ANCHOR_EDGE * fs), length // 8), int(C.ANCHOR_SPAN * fs) + 1
    for x in record:
        slope = np.abs(x[step:] - x[:-step])[begin : length - begin - step]
        slope[~np.isfinite(slope)] = 0
        for at in range(0, len(slope), span):
            piece = slope[at : at + span]
            if piece.max() > 0:
                return begin + at + int((piece >= C.ANCHOR_SHARE * piece.max()).argmax())
    return 0


class Grid:
    """Where working samples, envelope samples and blocks of a record lie: the anchor is amid a block, or, of a piece, a
    block begins with the first sample of its recording."""

    def __init__(self, record, fs, step, hop, block, start):
        length, self.block, period = record.shape[1], block, step * hop * block
        begin = -start if start is not None else anchor_of(record, fs, step) + period // 2
        begin %= period
        self.first = begin % (step * hop) if length >= begin % (step * hop) + step * hop else 0  # sample
        self.n = (length - self.first) // step  # working samples
        self.before = begin // (step * hop)  # envelope samples before the first whole block, which takes them
        self.m = (self.n + hop - 1) // hop
        self.blocks = max(1, (self.m - self.before) // block)

    def per_block(self, env, statistic):
        """A statistic of each block; of the outer ones, where there are others, without what they have more."""
        edges = self.before + self.block * np.arange(self.blocks + 1)
        if self.blocks <= 3:
            edges[0], edges[-1] = 0, len(env)
        return np.array([statistic(env[a:b]) for a, b in pairwise(edges)])

    def at_centres(self, values, t):
        """Values of the blocks at envelope sample t, interpolated between their centres."""
        return np.interp(t, self.before + (np.arange(len(values)) + 0.5) * self.block, values)


def despiked(x, fs):
    """A lead without spikes."""
    clean, w = x.copy(), int(np.floor(C.SPIKE * fs + 0.5))
    if 0 < 2 * w < len(x):  # the median of x[i - w], x[i], x[i + w] takes out narrower pulses
        before, after = x[: -2 * w], x[2 * w :]
        middle = np.clip(x[w:-w], np.minimum(before, after), np.maximum(before, after))
        clean[w:-w] = np.where(np.isfinite(before) & np.isfinite(after), middle, x[w:-w])
    return clean


def work_rate(x, fs, step, n):
    """Means of `step` samples of a lead without spikes, gaps bridged, less the first of them, where they are valid, and
    that first one; None if flat or missing."""
    y = despiked(x, fs)[: n * step].reshape(n, step).mean(axis=1)
    ok = np.isfinite(y)
    if not ok.any():
        return None
    y = np.interp(np.arange(n), np.flatnonzero(ok), y[ok])  # a straight line, constant at the ends
    first = y[0]
    y = y - first
    return (y, ok, first) if y.any() else None


def envelope(y, missing, fw, centre):
    """Modulus of a Gabor wavelet without response to a constant."""
    sigma = C.CYCLES / centre
    reach = int(np.ceil(C.SUPPORT * sigma * fw))
    k = np.arange(-reach, reach + 1) / fw
    gauss = np.exp(-0.5 * (k / sigma) ** 2)
    even = gauss * np.cos(2 * np.pi * centre * k)
    even -= gauss * even.sum() / gauss.sum()
    odd = gauss * np.sin(2 * np.pi * centre * k)
    padded = np.pad(y, reach, mode="edge")
    env = np.hypot(np.convolve(padded, even, "valid"), np.convolve(padded, odd, "valid")) / np.abs(even).sum()
    env[missing | (env < 4e-6 * np.abs(y).max())] = 0
    return env


def neighbours(values, aside):
    """For each block the sorted values of the blocks within `aside`."""
    return [np.sort(values[max(0, k - aside) : k + aside + 1]) for k in range(len(values))]


def levels(env, grid, *, wide):
    top = grid.per_block(env, np.max)
    near = [max(np.quantile(v, C.QUANTILE), C.SECOND * v[-2] if len(v) > 1 else 0) for v in neighbours(top, C.ASIDE)]
    if not wide:
        return np.array(near)
    return np.maximum(near, [C.FLOOR * np.quantile(v, C.WIDE_QUANTILE) for v in neighbours(top, C.WIDE)])


def means(env, grid):
    return np.array([np.median(v) for v in neighbours(grid.per_block(env, np.mean), C.ASIDE)])


def lead_weights(env, grid):
    """Per lead, band and block: its share by contrast, times the common level over its own."""
    level = np.array([levels(e, grid, wide=False) for e in env])
    mean = np.array([means(e, grid) for e in env])
    contrast = np.divide(level, mean, out=np.zeros_like(level), where=mean > 0) - C.QUIET
    share = np.where(level > 0, np.maximum(contrast, 0) ** 2 + C.LEAST, 0)
    share = np.divide(share, share.sum(axis=0), out=np.zeros_like(share), where=share.sum(axis=0) > 0)
    return np.divide(share * (share * level).sum(axis=0), level, out=np.zeros_like(level), where=level > 0)


def candidates(env, separation):
    """Maxima that are the largest within +-separation; of equals the first."""
    found = []
    for i, v in enumerate(env):
        before, after = env[max(0, i - separation) : i], env[i + 1 : i + separation + 1]
        if v > 0 and (before < v).all() and (after <= v).all():
            found.append(i)
    return np.array(found, dtype=int)


def local_rhythm(t, clear, fe):
    """Median interval between the marked candidates around each candidate, in seconds."""
    rhythm = []
    for now in t:
        gaps = np.diff(t[(np.abs(t - now) < int(C.SPAN * fe + 0.5)) & clear])[: C.MOST_GAPS] / fe
        rhythm.append(np.clip(np.median(gaps) if len(gaps) else C.RHYTHM_DEFAULT, C.RHYTHM_MIN, C.RHYTHM_MAX))
    return np.array(rhythm)


def doubt(t, amp, z, fe):
    """What to take off the evidence where the surroundings look like noise alone."""
    mean = [np.minimum(amp[np.abs(t - now) < int(C.SPAN * fe + 0.5)], 1).mean() for now in t]
    return C.DOUBT * np.maximum(z - C.HISS, 0) * (1 - np.array(mean))


def sharpness(low, high, z):
    """Evidence, in noise, from the envelopes of the two bands at the candidates."""
    total = high + C.SHARP_RATIO * low
    d = np.divide(2 * (high - C.SHARP_RATIO * low), total, out=np.zeros_like(total), where=total > 0)
    part = np.clip(np.minimum(z / C.SHARP_NOISE, 1 - (z - C.HISS) / C.SHARP_FADE), 0, 1)
    return C.SHARP * part * np.maximum(np.minimum(d, 2 * C.MOST_SHARP - d), C.LEAST_SHARP)


def t_waves(slow, share, t, amp, z, beat, fw, hop, at_centres):
    """Which of the beats are tall T waves, see kTAfter."""
    fe, at, chosen = fw / hop, hop * t, np.flatnonzero(beat)
    n, reach, wide = len(slow[0]), int(C.TFLANK * fw), int(C.BASELINE * fw)

    def weights(i):
        return np.ones(1) if share is None else np.array([at_centres(v, t[i]) for v in share])

    def steepness(i):
        lo, hi = max(0, at[i] - reach), min(n - 1, at[i] + reach)
        steps = [np.abs(np.diff(y[lo : hi + 1])).max(initial=0) for y in slow]
        return weights(i) @ steps

    def means(i, begin, end):
        begin, end = (at[i] + int(s * fw + 0.5) for s in (begin, end))
        return np.array([y[begin : end + 1].mean() for y in slow])

    def recovers(i):
        """Whether a T wave follows candidate i."""
        behind = t[(t > t[i]) & beat] - t[i]
        if (len(behind) and behind[0] < int(C.TROOM * fe + 0.5)) or at[i] + int(C.TROOM * fw + 0.5) > n:
            return False
        sides = sum(means(i, s - C.TSIDE, s + C.TSIDE) for s in (C.TEARLY, C.TLATE))
        bend = np.abs(means(i, C.TWAVE_FROM, C.TWAVE_TO) - sides / 2)
        base = [y[max(0, at[i] - wide) : at[i] + wide + 1].mean() for y in slow]
        top = [np.abs(y[max(0, at[i] - reach) : at[i] + reach + 1] - b).max() for y, b in zip(slow, base, strict=True)]
        return weights(i) @ bend > C.TBEND * (weights(i) @ top)

    span, after, near = (int(s * fe + 0.5) for s in (C.SPAN, C.TAFTER, C.TAPART))
    of = {}  # of a smooth beat: the one before
    for j, i in pairwise(chosen):
        apart = t[i] - t[j] <= after and amp[i] < C.TLESS * amp[j] and z[i] <= C.TCALM
        if apart and steepness(i) < C.TSLOPE * steepness(j):
            of[i] = j
    found = []
    for i, j in of.items():
        complexes = [k for k in chosen if abs(t[k] - t[i]) < span and k not in of]
        votes = 0
        for k in complexes:
            alike = (np.abs(t - t[k] - (t[i] - t[j])) <= near) & (t > t[k]) & (amp >= C.TALIKE * amp[i])
            c = alike.argmax()
            votes += bool(alike.any() and steepness(c) < C.TSLOPE * steepness(k) and not recovers(c))
        if 3 * votes >= 2 * len(complexes):
            found.append(i)
    return found


def interval_cost(ratio, z):
    if ratio < C.EARLY:
        return (C.EARLY_COST + C.EARLY_RISE * z) * (C.EARLY - ratio) / 0.25
    return np.clip(C.LATE_COST * (ratio - C.LATE) / 0.4, 0, 2 * C.LATE_COST)


def choose(t, amp, z, doubt, rhythm, fe):
    """Marks the candidates of the sequence with the most evidence less the cost of its intervals; its value."""
    most = np.maximum(C.EVIDENCE - C.EVIDENCE_FALL * z, 0)
    evidence = np.clip((amp - C.THRESHOLD - C.THRESHOLD_RISE * z) / (C.WIDTH + C.WIDTH_RISE * z), -C.EVIDENCE, most)
    value, back = np.zeros(len(t)), np.full(len(t), -1)
    for i in range(len(t)):
        best, origin = 0.0, -1  # a sequence may start here
        old = value[: max(0, i - C.LOOK_BACK)]
        if len(old) and old.max() - 2 * C.LATE_COST > best:  # or follow a pause
            best, origin = old.max() - 2 * C.LATE_COST, int(old.argmax())
        for j in range(i - 1, max(-1, i - C.LOOK_BACK - 1), -1):
            gap = t[i] - t[j]
            total = value[j] - interval_cost(2 * gap / fe / (rhythm[i] + rhythm[j]), z[i])
            if gap >= int(C.REFRACTORY * fe + 0.5) and total > best:
                best, origin = total, j
        value[i] = best + evidence[i] - doubt[i]
        back[i] = origin
    beat = np.zeros(len(t), bool)
    k = int(value.argmax()) if len(t) and value.max() > 0 else -1
    while k >= 0:
        beat[k] = True
        k = back[k]
    return beat, value.max(initial=0)


def refine(leads, slow, weight, t, z, step, fs, single, origin):
    """The middle of the top of the R wave around working sample t, of the grid from sample `origin` on."""
    half, wide, fw = int(C.REFINE * fs / step), int(C.BASELINE * fs / step), fs / step
    base = [y[max(0, t - wide) : t + wide + 1].mean() for y in slow]
    if single:
        coarse, positive = r_wave(slow[0], fw, t, z, base[0])
    else:
        lo, positive = max(0, t - half), True
        total = sum(w * np.abs(y[lo : t + half + 1] - b) for y, w, b in zip(slow, weight, base, strict=True))
        first, broad = first_wave(total, t - lo, z, fw)
        coarse = lo + first
        if broad and (weight > 0).sum() >= C.VOTERS:
            at = np.array([r_wave(y, fw, t, z, b)[0] for y, b in zip(slow, base, strict=True)])
            votes = weight * [abs(y[k] - b) for y, k, b in zip(slow, at, base, strict=True)]
            order = np.argsort(at)
            if votes.sum() > 0:
                coarse = at[order][np.searchsorted(votes[order].cumsum(), C.VOTE * votes.sum())]
    height = sum(w * abs(y[coarse] - b) for y, w, b in zip(slow, weight, base, strict=True))
    centre, fine = origin + coarse * step + step // 2, int(C.FINE * fs + 0.5)
    lo = max(0, centre - fine)
    total, valid = 0.0, False
    for x, y, w, b in zip(leads, slow, weight, base, strict=True):
        upward = positive if single else y[coarse] >= b
        d = x[lo : centre + fine + 1]
        valid |= w != 0 and np.isfinite(d).any()
        total = total + (w if upward else -w) * np.where(np.isfinite(d), d, np.nan if single else 0)
    if not valid:
        return min(centre, len(leads[0]) - 1)
    top = int(np.nanargmax(total))
    for drop in (C.TOP * height, C.TOP / 2 * height, C.TOP / 4 * height):  # of a broad wave less of the top fits in
        a = b = top
        while a > 0 and total[a - 1] >= total[top] - drop:
            a -= 1
        while b + 1 < len(total) and total[b + 1] >= total[top] - drop:
            b += 1
        if a > 0 and b + 1 < len(total):
            break
    return lo + (a + b) // 2


def around(values, lo, t, z, fw):
    """The values from working sample lo on with less weight away from t, in noise."""
    return values / (1 + 0.5 * C.TAPER * z * ((lo + np.arange(len(values)) - t) / fw) ** 2)


def r_wave(y, fw, t, z, base):
    """Of one lead: working sample of the wave meant by the index, and whether it is positive."""
    lo = max(0, t - int(C.REFINE * fw))
    tapered = around(y[lo : t + int(C.REFINE * fw) + 1] - base, lo, t, z, fw)
    up, down = max(tapered.max(), 0), min(tapered.min(), 0)
    if up * C.INVERTED >= -down:
        return (lo + int(tapered.argmax()) if up > 0 else t), True
    wave, dip = r_before(y, fw, lo, lo + int(tapered.argmin()), base, z)
    return (wave, True) if wave >= 0 else (dip, False)


def first_wave(total, mid, z, fw):
    """Index of the first of the large maxima of several leads' deflections; whether the complex is broad."""
    tapered = around(total, 0, mid, z, fw)
    left = right = top = int(tapered.argmax()) if tapered.max() > 0 else mid
    while left > 0 and total[left] >= total[top] / 2:
        left -= 1
    while right < len(total) - 1 and total[right] >= total[top] / 2:
        right += 1
    large = [
        i for i in range(1, top) if tapered[i - 1] <= tapered[i] > tapered[i + 1] and tapered[i] >= C.DIP * tapered[top]
    ]
    return large[0] if large else top, right - left >= C.BROAD * fw


def r_before(y, fw, lo, dip, base, z):
    """Working sample of the R wave before the dominant dip, or -1; that of the first dip of the complex."""
    depth = base - y[dip]
    dips = [i for i in range(max(lo, 1), dip) if y[i - 1] >= y[i] < y[i + 1] and base - y[i] >= C.DIP * depth]
    first = dips[0] if dips else dip
    left, right, widest = dip, dip, int(C.WIDEST * fw)
    while left > 0 and dip - left < widest and y[left] < base - depth / 2:
        left -= 1
    while right < len(y) - 1 and right - dip < widest and y[right] < base - depth / 2:
        right += 1
    broad = right - left >= C.BROAD * fw
    fall = y[max(0, dip - int(C.FALL * fw)) : dip + 1].max() - y[dip]
    least = ((C.BROAD_PROMINENCE if broad else C.PROMINENCE) + C.PROMINENCE_RISE * z) * fall
    best = -1
    for i in range(max(1, first - int((C.BROAD_RS if broad else C.RS) * fw + 0.5)), dip):
        if not y[i - 1] <= y[i] > y[i + 1] or (best >= 0 and y[i] <= y[best]):
            continue
        before = lowest_until_higher(y[max(0, i - int(C.NOTCH * fw)) : i + 1][::-1])
        if y[i] - max(before, lowest_until_higher(y[i : dip + 1])) >= least:
            best = i
    return best, first


def lowest_until_higher(v):
    """The smallest value before one that exceeds the first."""
    higher = np.flatnonzero(v > v[0])
    return v[: higher[0] if len(higher) else len(v)].min()


def beat_quality(amp, z, beat, worth):
    """How much the chosen sequence is worth per beat, less where the beats are uneven and there is noise, 0..1."""
    if not beat.any():
        return 0.0
    height, others = np.minimum(amp[beat], C.LARGEST), np.minimum(amp[~beat], C.LARGEST)
    beside = min(others.mean() / height.mean(), 1) if len(others) else 0.0
    uneven = np.clip((height.std() / height.mean() - C.EVEN) / (C.UNEVEN - C.EVEN), 0, 1)
    value = np.clip((worth / beat.sum() - C.POOR) / (C.EVIDENCE - C.POOR), 0, 1)
    return float(value * (1 - C.BESIDE * beside) * (1 - uneven * np.clip(z.mean() / C.UNEASY, 0, 1)))
