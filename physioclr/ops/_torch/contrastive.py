"""hybrid_contrastive_loss and its two parts, of which a process that holds some rows of a larger batch uses each."""

from __future__ import annotations

import torch

from .. import _launch
from .._launch.contrastive import check_statistics
from . import contrastive_tiles as tiles
from . import define, no_double_backward

_SETTINGS = "float tau=0.1, float delta=0.25, str mode='ratio', float tau_s=0.1, str pair_reduction='sum'"
_DEFAULTS = (0.1, 0.25, "ratio", 0.1, "sum", 0)  # the dispatcher leaves out trailing arguments that equal them
_INPUTS = "Tensor anchor, Tensor views, Tensor features, Tensor? group"


def _rows(xp, anchor, views, features, group=None, *settings):
    *settings, row_offset = (*settings, *_DEFAULTS[len(settings) :])
    if xp.device < 0:
        return _launch.contrastive_rows(xp, anchor, views, features, group, *settings, row_offset)
    return tiles.contrastive_rows(xp, anchor, views, features, group, settings, row_offset)


def _loss(xp, anchor, views, features, group=None, *settings):
    settings = (*settings, *_DEFAULTS[len(settings) : -1])
    dtype = _launch.contrastive_checks(anchor, views, features, group, *settings, whole=True)
    stats, counts = _rows(xp, anchor, views, features, group, *settings)
    loss, skipped = _launch.contrastive_finish(xp, stats, counts, len(views), settings[2], dtype)
    return loss, stats, counts, skipped


def _gradients(xp, grad_loss, anchor, views, features, group, stats, counts, *settings):
    *settings, row_offset = (*settings, *_DEFAULTS[len(settings) :])
    inputs = grad_loss, anchor, views, features, group, stats, counts
    if xp.device < 0:
        return _launch.contrastive_backward(xp, *inputs, *settings, row_offset)
    check_statistics(anchor, stats, counts)
    return tiles.contrastive_backward(xp, *inputs, settings, row_offset)


def _fake_loss(anchor, views, features, group=None, *settings):
    dtype = getattr(torch, _launch.contrastive_checks(anchor, views, features, group, *settings, whole=True))
    n = anchor.shape[0]
    return (
        anchor.new_empty((), dtype=dtype),
        anchor.new_empty((n, 3), dtype=torch.float64),
        anchor.new_empty((n, 2), dtype=torch.int64),
        anchor.new_empty((), dtype=torch.int64),
    )


def _fake_rows(anchor, views, features, group=None, *settings):
    _launch.contrastive_checks(anchor, views, features, group, *settings)
    n = views.shape[1]
    return anchor.new_empty((n, 3), dtype=torch.float64), anchor.new_empty((n, 2), dtype=torch.int64)


def _fake_backward(grad_loss, anchor, views, features, group, stats, counts, *settings):
    _launch.contrastive_checks(anchor, views, features, group, *settings)
    return anchor.new_empty((views.shape[1], anchor.shape[1])), views.new_empty(views.shape)


def _setup(ctx, inputs, output):
    anchor, views, features, group, *ctx.settings = inputs
    _, stats, counts, skipped = output
    ctx.mark_non_differentiable(stats, counts, skipped)
    ctx.save_for_backward(anchor, views, features, group, stats, counts)


def _backward(ctx, grad_loss, *_):
    grad_anchor, grad_views = contrastive_backward(grad_loss, *ctx.saved_tensors, *ctx.settings)
    return grad_anchor, grad_views, *(None,) * 7


contrastive_rows = define(
    f"contrastive_rows({_INPUTS}, {_SETTINGS}, int row_offset=0) -> (Tensor, Tensor)",
    _rows,
    _fake_rows,
)
contrastive_backward = define(
    f"contrastive_backward(Tensor grad_loss, {_INPUTS}, Tensor stats, Tensor counts, {_SETTINGS}, int row_offset=0) "
    "-> (Tensor, Tensor)",
    _gradients,
    _fake_backward,
    **no_double_backward("hybrid_contrastive_loss"),
)
hybrid_contrastive_loss = define(
    f"hybrid_contrastive_loss({_INPUTS}=None, {_SETTINGS}) -> (Tensor, Tensor, Tensor, Tensor)",
    _loss,
    _fake_loss,
    setup_context=_setup,
    backward=_backward,
)
