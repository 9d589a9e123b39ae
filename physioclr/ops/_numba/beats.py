"""What the alike beats of a block have in common: groups, averages, coherence, rhythm. Compiled by Numba.

Scalar code like that of `waves`, not cached itself (see SOURCES in delineate.py).
"""

import math

from . import constants as C
from .scalar import LANES, fold, jit, larger, prefix_sums, product_of, smaller, total_of
from .waves import box, median_of, width

# rows of the scratch of one lead: boundaries of each beat, then what is known of its QRS
P_ON, P_PEAK, P_OFF, ON, OFF, T_ON, T_PEAK, T_OFF, CENTRE, LABEL, RR = range(11)
ROWS = 11


@jit
def label_beats(y, n, wave, b0, b1, fi, seed, missing, bad):
    """Groups beats b0 .. b1 - 1 by the shape of the QRS; wave[LABEL] = 1 for the largest group, otherwise 0."""
    h = width(0.06, fi)
    m = 2 * h + 1
    groups = 0
    for k in range(b0, b1):
        wave[LABEL, k] = -1.0
        c = int(wave[CENTRE, k] + 0.5)
        if wave[ON, k] < 0 or c - h < 0 or c + h >= n:
            continue
        if missing:  # bad: prefix counts of the missing samples; a gap is bridged by a line, which is no wave
            gone = bad[smaller(n, c + width(C.WHOLE_AFTER, fi))] - bad[larger(0, c - width(C.WHOLE_BEFORE, fi))]
            if gone > C.WHOLE * fi:
                continue
        best, label = C.QRS_ALIKE, -1
        for g in range(groups):
            d = int(wave[CENTRE, seed[0, g]] + 0.5)
            one, two = y[c - h : c + h + 1], y[d - h : d + h + 1]
            a, aa, b, bb = total_of(one), product_of(one, one), total_of(two), product_of(two, two)
            ab = product_of(one, two)
            scale = (aa - a * a / m) * (bb - b * b / m)
            r = (ab - a * b / m) / math.sqrt(scale) if scale > 0.0 else 0.0
            if r > best:
                best, label = r, g
        if label < 0 and groups < C.CLUSTERS:
            label = groups
            seed[0, groups], seed[1, groups] = k, 0
            groups += 1
        if label >= 0:
            seed[1, label] += 1
        wave[LABEL, k] = label
    largest = 0
    for g in range(1, groups):
        if seed[1, g] > seed[1, largest]:
            largest = g
    for k in range(b0, b1):
        wave[LABEL, k] = 1.0 if groups > 0 and wave[LABEL, k] == largest else 0.0
    return seed[1, largest] if groups > 0 else 0


@jit
def level_before(s, on, fi):
    """Mean of the 20 ms before the QRS."""
    left = larger(0, on - width(0.02, fi))
    return (s[on + 1] - s[left]) / (on + 1 - left)


@jit
def parity(k, alternate):
    """The sign of a beat's window: -1 for every second beat where the waves are taken to alternate."""
    return -1.0 if alternate and k % 2 == 1 else 1.0


@jit
def average(y, s, n, wave, b0, b1, beats, first, last, before, fi, alternate, mean, count, ms):
    """Mean of the alike beats over the samples first .. last - 1 of the window (the centre is sample `before`).

    Each beat contributes from the end of the T wave before it to the next QRS, relative to its level before the QRS.
    ms: prefix sums of the mean from `first` on. Where fewer than half of the beats contribute, the nearest value is
    carried on; returns the range of samples that have enough (lo, hi).
    """
    group = 0
    mean[first:last] = 0.0
    count[first : last + 1] = 0.0
    for k in range(b0, b1):
        if wave[LABEL, k] != 1.0:
            continue
        group += 1
        at = int(wave[CENTRE, k] + 0.5) - before
        on = int(wave[ON, k])
        level = level_before(s, on, fi)
        lo, hi = larger(first, -at), smaller(last, n - at)
        if k > 0:
            end = wave[T_OFF, k - 1] if wave[T_OFF, k - 1] >= 0 else wave[CENTRE, k - 1] + C.T_NONE * fi
            lo = larger(lo, int(end) - at)
        if k < beats - 1 and wave[ON, k + 1] >= 0:
            hi = smaller(hi, int(wave[ON, k + 1] - 0.01 * fi) - at)
        if lo < hi:
            count[lo] += 1.0  # differences first, summed below
            count[hi] -= 1.0
            sign = parity(k, alternate)
            into, own = mean[lo:hi], y[at + lo : at + hi]  # from 0 on: an index that may be negative is not vectorised
            for j in range(len(into)):
                into[j] += sign * (own[j] - level)
    beats_here, enough = 0.0, larger(1.0, 0.5 * group)
    for j in range(first, last):
        beats_here += count[j]
        count[j] = beats_here
    lo, hi = before, before
    while lo > first and count[lo - 1] >= enough:
        lo -= 1
    while hi < last and count[hi] >= enough:
        hi += 1
    into, own = mean[lo:hi], count[lo:hi]
    for j in range(len(into)):
        into[j] *= 1.0 / own[j]
    mean[first:lo] = mean[lo] if lo < hi else 0.0
    mean[hi:last] = mean[hi - 1] if lo < hi else 0.0
    prefix_sums(mean[first:last], last - first, ms)
    return lo, hi


