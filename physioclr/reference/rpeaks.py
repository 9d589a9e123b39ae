"""detect_rpeaks, step by step. The constants and their reasons are in csrc/core/rpeaks_math.h."""

from itertools import pairwise

import numpy as np

WORK_RATE = 125.0
CENTRE, SIGMA, SUPPORT = 14.0, 0.033, 3.0
SHORTEST, SEPARATION, REFRACTORY = 0.4, 0.15, 0.2
BLOCK, BLOCKS_ASIDE, LEVEL_QUANTILE, SECOND = 1.0, 3, 0.6, 0.7
THRESHOLD, WIDTH, EVIDENCE = 0.33, 0.1, 4.0
CLEAR, RHYTHM_SPAN, RHYTHM_DEFAULT, RHYTHM_MIN, RHYTHM_MAX, RHYTHM_MAX_GAPS = 0.6, 4.0, 0.8, 0.3, 1.6, 32
EARLY, EARLY_COST, LATE, LATE_COST, LOOK_BACK = 0.75, 0.6, 1.35, 1.0, 8
REFINE, BASELINE, INVERTED = 0.07, 0.12, 1.3
CLEAN, NOISE = 0.25, 0.6


def detect_rpeaks(ecg, fs, *, max_beats=None):
    """(index, count, quality) of physioclr.detect_rpeaks, in float64."""
    ecg = np.asarray(ecg, dtype=np.float64)
    ecg = ecg[:, None] if ecg.ndim == 2 else ecg
    if max_beats is None:
        max_beats = int(np.ceil(ecg.shape[-1] / (0.2 * fs))) + 1
    index = np.full((len(ecg), max_beats), -1, np.int32)
    count, quality = np.zeros(len(ecg), np.int32), np.zeros(len(ecg), np.float32)
    for b, record in enumerate(ecg):
        beats, quality[b] = detect_record(record, fs)
        count[b] = min(len(beats), max_beats)
        index[b, : count[b]] = beats[: count[b]]
    return index, count, quality


def detect_record(record, fs):
    """Sample indices and quality of one record (L, T)."""
    step = max(1, int(np.floor(fs / WORK_RATE + 0.5)))
    fw, n = fs / step, record.shape[1] // step
    if n < SHORTEST * fw:
        return [], 0.0
    block = BLOCK * fw
    leads = []
    for x in record:
        slow, env = envelope(x, step, fw, n)
        if slow is not None:
            leads.append((x, slow, env, lead_weight(env, block)))
    if not leads:
        return [], 0.0
    env = leads[0][2] if len(record) == 1 else sum(e * at_centres(w, block, np.arange(n)) for _, _, e, w in leads)
    t = candidates(env, max(1, int(np.floor(SEPARATION * fw + 0.5))))
    if not len(t):
        return [], 0.0
    level = at_centres(around(per_block(env, block, np.max)), block, t)
    amp = np.divide(env[t], level, out=np.full(len(t), EVIDENCE), where=level > 0)
    chosen = choose(t, amp, local_rhythm(t, amp, fw), fw)
    beats = []
    for k in chosen:
        at = refine(
            [(x, slow, at_centres(w, block, t[k])) for x, slow, _, w in leads], t[k], step, fs, len(record) == 1
        )
        if not beats or at > beats[-1]:
            beats.append(at)
    return beats, beat_quality(amp, chosen)


def envelope(x, step, fw, n):
    """The lead at the working rate and the modulus of its Gabor wavelet; (None, None) if nothing is valid."""
    y = x[: n * step].reshape(n, step).mean(axis=1)
    valid = np.isfinite(y)
    if not valid.any():
        return None, None
    y = np.interp(np.arange(n), np.flatnonzero(valid), y[valid])  # gaps: a straight line, constant at the ends
    reach = int(np.ceil(SUPPORT * SIGMA * fw))
    k = np.arange(-reach, reach + 1) / fw
    gauss = np.exp(-0.5 * (k / SIGMA) ** 2)
    even = gauss * np.cos(2 * np.pi * CENTRE * k)
    even -= gauss * even.sum() / gauss.sum()  # no response to a constant
    odd = gauss * np.sin(2 * np.pi * CENTRE * k)
    padded = np.pad(y - y[0], reach, mode="edge")
    env = np.hypot(np.convolve(padded, even, "valid"), np.convolve(padded, odd, "valid")) / np.abs(even).sum()
    env[~valid | (env < 4e-6 * np.abs(y - y[0]).max())] = 0
    return y, env


