"""Delineation, written to be read: one lead at a time, whole arrays instead of loops where that is clearer.

A position is a float, in samples of the internal rate (about 250 Hz); a beat is a dict of the positions it has.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ..ops._checks import check_lead
from ..ops._numba import constants as C
from ..ops._numba import weights as W
from ..ops._types import Delineation, rpeaks_index
from .order import meet, order
from .waves import (
    Signal,
    add_second_phase,
    find_qrs,
    find_wave,
    prefer_first_phase,
    remove_spikes,
    resample,
    samples_in,
)


def alike(signal, beats):
    """The largest group of beats whose QRS complexes correlate with the group's first one."""
    h = samples_in(0.06, signal.fi)
    groups: list[list[Any]] = []

    def window(beat):
        c = int(beat["centre"] + 0.5)
        left, right = max(0, c - samples_in(C.WHOLE_BEFORE, signal.fi)), c + samples_in(C.WHOLE_AFTER, signal.fi)
        if signal.missing[left:right].sum() > C.WHOLE * signal.fi:
            return None  # a gap is bridged by a line, which is no wave
        return signal.y[c - h : c + h + 1] if beat["qrs_on"] is not None and c - h >= 0 and c + h < signal.n else None

    for beat in beats:
        x = window(beat)
        if x is None:
            continue
        r = [correlation(x, window(g[0])) for g in groups]
        if r and max(r) > C.QRS_ALIKE:
            groups[int(np.argmax(r))].append(beat)
        elif len(groups) < C.CLUSTERS:
            groups.append([beat])
    return max(groups, key=len, default=[])


def correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    scale = (a @ a) * (b @ b)
    return a @ b / math.sqrt(scale) if scale > 0 else 0.0


def parity(beat, alternate):
    """The sign of a beat's window: -1 for every second beat where the waves are taken to alternate."""
    return -1 if alternate and beat["k"] % 2 else 1


def average(signal, group, beats, first, last, before, alternate=False):
    """Mean of the group over the window first .. last - 1 around the centres, and the range where half of it counts."""
    total, count = np.zeros(last), np.zeros(last)
    for beat in group:
        k = beat["k"]
        at, on = int(beat["centre"] + 0.5) - before, int(beat["qrs_on"])
        lo, hi = max(first, -at), min(last, signal.n - at)
        if k > 0:
            end = beats[k - 1]["t_off"]
            lo = max(lo, int(end if end is not None else beats[k - 1]["centre"] + C.T_NONE * signal.fi) - at)
        if k + 1 < len(beats) and beats[k + 1]["qrs_on"] is not None:
            hi = min(hi, int(beats[k + 1]["qrs_on"] - 0.01 * signal.fi) - at)
        if lo < hi:
            total[lo:hi] += parity(beat, alternate) * (signal.y[at + lo : at + hi] - signal.level_before(on))
            count[lo:hi] += 1
    enough = count >= max(1.0, 0.5 * len(group))
    lo = hi = before
    while lo > first and enough[lo - 1]:
        lo -= 1
    while hi < last and enough[hi]:
        hi += 1
    mean = np.zeros(last)
    if lo < hi:
        mean[lo:hi] = total[lo:hi] / count[lo:hi]
        mean[first:lo], mean[hi:last] = mean[lo], mean[hi - 1]
    return mean, lo, hi


def coherence(signal, group, beats, before, mean, lo, hi, after_t, alternate=False):
    """(r, n, noise) of the beats' windows lo .. hi.

    r: mean over the beats of <z, mean of the others>, as a share of <z, z>; z: a window without its linear trend.
    n: how many beats have the window. noise: RMS, in mV, of what they do not share, as it is left in their mean.
    """
    m = hi - lo + 1
    if m < 4:
        return 0.0, 0, 0.0
    t = np.arange(m) - 0.5 * (m - 1)

    def detrended(v):
        return v - v.mean() - (v @ t) / (t @ t) * t

    p, windows = detrended(mean[lo : hi + 1]), []
    for beat in group:
        at, k = int(beat["centre"] + 0.5) - before, beat["k"]
        if at + lo < 0 or at + hi >= signal.n:
            continue
        if after_t and k > 0 and beats[k - 1]["t_off"] is not None and beats[k - 1]["t_off"] > at + lo + 2:
            continue
        windows.append(parity(beat, alternate) * detrended(signal.y[at + lo : at + hi + 1]))
    n, power = len(windows), sum(z @ z for z in windows)
    if n < 2:
        return 0.0, n, 0.0
    r = (n * sum(z @ p for z in windows) / power - 1) / (n - 1) if power > 0 else 0.0
    return r, n, math.sqrt(max(0.0, 1 - r) * power / m) / n


