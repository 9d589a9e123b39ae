"""Wave boundaries of one lead, as scalar functions that Numba compiles for the CPU and can compile for the GPU.

Method. The record is brought to about 250 Hz and the QRS complexes are measured one by one. In blocks of up to 20 beats
those alike are averaged, aligned at the centre of gravity of their squared slope; the waves are found on the average,
where noise is small, and every beat then looks for its own near by. P waves are accepted when the beats repeat them:
the coherence of the P windows is near 1 in sinus rhythm and near 0 in fibrillation.

Nothing here allocates except `delineate_range`, the loop over records: every scalar function works in the scratch it is
given. Constants are in seconds and mV, and converted with the internal rate, so a rule means the same at every rate.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from ..._jit import njit
from . import constants as C
from .beats import (
    CENTRE,
    LABEL,
    OFF,
    ON,
    P_OFF,
    P_ON,
    P_PEAK,
    ROWS,
    RR,
    T_OFF,
    T_ON,
    T_PEAK,
    average,
    block_rhythm,
    coherence,
    label_beats,
    meet,
    no_evidence_of_t,
    order,
    parity,
)
from .qrs import qrs_correction
from .scalar import jit, larger, smaller
from .waves import (
    P_WAVE,
    T_WAVE,
    T_WIDE,
    add_second_phase,
    box,
    clip,
    internal_factors,
    measure_qrs,
    measure_wave,
    median_of,
    prepare,
    slopes,
    width,
)

# Numba keeps compiled code as long as the text of this file is the same, but the code also holds what it took from the
# others. So the text names them: the first 16 digits of the SHA-256 of constants.py, weights.py,
# scalar.py, waves.py, qrs.py and beats.py, one after the other.
SOURCES = "64b2d505744300a4"


@jit
def settle_qrs(y, s, n, wave, b0, b1, qrs, have, fi, d):
    """Boundaries of the beats from the average's (qrs, see block_t), their own, the prior and the correction."""
    own_on, own_off, group = 0.0, 0.0, 0
    for k in range(b0, b1):
        if wave[LABEL, k] == 1.0:
            own_on += wave[ON, k] - wave[CENTRE, k]
            own_off += wave[OFF, k] - wave[CENTRE, k]
            group += 1
    for k in range(b0, b1):
        if wave[ON, k] < 0:
            continue
        a, b = wave[ON, k] - wave[CENTRE, k], wave[OFF, k] - wave[CENTRE, k]
        if have and wave[LABEL, k] == 1.0:
            a = qrs[0] + C.QRS_OWN * clip(a - own_on / group, 0.02 * fi)
            b = qrs[1] + C.QRS_OWN * clip(b - own_off / group, 0.02 * fi)
            more_on, more_off = qrs[2], qrs[3]
        else:
            c = int(wave[CENTRE, k] + 0.5)
            more_on, more_off = qrs_correction(y, s, n, c, wave[ON, k] - c, wave[OFF, k] - c, fi, d)
        a = C.QRS_ON_WEIGHT * a + (1.0 - C.QRS_ON_WEIGHT) * C.QRS_ON_PRIOR * fi + more_on
        b = C.QRS_OFF_WEIGHT * b + (1.0 - C.QRS_OFF_WEIGHT) * C.QRS_OFF_PRIOR * fi + more_off
        wave[ON, k], wave[OFF, k] = wave[CENTRE, k] + a, wave[CENTRE, k] + b


