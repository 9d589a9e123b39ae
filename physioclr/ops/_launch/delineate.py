from __future__ import annotations

from typing import Any

import numpy as np

from .. import _pool
from .._arrays import FLOATS, Arrays, check_dtype, check_fs, check_lead, check_ndim, check_shape

INDEX_DTYPES = ("int32", "int64", "int16")
ALL_LEADS = -2  # as in _delineate_constants


def delineate_shape(ecg: Any, fs: float, rpeaks: Any, lead: Any) -> tuple[int, ...]:
    """Checks everything that shapes and settings can tell; the shape of each of the eight results."""
    check_ndim(ecg, "ecg", (2, 3), "(records, samples) or (records, leads, samples)")
    check_dtype(ecg, "ecg", FLOATS)
    check_fs(fs)
    check_ndim(rpeaks, "rpeaks", (2,), "(records, beats)")
    check_dtype(rpeaks, "rpeaks", INDEX_DTYPES)
    check_shape(rpeaks, "rpeaks", (ecg.shape[0], rpeaks.shape[1]), "one row for each record")
    if ecg.ndim == 2:
        return tuple(rpeaks.shape)
    leads = ecg.shape[1]
    if check_lead(lead, leads, allow=("mean", "all")) == "all":
        return (ecg.shape[0], leads + 1, rpeaks.shape[1])
    return tuple(rpeaks.shape)


def check_rpeaks(r: np.ndarray, samples: int) -> None:
    """R peaks rise strictly within the record; the padding (-1) comes after them."""
    beat = r >= 0
    if not ((r >= -1) & (r < samples)).all():
        b, k = np.argwhere((r < -1) | (r >= samples))[0]
        raise ValueError(f"rpeaks[{b}, {k}] is {r[b, k]}; it must be from 0 to {samples - 1}, or -1 for padding")
    wrong = (beat[:, 1:] & ~beat[:, :-1]) | (beat[:, 1:] & (r[:, 1:] <= r[:, :-1]))
    if wrong.any():
        b, k = np.argwhere(wrong)[0]
        raise ValueError(
            f"rpeaks[{b}, {k + 1}] is {r[b, k + 1]} after {r[b, k]}; R peaks must rise, padding (-1) comes last"
        )


def delineate(xp: Arrays, ecg: Any, fs: float, rpeaks: Any, lead: Any = "II") -> tuple[Any, ...]:
    """The eight arrays of a Delineation."""
    shape = delineate_shape(ecg, fs, rpeaks, lead)
    ecg, lead = (ecg[:, None, :], 0) if ecg.ndim == 2 else (ecg, check_lead(lead, ecg.shape[1], allow=("mean", "all")))
    if isinstance(lead, int) and ecg.shape[1] > 1 and not (xp.is_contiguous(ecg) and xp.dtype(ecg) == "float32"):
        ecg, lead = ecg[:, lead : lead + 1], 0  # only this lead is converted
    x = xp.contiguous(ecg, "float32")
    if xp.device >= 0:
        out = delineate_gpu(xp, x, float(fs), rpeaks, lead)
        return tuple(out[f].reshape(shape) for f in range(8))
    r = np.ascontiguousarray(xp.to_numpy(rpeaks))
    check_rpeaks(r, ecg.shape[-1])
    x, r = xp.to_numpy(x), r.astype(np.int32, copy=False)
    out = np.empty((8, x.shape[0], x.shape[1] + 1 if lead == "all" else 1, r.shape[1]), np.int32)
    if out.size:
        from .._numba_delineate import delineate_range

        if lead == "mean":
            x, lead = mean_lead(x), 0
        code = ALL_LEADS if lead == "all" else lead
        _pool.run(lambda a, b: delineate_range(a, b, x, code, r, float(fs), out), len(x))
    return tuple(xp.from_numpy(field.reshape(shape)) for field in out)


def mean_lead(x: np.ndarray) -> np.ndarray:
    """(B, 1, T): the mean of the leads of x (B, L, T), missing samples left out."""
    from .._numba_leads import mean_lead_range

    out = np.empty((x.shape[0], 1, x.shape[2]), np.float32)
    _pool.run(lambda a, b: mean_lead_range(a, b, x, out), len(x))
    return out


def delineate_gpu(xp: Arrays, x: Any, fs: float, rpeaks: Any, lead: int | str) -> Any:
    from . import numba_gpu

    r = numba_gpu.usable_rpeaks(xp, rpeaks, x.shape[2])
    if lead == "mean":
        x, lead = numba_gpu.mean_lead(xp, x), 0
    leads = list(range(x.shape[1])) if lead == "all" else [lead]
    return numba_gpu.delineate(xp, x, fs, r, leads, consensus=lead == "all")
