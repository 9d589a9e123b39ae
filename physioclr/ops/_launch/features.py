"""Features: on the CPU Numba over records, threads from `_pool`, the delineation inside; on a GPU see `numba_gpu`.

Order of work: select the leads, bring everything to 500 Hz, find R peaks and boundaries, measure.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from .. import _pool
from .._arrays import FLOATS, Arrays, check_choice, check_dtype, check_fs, check_ndim, check_number
from .._feature_names import N_FEATURES
from .delineate import check_rpeaks, delineate_shape, mean_lead
from .rpeaks import detect_rpeaks

FS = 500.0  # P duration shifts by 0.7 SD at 250 Hz
MEAN_LEAD = -1  # in the list of lead indices
BLOCK = 16  # records that pass through all steps before the next ones, while their samples are in the cache
QTC = ("fridericia", "bazett")


def features_shape(
    ecg: Any, fs: float, rpeaks: Any, leads: list[int], segment: float | None, qtc: str
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Checks everything that shapes and settings can tell; the shapes of features and paced. Also the fake kernel."""
    check_ndim(ecg, "ecg", (2, 3), "(records, samples) or (records, leads, samples)")
    check_dtype(ecg, "ecg", FLOATS)
    check_fs(fs)
    check_choice(qtc, "qtc", QTC)
    n, samples, k = ecg.shape[0], ecg.shape[-1], len(leads)
    if rpeaks is not None:
        delineate_shape(ecg, fs, rpeaks, "mean")
    if ecg.ndim == 2:
        leads = [0]
    n_leads = 1 if ecg.ndim == 2 else ecg.shape[1]
    if not k:
        raise ValueError("lead is an empty list; it must name at least one lead")
    if not all(MEAN_LEAD <= lead < n_leads for lead in leads):
        raise ValueError(f"leads is {list(leads)}; it must be from 0 to {n_leads - 1}, or {MEAN_LEAD} for their mean")
    if segment is None:
        return (n, k * N_FEATURES), (n,)
    check_number(segment, "segment", 1.0, 86400.0, unit="s")
    segments = int(samples / fs / segment + 1e-9)
    if segments == 0:
        raise ValueError(f"segment is {segment:g} s; it must be at most the {samples / fs:g} s of a record")
    return (n, segments, k * N_FEATURES), (n, segments)


