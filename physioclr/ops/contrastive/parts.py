"""The pairs of a batch that is spread over processes (`ring`), a part at a time, by the kernels of the CPU.

A part is the rows of one matrix that meet those of another. Its sums are states that merge, its gradient is added up;
what lies around the pairs (statistics of a row, views, normalisation) is that of the version by tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ... import _core
from .._arrays import TorchArrays
from .blocks import Table
from .cpu import MODES
from .cuda import Tiles
from .engine import FORMS, KINDS, NOT_FINITE
from .measures import finish_measures
from .tiles import Sides, _finish_measures, _views_slope

Visitors = Callable[[list[Tensor]], Iterator[tuple[Table, list[Tensor]]]]  # of `ring.visitors`, but for what travels
STATE = 7  # kRowState


def table(h: Tensor, ids: Tensor, f: Tensor | None, views: int = 1) -> Table:
    """Rows as the kernels take them: embeddings of any length, groups, features as they came."""
    nothing: Any = None
    return Table(h.contiguous(), nothing, nothing, ids, nothing, f, None, len(h), views)


def _unused(ids: Tensor) -> Tensor:
    """(1,): the least number from 0 on that is not among them."""
    free = torch.ones(len(ids) + 1, dtype=torch.bool)
    free[ids[(ids >= 0) & (ids < len(free))]] = False
    return free.nonzero()[:1, 0]


class Parts:
    """The own rows, and the kernels that let them meet others.

    sides: 0, all rows meet all; otherwise the first half of the own rows meets the second half of the others, and the
    second half the first. one_sided: the first half alone are anchors.
    """

    def __init__(self, own: Table, settings: dict[str, Any], kind: int, sides: int, queue: Table | None = None):
        self.own, self.settings, self.kind, self.sides, self.queue = own, settings, kind, sides, queue
        self.xp, self.dtype = TorchArrays(own.h), str(own.h.dtype).removeprefix("torch.")
        of, wide = settings, self.dtype == "float64"
        empty = _core.contrastive_empty_state(wide, of["mode"], of["tau"], of["tau_s"], of["delta"])
        self.empty = torch.tensor(empty, dtype=torch.float64)
        self.one_sided = sides == 1

    def meetings(self, other: Table | None, gradient: bool) -> Iterator[tuple[slice, Table | None, slice]]:
        """(own rows, the table they meet, its rows); None: they meet each other."""
        n, everything = len(self.own.h), slice(None)
        if other is self.queue and other is not None:
            yield slice(n // 2) if self.one_sided else everything, other, everything
        elif not self.sides:
            yield everything, other, everything
        else:
            met = other or self.own
            half = len(met.h) // 2
            yield slice(n // 2), met, slice(half, None)
            if gradient or not self.one_sided:
                yield slice(n // 2, None), met, slice(half)

    def fields(self, i: slice, other: Table | None, j: slice) -> tuple[dict[str, Any], int]:
        """What both kernels take, and the number of own rows."""
        own, xp = self.own, self.xp
        h, ids, f = own.h[i], own.id[i], own.f
        kind = 0 if other is not None and other is self.queue else self.kind
        f = f[i] if kind and f is not None else h.new_empty((len(h), 0))
        y: Any = (0, 0, h.shape[1], None)
        if other is not None:
            theirs = other.f[j] if kind and other.f is not None else h.new_empty((len(other.h[j]), 0))
            y, f, ids = xp.view(other.h[j]), torch.cat([f, theirs]), torch.cat([ids, other.id[j]])
        given = {"x": xp.view(h), "y": y, "features": xp.view(f), "kind": kind, "group": xp.pointer(ids)}
        return given | self.settings, len(h)

    def run(self, name: str, **fields: Any) -> None:
        if not self.xp.run(getattr(_core, f"contrastive_part_{name}_{self.dtype}"), **fields):
            raise ValueError(NOT_FINITE)

    # ---- forward

    def sums(self, visitors: Visitors, measure: bool) -> tuple[Tensor, Tensor]:
        """(parts, rows, STATE) states of the own rows, and the sums (rows, 4) of the measures over all parts."""
        rows = len(self.own.h)
        measures = torch.zeros((rows if measure else 0, 4), dtype=torch.float64)
        met = [None] if self.queue is None else [None, self.queue]
        states = [self._sums(other, measures) for other in met]
        states += [self._sums(other, measures) for other, _ in visitors([])]
        return torch.stack(states), measures

    def _sums(self, other: Table | None, measures: Tensor) -> Tensor:
        whole = self.empty.repeat(len(self.own.h), 1)
        for i, met, j in self.meetings(other, False):
            fields, n = self.fields(i, met, j)
            if n == 0 or (met is not None and len(met.h[j]) == 0):
                continue
            measure = len(measures) > 0 and not (met is not None and met is self.queue)
            state, found = torch.empty((n, STATE), dtype=torch.float64), torch.empty((n, 4), dtype=torch.float64)
            self.run(
                "sums", **fields, state=self.xp.pointer(state), measures=self.xp.pointer(found if measure else None)
            )
            whole[i] = state
            if measure:
                measures[i] += found
        return whole

    # ---- backward

    def gradient(
        self, visitors: Visitors, stats: Tensor, counts: Tensor, n_views: int, used: int
    ) -> tuple[Tensor, Tensor]:
        """sum_j G_ij h_j of the own rows, and the sum of G_ij s_ij over pairs with the queue, which are met once."""
        told = stats, counts
        grad, once = torch.zeros_like(self.own.h), torch.zeros((), dtype=torch.float64)

        def add(other: Table | None, theirs: Any) -> None:
            self._gradient(grad, told, other, theirs, n_views, used)

        add(None, told)
        if self.queue is not None:
            before, m = grad.clone(), len(self.queue.h)
            add(self.queue, (stats.new_zeros((m, 3)), counts.new_full((m, 2), -1)))  # nobody's anchors
            unit = torch.nn.functional.normalize(self.own.h.double(), dim=1, eps=0).nan_to_num(0.0)
            once = (unit * (grad - before).double()).sum()
        for other, theirs in visitors([stats, counts]):
            add(other, theirs)
        return grad, once

    def _gradient(self, grad: Tensor, told: Any, other: Table | None, theirs: Any, n_views: int, used: int) -> None:
        for i, met, j in self.meetings(other, True):
            fields, n = self.fields(i, met, j)
            if n == 0 or (met is not None and len(met.h[j]) == 0):
                continue
            pairs = zip(told, theirs, strict=True)
            stats, counts = (x[i] if met is None else torch.cat([x[i], y[j]]) for x, y in pairs)
            part = torch.empty_like(grad[i])
            self.run(
                "gradient", **fields, stats=self.xp.pointer(stats), counts=self.xp.pointer(counts), n_views=n_views,
                used=used, grad=self.xp.pointer(part),
            )  # fmt: skip
            grad[i] += part


class RingSides(Sides):
    """contrastive_loss of the own rows of a ring."""

    def __init__(
        self, a: Tensor, b: Any, negatives: Any, features: Any, group: Any, temperature: Any, tau: float, tau_s: float,
        form: str, sides: int, delta: float, first: int, total: int,
    ):  # fmt: skip
        super().__init__(TorchArrays(a), a, b, negatives, features, group, temperature, tau, tau_s, form, sides, delta)
        copies = self.n_views + 1
        ids = torch.arange(self.n) + first if group is None else group.to(torch.int64)
        raw = None if features is None else features.to(self.x.dtype).repeat(copies, 1)
        own = table(self.x[: self.rows], ids.repeat(copies), raw, copies)
        own.first_alone, own.anchors = sides == 1, self.n if sides == 1 else self.rows
        queue = None
        if negatives is not None:
            queue = table(self.x[self.rows :], _unused(ids).repeat(len(negatives)), None)
        settings = self.settings | {"delta": float(delta)}
        if form == "labels":
            settings["mode"] = FORMS["labels"]
        self.parts = Parts(own, settings, KINDS[form], sides, queue)

    def statistics(self, visitors: Visitors, measure: bool) -> tuple[Tensor, Tensor, Tensor]:
        """stats, counts and measures of all own rows."""
        state, raw = self.parts.sums(visitors, measure)
        stats = torch.empty((self.rows, 3), dtype=torch.float64)
        counts = torch.empty((self.rows, 2), dtype=torch.int64)
        self.run("row_stats", **self.batch, inv_norm=self.inv_norm, state=(state,), stats=stats, counts=counts)
        self.no_anchors(stats, counts)
        measured = raw[:, [2, 1, 0]].contiguous()
        if measure:
            merged = state.sum(0)  # of which the sum over positives is read, which needs no shift
            _finish_measures(self, merged, counts, measured)
        return stats, counts, measured

    def gradients(self, visitors: Visitors, stats: Tensor, counts: Tensor, used: int) -> tuple[Tensor, Tensor]:
        """dL/d(own rows) and the own part of -tau dL/dtau."""
        grad, once = self.parts.gradient(visitors, stats, counts, self.n_views, used)
        log_tn = torch.tensor(self.settings["tau"] * max(used, 1), dtype=torch.float64).log()
        slope = ((grad * self.h[: self.rows]).sum(dtype=torch.float64) + once) / 2
        if self.n_views:
            slope = slope + _views_slope(self, stats, counts, log_tn)
        grads = torch.empty_like(grad), torch.empty_like(self.views)
        self.run(
            "row_gradients", grad_loss=torch.ones((), dtype=torch.float64), **self.batch, inv_norm=self.inv_norm,
            grad_h=(grad[None],), stats=stats, counts=counts, log_tn=log_tn, grad_anchor=grads[0], grad_views=grads[1],
        )  # fmt: skip
        return grads[0] + grads[1][0].roll(self.n, 0) if self.n_views else grads[0], slope


class RingHybrid(Tiles):
    """hybrid_contrastive_loss of the own rows of a ring."""

    def __init__(self, anchor: Tensor, views: Tensor, features: Tensor, group: Any, settings: Any, first: int):
        super().__init__(TorchArrays(anchor), anchor, views, features, group, settings, 0)
        ids = torch.arange(self.n) + first if group is None else group.to(torch.int64)
        self.parts = Parts(table(self.h, ids, self.features), self.settings, KINDS["cosine"], 0)

    def statistics(self, visitors: Visitors, measure: bool) -> tuple[Tensor, Tensor, Tensor]:
        """stats, counts and measures of the own rows."""
        state, raw = self.parts.sums(visitors, measure)
        stats = torch.empty((self.n, 3), dtype=torch.float64)
        counts = torch.empty((self.n, 2), dtype=torch.int64)
        self.run(
            "row_stats", self.stored, **self.batch, inv_norm=self.inv_norm, state=(state,), **self.settings,
            stats=stats, counts=counts,
        )  # fmt: skip
        measured = torch.empty((len(raw), 3), dtype=torch.float64)
        if measure:
            positives = state[..., 2].sum(0) if self.settings["mode"] == MODES["supcon"] else raw[:, 3]
            finish_measures(self, raw, positives, counts, measured)
        return stats, counts, measured

    def gradients(self, visitors: Visitors, stats: Tensor, counts: Tensor, used: int) -> tuple[Tensor, Tensor]:
        """dL/d(own rows) and dL/d(their views)."""
        grad, _ = self.parts.gradient(visitors, stats, counts, self.n_views, used)
        log_tn = torch.tensor(self.settings["tau"] * max(used, 1), dtype=torch.float64).log()
        grads = torch.empty_like(self.anchor), torch.empty_like(self.views)
        self.run(
            "row_gradients", self.stored, grad_loss=torch.ones((), dtype=torch.float64), **self.batch,
            inv_norm=self.inv_norm, grad_h=(grad[None],), stats=stats, counts=counts, log_tn=log_tn, **self.settings,
            grad_anchor=grads[0], grad_views=grads[1],
        )  # fmt: skip
        return grads
