"""Batch normalisation and ReLU of (B, C, 1, T): in training on a CPU by one kernel, elsewhere by torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from ..ops._torch import nobody_looks
from . import layers


class BatchNorm(nn.BatchNorm1d):
    """Of (B, C, 1, T): torch keeps channels last, its fastest form on a CPU, in four dimensions only."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            raise ValueError(f"x has {input.dim()} dimensions; it must be (batch, channels, 1, samples)")


def norm_relu(norm: nn.Module, x: Tensor) -> Tensor:
    """relu(norm(x)) of (B, C, 1, T). torch makes nine passes over x of it and its gradient, the kernel four."""
    if not _fits(norm, x):
        return F.relu(norm(x))
    assert isinstance(norm, BatchNorm) and norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    y: Tensor = _BatchNormRelu.apply(x, norm.weight, norm.bias, norm)
    return y


def _fits(norm: nn.Module, x: Tensor) -> bool:
    """Whether this is a step of training that the kernel can make, and nobody looks at the layer's own output."""
    return (
        type(norm) is BatchNorm
        and norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and x.dim() == 4
        and x.numel() > x.shape[1]  # or torch says that one value is too few
        and x.is_contiguous(memory_format=torch.channels_last)
        and _of_channels(x, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        and not (norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks or norm._backward_pre_hooks)
        and not _has_any_global_hook()
        and nobody_looks()
    )


def _of_channels(x: Tensor, *parts: Tensor | None) -> bool:
    given = [p for p in parts if p is not None and p.shape == x.shape[1:2] and p.is_contiguous()]
    return len(given) == len(parts) and layers.takes(x, *given)


class _BatchNormRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm) -> Tensor:
        mean, var, momentum, ctx.eps = norm.running_mean, norm.running_var, norm.momentum, norm.eps
        assert mean is not None and var is not None and momentum is not None
        y, stats = layers.batch_norm_relu(x, weight, bias, mean, var, momentum, ctx.eps)
        ctx.save_for_backward(x, weight, bias, stats)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() or not nobody_looks():  # second derivatives; or one that traces
            return *_gradients_by_torch(ctx, grad), None
        x, *others = ctx.saved_tensors
        grad = grad.to(x.dtype).contiguous(memory_format=torch.channels_last)
        return *layers.batch_norm_relu_grad(x, grad, *others), None


def _gradients_by_torch(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    inputs, needs, twice = ctx.saved_tensors[:3], ctx.needs_input_grad[:3], torch.is_grad_enabled()
    with torch.enable_grad():
        x, weight, bias = inputs
        y = F.relu(F.batch_norm(x, None, None, weight, bias, training=True, eps=ctx.eps))
        wanted = [p for p, need in zip(inputs, needs, strict=True) if need]
        found = iter(torch.autograd.grad(y, wanted, grad, create_graph=twice))
    return tuple([next(found) if need else None for need in needs])
