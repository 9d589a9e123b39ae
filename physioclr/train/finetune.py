"""Fine-tuning: encoder and a linear head trained together on labelled records."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..nn.model import size_of
from .dataset import network_input
from .embed import record_segments
from .run import Run, choose_device


class FineTuner:
    """Trains a fresh copy of the run's encoder for each fold; called like `probe.LinearProbe`.

    A record is one random segment of it in each pass, and the mean of its segments' logits when it is scored. Binary
    cross-entropy with positive weights (negatives / positives, at most 20). The head learns ten times as fast.
    """

    def __init__(self, run: Run, store: Any, records: np.ndarray, epochs: int = 20, device: str = "auto",
                 batch_size: int = 32, lr: float = 3e-4):  # fmt: skip
        self.run, self.device = run, choose_device(device)
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self._store, self._records = store, records
        self._cache: dict[int, torch.Tensor] = {}

    def _segments(self, row: int) -> torch.Tensor:
        """(S, 12, samples) network input of one record; kept, because each fold reads it again."""
        if row not in self._cache:
            ecg = record_segments(self._store, int(self._records[row]), self.run)
            self._cache[row] = network_input(torch.from_numpy(np.ascontiguousarray(ecg)), self.run.sd)
        return self._cache[row]

    def __call__(self, train: np.ndarray, test: np.ndarray, y: np.ndarray, seed: int, least: int) -> np.ndarray:
        """(len(test), C) logits; NaN for a class with too few positives or negatives."""
        positives = y.sum(0)
        fit = (positives >= least) & (len(y) - positives >= least)
        out = np.full((len(test), y.shape[1]), np.nan)
        if not fit.any():
            return out
        rng = np.random.Generator(np.random.Philox(key=seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = copy.deepcopy(self.run.encoder).to(self.device)
            head = torch.nn.Linear(size_of(encoder, "width"), int(fit.sum())).to(self.device)
            self._train(encoder, head, train, y[:, fit], rng)
        out[:, fit] = self._score(encoder, head, test)
        return out

    def _train(self, encoder: Any, head: torch.nn.Linear, train: np.ndarray, y: np.ndarray, rng: Any) -> None:
        labels = torch.from_numpy(y.astype(np.float32)).to(self.device)
        weight = ((len(y) - labels.sum(0)) / labels.sum(0)).clamp(max=20.0)
        optimizer = torch.optim.AdamW(
            [{"params": encoder.parameters(), "lr": self.lr}, {"params": head.parameters(), "lr": 10 * self.lr}],
            weight_decay=0.01,
        )
        size = min(self.batch_size, len(train))
        steps = self.epochs * max(1, len(train) // size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [self.lr, 10 * self.lr], steps + 1, pct_start=0.1, cycle_momentum=False
        )
        encoder.train()
        order: list[int] = []
        for _ in range(steps):
            if len(order) < size:
                order = list(rng.permutation(len(train)))
            rows, order = order[:size], order[size:]
            parts = [self._segments(int(train[r])) for r in rows]
            x = torch.stack([p[rng.integers(len(p))] for p in parts]).to(self.device)
            loss = F.binary_cross_entropy_with_logits(head(encoder(x).pooled), labels[rows], pos_weight=weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()
            schedule.step()

    @torch.inference_mode()
    def _score(self, encoder: Any, head: torch.nn.Linear, test: np.ndarray) -> np.ndarray:
        encoder.eval()
        out = []
        for start in range(0, len(test), 64):
            parts = [self._segments(int(r)) for r in test[start : start + 64]]
            logits = head(encoder(torch.cat(parts).to(self.device)).pooled).cpu().numpy()
            ends = np.cumsum([len(p) for p in parts])
            out += [logits[end - len(p) : end].mean(0) for end, p in zip(ends, parts, strict=True)]
        return np.stack(out)
