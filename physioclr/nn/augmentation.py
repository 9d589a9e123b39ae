"""Augmentation as a module, for pipelines of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..ops._types import RPeaks
from ..ops.augment import _augment_rows, augment, view_seed
from ..ops.augment.plan import Augment

if TYPE_CHECKING:
    import torch
    from numpy.typing import DTypeLike

    from ..ops._types import Peaks, Values


class Augmentation(nn.Module):
    """`physioclr.augment` with a fixed plan: augments in training mode, passes the batch through in evaluation mode.

    It keeps no random state. What it draws follows from (seed, epoch, view) and the records' ids, so call `set_epoch`
    at the start of each epoch, and pass `sample_id`: without it, every batch counts its records from 0 and batches of
    one epoch would draw the same.

    Args:
        plan: what to do.
        fs: sampling rate, Hz.
        seed: from 0 to 2^63 - 1.
        views: how many views `forward` makes; with more than one, everything it returns has a first axis of views.
    """

    plan: Augment
    fs: float
    seed: int
    views: int
    seeds: list[int]

    def __init__(self, plan: Augment, fs: float, *, seed: int = 0, views: int = 1):
        super().__init__()
        if not isinstance(plan, Augment):
            raise TypeError(f"plan is {plan!r}; it must be an Augment")
        if views < 1:
            raise ValueError(f"views is {views}; it must be at least 1")
        self.plan, self.fs, self.seed, self.views = plan, fs, seed, views
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.seeds = [view_seed(self.seed, epoch, v) for v in range(self.views)]
        # torch.compile takes the numbers that a module holds for constants and compiles again when one changes; no
        # buffer, because it stays on the CPU and is no state
        self._traced = torch.tensor(self.seeds, device="cpu")

    def _seeds(self) -> Any:
        if torch.compiler.is_dynamo_compiling():
            seeds = [torch.ops.physioclr.seed_of(self._traced, v) for v in range(self.views)]
        else:
            seeds = self.seeds
        return seeds if self.views > 1 else seeds[0]

    def forward(
        self,
        ecg: Tensor,
        rpeaks: Peaks | None = None,
        sample_id: Tensor | None = None,
        scale: Values | None = None,
    ) -> tuple[Tensor, RPeaks[Tensor] | None]:
        """As `physioclr.augment`; in evaluation mode with an empty plan, so that dtype and shape stay the same."""
        plan = self.plan if self.training else Augment()
        return augment(ecg, plan, fs=self.fs, seed=self._seeds(), sample_id=sample_id, rpeaks=rpeaks, scale=scale)

    def gather(
        self,
        signals: Tensor,
        rows: Tensor,
        starts: Tensor,
        length: int,
        rpeaks: Peaks | None = None,
        sample_id: Tensor | None = None,
        scale: Values | None = None,
        dtype: torch.dtype | DTypeLike | None = None,
    ) -> tuple[Tensor, RPeaks[Tensor] | None]:
        """As `forward` of the batch signals[rows[b], :, starts[b] : starts[b] + length], read where it lies.

        For int16 records (N, L, T) that stay in device memory: read, dequantised and augmented without a batch in
        between. rpeaks (N, P) and scale (a number, (L,) or (N, L)) are those of the records.
        """
        plan = self.plan if self.training else Augment()
        return _augment_rows(
            signals, rows, starts, length, plan, fs=self.fs, seed=self._seeds(), sample_id=sample_id, rpeaks=rpeaks,
            scale=scale, dtype=dtype,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self.plan}, fs={self.fs:g}, seed={self.seed}, views={self.views}"

    if TYPE_CHECKING:  # where torch says Any
        __call__ = forward
