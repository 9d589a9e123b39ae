"""Training segments as int16 in the memory of the training device: a batch needs nothing from the host but its row
numbers, and a view of it is gathered, dequantised and augmented by one call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ops.augment import _augment_rows
from ..ops.augment.plan import Augment
from .dataset import Batch, Segments

MISSING, LARGEST = -32768, 32767  # as augment reads int16
FASTEST = 4.0  # beats a second, for the estimate of the memory; the real number decides the arrays
BLOCK = 4096  # rows of features transformed at a time


def quantise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., T) float32 to int16 and the (...) float32 scale that makes mV of it: each lead by its own largest sample.

    The error of a sample is at most half its scale, up to the rounding of float32. Samples that are not finite become
    -32768, missing.
    """
    known = np.isfinite(x)
    x = np.where(known, x, np.float32(0))
    scale = np.abs(x).max(axis=-1, initial=0) / np.float32(LARGEST)
    scale[scale < np.finfo(np.float32).tiny] = 1  # a flat line is 0 in any unit
    q = np.rint(x / scale[..., None]).clip(-LARGEST, LARGEST).astype(np.int16)
    q[~known] = MISSING
    return q, scale


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can be allocated on a CUDA device; None for others, which do not say."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def estimate_bytes(segments: Segments) -> int:
    """About the device memory that `ResidentSegments` takes."""
    leads, rpeaks = 12, round(FASTEST * segments.samples / segments.fs)
    features = min(segments.config.feature_components, len(segments.columns))
    row = leads * (2 * segments.samples + 4) + 4 * (rpeaks + features + segments.labels.shape[1]) + 8 + 8
    return 2 * len(segments.pairs) * row


@dataclasses.dataclass
class ResidentRows:
    """Where the rows of a batch lie: signals (S, 12, T) int16, scale (S, 12), rpeaks (S, P), rows (N,) of them."""

    signals: Tensor
    scale: Tensor
    rpeaks: Tensor
    rows: Tensor

    def augmented(self, plan: Augment, *, fs: float, seeds: Sequence[int], sample_id: Tensor) -> Tensor:
        """(len(seeds), N, 12, T) float32 mV: what `augment` makes of the batch with each seed, in one call."""
        return _augment_rows(
            self.signals,
            self.rows,
            torch.zeros_like(self.rows),
            self.signals.shape[2],
            plan,
            fs=fs,
            seed=seeds,
            sample_id=sample_id,
            rpeaks=self.rpeaks if plan.needs_rpeaks else None,
            scale=self.scale,
        )[0]


class ResidentBatch(Batch):
    """A batch on the training device. Its `ecg` is made when first asked for: augmented views do without it."""

    def __init__(self, **fields: Any):
        vars(self).update(fields)

    def __getattr__(self, name: str) -> Any:
        if name != "ecg":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.ecg = self.resident.augmented(Augment(), fs=500.0, seeds=[0], sample_id=self.sample_id)[0]
        return self.ecg

    def to(self, device: torch.device) -> Batch:
        here, device = self.features.device, torch.device(device)
        if device.type == here.type and device.index in (None, here.index):
            return self
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Batch(**fields | {"resident": None}).to(device)


