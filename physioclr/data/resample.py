"""Leads at another sampling rate."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np

from .. import _core
from .wfdb_header import RecordError


def resample(x: np.ndarray, fs_in: float, fs_out: float) -> np.ndarray:
    """(L, T) at another rate, by polyphase filtering; a sample next to a missing one is missing.

    Gaps are bridged linearly before the filter, the ends continued by their point reflection: neither rings.
    """
    from scipy.signal import resample_poly

    ratio = Fraction(fs_out / fs_in).limit_denominator(5000)
    length = x.shape[1]
    if abs(float(ratio) * fs_in / fs_out - 1) * length > 0.5:
        raise RecordError(f"it cannot be resampled from {fs_in:g} to {fs_out:g} Hz")
    missing = ~np.isfinite(x)
    gaps = missing.any()
    if gaps:
        x = x.copy()
        t: np.ndarray = np.arange(length)
        for lead, gap in zip(x, missing, strict=True):
            lead[gap] = np.interp(t[gap], t[~gap], lead[~gap]) if not gap.all() else 0.0
    up, down = ratio.numerator, ratio.denominator
    beyond = 10 * max(1.0, down / up) + 1  # samples that scipy's filter reaches
    pad = min(down * math.ceil(beyond / down), (length - 1) // down * down)  # whole output samples, to cut off again
    head, tail = 2 * x[:, :1] - x[:, pad:0:-1], 2 * x[:, -1:] - x[:, -2 : -pad - 2 : -1]
    beyond_ends = "constant" if pad >= beyond else "line"  # "line", in float64, where the reflection is too short
    longer = np.concatenate([head, x, tail], axis=1)
    if up == 1 and pad >= beyond:
        y = every(longer, down)
    else:
        # The filter's phases differ by 0.05 % in what they make of a constant: an offset would become a ripple.
        offset = x.mean(axis=1, keepdims=True, dtype=np.float64).astype(x.dtype)
        y = resample_poly(longer - offset, up, down, axis=1, padtype=beyond_ends) + offset
    y = y[:, pad * up // down :][:, : -(-length * up // down)]
    if gaps:
        t = np.arange(y.shape[1]) * float(1 / ratio)
        for side in (np.floor, np.ceil):
            y[missing[:, np.minimum(side(t).astype(int), length - 1)]] = np.nan
    return y


@functools.lru_cache(maxsize=16)
def _low_pass(down: int) -> np.ndarray:
    """The filter of scipy.signal.resample_poly."""
    from scipy.signal import firwin

    return firwin(20 * down + 1, 1 / down, window=("kaiser", 5.0))


def every(x: np.ndarray, down: int) -> np.ndarray:
    """What scipy.signal.resample_poly(x, 1, down, axis=1) gives, sooner: (L, T) low-passed, every down-th sample."""
    reach = 10 * down
    longer = np.pad(x, ((0, 0), (reach, reach)))
    out = np.empty((len(x), -(-x.shape[1] // down)), x.dtype)
    kernel = _core.decimate_float32 if x.dtype == np.float32 else _core.decimate_float64
    kernel(-1, 0, x=longer, taps=_low_pass(down).astype(x.dtype), down=down, out=out)
    return out
