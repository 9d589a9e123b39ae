"""Contrastive losses of a batch that is spread over processes, in a ring: blocks of rows travel, nobody holds all.

A process keeps its own rows and meets those of one other at a time, which it passes on to its neighbour (as Inf-CL
does, Cheng et al. 2024). Forward, each anchor's sums grow block by block, and then three statistics a row are known;
they travel with the rows backward, where a process adds up the gradient of its own rows, as anchors and as what others'
anchors are compared with. Exact, with O(N D / processes) memory and work in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from . import engine
from .blocks import Problem, Table, combine
from .step import scaled

KERNELS = True  # on a CPU; False: torch's operations, the form of other devices
_FIELDS = ("h", "index", "partner", "id", "side", "f", "known")


def row_counts(n: int, group: Any, device: Any, error: Exception | None = None) -> list[int]:
    """The number of rows of each process; an error of one is raised by all."""
    own = torch.tensor([-1 if error else n], dtype=torch.int64, device=device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(sizes, own, group=group)
    if error is not None:
        raise error
    counts = [int(x) for x in sizes]
    for rank, count in enumerate(counts):
        if count < 0:
            raise ValueError(f"process {rank} of process_group has wrong arguments; see its error")
    return counts


def visitors(own: Table, extra: list[Tensor], sizes: list[int], group: Any) -> Iterator[tuple[Table, list[Tensor]]]:
    """The tables of the other processes, one after another, each with its `extra`, (rows, ...) tensors.

    sizes: the records of each process; a table has a row for each of its views.
    """
    world, rank = dist.get_world_size(group), dist.get_rank(group)
    present = [k for k in _FIELDS if getattr(own, k) is not None]
    kinds = [getattr(own, k) for k in present] + extra
    widths = [1 if x.ndim == 1 else x.shape[1] for x in kinds]

    def packed(parts: list[Tensor]) -> Tensor:
        return torch.cat([x.contiguous().view(-1).view(torch.uint8) for x in parts])

    def unpacked(raw: Tensor, rows: int) -> list[Tensor]:
        out, at = [], 0
        for x, width in zip(kinds, widths, strict=True):
            size = rows * width * x.dtype.itemsize
            part = raw[at : at + size].clone().view(x.dtype)  # aligned
            out.append(part if x.ndim == 1 else part.view(rows, width))
            at += size
        return out

    row_bytes = sum(w * x.dtype.itemsize for x, w in zip(kinds, widths, strict=True))
    travelling = packed(kinds)
    after, before = (dist.get_global_rank(group, (rank + step) % world) for step in (1, -1))
    for hop in range(1, world):
        source = (rank - hop) % world
        rows = sizes[source] * own.views
        incoming = travelling.new_empty(rows * row_bytes)
        jobs = []
        if len(travelling):
            jobs.append(dist.P2POp(dist.isend, travelling, after, group))
        if len(incoming):
            jobs.append(dist.P2POp(dist.irecv, incoming, before, group))
        for job in dist.batch_isend_irecv(jobs) if jobs else ():
            job.wait()
        travelling = incoming
        parts = unpacked(travelling, rows)
        fields = dict(zip(present, parts, strict=False))
        anchors = sizes[source] if own.first_alone else rows
        yield replace(own, **fields, anchors=anchors), parts[len(present) :]


def gradient(x: Problem, sizes: list[int], group: Any, stats: Tensor, counts: Tensor, scale: Tensor):
    """(sum_j G_ij h_j of the own rows, the sum of s dL/ds of the own anchors), stats and counts of all own rows."""
    form, own = x.form, x.own
    grad, slope = torch.zeros_like(own.h), torch.zeros_like(scale)
    met = [own] if x.queue is None else [own, x.queue]
    for table in met:
        for t in form.tiles(own, table):
            g = form.coefficients(t, stats[t.rows], counts[t.rows], scale)
            slope += (g * t.s).sum(dtype=torch.float64)
            grad[t.rows] += g @ table.h
            if table is own:
                grad += g.T @ table.h[t.rows]
    for table, (their_stats, their_counts) in visitors(own, [stats, counts], sizes, group):
        for t in form.tiles(own, table):
            g = form.coefficients(t, stats[t.rows], counts[t.rows], scale)
            slope += (g * t.s).sum(dtype=torch.float64)
            grad[t.rows] += g @ table.h
        for t in form.tiles(table, own):
            g = form.coefficients(t, their_stats[t.rows], their_counts[t.rows], scale)
            grad += g.T @ table.h[t.rows]
    return grad, slope


def sums(x: Problem, sizes: list[int], group: Any, measure: bool) -> dict[str, Tensor]:
    """Of the own anchors, over all rows of all processes and the queue."""
    parts = [x.sums(table, measure) for table in (x.own, x.queue) if table is not None]
    parts += [x.sums(table, measure) for table, _ in visitors(x.own, [], sizes, group)]
    return combine(parts)


def _visits(rows: Any, sizes: list[int], group: Any) -> Any:
    return lambda extra: visitors(rows.parts.own, extra, sizes, group)


def _statistics_by_kernels(given: Any, sizes: list[int], group: Any, measure: bool) -> tuple[Tensor, ...]:
    """stats and counts of all own rows, measures, and how many of the rows are anchors."""
    from .parts import RingSides

    x = RingSides(*given)
    return *x.statistics(_visits(x, sizes, group), measure), x.parts.own.anchors


def _statistics_by_blocks(given: Any, sizes: list[int], group: Any, measure: bool) -> tuple[Tensor, ...]:
    x = Problem(*given)
    found = sums(x, sizes, group, measure)
    told, number = x.form.statistics(found)
    measured = x.form.measures(found) if measure else told.new_zeros((0, 3))
    rows = len(x.own.h)  # those of b too, where they are no anchors
    stats, counts = told.new_zeros((rows, 3)), number.new_zeros((rows, 2))
    counts[:, 0] = -1
    stats[: len(told)], counts[: len(told)] = told, number
    return stats, counts, measured, len(told)


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, temperature, negatives, features, group, settings, measure, process_group, sizes):
        first, total = sum(sizes[: dist.get_rank(process_group)]), sum(sizes)
        ctx.inputs = negatives, features, group, settings, process_group, sizes, first, total
        given = a, b, negatives, features, group, temperature, *settings, first, total
        with torch.autocast(a.device.type, enabled=False):
            if KERNELS and a.device.type == "cpu":
                stats, counts, measured, anchors = _statistics_by_kernels(given, sizes, process_group, measure)
            else:
                stats, counts, measured, anchors = _statistics_by_blocks(given, sizes, process_group, measure)
            told, number, measured = stats[:anchors], counts[:anchors], measured[:anchors]
            used = engine.used(number, settings[2])
            whole = torch.stack([(told[:, 0] - told[:, 1]).sum(), used.sum(), (~used).sum()]).double()
            dist.all_reduce(whole, group=process_group)
        ctx.save_for_backward(a, b, temperature, stats, counts, whole)
        loss, skipped = (whole[0] / whole[1].clamp(min=1)).to(engine.computed(a, b, negatives)), whole[2].long()
        ctx.mark_non_differentiable(number, skipped, measured)
        return loss, number, skipped, measured

    @staticmethod
    def backward(ctx, factor, *_):
        negatives, features, group, settings, process_group, sizes, first, total = ctx.inputs
        a, b, temperature, stats, counts, whole = ctx.saved_tensors
        given = a, b, negatives, features, group, temperature, *settings, first, total
        with torch.autocast(a.device.type, enabled=False), torch.no_grad():
            if KERNELS and a.device.type == "cpu":
                from .parts import RingSides

                y = RingSides(*given)
                grad, slope = y.gradients(_visits(y, sizes, process_group), stats, counts, int(whole[1]))
                slope = -slope / y.settings["tau"]
            else:
                x = Problem(*given)
                scale = 1 / (x.form.tau * whole[1].clamp(min=1))
                grad, slope = gradient(x, sizes, process_group, stats, counts, scale)
                grad = x.normalised(grad)
                slope = -slope / x.form.tau
            if temperature is not None:
                dist.all_reduce(slope, group=process_group)
            grads = grad[: len(a)], grad[len(a) :], slope
        return *scaled("contrastive_loss", factor, (a, b, temperature), grads), *(None,) * 7


def ring_loss(a, b, negatives, features, group, temperature, tau, tau_s, form, sides, delta, measure, process_group):
    """(loss of the whole batch, counts of the own anchors, skipped of all, measures of the own anchors)."""
    from .._torch import refuse_gradients

    settings, error = (tau, tau_s, form, sides, delta), None
    try:
        refuse_gradients(engine.contrastive_loss, (a, b, negatives, features, group, temperature))
        engine.contrastive_loss.results(a, b, negatives, features, group, temperature, *settings, False)
        if features is not None and not bool(torch.isfinite(features).all()):
            raise ValueError(engine.NOT_FINITE)
    except (TypeError, ValueError) as e:
        error = e
    sizes = row_counts(len(a), process_group, a.device, error)
    given = negatives, features, group, settings, measure, process_group, sizes
    return _Ring.apply(a, b, temperature, *given)
