"""The structured results. Fields are arrays of the caller's library; P is the static number of beat columns."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


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


def rpeaks_index(rpeaks: Any) -> Any:
    """The (B, P) index array of an `RPeaks`, or the array itself where the caller passed plain indices."""
    return rpeaks.index if isinstance(rpeaks, RPeaks) else rpeaks


def default_max_beats(samples: int, fs: float) -> int:
    """Beat columns for a record of this length: one beat each 0.2 s (300 per minute), and one more."""
    return math.ceil(samples / (0.2 * fs)) + 1
