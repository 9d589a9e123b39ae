from __future__ import annotations

from typing import Any

import numpy as np

from .. import _pool
from .._arrays import FLOATS, Arrays, check_dtype, check_fs, check_lead, check_ndim, check_shape

INDEX_DTYPES = ("int32", "int64", "int16")
LEAD_CODES = {"mean": -1, "all": -2}


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
    if ecg.ndim == 2:
        ecg, code = ecg[:, None, :], 0
    else:
        code = check_lead(lead, ecg.shape[1], allow=("mean", "all"))
        if isinstance(code, int):
            ecg, code = ecg[:, code : code + 1], 0  # so that only this lead is converted or copied
        code = LEAD_CODES.get(code, code)
    if xp.device >= 0:
        return delineate_gpu(xp, xp.contiguous(ecg, "float32"), float(fs), rpeaks, code, shape)
    r = np.ascontiguousarray(xp.to_numpy(rpeaks))
    check_rpeaks(r, ecg.shape[-1])
    x = xp.to_numpy(xp.contiguous(ecg, "float32"))
    rows = x.shape[1] + 1 if code == LEAD_CODES["all"] else 1
    out = np.empty((8, x.shape[0], rows, r.shape[1]), np.int32)
    r = r.astype(np.int32, copy=False)
    if out.size:
        from .._numba_delineate import delineate_range

        _pool.run(lambda a, b: delineate_range(a, b, x, code, r, float(fs), out), len(x))
    return tuple(xp.from_numpy(field.reshape(shape)) for field in out)


def delineate_gpu(xp: Arrays, x: Any, fs: float, rpeaks: Any, code: int, shape: tuple[int, ...]) -> tuple[Any, ...]:
    from . import numba_gpu

    r = numba_gpu.checked_rpeaks(xp, rpeaks, x.shape[2], check_rpeaks)
    if code == LEAD_CODES["mean"]:
        x, code = numba_gpu.mean_lead(xp, x), 0
    every = code == LEAD_CODES["all"]
    leads = np.arange(x.shape[1]) if every else np.array([code])
    out = numba_gpu.delineate(xp, x, fs, r, leads, consensus=every)
    return tuple(out[f].reshape(shape) for f in range(8))
