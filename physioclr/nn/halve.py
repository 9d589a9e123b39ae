"""Mean of each two neighbours in time of (B, C, 1, T): on a CPU by a kernel, elsewhere by torch, to the same bits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops._torch import nobody_looks
from . import layers


class Halve(nn.Module):
    """The last one stays alone where T is odd."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4 and x.shape[2] == 1 and _fits(x):
            y: Tensor = _Halve.apply(x)
            return y
        return F.avg_pool2d(x, (1, 2), ceil_mode=True, count_include_pad=False)


def _fits(x: Tensor) -> bool:
    return layers.takes(x) and x.numel() > 0 and x.is_contiguous(memory_format=torch.channels_last) and nobody_looks()


class _Halve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.samples = x.shape[3]
        return layers.halve(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        if torch.is_grad_enabled() or not nobody_looks():  # linear: its gradient is one that can be derived again
            pairs, odd = ctx.samples // 2, ctx.samples % 2
            half = (0.5 * grad[..., :pairs]).repeat_interleave(2, 3)
            return torch.cat((half, grad[..., pairs:]), 3) if odd else half
        return layers.halve_grad(grad.contiguous(memory_format=torch.channels_last), ctx.samples)
