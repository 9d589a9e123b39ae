"""One optimiser step: batches in, weights changed, metrics out."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from .. import nn
from .config import Config
from .dataset import Batch
from .distributed import World
from .methods import Method, Outputs
from .views import Draw

Check = Callable[[str, float, list[Batch]], None]  # raises if the value is NaN or infinite


def make_optimizer(config: Config, model: torch.nn.Module) -> torch.optim.Optimizer:
    adam = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    betas, decay = (config.beta1, config.beta2), config.weight_decay
    return adam(model.parameters(), config.lr, betas, weight_decay=decay, fused=True)


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Of the step with this number, counted from 0: linear warm-up, then constant or a half cosine to 0."""
    c = config
    if step < c.warmup:
        return c.lr * (step + 1) / c.warmup
    if c.schedule == "constant":
        return c.lr
    done = (step - c.warmup) / max(1, steps - c.warmup)
    return c.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Pass(torch.nn.Module):
    """The method's pass over rows of a batch: what DistributedDataParallel wraps and what a chunk goes through.

    Its outputs are a flat tuple of tensors with a row per segment, as both want it; `outputs` gives them their names.
    """

    def __init__(self, model: nn.PhysioCLR, method: Method, amp: bool):
        super().__init__()
        self.model, self.method, self.amp = model, method, amp
        self.made: Callable[[Tensor], dict[str, Tensor]] | None = None

    def forward(self, rows: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """rows: those of the method; or "number", those of the batch for which `made` gives them."""
        if self.made is not None:
            rows = self.made(rows["number"])
        with torch.autocast(rows["view0"].device.type, torch.bfloat16, enabled=self.amp):
            out = self.method.forward(self.model, rows)
        flat, self.names = tree_flatten(out)
        return tuple(flat)

    def outputs(self, flat: tuple[Tensor, ...]) -> Outputs:
        return tree_unflatten(list(flat), self.names)


def drawn_by_row(method: Method) -> bool:
    """`Method.by_row`, as the classes say it of themselves that define the method's `views` and `rows`."""
    cls = type(method)
    owners = [next(c for c in cls.__mro__ if name in vars(c)) for name in ("views", "rows")]
    return cls.by_row and all(c is Method or vars(c).get("by_row", False) for c in owners)


class Step:
    """A step of a method on a model. `sd`: SD of the network's input in mV; `fs`: its rate in Hz."""

    def __init__(
        self, config: Config, method: Method, model: nn.PhysioCLR, optimizer: torch.optim.Optimizer, *,
        fs: float, sd: float, steps: int, device: torch.device, world: World, check: Check,
    ):  # fmt: skip
        self.config, self.method, self.model, self.optimizer = config, method, model, optimizer
        self.fs, self.sd, self.steps, self.device, self.world, self.check = fs, sd, steps, device, world, check
        self.one_pass = Pass(model, method, config.amp)
        self.forward = world.wrap(self.one_pass)

    def __call__(self, number: int, batches: list[Batch], epochs: list[int]) -> dict[str, Any]:
        """Step `number`, from 0, over `accumulate` batches, each of its epoch; the metrics of their mean."""
        logged = (number + 1) % self.config.log_every == 0 or number + 1 == self.steps
        lr = learning_rate(self.config, number, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        total: dict[str, float] = {}
        for j, (batch, epoch) in enumerate(zip(batches, epochs, strict=True)):
            drawn = f"{self.config.seed} {number * len(batches) + j} {self.world.rank}"
            # dropout; torch.manual_seed also looks for every kind of device, 0.2 ms
            seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
            seed(zlib.crc32(drawn.encode()))
            for k, v in self.backward(batch.to(self.device), epoch, 1 / len(batches), logged).items():
                total[k] = total.get(k, 0.0) + float(v) / len(batches)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip or math.inf))
        self.check("gradient", grad_norm, batches)
        self.optimizer.step()
        return {**self.world.mean(total), "lr": lr, "grad_norm": grad_norm}

    def backward(self, batch: Batch, epoch: int, weight: float = 1.0, logged: bool = True) -> dict[str, Any]:
        """Adds the gradient of weight * loss to the parameters; returns the loss, its terms and statistics."""
        chunk, self.one_pass.made = self.config.chunk, None
        if chunk and chunk % 2 == 0 and drawn_by_row(self.method):  # nobody holds the views of the whole batch
            self.one_pass.made = lambda i: self.rows(batch.part(slice(int(i[0]), int(i[-1]) + 1)), epoch)
            rows = {"number": torch.arange(len(batch.sample_id), device=self.device)}
        else:
            rows = self.rows(batch, epoch)
        weight = weight * self.world.size  # DistributedDataParallel takes the mean over the processes
        terms: dict[str, Any] = {}

        def loss(*flat: Tensor) -> Tensor:
            out = self.one_pass.outputs(flat)
            value = self._loss(out, batch, terms, logged)
            self.check("loss", value.item(), [batch])
            return weight * value

        if chunk:
            nn.chunked_backward(self.forward, loss, rows, chunk_size=chunk)
        else:
            loss(*self.forward(rows)).backward()
        return terms

    def rows(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """What the method's pass takes, of all rows of a batch."""
        views = self.method.views(batch, Draw(batch, self.config, epoch, self.fs, self.sd))
        if not isinstance(views, tuple) or not views:
            name = f"{type(self.method).__name__}.views"
            raise TypeError(f"{name} returned a {type(views).__name__}; it must return a tuple of (N, 12, T) tensors")
        return self.method.rows(batch, views, self.sd)

    def _loss(self, out: Outputs, batch: Batch, terms: dict[str, Any], logged: bool) -> Tensor:
        """The method's loss; it and its parts go into `terms`."""
        found = self.method.loss(out, batch)
        found = found if isinstance(found, dict) else {"loss": found}
        value = found.get("loss")
        if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
            name = f"{type(self.method).__name__}.loss"
            raise TypeError(f'{name} must return a scalar tensor with a gradient, or a dict with one under "loss"')
        terms |= {k: v.detach() if isinstance(v, Tensor) else v for k, v in found.items()}
        if logged:
            anchor = out.embeddings[0].detach()
            other = out.embeddings[1].detach() if len(out.embeddings) > 1 else anchor[batch.pair]
            terms["alignment"], terms["uniformity"] = nn.alignment_uniformity(anchor, other)
        return value