def no_evidence_of_t(r, n, noise, irregular, strict):
    """Whether beats enough, whose mean would show a T wave, share no more than noise does.

    (1 + (n - 1) r) / (1 - r) is the F ratio of the analysis of variance: the power of the mean, n times, over that of
    the deviations. It is near 1 where the beats share nothing.
    """
    if n < 3 or noise > C.T_NOISE or irregular > C.T_IRREGULAR:
        return False
    return 1 + (n - 1) * r < (C.T_EVIDENCE_STRICT if strict else C.T_EVIDENCE) * (1 - r)


def settle_wave(beat, kind, own, mean, share, root_rr, fi):
    """Boundaries from the beat's own wave, the average's (mean, or None; positions from the centre), and the prior."""
    k = {n[2:]: getattr(C, n) for n in dir(C) if n.startswith(kind.upper() + "_")}
    peak, offsets = own["peak"], [foot - own["peak"] for foot in own["feet"]]
    if mean is not None:
        peak = beat["centre"] + mean["peak"] + share * (peak - (beat["centre"] + mean["peak"]))
    beat[kind + "_peak"] = peak
    for side, edge in enumerate(("on", "off")):
        name, offset = edge.upper(), offsets[side]
        if mean is not None:
            usual = mean["feet"][side] - mean["peak"]
            offset = usual + share * k["OWN_" + name] * float(np.clip(offset - usual, -0.03 * fi, 0.03 * fi))
        weight = k[name + "_WEIGHT"]
        position = peak + weight * offset + (1 - weight) * k[name + "_PRIOR"] * root_rr * fi
        if mean is not None and mean["second"][side]:
            position = peak + usual
        beat[f"{kind}_{edge}"] = position


def qrs_inputs(signal, c, on, off):
    """What the correction sees of a QRS complex around sample c: slopes and values every 8 ms, onset and offset from c.

    None where there is nothing to see.
    """
    steps = np.arange(W.FIRST, W.FIRST + W.POINTS)
    at = np.clip(c + np.floor(steps * W.STEP * signal.fi + 0.5).astype(int), 0, signal.n - 1)
    g, v = np.abs(signal.slope(samples_in(C.QRS_SLOPE, signal.fi)))[at], signal.y[at]
    if g.max() == 0 or np.ptp(v) == 0:
        return None
    slopes = g / (g + W.HALF * g.max()) - 0.5
    values = W.SCALE * (v - v[: W.LEVEL].mean()) / np.ptp(v)
    return np.concatenate([slopes, values, [on / signal.fi * W.UNIT + 1.2, off / signal.fi * W.UNIT - 1.2]])


def qrs_correction(signal, c, on, off):
    """What a small network, fitted to the readers' marks, adds to the onset and the offset, in samples."""
    x = qrs_inputs(signal, c, on, off)
    if x is None:
        return np.zeros(2)
    hidden = W.HIDDEN @ x + W.HIDDEN_BIAS
    out = W.OUT @ (hidden / (1 + np.abs(hidden))) + W.OUT_BIAS
    return np.clip(out, -W.LIMIT, W.LIMIT) * signal.fi


def settle_qrs(signal, block, group, mean):
    """The same for the QRS complexes; mean: the average, its centre, onset and offset from there; or None."""
    fi = signal.fi
    own = {e: sum(b["qrs_" + e] - b["centre"] for b in group) / max(1, len(group)) for e in ("on", "off")}
    members = [id(b) for b in group]
    common: Any = None if mean is None else qrs_correction(*mean)
    for beat in block:
        if beat["qrs_on"] is None:
            continue
        raw, offsets = [beat["qrs_on"] - beat["centre"], beat["qrs_off"] - beat["centre"]], []
        mine = mean is not None and id(beat) in members
        c = int(beat["centre"] + 0.5)
        more = common if mine else qrs_correction(signal, c, beat["qrs_on"] - c, beat["qrs_off"] - c)
        for side, edge in enumerate(("on", "off")):
            offset = raw[side]
            if mine:
                offset = mean[2 + side] + C.QRS_OWN * float(np.clip(offset - own[edge], -0.02 * fi, 0.02 * fi))
            weight, prior = getattr(C, f"QRS_{edge.upper()}_WEIGHT"), getattr(C, f"QRS_{edge.upper()}_PRIOR")
            offsets.append(weight * offset + (1 - weight) * prior * fi + more[side])
        beat["qrs_on"], beat["qrs_off"] = beat["centre"] + offsets[0], beat["centre"] + offsets[1]


