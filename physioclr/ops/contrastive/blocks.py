"""contrastive_loss in torch's own operations, a block of rows at a time: the form of any device, and of a ring.

O(N D + ROWS N) memory, the sums in the order of the blocks. Each anchor is told its statistics first
(`core/contrastive_calls.h`), and the gradient comes from these and the cosines, computed again. Rows meet `Table`s of
others: their own, or one that came from another process (`ring`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .engine import KINDS, temperature_of, used

ROWS = 2048


@dataclass
class Table:
    """Rows that others meet. Anchors are its first `anchors` rows."""

    h: Tensor  # (R, D), unit rows
    index: Tensor  # (R,): numbers of the rows, the same in every process; of the queue -1
    partner: Tensor  # (R,): the other view's index; -2 where there is none
    id: Tensor  # (R,): groups; of the queue -1
    side: Tensor  # (R,): 0 of a, 1 of b; of the queue -1
    f: Any  # (R, F), or None
    known: Any  # (R,): it has features
    anchors: int
    views: int = 1  # rows of each record
    first_alone: bool = False  # the rows of a alone are anchors
    is_queue: bool = False


class Tile(NamedTuple):
    """A block of anchors against a table."""

    rows: slice
    s: Tensor  # cosines
    pair: Tensor  # what the anchor is compared with, the partner included
    partner: Tensor
    positive: Tensor | None  # "labels", "jaccard"
    target: Tensor | None  # "cosine", "distance": log of the weight


@dataclass
class Form:
    tau: float
    tau_s: float
    form: str
    sides: int
    delta: float
    n_views: int

    @property
    def by_label(self) -> bool:
        return self.form in ("labels", "jaccard")

    def tiles(self, own: Table, other: Table) -> Iterator[Tile]:
        for i in range(0, own.anchors, ROWS):
            yield self.tile(own, other, slice(i, min(i + ROWS, own.anchors)))

    def tile(self, own: Table, other: Table, r: slice) -> Tile:
        s = own.h[r] @ other.h.T
        itself = own.index[r][:, None] == other.index
        same = torch.zeros_like(itself) if other.is_queue else own.id[r][:, None] == other.id
        pair, positive, target = ~same, None, None
        if self.by_label:
            pair, positive = ~itself, same & ~itself
        if self.sides:
            pair = pair & (own.side[r][:, None] != other.side)
        if self.form == "jaccard":
            both = own.f[r].double() @ other.f.double().T
            either = own.f[r].double().sum(1)[:, None] + other.f.double().sum(1) - both
            positive = (both / either.clamp(min=1) >= self.delta) & ~itself
        elif own.f is not None:
            f, g = own.f[r], other.f
            if self.form == "cosine":
                target = ((f @ g.T) - 1) / self.tau_s
            else:
                half, other_half = f.square().sum(1) / 2, g.square().sum(1) / 2
                target = (f @ g.T - half[:, None] - other_half).clamp(max=0) / self.tau_s
            pair = pair & own.known[r][:, None] & other.known
        partner = own.partner[r][:, None] == other.index
        pair = pair | partner
        if target is not None:
            target = target.masked_fill(partner, 0)
        return Tile(r, s, pair, partner, positive, target)

    # ---- the sums of a row, over some of the rows that it meets

    def sums(self, t: Tile, measure: bool) -> dict[str, Tensor]:
        """Each (rows,), float64; what is called log_ is combined as a logarithm, the others are added."""
        inf, compared = -torch.inf, t.pair & ~t.partner
        sums = {"cosine": (t.partner * t.s).sum(1), "pairs": compared.sum(1)}
        if self.form == "hard":
            for name, scale in (("log_s1", 1 + self.delta), ("log_s0", self.delta)):
                sums[name] = torch.logsumexp((t.s * (scale / self.tau)).masked_fill(~compared, inf).double(), 1)
        else:
            sums["log_z"] = torch.logsumexp((t.s / self.tau).masked_fill(~t.pair, inf).double(), 1)
        if t.positive is not None:
            sums |= {"positives": t.positive.sum(1), "mean": torch.where(t.positive, t.s, 0.0).double().sum(1)}
        if t.target is not None:
            w = torch.exp(t.target.masked_fill(~t.pair, inf)).double()  # the partner's is 1
            sums |= {"weight": w.sum(1), "mean": (w * t.s).sum(1)}
            if measure:
                sums["square"] = w.square().sum(1)
        if measure:
            inside = compared & (t.s == t.s)
            sums["closeness"] = torch.where(inside, torch.exp(4 * (t.s.double() - 1)), 0.0).sum(1)
        return {k: v.double() for k, v in sums.items()}

    def used(self, counts: Tensor) -> Tensor:
        """The anchors that are part of the mean."""
        return used(counts, self.form)

    def statistics(self, sums: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """stats (rows, 3) and counts (rows, 2) of anchors from their sums over all rows."""
        pairs = sums["pairs"]
        positives = sums.get("positives", torch.zeros_like(pairs))
        counts = torch.stack([positives, pairs - positives], 1).long()
        own = sums["cosine"] / self.tau
        if self.form == "hard":
            x = pairs.log() + sums["log_s1"] - sums["log_s0"] - own
            loss = torch.nn.functional.softplus(x, threshold=1e4)
            told = [loss + sums["log_s0"], sums["log_s0"], sums["log_s1"]]
            told = [torch.where(pairs > 0, x, 0.0) for x in told]
        elif self.by_label:
            told = [sums["log_z"], sums["mean"] / positives.clamp(min=1) / self.tau]
        elif "weight" in sums:
            told = [sums["log_z"], sums["mean"] / sums["weight"] / self.tau, sums["weight"].log() + 1 / self.tau_s]
        else:
            told = [sums["log_z"], own]
        stats = torch.stack(told + [torch.zeros_like(pairs)] * (3 - len(told)), 1)
        return torch.where(self.used(counts)[:, None], stats, 0.0), counts

    def measures(self, sums: dict[str, Tensor]) -> Tensor:
        """(rows, 3) of anchors, as ContrastiveLossCall has them."""
        number = sums.get("positives", torch.full_like(sums["pairs"], self.n_views))
        effective = sums["weight"].square() / sums["square"] if "weight" in sums else number
        mean = (sums["mean"] if self.by_label else sums["cosine"]) / number
        return torch.stack([effective, torch.where(number > 0, 2 - 2 * mean, 0.0), sums["closeness"]], 1)

    def coefficients(self, t: Tile, stats: Tensor, counts: Tensor, scale: Tensor) -> Tensor:
        """(rows, others): scale tau dL/ds of the anchors of a tile, stats and counts their own."""
        dtype = t.s.dtype
        column = lambda x: x.to(dtype)[:, None]  # noqa: E731
        if self.form == "hard":
            share = -torch.expm1(stats[:, 1] - stats[:, 0])
            g = torch.zeros_like(t.s)
            for k, beta, sign in ((2, 1 + self.delta, 1), (1, self.delta, -1)):
                part = torch.exp(
                    (t.s * (beta / self.tau) - column(stats[:, k])).masked_fill(~t.pair | t.partner, -torch.inf)
                )
                g += sign * beta * column(share) * part
            g -= t.partner * column(share)
        else:
            g = torch.exp((t.s / self.tau - column(stats[:, 0])).masked_fill(~t.pair, -torch.inf))
            if t.positive is not None:
                g -= t.positive / column(counts[:, 0].clamp(min=1))
            elif t.target is not None:
                g -= torch.exp((t.target + 1 / self.tau_s - column(stats[:, 2])).masked_fill(~t.pair, -torch.inf))
            else:
                g -= t.partner.to(dtype)
        counted = self.used(counts)
        return (g * column(torch.where(counted, scale, 0.0))).masked_fill(~counted[:, None], 0)


def combine(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The sums over several tables. A queue has no closeness."""
    stacked = {k: torch.stack([p[k] for p in parts if k in p]) for k in parts[0]}
    return {k: torch.logsumexp(v, 0) if k.startswith("log_") else v.sum(0) for k, v in stacked.items()}


