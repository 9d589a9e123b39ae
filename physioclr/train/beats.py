"""The average beat of a segment, all leads, as part of its physiology: where waves lie and how large they are.

The features say how long and how high the waves of three leads are; the average beat says what shape they have in
all twelve, and its neighbours share a diagnosis more often (docs/notes/representation.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .space_file import SavedSpace

BEFORE, AFTER = 0.3, 0.5  # seconds around the R peak: P to T at usual rates
RATE = 100.0  # Hz at least; faster signals are averaged down to the next whole step above it
COMPONENTS, CLIP = 100, 5.0
FIT_PAIRS = 1000  # enough for 100 components
BLOCK = 1024  # segments whose beats are gathered at a time
BEATS = "beat_space.npz"  # in the run folder


@torch.no_grad()
def average_beat(ecg: Tensor, rpeaks: Tensor, fs: float) -> Tensor:
    """Mean over the beats of each segment.

    Beats that reach beyond the segment are left out, missing samples too; NaN where nothing is left.

    Args:
        ecg: (N, L, T) mV, NaN where missing. rpeaks: (N, P) samples of the segment, padded with -1. fs: Hz.

    Returns:
        (N, L, W): 0.8 s at 100 Hz or, where fs is no multiple of it, at the next higher rate; 0.3 s of it lie before R.
    """
    step = max(1, int(fs // RATE))
    if step > 1:
        ecg = F.avg_pool1d(ecg, step)
    before, after = round(BEFORE * fs / step), round(AFTER * fs / step)
    blocks = zip(ecg.split(BLOCK), rpeaks.long().split(BLOCK), strict=True)
    return torch.cat([_mean_beat(x, r // step, before, before + after) for x, r in blocks])


def _mean_beat(ecg: Tensor, rpeaks: Tensor, before: int, width: int) -> Tensor:
    if ecg.shape[2] < width:
        return ecg.new_full((*ecg.shape[:2], width), torch.nan)
    windows = ecg.unfold(2, width, 1)  # (N, L, starts, width), a view
    start = rpeaks - before
    inside = (rpeaks >= 0) & (start >= 0) & (start < windows.shape[2])
    row, column = inside.nonzero(as_tuple=True)
    beats = windows[row, :, start[row, column]]
    known = torch.isfinite(beats)
    total, count = (
        torch.segment_reduce(x, "sum", lengths=inside.sum(1), axis=0)
        for x in (torch.where(known, beats, 0.0), known.to(beats.dtype))
    )
    return torch.where(count > 0, total / count, torch.nan)


class BeatSpace(SavedSpace):
    """Average beats as vectors whose cosine says how alike they are.

    Every sample of every lead is scaled by the mean and SD of the training set, so that ST and T count as QRS does;
    missing = 0; clipped at +-5; then principal components without whitening, and one factor for all of them that
    makes the mean square length of the training rows 1.

    mean, scale: (L, W). matrix: (L * W, components). offset: (components,).
    """

    _FIELDS = ("mean", "scale", "matrix", "offset")
    _FORMAT, _WHAT = "physioclr BeatSpace 1", "beat space"

    @classmethod
    def _belong(cls, *shapes: tuple[int, ...]) -> bool:
        mean, scale, matrix, offset = shapes
        return mean == scale and len(mean) == 2 and matrix == (mean[0] * mean[1], *offset)

    @classmethod
    def fit(cls, beats: np.ndarray, components: int = COMPONENTS) -> BeatSpace:
        """beats: (N, L, W) of `average_beat`, with at least one row."""
        x = beats.reshape(len(beats), -1).astype(np.float64)
        known = np.isfinite(x)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, x, 0.0).sum(0) / count
        sd = np.sqrt(np.where(known, (x - mean) ** 2, 0.0).sum(0) / count)
        scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 1e-6)
        z = np.clip(np.where(known, (x - mean) * scale, 0.0), -CLIP, CLIP)
        rows = z[known.any(1)]
        center = rows.mean(0) if len(rows) else np.zeros(len(mean))
        _, size, axes = np.linalg.svd(rows - center, full_matrices=False)
        axes = axes[:components]
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]  # the same whoever fits it
        square = (size[:components] ** 2).sum() / max(1, len(rows))
        matrix = axes.T / np.sqrt(square or 1.0)
        shape = beats.shape[1:]
        return cls(mean.reshape(shape), scale.reshape(shape), matrix, -center @ matrix)

    def transform(self, beats: Tensor) -> Tensor:
        """(N, L, W) to (N, components) float32; a row with everything missing becomes exactly 0."""
        mean, scale, matrix, offset = self._doubles(beats)
        known = torch.isfinite(beats)
        z = torch.where(known, (beats - mean) * scale, 0.0).clamp(-CLIP, CLIP)
        return ((z.flatten(1) @ matrix + offset) * known.flatten(1).any(1, keepdim=True)).float()


def fit_beats(segments: Any) -> BeatSpace:
    """Of an even choice of the training segments, at most 2,000; their feature space must be there."""
    pairs = np.arange(len(segments))[:: max(1, len(segments) // FIT_PAIRS)]
    parts = []
    for chosen in np.array_split(pairs, max(1, len(pairs) // 64)):
        batch = segments.batch(chosen)
        parts.append(average_beat(batch.ecg, batch.rpeaks, segments.fs).numpy())
    return BeatSpace.fit(np.concatenate(parts))
