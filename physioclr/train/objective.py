"""What a step optimises: one pass of the model over a batch, and the loss of its outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import nn
from ..nn.losses import global_mean
from .beats import BeatSpace, average_beat
from .config import Config
from .dataset import Batch, Segments


class Pass(torch.nn.Module):
    """One pass of the model over rows of a batch: what DistributedDataParallel wraps and what a chunk goes through.

    Takes a dict of tensors with a row per segment: anchor, and second (its other view), target, valid and rpeaks where
    the method has them. Returns the embeddings of anchor and second, the squared errors of each row's reconstruction,
    and the predicted features. `counts` gathers how many samples those are of, (all, around R peaks).
    """

    def __init__(self, model: nn.PhysioCLR, amp: bool):
        super().__init__()
        self.model, self.amp, self.counts = model, amp, [0, 0]

    def forward(self, rows: dict[str, Tensor]) -> tuple[Tensor, ...]:
        model, anchor = self.model, rows["anchor"]
        with torch.autocast(anchor.device.type, torch.bfloat16, enabled=self.amp):
            embeddings, tokens = model.project(*(rows[k] for k in ("anchor", "second") if k in rows))
            decoded = None if model.decoder is None else model.decoder(tokens, anchor.shape[2])
            predicted = [] if model.predictor is None else [model.predict(tokens).float()]
        out = list(embeddings)  # in their own dtype: the contrastive term sums in float32 whatever they are
        if decoded is not None:
            sums = model.loss.reconstruction_sums(
                decoded.signal, rows["target"], rows["valid"] & decoded.made, rows["rpeaks"]
            )
            self.counts = [self.counts[0] + sums.count.sum(), self.counts[1] + sums.peak_count.sum()]
            out += [sums.squares, sums.peak_squares] if model.loss.beta else [sums.squares]
        return tuple(out + predicted)


class Objective:
    """The loss of a batch, of whatever method the configuration names, over all processes of the run.

    segments: of the training, with their fitted feature space; one_pass: what made the outputs, for its counts;
    beat_space: where the configuration compares average beats.
    """

    def __init__(
        self, config: Config, segments: Segments, one_pass: Pass, beat_space: BeatSpace | None = None, group: Any = None
    ):
        self.config, self.one_pass, self.group = config, one_pass, group
        labels = segments.labels[np.unique(segments.pairs[:, 0])]
        positives = labels.sum(0)
        self.positive_weight = torch.from_numpy(((len(labels) - positives) / np.maximum(positives, 1)).clip(max=20))
        self.feature_space, self.beat_space, self.fs = segments.feature_space, beat_space, segments.fs

    def __call__(self, outputs: tuple[Tensor, ...], batch: Batch, terms: dict[str, Any], logged: bool) -> Tensor:
        """The loss of what `Pass` returned for a batch; its parts go into `terms`."""
        c, group, h, model = self.config, self.group, outputs[0], self.one_pass.model
        if c.method == "supervised":
            view = h[batch.pair]
            positive = self.positive_weight.to(h.device)
            errors = F.binary_cross_entropy_with_logits(h.float(), batch.labels, pos_weight=positive, reduction="none")
            count = torch.tensor(errors.numel(), device=h.device)
            loss = global_mean(errors.sum(), count, group)
        elif c.method == "simclr":
            view = outputs[1]
            loss = nn.nt_xent(h, view, batch.group, tau=c.tau, process_group=group)
        elif c.method == "cmsc":
            view = h[batch.pair]
            loss = nn.info_nce(h[0::2], h[1::2], batch.group[0::2], tau=c.tau, process_group=group)
        else:
            views = list(outputs[1:2] if c.shuffle else ()) + ([h[batch.pair]] if c.adjacent else [])
            view = views[0]
            loss, stats = model.loss.contrastive(h, torch.stack(views), self.pair_features(batch), batch.group, group)
            terms |= {"contrastive": loss.detach(), **_means(stats)}
            if model.decoder is not None:
                squares = outputs[1 + c.shuffle :][: 2 if c.beta else 1]
                for name, weight, rows, count in zip(
                    ("reconstruction", "peak"), (c.alpha, c.beta), squares, self.one_pass.counts, strict=False
                ):
                    terms[name] = global_mean(rows.sum(), count, group)
                    loss = loss + weight * terms[name]
                    terms[name] = terms[name].detach()
            if model.predictor is not None:
                terms["prediction"] = self.prediction_error(outputs[-1], batch.features)
                loss = loss + c.gamma * terms["prediction"]
                terms["prediction"] = terms["prediction"].detach()
        terms["loss"] = loss.detach()
        if logged:
            terms["alignment"], terms["uniformity"] = nn.alignment_uniformity(h.detach(), view.detach())
        return loss

    def prediction_error(self, predicted: Tensor, features: Tensor) -> Tensor:
        """Mean squared error of the predicted features, 1 for predicting the mean; rows without any feature are out."""
        variance = float(self.feature_space.explained_variance.mean())
        known = (features != 0).any(1)
        errors = torch.where(known[:, None], predicted - features / math.sqrt(variance or 1.0), 0.0).square()
        count = known.sum() * features.shape[1]
        return global_mean(errors.sum(), count, self.group)

    def pair_features(self, batch: Batch) -> Tensor:
        """The rows whose cosine decides on pairs: features, and beside them the average beats if they are compared.

        Features and beats each have a mean square length of 1 before the weight of the beats. Without feature pairs
        (delta is then 1): directions of which no two agree.
        """
        if self.beat_space is not None:
            length = math.sqrt(float(self.feature_space.explained_variance.sum()) or 1.0)
            beats = self.beat_space.transform(average_beat(batch.ecg, batch.rpeaks, self.fs))
            return torch.cat((batch.features / length, self.config.beat_weight * beats), dim=1)
        if self.config.feature_pairs:
            return batch.features
        generator = torch.Generator().manual_seed(int(batch.sample_id[0]))
        return torch.randn((len(batch.features), 16), generator=generator).to(batch.features)


def _means(stats: Any) -> dict[str, float]:
    """Positives and negatives per anchor, and the number of rows that were skipped."""
    return {name: float(getattr(stats, name).float().mean()) for name in ("positives", "negatives")} | {
        "skipped": float(stats.skipped)
    }
