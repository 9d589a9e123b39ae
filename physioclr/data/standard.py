"""A record of any source as the store holds it: the standard 12 leads, one sampling rate, int16 with scales."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np

from ..ops._arrays import STANDARD_LEADS
from .wfdb_source import MISSING_INT16, Record, RecordError

_FULL_SCALE = 32767
_RESOLUTIONS = (1e-8, 1e3)  # mV per unit that a header may state
_UNIT = 1e-3  # mV per unit of a signal that had to be computed anew, unless its range needs more


def standardise(record: Record, fs: float, min_seconds: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """The 12 standard leads at `fs`.

    int16 samples that need no resampling keep their values (less the baseline) and their resolution, so that nothing is
    lost; all others are rounded to 1 uV, or to what their range needs.
    Leads are found by name, in any case. Where limb leads are absent, III, aVR, aVL and aVF follow from I and II
    (Einthoven: III = II - I; Goldberger: aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2).

    Returns:
        (12, T) int16, -32768 where a sample is missing, and (12,) float32 mV per unit.

    Raises:
        RecordError: too short, a standard lead absent or not a voltage, no sample present, every lead flat.
    """
    seconds = record.samples.shape[1] / record.fs
    if seconds < min_seconds:
        raise RecordError(f"it is {seconds:.3g} s long; it must have at least {min_seconds:g} s")
    rows, derived = _pick(record.leads)
    used = [i for i in rows if i is not None]
    for i in used:
        if np.isnan(record.scale[i]):
            raise RecordError(f"lead {record.leads[i]} is not in volts")
        if not _RESOLUTIONS[0] <= abs(record.scale[i]) <= _RESOLUTIONS[1]:
            raise RecordError(f"lead {record.leads[i]} has {record.scale[i]:.3g} mV per unit, which cannot be meant")
    samples = record.samples[used]
    present = samples != MISSING_INT16 if samples.dtype == np.int16 else np.isfinite(samples)
    low, high = _range(samples, present)
    if not present.any():
        raise RecordError("every sample of the standard leads is missing")
    if not (high > low).any():
        raise RecordError("every standard lead is flat")
    scale, baseline = record.scale[used], record.baseline[used]
    if samples.dtype == np.int16 and record.fs == fs and not derived:
        lossless = _shift(samples, present, baseline, low, high)
        if lossless is not None:
            return lossless, scale.astype(np.float32)
    x = np.subtract(samples, baseline[:, None], dtype=np.float32)
    x *= scale[:, None].astype(np.float32)
    x[~present] = np.nan
    if record.fs != fs:
        x = resample(x, record.fs, fs)
    return _quantise(_derive(x, rows) if derived else x)


def _range(x: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest present sample per lead; (0, 0) for a lead without any."""
    if present.all():
        return x.min(axis=1), x.max(axis=1)
    some = present.any(axis=1)
    top = np.inf if x.dtype.kind == "f" else _FULL_SCALE
    low = np.where(some, np.where(present, x, top).min(axis=1), 0)
    return low, np.where(some, np.where(present, x, -top).max(axis=1), 0)


def _pick(leads: list[str]) -> tuple[list[int | None], bool]:
    """Row of each standard lead, None for a limb lead to be derived, and whether there is one."""
    names = [name.strip().casefold() for name in leads]
    rows = [names.index(lead.casefold()) if lead.casefold() in names else None for lead in STANDARD_LEADS]
    absent = [lead for lead, row in zip(STANDARD_LEADS, rows, strict=True) if row is None]
    derivable = rows[0] is not None and rows[1] is not None and all(lead in STANDARD_LEADS[2:6] for lead in absent)
    if absent and not derivable:
        has = ", ".join(name or "?" for name in leads[:16])
        raise RecordError(f"it has {len(leads)} leads ({has}) and lacks {', '.join(absent)}")
    return rows, bool(absent)


def _derive(x: np.ndarray, rows: list[int | None]) -> np.ndarray:
    given = iter(x)
    absent = np.full(x.shape[1], np.nan, x.dtype)
    y = np.array([next(given) if row is not None else absent for row in rows])
    one, two = y[0], y[1]
    for k, lead in enumerate((two - one, -(one + two) / 2, one - two / 2, two - one / 2), start=2):
        if rows[k] is None:
            y[k] = lead
    return y


def _shift(samples: np.ndarray, present: np.ndarray, baseline: np.ndarray, low, high) -> np.ndarray | None:
    """samples - baseline as int16, or None where that does not fit."""
    if not baseline.any():
        return samples
    if (baseline != np.rint(baseline)).any() or (low - baseline < -_FULL_SCALE).any():
        return None
    if (high - baseline > _FULL_SCALE).any():
        return None
    return np.where(present, samples - baseline[:, None].astype(np.int32), MISSING_INT16).astype(np.int16)


def _quantise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    missing = np.isnan(x)
    x[missing] = 0.0
    scale = np.maximum(_UNIT, np.abs(x).max(axis=1) / _FULL_SCALE).astype(np.float32)
    x /= scale[:, None]
    signal = np.rint(x, out=x).astype(np.int16)
    signal[missing] = MISSING_INT16
    return signal, scale


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
        t = np.arange(length)
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
        y = resample_poly(longer, up, down, axis=1, padtype=beyond_ends)
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
    from ._numba_decimate import decimate

    reach = 10 * down
    longer = np.pad(x, ((0, 0), (reach, reach)))
    out = np.empty((len(x), -(-x.shape[1] // down)), x.dtype)
    decimate(longer, _low_pass(down).astype(x.dtype), down, out)
    return out