@jit
def settle_wave(wave, k, kind, t, a, have, share, root_rr, fi):
    """Writes peak, onset and offset of a wave from the beat's own (t) and the average's (a, from the centre)."""
    peak, on, off = t[0], t[1] - t[0], t[2] - t[0]
    first = T_ON if kind else P_ON
    if have:
        at = wave[CENTRE, k] + a[0]
        peak = at + share * (peak - at)
        limit = 0.03 * fi
        own_on, own_off = (C.T_OWN_ON if kind else C.P_OWN_ON), (C.T_OWN_OFF if kind else C.P_OWN_OFF)
        on = a[1] - a[0] + share * own_on * clip(on - (a[1] - a[0]), limit)
        off = a[2] - a[0] + share * own_off * clip(off - (a[2] - a[0]), limit)
    wave[first + 1, k] = peak
    two_on, two_off = have and a[3] > 0.0, have and a[4] > 0.0
    if kind:
        wave[first, k] = peak + C.T_ON_WEIGHT * on + (1.0 - C.T_ON_WEIGHT) * C.T_ON_PRIOR * root_rr * fi
        wave[first + 2, k] = peak + C.T_OFF_WEIGHT * off + (1.0 - C.T_OFF_WEIGHT) * C.T_OFF_PRIOR * root_rr * fi
    else:
        wave[first, k] = peak + C.P_ON_WEIGHT * on + (1.0 - C.P_ON_WEIGHT) * C.P_ON_PRIOR * fi
        wave[first + 2, k] = peak + C.P_OFF_WEIGHT * off + (1.0 - C.P_OFF_WEIGHT) * C.P_OFF_PRIOR * fi
    if two_on:  # the priors are for one phase
        wave[first, k] = peak + a[1] - a[0]
    if two_off:
        wave[first + 2, k] = peak + a[2] - a[0]


@jit
def average_t(y, n, wave, b0, b1, first, hi, fi, root_rr, group, uneven, off, kind, alternate, mean, ms, found, a, d):
    """The T wave on the average of the group, which has samples first .. hi - 1, and whose QRS complex ends at `off`.

    a: its peak and feet from the centre of the QRS complex (a[0] = -1: none). Returns its coherence, and whether it is
    none. d: scratch.
    """
    before, total = width(C.BEFORE, fi), width(C.BEFORE, fi) + width(C.AFTER, fi)
    size, c, end = total - first, before - first, hi - first
    low = int(off + C.T_FIRST * fi)
    high = int(smaller(c + C.T_LAST * root_rr * fi, end - C.T_BEFORE_QRS * fi))
    typical, spread = c + C.T_TYPICAL * root_rr * fi, C.T_SPREAD * root_rr * fi
    for again in range(2):
        measure_wave(ms, size, kind, int(off), end, low, high, typical, spread, 0.0, fi, found, a, d)
        if a[0] < 0 or hi == total or again == 1:
            break
        # As late as this it may be the next P wave, when T lies before it or nowhere.
        late, early = (a[0] - typical) / spread, (end - a[0] - C.P_TYPICAL * fi) / (C.P_SPREAD * fi)
        if late <= 0.0 or late * late - early * early <= C.T_OR_P:
            break
        high = int(found[4])
    if a[0] < 0:
        return 0.0, group >= 3
    peak, left, right = int(a[0]), int(found[4]), int(found[5])
    add_second_phase(ms, size, kind, int(off), end, fi, found, a, d)
    lo, last = int(a[1]), smaller(end - 1, int(a[2]))
    share, seen, noise = coherence(y, n, wave, b0, b1, before, first, mean, lo, last, np.bool_(False), alternate)
    r, inner_lo, inner, strict = share, larger(lo, left), smaller(last, right), alternate
    if hi < total and end - right < C.P_EARLIEST * fi:
        # This flank may be the next P wave's: it counts as far as the wave rises on its other side.
        h = width(C.T_SLOPE, fi) // 2
        i, level = peak, box(ms, left, h)
        while i < inner and found[3] * (box(ms, i, h) - level) > 0.0:
            i += 1
        inner, strict = i, True
    if (inner_lo != lo or inner != last) and a[3] == 0.0 and a[4] == 0.0:
        r, seen, noise = coherence(y, n, wave, b0, b1, before, first, mean, inner_lo, inner, np.bool_(False), alternate)
    if inner - inner_lo < 3:  # no room for a wave
        r, seen, noise = 0.0, group, 0.0
    for i in range(3):
        a[i] -= c
    return share, no_evidence_of_t(r, seen, noise, uneven, strict)


