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


class _Upsample(nn.ConvTranspose1d):
    """Transposed convolution; on a CPU, where the kernel is twice the stride f, as the convolution that it is: the f
    samples behind the start of a token are made of it and of the token before. It is faster.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        (kernel,), (f,), crop = self.kernel_size, self.stride, self.padding[0]
        assert isinstance(crop, int)  # torch's own type has the word "same" too
        if x.device.type != "cpu" or kernel != 2 * f or output_size is not None:
            return super().forward(x, output_size)
        own, before = self.weight.unflatten(2, (2, f)).unbind(2)  # (C, out, f): taps of a token and of the one before
        weight = torch.stack((before, own), -1).permute(2, 1, 0, 3).flatten(0, 1)  # (f out, C, 2)
        assert self.bias is not None
        y = F.conv2d(x.unsqueeze(2), weight.unsqueeze(2), self.bias.repeat(f), padding=(0, 1))
        y = y.squeeze(2).transpose(1, 2)  # (B, S + 1, f out): in memory already where x has its channels last
        return y.reshape(len(x), -1, self.out_channels)[:, crop:-crop].transpose(1, 2)


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
            layers.append(_Upsample(sizes[i], sizes[i + 1], 2 * factor + factor % 2, factor, (factor + 1) // 2))
            if i < len(sizes) - 2:
                layers.append(nn.GELU())
        self.leads, self.stride = leads, stride
        self.layers = nn.Sequential(*layers)

    def forward(self, tokens: Tensor, samples: int) -> Decoded:
        """tokens (B, S, width) -> (B, L, samples) and the mask of the samples that the tokens reach."""
        if tokens.ndim != 3:
            raise ValueError(f"tokens has shape {tuple(tokens.shape)}; it must be (batch, tokens, width)")
        signal = self.layers(tokens.transpose(1, 2))[..., :samples].contiguous()
        made = torch.arange(samples, device=tokens.device) < signal.shape[2]
        missing = samples - signal.shape[2]
        return Decoded(F.pad(signal, (0, missing)) if missing else signal, made)

    if TYPE_CHECKING:  # where torch says Any
        __call__ = forward
