"""A record of any source as the store holds it: the standard 12 leads, one sampling rate, int16 with scales."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops._checks import STANDARD_LEADS
from .resample import resample
from .wfdb_source import MISSING_INT16, RESOLUTIONS, Record, RecordError, Rows, scan

_FULL_SCALE = 32767
_NAMED = 16  # signals left out that the table names
_UNIT = 1e-3  # mV per unit of a signal that had to be computed anew, unless its range needs more
_LIMB = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])  # each limb lead of I and II


def standardise(
    record: Record, fs: float, min_seconds: float = 5.0, scanned: Rows | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The 12 standard leads at `fs`.

    int16 samples that need no resampling keep their values (less the baseline) and their resolution, so that nothing is
    lost; all others are rounded to 1 uV, or to what their range needs.
    Leads are found by name, in any case. Where limb leads are absent, III, aVR, aVL and aVF follow from I and II
    (Einthoven: III = II - I; Goldberger: aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2), and these, where
    they are absent, from two others.

    scanned: `scan` of the record, if there is one.

    Returns:
        (12, T) int16, -32768 where a sample is missing, and (12,) float32 mV per unit.

    Raises:
        RecordError: too short, a standard lead absent or not a voltage, no sample present, every lead flat.
    """
    seconds = record.samples.shape[1] / record.fs
    if seconds < min_seconds:
        raise RecordError(f"it is {_digits(seconds, min_seconds)} s long; it must have at least {min_seconds:g} s")
    rows, derived = _pick(record)
    used = [i for i in rows if i is not None]
    all_scales = record.scale.tolist()
    for i in used:
        if math.isnan(all_scales[i]):
            raise RecordError(f"lead {record.leads[i]} is not in volts")
        if not RESOLUTIONS[0] <= abs(all_scales[i]) <= RESOLUTIONS[1]:
            raise RecordError(f"lead {record.leads[i]} has {all_scales[i]:.3g} mV per unit, which cannot be meant")
    samples = record.samples if used == [*range(len(record.samples))] else record.samples[used]
    low, high = _range(samples) if scanned is None else ([of[i] for i in used] for of in scanned[:2])
    spans = [b - a for a, b in zip(low, high, strict=True)]
    if not any(span >= 0 for span in spans):
        raise RecordError("every sample of the standard leads is missing")
    if not any(span > 0 for span in spans):
        raise RecordError("every standard lead is flat")
    scale, baseline = record.scale[used], record.baseline[used]
    if samples.dtype == np.int16 and record.fs == fs and not derived:
        lossless = _shift(samples, baseline, low, high)
        if lossless is not None:
            return lossless, scale.astype(np.float32)
    x = np.subtract(samples, baseline[:, None], dtype=np.float32)
    x *= scale[:, None].astype(np.float32)
    if samples.dtype == np.int16:
        x[samples == MISSING_INT16] = np.nan
    else:
        x[~np.isfinite(x)] = np.nan
    if record.fs != fs:
        x = resample(x, record.fs, fs)
    return _quantise(_derive(x, rows) if derived else x)


def origin(record: Record, fs: float) -> dict[str, str]:
    """What a store at `fs` says of how a record came to it, as cells of its table; no cell where there is nothing.

    own_fs: the sampling rate in Hz at which the standard leads were recorded where that is not `fs`, as "257", or by
    lead where they differ ("V5 125|V6 125"). left_out: its signals that are not voltages, as "ABP (mmHg)|Resp (Ohm)".
    """
    cells: dict[str, str] = {}
    if record.fs != fs or any(rate != fs for rate in record.own_fs):
        rates = record.own_fs or (record.fs,) * len(record.leads)
        own = {
            lead: rates[row] for lead, row in zip(STANDARD_LEADS, _rows(record.leads), strict=True) if row is not None
        }
        if len(set(own.values())) == 1:
            own = {"": next(iter(own.values()))}
        text = "|".join(f"{lead} {rate:.10g}".strip() for lead, rate in own.items() if rate != fs)
        cells |= {"own_fs": text} if text else {}
    if record.left_out:
        more = len(record.left_out) - _NAMED
        names = [name.replace("|", "/") for name in record.left_out[:_NAMED]]
        cells["left_out"] = "|".join([*names, *([f"and {more} more"] if more > 0 else [])])
    return cells


