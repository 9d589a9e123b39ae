"""The order of the waves of one lead: what makes them follow each other without overlap."""

from __future__ import annotations

import numpy as np

from ..ops._numba import constants as C
from .waves import samples_in


def meet(signal, before, after):
    """Where a T wave (of beat `before`) overlaps the P wave after it, both end at the lowest point between their peaks.

    Lowest in the direction of both: of two positive waves the least sample, of two negative ones the largest, of one
    of each the one nearest to the level before the QRS complex.
    """
    if before["t_off"] is None or after["p_on"] is None or before["t_off"] <= after["p_on"]:
        return
    h = samples_in(C.QRS_SLOPE, signal.fi)
    left, right = (min(max(int(p), h), signal.n - 1 - h) for p in (before["t_peak"], after["p_peak"]))
    level = signal.level_before(min(max(int(after["qrs_on"]), 0), signal.n - 1))
    t, p = (1 if signal.level(i, h) > level else -1 for i in (left, right))
    between = range(left + 1, right)
    if len(between):
        heights = [max(t * (signal.level(i, h) - level), p * (signal.level(i, h) - level)) for i in between]
        before["t_off"] = after["p_on"] = float(between[int(np.argmin(heights))])


def order(out, beats, latest, earliest, samples):
    """Makes the waves of a lead, out (8, P), follow each other in place; a wave without room becomes absent (-1).

    p_on < p_peak < p_off <= qrs_on <= R <= qrs_off <= t_on < t_peak < t_off <= p_on of the next beat; what is absent is
    left out. latest, earliest (P,): the last place of a QRS onset and the first of its offset, the R peak of a lead.
    """
    p_on, p_peak, p_off, qrs_on, qrs_off, t_on, t_peak, t_off = out
    there = qrs_on[:beats] >= 0
    for found in np.flatnonzero(there):
        qrs_on[found] = min(qrs_on[found], latest[found])
        qrs_off[found] = max(qrs_off[found], earliest[found])
    for k in range(beats + 1):  # the gap between beats k - 1 and k
        low, high = 0, samples - 1
        if k > 0:
            low = max(0, qrs_off[k - 1] if there[k - 1] else earliest[k - 1])
        if k < beats and (there[k] or latest[k] >= 0):
            high = qrs_on[k] if there[k] else latest[k]
        if 0 < k < beats and low > high:  # two QRS complexes overlap
            low = high = min(max((low + high) // 2, earliest[k - 1]), latest[k])
            if there[k - 1]:
                qrs_off[k - 1] = low
            if there[k]:
                qrs_on[k] = high
        t = k - 1 if k > 0 and t_peak[k - 1] >= 0 else None
        p = k if k < beats and p_peak[k] >= 0 else None
        if t is not None and there[t] and t_peak[t] <= low and t_peak[t] - 1 >= earliest[t]:
            low = qrs_off[t] = t_peak[t] - 1
        if p is not None and there[p] and p_peak[p] >= high and p_peak[p] + 1 <= latest[p]:
            high = qrs_on[p] = p_peak[p] + 1
        if t is not None:
            t_on[t] = min(max(t_on[t], low), t_peak[t] - 1)
            t_off[t] = max(min(t_off[t], high), t_peak[t] + 1)
            if t_on[t] < low or t_off[t] > high:
                t_on[t] = t_peak[t] = t_off[t] = -1
                t = None
        if p is not None:
            p_on[p] = min(max(p_on[p], low), p_peak[p] - 1)
            p_off[p] = max(min(p_off[p], high), p_peak[p] + 1)
            if p_on[p] < low or p_off[p] > high or (t is not None and p_peak[p] - t_peak[t] < 2):
                p_on[p] = p_peak[p] = p_off[p] = -1
            elif t is not None and t_off[t] > p_on[p]:
                middle = (t_off[t] + p_on[p]) // 2
                t_off[t] = p_on[p] = min(max(middle, t_peak[t] + 1), p_peak[p] - 1)