@jit
def block_t(y, s, n, wave, b0, b1, beats, fi, root_rr, irregular, group, qrs, mean, count, ms, g, found, t, a):
    """Averages the alike beats; their QRS complex and the T waves of all beats. Returns whether there is a QRS complex.

    qrs: its onset and offset from the centre, and the corrections of the two.
    """
    before, total = width(C.BEFORE, fi), width(C.BEFORE, fi) + width(C.AFTER, fi)
    first = before - width(0.34, fi)
    size, c = total - first, before - first
    have, absent, sign, share, least, alternate, hi = group >= 2, False, 0.0, 0.0, 0.0, False, 0
    a[0] = -1.0
    for attempt in range(3):  # the average; slopes over a longer time; every second beat upside down
        if not have:
            break
        alternate = attempt == 2
        if attempt != 1:
            _, hi = average(y, s, n, wave, b0, b1, beats, first, total, before, fi, alternate, mean, count, ms)
        if attempt == 0:
            slopes(ms, size, width(C.QRS_SLOPE, fi), g)
            measure_qrs(
                g, size, c, c - width(C.QRS_BEFORE, fi), c + width(C.QRS_AFTER, fi), C.QRS_NOISE_MEAN, fi, found
            )
            have = found[0] >= 0
            if not have:
                break
            qrs[0], qrs[1] = found[0] - c, found[1] - c
            qrs[2], qrs[3] = qrs_correction(mean[first:total], ms, size, c, qrs[0], qrs[1], fi, count)
        share, absent = average_t(
            y, n, wave, b0, b1, first, hi, fi, root_rr, group, irregular, qrs[1] + c, T_WIDE if attempt else T_WAVE,
            alternate, mean, ms, found, a, count,
        )  # fmt: skip
        if not absent:
            break
        if a[0] >= 0:
            least = larger(least, C.T_ALONE * math.sqrt(float(group)) * found[2])
    have_t = a[0] >= 0 and not absent
    if have_t:
        share, sign = larger(0.0, smaller(1.0, share)), found[3]
    for k in range(b0, b1):
        member = wave[LABEL, k] == 1.0
        if wave[OFF, k] < 0 or (absent and member):
            continue
        c = wave[CENTRE, k]
        end = float(n - 1)
        if k < beats - 1:
            end = wave[ON, k + 1] if wave[ON, k + 1] >= 0 else c + wave[RR, k + 1] * fi
        mine = have_t and member
        centre, spread, own = C.T_TYPICAL * root_rr * fi, C.T_SPREAD * root_rr * fi, 0.0
        if mine:
            centre, spread, own = a[0], C.T_NEAR * fi, sign * parity(k, alternate)
        high = int(smaller(c + C.T_LAST * root_rr * fi, end - C.T_BEFORE_QRS * fi))
        measure_wave(
            s, n, T_WAVE, int(wave[OFF, k]), int(end), int(wave[OFF, k] + C.T_FIRST * fi), high,
            c + centre, spread, own, fi, found, t, count,
        )  # fmt: skip
        if mine and (t[0] < 0 or found[3] != own):  # too small to be seen in this beat alone
            for i in range(3):
                t[i] = c + a[i]
        if t[0] >= 0 and not (absent and found[2] < least):
            settle_wave(wave, k, T_WAVE, t, a, mine, share, root_rr, fi)
    return have


@jit
def prefer_first_phase(ms, n, low, on, fi, found, a, t, d):
    """Where a positive phase precedes the negative peak of the average's P (a, found), the wave is measured from it."""
    peak, size = a[0], found[2]
    keep_before, keep_after = found[4], found[5]
    first = larger(low, int(peak - 2.0 * C.P_FIRST_REACH * fi))
    measure_wave(
        ms,
        n,
        P_WAVE,
        low,
        on,
        first,
        int(peak),
        peak - 0.5 * C.P_FIRST_REACH * fi,
        C.P_SPREAD * fi,
        1.0,
        fi,
        found,
        t,
        d,
    )
    if t[0] >= 0 and found[3] > 0.0 and found[2] >= C.P_FIRST * size and peak - t[0] <= C.P_FIRST_REACH * fi:
        for i in range(5):
            a[i] = t[i]
    else:
        found[2], found[3], found[4], found[5] = size, -1.0, keep_before, keep_after


