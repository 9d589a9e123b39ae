"""Labels instead of pairs: an upper bound for what pretraining without them can give."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ...nn.losses import global_mean
from .method import Method

HEAVIEST = 20  # weight of a positive, however rare the class


class Supervised(Method):
    """Binary cross-entropy on the labels of `Config.scheme`; a positive weighs negatives / positives."""

    needs_labels = True

    def start(self, segments, config, folder, process_group=None):
        super().start(segments, config, folder, process_group)
        labels = segments.labels[np.unique(segments.pairs[:, 0])]
        positives = labels.sum(0)
        weight = (len(labels) - positives) / np.maximum(positives, 1)
        self.positive_weight = torch.from_numpy(weight.clip(max=HEAVIEST))

    def model(self, encoder, config, fs, classes=0):
        model = super().model(encoder, config, fs)
        if classes:
            model.projection = torch.nn.Linear(encoder.width, classes)
        return model

    def loss(self, out, batch):
        (logits,) = out.embeddings
        weight = self.positive_weight.to(logits.device)
        errors = F.binary_cross_entropy_with_logits(logits.float(), batch.labels, pos_weight=weight, reduction="none")
        return global_mean(errors.sum(), torch.tensor(errors.numel(), device=logits.device), self.process_group)