def per_block(env, block, statistic):
    blocks = max(1, int(len(env) / block))
    edges = [int(k * block) for k in range(blocks)] + [len(env)]
    return np.array([statistic(env[a:b]) for a, b in pairwise(edges)])


def around(values):
    """The level of each block's value and its neighbours'."""
    level = []
    for k in range(len(values)):
        v = np.sort(values[max(0, k - BLOCKS_ASIDE) : k + BLOCKS_ASIDE + 1])
        level.append(max(np.quantile(v, LEVEL_QUANTILE), SECOND * v[-2] if len(v) > 1 else 0))
    return np.array(level)


def at_centres(values, block, t):
    return np.interp(t, (np.arange(len(values)) + 0.5) * block, values)


def lead_weight(env, block):
    """Per block: large where the beats of this lead stand out, scaled to its level."""
    top, mean = around(per_block(env, block, np.max)), around(per_block(env, block, np.mean))
    contrast = np.maximum(np.divide(top, mean, out=np.zeros_like(top), where=mean > 0) - 2, 0)
    return np.divide(contrast**2 + 0.01, top, out=np.zeros_like(top), where=top > 0)


def candidates(env, separation):
    """Maxima that are the largest within +-separation; of equals the first."""
    found = []
    for i, v in enumerate(env):
        before, after = env[max(0, i - separation) : i], env[i + 1 : i + separation + 1]
        if v > 0 and (before < v).all() and (after <= v).all():
            found.append(i)
    return np.array(found, dtype=int)


def local_rhythm(t, amp, fw):
    """Median interval between clear beats around each candidate, in seconds."""
    rhythm = []
    for now in t:
        gaps = np.diff(t[(np.abs(t - now) < int(RHYTHM_SPAN * fw + 0.5)) & (amp > CLEAR)])[:RHYTHM_MAX_GAPS] / fw
        rhythm.append(np.clip(np.median(gaps) if len(gaps) else RHYTHM_DEFAULT, RHYTHM_MIN, RHYTHM_MAX))
    return np.array(rhythm)


def interval_cost(ratio):
    if ratio < EARLY:
        return EARLY_COST * (EARLY - ratio) / 0.25
    return min(LATE_COST * (ratio - LATE) / 0.4, 2 * LATE_COST) if ratio > LATE else 0.0


def choose(t, amp, rhythm, fw):
    """Candidates of the sequence with the most evidence less the cost of its intervals."""
    value, back = np.zeros(len(t)), np.full(len(t), -1)
    for i in range(len(t)):
        best, origin = 0.0, -1  # a sequence may start here
        old = value[: max(0, i - LOOK_BACK)]
        if len(old) and old.max() - 2 * LATE_COST > best:  # or follow a pause
            best, origin = old.max() - 2 * LATE_COST, old.argmax()
        for j in range(i - 1, max(-1, i - LOOK_BACK - 1), -1):
            gap = t[i] - t[j]
            total = value[j] - interval_cost(2 * gap / fw / (rhythm[i] + rhythm[j]))
            if gap >= int(REFRACTORY * fw + 0.5) and total > best:
                best, origin = total, j
        value[i] = best + np.clip((amp[i] - THRESHOLD) / WIDTH, -EVIDENCE, EVIDENCE)
        back[i] = origin
    chosen, k = [], int(value.argmax())
    while k >= 0 and value.max() > 0:
        chosen.append(k)
        k = back[k]
    return chosen[::-1]


def refine(leads, t, step, fs, single):
    """The sample of the dominant deflection around working sample t."""
    centre, half, wide = t * step + step // 2, int(REFINE * fs), int(BASELINE * fs / step)
    lo = max(0, centre - half)
    total = 0.0
    for x, slow, weight in leads:
        d = x[lo : centre + half + 1] - slow[max(0, t - wide) : t + wide + 1].mean()
        if single:
            if not np.isfinite(d).any():
                return centre
            up, down = np.where(np.isfinite(d), d, -np.inf), np.where(np.isfinite(d), d, np.inf)
            return lo + (up.argmax() if up.max() * INVERTED >= -down.min() else down.argmin())
        total = total + weight * np.where(np.isfinite(d), np.abs(d), 0)
    return lo + int(np.argmax(total))


def beat_quality(amp, chosen):
    """How far the beats stand out from the other candidates, 0..1."""
    if not chosen:
        return 0.0
    others = np.delete(amp, chosen)
    ratio = others.mean() / amp[chosen].mean() if len(others) else 0.0
    return float(np.clip((NOISE - ratio) / (NOISE - CLEAN), 0, 1))