@jit
def block_p(y, s, n, wave, b0, b1, beats, fi, irregular, group, have, qrs, mean, count, ms, found, t, a):
    """The P waves, given the T waves: none at all unless the beats repeat them."""
    before = width(C.BEFORE, fi)
    have_p, present, sign, size, share = False, group < 3, 0.0, 0.0, 0.0
    if have:
        lo, _ = average(y, s, n, wave, b0, b1, beats, np.int64(0), before, before, fi, np.bool_(False), mean, count, ms)
        on = before + qrs[0]
        low = larger(lo, int(on - C.P_EARLIEST * fi))
        measure_wave(
            ms, before, P_WAVE, low, int(on), low, int(on - C.P_LATEST * fi),
            on - C.P_TYPICAL * fi, C.P_SPREAD * fi, 0.0, fi, found, a, count,
        )  # fmt: skip
        have_p = a[0] >= 0
        if have_p and found[3] < 0.0:
            prefer_first_phase(ms, before, low, int(on), fi, found, a, t, count)
        if have_p:
            add_second_phase(ms, before, P_WAVE, low, int(on), fi, found, a, count)
            sign, size = found[3], found[2]
            left, right = larger(lo, int(a[1] - 0.01 * fi)), smaller(int(a[2] + 0.01 * fi), int(on))
            r, _, _ = coherence(
                y, n, wave, b0, b1, before, np.int64(0), mean, left, right, np.bool_(True), np.bool_(False)
            )
            share = larger(0.0, smaller(1.0, r))
            if group >= 3:
                present = r > C.P_COHERENCE + C.P_IRREGULAR * smaller(irregular, 0.4)
            for i in range(3):
                a[i] -= before
    if not present:
        return
    for k in range(b0, b1):
        if wave[ON, k] < 0:
            continue
        on = wave[ON, k]
        low = larger(0.0, on - C.P_EARLIEST * fi)
        if k > 0:
            low = larger(low, wave[T_OFF, k - 1] if wave[T_OFF, k - 1] >= 0 else wave[CENTRE, k - 1] + C.T_NONE * fi)
        mine = have_p and wave[LABEL, k] == 1.0
        centre, spread = on - C.P_TYPICAL * fi, C.P_SPREAD * fi
        if mine:
            centre, spread = wave[CENTRE, k] + a[0], C.P_NEAR * fi
        measure_wave(
            s, n, P_WAVE, int(low), int(on), int(low), int(on - C.P_LATEST * fi),
            centre, spread, sign if mine else 0.0, fi, found, t, count,
        )  # fmt: skip
        if t[0] >= 0 and found[1] >= C.P_SHARE * size:
            settle_wave(wave, k, P_WAVE, t, a, mine, share, 1.0, fi)