@jit
def trend_lane(v, half, lane):
    total = 0.0
    for j in range(lane, len(v), LANES):
        total += v[j] * (j - half)
    return total


@jit
def trend_of(v, half):
    """Sum of v weighted with the distance from its middle."""
    return fold(
        trend_lane(v, half, 0), trend_lane(v, half, 1), trend_lane(v, half, 2), trend_lane(v, half, 3),
        trend_lane(v, half, 4), trend_lane(v, half, 5), trend_lane(v, half, 6), trend_lane(v, half, 7),
    )  # fmt: skip


@jit
def freed_lane(v, level, trend, w, level_w, trend_w, half, lane):
    total = 0.0
    for j in range(lane, len(v), LANES):
        total += (v[j] - level - trend * (j - half)) * (w[j] - level_w - trend_w * (j - half))
    return total


@jit
def freed_product(v, level, trend, w, level_w, trend_w, half):
    """<v, w>, each freed from its linear trend."""
    return fold(
        freed_lane(v, level, trend, w, level_w, trend_w, half, 0),
        freed_lane(v, level, trend, w, level_w, trend_w, half, 1),
        freed_lane(v, level, trend, w, level_w, trend_w, half, 2),
        freed_lane(v, level, trend, w, level_w, trend_w, half, 3),
        freed_lane(v, level, trend, w, level_w, trend_w, half, 4),
        freed_lane(v, level, trend, w, level_w, trend_w, half, 5),
        freed_lane(v, level, trend, w, level_w, trend_w, half, 6),
        freed_lane(v, level, trend, w, level_w, trend_w, half, 7),
    )


@jit
def coherence(y, n, wave, b0, b1, before, first, mean, lo, hi, after_t, alternate):
    """Mean correlation of a beat's window lo .. hi with the other beats' mean, each freed from its linear trend.

    sum_k <z_k, p_-k> / sum_k <z_k, z_k>, z_k the windows, p_-k the mean of all but k. Also how many beats have the
    window, and the RMS of what they do not share as it is left in their mean.
    """
    m = hi - lo + 1
    lo, hi = lo + first, hi + first
    if m < 4:
        return 0.0, 0, 0.0
    half, tt = 0.5 * (m - 1), m * (m * m - 1.0) / 12.0  # tt: the sum of the squared distances from the middle
    usual = mean[lo : lo + m]
    level_w, trend_w = total_of(usual) / m, trend_of(usual, half) / tt
    shared, power, group = 0.0, 0.0, 0
    for k in range(b0, b1):
        at = int(wave[CENTRE, k] + 0.5) - before
        if wave[LABEL, k] != 1.0 or at + lo < 0 or at + hi >= n:
            continue
        if after_t and k > 0 and wave[T_OFF, k - 1] > at + lo + 2:
            continue
        own = y[at + lo : at + lo + m]
        level, trend = total_of(own) / m, trend_of(own, half) / tt
        power += freed_product(own, level, trend, own, level, trend, half)
        shared += parity(k, alternate) * freed_product(own, level, trend, usual, level_w, trend_w, half)
        group += 1
    if group < 2:
        return 0.0, group, 0.0
    r = (group * shared / power - 1.0) / (group - 1.0) if power > 0.0 else 0.0
    return r, group, math.sqrt(larger(0.0, 1.0 - r) * power / m) / group


@jit
def no_evidence_of_t(r, n, noise, irregular, strict):
    """Whether beats enough, whose mean would show a T wave, share no more than noise does (a small F ratio)."""
    if n < 3 or noise > C.T_NOISE or irregular > C.T_IRREGULAR:
        return False
    return 1.0 + (n - 1) * r < (C.T_EVIDENCE_STRICT if strict else C.T_EVIDENCE) * (1.0 - r)


