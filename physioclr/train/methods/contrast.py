"""Contrastive baselines: a segment is to find its other view among all segments of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ... import nn
from .method import Method, Outputs

if TYPE_CHECKING:
    from ..dataset import Batch
    from ..views import Draw


class SimCLR(Method):
    """Two augmentations of each segment, NT-Xent (Chen et al. 2020)."""

    by_row = True

    def views(self, batch: Batch, draw: Draw) -> tuple[Tensor, ...]:
        return draw(0, 1)

    def loss(self, out: Outputs, batch: Batch) -> Tensor:
        a, b = out.embeddings
        return nn.nt_xent(a, b, batch.group, tau=self.config.tau, process_group=self.process_group)


class CMSC(Method):
    """The two adjacent segments of each record, InfoNCE (CLOCS, Kiyasseh et al. 2021)."""

    by_row = True

    def loss(self, out: Outputs, batch: Batch) -> Tensor:
        (h,) = out.embeddings
        tau, group = self.config.tau, batch.group[0::2]
        return nn.info_nce(h[0::2], h[1::2], group, tau=tau, process_group=self.process_group)
