"""Sums and rows over the processes of a group, with gradients for the rows of this process alone.

Every process computes the loss of the whole batch; what flows back is exactly d loss / d (its own rows), unscaled. So
the sum over the processes of the parameters' gradients is the gradient of one process with the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        x = x.detach().clone()
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        world, rank = dist.get_world_size(group), dist.get_rank(group)
        found = torch.zeros(world, dtype=torch.int64, device=x.device)
        found[rank] = len(x)
        dist.all_reduce(found, group=group)
        sizes: list[int] = found.tolist()
        padded = x.new_zeros((max(sizes), *x.shape[1:]))
        padded[: len(x)] = x.detach()
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=group)
        ctx.start, ctx.stop = sum(sizes[:rank]), sum(sizes[: rank + 1])
        return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.start : ctx.stop], None


def global_sum(x: Tensor, group: Any = None) -> Tensor:
    """The sum of x over the processes; x itself without a group."""
    return x if group is None else _Sum.apply(x, group)


def gather_rows(x: Tensor, group: Any = None) -> Tensor:
    """The rows of all processes, in the order of their ranks; their number may differ. x itself without a group."""
    return x if group is None else _Rows.apply(x, group)
