"""Stretches of exact zeros: what recorders and converters write where nothing was recorded."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from ..ops._checks import STANDARD_LEADS, check_fs
from .wfdb_source import MISSING_INT16, Record, Rows

ZERO_SECONDS = 0.2  # an ECG with noise in its last bit leaves 0 sooner, on one of its leads at least


def zeros_as_missing(ecg: npt.ArrayLike, fs: float, *, seconds: float = ZERO_SECONDS) -> np.ndarray:
    """A copy in which stretches of exact zeros over all leads are NaN, as `prepare` has them in a store.

    The rule: where every lead is exactly 0 for at least `seconds` on end, nothing was recorded (a zero-padded end, a
    gap that was filled). A lead that is 0 on its own is flat, and stays as it is; so does a record of zeros alone.

    Args:
        ecg: (..., L, T) or (T,) floating-point samples; each record (L, T) is looked at on its own.
        fs: sampling rate, Hz.
        seconds: the shortest stretch, greater than 0.

    Raises:
        ValueError, TypeError: an argument of the wrong kind; the message names it.
    """
    x, fs = np.array(ecg), check_fs(fs)
    if x.dtype.kind != "f" or x.ndim == 0:
        raise TypeError(f"ecg is {x.dtype} of {x.ndim} dimensions; it must be (leads, samples) of a floating dtype")
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds!r}; it must be greater than 0")
    for record in x.reshape(-1, *x.shape[-2:]) if x.ndim > 1 else [x[None]]:
        gap = zero_stretches(record == 0, fs, seconds)
        if gap is not None:
            record[:, gap] = np.nan
    return x


def zero_stretches(zero: np.ndarray, fs: float, seconds: float, ends: bool = False) -> np.ndarray | None:
    """(T,) bool, where `zero` (L, T) is true in all leads for long enough; None where it never is, or always.

    ends: at both ends of the record a stretch of any length counts.
    """
    least = max(1, int(np.ceil(seconds * fs - 1e-9)))
    if not ends and np.count_nonzero(zero[0]) < least:  # as in nearly every record: one lead tells
        return None
    all_zero = np.concatenate([[False], zero.all(axis=0), [False]])
    edges = np.flatnonzero(all_zero[1:] != all_zero[:-1]).reshape(-1, 2)
    n = len(all_zero) - 2
    long = edges[:, 1] - edges[:, 0] >= least
    if ends:
        long |= (edges[:, 0] == 0) | (edges[:, 1] == n)
    stretches = edges[long]
    if not len(stretches) or np.array_equal(stretches, [[0, n]]):
        return None
    gap = np.zeros(n, bool)
    for start, stop in stretches:
        gap[start:stop] = True
    return gap


def mark_zeros(record: Record, seconds: float, ends: bool = False, scanned: Rows | None = None) -> Record:
    """The record with its zero stretches missing; 0 is 0 mV, the sample that its header states as baseline.

    "All leads" are the standard leads that it has: a pressure or an acceleration beside them may go on.
    scanned: its samples are int16, and this is what they are.
    """
    if not seconds:
        return record
    rows, samples = _standard_rows(tuple(record.leads)), record.samples
    if not rows or not samples.shape[1]:
        return record
    least = 1 if ends else seconds * record.fs - 1e-9
    if scanned is not None and min([scanned.zeros[row] for row in rows]) < least:  # as of nearly every record
        return record
    zero = np.ones((1, samples.shape[1]), bool)
    for row in rows:  # a few leads tell of most
        zero[0] &= _equals(samples[row], record.baseline[row])
        if np.count_nonzero(zero) < least:
            return record
    gap = zero_stretches(zero, record.fs, seconds, ends)
    if gap is None:
        return record
    samples = np.array(samples)
    samples[np.ix_(np.array(rows), gap)] = MISSING_INT16 if samples.dtype == np.int16 else np.nan
    return record._replace(samples=samples)


def _equals(x: np.ndarray, value: float) -> np.ndarray | bool:
    """Samples that have a value; int16 are compared as such, several times as fast as by way of float64."""
    if x.dtype != np.int16:
        return x == value
    return x == np.int16(value) if value.is_integer() and abs(value) <= 32767 else False


_STANDARD = frozenset(lead.casefold() for lead in STANDARD_LEADS)


@functools.lru_cache(maxsize=64)  # the same in every record of a collection
def _standard_rows(leads: tuple[str, ...]) -> list[int]:
    return [i for i, name in enumerate(leads) if name.strip().casefold() in _STANDARD]
