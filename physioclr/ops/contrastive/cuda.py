"""hybrid_contrastive_loss on CUDA: by tiles, of which torch.mm makes the cosines, or by fused kernels.

`Tiles` is the version for every dtype and width: kernels of `_core` do everything to a tile but the products. `Fused`
does the products too, on tensor cores, for embeddings of at most 256 columns and 64 features, but not float64. All of
it is queued on torch's current stream, nothing waits for the device, nothing is N x N, and every sum has a fixed order.
The kernels exist for the host too, so that the tests drive this file on any machine; the CPU's own version is `cpu`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from ... import _core
from .._arrays import Arrays
from .cpu import MODES, Settings, compute_dtype, settings_fields, stored_dtype
from .measures import measured

TILE = 4096  # rows and columns of a tile: two tiles of float32 are 134 MB


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


def run_kernel(xp: Arrays, kernel: str, dtype: str, fields: dict[str, Any]) -> None:
    """A kernel of `_core`; tensors go as addresses, those in a tuple with their shapes."""
    given = {
        k: xp.view(v[0]) if isinstance(v, tuple) else xp.pointer(v) if isinstance(v, torch.Tensor) else v
        for k, v in fields.items()
    }
    xp.run(getattr(_core, f"contrastive_{kernel}_{dtype}"), **given)


class Rows(ABC):
    """The inputs of one call, made ready."""

    def __init__(self, xp: Arrays, anchor, views, features, group, settings: Settings, row_offset: int):
        self.xp, self.dtype, self.stored = xp, compute_dtype(anchor, views), stored_dtype(anchor, views)
        self.anchor, self.views = xp.contiguous(anchor, self.stored), xp.contiguous(views, self.stored)
        self.features = xp.contiguous(features, self.dtype)
        (self.n, self.d), self.f, self.n_views = anchor.shape, features.shape[1], len(views)
        self.begin, self.end = row_offset, row_offset + views.shape[1]
        self.own = self.end - self.begin
        self.settings, self.device = settings_fields(*settings), anchor.device
        wide, of = self.dtype == "float64", self.settings
        self.empty_state = _core.contrastive_empty_state(wide, of["mode"], of["tau"], of["tau_s"], of["delta"])
        self.inv_norm, self.id = xp.empty((self.n,), "float64"), group_numbers(group, self.n, anchor.device)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Fills inv_norm and whatever the version multiplies."""

    @abstractmethod
    def sums(self) -> torch.Tensor:
        """(strips, n, len(empty_state)): the sums of each owned row over the columns of each strip."""

    @abstractmethod
    def gradient(self, stats: torch.Tensor, counts: torch.Tensor, log_tn: torch.Tensor) -> torch.Tensor:
        """(strips, n, D): sum_j G_ij h_j of each owned row; fills log_tn."""

    def run(self, kernel: str, dtype: str, **fields: Any) -> None:
        run_kernel(self.xp, kernel, dtype, fields)

    @property
    def batch(self) -> dict[str, Any]:
        return {"anchor": (self.anchor,), "views": (self.views,), "begin": self.begin}

    def weights(self, stats: torch.Tensor, counts: torch.Tensor, log_tn: torch.Tensor) -> torch.Tensor:
        """The weights (n, 2) of all rows; fills log_tn."""
        w = self.xp.empty((self.n, 2), self.dtype)
        self.run(
            "weights", self.dtype, stats=(stats,), counts=counts, n_views=self.n_views, **self.settings,
            log_tn=log_tn, w=w,
        )  # fmt: skip
        return w


