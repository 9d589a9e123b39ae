from __future__ import annotations

from typing import Any

from ... import _core
from .._arrays import FLOATS, Arrays, check_dtype, check_fs, check_int, check_ndim
from .._types import default_max_beats

SIGNALS = (*FLOATS, "int16", "int8", "uint8", "uint16", "int32", "int64")


def rpeaks_shape(ecg: Any, fs: float, max_beats: int | None) -> tuple[int, int]:
    """Checks everything that shapes and settings can tell; (B, P) of the index. Also the fake kernel."""
    check_ndim(ecg, "ecg", (2, 3), "(records, samples) or (records, leads, samples)")
    check_dtype(ecg, "ecg", SIGNALS)
    fs = check_fs(fs)
    if max_beats is None:
        max_beats = default_max_beats(ecg.shape[-1], fs)
    else:
        max_beats = check_int(max_beats, "max_beats", 0, 2**31 - 1)
    return ecg.shape[0], max_beats


def detect_rpeaks(xp: Arrays, ecg: Any, fs: float, max_beats: int | None = None) -> tuple[Any, Any, Any]:
    records, beats = rpeaks_shape(ecg, fs, max_beats)
    dtype = "int16" if xp.dtype(ecg) == "int16" else "float32"
    ecg = xp.contiguous(ecg, dtype)
    leads, samples = ecg.shape[1] if ecg.ndim == 3 else 1, ecg.shape[-1]
    index, count, quality = (
        xp.empty((records, beats), "int32"),
        xp.empty((records,), "int32"),
        xp.empty((records,), "float32"),
    )
    scratch = None  # the CPU's threads have their own
    if xp.device >= 0:
        scratch = xp.empty((_core.detect_rpeaks_workspace(records, leads, samples, float(fs)),), "uint8")
    with xp.guard():
        getattr(_core, f"detect_rpeaks_{dtype}")(
            xp.address(ecg), records, leads, samples, float(fs), xp.address(index), beats, xp.address(count),
            xp.address(quality), 0 if scratch is None else xp.address(scratch), xp.device, xp.stream,
        )  # fmt: skip
    return index, count, quality
