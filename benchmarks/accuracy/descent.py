"""The training of the small networks that place waves (fit_qrs.py, fit_waves.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch


def descend(
    net: torch.nn.Module,
    x: torch.Tensor,
    wanted: torch.Tensor,
    weight: Callable[[torch.Tensor], torch.Tensor],
    *,
    epochs: int,
    batch: int,
    rate: float,
    decay: float,
) -> None:
    """Fits net(x) to `wanted` by AdamW on one cycle; weight(rows): of the errors of these rows, one or each its own."""
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * -(-len(x) // batch))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            error = torch.nn.functional.smooth_l1_loss(net(x[rows]), wanted[rows], reduction="none")
            optimizer.zero_grad()
            (weight(rows) * error).mean().backward()
            optimizer.step()
            schedule.step()
