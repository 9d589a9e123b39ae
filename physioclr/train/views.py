"""The views of a batch, as the network sees them: drawn from (seed, epoch, view, segment) alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from .. import Augment, LeadDropout, augment, shuffle_beats, view_seed
from ..ops.augment.text import TIME_MAPS
from . import methods
from .config import Config
from .dataset import Batch, network_input


def make_plan(config: Config) -> Augment | None:
    """The augmentation plan of the configuration, or None."""
    if config.augment == "leads":
        return Augment(lead_dropout=LeadDropout(lead=config.lead_mask)) if config.lead_mask else None
    return Augment.preserving() if config.augment == "preserving" else None


class Draw:
    """Draws views of one batch by the augmentation of the configuration; what `Method.views` is given.

    `draw(0, 1)` is two views, (N, 12, T) each in network units. The numbers choose the random numbers: the same one
    gives the same view.
    """

    batch: Batch
    config: Config
    epoch: int
    fs: float
    sd: float

    def __init__(self, batch: Batch, config: Config, epoch: int, fs: float, sd: float):
        self.batch, self.config, self.epoch, self.fs, self.sd = batch, config, epoch, fs, sd

    def seed(self, view: int) -> int:
        return view_seed(self.config.seed, self.epoch, view)

    @torch.no_grad()
    def __call__(
        self,
        *views: int,
        time_maps: bool = True,
        of: tuple[Tensor, Any] | None = None,
        out: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """One view for each number, all in one call.

        Args:
            time_maps: false leaves out whatever moves waves in time, as an anchor that is decoded must.
            of: (ecg, rpeaks), (N, 12, T) mV, instead of the batch's.
            out: where the view is written, a part of `room`: views that lie one behind the other go through the
                encoder without being copied together.
        """
        batch, plan = self.batch, make_plan(self.config)
        if plan is not None and not time_maps:
            off: dict[str, Any] = dict.fromkeys(TIME_MAPS)
            plan = dataclasses.replace(plan, **off)
        ids, seeds = batch.sample_id, [self.seed(view) for view in views]
        if plan is not None and of is None and batch.resident is not None:
            # read from the int16 samples, without the batch in mV
            drawn = batch.resident.augmented(plan, fs=self.fs, seeds=seeds, sample_id=ids)
        else:
            ecg, rpeaks = of or (batch.ecg, batch.rpeaks)
            if plan is None:
                return (network_input(ecg, self.sd, out=None if out is None else out[0]),) * len(views)
            drawn, _ = augment(ecg, plan, fs=self.fs, seed=seeds, sample_id=ids, rpeaks=rpeaks, out=out)
        return network_input(drawn, self.sd, out=drawn).unbind()

    def room(self, views: int) -> tuple[Tensor | None, ...]:
        """Memory for so many views of the batch, one behind the other: what calls take as `out`. None where the batch
        is resident, whose views are made elsewhere.
        """
        if self.batch.resident is not None:
            return (None,) * views
        return torch.empty((views, *self.batch.ecg.shape), device=self.batch.ecg.device).split(1)

    @torch.no_grad()
    def shuffled_beats(self, view: int, cut: str = "r") -> tuple[Tensor, Any]:
        """(ecg, rpeaks): the beats of each segment in another order, in mV, to be drawn `of`."""
        b = self.batch
        return shuffle_beats(b.ecg, b.rpeaks, seed=self.seed(view), sample_id=b.sample_id, cut=cut)


def make_views(batch: Batch, config: Config, epoch: int, fs: float, sd: float) -> tuple[Tensor, Tensor | None]:
    """(anchor, second view or None) of the configuration's method, in network units."""
    method = methods.named(config.method)()
    method.config = config
    views = method.views(batch, Draw(batch, config, epoch, fs, sd))
    return views[0], views[1] if len(views) > 1 else None
