"""Delineation and features on a CUDA device: the scalar functions of the files beside this one, compiled by numba.cuda.

One thread works on one lead of one record, from its samples to its results, as one turn of the loop does on the CPU.
Scratch memory has one column for each thread (its last axis), so that the threads of a warp, which run through their
records in step, read and write neighbouring words. A grid of fewer threads than records goes round again.

`numba.cuda` comes with the numba-cuda package or, in older versions, with Numba; either compiles these kernels, and so
does its simulator (NUMBA_ENABLE_CUDASIM=1). Only ``gpu`` launches them.
"""

import math

from numba import cuda

from ..._jit import cuda_jit
from . import constants as C
from .delineate import consensus, delineate_lead
from .features import record_features
from .leads import mean_of_leads, paced_record
from .waves import fill_gaps, internal_factors, width

# As in `delineate`: the cached kernels hold code of these files, in this order: constants.py,
# weights.py, scalar.py, waves.py, qrs.py, beats.py, delineate.py,
# sums.py, features.py, leads.py.
SOURCES = "357f8aaf9a32b222"

FLAT_SCRATCH = C.BLOCK + 16  # float64 beside the long arrays: RR intervals, and the findings about a wave (6, 5 and 5)


def scratch_lengths(samples: int, fs: float) -> tuple[int, int]:
    """(samples at the internal rate, samples of the averaging window) that a thread of `delineate_kernel` needs."""
    q, u = internal_factors(fs)
    fi = fs / q * u
    window = width(C.BEFORE, fi) + width(C.AFTER, fi) + 2
    return max(samples // q if u == 1 else (samples - 1) * u + 1, window) + 2, window


@cuda_jit(cache=True)
def rpeaks_kernel(rpeaks, samples, out):
    """R peaks (B, P) as int32, up to the first that does not rise or leaves the record; -1 from there on."""
    b = cuda.grid(1)
    if b < rpeaks.shape[0]:
        before = -1
        for k in range(rpeaks.shape[1]):
            r = rpeaks[b, k]
            good = r > before and r < samples
            if not good:
                before = samples  # nothing can follow
            else:
                before = r
            out[b, k] = r if good else -1


@cuda_jit(cache=True)
def mean_lead_kernel(ecg, out):
    """out (B, 1, T): the mean of the leads of ecg (B, L, T). One thread for each sample."""
    i = cuda.grid(1)
    if i < out.shape[0] * out.shape[2]:
        b, at = i // out.shape[2], i % out.shape[2]
        out[b, 0, at] = mean_of_leads(ecg[b], at)


@cuda_jit(cache=True)
def delineate_kernel(ecg, leads, rpeaks, fs, out, signal, window, flat, bad, wave, seed):
    """Lead leads[j] of ecg (B, L, T) into out (8, B, at least len(leads), P), row j.

    Scratch of n threads: signal (3, length, n), window (3, window, n), flat (FLAT_SCRATCH, n) and wave (ROWS, P, n) in
    float64, bad (length, n) in int32, seed (2, CLUSTERS, n) in int64.
    """
    thread, threads = cuda.grid(1), signal.shape[2]
    if thread < threads:
        for item in range(thread, ecg.shape[0] * leads.size, threads):
            b, j = item // leads.size, item % leads.size
            for f in range(8):
                for k in range(out.shape[3]):
                    out[f, b, j, k] = -1
            delineate_lead(
                ecg[b, leads[j]], fs, rpeaks[b], out[:, b, j],
                signal[0, :, thread], signal[1, :, thread], signal[2, :, thread], bad[:, thread], wave[:, :, thread],
                flat[: C.BLOCK, thread], window[0, :, thread], window[1, :, thread], window[2, :, thread],
                seed[:, :, thread], flat[C.BLOCK : C.BLOCK + 6, thread], flat[C.BLOCK + 6 : C.BLOCK + 11, thread],
                flat[C.BLOCK + 11 : C.BLOCK + 16, thread],
            )  # fmt: skip


@cuda_jit(cache=True)
def consensus_kernel(out, scratch):
    """The last row of out (8, B, L + 1, P); scratch (L, B)."""
    b = cuda.grid(1)
    if b < out.shape[1]:
        consensus(out[:, b], scratch[:, b])


@cuda_jit(cache=True)
def paced_kernel(ecg, rpeaks, paced):
    """Which beats a pacing spike leads, (B, P)."""
    b = cuda.grid(1)
    if b < ecg.shape[0]:
        paced_record(ecg[b], rpeaks[b], paced[b])


@cuda_jit(cache=True)
def features_kernel(record, leads, rpeaks, paced, waves, segment, bazett, taps, out, rows):
    """record (B, L, T), leads (K,), waves (8, B, K, P) into out (B, S, K, 159); rows (N_ROWS, width, threads)."""
    thread, threads = cuda.grid(1), rows.shape[2]
    if thread < threads:
        for item in range(thread, record.shape[0] * leads.size, threads):
            b, j = item // leads.size, item % leads.size
            record_features(
                record[b], record[b, leads[j]], rpeaks[b], paced[b], waves[:, b, j], segment, bazett != 0, taps,
                rows[:, :, thread], out[b, :, j],
            )  # fmt: skip


@cuda_jit(cache=True)
def paced_segments_kernel(rpeaks, paced, segment, out):
    """out (B, S): whether a beat of the segment is paced."""
    b = cuda.grid(1)
    if b < rpeaks.shape[0]:
        for s in range(out.shape[1]):
            out[b, s] = False
        for k in range(rpeaks.shape[1]):
            if rpeaks[b, k] >= 0 and paced[b, k] != 0:
                s = int(rpeaks[b, k] / segment)
                if s < out.shape[1]:
                    out[b, s] = True


@cuda_jit(cache=True)
def fill_gaps_kernel(ecg, filled, bad):
    """Bridges what is missing in each row of ecg (N, T); bad (N, T + 1): prefix counts of it."""
    n = cuda.grid(1)
    if n < ecg.shape[0]:
        for i in range(ecg.shape[1]):
            v = ecg[n, i]
            filled[n, i] = v if math.isfinite(v) else math.nan
        fill_gaps(filled[n], ecg.shape[1], bad[n])


@cuda_jit(cache=True)
def resample_kernel(x, bad, taps, up, down, out):
    """Rows of x (N, T) at up / down of their rate; taps: the filter at `up` times their rate, its centre in the middle.

    Beyond its ends a row goes on as the straight line through its first and its last sample (the "line" padding of
    scipy.signal.resample_poly). A sample is missing where one of its two neighbours was. A thread for each sample.
    """
    at = cuda.grid(1)
    if at >= out.shape[0] * out.shape[1]:
        return
    n, i = at // out.shape[1], at % out.shape[1]
    last, half = x.shape[1] - 1, taps.size // 2
    left, right = i * down // up, (i * down + up - 1) // up
    if left > last:
        left = last
    if right > last:
        right = last
    if bad[n, left + 1] > bad[n, left] or bad[n, right + 1] > bad[n, right]:
        out[n, i] = math.nan
        return
    first = float(x[n, 0])
    rise = (float(x[n, last]) - first) / last if last > 0 else 0.0
    total = 0.0
    centre = half + i * down
    k = -((taps.size - 1 - centre) // up)  # the first that the filter reaches
    while centre - k * up >= 0:
        v = first + rise * k if k < 0 else float(x[n, last]) + rise * (k - last) if k > last else float(x[n, k])
        total += taps[centre - k * up] * v
        k += 1
    out[n, i] = total


@cuda_jit(cache=True)
def rescale_rpeaks_kernel(rpeaks, ratio, samples, out):
    """R peaks (B, P) at another rate: the nearest sample, of two the even one; padding stays."""
    i = cuda.grid(1)
    if i < rpeaks.shape[0] * rpeaks.shape[1]:
        b, k = i // rpeaks.shape[1], i % rpeaks.shape[1]
        if rpeaks[b, k] < 0:
            out[b, k] = -1
        else:
            at = rpeaks[b, k] * ratio
            nearest = int(at + 0.5)
            if nearest - at == 0.5 and nearest % 2 == 1:
                nearest -= 1
            out[b, k] = nearest if nearest < samples else samples - 1
