"""Encoders: a segment of a 12-lead ECG in, a token sequence and one pooled embedding out.

Both take x (B, L, T) and an optional mask of valid time points (B, T), and return `Encoded`. Any T works; `stride`
is the number of samples a token stands for, `width` the size of a token and of the embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .halve import Halve
from .norm import BatchNorm, norm_relu


class Encoded(NamedTuple):
    """tokens: (B, S, width), one per `stride` samples; pooled: (B, width), their mean over the valid tokens."""

    tokens: Tensor
    pooled: Tensor


def _check_input(x: Tensor, valid: Tensor | None, leads: int, shortest: int) -> None:
    if x.ndim != 3 or x.shape[1] != leads:
        raise ValueError(f"x has shape {tuple(x.shape)}; it must be (batch, {leads} leads, samples)")
    if x.shape[2] < shortest:
        raise ValueError(f"x has {x.shape[2]} samples; this encoder needs at least {shortest}")
    if valid is not None and tuple(valid.shape) != (x.shape[0], x.shape[2]):
        raise ValueError(f"valid has shape {tuple(valid.shape)}; it must be {(x.shape[0], x.shape[2])}")


def token_mask(valid: Tensor, tokens: int) -> Tensor:
    """(B, tokens) bool: the tokens with at least one valid sample; all of them in a row that has none."""
    mask = F.adaptive_max_pool1d(valid[:, None].float(), tokens)[:, 0] > 0
    return mask | ~mask.any(1, keepdim=True)  # a mean over no token would be NaN


def mean_pool(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """(B, S, D) -> (B, D), the mean over the tokens where mask (B, S) is true (all of them if None)."""
    if mask is None:
        return tokens.mean(1)
    weight = mask[..., None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1)


class _Conv(nn.Conv1d):
    """A convolution in time of x (B, C, 1, T): torch keeps channels last, its fastest form on a CPU, in four
    dimensions only.
    """

    def forward(self, x: Tensor) -> Tensor:
        (stride,), padding = self.stride, self.padding[0]
        assert isinstance(padding, int)  # torch's own type has the word "same" too
        return F.conv2d(x, self.weight.unsqueeze(2), self.bias, (1, stride), (0, padding))


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return BatchNorm(channels)
    if kind == "group":
        return nn.GroupNorm(math.gcd(8, channels), channels)
    raise ValueError(f"norm is {kind!r}; it must be 'batch' or 'group'")


class _Block(nn.Module):
    """Pre-activation residual block of x (B, C, 1, T); the first convolution strides.

    Pre-activation leaves the skip path linear, so the voltage of the segment reaches the embedding whatever the
    normalisation inside the branch does.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, norm: str):
        super().__init__()
        self.norm1 = _norm(norm, inputs)
        self.conv1 = _Conv(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm2 = _norm(norm, outputs)
        self.conv2 = _Conv(outputs, outputs, kernel, 1, kernel // 2, bias=False)
        self.skip = _Conv(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()
        self.pool = Halve() if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(norm_relu(self.norm1, x))
        y = self.conv2(norm_relu(self.norm2, y))
        return y.add_(self.skip(self.pool(x)))


class ResNet1d(nn.Module):
    """A small residual convolutional encoder, the default: about 200 thousand parameters, one token per 32 samples.

    Args:
        leads: L of the input.
        channels: width of each stage; each stage halves the rate, after a stem that divides it by 4.
        blocks: residual blocks in each stage.
        kernel: odd kernel size of the blocks.
        norm: "batch", or "group", which makes a row's embedding independent of the rest of the batch, so that
            splitting a batch over processes or chunks changes nothing.
    """

    leads: int
    width: int
    stride: int
    stem: nn.Conv1d
    layers: nn.Sequential
    norm: nn.Module

    def __init__(
        self,
        leads: int = 12,
        channels: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        kernel: int = 5,
        norm: str = "batch",
    ):
        super().__init__()
        if not channels:
            raise ValueError("channels is empty; it must name at least one stage")
        if kernel % 2 != 1:
            raise ValueError(f"kernel is {kernel}; it must be odd, so that a token stays centred on its samples")
        self.leads, self.width, self.stride = leads, channels[-1], 4 * 2 ** len(channels)
        self.stem = _Conv(leads, channels[0], 15, 4, 7, bias=False)
        layers, inputs = [], channels[0]
        for outputs in channels:
            for b in range(blocks):
                layers.append(_Block(inputs, outputs, kernel, 2 if b == 0 else 1, norm))
                inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.norm = _norm(norm, inputs)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Encoded:
        """x (B, L, T) -> tokens (B, ceil(T / stride), width) and their mean (B, width)."""
        _check_input(x, valid, self.leads, 1)
        x = x.unsqueeze(2)
        if x.device.type == "cpu":  # in the dtype of the convolutions first: there is half as much to reorder
            x = x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x
            x = x.contiguous(memory_format=torch.channels_last)
        tokens = norm_relu(self.norm, self.layers(self.stem(x))).squeeze(2).transpose(1, 2)
        mask = None if valid is None else token_mask(valid, tokens.shape[1])
        return Encoded(tokens, mean_pool(tokens, mask))

    if TYPE_CHECKING:  # where torch says Any
        __call__ = forward


class ConvPosition(nn.Module):
    """Relative position by a grouped convolution over the tokens (wav2vec 2.0, section 2), added to its input."""

    def __init__(self, width: int, kernel: int = 128, groups: int = 16):
        super().__init__()
        conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, 0.0, math.sqrt(4.0 / (kernel * width)))
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        self.conv = nn.utils.parametrizations.weight_norm(conv, dim=2)

    def forward(self, tokens: Tensor) -> Tensor:
        position = self.conv(tokens.transpose(1, 2))[..., : tokens.shape[1]]  # an even kernel gives one too many
        return tokens + F.gelu(position).transpose(1, 2)


class ECGTransformer(nn.Module):
    """The published encoder (PhysioCLR, section on the encoder): strided convolutions, then a transformer.

    The defaults are the published size: 4 convolutions of 256 channels, kernel 2, stride 2; convolutional position
    (128, 16 groups); 12 layers of width 768, feed-forward 3072, 8 heads; one token per 16 samples. Mean pooling.

    Args:
        leads: L of the input.
        width, layers, heads, ffn, dropout: of the transformer.
        conv_channels, conv_layers: of the convolutions in front of it.
        position_kernel, position_groups: of the positional convolution.
    """

    leads: int
    width: int
    stride: int
    convs: nn.Sequential
    conv_norm: nn.LayerNorm
    project: nn.Linear
    position: ConvPosition
    norm: nn.LayerNorm
    dropout: nn.Dropout
    transformer: nn.TransformerEncoder

    def __init__(
        self,
        leads: int = 12,
        width: int = 768,
        layers: int = 12,
        heads: int = 8,
        ffn: int = 3072,
        dropout: float = 0.1,
        conv_channels: int = 256,
        conv_layers: int = 4,
        position_kernel: int = 128,
        position_groups: int = 16,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"width is {width}; it must be a multiple of heads, {heads}")
        if width % position_groups:
            raise ValueError(f"width is {width}; it must be a multiple of position_groups, {position_groups}")
        self.leads, self.width, self.stride = leads, width, 2**conv_layers
        convs: list[nn.Module] = []
        inputs = leads
        for _ in range(conv_layers):
            convs += [nn.Conv1d(inputs, conv_channels, 2, 2, bias=False), nn.GELU()]
            inputs = conv_channels
        self.convs = nn.Sequential(*convs)
        for conv in convs[::2]:
            assert isinstance(conv, nn.Conv1d)
            nn.init.kaiming_normal_(conv.weight)
        self.conv_norm = nn.LayerNorm(conv_channels)
        self.project = nn.Linear(conv_channels, width)
        self.position = ConvPosition(width, position_kernel, position_groups)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, ffn, dropout, F.gelu, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        for block in self.transformer.layers:  # TransformerEncoder copies one layer; each needs its own start
            for name, p in block.named_parameters():
                if p.ndim > 1:
                    nn.init.normal_(p, 0.0, 0.02)
                elif name.endswith("bias"):
                    nn.init.zeros_(p)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Encoded:
        """x (B, L, T) -> tokens (B, T // stride, width) and their mean (B, width). T must be at least one stride."""
        _check_input(x, valid, self.leads, self.stride)
        tokens = self.project(self.conv_norm(self.convs(x).transpose(1, 2)))
        mask = None if valid is None else token_mask(valid, tokens.shape[1])
        if mask is not None:
            tokens = tokens * mask[..., None].to(tokens.dtype)  # or padding would leak through the position
        tokens = self.dropout(self.norm(self.position(tokens)))
        tokens = self.transformer(tokens, src_key_padding_mask=None if mask is None else ~mask)
        return Encoded(tokens, mean_pool(tokens, mask))

    if TYPE_CHECKING:  # where torch says Any
        __call__ = forward
