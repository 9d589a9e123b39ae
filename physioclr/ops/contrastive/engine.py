"""contrastive_loss: the operator behind info_nce, nt_xent, supcon, y_aware_info_nce and soft_contrast.

`form` says who is positive and how pairs weigh:

    "instance"  a row's partner in the other matrix alone is positive, weight 1.
    "labels"    the rows of the same `group`, equal weights; there is no b.
    "cosine"    the partner and all others, with the weight exp((S - 1) / tau_s), S the cosine of the features.
    "distance"  the same, exp(-|f_i - f_j|^2 / 2).
    "hard"      as "instance", the negatives weighed by exp(`delta` s / tau) with mean 1 over each row.
    "jaccard"   the rows whose set of labels (`features`, 0 and 1) shares at least the part `delta` of the union.

`sides`: 0, the rows of a and b all meet; 1, those of a meet those of b, as anchors; 2, and those of b those of a.
"""

from __future__ import annotations

from typing import Any

from ... import _core
from .._arrays import Arrays
from .._checks import FLOATS, check_choice, check_dtype, check_ndim, check_number, check_shape, dtype_name
from .._operator import no_double_backward, operator
from .cpu import IDS

NOT_FINITE = "features contains NaN or infinite values; remove them first (FeatureSpace.transform does)"
FORMS: dict[str, int] = _core.CONTRAST_FORMS
KINDS = {
    "instance": 0,
    "labels": 0,
    "cosine": 1,
    "distance": 2,
    "hard": 0,
    "jaccard": 3,
}  # PairFeatures of cpu/contrastive_problem.h

_INPUTS = "Tensor a, Tensor? b, Tensor? negatives, Tensor? features, Tensor? group, Tensor? temperature"
_SETTINGS = "float tau=0.1, float tau_s=0.1, str form='instance', int sides=0, float delta=2.0"


def _check(a, b, negatives, features, group, temperature, tau, tau_s, form, sides, delta) -> str:
    """The compute dtype."""
    check_ndim(a, "a", (2,), "(N, D)")
    check_dtype(a, "a", FLOATS)
    n, d = a.shape
    if b is not None:
        check_dtype(b, "b", FLOATS)
        check_shape(b, "b", (n, d), "the other view of each row of a")
    if negatives is not None:
        check_ndim(negatives, "negatives", (2,), "(M, D)")
        check_dtype(negatives, "negatives", FLOATS)
        if negatives.shape[1] != d:
            raise ValueError(f"negatives has width {negatives.shape[1]}; it must have {d}, as a has")
    if features is not None:
        check_ndim(features, "features", (2,), "(N, F)")
        check_dtype(features, "features", FLOATS)
        if features.shape[0] != n:
            raise ValueError(f"features has {features.shape[0]} rows; it must have {n}, as a has")
    if group is not None:
        name = "labels" if form == "labels" else "group"
        check_shape(group, name, (n,), "one integer per row")
        check_dtype(group, name, IDS)
    if temperature is not None:
        check_temperature(temperature)
    check_choice(form, "form", tuple(FORMS))
    if (features is None) == (KINDS[form] > 0):
        raise ValueError(f"features is {'None' if features is None else 'given'}; form {form!r} has it otherwise")
    if negatives is not None and KINDS[form] > 0:
        raise ValueError(f"negatives have no features; form {form!r} needs them of every row, so it must be None")
    if form == "hard":
        if b is None:
            raise ValueError("b is None; form 'hard' needs it")
        check_number(delta, "beta", 0, float("inf"), open_low=True)
    if form == "jaccard":
        check_number(delta, "threshold", 0, 1, open_low=True)
    else:  # which has none; but what was passed must be a number
        check_number(delta, "threshold" if form == "labels" else "delta", -float("inf"), float("inf"))
    if sides not in (0, 1, 2) or (sides > 0 and b is None):
        raise ValueError(f"sides is {sides}; it must be 0, or with b 1 or 2")
    check_number(tau, "tau", 0, float("inf"), open_low=True)
    check_number(tau_s, "tau_s", 0, float("inf"), open_low=True)
    return "float64" if "float64" in _dtypes(a, b, negatives) else "float32"


