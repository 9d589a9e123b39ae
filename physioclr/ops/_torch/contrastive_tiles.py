"""hybrid_contrastive_loss by tiles: torch.mm makes a tile of cosines, kernels of `_core` do everything else to it.

This is the CUDA version for every dtype and width, and what the fused CUDA kernels are checked against. All of it is
queued on torch's current stream, nothing waits for the device, nothing is N x N, and every sum has a fixed order. The
kernels exist for the host too, so that the tests drive this file on any machine; the CPU's own version is `_core`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ... import _core
from .._arrays import Arrays
from .._launch import contrastive_checks
from .._launch.contrastive import MODES, dtype_name

TILE = 4096  # rows and columns of a tile: two tiles of float32 are 134 MB
ROW_STATE = 7  # kRowState of csrc/core/contrastive_math.h


def group_numbers(group: torch.Tensor | None, n: int, device: torch.device) -> torch.Tensor:
    """Any ids as (N,) int32 from 0 on, equal where the ids are; without ids every row is its own group."""
    if group is None:
        return torch.arange(n, dtype=torch.int32, device=device)
    group = group.to(torch.int64).contiguous()
    return torch.searchsorted(group.sort().values, group, out_int32=True)


class Rows:
    """The rows of one call, made ready: unit rows `h` and `unit` (features), and the addresses of the inputs."""

    def __init__(self, xp: Arrays, anchor, views, features, group, row_offset: int, settings: tuple):
        tau, delta, mode, tau_s, pair_reduction = settings
        self.dtype = contrastive_checks(anchor, views, features, group, *settings, row_offset)
        stored = dtype_name(anchor) if dtype_name(anchor) == dtype_name(views) else self.dtype
        self.stored, self.call = stored, getattr(_core.contrastive_tiles, stored)
        self.anchor, self.views = xp.contiguous(anchor, stored), xp.contiguous(views, stored)
        self.features = xp.contiguous(features, self.dtype)
        (self.n, self.d), self.f = anchor.shape, features.shape[1]
        self.begin, self.end = row_offset, row_offset + views.shape[1]
        self.settings = (MODES[mode], pair_reduction == "mean", tau, tau_s, delta)
        self.where = (xp.device, xp.stream)
        self.h, self.unit = xp.empty((self.n, self.d), self.dtype), xp.empty((self.n, self.f), self.dtype)
        self.inv_norm = xp.empty((self.n,), "float64")
        self.id = group_numbers(group, self.n, anchor.device)
        self.call.prepare(
            *self.where, *self.inputs, self.features.data_ptr(), self.f, self.h.data_ptr(), self.unit.data_ptr(),
            self.inv_norm.data_ptr(), self.id.data_ptr(),
        )  # fmt: skip

    @property
    def inputs(self) -> tuple[int, int, int]:
        return self.anchor.data_ptr(), self.n, self.d

    @property
    def owned(self) -> tuple:
        """What the kernels of one block per owned row take."""
        span = (len(self.views), self.begin, self.end)
        return *self.inputs, self.views.data_ptr(), *span, self.inv_norm.data_ptr()

    def blocks(self, first: int, last: int, tile: int) -> list[slice]:
        return [slice(i, min(i + tile, last)) for i in range(first, last, tile)]

    def tiles(self, xp: Arrays, tile: int) -> Iterator[tuple[slice, slice, bool, torch.Tensor, tuple]]:
        """Every pair of an owned block I and a block J once, as (I, J, whether J is owned too, its cosines, arguments).

        A block with itself comes as one tile with every pair in it twice, (i, j) and (j, i).
        """
        own = self.blocks(self.begin, self.end, tile)
        others = self.blocks(0, self.begin, tile) + self.blocks(self.end, self.n, tile)
        size = min(tile, self.n) * min(tile, self.end - self.begin)
        cosines, similarities = xp.empty((size,), self.dtype), xp.empty((size,), self.dtype)
        for k, i in enumerate(own):
            for j in own[k:] + others:
                rows, cols = i.stop - i.start, j.stop - j.start
                s = cosines[: rows * cols].view(rows, cols)
                torch.mm(self.h[i], self.h[j].T, out=s)
                self.call.similarity(
                    *self.where, self.unit[i].data_ptr(), rows, self.unit[j].data_ptr(), cols, self.f,
                    similarities.data_ptr(),
                )  # fmt: skip
                ids = self.id[i].data_ptr(), self.id[j].data_ptr()
                both = self.begin <= j.start < self.end and i is not j
                yield i, j, both, s, (*self.where, s.data_ptr(), similarities.data_ptr(), rows, cols, *ids)


def contrastive_rows(
    xp: Arrays, anchor, views, features, group, settings: tuple, row_offset: int, tile: int = TILE
) -> tuple[Any, Any]:
    """As `_launch.contrastive_rows`."""
    with xp.guard(), torch.autocast(anchor.device.type, enabled=False):
        rows = Rows(xp, anchor, views, features, group, row_offset, settings)
        n = rows.end - rows.begin
        safe = needs_maxima(rows.dtype, *settings)
        state = torch.zeros((n, ROW_STATE), dtype=torch.float64, device=anchor.device)
        state[:, 3:5] = -2.0 if safe else 1.0  # the shifts: below every cosine, or the largest one
        for i, j, both, _, arguments in rows.tiles(xp, tile):
            row, col = (
                (state[x.start - rows.begin :] for x in (i, j)) if both else (state[i.start - rows.begin :], None)
            )
            rows.call.sums(*arguments, row.data_ptr(), 0 if col is None else col.data_ptr(), *rows.settings)
        stats, counts = xp.empty((n, 3), "float64"), xp.empty((n, 2), "int64")
        rows.call.row_stats(
            *rows.where, *rows.owned, state.data_ptr(), 1, stats.data_ptr(), counts.data_ptr(), *rows.settings
        )
    return stats, counts


def needs_maxima(dtype: str, tau: float, delta: float, mode: str, tau_s: float, pair_reduction: str) -> bool:
    """needs_maxima of csrc/core/contrastive_math.h."""
    least = 0.05 if dtype == "float32" else 0.01
    return tau < least or (mode == "soft" and tau_s < least)


def contrastive_backward(
    xp: Arrays, grad_loss, anchor, views, features, group, stats, counts, settings: tuple, row_offset: int,
    tile: int = TILE,
) -> tuple[Any, Any]:  # fmt: skip
    """As `_launch.contrastive_backward`."""
    with xp.guard(), torch.autocast(anchor.device.type, enabled=False):
        rows = Rows(xp, anchor, views, features, group, row_offset, settings)
        grad_loss, stats = xp.contiguous(grad_loss, "float64"), xp.contiguous(stats, "float64")
        counts = xp.contiguous(counts, "int64")
        log_tn, weights = xp.empty((), "float64"), xp.empty((rows.n, 2), rows.dtype)
        rows.call.weights(
            *rows.where, stats.data_ptr(), counts.data_ptr(), rows.n, len(views), log_tn.data_ptr(),
            weights.data_ptr(), *rows.settings,
        )  # fmt: skip
        grad_h = torch.zeros((rows.end - rows.begin, rows.d), dtype=rows.h.dtype, device=anchor.device)
        for i, j, both, g, arguments in rows.tiles(xp, tile):
            rows.call.coefficients(*arguments, weights[i].data_ptr(), weights[j].data_ptr(), *rows.settings)
            grad_h[i.start - rows.begin : i.stop - rows.begin].addmm_(g, rows.h[j])
            if both:
                grad_h[j.start - rows.begin : j.stop - rows.begin].addmm_(g.T, rows.h[i])
        grads = xp.empty((rows.end - rows.begin, rows.d), rows.stored), xp.empty(tuple(views.shape), rows.stored)
        rows.call.row_gradients(
            *rows.where, grad_loss.data_ptr(), *rows.owned, grad_h.data_ptr(), 1, stats.data_ptr(), counts.data_ptr(),
            log_tn.data_ptr(), *(x.data_ptr() for x in grads), *rows.settings,
        )  # fmt: skip
    return xp.contiguous(grads[0], dtype_name(anchor)), xp.contiguous(grads[1], dtype_name(views))
