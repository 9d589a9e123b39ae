"""contrastive_loss on a CUDA device: torch.mm makes tiles of cosines, kernels of `_core` do the rest (`cuda.Tiles`).

Each unordered tile once, nothing N x N, every sum in a fixed order. The labels' forms come as "positive where a
similarity of features is 1", the features' similarity from a kernel of our own, so that no setting of torch's products
can move it. The kernels exist for the host too, where the tests drive this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ... import _core
from .._arrays import Arrays
from . import cuda
from .engine import FORMS, KINDS, check_temperature, temperature_of, used

TILE = 4096


class Sides:
    """Rows 0 .. rows - 1 are a, then b, the queue behind them."""

    def __init__(
        self,
        xp: Arrays,
        a,
        b,
        negatives,
        features,
        group,
        temperature,
        tau,
        tau_s,
        form,
        sides,
        delta,
        tile: int = TILE,
    ):
        if temperature is not None:
            check_temperature(temperature)
        given = [x for x in (a, b, negatives) if x is not None]
        wide = any(x.dtype == torch.float64 for x in given)
        self.xp, self.dtype, self.tile = xp, "float64" if wide else "float32", tile
        self.form, self.sides, self.n, self.device = form, sides, len(a), a.device
        self.x = torch.cat([x.to(getattr(torch, self.dtype)) for x in given])
        self.rows = self.n * (1 if b is None else 2)
        self.n_views = 0 if b is None else 1
        inv = torch.where((self.x != 0).any(1), 1 / self.x.double().norm(dim=1), 0.0)
        self.h, self.inv_norm = (self.x.double() * inv[:, None]).to(self.x.dtype), inv
        views = [] if b is None else [self.x[self.n : self.rows], self.x[: self.n]]
        self.views = torch.cat(views)[None] if views else self.x.new_empty((0, self.rows, self.x.shape[1]))

        by_label, copies = form in ("labels", "jaccard"), 2 if b is not None else 1
        numbers = cuda.group_numbers(None if by_label else group, self.n, self.device)
        queue = torch.full((len(self.x) - self.rows,), self.n, dtype=torch.int32, device=self.device)  # of no group
        self.id = torch.cat([numbers] * copies + [queue])
        self.labels = cuda.group_numbers(group, self.n, self.device) if form == "labels" else None
        self.threshold = delta
        self.f = self.half = None
        if features is not None:
            f = features.to(self.x.dtype)
            if KINDS[form] == 1:
                known = (f != 0).any(1)
                f = torch.nn.functional.normalize(f.double(), dim=1).to(f.dtype)
                self.id[: self.rows] = torch.where(known.repeat(copies), self.id[: self.rows], -1)
            else:
                self.half = f.square().sum(1).repeat(copies) / (2 if form == "distance" else 1)
            self.f = f.repeat(copies, 1).contiguous()
        self.settings = {
            "mode": FORMS["jaccard"] if by_label else FORMS[form], "mean_pairs": False,
            "tau": temperature_of(temperature, tau), "tau_s": float(tau_s), "delta": 0.5 if by_label else float(delta),
        }  # fmt: skip

    def run(self, kernel: str, **fields: Any) -> None:
        cuda.run_kernel(self.xp, kernel, self.dtype, fields | self.settings)

    @property
    def batch(self) -> dict[str, Any]:
        return {"anchor": (self.x[: self.rows],), "views": (self.views,), "begin": 0}

    def tiles(self) -> Iterator[tuple[slice, slice, bool, torch.Tensor, dict[str, Any]]]:
        """As cuda.Tiles.tiles: (I, J, whether J's rows are served too, its cosines, fields). The queue's come first."""

        def blocks(first: int, last: int) -> list[slice]:
            return [slice(i, min(i + self.tile, last)) for i in range(first, last, self.tile)]

        first, second, queue = blocks(0, self.n), blocks(self.n, self.rows), blocks(self.rows, len(self.x))
        own = first + second
        games = [(i, j) for i in (first if self.sides == 1 else own) for j in queue]
        games += [(i, j) for i in first for j in second] if self.sides else [
            (i, j) for k, i in enumerate(own) for j in own[k:]
        ]  # fmt: skip
        size = self.tile * min(self.tile, len(self.x))
        cosines, similarities = (self.xp.empty((size,), self.dtype) for _ in range(2))
        for i, j in games:
            rows, cols = i.stop - i.start, j.stop - j.start
            s, f = (x[: rows * cols].view(rows, cols) for x in (cosines, similarities))
            torch.mm(self.h[i], self.h[j].T, out=s)
            self.similarity(i, j, f)
            tile = {"s": s, "f": f, "rows": rows, "cols": cols, "id_i": self.id[i], "id_j": self.id[j]}
            yield i, j, j.start < self.rows and i is not j, s, tile

    def similarity(self, i: slice, j: slice, out: torch.Tensor) -> None:
        if self.labels is not None:
            out.copy_(self.labels[i][:, None] == self.labels[j])
        if self.f is None:
            return
        cuda.run_kernel(self.xp, "similarity", self.dtype, {"a": (self.f[i],), "b": (self.f[j],), "out": out})
        if self.half is None:
            return
        half, other = self.half[i][:, None], self.half[j]
        if self.form == "distance":
            out.sub_(half).sub_(other).add_(1).clamp_(max=1)
        else:
            either = (half + other - out).clamp(min=1).double()
            out.copy_(out.double() / either >= self.threshold)

    def sums(self, measured: torch.Tensor | None) -> torch.Tensor:
        """(1, rows, state) of all rows; adds to measured (rows, 3) the sums of weights, of their squares, closeness."""
        wide, of = self.dtype == "float64", self.settings
        empty = _core.contrastive_empty_state(wide, of["mode"], of["tau"], of["tau_s"], of["delta"])
        state = torch.zeros((1, self.rows, len(empty)), dtype=torch.float64, device=self.device)
        for q, value in enumerate(empty):
            if value:
                state[..., q] = value
        for i, j, both, s, tile in self.tiles():
            self.run("sums", **tile, row_state=state[0, i], col_state=state[0, j] if both else 0)
            if measured is not None and j.start < self.rows:
                self.measure(i, j, both, s, tile["f"], measured)
        return state

    def measure(self, i: slice, j: slice, both: bool, s: torch.Tensor, f: torch.Tensor, out: torch.Tensor) -> None:
        id_i, id_j = self.id[i][:, None], self.id[j]
        pair = (id_i != id_j) & (id_i >= 0) & (id_j >= 0)
        parts = [torch.where(pair, torch.exp((s - 1) * 4), 0.0)]
        if KINDS[self.form] in (1, 2):
            w = torch.where(pair, torch.exp((f - 1) / self.settings["tau_s"]), 0.0)
            parts += [w, w * w]
        for k, x in enumerate(parts):
            out[i, 2 - k] += x.sum(1, dtype=torch.float64)
            if both:
                out[j, 2 - k] += x.sum(0, dtype=torch.float64)

    def no_anchors(self, stats: torch.Tensor, counts: torch.Tensor) -> None:
        if self.sides == 1:
            stats[self.n :], counts[self.n :, 0], counts[self.n :, 1] = 0, -1, 0

    def cosines(self) -> torch.Tensor:
        """(rows,): of the partners."""
        h = self.h[: self.rows].double()
        return (h * h.roll(self.n, 0)).sum(1)


def forward(xp: Arrays, out: Any, *args: Any, make: Any = Sides) -> None:
    """Fills loss, stats, counts, skipped and measures."""
    *args, measure = args
    loss, stats, counts, skipped, measured = out
    with xp.guard(), torch.autocast(args[0].device.type, enabled=False), torch.no_grad():
        x = make(xp, *args)
        if measure:
            measured.zero_()
        state = x.sums(measured if measure else None)
        x.run("row_stats", **x.batch, inv_norm=x.inv_norm, state=(state,), stats=stats, counts=counts)
        x.no_anchors(stats, counts)
        if measure:
            _finish_measures(x, state[0], counts, measured)
        fields = {"stats": (stats,), "counts": counts, "n_views": x.n_views, "mode": x.settings["mode"]}
        cuda.run_kernel(xp, "finish", x.dtype, fields | {"loss": loss, "skipped": skipped})


def _finish_measures(x: Sides, state: torch.Tensor, counts: torch.Tensor, measured: torch.Tensor) -> None:
    by_label = x.form in ("labels", "jaccard")
    number = counts[:, 0].clamp(min=0).double() if by_label else torch.full_like(measured[:, 0], x.n_views)
    square, weight, closeness = (measured[:, k].clone() for k in range(3))
    total = (state[:, 2] if by_label else 0) + (x.cosines() if x.n_views else 0)
    soft = KINDS[x.form] in (1, 2)
    measured[:, 0] = (x.n_views + weight).square() / (x.n_views + square).clamp(min=1e-300) if soft else number
    measured[:, 1] = torch.where(number > 0, 2 - 2 * total / number, 0.0)
    measured[:, 2] = closeness
    if x.sides == 1:
        measured[x.n :] = 0


def backward(xp: Arrays, out: Any, grad_loss: Any, *args: Any, make: Any = Sides) -> None:
    """Fills grad_a, grad_b and grad_tau."""
    *inputs, stats, counts, tau, tau_s, form, sides, delta = args
    with xp.guard(), torch.autocast(inputs[0].device.type, enabled=False), torch.no_grad():
        x = make(xp, *inputs, tau, tau_s, form, sides, delta)
        log_tn = xp.empty((), "float64")
        w = x.x.new_zeros((len(x.x), 2))  # of the queue: no weights
        own = x.x.new_empty((x.rows, 2))
        x.run("weights", stats=(stats,), counts=counts, n_views=x.n_views, log_tn=log_tn, w=own)
        w[: x.rows] = own
        if _logarithms(x):
            w[x.rows :] = -torch.inf
            if form in ("labels", "jaccard", "instance"):
                w[x.rows :, 1] = 0
        grad = x.x.new_zeros((1, x.rows, x.x.shape[1]))
        outside = torch.zeros_like(grad_loss)  # of pairs with the queue, which have one row of their own alone
        for i, j, both, g, tile in x.tiles():
            x.run("coefficients", **tile, w_i=w[i], w_j=w[j])
            part = g @ x.h[j]
            grad[0, i] += part
            if j.start >= x.rows:
                outside += (part * x.h[i]).sum(dtype=torch.float64)
            if both:
                grad[0, j].addmm_(g.T, x.h[i])
        slope = ((grad[0] * x.h[: x.rows]).sum(dtype=torch.float64) + outside) / 2
        if x.n_views:
            slope = slope + _views_slope(x, stats, counts, log_tn)
        out[2].copy_(-slope / x.settings["tau"] * grad_loss)
        grads = x.x.new_empty((x.rows, x.x.shape[1])), torch.empty_like(x.views)
        x.run(
            "row_gradients", grad_loss=grad_loss, **x.batch, inv_norm=x.inv_norm, grad_h=(grad,), stats=stats,
            counts=counts, log_tn=log_tn, grad_anchor=grads[0], grad_views=grads[1],
        )  # fmt: skip
        whole = grads[0] + grads[1][0].roll(x.n, 0) if x.n_views else grads[0]
        out[0].copy_(whole[: x.n])
        out[1].copy_(whole[x.n :])


def _logarithms(x: Sides) -> bool:
    """Whether weights are logarithms (needs_maxima of core/contrastive_math.h): an empty state's shift is then -2."""
    of = x.settings
    return _core.contrastive_empty_state(x.dtype == "float64", of["mode"], of["tau"], of["tau_s"], of["delta"])[3] < 0


def _views_slope(x: Sides, stats: torch.Tensor, counts: torch.Tensor, log_tn: torch.Tensor) -> torch.Tensor:
    """Sum of t dL/dt over the anchors' partners, t their cosine."""
    t, tau, anchors = x.cosines(), x.settings["tau"], counts[:, 0] >= 0
    if x.form == "hard":
        q = torch.expm1(stats[:, 1] - stats[:, 0])
    else:
        target = torch.exp(1 / x.settings["tau_s"] - stats[:, 2]) if KINDS[x.form] else 1.0
        q = torch.exp(t / tau - stats[:, 0]) - target
    return torch.where(anchors & used(counts, x.form), q * t, 0.0).sum() * torch.exp(-log_tn)
