"""The structured results. Fields are arrays of the caller's library; P is the static number of beat columns."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

# The odds of a wrong beat by quality, fitted by benchmarks/accuracy/quality_curve.py.
F1_SCALE, F1_END, F1_POWER = 0.816, 1.01, 2.685


class RPeaks(NamedTuple):
    """R peaks of B records.

    index: (B, P) int32 sample indices, rising, padded with -1.
    count: (B,) int32 number of peaks.
    quality: (B,) float32 in 0..1, how far the record can be trusted (0: flat or noise).
    """

    index: Any
    count: Any
    quality: Any

    def lists(self) -> list[np.ndarray]:
        """The R peaks of each record without the padding, int64 NumPy arrays: what neurokit2 and wfdb take."""
        index = self.index
        if hasattr(index, "detach"):
            index = index.detach().cpu().numpy()
        index = np.asarray(index.get() if hasattr(index, "get") else index)  # CuPy
        return [row[row >= 0].astype(np.int64) for row in index]

    def expected_f1(self) -> Any:
        """The F1 (at 150 ms) that R peaks of this quality have on average, (B,) float32 in 0..1; 0 without a beat.

        1 / (1 + 0.816 (1.01 - quality)^2.685), fitted to pieces of 10 s of one lead: the marked beats of MIT-BIH, QTDB
        and LUDB as recorded, and in electrode motion, muscle noise and baseline wander. On records kept aside it is
        right to 0.4 % on the whole and to 3 % in one kind of noise. Fused leads do up to 15 % better where it says 0.65
        to 0.9. The quality of a long record is a mean: cut it into pieces.
        """
        return (self.count > 0) / (1 + F1_SCALE * (F1_END - self.quality) ** F1_POWER)


class Delineation(NamedTuple):
    """Wave boundaries, each (B, P) int32 sample indices.

    With lead="all" each is (B, L + 1, P): the leads, then their consensus. Column k belongs to R
    peak k; -1 where the wave is absent or there is no such beat.
    """

    p_on: Any
    p_peak: Any
    p_off: Any
    qrs_on: Any
    qrs_off: Any
    t_on: Any
    t_peak: Any
    t_off: Any

    def intervals(self, fs: float) -> Intervals:
        """The durations between these boundaries, in ms; fs: the sampling rate of the signal, Hz."""
        return Intervals(
            p=_milliseconds(self.p_on, self.p_off, fs),
            pr=_milliseconds(self.p_on, self.qrs_on, fs),
            qrs=_milliseconds(self.qrs_on, self.qrs_off, fs),
            qt=_milliseconds(self.qrs_on, self.t_off, fs),
            t=_milliseconds(self.t_on, self.t_off, fs),
        )


class Intervals(NamedTuple):
    """Durations of each beat in ms, float32 arrays of the shape of a `Delineation`'s; NaN where a boundary is absent.

    p: P onset to offset. pr: P onset to QRS onset. qrs: QRS onset to offset. qt: QRS onset to T offset (not corrected
    for the heart rate). t: T onset to offset.
    """

    p: Any
    pr: Any
    qrs: Any
    qt: Any
    t: Any


def _milliseconds(start: Any, end: Any, fs: float) -> Any:
    """Between two arrays of sample indices, -1 for absent, of any library."""
    absent = (start < 0) | (end < 0)
    ms = (end - start) * (1000.0 / fs)
    ms = ms.float() if hasattr(ms, "float") else ms.astype("float32")  # torch; NumPy and CuPy
    ms[absent] = math.nan
    return ms


class HRV(NamedTuple):
    """Heart rate variability of B records, each (B,) float32, NaN where undefined, but for the last field.

    mean_nn: mean of the NN intervals, ms. mean_hr: 60,000 / mean_nn, beats per minute. sdnn: their SD, ms (ddof 1).
    rmssd: root mean square of the changes from one interval to the next, ms. pnn50: % of the intervals that change by
    more than 50 ms. cvnn: sdnn / mean_nn. cvsd: rmssd / mean_nn. lf, hf: power of the intervals in 0.04 to 0.15 and
    0.15 to 0.4 Hz, ms^2. lf_hf: lf / hf. ectopic: (B, P) bool, whether a beat is a candidate for an ectopic one.
    """

    mean_nn: Any
    mean_hr: Any
    sdnn: Any
    rmssd: Any
    pnn50: Any
    cvnn: Any
    cvsd: Any
    lf: Any
    hf: Any
    lf_hf: Any
    ectopic: Any


class Neighbors(NamedTuple):
    """The k most similar rows of each of N rows, best first.

    index: (N, k) int64 rows of `b` (of `a` where b is None), -1 where there are fewer than k.
    similarity: (N, k) float32, NaN where there are fewer than k.
    """

    index: Any
    similarity: Any


def rpeaks_index(rpeaks: Any) -> Any:
    """The (B, P) index array of an `RPeaks`, or the array itself where the caller passed plain indices; (P,), a list
    included, are those of one record."""
    if isinstance(rpeaks, RPeaks):
        return rpeaks.index
    if getattr(rpeaks, "ndim", None) == 1 and hasattr(rpeaks, "__getitem__") and not hasattr(rpeaks, "iloc"):
        return rpeaks[None]
    if isinstance(rpeaks, (list, tuple)) and rpeaks and all(isinstance(r, (int, np.integer)) for r in rpeaks):
        return [rpeaks]
    return rpeaks


def default_max_beats(samples: int, fs: float) -> int:
    """Beat columns for a record of this length: one beat each 0.2 s (300 per minute), and one more."""
    return math.ceil(samples / (0.2 * fs)) + 1
