"""Exact gradients of a contrastive batch that is larger than the encoder's activations allow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map


class _RandomState:
    """The generators that a module may draw from: the CPU's and the current CUDA device's."""

    def __init__(self, device: torch.device):
        self.device = device
        self.cpu_state = torch.get_rng_state()
        self.cuda_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        torch.set_rng_state(self.cpu_state)
        if self.cuda_state is not None:
            torch.cuda.set_rng_state(self.cuda_state, self.device)


def _rows(inputs: Any) -> tuple[int, torch.device]:
    tensors = [x for x in tree_flatten(inputs)[0] if isinstance(x, Tensor)]
    if not tensors:
        raise TypeError("inputs contains no tensor; it must be a tensor, or a tuple, list or dict of tensors")
    sizes = {len(x) if x.ndim else 0 for x in tensors}
    if len(sizes) != 1 or 0 in sizes:
        shapes = [tuple(x.shape) for x in tensors]
        raise ValueError(f"inputs has tensors of shapes {shapes}; their first dimension must be equal and above 0")
    return sizes.pop(), tensors[0].device


def _as_tuple(outputs: Any, rows: int) -> tuple[Tensor, ...]:
    tensors = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    for x in tensors:
        if not isinstance(x, Tensor):
            raise TypeError(f"encoder returned a {type(x).__name__}; it must return a tensor or a tuple of tensors")
        if x.ndim == 0 or len(x) != rows:
            raise ValueError(f"encoder returned shape {tuple(x.shape)} for a chunk of {rows} rows; one row per input")
    return tensors


def chunked_backward(
    encoder: Callable[[Any], Any], loss: Callable[..., Tensor], inputs: Any, *, chunk_size: int
) -> Tensor:
    """loss(encoder(inputs)), and its gradients added to every parameter's `.grad`, in the memory of one chunk.

    Three steps (GradCache, Gao et al. 2021): encode chunk by chunk without a graph; the loss of all embeddings together
    and its gradient with respect to them; encode each chunk once more, now with its graph, and continue backward
    from the cached gradient. Dropout and other random layers draw the same numbers both times. The gradients are those
    of one pass over the whole batch as long as a row's embedding depends on that row alone: batch normalisation in
    training mode sees one chunk at a time (its running statistics are updated once per chunk, as in one pass).

    Args:
        encoder: called with one chunk of `inputs`; returns a tensor, or a tuple of tensors, with one row per input row.
            Those of integers (counts, say) reach the loss and have no gradient.
            Under DistributedDataParallel gradients are reduced once, with the last chunk.
        loss: called with the embeddings of all rows, as many arguments as the encoder returns tensors; returns a
            scalar. Its own parameters get gradients too. Multiply by the scale of a GradScaler here.
        inputs: a tensor, or a tuple, list or dict of tensors with the same first dimension. For V views of N segments,
            pass (V + 1) N rows and split them in `loss`.
        chunk_size: rows per chunk, at least 1; the last chunk may be smaller.

    Returns:
        The loss, detached.

    Raises:
        ValueError, TypeError: chunk_size below 1, inputs of unequal length, an encoder that does not return a row per
            input, a loss that is not a scalar.
    """
    n, device = _rows(inputs)
    if not isinstance(chunk_size, int) or chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size!r}; it must be an integer of at least 1")
    if not torch.is_grad_enabled():
        raise RuntimeError("chunked_backward computes gradients; call it without torch.no_grad()")
    starts = range(0, n, chunk_size)

    def encode(start: int) -> tuple[Tensor, ...]:
        chunk = tree_map(lambda x: x[start : start + chunk_size] if isinstance(x, Tensor) else x, inputs)
        return _as_tuple(encoder(chunk), min(chunk_size, n - start))

    states, outputs = [], []
    with torch.no_grad():
        for start in starts:
            states.append(_RandomState(device))
            outputs.append(encode(start))
        embeddings = [torch.cat(parts) for parts in zip(*outputs, strict=True)]
    for e in embeddings:
        e.requires_grad_(e.is_floating_point())
    del outputs

    value = loss(*embeddings)
    if value.ndim:
        raise ValueError(f"loss returned shape {tuple(value.shape)}; it must return a scalar")
    after = _RandomState(device)
    module = encoder if isinstance(encoder, nn.Module) else None
    # `is not None`, not its truth: a module may have a length (Sequential) or refuse to say one (torch.compile)
    buffers = [b.clone() for b in module.buffers()] if module is not None else []
    value.backward()
    gradients = [torch.zeros_like(e) if e.grad is None and e.requires_grad else e.grad for e in embeddings]
    del embeddings

    no_sync = getattr(module, "no_sync", contextlib.nullcontext)
    for start, state in zip(starts, states, strict=True):
        state.restore()
        with contextlib.nullcontext() if start == starts[-1] else no_sync():
            pairs = [(x, g[start : start + chunk_size]) for x, g in zip(encode(start), gradients, strict=True)
                     if g is not None]  # fmt: skip
            torch.autograd.backward([x for x, _ in pairs], [g for _, g in pairs])
    after.restore()
    with torch.no_grad():
        for old, new in zip(buffers, module.buffers() if module is not None else (), strict=True):
            new.copy_(old)
    return value.detach()
