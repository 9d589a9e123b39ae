"""A contrastive loss whose gradient is wanted, on the CPU: both in one pass through the kernel.

The rows are made ready once and small batches keep their cosines, so a step multiplies less and is dispatched once. The
gradient waits, in the precision of the loss, for the factor that comes back. torch.compile, torch.func, forward mode
and CUDA devices take `engine.contrastive_loss`, the registered operator, which gives the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from .._arrays import TorchArrays
from .._torch import refuse_gradients, scaled
from . import engine

_PLAIN = (torch.Tensor, torch.nn.Parameter)


def applies(a: Any, b: Any, temperature: Any) -> bool:
    """Whether a gradient will be asked for and nobody looks at the operators in between."""
    wanted = [x for x in (a, b, temperature) if x is not None]
    return (
        torch.is_grad_enabled()
        and a.device.type == "cpu"
        and any(x.requires_grad for x in wanted)
        and all(type(x) in _PLAIN for x in wanted)
        and not torch.compiler.is_compiling()
        and forward_ad._current_level < 0
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
    )


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, temperature, *rest):
        negatives, features, group, *settings = rest
        rows = [a, b, negatives]
        if any(x is not None and x.dtype != torch.bfloat16 for x in rows):  # which the kernel reads as they are
            wide = engine.computed(*rows)
            rows = [None if x is None else x.to(wide) for x in rows]
        loss, _, counts, skipped, measures, *grads = engine.contrastive_step.run(
            TorchArrays(a), *rows, features, group, temperature, *settings
        )
        ctx.save_for_backward(a, b, temperature, *grads)
        ctx.mark_non_differentiable(counts, skipped, measures)
        ctx.set_materialize_grads(False)
        return loss, counts, skipped, measures

    @staticmethod
    def backward(ctx, factor, *_):
        if factor is None:
            return (None,) * 12
        *inputs, grad_a, grad_b, grad_tau = ctx.saved_tensors
        return *scaled("contrastive_loss", factor, tuple(inputs), (grad_a, grad_b, grad_tau)), *(None,) * 9


def contrastive_step(a, b, negatives, features, group, temperature, *settings):
    """(loss, counts, skipped, measures) of engine.contrastive_loss."""
    refuse_gradients(engine.contrastive_loss, (a, b, negatives, features, group, temperature))
    return _Step.apply(a, b, temperature, negatives, features, group, *settings)