def _dtypes(*arrays: Any) -> set[str]:
    return {dtype_name(x) for x in arrays if x is not None}


def computed(*embeddings: Any) -> Any:
    """The dtype of torch in which a loss of these is computed."""
    import torch

    return torch.float64 if "float64" in _dtypes(*embeddings) else torch.float32


def _rows(a: Any, b: Any) -> int:
    return a.shape[0] * (1 if b is None else 2)


def _results(a, b, *rest):
    rest, measure = rest[:-1], rest[-1]
    dtype, n = _check(a, b, *rest), _rows(a, b)
    return ((), dtype), ((n, 3), "float64"), ((n, 2), "int64"), ((), "int64"), ((n if measure else 0, 3), "float64")


def used(counts: Any, form: str) -> Any:
    """The anchors that are part of the mean, from their counts of positives and negatives."""
    if form in ("labels", "jaccard"):
        return counts[:, 0] > 0
    return (counts[:, 0] >= 0) & ((counts.sum(1) > 0) | (form in ("instance", "hard")))


def check_temperature(temperature: Any) -> None:
    check_dtype(temperature, "tau", FLOATS)
    check_shape(temperature, "tau", (), "one number")


def temperature_of(temperature: Any, tau: float) -> float:
    if temperature is None:
        return float(tau)
    tau = float(temperature)  # waits for a CUDA device
    check_number(tau, "tau", 0, float("inf"), open_low=True)
    return tau


def _fields(
    xp: Arrays, a, b, negatives, features, group, temperature, tau, tau_s, form, sides, delta
) -> tuple[str, dict]:
    """The dtype in which the embeddings are read, and the fields that both kernels take."""
    dtypes = _dtypes(a, b, negatives)
    stored = dtypes.pop() if len(dtypes) == 1 else "float64" if "float64" in dtypes else "float32"
    computed = "float64" if stored == "float64" else "float32"

    def rows(x: Any, dtype: str, *empty: int) -> Any:
        return (0, *empty, None) if x is None else xp.view(xp.contiguous(x, dtype))

    n, d = a.shape
    return stored, {
        "a": rows(a, stored), "b": rows(b, stored, 0, d), "negatives": rows(negatives, stored, 0, d),
        "features": rows(features, computed, n, 0),
        "kind": KINDS[form], "sides": sides,
        "group": xp.pointer(None if group is None else xp.contiguous(group, "int64")),
        "mode": FORMS[form], "mean_pairs": False, "tau": temperature_of(temperature, tau), "tau_s": float(tau_s),
        "delta": float(delta),  # 2, above every cosine: the features only weigh
    }  # fmt: skip


def _bwd_results(grad_loss, a, b, negatives, features, group, temperature, stats, counts, *settings):
    _check(a, b, negatives, features, group, temperature, *settings)
    n = _rows(a, b)
    check_shape(stats, "stats", (n, 3), "of contrastive_loss")
    check_shape(counts, "counts", (n, 2), "of contrastive_loss")
    like_b = a if b is None else b
    return (
        (tuple(a.shape), dtype_name(a)),
        ((0 if b is None else a.shape[0], a.shape[1]), dtype_name(like_b)),
        ((), "float64"),
    )


@operator(
    f"contrastive_loss_bwd(Tensor grad_loss, {_INPUTS}, Tensor stats, Tensor counts, {_SETTINGS}) "
    "-> (Tensor, Tensor, Tensor)",
    _bwd_results,
    **no_double_backward("contrastive_loss"),
)
def contrastive_loss_bwd(xp, out, grad_loss, a, b, negatives, features, group, temperature, stats, counts, *settings):
    inputs = a, b, negatives, features, group, temperature
    grad_loss, stats, counts = (
        xp.contiguous(grad_loss, "float64"), xp.contiguous(stats, "float64"), xp.contiguous(counts, "int64"),
    )  # fmt: skip
    if xp.device >= 0:
        from . import tiles

        return tiles.backward(xp, out, grad_loss, *inputs, stats, counts, *settings)
    stored, fields = _fields(xp, *inputs, *settings)
    grads = [x if xp.dtype(x) == stored else xp.empty(tuple(x.shape), stored) for x in out[:2]]
    xp.on(getattr(_core, f"contrastive_loss_bwd_{stored}"))(
        grad_loss=xp.pointer(grad_loss), **fields,
        stats=xp.pointer(stats), counts=xp.pointer(counts), grad_a=xp.pointer(grads[0]), grad_b=xp.pointer(grads[1]),
        grad_tau=xp.pointer(out[2]),
    )  # fmt: skip
    for x, grad in zip(out, grads, strict=False):
        if grad is not x:
            x[...] = grad


