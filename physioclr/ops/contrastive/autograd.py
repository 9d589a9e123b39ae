"""hybrid_contrastive_loss and its two parts, of which a process that holds some rows of a larger batch uses each."""

from __future__ import annotations

from typing import Any

from .._arrays import Arrays
from .._checks import dtype_name
from .._operator import no_double_backward, operator
from . import cpu
from .engine import check_temperature, temperature_of

_INPUTS = "Tensor anchor, Tensor views, Tensor features, Tensor? group"
_SETTINGS = "float tau=0.1, float delta=0.25, str mode='ratio', float tau_s=0.1, str pair_reduction='sum'"


def _version(xp: Arrays) -> Any:
    if xp.device < 0:
        return cpu
    from . import cuda

    return cuda


def used(counts: Any, n_views: int, mode: str) -> Any:
    """The rows that are part of the mean, from their counts of positives and negatives."""
    positives, negatives = counts[:, 0], counts[:, 1]
    return (positives + n_views > 0) & ((negatives if mode == "ratio" else positives + negatives) > 0)


def _row_results(anchor, views, features, group, *settings):
    settings, measure = settings[:-1], settings[-1]
    cpu.check_inputs(anchor, views, features, group, *settings)
    n = views.shape[1]
    return ((n, 3), "float64"), ((n, 2), "int64"), ((n if measure else 0, 3), "float64")


@operator(
    f"contrastive_rows({_INPUTS}, {_SETTINGS}, int row_offset=0, bool measure=False) -> (Tensor, Tensor, Tensor)",
    _row_results,
)
def contrastive_rows(xp, out, anchor, views, features, group, *settings):
    *given, row_offset, measure = settings
    out = out if measure else out[:2]
    _version(xp).contrastive_rows(xp, out, anchor, views, features, group, tuple(given), row_offset)


def _gradient_results(grad_loss, anchor, views, features, group, stats, counts, *settings):
    settings = settings[:-1]
    cpu.check_inputs(anchor, views, features, group, *settings)
    cpu.check_statistics(anchor, stats, counts)
    return (
        ((views.shape[1], anchor.shape[1]), dtype_name(anchor)),
        (tuple(views.shape), dtype_name(views)),
        ((), "float64"),
    )


@operator(
    f"contrastive_backward(Tensor grad_loss, {_INPUTS}, Tensor stats, Tensor counts, {_SETTINGS}, int row_offset=0, "
    "Tensor? temperature=None) -> (Tensor, Tensor, Tensor)",
    _gradient_results,
    **no_double_backward("hybrid_contrastive_loss"),
)
def contrastive_backward(xp, out, grad_loss, anchor, views, features, group, stats, counts, *settings):
    tau, settings, row_offset, temperature = settings[0], settings[1:-2], *settings[-2:]
    settings = temperature_of(temperature, tau), *settings
    stored = cpu.stored_dtype(anchor, views)
    grads = [x if xp.dtype(x) == stored else xp.empty(tuple(x.shape), stored) for x in out[:2]]
    inputs = grad_loss, anchor, views, features, group, stats, counts
    _version(xp).contrastive_backward(xp, (*grads, out[2]), *inputs, settings, row_offset)
    for x, grad in zip(out, grads, strict=False):
        if grad is not x:
            x[...] = grad


def _loss_results(anchor, views, features, group, *settings):
    settings, (temperature, measure) = settings[:-2], settings[-2:]
    if temperature is not None:
        check_temperature(temperature)
    dtype = cpu.check_inputs(anchor, views, features, group, *settings, whole=True)
    n = anchor.shape[0]
    measures = (n if measure else 0, 3), "float64"
    return ((), dtype), ((n, 3), "float64"), ((n, 2), "int64"), ((), "int64"), measures


def _setup(ctx, inputs, output):
    anchor, views, features, group, *ctx.settings, temperature, _ = inputs
    loss, stats, counts, skipped, measures = output
    ctx.dtype = loss.dtype
    ctx.mark_non_differentiable(stats, counts, skipped, measures)
    ctx.save_for_backward(anchor, views, features, group, stats, counts, temperature)


def _gradients(ctx, grad_loss):
    """Of anchor, views and the temperature, which is None where that is none."""
    *inputs, temperature = ctx.saved_tensors
    grads = contrastive_backward(grad_loss, *inputs, *ctx.settings, 0, temperature)
    return (*grads[:2], None if temperature is None else grads[2].to(temperature.dtype))


def _backward(ctx, grad_loss, *_):
    grad_anchor, grad_views, grad_tau = _gradients(ctx, grad_loss)
    return grad_anchor, grad_views, *(None,) * 7, grad_tau, None


def _tangent(ctx, *tangents):
    stats = ctx.saved_tensors[4]
    pairs = zip(_gradients(ctx, stats.new_ones(())), (*tangents[:2], tangents[-2]), strict=True)
    slope = sum((g.to(stats.dtype) * t).sum() for g, t in pairs if t is not None)
    return slope.to(ctx.dtype), None, None, None, None


@operator(
    f"hybrid_contrastive_loss({_INPUTS}=None, {_SETTINGS}, Tensor? temperature=None, bool measure=False) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _loss_results,
    setup_context=_setup,
    backward=_backward,
    differentiable=("anchor", "views", "temperature"),
    tangent=_tangent,
)
def hybrid_contrastive_loss(xp, out, anchor, views, features, group, *settings):
    loss, stats, counts, skipped, measures = out
    tau, settings, (temperature, measure) = settings[0], settings[1:-2], settings[-2:]
    settings = temperature_of(temperature, tau), *settings
    rows = (stats, counts, measures) if measure else (stats, counts)
    _version(xp).contrastive_rows(xp, rows, anchor, views, features, group, settings, 0)
    if not cpu.contrastive_finish(xp, loss, skipped, stats, counts, len(views), settings[2]):
        cpu.warn_all_skipped(counts, len(views), *settings[1:3])


def _step(xp, out, *args):
    hybrid_contrastive_loss.launch(xp, out, *args)
    anchor, views, features, group, tau, delta, mode, tau_s, reduction, temperature, _ = args
    settings = temperature_of(temperature, tau), delta, mode, tau_s, reduction
    _, stats, counts, *_ = out
    grads = xp.empty(anchor.shape, xp.dtype(anchor)), xp.empty(views.shape, xp.dtype(views)), xp.empty((), "float64")
    one = xp.empty((), "float64")
    one[...] = 1
    cpu.contrastive_backward(xp, grads, one, anchor, views, features, group, stats, counts, settings, 0)
    return {0: grads[0], 1: grads[1], 9: grads[2]} if temperature is not None else {0: grads[0], 1: grads[1]}


hybrid_contrastive_loss.step = _step
