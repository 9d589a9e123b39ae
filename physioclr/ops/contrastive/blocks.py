"""contrastive_loss in torch's own operations, a block of rows at a time: the form of any device.

O(N D + ROWS N) memory, the sums in the order of the blocks. Each anchor is told its log Z, sum of targets times s / tau
and log W first (`core/contrastive_calls.h`), and the gradient comes from these and the cosines, computed again.
"""

from __future__ import annotations

from typing import Any

import torch

from .engine import KINDS, temperature_of

ROWS = 2048


class _Blocks:
    def __init__(self, a, b, negatives, features, group, temperature, tau, tau_s, form, sides):
        self.tau, self.tau_s, self.form, self.sides = temperature_of(temperature, tau), tau_s, form, sides
        tensors = [x for x in (a, b, negatives) if x is not None]
        wide = any(x.dtype == torch.float64 for x in tensors)
        self.dtype, self.n, device = torch.float64 if wide else torch.float32, len(a), a.device
        self.rows = self.n * (1 if b is None else 2)
        self.n_views = self.rows // self.n - 1 if self.n else 0
        x = torch.cat([t.to(self.dtype) for t in tensors])
        self.inv_norm = torch.where((x != 0).any(1), 1 / x.double().norm(dim=1), 0.0).to(self.dtype)[:, None]
        self.h = x * self.inv_norm[: len(x)]
        record = torch.arange(self.rows, device=device) % max(self.n, 1)
        ids = torch.arange(self.n, device=device) if group is None else group.to(torch.int64)
        ids = torch.unique(ids, return_inverse=True)[1]
        self.id = torch.cat([ids[record], torch.full((len(x) - self.rows,), -1, device=device)])
        self.side = torch.cat([torch.arange(self.rows, device=device) // max(self.n, 1), self.id[self.rows :]])
        self.f: Any = None
        self.known: Any = None
        if features is not None:
            f = features.to(self.dtype)[record]
            self.known = torch.ones(len(f), dtype=torch.bool, device=device)
            if KINDS[form] == 1:
                self.known = (f != 0).any(1)
                f = torch.nn.functional.normalize(f.double(), dim=1).to(self.dtype)
            self.f = f
        self.anchors = self.n if sides == 1 else self.rows

    def partner(self, block: torch.Tensor) -> torch.Tensor:
        return (block + self.n) % max(self.rows, 1)

    def tiles(self):
        """(rows, cosines, candidates with the partner, positives of "labels", log targets of "cosine", "distance")."""
        for i in range(0, self.anchors, ROWS):
            r = torch.arange(i, min(i + ROWS, self.anchors), device=self.h.device)
            s = self.h[r] @ self.h.T
            same = self.id[r][:, None] == self.id[None]
            itself = torch.zeros_like(same)
            itself[r - i, r] = True
            pair, positive, target = ~same, same & ~itself, None
            if self.form == "labels":
                pair = ~itself
            if self.sides:
                pair = pair & (self.side[r][:, None] != self.side[None])
            if self.f is not None:
                f, g = self.f[r], self.f
                if self.form == "cosine":
                    target = ((f @ g.T) - 1) / self.tau_s
                else:
                    half, all_half = f.square().sum(1) / 2, g.square().sum(1) / 2
                    target = (f @ g.T - half[:, None] - all_half[None]).clamp(max=0) / self.tau_s
                pair = pair & self.known[r][:, None] & self.known[None]
            counts = torch.stack([(positive & pair).sum(1), pair.sum(1)], 1)
            if self.form != "labels":
                counts[:, 0] = 0
            else:
                counts[:, 1] -= counts[:, 0]
            if self.n_views:
                pair[r - i, self.partner(r)] = True
                if target is not None:
                    target[r - i, self.partner(r)] = 0
            yield r, s, pair, positive, target, counts

    def targets(self, r, pair, positive, target):
        """(rows, all): the normalised targets."""
        if self.form == "instance":
            t = torch.zeros_like(pair, dtype=self.dtype)
            t[r - r[0], self.partner(r)] = 1
            return t
        if self.form == "labels":
            return positive.to(self.dtype) / positive.sum(1, keepdim=True).clamp(min=1)
        return torch.softmax(target.masked_fill(~pair, -torch.inf), 1)

    def used(self, counts: torch.Tensor) -> torch.Tensor:
        if self.form == "instance":
            return counts[:, 0] >= 0
        return (counts[:, 0] + self.n_views > 0) & (counts.sum(1) > 0)


def forward(out: Any, *args: Any) -> None:
    """Fills loss, stats, counts and skipped."""
    loss, stats, counts, skipped = out
    with torch.autocast(args[0].device.type, enabled=False), torch.no_grad():
        x = _Blocks(*args)
        stats.zero_()
        counts[:, 0], counts[:, 1] = -1, 0
        for r, s, pair, positive, target, count in x.tiles():
            used, logits = x.used(count), s / x.tau
            log_z = torch.logsumexp(logits.masked_fill(~pair, -torch.inf), 1)
            mean = (x.targets(r, pair, positive, target) * logits).sum(1)
            counts[r] = count
            told = [log_z, mean]
            if target is not None:
                told.append(torch.logsumexp(target.masked_fill(~pair, -torch.inf), 1) + 1 / x.tau_s)
            for k, y in enumerate(told):
                stats[r, k] = torch.where(used, y, 0.0).to(stats.dtype)
        used = x.used(counts) & (counts[:, 0] >= 0)
        loss.copy_((stats[:, 0] - stats[:, 1]).sum() / used.sum().clamp(min=1))
        skipped.copy_(len(counts) - used.sum())


def backward(out: Any, grad_loss: Any, a: Any, *args: Any) -> None:
    """Fills grad_a, grad_b and grad_tau."""
    *inputs, stats, counts, tau, tau_s, form, sides = args
    with torch.autocast(a.device.type, enabled=False), torch.no_grad():
        b, negatives, features, group, temperature = inputs
        x = _Blocks(a, b, negatives, features, group, temperature, tau, tau_s, form, sides)
        used = x.used(counts) & (counts[:, 0] >= 0)
        weight = grad_loss / (x.tau * used.sum().clamp(min=1).double())
        grad, slope = torch.zeros_like(x.h[: x.rows]), torch.zeros_like(grad_loss)
        for r, s, pair, positive, target, _ in x.tiles():
            g = torch.exp((s / x.tau - stats[r, :1].to(x.dtype)).masked_fill(~pair, -torch.inf))
            g -= x.targets(r, pair, positive, target)
            g *= (weight * used[r]).to(x.dtype)[:, None]
            g.masked_fill_(~used[r][:, None], 0)
            slope -= (g * s).sum(dtype=torch.float64) / x.tau
            grad[r] += g @ x.h
            grad += g[:, : x.rows].T @ x.h[r]
        h = x.h[: x.rows]
        grad = (grad - (grad * h).sum(1, keepdim=True) * h) * x.inv_norm[: x.rows]
        out[0].copy_(grad[: x.n])
        out[1].copy_(grad[x.n :])
        out[2].copy_(slope)