def _setup(ctx, inputs, output):
    *arrays, tau, tau_s, form, sides, delta, _ = inputs
    ctx.settings = tau, tau_s, form, sides, delta
    loss, stats, counts, skipped, measures = output
    ctx.dtype = loss.dtype
    ctx.mark_non_differentiable(stats, counts, skipped, measures)
    ctx.save_for_backward(*arrays, stats, counts)


def _gradients(ctx, grad_loss):
    """Of a, b and the temperature, None where there is none."""
    _, b, _, _, _, temperature = ctx.saved_tensors[:6]
    grad_a, grad_b, grad_tau = contrastive_loss_bwd(grad_loss, *ctx.saved_tensors, *ctx.settings)
    grad_tau = None if temperature is None else grad_tau.to(temperature.dtype)
    return grad_a, None if b is None else grad_b, grad_tau


def _backward(ctx, grad_loss, *_):
    grad_a, grad_b, grad_tau = _gradients(ctx, grad_loss)
    return grad_a, grad_b, None, None, None, grad_tau, *(None,) * 6


def _tangent(ctx, *tangents):
    stats = ctx.saved_tensors[6]
    moved = tangents[0], tangents[1], tangents[5]
    pairs = zip(_gradients(ctx, stats.new_ones(())), moved, strict=True)
    slope = sum((g.to(stats.dtype) * t).sum() for g, t in pairs if t is not None)
    return slope.to(ctx.dtype), None, None, None, None


@operator(
    f"contrastive_loss({_INPUTS}, {_SETTINGS}, bool measure=False) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _results,
    setup_context=_setup,
    backward=_backward,
    differentiable=("a", "b", "temperature"),
    tangent=_tangent,
)
def contrastive_loss(xp, out, *args):
    if xp.device >= 0:
        from . import tiles

        return tiles.forward(xp, out, *args)
    args, measure = args[:-1], args[-1]
    stored, fields = _fields(xp, *args)
    loss, stats, counts, skipped, measures = out
    if not xp.on(getattr(_core, f"contrastive_loss_{stored}"))(
        **fields, stats=xp.pointer(stats), counts=xp.pointer(counts),
        loss=xp.pointer(loss), skipped=xp.pointer(skipped), measures=xp.pointer(measures if measure else None),
    ):  # fmt: skip
        raise ValueError(NOT_FINITE)


def _step_results(a, b, *rest):
    results = _results(a, b, *rest)
    dtype, (n, d) = results[0][1], a.shape
    return *results, ((n, d), dtype), ((0 if b is None else n, d), dtype), ((), "float64")


@operator(
    f"contrastive_step({_INPUTS}, {_SETTINGS}, bool measure=False) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _step_results,
)
def contrastive_step(xp, out, *args):
    """contrastive_loss and its gradient, of float32, float64 or bfloat16 embeddings; of the last in float32."""
    if xp.device >= 0:
        from . import tiles

        tiles.forward(xp, out[:5], *args)
        one = out[7].new_ones(())
        return tiles.backward(xp, out[5:], one, *args[:6], *out[1:3], *args[6:-1])
    inputs, measure = args[:-1], args[-1]
    stored, fields = _fields(xp, *inputs)
    loss, stats, counts, skipped, measures, grad_a, grad_b, grad_tau = out
    if not xp.on(getattr(_core, f"contrastive_step_{stored}"))(
        **fields, stats=xp.pointer(stats), counts=xp.pointer(counts),
        loss=xp.pointer(loss), skipped=xp.pointer(skipped), measures=xp.pointer(measures if measure else None),
        grad_a=xp.pointer(grad_a), grad_b=xp.pointer(grad_b), grad_tau=xp.pointer(grad_tau),
    ):  # fmt: skip
        raise ValueError(NOT_FINITE)
