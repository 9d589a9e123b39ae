"""The views of a batch: the anchors as the network sees them, and their shuffled or augmented second view."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from ..ops.augment.text import TIME_MAPS
from .config import Config
from .dataset import Batch, network_input


def make_plan(config: Config) -> Any:
    """The augmentation plan of the configuration, or None."""
    import physioclr

    if config.augment == "leads":
        from ..ops.augment.plan import LeadDropout

        return physioclr.Augment(lead_dropout=LeadDropout(lead=config.lead_mask)) if config.lead_mask else None
    return physioclr.Augment.preserving() if config.augment == "preserving" else None


def anchor_plan(config: Config, plan: Any) -> Any:
    """The plan of the anchors: where they are to be reconstructed, without time maps, which move the waves away."""
    if plan is None or not (config.method == "physioclr" and (config.alpha or config.beta)):
        return plan
    return dataclasses.replace(plan, **{name: None for name in TIME_MAPS if hasattr(plan, name)})


@torch.no_grad()
def make_views(batch: Batch, config: Config, epoch: int, fs: float, sd: float) -> tuple[Tensor, Tensor | None]:
    """(anchor, second view or None) in network units. Drawn from (seed, epoch, view, segment) alone."""
    import physioclr

    def seed(view: int) -> int:
        return physioclr.view_seed(config.seed, epoch, view)

    def augmented(plan: Any, *views: int, shuffled: Any = None) -> tuple[Tensor, ...]:
        """Views of the batch, or of these (ecg, rpeaks); all of them in one call."""
        ids, seeds = batch.sample_id, [seed(view) for view in views]
        if plan is not None and shuffled is None and batch.resident is not None:
            # read from the int16 samples, without the batch in mV
            return network_input(batch.resident.augmented(plan, fs=fs, seeds=seeds, sample_id=ids), sd).unbind()
        ecg, rpeaks = shuffled or (batch.ecg, batch.rpeaks)
        if plan is None:
            return (network_input(ecg, sd),) * len(views)
        out, _ = physioclr.augment(ecg, plan, fs=fs, seed=seeds, sample_id=ids, rpeaks=rpeaks)
        return network_input(out, sd).unbind()

    plan = make_plan(config)
    if config.method == "simclr":
        anchor, second = augmented(plan, 0, 1)
        return anchor, second
    (anchor,) = augmented(anchor_plan(config, plan), 0)
    if config.method == "physioclr" and config.shuffle:
        shuffled = physioclr.shuffle_beats(
            batch.ecg, batch.rpeaks, seed=seed(2), sample_id=batch.sample_id, cut=config.shuffle_cut
        )
        return anchor, *augmented(plan, 1, shuffled=shuffled)
    return anchor, None
