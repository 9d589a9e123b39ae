"""Calls of the kernels that layers have on a CPU. Tensors must be contiguous where nothing else is said."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _core

ELEMENTS = {torch.float32: _core.ELEMENTS["float32"], torch.bfloat16: _core.ELEMENTS["bfloat16"]}


def takes(x: Tensor, *others: Tensor) -> bool:
    """Whether a kernel can take x, in float32 or bfloat16, and float32 tensors, all of torch's own types on a CPU."""
    return (
        x.dtype in ELEMENTS
        and all([type(p) in (Tensor, torch.nn.Parameter) and p.device.type == "cpu" for p in (x, *others)])
        and all([p.dtype == torch.float32 for p in others])
    )


def _samples(x: Tensor) -> tuple[int, int, Tensor]:
    return x.data_ptr(), ELEMENTS[x.dtype], x


def _array(x: Tensor | None) -> Any:
    return 0 if x is None else (x.data_ptr(), x)


def batch_norm_relu(
    x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor]:
    """y of x (B, C, H, W), both with channels last, in training; and (2, C) mean and 1 / sqrt(variance + eps)."""
    channels = weight.numel()  # len() of a tensor is a call of Python
    stats, y = weight.new_empty(2, channels), torch.empty_like(x, memory_format=torch.channels_last)
    _core.batch_norm_relu(
        x=_samples(x), rows=x.numel() // channels, channels=channels, weight=_array(weight), bias=_array(bias),
        momentum=float(momentum), eps=float(eps), running_mean=_array(running_mean), running_var=_array(running_var),
        stats=_array(stats), y=_samples(y),
    )  # fmt: skip
    return y, stats


def batch_norm_relu_grad(
    x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor, stats: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias for grad, that of y, which has the form of x."""
    grad_x = torch.empty_like(x, memory_format=torch.channels_last)
    grad_weight, grad_bias = torch.empty_like(weight), torch.empty_like(bias)
    _core.batch_norm_relu_bwd(
        x=_samples(x), grad=_samples(grad), rows=x.numel() // weight.numel(), channels=weight.numel(),
        weight=_array(weight), bias=_array(bias), stats=_array(stats),
        grad_x=_samples(grad_x), grad_weight=_array(grad_weight), grad_bias=_array(grad_bias),
    )  # fmt: skip
    return grad_x, grad_weight, grad_bias


def halve(x: Tensor) -> Tensor:
    """(B, C, 1, T) -> (B, C, 1, (T + 1) // 2), both with channels last: the mean of each two neighbours in time."""
    b, c, _, t = x.shape
    out = torch.empty((b, c, 1, (t + 1) // 2), dtype=x.dtype, memory_format=torch.channels_last)
    _core.halve(x=_samples(x), records=b, samples=t, channels=c, out=_samples(out))
    return out


def halve_grad(grad: Tensor, samples: int) -> Tensor:
    """The gradient of x (B, C, 1, samples) for that of what it was halved to."""
    b, c = grad.shape[:2]
    grad_x = torch.empty((b, c, 1, samples), dtype=grad.dtype, memory_format=torch.channels_last)
    _core.halve_bwd(grad=_samples(grad), records=b, samples=samples, channels=c, grad_x=_samples(grad_x))
    return grad_x
