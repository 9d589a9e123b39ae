"""hybrid_contrastive_loss of a batch that is spread over several processes.

Each process gathers the rows of all, sums over its own, and gathers the row statistics (three numbers a row). The
gradient of a row needs those statistics of every row but no other process's views, so the backward pass does not
communicate and is exact.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from .._arrays import TorchArrays
from .._checks import FLOATS, dtype_name
from .._torch import refuse_gradients
from .autograd import contrastive_backward, contrastive_rows, hybrid_contrastive_loss
from .cpu import MODES, check_inputs, compute_dtype, contrastive_finish, warn_all_skipped


def _gather_rows(x: torch.Tensor, sizes: list[int], process_group: Any) -> torch.Tensor:
    """The rows of x (dimension 0) of every process, in order of rank; the number of rows may differ."""
    padded = x.new_zeros((max(sizes), *x.shape[1:]))
    padded[: len(x)] = x
    raw = padded.contiguous().view(-1).view(torch.uint8)  # bytes: gloo has no bfloat16 in every version
    parts = [torch.empty_like(raw) for _ in sizes]
    dist.all_gather(parts, raw, group=process_group)
    return torch.cat([p.view(x.dtype).view(padded.shape)[:n] for p, n in zip(parts, sizes, strict=True)])


def _agree(anchor, views, features, group, settings, process_group, measure) -> list[int]:
    """The number of rows of each process. Raises on every process if the arguments of one are wrong or differ."""
    error = None
    try:
        refuse_gradients(hybrid_contrastive_loss, (anchor, views, features, group, *settings, None))
        check_inputs(anchor, views, features, group, *settings)
        if views.shape[1] != anchor.shape[0]:
            raise ValueError(f"views has {views.shape[1]} rows; it must have {anchor.shape[0]}, as anchor has")
    except (TypeError, ValueError) as e:
        error = e
    names = (
        "anchor's width", "anchor's dtype", "the number of views", "views' dtype", "features' width",
        "features' dtype", "whether group is given", "the settings", "return_stats",
    )  # fmt: skip
    mine = [0 if error else 1, 0, *[0] * len(names)]
    if error is None:
        code = [FLOATS.index(dtype_name(x)) for x in (anchor, views, features)]
        tau, delta, mode, tau_s, pair_reduction = settings
        told = hash((float(tau), float(delta), float(tau_s), MODES[mode], pair_reduction == "mean"))
        shape = (anchor.shape[1], code[0], views.shape[0], code[1], features.shape[1], code[2])
        mine = [1, len(anchor), *shape, int(group is not None), told, int(measure)]
    row = torch.tensor(mine, dtype=torch.int64, device=anchor.device)
    rows = [torch.empty_like(row) for _ in range(dist.get_world_size(process_group))]
    dist.all_gather(rows, row, group=process_group)
    table = torch.stack(rows).tolist()
    if error is not None:
        raise error
    for rank, other in enumerate(table):
        if not other[0]:
            raise ValueError(f"process {rank} of process_group has wrong arguments; see its error")
        for name, a, b in zip(names, other[2:], table[0][2:], strict=True):
            if a != b:
                raise ValueError(f"process_group: {name} on process {rank} differs from process 0; all must agree")
    return [other[1] for other in table]


class _GroupLoss(torch.autograd.Function):
    @staticmethod
    def forward(anchor, views, features, group, process_group, sizes, settings, measure):
        """What the caller wants, then what the backward pass needs: the rows of all and their statistics."""
        everything: list[torch.Tensor | None] = [_gather_rows(x, sizes, process_group) for x in (anchor, features)]
        everything.append(None if group is None else _gather_rows(group.to(torch.int64), sizes, process_group))
        first = sum(sizes[: dist.get_rank(process_group)])
        stats, counts, measures = contrastive_rows(everything[0], views, *everything[1:], *settings, first, measure)
        all_stats, all_counts = (_gather_rows(x, sizes, process_group) for x in (stats, counts))
        xp = TorchArrays(anchor)
        loss, own_loss = (xp.empty((), compute_dtype(anchor, views)) for _ in range(2))
        skipped, all_skipped = (xp.empty((), "int64") for _ in range(2))
        if not contrastive_finish(xp, loss, all_skipped, all_stats, all_counts, len(views), settings[2]):
            warn_all_skipped(all_counts, len(views), *settings[1:3])
        contrastive_finish(xp, own_loss, skipped, stats, counts, len(views), settings[2])
        return loss, counts, skipped, measures, *everything, all_stats, all_counts

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, views, _, _, process_group, sizes, settings, _ = inputs
        anchor, features, group, all_stats, all_counts = output[4:]
        ctx.settings = (*settings, sum(sizes[: dist.get_rank(process_group)]))
        ctx.save_for_backward(anchor, views, features, group, all_stats, all_counts)
        ctx.mark_non_differentiable(*(x for x in output[1:] if x is not None))

    @staticmethod
    def backward(ctx, grad_loss, *_):
        grads = contrastive_backward(grad_loss, *ctx.saved_tensors, *ctx.settings, None)[:2]
        return *grads, *(None,) * 6


def hybrid_contrastive_loss_of_group(anchor, views, features, group, settings, process_group, measure):
    """(loss of all rows, counts of the own rows, own rows skipped, measures of the own rows)."""
    sizes = _agree(anchor, views, features, group, settings, process_group, measure)
    return _GroupLoss.apply(anchor, views, features, group, process_group, sizes, settings, measure)[:4]