@cache
def slope_taps(n: int = 32) -> np.ndarray:
    """The difference of adjacent samples after a 40 Hz low-pass, as one symmetric filter of n taps.

    The low-pass is 1 / (1 + (f / f0)^4), a second-order Butterworth run forwards and backwards, 3 dB down at 40 Hz. Its
    impulse response, with a = 2 pi f0 / sqrt(2): exp(-a |t|) (cos a t + sin a |t|), up to scale.
    """
    a = np.sqrt(2) * np.pi * 40.0 / (np.sqrt(2) - 1) ** 0.25 / FS
    t = np.abs(np.arange(1 - n // 2, n // 2))
    h = np.exp(-a * t) * (np.cos(a * t) + np.sin(a * t))
    h /= h.sum()
    return (np.append(0.0, h) - np.append(h, 0.0)).astype(np.float32)


def resample(x: np.ndarray, fs: float) -> np.ndarray:
    """x (..., T) at 500 Hz, in float32. Missing samples are bridged for the filter and missing again in the result."""
    from scipy.signal import resample_poly

    ratio = Fraction(FS / fs).limit_denominator(1000)
    missing = ~np.isfinite(x)
    if missing.any():
        at = np.arange(x.shape[-1])
        x = x.copy()
        for row, gone in zip(x.reshape(-1, x.shape[-1]), missing.reshape(-1, x.shape[-1]), strict=True):
            if gone.any():
                row[gone] = 0.0 if gone.all() else np.interp(at[gone], at[~gone], row[~gone])
    up, down = ratio.numerator, ratio.denominator
    y = resample_poly(x, up, down, axis=-1, padtype="line", window=("kaiser", 7.0)).astype(np.float32)
    if missing.any():  # a sample is missing where one of its two neighbours was
        at = np.arange(y.shape[-1]) * (fs / FS)
        last = x.shape[-1] - 1
        y[missing[..., np.minimum(at.astype(int), last)] | missing[..., np.minimum(np.ceil(at).astype(int), last)]] = (
            np.nan
        )
    return np.ascontiguousarray(y)


def to_500hz(x: np.ndarray, r: np.ndarray | None, fs: float) -> tuple[np.ndarray, np.ndarray | None]:
    if fs == FS or not x.size:
        return x, r
    y = resample(x, fs)
    if r is not None:
        r = np.where(r < 0, -1, np.minimum(np.rint(r * (FS / fs)), y.shape[-1] - 1)).astype(np.int32)
    return y, r


def physio_features(
    xp: Arrays,
    ecg: Any,
    fs: float,
    rpeaks: Any = None,
    leads: list[int] | tuple[int, ...] = (0,),
    segment: float | None = None,
    qtc: str = "fridericia",
) -> tuple[Any, Any]:
    """Features (B, K * 159) or (B, S, K * 159); whether a ventricular pacing spike leads a beat, (B,) or (B, S)."""
    shape, paced_shape = features_shape(ecg, fs, rpeaks, leads, segment, qtc)
    fs = float(fs)
    if xp.device >= 0:
        return features_gpu(xp, ecg, fs, rpeaks, leads, segment, qtc, shape, paced_shape)
    x = xp.to_numpy(xp.contiguous(ecg if ecg.ndim == 3 else ecg[:, None, :], "float32"))
    r = None
    if rpeaks is not None:
        r = np.ascontiguousarray(xp.to_numpy(rpeaks))
        check_rpeaks(r, ecg.shape[-1])
        r = r.astype(np.int32, copy=False)
    x, r = to_500hz(x, r, fs)
    if r is None:
        r = np.ascontiguousarray(detect_rpeaks(Arrays(), x, FS)[0])
    features, paced = measure(x, r, leads if ecg.ndim == 3 else [0] * len(leads), segment, shape, qtc)
    if segment is None:
        found = (paced > 0).any(axis=1)
    else:
        of = np.where(r >= 0, r // (segment * FS), -1)  # each beat's segment
        found = np.stack([((of == s) & (paced > 0)).any(axis=1) for s in range(paced_shape[1])], axis=1)
    return xp.from_numpy(features.reshape(shape)), xp.from_numpy(found)


def features_gpu(
    xp: Arrays,
    ecg: Any,
    fs: float,
    rpeaks: Any,
    leads: Any,
    segment: float | None,
    qtc: str,
    shape: tuple[int, ...],
    paced_shape: tuple[int, ...],
) -> tuple[Any, Any]:
    from . import numba_gpu

    x = xp.contiguous(ecg if ecg.ndim == 3 else ecg[:, None, :], "float32")
    r = None if rpeaks is None else numba_gpu.usable_rpeaks(xp, rpeaks, x.shape[2])
    if fs != FS and x.shape[0] * x.shape[1] * x.shape[2]:
        x, r = numba_gpu.to_rate(xp, x, r, fs, FS)
    if r is None:
        r = detect_rpeaks(xp, x, FS)[0]
    segments = 1 if segment is None else shape[1]
    length = float("inf") if segment is None else segment * FS
    chosen = list(leads) if ecg.ndim == 3 else [0] * len(leads)
    features, paced = numba_gpu.measure(xp, x, r, chosen, segments, length, qtc == "bazett", slope_taps(), FS)
    return features.reshape(shape), paced.reshape(paced_shape)


def measure(
    x: np.ndarray, r: np.ndarray, leads: Any, segment: float | None, shape: tuple[int, ...], qtc: str
) -> tuple[np.ndarray, np.ndarray]:
    """Delineates and measures x (B, L, T) at 500 Hz, with its R peaks (B, P); features (B, S, K, 159), paced (B, P)."""
    n, k = len(x), len(leads)
    segments = 1 if segment is None else shape[1]
    features = np.empty((n, segments, k, N_FEATURES), np.float32)
    paced = np.zeros(r.shape, np.uint8)
    if not features.size:
        return features, paced
    from .. import _numba_features as kernels
    from .. import _numba_leads as leads_kernels
    from .._numba_delineate import delineate_range

    chosen, record, taps = np.array(leads, np.int64), x, slope_taps()
    if MEAN_LEAD in leads:  # it is one more lead of the record
        mean = mean_lead(x)
        alone = (chosen == MEAN_LEAD).all()
        record = mean if alone else np.concatenate([x, mean], axis=1)
        chosen[chosen == MEAN_LEAD] = 0 if alone else x.shape[1]
    length = float("inf") if segment is None else segment * FS
    bazett = qtc == "bazett"

    def work(start: int, stop: int) -> None:
        waves = np.empty(k * 8 * min(BLOCK, stop - start) * r.shape[1], np.int32)  # of one block: stays in the cache
        for a in range(start, stop, BLOCK):
            b = min(a + BLOCK, stop)
            m, block, peaks = b - a, record[a:b], r[a:b]
            found = waves[: k * 8 * m * r.shape[1]].reshape(k, 8, m, r.shape[1])
            for lead, one in zip(chosen, found, strict=True):
                delineate_range(0, m, block, lead, peaks, FS, one[:, :, None])
            leads_kernels.paced_range(0, m, x[a:b], peaks, paced[a:b])
            kernels.features_range(0, m, block, chosen, peaks, paced[a:b], found, length, bazett, taps, features[a:b])

    _pool.run(work, n)
    return features, paced
