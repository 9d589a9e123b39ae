"""What needs more leads than the one that is measured: pacing spikes, and the mean of the leads. Compiled by Numba.

Scalar code like that of `features`; times in samples of a 500 Hz record.
"""

import math

from numba import float32, int32, types, uint8

from .features import array, jit, jit_range
from .scalar import F, larger, smaller, spikes

SOURCES = "ac6b79457cae67e5"  # as in `delineate`: the cached code holds code of scalar.py

SPIKE_FROM, SPIKE_TO, SPIKE_HALF = F["PACED_FROM"], F["PACED_TO"], F["PACED_HALF"]


@jit
def leads_with_spike(record, r, first, stop, step):
    """In how many of the leads range(first, stop, step) a ventricular pacing spike goes before the R peak at r."""
    a, b = larger(r - SPIKE_FROM - 6, 0), smaller(r + SPIKE_TO + 6, record.shape[1])
    seen = 0
    if b - a > 12:
        for lead in range(first, stop, step):
            if spikes(record[lead, a:b], SPIKE_HALF) > 0:
                seen += 1
    return seen


@jit
def paced_record(record, rpeaks, paced):
    """Marks the beats led by a ventricular pacing spike, seen on two leads (on the only one where there is one).

    Every third lead is looked at (of twelve II, aVL, V2, V5): a spike shows in nearly all of them. To spare the memory
    of leads that nothing else reads, a record is looked through only if the first of them, or at every fourth beat any
    of them, shows a spike.
    """
    leads = record.shape[0]
    step, first = (3, 1) if leads >= 6 else (1, 0)
    suspect = False
    for k in range(rpeaks.size):
        paced[k] = 0
        if rpeaks[k] >= 0 and not suspect:
            stop = leads if k % 4 == 1 else smaller(first + 1, leads)  # a record may have no lead at all
            suspect = leads_with_spike(record, rpeaks[k], first, stop, step) > 0
    if suspect:
        for k in range(rpeaks.size):
            if rpeaks[k] >= 0:
                paced[k] = leads_with_spike(record, rpeaks[k], first, leads, step) >= smaller(2, leads)


@jit
def mean_of_leads(record, i):
    """Mean of the leads present at sample i; NaN where there is none."""
    total, seen = 0.0, 0
    for lead in range(record.shape[0]):
        if math.isfinite(record[lead, i]):
            total += record[lead, i]
            seen += 1
    return total / seen if seen > 0 else math.nan


@jit_range(array(float32, 3), array(int32, 2), types.Array(uint8, 2, "C"))
def paced_range(start, stop, ecg, rpeaks, paced):
    """Records start .. stop - 1 of ecg (B, L, T), rpeaks (B, P), into paced (B, P)."""
    for n in range(start, stop):
        paced_record(ecg[n], rpeaks[n], paced[n])


@jit_range(array(float32, 3), types.Array(float32, 3, "C"))
def mean_lead_range(start, stop, ecg, out):
    """out (B, 1, T): the mean of the leads present at each sample."""
    for n in range(start, stop):
        for i in range(ecg.shape[2]):
            out[n, 0, i] = mean_of_leads(ecg[n], i)