@jit
def delineate_lead(x, fs, rpeaks, out, y, s, g, bad, wave, rr, mean, count, ms, seed, found, t, a):
    """One lead of one record. out: (8, P) int32, filled with -1; all that follows is scratch."""
    q, u = internal_factors(fs)
    fi = fs / q * u
    scale, shift = q / u, 0.5 * (q - 1)  # input index = internal position * scale + shift
    beats = 0
    while beats < len(rpeaks) and rpeaks[beats] >= 0:
        beats += 1
    if beats == 0 or len(x) < 0.2 * fs:
        return
    n, missing = prepare(x, rpeaks, beats, fs, q, u, y, s, bad)
    if n == 0:
        return
    slopes(s, n, width(C.QRS_SLOPE, fi), g)
    for k in range(beats):
        for f in range(8):
            wave[f, k] = -1.0
        r = int((rpeaks[k] - shift) / scale + 0.5)
        lo, hi = r - width(C.QRS_BEFORE, fi), r + width(C.QRS_AFTER, fi)
        if k > 0:
            wave[RR, k] = (rpeaks[k] - rpeaks[k - 1]) / fs
            lo = larger(lo, int((rpeaks[k - 1] - shift) / scale) + width(0.2, fi))
        if k < beats - 1:
            hi = smaller(hi, int((rpeaks[k + 1] - shift) / scale) - width(0.15, fi))
        r = smaller(larger(r, 0), n - 1)
        measure_qrs(g, n, r, smaller(lo, r), larger(hi, r), C.QRS_NOISE, fi, found)
        wave[CENTRE, k] = r
        if found[0] >= 0:
            wave[ON, k], wave[OFF, k], wave[CENTRE, k] = found[0], found[1], found[2]
    blocks = (beats + C.BLOCK - 1) // C.BLOCK  # of nearly equal size
    for b in range(blocks):
        b0, b1 = b * beats // blocks, (b + 1) * beats // blocks
        rhythm, irregular = block_rhythm(wave, b0, b1, rr)
        root_rr = math.sqrt(smaller(larger(rhythm, 0.3), 2.0))
        group = label_beats(y, n, wave, b0, b1, fi, seed, missing, bad)
        have = block_t(y, s, n, wave, b0, b1, beats, fi, root_rr, irregular, group, rr, mean, count, ms, g, found, t, a)
        block_p(y, s, n, wave, b0, b1, beats, fi, irregular, group, have, rr, mean, count, ms, found, t, a)
        settle_qrs(y, s, n, wave, b0, b1, rr, have, fi, count)
    for k in range(1, beats):
        meet(s, n, wave, k, fi)
    for k in range(beats):
        if wave[P_OFF, k] > wave[ON, k]:
            wave[P_OFF, k] = larger(wave[ON, k], wave[P_PEAK, k])
        if wave[T_ON, k] >= 0 and wave[T_ON, k] < wave[OFF, k]:
            wave[T_ON, k] = smaller(wave[OFF, k], wave[T_PEAK, k])
        for part in range(3):
            first, last = (P_ON, ON, T_ON)[part], (P_OFF, OFF, T_OFF)[part]
            i, j = wave[first, k], wave[last, k]
            if wave[first + 1, k] < 0 or j < 0:
                continue
            if missing and bad[larger(0, smaller(n, int(j) + 1))] > bad[larger(0, smaller(n, int(i)))]:
                continue  # part of it is missing
            for f in range(first, last + 1):
                out[f, k] = smaller(larger(int(wave[f, k] * scale + shift + 0.5), 0), len(x) - 1)
    order(out, beats, rpeaks, rpeaks, len(x))


@jit
def consensus(out, v):
    """The last row of out (8, L + 1, P) from the L rows above it: earliest onset, latest offset, median peak.

    A wave counts if a third of the leads that have this beat's QRS (and at least two, where there are as many) show it.
    The outermost boundary of one lead is not believed: the second one counts (of three leads or more).
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
    last = out[:, rows]
    order(last, beats, last[OFF], last[ON], 2147483647)


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
    error_model="numpy",
)
def delineate_range(start, stop, ecg, lead, rpeaks, fs, out):
    """Records start .. stop - 1 of ecg (B, L, T), rpeaks (B, P), into out (8, B, rows, P). lead: index or LEAD_ALL."""
    leads, samples, beats = ecg.shape[1], ecg.shape[2], rpeaks.shape[1]
    q, u = internal_factors(fs)
    window = width(C.BEFORE, fs / q * u) + width(C.AFTER, fs / q * u) + 2
    length = samples * u + window
    y, s, g, bad = np.empty(length), np.empty(length), np.empty(length), np.empty(length, np.int32)
    wave, rr = np.empty((ROWS, beats)), np.empty(C.BLOCK)
    mean, count, ms = np.empty(window), np.empty(window), np.empty(window)
    seed, found, t, a, v = np.empty((2, C.CLUSTERS), np.int64), np.empty(6), np.empty(5), np.empty(5), np.empty(leads)
    rows = leads if lead == C.LEAD_ALL else 1
    for b in range(start, stop):
        out[:, b] = -1
        for row in range(rows):
            x = ecg[b, row if lead == C.LEAD_ALL else lead]
            delineate_lead(x, fs, rpeaks[b], out[:, b, row], y, s, g, bad, wave, rr, mean, count, ms, seed, found, t, a)
        if lead == C.LEAD_ALL:
            consensus(out[:, b], v)
