"""Any module as an encoder: what it must take and return, and how the rest of the model sees it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .encoder import Encoded, mean_pool, token_mask


class OwnEncoder(nn.Module):
    """A module from (N, L, T) to (N, D), or to tokens (N, S, D), as an encoder like `ResNet1d`.

    Tokens are pooled by their mean over those with a valid sample; a module that pools itself sees missing samples as
    0. One that has an attribute `stride` says itself how many samples a token stands for.
    """

    module: nn.Module
    leads: int
    width: int
    stride: int

    def __init__(self, module: nn.Module, leads: int, samples: int, shape: tuple[int, ...]):
        super().__init__()
        self.module, self.leads, self.width = module, leads, shape[-1]
        tokens = shape[1] if len(shape) == 3 else 1
        said = getattr(module, "stride", None)
        self.stride = said if isinstance(said, int) and said > 0 else max(1, round(samples / tokens))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Encoded:
        """x (N, L, T) -> tokens (N, S, D) and pooled (N, D); a module without tokens has one, its embedding."""
        out = self.module(x)
        if out.ndim == 2:
            return Encoded(out[:, None], out)
        return Encoded(out, mean_pool(out, None if valid is None else token_mask(valid, out.shape[1])))


def as_encoder(module: nn.Module, leads: int = 12, samples: int = 2500) -> nn.Module:
    """The module with the interface of `ResNet1d`; one that has it already is returned as it is.

    It is tried once on (2, leads, samples) zeros, in evaluation mode and without touching the random numbers.

    Raises:
        TypeError: not a module. ValueError: it fails on that input, or returns something else than (N, D) or (N, S, D).
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"encoder is {module!r}; it must be a torch.nn.Module")
    name, training = type(module).__name__, {m: m.training for m in module.modules()}
    shape = (2, leads, samples)
    parameter = next(module.parameters(), None)
    x = torch.zeros(shape, device=None if parameter is None else parameter.device)
    try:
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []), torch.no_grad():
            out = module.eval()(x)
    except Exception as e:
        why = " ".join(str(e).split())[:300]
        raise ValueError(f"encoder {name} fails on x of shape {shape}: {type(e).__name__}: {why}") from e
    finally:
        for part, was in training.items():  # each its own: a user may have frozen some
            part.training = was
    if isinstance(out, Encoded) and all(
        isinstance(getattr(module, k, None), int) for k in ("leads", "width", "stride")
    ):
        return module
    good = isinstance(out, Tensor) and out.is_floating_point() and out.ndim in (2, 3) and 0 not in out.shape
    if not good or len(out) != 2:
        what = f"shape {tuple(out.shape)}, {out.dtype}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise ValueError(
            f"encoder {name} returns {what} for x of shape {shape}; "
            "it must return embeddings (N, D) or tokens (N, S, D)"
        )
    return OwnEncoder(module, leads, samples, tuple(out.shape))
