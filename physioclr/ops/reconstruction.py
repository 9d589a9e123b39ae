"""The peak term of the hybrid loss: reconstruction errors where the QRS complexes are.

The operator gives sums per record; the mean over them is ordinary arithmetic. So its backward operator needs one number
per record, which stays on the device, and writes the gradient once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from .. import _core
from ._arrays import Arrays, is_torch
from ._checks import (
    FLOATS,
    check_dtype,
    check_fs,
    check_ndim,
    check_number,
    check_rpeaks,
    check_shape,
    dtype_name,
    usable_rpeaks,
)
from ._operator import Results, no_double_backward, operator
from ._types import rpeaks_index

if TYPE_CHECKING:
    from torch import Tensor

    from ._types import NumPyArray, Peaks, Values


def compute_dtype(x: Any) -> str:
    """float64 stays; everything else is computed in float32."""
    return "float64" if dtype_name(x) == "float64" else "float32"


def _results(x_hat: Any, x: Any, rpeaks: Any, fs: float, window: float) -> Results:
    check_ndim(x_hat, "x_hat", (2, 3), "(records, samples) or (records, leads, samples)")
    check_dtype(x_hat, "x_hat", FLOATS)
    check_dtype(x, "x", FLOATS)
    check_shape(x, "x", tuple(x_hat.shape), "the shape of x_hat")
    check_rpeaks(rpeaks, x.shape[0])
    check_fs(fs)
    check_number(window, "window", 0, 10, unit="s")
    return (x.shape[:1], "float64"), (x.shape[:1], "int64")


def _inputs(xp: Arrays, x_hat: Any, x: Any, rpeaks: Any, fs: float, window: float) -> tuple[str, dict[str, Any]]:
    """The compute dtype, and the fields that both directions share."""
    dtype = compute_dtype(x_hat)
    shape = (x.shape[0], 1, x.shape[1]) if x.ndim == 2 else x.shape
    pair = {name: xp.view(xp.contiguous(a, dtype), shape) for name, a in (("x_hat", x_hat), ("x", x))}
    rpeaks = usable_rpeaks(xp, rpeaks, x.shape[-1])
    return dtype, {**pair, "rpeaks": xp.view(rpeaks), "half": round(float(window) * float(fs))}


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.settings = inputs[3:]


def _backward(ctx: Any, grad_sum: Any, _: Any) -> tuple[Any, ...]:
    x_hat, x, rpeaks = ctx.saved_tensors
    # d sum[b] / d x_hat = 2 (x_hat - x) in the windows of record b
    grad = _gradient(2 * grad_sum, x_hat, x, rpeaks, *ctx.settings)
    return grad.to(x_hat.dtype), None, None, None, None


def _tangent(ctx: Any, tangent: Any, *_: Any) -> tuple[Any, ...]:
    x_hat, x, rpeaks = ctx.saved_tensors
    grad = _gradient(2 * x_hat.new_ones(len(x_hat)), x_hat, x, rpeaks, *ctx.settings)
    return (grad.double() * tangent).sum(tuple(range(1, grad.ndim))), None


@operator(
    "peak_reconstruction_loss(Tensor x_hat, Tensor x, Tensor rpeaks, float fs, float window=0.04) -> (Tensor, Tensor)",
    _results,
    setup_context=_setup,
    backward=_backward,
    differentiable=("x_hat",),
    tangent=_tangent,
)
def peak_sums(xp: Arrays, out: tuple[Any, Any], x_hat: Any, x: Any, rpeaks: Any, fs: float, window: float) -> None:
    """Per record: the sum of the squared errors inside the windows, float64, and the number of samples, int64."""
    dtype, fields = _inputs(xp, x_hat, x, rpeaks, fs, window)
    kernel = getattr(_core, f"peak_reconstruction_loss_fwd_{dtype}")
    xp.on(kernel)(**fields, sum=xp.pointer(out[0]), count=xp.pointer(out[1]))


def _gradient_results(scale: Any, x_hat: Any, x: Any, rpeaks: Any, fs: float, window: float) -> Results:
    _results(x_hat, x, rpeaks, fs, window)
    check_shape(scale, "scale", (x.shape[0],), "one per record")
    return ((tuple(x.shape), compute_dtype(x_hat)),)


@operator(
    "peak_reconstruction_loss_bwd(Tensor scale, Tensor x_hat, Tensor x, Tensor rpeaks, float fs, float window=0.04)"
    " -> Tensor",
    _gradient_results,
    **no_double_backward("peak_reconstruction_loss"),
)
def _gradient(
    xp: Arrays, out: tuple[Any], scale: Any, x_hat: Any, x: Any, rpeaks: Any, fs: float, window: float
) -> None:
    """scale[b] * (x_hat - x) inside the windows, 0 outside."""
    dtype, fields = _inputs(xp, x_hat, x, rpeaks, fs, window)
    kernel = getattr(_core, f"peak_reconstruction_loss_bwd_{dtype}")
    xp.on(kernel)(**fields, scale=xp.pointer(xp.contiguous(scale, dtype)), grad=xp.pointer(out[0]))


def near_peaks(rpeaks: Tensor, like: Tensor, fs: float, window: float) -> Tensor:
    """(B, T) of the dtype and device of `like` (B, T): 1 within `window` seconds of an R peak, elsewhere 0."""
    one = like.new_ones(1)
    near: Tensor = _gradient(one.expand(len(like)), one.expand_as(like), like.new_zeros(like.shape), rpeaks, fs, window)
    return near


@overload
def peak_reconstruction_loss(
    x_hat: NumPyArray, x: Values, rpeaks: Peaks, fs: float, *, window: float = ...
) -> float: ...
@overload
def peak_reconstruction_loss(x_hat: Tensor, x: Values, rpeaks: Peaks, fs: float, *, window: float = ...) -> Tensor: ...
def peak_reconstruction_loss(x_hat: Any, x: Any, rpeaks: Any, fs: float, *, window: float = 0.04) -> Tensor | float:
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
    total, count = peak_sums(x_hat, x, rpeaks_index(rpeaks), fs, window)
    if is_torch(total):
        loss: Tensor = total.sum() / count.sum().clamp(min=1)
        return loss if compute_dtype(x_hat) == "float64" else loss.float()
    return float(total.sum()) / max(int(count.sum()), 1)