class ResidentSegments:
    """All training segments of `segments`, packed once; then gives the batches that `Segments.batch` would give.

    The signal differs from that of `segments` by the quantisation, at most 1/65534 of the largest sample of the lead in
    the segment. R peaks, features, groups and labels are the same.

    Args:
        segments: with its feature space.
        device: where everything lies, and where batches come from. Each process of a run holds all segments.

    Raises:
        ValueError: a CUDA device has too little free memory.
    """

    def __init__(self, segments: Segments, device: torch.device | str):
        self.segments, self.device = segments, torch.device(device)
        self.config = segments.config.replace(workers=0)  # there is nothing to read ahead
        needed, free = estimate_bytes(segments), free_bytes(self.device)
        if free is not None and needed > free:
            raise ValueError(
                f"resident is true, but {2 * len(segments)} segments need about {needed / 2**20:,.0f} MiB and "
                f"{self.device} has {free / 2**20:,.0f} MiB free; set resident=false, or raise decimate"
            )
        record = np.repeat(segments.pairs[:, 0], 2)
        segment = np.repeat(segments.pairs[:, 1], 2)
        segment[1::2] += 1
        self.record, self.segment = record, segment
        # the rows of record number k are first[k] to first[k + 1] - 1: pairs are in the order of records
        self._records, first = np.unique(record, return_index=True)
        self._first = np.append(first, len(record))
        self._pack_rpeaks()
        self.features = self._on_device(self._transformed())
        self.group = self._on_device(segments.group[record])
        self.sample_id = self._on_device(segments.first_sample_id[record] + segment)
        self.labels = self._on_device(segments.labels[record])
        shape = (len(record), 12, segments.samples)
        self.signals = torch.empty(shape, dtype=torch.int16, device=self.device)
        self.scale = torch.empty(shape[:2], dtype=torch.float32, device=self.device)
        with ThreadPoolExecutor(max(1, segments.config.workers), "physioclr-packer") as pool:
            for _ in pool.map(self._pack_record, range(len(self._records))):
                pass

    def __len__(self) -> int:
        return len(self.segments)

    def _on_device(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(self.device)

    def _pack_rpeaks(self) -> None:
        width, beats = self.segments.samples, []
        for k, i in enumerate(self._records):
            peaks = self.segments.store.rpeaks(int(i)) // self.segments.config.decimate
            for s in self.segment[self._first[k] : self._first[k + 1]]:
                low, high = np.searchsorted(peaks, (s * width, (s + 1) * width))
                beats.append(peaks[low:high] - s * width)
        self._beats = np.array([len(b) for b in beats])  # on the host: the width of a batch asks no device
        rpeaks = np.full((len(beats), max(1, self._beats.max(initial=0))), -1, np.int32)
        for row, b in enumerate(beats):
            rpeaks[row, : len(b)] = b
        self.rpeaks = self._on_device(rpeaks)

    def _transformed(self) -> np.ndarray:
        blocks: list[np.ndarray] = []
        raw: list[np.ndarray] = []
        waiting = 0
        for k, i in enumerate(self._records):
            raw.append(self.segments.raw_features(int(i))[self.segment[self._first[k] : self._first[k + 1]]])
            waiting += len(raw[-1])
            if waiting >= BLOCK or k == len(self._records) - 1:
                x = self.segments.feature_space.transform(np.concatenate(raw).astype(np.float32, copy=False))
                blocks.append(np.asarray(x, dtype=np.float32))
                raw, waiting = [], 0
        return np.concatenate(blocks)

    def _pack_record(self, k: int) -> None:
        x = self.segments.filtered(int(self._records[k]), keep=False)
        rows, width = slice(int(self._first[k]), int(self._first[k + 1])), self.segments.samples
        q, scale = quantise(np.stack([x[:, s * width : (s + 1) * width] for s in self.segment[rows]]))
        self.signals[rows] = torch.from_numpy(q).to(self.device)
        self.scale[rows] = torch.from_numpy(scale).to(self.device)

    def batch(self, pairs: np.ndarray) -> Batch:
        """The batch of these rows of `segments.pairs`, all of it on the device."""
        at = np.repeat(2 * np.asarray(pairs, dtype=np.int64), 2)
        at[1::2] += 1
        rows = torch.from_numpy(at).to(self.device, non_blocking=True)
        resident = ResidentRows(self.signals, self.scale, self.rpeaks, rows)
        return ResidentBatch(
            rpeaks=self.rpeaks[rows, : max(1, int(self._beats[at].max()))],
            features=self.features[rows],
            group=self.group[rows],
            pair=torch.arange(len(at), device=self.device) ^ 1,
            sample_id=self.sample_id[rows],
            labels=self.labels[rows],
            record=self.record[at],
            segment=self.segment[at],
            resident=resident,
        )


def training_source(segments: Segments, device: torch.device) -> Any:
    """What a run takes its batches from: the segments themselves, or packed on the device where `resident` is true."""
    return ResidentSegments(segments, device) if segments.config.resident else segments
