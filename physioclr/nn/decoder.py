"""The decoder: a token sequence back to the samples of the segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Decoded(NamedTuple):
    """signal: (B, L, T); made: (T,) bool, false where the tokens do not reach and the signal was padded with 0."""

    signal: Tensor
    made: Tensor


def upsampling_factors(stride: int, stages: int) -> tuple[int, ...]:
    """`stride` as a product of `stages` factors, as equal as its prime factors allow, the largest first."""
    factors, rest, p = [1] * stages, stride, 2
    primes = []
    while rest > 1:
        while rest % p == 0:
            primes.append(p)
            rest //= p
        p += 1
    for prime in sorted(primes, reverse=True):
        factors[factors.index(min(factors))] *= prime
    return tuple(sorted(factors, reverse=True))


class Decoder(nn.Module):
    """Transposed convolutions from tokens (B, S, width) up to any T, cropped or padded at the end.

    Args:
        width: size of a token.
        leads: L of the output.
        stride: samples a token stands for (`encoder.stride`); the product of the upsampling factors.
        channels: hidden channels, one stage each, then the output stage. The release has (256, 128) and only 2 x 2,
            so that it makes a quarter of the samples: `Decoder(768, stride=4, channels=(256, 128))`.
    """

    leads: int
    stride: int
    layers: nn.Sequential

    def __init__(self, width: int, leads: int = 12, stride: int = 32, channels: Sequence[int] = (64, 32)):
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride is {stride}; it must be at least 1")
        layers: list[nn.Module] = []
        sizes = [width, *channels, leads]
        for i, factor in enumerate(upsampling_factors(stride, len(sizes) - 1)):
            # kernel 2 f with padding f/2 overlaps neighbours evenly; an odd factor needs an odd kernel to keep f x S
            layers.append(
                nn.ConvTranspose1d(sizes[i], sizes[i + 1], 2 * factor + factor % 2, factor, (factor + 1) // 2)
            )
            if i < len(sizes) - 2:
                layers.append(nn.GELU())
        self.leads, self.stride = leads, stride
        self.layers = nn.Sequential(*layers)

    def forward(self, tokens: Tensor, samples: int) -> Decoded:
        """tokens (B, S, width) -> (B, L, samples) and the mask of the samples that the tokens reach."""
        if tokens.ndim != 3:
            raise ValueError(f"tokens has shape {tuple(tokens.shape)}; it must be (batch, tokens, width)")
        signal = self.layers(tokens.transpose(1, 2))[..., :samples]
        made = torch.arange(samples, device=tokens.device) < signal.shape[2]
        return Decoded(F.pad(signal, (0, samples - signal.shape[2])), made)

    if TYPE_CHECKING:  # where torch says Any
        __call__ = forward