def average_t(signal, group, beats, before, root_rr, irregular, found, slope, alternate):
    """(wave, r, absent): the T wave on the average of the group, its coherence, and whether it is none.

    found: of the QRS complex, on the average that begins 0.34 s before the centre. slope: s on either side.
    """
    fi, total = signal.fi, before + samples_in(C.AFTER, signal.fi)
    first = before - samples_in(0.34, fi)
    mean, _, hi = average(signal, group, beats, first, total, before, alternate)
    template, c, end = Signal(mean[first:], fi), before - first, hi - first
    high = int(min(c + C.T_LAST * root_rr * fi, end - C.T_BEFORE_QRS * fi))
    typical, spread = c + C.T_TYPICAL * root_rr * fi, C.T_SPREAD * root_rr * fi

    def search(high):
        low = int(found[1] + C.T_FIRST * fi)
        return find_wave(template, "t", int(found[1]), end, low, high, typical, spread, slope=slope)

    wave = search(high)
    if wave is not None and hi < total:  # as late as this it may be the next P wave, when T lies before it or nowhere
        t, p = (wave["peak"] - typical) / spread, (end - wave["peak"] - C.P_TYPICAL * fi) / (C.P_SPREAD * fi)
        if t > 0 and t * t - p * p > C.T_OR_P:
            high = wave["sides"][0]
            wave = search(high)
    if wave is None:
        return None, 0.0, len(group) >= 3
    sides, size = wave["sides"], wave["prominence"]
    add_second_phase(template, "t", wave, int(found[1]), end)
    lo, right = int(wave["feet"][0]), min(end - 1, int(wave["feet"][1]))
    r, n, noise = coherence(signal, group, beats, before, mean, lo + first, right + first, False, alternate)
    inner, strict = (max(lo, sides[0]), min(right, sides[1])), alternate
    if hi < total and end - sides[1] < C.P_EARLIEST * fi:
        # This flank may be the next P wave's: it counts as far as the wave rises on its other side.
        h, i = samples_in(C.T_SLOPE, fi) // 2, wave["peak"]
        while i < inner[1] and wave["sign"] * (template.level(i, h) - template.level(sides[0], h)) > 0:
            i += 1
        inner, strict = (inner[0], i), True
    evidence = r, n, noise
    if inner != (lo, right) and not any(wave["second"]):
        evidence = coherence(signal, group, beats, before, mean, inner[0] + first, inner[1] + first, False, alternate)
    if inner[1] - inner[0] < 3:
        evidence = 0.0, len(group), 0.0  # no room for a wave
    wave.update(peak=wave["peak"] - c, feet=[f - c for f in wave["feet"]], size=size)
    return wave, r, no_evidence_of_t(*evidence, irregular, strict)