@jit
def block_rhythm(wave, b0, b1, rr):
    """Median RR (s) of the beats b0 .. b1 - 1, and the median change of RR as a share of it; 0 of an RR of 0."""
    m = 0
    for k in range(larger(b0, 1), b1):
        rr[m] = wave[RR, k]
        m += 1
    typical = median_of(rr, m) if m > 0 else 0.9
    m = 0
    for k in range(larger(b0, 1), b1 - 1):
        rr[m] = abs(wave[RR, k + 1] - wave[RR, k])
        m += 1
    return typical, median_of(rr, m) / typical if typical > 0.0 else 0.0


@jit
def meet(s, n, wave, k, fi):
    """Where the T wave of beat k - 1 overlaps the P wave of beat k, they end at the lowest point between their peaks.

    Lowest in the direction of both: of two positive waves the least sample, of two negative ones the largest, of one
    of each the one nearest to the level before the QRS complex.
    """
    if wave[T_OFF, k - 1] < 0 or wave[P_OFF, k] < 0 or wave[T_OFF, k - 1] <= wave[P_ON, k]:
        return
    h = width(C.QRS_SLOPE, fi)
    left = smaller(larger(int(wave[T_PEAK, k - 1]), h), n - 1 - h)
    right = smaller(larger(int(wave[P_PEAK, k]), h), n - 1 - h)
    level = level_before(s, smaller(larger(int(wave[ON, k]), 0), n - 1), fi)
    t = 1.0 if box(s, left, h) > level else -1.0
    p = 1.0 if box(s, right, h) > level else -1.0
    least, at = math.inf, -1
    for i in range(left + 1, right):
        v = box(s, i, h) - level
        v = larger(t * v, p * v)
        if v < least:
            least, at = v, i
    if at >= 0:
        wave[T_OFF, k - 1] = at
        wave[P_ON, k] = at


@jit
def order(out, beats, latest, earliest, samples):
    """Makes the waves of a lead, out (8, P), follow each other in place; a wave without room becomes absent (-1).

    p_on < p_peak < p_off <= qrs_on <= R <= qrs_off <= t_on < t_peak < t_off <= p_on of the next beat; what is absent is
    left out. latest, earliest (P,): the last place of a QRS onset and the first of its offset, the R peak of a lead.
    """
    for k in range(beats):
        if out[ON, k] >= 0:
            out[ON, k], out[OFF, k] = smaller(out[ON, k], latest[k]), larger(out[OFF, k], earliest[k])
    for k in range(beats + 1):  # the gap between beats k - 1 and k
        low, high = 0, int(samples) - 1
        t, p = k - 1, k
        if k > 0:
            low = larger(0, int(out[OFF, t] if out[ON, t] >= 0 else earliest[t]))
        if k < beats and (out[ON, k] >= 0 or latest[k] >= 0):
            high = int(out[ON, k] if out[ON, k] >= 0 else latest[k])
        if k > 0 and k < beats and low > high:  # two QRS complexes overlap
            low = smaller(larger((low + high) // 2, int(earliest[t])), int(latest[k]))
            high = low
            if out[ON, t] >= 0:
                out[OFF, t] = low
            if out[ON, k] >= 0:
                out[ON, k] = high
        have_t, have_p = False, False
        if k > 0:
            have_t = out[T_PEAK, t] >= 0
        if k < beats:
            have_p = out[P_PEAK, k] >= 0
        if have_t and out[ON, t] >= 0 and out[T_PEAK, t] <= low and out[T_PEAK, t] - 1 >= earliest[t]:
            low = int(out[T_PEAK, t]) - 1
            out[OFF, t] = low
        if have_p and out[ON, p] >= 0 and out[P_PEAK, p] >= high and out[P_PEAK, p] + 1 <= latest[p]:
            high = int(out[P_PEAK, p]) + 1
            out[ON, p] = high
        if have_t:
            peak = int(out[T_PEAK, t])
            on = smaller(larger(int(out[T_ON, t]), low), peak - 1)
            off = larger(smaller(int(out[T_OFF, t]), high), peak + 1)
            if on < low or off > high:
                on, peak, off, have_t = -1, -1, -1, False
            out[T_ON, t], out[T_PEAK, t], out[T_OFF, t] = on, peak, off
        if have_p:
            peak = int(out[P_PEAK, p])
            on = smaller(larger(int(out[P_ON, p]), low), peak - 1)
            off = larger(smaller(int(out[P_OFF, p]), high), peak + 1)
            if on < low or off > high or (have_t and peak - out[T_PEAK, t] < 2):
                on, peak, off = -1, -1, -1
            elif have_t and out[T_OFF, t] > on:
                on = smaller(larger((int(out[T_OFF, t]) + on) // 2, int(out[T_PEAK, t]) + 1), peak - 1)
                out[T_OFF, t] = on
            out[P_ON, p], out[P_PEAK, p], out[P_OFF, p] = on, peak, off
