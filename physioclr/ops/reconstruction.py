"""The peak term of the hybrid loss: reconstruction errors where the QRS complexes are."""

from __future__ import annotations

from typing import Any

from . import _launch
from ._arrays import arrays_of, is_torch
from ._types import rpeaks_index


def peak_reconstruction_loss(x_hat: Any, x: Any, rpeaks: Any, fs: float, *, window: float = 0.04) -> Any:
    """Mean squared error over the samples within `window` seconds of an R peak (PhysioCLR's peak loss).

    The windows of a record are united first, so that no sample counts twice; all leads count alike.

    Args:
        x_hat: (B, T) or (B, L, T) reconstruction.
        x: the target, of the same shape. Samples that are NaN or infinite are missing and left out.
        rpeaks: `RPeaks`, or a (B, P) integer array of sample indices, rising, padded with -1.
        fs: sampling rate, Hz.
        window: half width, s. 0.04 (the default) takes 40 ms on either side.

    Returns:
        A scalar: for torch a 0-d tensor, differentiable with respect to `x_hat`, in float32 (float64 for float64
        input); otherwise a float. 0 where no sample counts. NaN in `x_hat` propagates.

    Raises:
        ValueError, TypeError: shapes or dtypes that do not fit; R peaks outside the record or out of order (on a CUDA
            device those are ignored instead: the check would have to wait for the device).
    """
    rpeaks = rpeaks_index(rpeaks)
    if is_torch(x_hat):
        from ._arrays import TorchArrays
        from ._torch import reconstruction as op

        xp = TorchArrays(x_hat)
        x, rpeaks = xp.adopt(x, "x"), xp.adopt(rpeaks, "rpeaks")
        _launch.check_peak_loss(x_hat, x, rpeaks, fs, window)  # the dispatcher would not say it as clearly
        return op.peak_reconstruction_loss(x_hat, x, rpeaks, fs, window)
    xp, x_hat = arrays_of(x_hat, "x_hat")
    total, count = _launch.peak_reconstruction_loss(xp, x_hat, xp.adopt(x, "x"), xp.adopt(rpeaks, "rpeaks"), fs, window)
    return float(total.sum()) / max(int(count.sum()), 1)
