"""Labels instead of pairs: an upper bound for what pretraining without them can give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import nn
from ...nn.losses import global_mean
from ...nn.model import size_of
from .method import Method, Outputs

if TYPE_CHECKING:
    from ..config import Config
    from ..dataset import Batch, Segments

HEAVIEST = 20  # weight of a positive, however rare the class


class Supervised(Method):
    """Binary cross-entropy on the labels of `Config.scheme`; a positive weighs negatives / positives."""

    needs_labels = True
    by_row = True

    def start(self, segments: Segments, config: Config, folder: Path, process_group: Any = None) -> None:
        super().start(segments, config, folder, process_group)
        labels = segments.labels[np.unique(segments.pairs[:, 0])]
        positives = labels.sum(0)
        weight = (len(labels) - positives) / np.maximum(positives, 1)
        self.positive_weight = torch.from_numpy(weight.clip(max=HEAVIEST))

    def model(self, encoder: torch.nn.Module, config: Config, fs: float, classes: int = 0) -> nn.PhysioCLR:
        model = super().model(encoder, config, fs)
        if classes:
            model.projection = torch.nn.Linear(size_of(encoder, "width"), classes)
        return model

    def loss(self, out: Outputs, batch: Batch) -> Tensor:
        (logits,) = out.embeddings
        weight = self.positive_weight.to(logits.device)
        errors = F.binary_cross_entropy_with_logits(logits.float(), batch.labels, pos_weight=weight, reduction="none")
        return global_mean(errors.sum(), torch.tensor(errors.numel(), device=logits.device), self.process_group)
