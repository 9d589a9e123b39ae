"""The measures of hybrid_contrastive_loss (`stats`) on a CUDA device: a pass of its own over tiles of cosines.

The fused kernels never hand a tile out, so the pass is the same for both versions. On the CPU the measures come
from the pass that makes the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .cpu import MODES

if TYPE_CHECKING:
    from .cuda import Rows

TILE = 2048


def _unit(x: torch.Tensor) -> torch.Tensor:
    length = x.double().norm(dim=-1, keepdim=True)
    return (x * torch.where(length > 0, 1 / length, 0.0)).to(x.dtype)


def fill_measures(rows: Rows, counts: torch.Tensor, out: torch.Tensor, tile: int = TILE) -> None:
    """out (n, 3) of the owned rows, as ContrastiveRowsCall has them, from their counts."""
    from .cuda import run_kernel

    of, dtype = rows.settings, getattr(torch, rows.dtype)
    soft, tau_s = of["mode"] == MODES["soft"], of["tau_s"]
    h, f = _unit(rows.anchor.to(dtype)), _unit(rows.features)
    ids = torch.where((rows.features != 0).any(1), rows.id, -1)
    sums = torch.zeros((rows.own, 4), dtype=torch.float64, device=rows.device)  # closeness, weight, square, cosine
    similarity = rows.xp.empty((tile * tile,), rows.dtype)
    for i in (slice(k, min(k + tile, rows.end)) for k in range(rows.begin, rows.end, tile)):
        own = sums[i.start - rows.begin : i.stop - rows.begin]
        for j in (slice(k, min(k + tile, rows.n)) for k in range(0, rows.n, tile)):
            s = similarity[: (i.stop - i.start) * (j.stop - j.start)].view(i.stop - i.start, -1)
            run_kernel(rows.xp, "similarity", rows.dtype, {"a": (f[i],), "b": (f[j],), "out": s})
            pair = (ids[i, None] != ids[j]) & (ids[i, None] >= 0) & (ids[j] >= 0)
            cosine = h[i] @ h[j].T
            parts = [torch.exp((cosine - 1) * 4)]
            parts += [torch.exp((s - 1) / tau_s), torch.exp((s - 1) * (2 / tau_s))] if soft else [pair * 0.0] * 2
            for k, x in enumerate([*parts, cosine.where(s >= of["delta"], 0.0)]):
                own[:, k] += x.where(pair, 0.0).sum(1, dtype=torch.float64)
    finish_measures(rows, sums, sums[:, 3], counts, out)


def finish_measures(
    rows: Rows, sums: torch.Tensor, cosine: torch.Tensor, counts: torch.Tensor, out: torch.Tensor
) -> None:
    """From the sums (n, 3 or more) of closeness, weights and their squares, and of cosines of positives."""
    of, (closeness, weight, square) = rows.settings, sums.unbind(1)[:3]
    number, views = counts[:, 0].double(), rows.n_views
    if of["mode"] != MODES["soft"]:
        weight = square = number
        if of["mode"] == MODES["ratio"] and of["mean_pairs"]:
            weight, square = (number > 0).double(), torch.where(number > 0, 1 / number, 0.0)
    h = _unit(rows.anchor[rows.begin : rows.end].double())
    cosine = cosine + (h * _unit(rows.views.double())).sum((0, 2))
    out[:, 0] = (views + weight).square() / (views + square).clamp(min=1e-300)
    out[:, 1] = torch.where(number + views > 0, 2 - 2 * cosine / (number + views), 0.0)
    out[:, 2] = closeness


def measured(rows: Rows, out: Any) -> None:
    """Fills the third array of what `contrastive_rows` fills, where there is one."""
    if len(out) > 2:
        fill_measures(rows, out[1], out[2])