def delineate_block(signal, beats, block):
    """All waves of the beats of a block, from the average of those alike."""
    fi, n = signal.fi, signal.n
    rr = [b["rr"] for b in block if b["k"] > 0]
    rhythm = float(np.median(rr)) if rr else 0.9
    irregular = float(np.median(np.abs(np.diff(rr)))) / rhythm if len(rr) > 1 and rhythm > 0 else 0.0
    root_rr = math.sqrt(min(max(rhythm, 0.3), 2.0))
    before, total = samples_in(C.BEFORE, fi), samples_in(C.BEFORE, fi) + samples_in(C.AFTER, fi)
    group = alike(signal, block)
    members = [id(b) for b in group]

    qrs = t_mean = p_mean = None
    t_share, p_share, absent, alternate, least = 0.0, 0.0, False, False, 0.0
    if len(group) >= 2:
        first = before - samples_in(0.34, fi)
        mean, _, _ = average(signal, group, beats, first, total, before)
        template, c = Signal(mean[first:], fi), before - first
        g = np.abs(template.slope(samples_in(C.QRS_SLOPE, fi)))
        found = find_qrs(g, c, c - samples_in(C.QRS_BEFORE, fi), c + samples_in(C.QRS_AFTER, fi), C.QRS_NOISE_MEAN, fi)
        if found is not None:
            qrs = template, c, found[0] - c, found[1] - c
            for slope, alternate in ((C.T_SLOPE, False), (C.T_WIDE_SLOPE, False), (C.T_WIDE_SLOPE, True)):
                t_mean, r, absent = average_t(signal, group, beats, before, root_rr, irregular, found, slope, alternate)
                if not absent:
                    break
                if t_mean is not None:
                    least = max(least, C.T_ALONE * math.sqrt(len(group)) * t_mean["size"])
            t_share = min(1.0, max(0.0, r))
            if absent:
                t_mean = None
    for beat in block:
        if beat["qrs_off"] is None or (absent and id(beat) in members):
            continue
        c, off, end = beat["centre"], beat["qrs_off"], float(n - 1)
        if beat["k"] + 1 < len(beats):
            following = beats[beat["k"] + 1]
            end = following["qrs_on"] if following["qrs_on"] is not None else c + following["rr"] * fi
        mine = t_mean if id(beat) in members else None
        centre, spread, sign = C.T_TYPICAL * root_rr * fi, C.T_SPREAD * root_rr * fi, 0.0
        if mine is not None:
            centre, spread, sign = mine["peak"], C.T_NEAR * fi, mine["sign"] * parity(beat, alternate)
        high = int(min(c + C.T_LAST * root_rr * fi, end - C.T_BEFORE_QRS * fi))
        own = find_wave(signal, "t", int(off), int(end), int(off + C.T_FIRST * fi), high, c + centre, spread, sign)
        if mine is not None and (own is None or own["sign"] != sign):
            own = dict(peak=c + mine["peak"], feet=[c + f for f in mine["feet"]])
        if own is not None and not (absent and own["prominence"] < least):
            settle_wave(beat, "t", own, mine, t_share, root_rr, fi)

    present, size = len(group) < 3, 0.0
    if qrs is not None:
        mean, lo, _ = average(signal, group, beats, 0, before, before)
        on = before + qrs[2]
        low = max(lo, int(on - C.P_EARLIEST * fi))
        template = Signal(mean, fi)
        p_mean = find_wave(
            template, "p", low, int(on), low, int(on - C.P_LATEST * fi), on - C.P_TYPICAL * fi, C.P_SPREAD * fi
        )
        if p_mean is not None and p_mean["sign"] < 0:
            p_mean = prefer_first_phase(template, p_mean, low, int(on))
        if p_mean is not None:
            add_second_phase(template, "p", p_mean, low, int(on))
            size = p_mean["prominence"]
            left, right = max(lo, int(p_mean["feet"][0] - 0.01 * fi)), min(int(p_mean["feet"][1] + 0.01 * fi), int(on))
            r, _, _ = coherence(signal, group, beats, before, mean, left, right, True)
            p_share = min(1.0, max(0.0, r))
            if len(group) >= 3:
                present = r > C.P_COHERENCE + C.P_IRREGULAR * min(irregular, 0.4)
            p_mean.update(peak=p_mean["peak"] - before, feet=[f - before for f in p_mean["feet"]])
    elif len(group) >= 3:
        present = False
    for beat in block if present else []:
        if beat["qrs_on"] is None:
            continue
        on = beat["qrs_on"]
        low = max(0.0, on - C.P_EARLIEST * fi)
        if beat["k"] > 0:
            last = beats[beat["k"] - 1]
            low = max(low, last["t_off"] if last["t_off"] is not None else last["centre"] + C.T_NONE * fi)
        mine = p_mean if id(beat) in members else None
        centre, spread, sign = on - C.P_TYPICAL * fi, C.P_SPREAD * fi, 0.0
        if mine is not None:
            centre, spread, sign = beat["centre"] + mine["peak"], C.P_NEAR * fi, mine["sign"]
        own = find_wave(signal, "p", int(low), int(on), int(low), int(on - C.P_LATEST * fi), centre, spread, sign)
        if own is not None and own["score"] >= C.P_SHARE * size:
            settle_wave(beat, "p", own, mine, p_share, 1.0, fi)
    settle_qrs(signal, block, group, qrs)