def _range(x: np.ndarray) -> tuple[Sequence[float], Sequence[float]]:
    """Smallest and largest present sample per lead; the smallest is the larger for a lead without any."""
    if x.dtype == np.int16:
        rows = scan(x)
        return rows.low, rows.high
    present = np.isfinite(x)
    return np.where(present, x, np.inf).min(axis=1).tolist(), np.where(present, x, -np.inf).max(axis=1).tolist()


def _digits(seconds: float, least: float) -> str:
    """As many digits as show that it is less: 4.998, not 5."""
    return next(text for n in range(3, 18) if float(text := f"{seconds:.{n}g}") < least)


def _rows(leads: list[str]) -> list[int | None]:
    """Row of each standard lead, None where it is absent."""
    return list(_rows_of(tuple(leads)))


@functools.lru_cache(maxsize=64)  # the same in every record of a collection
def _rows_of(leads: tuple[str, ...]) -> list[int | None]:
    names = [name.strip().casefold() for name in leads]
    return [names.index(lead.casefold()) if lead.casefold() in names else None for lead in STANDARD_LEADS]


def _pick(record: Record) -> tuple[list[int | None], bool]:
    """Row of each standard lead, None for a limb lead to be derived, and whether there is one."""
    rows = _rows(record.leads)
    absent = [lead for lead, row in zip(STANDARD_LEADS, rows, strict=True) if row is None]
    if absent and not (_can_derive(rows) and all(lead in STANDARD_LEADS[:6] for lead in absent)):
        has = ", ".join(name or "?" for name in record.leads[:16])
        others = f"; not in volts: {', '.join(record.left_out[:16])}" if record.left_out else ""
        raise RecordError(f"it has {len(record.leads)} leads ({has}) and lacks {', '.join(absent)}{others}")
    return rows, bool(absent)


def _can_derive(rows: list[int | None]) -> bool:
    return sum(row is not None for row in rows[:6]) >= 2  # no two of the six lie along one axis


def _derive(x: np.ndarray, rows: list[int | None]) -> np.ndarray:
    """The standard leads of those that are there, in their order; absent limb leads by the equations above."""
    given = iter(x)
    absent = np.full(x.shape[1], np.nan, x.dtype)
    y = np.array([next(given) if row is not None else absent for row in rows])
    if not _can_derive(rows):
        return y
    one, two = y[0], y[1]
    if rows[0] is None or rows[1] is None:
        a, b = [k for k in range(6) if rows[k] is not None][:2]
        (p, q), (r, s) = np.linalg.inv(_LIMB[[a, b]]).astype(x.dtype)
        one, two = p * y[a] + q * y[b], r * y[a] + s * y[b]
    limbs = (one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2)
    for k, lead in enumerate(limbs):
        if rows[k] is None:
            y[k] = lead
    return y


def standard_leads(x: np.ndarray, leads: list[str]) -> np.ndarray:
    """(L, T) leads as the 12 standard ones, (12, T): by name, absent limb leads from two others, the rest NaN."""
    rows = _rows(leads)
    return _derive(x[[row for row in rows if row is not None]], rows)


def _shift(samples: np.ndarray, baseline: np.ndarray, low: Any, high: Any) -> np.ndarray | None:
    """samples - baseline as int16, or None where that does not fit."""
    if not baseline.any():
        return samples
    some = np.greater_equal(high, low)
    low, high = np.where(some, low, baseline), np.where(some, high, baseline)
    if (baseline != np.rint(baseline)).any() or (low - baseline < -_FULL_SCALE).any():
        return None
    if (high - baseline > _FULL_SCALE).any():
        return None
    present = samples != MISSING_INT16
    return np.where(present, samples - baseline[:, None].astype(np.int32), MISSING_INT16).astype(np.int16)


def _quantise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    missing = np.isnan(x)
    x[missing] = 0.0
    scale = np.maximum(_UNIT, np.abs(x).max(axis=1) / _FULL_SCALE).astype(np.float32)
    x /= scale[:, None]
    signal = np.rint(x, out=x).astype(np.int16)
    signal[missing] = MISSING_INT16
    return signal, scale
