"""hybrid_contrastive_loss on CUDA: by tiles, of which torch.mm makes the cosines, or by fused kernels.

`Tiles` is the version for every dtype and width: kernels of `_core` do everything to a tile but the products. `Fused`
does the products too, on tensor cores, for embeddings of at most 256 columns and 64 features, but not float64. All of
it is queued on torch's current stream, nothing waits for the device, nothing is N x N, and every sum has a fixed order.
The kernels exist for the host too, so that the tests drive this file on any machine; the CPU's own version is
`_core.contrastive_rows`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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


def tf32_allowed() -> bool:
    """Whether torch lets CUDA's float32 matrix products round their operands to TF32 (it does not unless told to)."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # torch 2.9; its older names warn there, or raise if the new one was set
        return matmul.fp32_precision == "tf32"
    return matmul.allow_tf32


def stored_dtype(anchor, views, compute: str) -> str:
    """Embeddings of one dtype are read as they are, otherwise as the compute dtype."""
    return dtype_name(anchor) if dtype_name(anchor) == dtype_name(views) else compute


class Rows(ABC):
    """The inputs of one call, made ready; `safe` where running maxima are needed."""

    def __init__(self, xp: Arrays, anchor, views, features, group, row_offset: int, settings: tuple):
        tau, delta, mode, tau_s, pair_reduction = settings
        self.xp, self.dtype = xp, contrastive_checks(anchor, views, features, group, *settings, row_offset)
        self.stored = stored_dtype(anchor, views, self.dtype)
        self.call = getattr(_core.contrastive_tiles, self.stored)
        self.anchor, self.views = xp.contiguous(anchor, self.stored), xp.contiguous(views, self.stored)
        self.features = xp.contiguous(features, self.dtype)
        (self.n, self.d), self.f, self.n_views = anchor.shape, features.shape[1], len(views)
        self.begin, self.end = row_offset, row_offset + views.shape[1]
        self.own = self.end - self.begin
        self.settings = (MODES[mode], pair_reduction == "mean", tau, tau_s, delta)
        least = 0.05 if self.dtype == "float32" else 0.01  # needs_maxima of csrc/core/contrastive_math.h
        self.safe = tau < least or (mode == "soft" and tau_s < least)
        self.where, self.device = (xp.device, xp.stream), anchor.device
        self.inv_norm, self.id = xp.empty((self.n,), "float64"), group_numbers(group, self.n, anchor.device)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Fills inv_norm and whatever the version multiplies."""

    @abstractmethod
    def sums(self) -> torch.Tensor:
        """(strips, n, ROW_STATE): the sums of each owned row over the columns of each strip."""

    @abstractmethod
    def gradient(self, stats: torch.Tensor, counts: torch.Tensor, log_tn: torch.Tensor) -> torch.Tensor:
        """(strips, n, D): sum_j G_ij h_j of each owned row; fills log_tn."""

    @property
    def inputs(self) -> tuple[int, int, int]:
        return self.anchor.data_ptr(), self.n, self.d

    @property
    def owned(self) -> tuple:
        """What the kernels of one block per owned row take."""
        span = self.n_views, self.begin, self.end
        return *self.inputs, self.views.data_ptr(), *span, self.inv_norm.data_ptr()


class Tiles(Rows):
    """The loss by tiles of `tile` rows and columns."""

    def __init__(self, *args: Any, tile: int = TILE):
        self.tile = tile
        super().__init__(*args)

    def prepare(self) -> None:
        self.h = self.xp.empty((self.n, self.d), self.dtype)  # unit rows
        self.unit = self.xp.empty((self.n, self.f), self.dtype)
        self.call.prepare(
            *self.where, *self.inputs, self.features.data_ptr(), self.f, self.h.data_ptr(), self.unit.data_ptr(),
            self.inv_norm.data_ptr(), self.id.data_ptr(),
        )  # fmt: skip

    def tiles(self) -> Iterator[tuple[slice, slice, bool, torch.Tensor, tuple]]:
        """Every pair of an owned block I and a block J once, as (I, J, whether J is owned too, its cosines, arguments).

        A block with itself comes as one tile with every pair in it twice, (i, j) and (j, i).
        """

        def blocks(first: int, last: int) -> list[slice]:
            return [slice(i, min(i + self.tile, last)) for i in range(first, last, self.tile)]

        own, others = blocks(self.begin, self.end), blocks(0, self.begin) + blocks(self.end, self.n)
        size = min(self.tile, self.n) * min(self.tile, self.own)
        cosines, similarities = self.xp.empty((size,), self.dtype), self.xp.empty((size,), self.dtype)
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

    def own_rows(self, block: slice) -> slice:
        return slice(block.start - self.begin, block.stop - self.begin)

    def sums(self) -> torch.Tensor:
        state = torch.zeros((1, self.own, ROW_STATE), dtype=torch.float64, device=self.device)
        state[..., 3:5] = -2.0 if self.safe else 1.0  # the shifts: below every cosine, or the largest one
        for i, j, both, _, arguments in self.tiles():
            row = state[0, self.own_rows(i)].data_ptr()
            self.call.sums(*arguments, row, state[0, self.own_rows(j)].data_ptr() if both else 0, *self.settings)
        return state

    def gradient(self, stats: torch.Tensor, counts: torch.Tensor, log_tn: torch.Tensor) -> torch.Tensor:
        weights = self.xp.empty((self.n, 2), self.dtype)
        self.call.weights(
            *self.where, stats.data_ptr(), counts.data_ptr(), self.n, self.n_views, log_tn.data_ptr(),
            weights.data_ptr(), *self.settings,
        )  # fmt: skip
        grad = torch.zeros((1, self.own, self.d), dtype=self.h.dtype, device=self.device)
        for i, j, both, g, arguments in self.tiles():
            self.call.coefficients(*arguments, weights[i].data_ptr(), weights[j].data_ptr(), *self.settings)
            grad[0, self.own_rows(i)].addmm_(g, self.h[j])
            if both:
                grad[0, self.own_rows(j)].addmm_(g.T, self.h[i])
        return grad


class Plan(NamedTuple):
    """How the fused kernels take a call. operands: a submodule of `_core.contrastive_tiles.fused`, what they multiply.

    "float16", "bfloat16": the embeddings as they are. "float32": float32 embeddings as the sum of two float16, which
    keeps float32's accuracy. "tf32": float32 embeddings rounded to the 11 significant bits of TF32, in float16.
    """

    operands: str
    strips: int  # the columns are dealt out to so many


class Fused(Rows):
    """The loss by kernels that keep cosines and coefficients on the chip."""

    def __init__(self, *args: Any, plan: Plan):
        self.plan = plan
        self.fused = getattr(_core.contrastive_tiles.fused, plan.operands)
        super().__init__(*args)

    @staticmethod
    def operands(anchor, views) -> str | None:
        """What the kernels would multiply; None for a dtype that they do not take."""
        wide = "float64" in (dtype_name(anchor), dtype_name(views))
        stored = stored_dtype(anchor, views, "float64" if wide else "float32")
        if stored == "float32" and tf32_allowed():
            return "tf32"
        return None if stored == "float64" else stored

    @classmethod
    def plan_for(cls, xp: Arrays, anchor, views, features) -> Plan | None:
        """With enough strips that every processor has work; None where the kernels do not apply."""
        operands = cls.operands(anchor, views)
        if xp.device < 0 or operands is None or 0 in views.shape[1:]:
            return None
        plan = _core.contrastive_tiles.fused_plan(anchor.shape[1], features.shape[1], operands == "float32")
        block_rows, processors = plan
        if block_rows == 0:
            return None
        blocks = -(-views.shape[1] // block_rows)
        return Plan(operands, max(1, min(8, -(-2 * processors // blocks))))

    def prepare(self) -> None:
        padded = (self.n + 127) // 128 * 128 + 128  # fused_padded of csrc/core/contrastive_math.h
        dk, fk = 128 if self.d <= 128 else 256, (self.f + 15) // 16 * 16
        split, empty = self.plan.operands == "float32", self.xp.empty
        number = "bfloat16" if self.plan.operands == "bfloat16" else "float16"
        self.operand_rows = (
            empty((padded, 2 * dk if split else dk), number), empty((padded, 2 * fk), "float16"),
            empty((padded,), "float32"), empty((padded,), "int32"),
        )  # fmt: skip
        self.rows = (*(x.data_ptr() for x in self.operand_rows), padded, dk, fk)
        self.fused.prepare(
            *self.where, *self.inputs, self.features.data_ptr(), self.f, self.id.data_ptr(), *self.rows,
            self.inv_norm.data_ptr(),
        )  # fmt: skip

    def sums(self) -> torch.Tensor:
        state = self.xp.empty((self.plan.strips, self.own, ROW_STATE), "float64")
        self.fused.sums(
            *self.where, *self.rows, self.begin, self.end, self.plan.strips, state.data_ptr(), *self.settings
        )
        return state

    def gradient(self, stats: torch.Tensor, counts: torch.Tensor, log_tn: torch.Tensor) -> torch.Tensor:
        weights = self.xp.empty((len(self.operand_rows[0]), 2), "float32")
        grad = self.xp.empty((self.plan.strips, self.own, self.d), "float32")
        self.call.weights(
            *self.where, stats.data_ptr(), counts.data_ptr(), self.n, self.n_views, log_tn.data_ptr(),
            weights.data_ptr(), *self.settings,
        )  # fmt: skip
        self.fused.gradient(
            *self.where, *self.rows, self.begin, self.end, self.plan.strips, stats.data_ptr(), counts.data_ptr(),
            self.n, self.n_views, log_tn.data_ptr(), weights.data_ptr(), self.d, grad.data_ptr(), *self.settings,
        )  # fmt: skip
        return grad


def version(xp: Arrays, anchor, views, features, group, settings: tuple, row_offset: int) -> Rows:
    """The fused version where it applies, otherwise the tiles."""
    arguments = xp, anchor, views, features, group, row_offset, settings
    plan = Fused.plan_for(xp, anchor, views, features)
    return Fused(*arguments, plan=plan) if plan else Tiles(*arguments)


def contrastive_rows(
    xp: Arrays, anchor, views, features, group, settings: tuple, row_offset: int, make: Callable[..., Rows] = version
) -> tuple[Any, Any]:
    """As `_launch.contrastive_rows`."""
    with xp.guard(), torch.autocast(anchor.device.type, enabled=False):
        rows = make(xp, anchor, views, features, group, settings, row_offset)
        state = rows.sums()
        stats, counts = xp.empty((rows.own, 3), "float64"), xp.empty((rows.own, 2), "int64")
        rows.call.row_stats(
            *rows.where, *rows.owned, state.data_ptr(), len(state), stats.data_ptr(), counts.data_ptr(), *rows.settings
        )
    return stats, counts


def contrastive_backward(
    xp: Arrays, grad_loss, anchor, views, features, group, stats, counts, settings: tuple, row_offset: int,
    make: Callable[..., Rows] = version,
) -> tuple[Any, Any]:  # fmt: skip
    """As `_launch.contrastive_backward`."""
    with xp.guard(), torch.autocast(anchor.device.type, enabled=False):
        rows = make(xp, anchor, views, features, group, settings, row_offset)
        grad_loss, stats = xp.contiguous(grad_loss, "float64"), xp.contiguous(stats, "float64")
        counts, log_tn = xp.contiguous(counts, "int64"), xp.empty((), "float64")
        grad = rows.gradient(stats, counts, log_tn)
        grads = xp.empty((rows.own, rows.d), rows.stored), xp.empty(tuple(views.shape), rows.stored)
        rows.call.row_gradients(
            *rows.where, grad_loss.data_ptr(), *rows.owned, grad.data_ptr(), len(grad), stats.data_ptr(),
            counts.data_ptr(), log_tn.data_ptr(), *(x.data_ptr() for x in grads), *rows.settings,
        )  # fmt: skip
    return xp.contiguous(grads[0], dtype_name(anchor)), xp.contiguous(grads[1], dtype_name(views))