def delineate_lead(x, fs, rpeaks):
    """(8, P) boundaries of one lead."""
    out = np.full((8, len(rpeaks)), -1, np.int64)
    rpeaks = rpeaks[rpeaks >= 0]
    if len(rpeaks) == 0 or len(x) < 0.2 * fs:
        return out
    y, missing, fi, scale, shift = resample(x, fs)
    if y is None:
        return out
    if scale >= 1:
        remove_spikes(x, fs, rpeaks, y)
    if np.ptp(y) == 0:
        return out
    y = y - y[0]
    signal = Signal(y, fi, missing)
    g = np.abs(signal.slope(samples_in(C.QRS_SLOPE, fi)))
    beats = []
    for k, peak in enumerate(rpeaks):
        r = int((peak - shift) / scale + 0.5)
        lo, hi = r - samples_in(C.QRS_BEFORE, fi), r + samples_in(C.QRS_AFTER, fi)
        if k > 0:
            lo = max(lo, int((rpeaks[k - 1] - shift) / scale) + samples_in(0.2, fi))
        if k + 1 < len(rpeaks):
            hi = min(hi, int((rpeaks[k + 1] - shift) / scale) - samples_in(0.15, fi))
        r = min(max(r, 0), len(y) - 1)
        beat: dict[str, Any] = dict.fromkeys(Delineation._fields)
        beat.update(k=k, centre=float(r), rr=(peak - rpeaks[k - 1]) / fs if k > 0 else None)
        found = find_qrs(g, r, min(lo, r), max(hi, r), C.QRS_NOISE, fi)
        if found is not None:
            beat["qrs_on"], beat["qrs_off"], beat["centre"] = found
        beats.append(beat)
    blocks = -(-len(beats) // C.BLOCK)
    for b in range(blocks):
        delineate_block(signal, beats, beats[b * len(beats) // blocks : (b + 1) * len(beats) // blocks])

    for before, after in itertools.pairwise(beats):
        meet(signal, before, after)
    for k, beat in enumerate(beats):
        if beat["p_off"] is not None and beat["p_off"] > beat["qrs_on"]:
            beat["p_off"] = max(beat["qrs_on"], beat["p_peak"])
        if beat["t_on"] is not None and beat["t_on"] < beat["qrs_off"]:
            beat["t_on"] = min(beat["qrs_off"], beat["t_peak"])
        for wave in (slice(0, 3), slice(3, 5), slice(5, 8)):
            positions = [beat[f] for f in Delineation._fields[wave]]
            if None in positions or min(positions[-1], positions[1]) < 0:
                continue
            if not missing[max(0, int(positions[0])) : max(0, int(positions[-1]) + 1)].any():
                index = [math.floor(p * scale + shift + 0.5) for p in positions]
                out[wave, k] = np.clip(index, 0, len(x) - 1)
    order(out, len(beats), rpeaks, rpeaks, len(x))
    return out


def consensus(rows):
    """(8, P) from (8, L, P): the second earliest onset, the second latest offset, the median peak of the leads."""
    out = np.full((8, rows.shape[2]), -1, np.int64)
    for k in range(rows.shape[2]):
        valid = (rows[3, :, k] >= 0).sum()
        for f, name in enumerate(Delineation._fields):
            v = np.sort(rows[f, :, k][rows[f, :, k] >= 0])
            if len(v) == 0 or 3 * len(v) < valid or (len(v) < 2 and valid > 2):
                continue
            second = 0 if len(v) < 3 else 1
            if name.endswith("peak"):
                out[f, k] = int(np.median(v) + 0.5)
            else:
                out[f, k] = v[second] if name.endswith("on") else v[len(v) - 1 - second]
    order(out, rows.shape[2], out[4], out[3], np.iinfo(np.int32).max)
    return out


def delineate(ecg, fs, rpeaks, *, lead="II"):
    """Delineation of int64 arrays; see physioclr.delineate for the meaning of the arguments."""
    ecg, rpeaks = np.asarray(ecg, np.float32).astype(np.float64), np.asarray(rpeaks_index(rpeaks))
    if ecg.ndim == 2:
        ecg, lead = ecg[:, None], 0
    lead = check_lead(lead, ecg.shape[1], allow=("mean", "all"))
    if lead == "mean":
        there = np.isfinite(ecg)
        with np.errstate(invalid="ignore"):
            mean = np.where(there, ecg, 0.0).sum(axis=1, keepdims=True) / there.sum(axis=1, keepdims=True)
        ecg, lead = mean.astype(np.float32).astype(np.float64), 0
    results = []
    for x, r in zip(ecg, rpeaks, strict=True):
        if lead == "all":
            rows = np.stack([delineate_lead(one, fs, r) for one in x], axis=1)
            results.append(np.concatenate([rows, consensus(rows)[:, None]], axis=1))
        else:
            results.append(delineate_lead(x[lead], fs, r))
    return Delineation(*np.stack(results, axis=1))