class Tiles(Rows):
    """The loss by tiles of `tile` rows and columns."""

    def __init__(self, *args: Any, tile: int = TILE):
        self.tile = tile
        super().__init__(*args)

    def prepare(self) -> None:
        self.h = self.xp.empty((self.n, self.d), self.dtype)  # unit rows
        self.unit = self.xp.empty((self.n, self.f), self.dtype)
        self.run(
            "prepare", self.stored, anchor=(self.anchor,), features=(self.features,), h=self.h, unit=self.unit,
            inv_norm=self.inv_norm, id=self.id,
        )  # fmt: skip

    def tiles(self) -> Iterator[tuple[slice, slice, bool, torch.Tensor, dict[str, Any]]]:
        """Every pair of an owned block I and a block J once, as (I, J, whether J is owned too, its cosines, fields).

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
                self.run("similarity", self.dtype, a=(self.unit[i],), b=(self.unit[j],), out=similarities)
                tile = {"s": s, "f": similarities, "rows": rows, "cols": cols, "id_i": self.id[i], "id_j": self.id[j]}
                yield i, j, self.begin <= j.start < self.end and i is not j, s, tile

    def own_rows(self, block: slice) -> slice:
        return slice(block.start - self.begin, block.stop - self.begin)

    def sums(self) -> torch.Tensor:
        state = torch.zeros((1, self.own, len(self.empty_state)), dtype=torch.float64, device=self.device)
        for q, value in enumerate(self.empty_state):
            if value:
                state[..., q] = value
        for i, j, both, _, tile in self.tiles():
            row, col = state[0, self.own_rows(i)], state[0, self.own_rows(j)] if both else None
            self.run("sums", self.dtype, **tile, **self.settings, row_state=row, col_state=0 if col is None else col)
        return state

    def gradient(self, stats: torch.Tensor, counts: torch.Tensor, log_tn: torch.Tensor) -> torch.Tensor:
        w = self.weights(stats, counts, log_tn)
        grad = torch.zeros((1, self.own, self.d), dtype=self.h.dtype, device=self.device)
        for i, j, both, g, tile in self.tiles():
            self.run("coefficients", self.dtype, **tile, **self.settings, w_i=w[i], w_j=w[j])
            grad[0, self.own_rows(i)].addmm_(g, self.h[j])
            if both:
                grad[0, self.own_rows(j)].addmm_(g.T, self.h[i])
        return grad


class FusedPlan(NamedTuple):
    """How the fused kernels take a call. operands: what they multiply.

    "float16", "bfloat16": the embeddings as they are. "float32": float32 embeddings as the sum of two float16, which
    keeps float32's accuracy. "tf32": float32 embeddings rounded to the 11 significant bits of TF32, in float16.
    """

    operands: str
    strips: int  # the columns are dealt out to so many


class Fused(Rows):
    """The loss by kernels that keep cosines and coefficients on the chip."""

    def __init__(self, *args: Any, plan: FusedPlan):
        self.plan = plan
        super().__init__(*args)

    @staticmethod
    def operands(anchor, views) -> str | None:
        """What the kernels would multiply; None for a dtype that they do not take."""
        stored = stored_dtype(anchor, views)
        if stored == "float32" and tf32_allowed():
            return "tf32"
        return None if stored == "float64" else stored

    @classmethod
    def plan_for(cls, xp: Arrays, anchor, views, features) -> FusedPlan | None:
        """With enough strips that every processor has work; None where the kernels do not apply."""
        operands = cls.operands(anchor, views)
        if xp.device < 0 or operands is None or 0 in views.shape[1:]:
            return None
        block_rows, processors = _core.contrastive_fused_plan(anchor.shape[1], features.shape[1], operands == "float32")
        if block_rows == 0:
            return None
        blocks = -(-views.shape[1] // block_rows)
        return FusedPlan(operands, max(1, min(8, -(-2 * processors // blocks))))

    def prepare(self) -> None:
        padded, dk, fk = _core.contrastive_fused_shape(self.n, self.d, self.f)
        operands, empty = self.plan.operands, self.xp.empty
        self.number = "float16" if operands == "tf32" else operands  # the kernels of the rounded rows are float16's
        x = empty(
            (padded, 2 * dk if operands == "float32" else dk), "bfloat16" if operands == "bfloat16" else "float16"
        )
        self.rows = {
            "x": x, "f": empty((padded, 2 * fk), "float16"), "r": empty((padded,), "float32"),
            "id": empty((padded,), "int32"), "padded": padded, "dk": dk, "fk": fk,
        }  # fmt: skip
        self.run(
            "fused_prepare", operands, anchor=(self.anchor,), features=(self.features,), group=self.id, **self.rows,
            inv_norm=self.inv_norm,
        )  # fmt: skip

    def sums(self) -> torch.Tensor:
        state = self.xp.empty((self.plan.strips, self.own, len(self.empty_state)), "float64")
        self.run("fused_sums", self.number, **self.rows, **self.settings, begin=self.begin, state=(state,))
        return state

    def gradient(self, stats: torch.Tensor, counts: torch.Tensor, log_tn: torch.Tensor) -> torch.Tensor:
        self.weights(stats, counts, log_tn)  # for log_tn
        grad = self.xp.empty((self.plan.strips, self.own, self.d), "float32")
        self.run(
            "fused_gradient", self.number, **self.rows, **self.settings, begin=self.begin, stats=(stats,),
            counts=counts, n_views=self.n_views, log_tn=log_tn, w=self.xp.empty((self.rows["padded"], 2), "float32"),
            grad_h=(grad,),
        )  # fmt: skip
        return grad


def version(xp: Arrays, anchor, views, features, group, settings: Settings, row_offset: int) -> Rows:
    """The fused version where it applies, otherwise the tiles."""
    arguments = xp, anchor, views, features, group, settings, row_offset
    plan = Fused.plan_for(xp, anchor, views, features)
    return Fused(*arguments, plan=plan) if plan else Tiles(*arguments)


def contrastive_rows(
    xp: Arrays, out: Any, anchor, views, features, group, settings: Settings, row_offset: int,
    make: Callable[..., Rows] = version,
) -> None:  # fmt: skip
    """As `cpu.contrastive_rows`."""
    with xp.guard(), torch.autocast(anchor.device.type, enabled=False):
        rows = make(xp, anchor, views, features, group, settings, row_offset)
        rows.run(
            "row_stats", rows.stored, **rows.batch, inv_norm=rows.inv_norm, state=(rows.sums(),), **rows.settings,
            stats=out[0], counts=out[1],
        )  # fmt: skip
        measured(rows, out)


def slope_by_tau(rows: Rows, grad: torch.Tensor, stats, counts, log_tn) -> torch.Tensor:
    """dL/dtau, the part of the pairs of the owned rows and of their views: - sum of s dL/ds over tau, for L depends on
    the cosines s through s / tau alone."""
    own, of = slice(rows.begin, rows.end), rows.settings
    unit = lambda x: torch.nn.functional.normalize(x.to(torch.float64), dim=-1, eps=0)  # noqa: E731
    h = (rows.anchor[own].double() * rows.inv_norm[own, None]).to(grad.dtype)
    pairs = (h[None] * grad).sum(dtype=torch.float64) / 2
    if rows.n_views == 0:
        return -pairs / of["tau"]
    cosine = (h.double()[None] * unit(rows.views).nan_to_num(0.0)).sum(2)
    (z, log_pos, log_w), (positives, negatives), ratio = stats[own].T, counts[own].T, of["mode"] == MODES["ratio"]
    used = (positives + rows.n_views > 0) & ((negatives if ratio else positives + negatives) > 0)
    q = -torch.exp(cosine / of["tau"] - log_tn - log_pos)
    if not ratio:
        soft = of["mode"] == MODES["soft"]
        target = 1 / of["tau_s"] - log_w if soft else -torch.log((positives + rows.n_views).double())
        q = torch.exp(cosine / of["tau"] - log_tn - z) - torch.exp(target - log_tn)
    return -(pairs + torch.where(used, q * cosine, 0.0).sum()) / of["tau"]


def contrastive_backward(
    xp: Arrays, grads: Any, grad_loss, anchor, views, features, group, stats, counts, settings: Settings,
    row_offset: int, make: Callable[..., Rows] = version,
) -> None:  # fmt: skip
    """As `cpu.contrastive_backward`."""
    with xp.guard(), torch.autocast(anchor.device.type, enabled=False):
        rows = make(xp, anchor, views, features, group, settings, row_offset)
        grad_loss, stats = xp.contiguous(grad_loss, "float64"), xp.contiguous(stats, "float64")
        counts, log_tn = xp.contiguous(counts, "int64"), xp.empty((), "float64")
        grad = rows.gradient(stats, counts, log_tn)
        grads[2].copy_(slope_by_tau(rows, grad, stats, counts, log_tn) * grad_loss)
        rows.run(
            "row_gradients", rows.stored, grad_loss=grad_loss, **rows.batch, inv_norm=rows.inv_norm, grad_h=(grad,),
            stats=stats, counts=counts, log_tn=log_tn, **rows.settings, grad_anchor=grads[0], grad_views=grads[1],
        )  # fmt: skip
