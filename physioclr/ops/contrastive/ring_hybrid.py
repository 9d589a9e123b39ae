"""hybrid_contrastive_loss of a batch that is spread over processes, in a ring (`ring`): its form, and its views."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from . import ring
from .autograd import used
from .blocks import Form, Problem, Table, Tile, unit_rows
from .engine import NOT_FINITE
from .group import _agree
from .ring import gradient, sums
from .step import scaled


class HybridForm(Form):
    """What `Form` asks, of the modes of hybrid_contrastive_loss. The views' cosines come in when the sums are there."""

    def __init__(self, settings: tuple, cosines: Tensor):
        tau, delta, mode, tau_s, pair_reduction = settings
        super().__init__(float(tau), float(tau_s), mode, 0, float(delta), cosines.shape[1])
        self.cosines, self.mean_pairs = cosines.double(), pair_reduction == "mean"

    def tile(self, own: Table, other: Table, r: slice) -> Tile:
        s = own.h[r] @ other.h.T
        similarity = own.f[r].double() @ other.f.double().T  # double: the threshold's side of a pair is everybody's
        pair = own.known[r][:, None] & other.known & (own.id[r][:, None] != other.id)
        target = ((similarity - 1) / self.tau_s).to(s.dtype) if self.form == "soft" else None
        return Tile(r, s, pair, torch.zeros_like(pair), pair & (similarity >= self.delta), target)

    def sums(self, t: Tile, measure: bool) -> dict[str, Tensor]:
        found = {"pairs": t.pair.sum(1), "positives": t.positive.sum(1)}

        def log_sum(x: Tensor, kept: Tensor) -> Tensor:
            return torch.logsumexp((x / self.tau).masked_fill(~kept, -torch.inf).double(), 1)

        if self.form == "ratio":
            found |= {"log_pos": log_sum(t.s, t.positive), "log_neg": log_sum(t.s, t.pair & ~t.positive)}
        else:
            found["log_z"] = log_sum(t.s, t.pair)
            weight = t.positive.double()
            if self.form == "soft":
                weight = torch.exp(t.target.masked_fill(~t.pair, -torch.inf)).double()  # a view's is 1
            found |= {"weight": weight.sum(1), "mean": torch.where(weight > 0, weight * t.s, 0.0).sum(1)}
            if measure:
                found["square"] = weight.square().sum(1)
        if measure:
            found["cosine"] = torch.where(t.positive, t.s, 0.0).double().sum(1)
            found["closeness"] = torch.where(t.pair, torch.exp(4 * (t.s.double() - 1)), 0.0).sum(1)
        return {k: v.double() for k, v in found.items()}

    def used(self, counts: Tensor) -> Tensor:
        return used(counts, self.n_views, self.form)

    def statistics(self, found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        positives, zero = found["positives"], torch.zeros_like(found["pairs"])
        counts = torch.stack([positives, found["pairs"] - positives], 1).long()
        views = torch.logsumexp(self.cosines / self.tau, 1) if self.n_views else zero - torch.inf
        if self.form == "ratio":
            log_pos = found["log_pos"] - (positives.clamp(min=1).log() if self.mean_pairs else 0)
            told = [found["log_neg"], torch.logaddexp(log_pos, views), zero]
        else:
            weight = found["weight"] + self.n_views
            mean = (found["mean"] + self.cosines.sum(1)) / weight / self.tau
            log_w = weight.log() + 1 / self.tau_s if self.form == "soft" else zero
            told = [torch.logaddexp(found["log_z"], views), mean, log_w]
        return torch.where(self.used(counts)[:, None], torch.stack(told, 1), 0.0), counts

    def measures(self, found: dict[str, Tensor]) -> Tensor:
        number, views = found["positives"], self.n_views
        weight, square = found.get("weight", number), found.get("square", number)
        if self.form == "ratio" and self.mean_pairs:
            weight, square = (number > 0).double(), torch.where(number > 0, 1 / number, 0.0)
        effective = (views + weight).square() / (views + square).clamp(min=1e-300)
        mean = (found["cosine"] + self.cosines.sum(1)) / (number + views)
        return torch.stack([effective, torch.where(number + views > 0, 2 - 2 * mean, 0.0), found["closeness"]], 1)

    def _target(self, counts: Tensor) -> Tensor:
        return 1 / (counts[:, 0] + self.n_views).clamp(min=1).double()

    def coefficients(self, t: Tile, stats: Tensor, counts: Tensor, scale: Tensor) -> Tensor:
        dtype, inf = t.s.dtype, -torch.inf
        column = lambda x: x.to(dtype)[:, None]  # noqa: E731
        logits, used = t.s / self.tau, self.used(counts)
        if self.form == "ratio":
            less = stats[:, 1] + (counts[:, 0].clamp(min=1).double().log() if self.mean_pairs else 0)
            g = torch.exp(
                (logits - torch.where(t.positive, column(less), column(stats[:, 0]))).masked_fill(~t.pair, inf)
            )
            g = torch.where(t.positive, -g, g)
        else:
            g = torch.exp((logits - column(stats[:, 0])).masked_fill(~t.pair, inf))
            if self.form == "soft":
                g -= torch.exp((t.target + 1 / self.tau_s - column(stats[:, 2])).masked_fill(~t.pair, inf))
            else:
                g -= t.positive * column(self._target(counts))
        return (g * column(torch.where(used, scale, 0.0))).masked_fill(~used[:, None], 0)

    def view_coefficients(self, stats: Tensor, counts: Tensor, scale: Tensor) -> Tensor:
        """(rows, views): scale tau dL/dt of the cosines of each row's views."""
        logits = self.cosines / self.tau
        if self.form == "ratio":
            q = -torch.exp(logits - stats[:, 1:2])
        else:
            target = torch.exp(1 / self.tau_s - stats[:, 2]) if self.form == "soft" else self._target(counts)
            q = torch.exp(logits - stats[:, :1]) - target[:, None]
        return torch.where(self.used(counts)[:, None], q * scale, 0.0)


class HybridProblem(Problem):
    """The own rows and their views."""

    def __init__(self, anchor, views, features, group, settings, first):
        dtype = torch.float64 if torch.float64 in (anchor.dtype, views.dtype) else torch.float32
        self.n = self.rows = len(anchor)
        h, self.inv_norm = unit_rows(anchor.to(dtype))
        v, inv = unit_rows(views.to(dtype).flatten(0, 1))
        self.views, self.inv_view = v.view(views.shape), inv.view(*views.shape[:2], 1)
        self.form = HybridForm(settings, (self.views.double() * h.double()).sum(2).T)
        index = torch.arange(self.n, device=anchor.device) + first
        ids = index if group is None else group.to(torch.int64)
        known = (features != 0).any(1)
        f = torch.nn.functional.normalize(features.double(), dim=1).to(dtype)
        self.own = Table(h, index, torch.full_like(index, -2), ids, torch.zeros_like(index), f, known, self.n)
        self.queue = None


class _HybridRing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, anchor, views, features, group, settings, process_group, sizes, measure):
        first = sum(sizes[: dist.get_rank(process_group)])
        ctx.inputs = features, group, settings, process_group, sizes, first
        given = anchor, views, features, group, settings, first
        with torch.autocast(anchor.device.type, enabled=False):
            if ring.KERNELS and anchor.device.type == "cpu":
                from .parts import RingHybrid

                y = RingHybrid(*given)
                stats, counts, measured = y.statistics(ring._visits(y, sizes, process_group), measure)
            else:
                x = HybridProblem(*given)
                found = sums(x, sizes, process_group, measure)
                stats, counts = x.form.statistics(found)
                measured = x.form.measures(found) if measure else stats.new_zeros((0, 3))
            counted = used(counts, len(views), settings[2])
            whole = torch.stack([(stats[:, 0] - stats[:, 1]).sum(), counted.sum()]).double()
            dist.all_reduce(whole, group=process_group)
        ctx.save_for_backward(anchor, views, stats, counts, whole)
        dtype = torch.float64 if torch.float64 in (anchor.dtype, views.dtype) else torch.float32
        loss, skipped = (whole[0] / whole[1].clamp(min=1)).to(dtype), (~counted).sum()
        ctx.mark_non_differentiable(counts, skipped, measured)
        return loss, counts, skipped, measured

    @staticmethod
    def backward(ctx, factor, *_):
        features, group, settings, process_group, sizes, first = ctx.inputs
        anchor, views, stats, counts, whole = ctx.saved_tensors
        given = anchor, views, features, group, settings, first
        with torch.autocast(anchor.device.type, enabled=False), torch.no_grad():
            if ring.KERNELS and anchor.device.type == "cpu":
                from .parts import RingHybrid

                y = RingHybrid(*given)
                grads = y.gradients(ring._visits(y, sizes, process_group), stats, counts, int(whole[1]))
            else:
                x = HybridProblem(*given)
                scale = 1 / (x.form.tau * whole[1].clamp(min=1))
                grad, _ = gradient(x, sizes, process_group, stats, counts, scale)
                q = x.form.view_coefficients(stats, counts, scale).T[:, :, None].to(grad.dtype)
                cosine = x.form.cosines.T[:, :, None].to(grad.dtype)
                grad_views = q * (x.own.h - cosine * x.views) * x.inv_view
                grads = x.normalised(grad + (q * x.views).sum(0)), grad_views
        return *scaled("hybrid_contrastive_loss", factor, (anchor, views), grads), *(None,) * 6


def hybrid_contrastive_loss_in_ring(anchor, views, features, group, settings, process_group, measure):
    """(loss of all rows, counts of the own rows, own rows skipped, measures of the own rows)."""
    sizes = _agree(anchor, views, features, group, settings, process_group, measure)
    finite = torch.isfinite(features).all().to(torch.int64)
    dist.all_reduce(finite, op=dist.ReduceOp.MIN, group=process_group)
    if not finite:
        raise ValueError(NOT_FINITE)
    return _HybridRing.apply(anchor, views, features, group, settings, process_group, sizes, measure)
