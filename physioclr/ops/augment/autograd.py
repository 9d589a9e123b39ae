"""The derivatives of augment and shuffle_beats with respect to the signal.

A view is y = A x + noise with a matrix A that depends on seed, ids and R peaks alone. So the gradient is A^T, the
derivative of that is A again, and a tangent goes through A: all of them are the kernels themselves.
"""

from __future__ import annotations

from typing import Any

from .._checks import dtype_name
from .._operator import OPERATORS
from .text import without_noise


def augment_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    ecg, rpeaks, sample_id, _, *settings, _ = inputs
    ctx.settings, ctx.dtype, ctx.result = settings, ecg.dtype, dtype_name(output[0])
    ctx.save_for_backward(rpeaks, sample_id)
    ctx.mark_non_differentiable(output[1], output[2])


def augment_backward(ctx: Any, grad: Any, _index: Any, _count: Any) -> tuple[Any, ...]:
    found = OPERATORS["augment_bwd"](grad, *ctx.saved_tensors, *ctx.settings).to(ctx.dtype)
    return found, None, None, None, None, None, None, None


def augment_tangent(ctx: Any, tangent: Any, *_: Any) -> tuple[Any, ...]:
    plan, fs, seeds = ctx.settings
    out = OPERATORS["augment"](tangent, *ctx.saved_tensors, None, without_noise(plan), fs, seeds, ctx.result)
    return out[0], None, None


def augment_bwd_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    grad, rpeaks, sample_id, *ctx.settings = inputs
    ctx.dtype = dtype_name(grad)
    ctx.save_for_backward(rpeaks, sample_id)


def augment_bwd_backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
    plan, fs, seeds = ctx.settings
    out = OPERATORS["augment"](grad, *ctx.saved_tensors, None, without_noise(plan), fs, seeds, ctx.dtype)
    return out[0], None, None, None, None, None


def augment_bwd_tangent(ctx: Any, tangent: Any, *_: Any) -> Any:
    return OPERATORS["augment_bwd"](tangent, *ctx.saved_tensors, *ctx.settings)


def shuffle_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    ecg, rpeaks, sample_id, *ctx.settings = inputs
    ctx.dtype = ecg.dtype
    ctx.save_for_backward(rpeaks, sample_id)
    ctx.mark_non_differentiable(output[1], output[2])


def shuffle_backward(ctx: Any, grad: Any, _index: Any, _count: Any) -> tuple[Any, ...]:
    found = OPERATORS["shuffle_beats_bwd"](grad, *ctx.saved_tensors, *ctx.settings).to(ctx.dtype)
    return found, None, None, None, None, None


def shuffle_tangent(ctx: Any, tangent: Any, *_: Any) -> tuple[Any, ...]:
    return OPERATORS["shuffle_beats"](tangent, *ctx.saved_tensors, *ctx.settings)[0], None, None


def shuffle_bwd_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    grad, rpeaks, sample_id, *ctx.settings = inputs
    ctx.dtype = grad.dtype
    ctx.save_for_backward(rpeaks, sample_id)


def shuffle_bwd_backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
    found = OPERATORS["shuffle_beats"](grad, *ctx.saved_tensors, *ctx.settings)[0].to(ctx.dtype)
    return found, None, None, None, None, None


def shuffle_bwd_tangent(ctx: Any, tangent: Any, *_: Any) -> Any:
    return OPERATORS["shuffle_beats_bwd"](tangent, *ctx.saved_tensors, *ctx.settings)
