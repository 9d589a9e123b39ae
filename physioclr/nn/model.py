"""PhysioCLR: encoder, projection, decoder and hybrid loss in one module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .decoder import Decoder
from .encoder import Encoded
from .losses import HybridLoss, HybridTerms

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from ..ops._types import Peaks


class Projection(nn.Sequential):
    """Two-layer head between the embedding that is kept and the one that the contrastive term sees."""

    def __init__(self, width: int, out: int):
        super().__init__(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))


def joined(xs: Sequence[Tensor]) -> Tensor:
    """torch.cat(xs); without a copy where they lie one behind the other in one piece of memory, as views drawn together
    do."""
    first, rows = xs[0], sum(len(x) for x in xs)
    offset = first.storage_offset()
    for x in xs:
        alike = x.shape[1:] == first.shape[1:] and x.dtype == first.dtype and x.is_contiguous() and not x.requires_grad
        if not alike or x.storage_offset() != offset or not _same_storage(x, first):
            return torch.cat(list(xs))
        offset += x.numel()
    return first if len(xs) == 1 else first.as_strided((rows, *first.shape[1:]), first.stride())


def _same_storage(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def size_of(encoder: nn.Module, name: str) -> int:
    """An encoder's leads, width or stride, which torch types as what any attribute of a module may be."""
    size: int = getattr(encoder, name)
    return size


class PhysioCLR(nn.Module):
    """Physiology-guided contrastive learning (PhysioCLR, arXiv 2509.08116).

    Args:
        encoder: a module like `ResNet1d`: x (B, L, T) -> tokens and pooled embedding, with leads, width and stride.
        loss: the hybrid loss; default settings if None.
        projection: size of the embedding in the contrastive term; 0 uses the pooled embedding itself.
        decoder: None builds one from the encoder's stride where the loss has a reconstruction term; False leaves it
            out; or a module like `Decoder`.
        features: size of the feature vectors; a linear map from the embedding to them is then trained as well
            (`predict`), so that the embedding holds the physiology itself and not only who resembles whom.
    """

    encoder: nn.Module
    loss: HybridLoss
    projection: nn.Module
    decoder: nn.Module | None
    predictor: nn.Linear | None

    def __init__(
        self,
        encoder: nn.Module,
        loss: HybridLoss | None = None,
        *,
        projection: int = 128,
        decoder: nn.Module | bool | None = None,
        features: int = 0,
    ):
        super().__init__()
        self.encoder = encoder
        self.loss = HybridLoss() if loss is None else loss
        width = size_of(encoder, "width")
        self.projection = Projection(width, projection) if projection else nn.Identity()
        if decoder is None or isinstance(decoder, bool):
            wanted = decoder is True or (decoder is None and (self.loss.alpha or self.loss.beta))
            decoder = Decoder(width, size_of(encoder, "leads"), size_of(encoder, "stride")) if wanted else None
        self.decoder = decoder  # asking a module whether it is true asks for its length, which a compiled one refuses
        self.predictor = nn.Linear(width, features) if features else None

    def encode(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, L, T) -> (B, width): the embedding to keep, before the projection."""
        out: Encoded = self.encoder(x, valid)
        return out.pooled

    def predict(self, tokens: Tensor) -> Tensor:
        """(N, S, width) tokens -> (N, features): what the embedding says of the physiology."""
        if self.predictor is None:
            raise ValueError("features is 0, so this model predicts none; it must be the size of the feature vectors")
        predicted: Tensor = self.predictor(tokens.mean(1))
        return predicted

    def project(self, *xs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Embeddings for the contrastive term of each of several (N, L, T) batches, and the first one's tokens.

        One pass of the encoder over all of them, so that batch statistics are the same for every view.
        """
        out: Encoded = self.encoder(joined(xs))
        return list(self.projection(out.pooled).chunk(len(xs))), out.tokens[: len(xs[0])]

    def forward(
        self,
        anchor: Tensor,
        features: Tensor,
        group: Tensor | None = None,
        *,
        shuffled: Tensor | None = None,
        pair: Tensor | None = None,
        target: Tensor | None = None,
        valid: Tensor | None = None,
        rpeaks: Peaks | None = None,
        process_group: ProcessGroup | None = None,
    ) -> HybridTerms:
        """The hybrid loss of a batch of segments.

        Args:
            anchor: (N, L, T) segments, missing samples 0; shuffled: (N, L, T) their heartbeat-shuffled views.
            features: (N, F); group: (N,) ids.
            pair: (N,) int64: row pair[i] is the adjacent segment of row i. At least one of shuffled and pair.
            target: (N, L, T) the clean, unshuffled segments to reconstruct (anchor itself if None).
            valid: (N, L, T) bool, the samples of target that were recorded; rpeaks: (N, P), its R peaks.
        """
        xs = (anchor,) if shuffled is None else (anchor, shuffled)
        embeddings, tokens = self.project(*xs)
        views = embeddings[1:]
        if pair is not None:
            views.append(embeddings[0][pair])  # its gradient goes on to the anchor that it is
        if not views:
            raise ValueError("shuffled and pair are both None; every anchor needs at least one view")
        x_hat = None
        if self.decoder is not None:
            target = anchor if target is None else target
            x_hat, made = self.decoder(tokens, target.shape[2])
            valid = made.expand_as(target) if valid is None else valid & made
        return self.loss(
            embeddings[0], torch.stack(views), features, group,
            x_hat=x_hat, x=target, valid=valid, rpeaks=rpeaks, process_group=process_group,
        )  # fmt: skip

    if TYPE_CHECKING:  # where torch says Any
        __call__ = forward
