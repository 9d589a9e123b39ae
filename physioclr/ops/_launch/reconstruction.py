from __future__ import annotations

from typing import Any

from ... import _core
from .._arrays import FLOATS, Arrays, check_dtype, check_fs, check_ndim, check_number, check_shape

INTS = ("int16", "int32", "int64")


def compute_dtype(x: Any) -> str:
    """float64 stays; everything else is computed in float32."""
    return "float64" if str(x.dtype).endswith("float64") else "float32"


def check_peak_loss(x_hat: Any, x: Any, rpeaks: Any, fs: float, window: float) -> int:
    """Checks all that shapes and settings can tell; returns the half window in samples."""
    check_ndim(x_hat, "x_hat", (2, 3), "(records, samples) or (records, leads, samples)")
    check_dtype(x_hat, "x_hat", FLOATS)
    check_dtype(x, "x", FLOATS)
    check_shape(x, "x", tuple(x_hat.shape), "the shape of x_hat")
    check_ndim(rpeaks, "rpeaks", (2,), "(records, beats)")
    check_dtype(rpeaks, "rpeaks", INTS)
    if rpeaks.shape[0] != x.shape[0]:
        raise ValueError(f"rpeaks has {rpeaks.shape[0]} records; it must have {x.shape[0]}, as x has")
    return round(check_number(window, "window", 0, 10, unit="s") * check_fs(fs))


def _cube(x: Any) -> tuple[int, int, int]:
    return (x.shape[0], 1, x.shape[1]) if x.ndim == 2 else tuple(x.shape)


def peak_reconstruction_loss(
    xp: Arrays, x_hat: Any, x: Any, rpeaks: Any, fs: float, window: float = 0.04
) -> tuple[Any, Any]:
    """(sum of squared errors, number of samples) per record, (B,) float64 and (B,) int64."""
    half = check_peak_loss(x_hat, x, rpeaks, fs, window)
    dtype = compute_dtype(x_hat)
    x_hat, x, rpeaks = xp.contiguous(x_hat, dtype), xp.contiguous(x, dtype), xp.contiguous(rpeaks, "int32")
    total, count = xp.empty((len(x),), "float64"), xp.empty((len(x),), "int64")
    with xp.guard():
        ok = getattr(_core, f"peak_reconstruction_loss_fwd_{dtype}")(
            xp.address(x_hat), xp.address(x), *_cube(x), xp.address(rpeaks), rpeaks.shape[1], half,
            xp.address(total), xp.address(count), xp.device, xp.stream,
        )  # fmt: skip
    if not ok:
        raise ValueError(
            f"rpeaks has an index outside 0..{x.shape[-1] - 1} or out of order; each record's R peaks must rise and be "
            "padded with -1 behind the last"
        )
    return total, count


def peak_reconstruction_loss_bwd(
    xp: Arrays, scale: Any, x_hat: Any, x: Any, rpeaks: Any, fs: float, window: float = 0.04
) -> Any:
    """scale[b] * (x_hat - x) inside the windows, 0 outside, in the dtype it was computed in. scale: (B,)."""
    half = check_peak_loss(x_hat, x, rpeaks, fs, window)
    check_shape(scale, "scale", (x.shape[0],), "one per record")
    dtype = compute_dtype(x_hat)
    scale, rpeaks = xp.contiguous(scale, dtype), xp.contiguous(rpeaks, "int32")
    x_hat, x = xp.contiguous(x_hat, dtype), xp.contiguous(x, dtype)
    grad = xp.empty(tuple(x.shape), dtype)
    with xp.guard():
        getattr(_core, f"peak_reconstruction_loss_bwd_{dtype}")(
            xp.address(x_hat), xp.address(x), *_cube(x), xp.address(rpeaks), rpeaks.shape[1], half,
            xp.address(scale), xp.address(grad), xp.device, xp.stream,
        )  # fmt: skip
    return grad