class Problem:
    """The rows of one process: `own` (a, then b), and `queue` or None."""

    def __init__(self, a, b, negatives, features, group, temperature, tau, tau_s, form, sides, delta, first=0, step=0):
        """first: the number of the first row of a; step: what b's numbers have more than a's, 0: len(a)."""
        tensors = [x for x in (a, b) if x is not None]
        given = tensors if negatives is None else [*tensors, negatives]
        dtype = torch.float64 if any(x.dtype == torch.float64 for x in given) else torch.float32
        self.n, self.rows, device = len(a), len(a) * len(tensors), a.device
        self.form = Form(temperature_of(temperature, tau), tau_s, form, sides, delta, len(tensors) - 1)
        x = torch.cat([t.to(dtype) for t in tensors])
        h, self.inv_norm = unit_rows(x)
        record, step = torch.arange(self.n, device=device) + first, step or self.n
        ids = record if group is None else group.to(torch.int64)
        index = torch.cat([record + k * step for k in range(len(tensors))])
        partner = torch.cat([record + step, record]) if len(tensors) == 2 else torch.full_like(index, -2)
        f = known = None
        if features is not None:
            f = features.to(dtype).repeat(len(tensors), 1)
            known = torch.ones(len(f), dtype=torch.bool, device=device)
            if KINDS[form] == 1:
                known = (f != 0).any(1)
                f = torch.nn.functional.normalize(f.double(), dim=1).to(dtype)
        side = torch.arange(len(tensors), device=device).repeat_interleave(self.n)
        ids = _numbered(ids) if first == 0 and step == self.n else ids
        anchors = self.n if sides == 1 else self.rows
        ids = ids.repeat(len(tensors))
        self.own = Table(h, index, partner, ids, side, f, known, anchors, len(tensors), sides == 1)
        self.queue = None
        if negatives is not None:
            none = torch.full((len(negatives),), -1, dtype=torch.int64, device=device)
            self.queue = Table(unit_rows(negatives.to(dtype))[0], none, none, none, none, None, None, 0, is_queue=True)

    def sums(self, others: Table, measure: bool) -> dict[str, Tensor]:
        """Of the anchors, over the rows of a table."""
        measure = measure and not others.is_queue
        tiles = (
            self.form.tiles(self.own, others) if self.own.anchors else [self.form.tile(self.own, others, slice(0, 0))]
        )
        parts = [self.form.sums(t, measure) for t in tiles]
        return {k: torch.cat([p[k] for p in parts]) for k in parts[0]}

    def normalised(self, grad: Tensor) -> Tensor:
        """The way back through the normalisation."""
        h = self.own.h
        return (grad - (grad * h).sum(1, keepdim=True) * h) * self.inv_norm


