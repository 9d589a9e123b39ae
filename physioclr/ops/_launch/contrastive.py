"""hybrid_contrastive_loss: row sums, their mean, and the gradient. METHOD in the docstring of the public function.

`anchor`, `features` and `group` hold all N rows, `views` the n rows of this process, which are rows
row_offset .. row_offset + n - 1 of the others: one process owns all (n = N), several gather the first three.
"""

from __future__ import annotations

from typing import Any

from ... import _core
from .._arrays import FLOATS, Arrays, check_choice, check_dtype, check_ndim, check_number, check_shape, cpu_only

MODES = {"ratio": 0, "supcon": 1, "soft": 2}


def contrastive_checks(
    anchor: Any,
    views: Any,
    features: Any,
    group: Any = None,
    tau: float = 0.1,
    delta: float = 0.25,
    mode: str = "ratio",
    tau_s: float = 0.1,
    pair_reduction: str = "sum",
    row_offset: int = 0,
    *,
    whole: bool = False,
) -> str:
    """Checks everything that shapes, dtypes and settings can tell; the compute dtype. Also for the fake kernels.

    whole: views must have all rows of anchor.
    """
    check_ndim(anchor, "anchor", (2,), "(N, D)")
    check_ndim(views, "views", (3,), "(V, N, D)")
    check_ndim(features, "features", (2,), "(N, F)")
    for x, name in ((anchor, "anchor"), (views, "views"), (features, "features")):
        check_dtype(x, name, FLOATS)
    n, d = anchor.shape
    if whole:
        check_shape(views, "views", (views.shape[0], n, d), "V views of anchor's rows")
    if views.shape[2] != d:
        raise ValueError(f"views has width {views.shape[2]}; it must have {d}, as anchor has")
    if features.shape[0] != n:
        raise ValueError(f"features has {features.shape[0]} rows; it must have {n}, as anchor has")
    if not 0 <= row_offset <= n - views.shape[1]:
        raise ValueError(
            f"views has {views.shape[1]} rows from row {row_offset} on; they must lie within the {n} of anchor"
        )
    if group is not None:
        check_shape(group, "group", (n,), "one record id per row")
        check_dtype(group, "group", ("int64", "int32"))
    check_choice(mode, "mode", tuple(MODES))
    check_choice(pair_reduction, "pair_reduction", ("sum", "mean"))
    check_number(tau, "tau", 0, float("inf"), open_low=True)
    check_number(tau_s, "tau_s", 0, float("inf"), open_low=True)
    check_number(delta, "delta", -float("inf"), float("inf"))
    return "float64" if "float64" in (dtype_name(anchor), dtype_name(views)) else "float32"


def dtype_name(x: Any) -> str:
    return str(x.dtype).removeprefix("torch.")


class _Call:
    """The contiguous inputs of one call and their addresses, in the order of the bindings."""

    def __init__(self, xp: Arrays, dtype: str, anchor, views, features, group, row_offset, settings):
        tau, delta, mode, tau_s, pair_reduction = settings
        # embeddings of one dtype are read as they are, otherwise as the compute dtype
        self.stored = dtype_name(anchor) if dtype_name(anchor) == dtype_name(views) else dtype
        self.element, self.rows, self.views, self.mode = FLOATS.index(self.stored), *views.shape[1::-1], MODES[mode]
        keep = [xp.contiguous(anchor, self.stored), xp.contiguous(views, self.stored), xp.contiguous(features, dtype)]
        self.keep = [*keep, None if group is None else xp.contiguous(group, "int64")]
        a, v, f, g = (0 if x is None else xp.address(x) for x in self.keep)
        self.args = (
            a, *anchor.shape, v, self.views, f, features.shape[1], g, row_offset, row_offset + self.rows,
            self.mode, pair_reduction == "mean", tau, tau_s, delta,
        )  # fmt: skip


@cpu_only
def contrastive_rows(
    xp: Arrays,
    anchor: Any,
    views: Any,
    features: Any,
    group: Any = None,
    tau: float = 0.1,
    delta: float = 0.25,
    mode: str = "ratio",
    tau_s: float = 0.1,
    pair_reduction: str = "sum",
    row_offset: int = 0,
) -> tuple[Any, Any]:
    """(n, 3) float64 row statistics (csrc/ops.h says which) and (n, 2) int64 counts of positives and negatives."""
    settings = (tau, delta, mode, tau_s, pair_reduction)
    dtype = contrastive_checks(anchor, views, features, group, *settings, row_offset)
    call = _Call(xp, dtype, anchor, views, features, group, row_offset, settings)
    stats, counts = xp.empty((call.rows, 3), "float64"), xp.empty((call.rows, 2), "int64")
    if not _core.contrastive_rows(call.element, *call.args, xp.address(stats), xp.address(counts)):
        raise ValueError("features contains NaN or infinite values; remove them first (FeatureSpace.transform does)")
    return stats, counts


def contrastive_finish(xp: Arrays, stats: Any, counts: Any, n_views: int, mode: str, dtype: str) -> tuple[Any, Any]:
    """The mean over the rows that count, 0-d, and the number of the other rows, 0-d int64."""
    loss, skipped = xp.empty((), dtype), xp.empty((), "int64")
    with xp.guard():
        _core.contrastive_finish(
            dtype == "float64", xp.address(stats), xp.address(counts), stats.shape[0], n_views, MODES[mode],
            xp.address(loss), xp.address(skipped), xp.device, xp.stream,
        )  # fmt: skip
    return loss, skipped


def check_statistics(anchor: Any, stats: Any, counts: Any) -> None:
    check_shape(stats, "stats", (anchor.shape[0], 3), "contrastive_rows of all rows")
    check_shape(counts, "counts", (anchor.shape[0], 2), "contrastive_rows of all rows")


@cpu_only
def contrastive_backward(
    xp: Arrays,
    grad_loss: Any,
    anchor: Any,
    views: Any,
    features: Any,
    group: Any,
    stats: Any,
    counts: Any,
    tau: float = 0.1,
    delta: float = 0.25,
    mode: str = "ratio",
    tau_s: float = 0.1,
    pair_reduction: str = "sum",
    row_offset: int = 0,
) -> tuple[Any, Any]:
    """grad_loss times dL/d(the n rows of anchor) and dL/d(views), from the statistics and counts of all N rows."""
    settings = (tau, delta, mode, tau_s, pair_reduction)
    dtype = contrastive_checks(anchor, views, features, group, *settings, row_offset)
    check_statistics(anchor, stats, counts)
    call = _Call(xp, dtype, anchor, views, features, group, row_offset, settings)
    fixed = [xp.contiguous(grad_loss, "float64"), xp.contiguous(stats, "float64"), xp.contiguous(counts, "int64")]
    grads = [xp.empty((call.rows, anchor.shape[1]), call.stored), xp.empty(tuple(views.shape), call.stored)]
    _core.contrastive_backward(
        call.element, xp.address(fixed[0]), *call.args, *(xp.address(x) for x in (*fixed[1:], *grads))
    )
    return xp.contiguous(grads[0], dtype_name(anchor)), xp.contiguous(grads[1], dtype_name(views))
