"""PhysioCLR (arXiv 2509.08116): pairs by physiology, a heartbeat-shuffled view, and a decoder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ... import nn
from ...nn.losses import global_mean
from ..beats import BEATS, BLOCK, BeatSpace, average_beat, fit_beats
from ..files import read_space
from ..kernel_space import COMPONENTS, FIT_PAIRS, KERNEL, KernelSpace
from .method import Method, Outputs, view_rows

if TYPE_CHECKING:
    from ..config import Config
    from ..dataset import Batch, Segments
    from ..views import Draw

ANCHOR, SECOND, SHUFFLE = 0, 1, 2  # which random numbers each takes


class PhysioCLR(Method):
    """Hybrid contrastive loss + alpha MSE + beta MSE around the R peaks; gamma and beat_weight are not in the paper."""

    by_row = True
    beat_space: BeatSpace | None = None
    kernel_space: KernelSpace | None = None

    def check(self, config: Config) -> None:
        if not (config.shuffle or config.adjacent):
            raise ValueError("shuffle and adjacent are both false; physioclr needs at least one view")

    def fit(self, segments: Segments, config: Config, folder: Path) -> None:
        if wants_beats(config):
            fit_beats(segments).save(folder / BEATS)
        if wants_kernel(config):
            self._read(segments, folder)
            chosen = np.arange(len(segments))[:: max(1, len(segments) // FIT_PAIRS)]
            parts = np.array_split(chosen, max(1, len(chosen) // 64))
            KernelSpace.fit(torch.cat([self.physiology(segments.batch(c)) for c in parts])).save(folder / KERNEL)

    def start(self, segments: Segments, config: Config, folder: Path, process_group: Any = None) -> None:
        super().start(segments, config, folder, process_group)
        self._read(segments, folder if wants_beats(config) else None)
        self.kernel_space = read_space(KernelSpace, folder / KERNEL) if wants_kernel(config) else None
        self.hybrid = hybrid_loss(config, segments.fs)

    def _read(self, segments: Segments, beats: Path | None) -> None:
        self.feature_space, self.fs = segments.feature_space, segments.fs
        self.beat_space = read_space(BeatSpace, beats / BEATS) if beats else None

    def model(self, encoder: torch.nn.Module, config: Config, fs: float, classes: int = 0) -> nn.PhysioCLR:
        components = COMPONENTS if wants_kernel(config) else config.feature_components
        predicted = components if config.gamma else 0
        return nn.PhysioCLR(encoder, hybrid_loss(config, fs), projection=config.projection, features=predicted)

    # ---- a step

    def views(self, batch: Batch, draw: Draw) -> tuple[Tensor, ...]:
        c = draw.config
        # time maps move the waves away from the target of the reconstruction
        time_maps = not (c.alpha or c.beta)
        if not c.shuffle:
            return draw(ANCHOR, time_maps=time_maps)
        room = draw.room(2)
        shuffled = draw(SECOND, of=draw.shuffled_beats(SHUFFLE, c.shuffle_cut), out=room[1])
        return draw(ANCHOR, time_maps=time_maps, out=room[0]) + shuffled

    def rows(self, batch: Batch, views: tuple[Tensor, ...], sd: float) -> dict[str, Tensor]:
        rows = super().rows(batch, views, sd)
        if self.config.alpha or self.config.beta:
            rows |= {"target": batch.ecg / sd, "rpeaks": batch.rpeaks}
            if not _all_finite(batch.ecg):
                valid = torch.isfinite(batch.ecg)
                rows |= {"target": rows["target"].where(valid, 0.0), "valid": valid}
        return rows

    def forward(self, model: nn.PhysioCLR, rows: dict[str, Tensor]) -> Outputs:
        """Beside the embeddings: the squared errors of each row's reconstruction and how many samples they are of."""
        embeddings, tokens = model.project(*view_rows(rows))
        heads: dict[str, Tensor] = {}
        if model.decoder is not None:
            heads |= self.reconstruct(model, tokens, rows)
        if model.predictor is not None:
            heads["predicted"] = model.predict(tokens).float()
        return Outputs(embeddings, heads)

    def reconstruct(self, model: nn.PhysioCLR, tokens: Tensor, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        assert model.decoder is not None
        target, valid = rows["target"], rows.get("valid")
        signal, made = model.decoder(tokens, target.shape[2])
        if made.is_cuda or not made.all():
            valid = made if valid is None else valid & made
        with torch.autocast(target.device.type, enabled=False):
            sums = model.loss.reconstruction_sums(signal, target, valid, rows["rpeaks"])
        heads = {"reconstruction": sums.squares, "reconstruction_count": sums.count}
        if model.loss.beta:
            heads |= {"peak": sums.peak_squares, "peak_count": sums.peak_count}
        return heads

    def loss(self, out: Outputs, batch: Batch) -> Tensor | dict[str, Any]:
        c, h = self.config, out.embeddings[0]
        views = out.embeddings[1:] + ([h[batch.pair]] if c.adjacent else [])
        beats = None if self.beat_space is None else self.beats(batch)
        loss, stats = self.hybrid.contrastive(
            h, torch.stack(views), self.pair_features(batch, beats), batch.group, self.process_group
        )
        terms: dict[str, Any] = {"contrastive": loss, **_means(stats)}
        for name, weight in (("reconstruction", c.alpha), ("peak", c.beta)):
            if name in out.heads:
                count = out.heads[f"{name}_count"].sum()
                terms[name] = global_mean(out.heads[name].sum(), count, self.process_group)
                loss = loss + weight * terms[name]
        if "predicted" in out.heads:
            terms["prediction"] = self.prediction_error(out.heads["predicted"], *self.target(batch, beats))
            loss = loss + c.gamma * terms["prediction"]
        return {**terms, "loss": loss}

    def target(self, batch: Any, beats: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the linear map from the embedding predicts, (N, components) with a mean square of about 1; and the rows
        whose physiology is known, (N,) bool."""
        known = (batch.features != 0).any(1)
        if self.kernel_space is not None:
            return self.kernel_space.transform(self.physiology(batch, beats)), known
        variance = float(self.feature_space.explained_variance.mean())
        return batch.features / math.sqrt(variance or 1.0), known

    def prediction_error(self, predicted: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Mean squared error of the prediction, 1 for predicting the mean, over the rows that are known."""
        errors = torch.where(known[:, None], predicted - target, 0.0).square()
        return global_mean(errors.sum(), known.sum() * target.shape[1], self.process_group)

    def beats(self, batch: Any) -> Tensor:
        """The average beat of each row in the beat space, some rows at a time: a resident batch's signals are made when
        they are asked for."""
        assert self.beat_space is not None
        parts = (batch.part(slice(i, i + BLOCK)) for i in range(0, len(batch.sample_id), BLOCK))
        return torch.cat([self.beat_space.transform(average_beat(x.ecg, x.rpeaks, self.fs)) for x in parts])

    def physiology(self, batch: Any, beats: Tensor | None = None, weight: float = 1.0) -> Tensor:
        """(N, D): features and average beats side by side, each with a mean square length of 1 over the training set
        before the weight of the beats."""
        length = math.sqrt(float(self.feature_space.explained_variance.sum()) or 1.0)
        return torch.cat((batch.features / length, weight * (self.beats(batch) if beats is None else beats)), dim=1)

    def pair_features(self, batch: Any, beats: Tensor | None = None) -> Tensor:
        """The rows whose cosine decides on pairs: features, and beside them the average beats if they are compared.

        Without feature pairs (delta is then 1): directions of which no two agree.
        """
        if self.config.beat_weight > 0:
            return self.physiology(batch, beats, self.config.beat_weight)
        if self.config.feature_pairs:
            return batch.features
        generator = torch.Generator().manual_seed(int(batch.sample_id[0]))
        return torch.randn((len(batch.features), 16), generator=generator).to(batch.features)


def wants_kernel(config: Config) -> bool:
    return config.gamma > 0 and config.target == "kernel"


def wants_beats(config: Config) -> bool:
    return config.beat_weight > 0 or wants_kernel(config)


def _all_finite(x: Tensor) -> bool:
    """Whether no sample is missing, in one pass; False on a CUDA device, which would have to be waited for."""
    return not x.is_cuda and math.isfinite(float(x.sum()))


def hybrid_loss(config: Any, fs: float) -> nn.HybridLoss:
    """Without feature pairs no similarity reaches delta."""
    return nn.HybridLoss(
        tau=config.tau, delta=config.delta if config.feature_pairs else 1.0, mode=config.mode, tau_s=config.tau_s,
        pair_reduction=config.pair_reduction, alpha=config.alpha, beta=config.beta, fs=fs,
    )  # fmt: skip


def _means(stats: Any) -> dict[str, float]:
    """Positives and negatives per anchor, and the number of rows that were skipped."""
    return {name: float(getattr(stats, name).float().mean()) for name in ("positives", "negatives")} | {
        "skipped": float(stats.skipped)
    }