def unit_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    inv_norm = torch.where((x != 0).any(1), 1 / x.double().norm(dim=1), 0.0).to(x.dtype)[:, None]
    return x * inv_norm, inv_norm


def _numbered(ids: Tensor) -> Tensor:
    return torch.unique(ids, return_inverse=True)[1]


def forward(out: Any, *args: Any) -> None:
    """Fills loss, stats, counts, skipped and measures."""
    args, measure = args[:-1], args[-1]
    loss, stats, counts, skipped, measured = out
    with torch.autocast(args[0].device.type, enabled=False), torch.no_grad():
        x = Problem(*args)
        anchors = x.own.anchors
        sums = combine([x.sums(table, measure) for table in (x.own, x.queue) if table is not None])
        for array, value in ((stats, 0), (counts[:, 0], -1), (counts[:, 1], 0), (measured, 0)):
            array.fill_(value)
        told, number = x.form.statistics(sums)
        stats[:anchors], counts[:anchors] = told.to(stats.dtype), number
        if measure:
            measured[:anchors] = x.form.measures(sums)
        counted = x.form.used(number)
        loss.copy_((stats[:, 0] - stats[:, 1]).sum() / counted.sum().clamp(min=1))
        skipped.copy_(len(counts) - counted.sum())


def backward(out: Any, grad_loss: Any, a: Any, *args: Any) -> None:
    """Fills grad_a, grad_b and grad_tau."""
    *inputs, stats, counts, tau, tau_s, form, sides, delta = args
    with torch.autocast(a.device.type, enabled=False), torch.no_grad():
        b, negatives, features, group, temperature = inputs
        x = Problem(a, b, negatives, features, group, temperature, tau, tau_s, form, sides, delta)
        number = x.form.used(counts).sum().clamp(min=1).double()
        scale = grad_loss / (x.form.tau * number)
        grad, slope = torch.zeros_like(x.own.h), torch.zeros_like(grad_loss)
        for table in (x.own, x.queue):
            for t in x.form.tiles(x.own, table) if table is not None else ():
                g = x.form.coefficients(t, stats[t.rows], counts[t.rows], scale)
                slope -= (g * t.s).sum(dtype=torch.float64) / x.form.tau
                grad[t.rows] += g @ table.h
                if table is x.own:
                    grad += g.T @ table.h[t.rows]
        grad = x.normalised(grad)
        out[0].copy_(grad[: x.n])
        out[1].copy_(grad[x.n :])
        out[2].copy_(slope)
