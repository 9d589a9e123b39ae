"""hybrid_contrastive_loss: the checks of its arguments, and its kernels on the CPU.

`anchor`, `features` and `group` hold all N rows, `views` the n rows of this process, which are rows
row_offset .. row_offset + n - 1 of the others: one process owns all (n = N), several gather the first three.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

from ... import _core
from .._arrays import Arrays
from .._checks import FLOATS, check_choice, check_dtype, check_ndim, check_number, check_shape, dtype_name, stack_level

MODES: dict[str, int] = _core.CONTRAST_MODES
REDUCTIONS = ("sum", "mean")
IDS = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")
Settings = tuple[float, float, str, float, str]  # tau, delta, mode, tau_s, pair_reduction


def check_inputs(
    anchor: Any,
    views: Any,
    features: Any,
    group: Any,
    tau: float,
    delta: float,
    mode: str,
    tau_s: float,
    pair_reduction: str,
    row_offset: int = 0,
    *,
    whole: bool = False,
) -> str:
    """Checks everything that shapes, dtypes and settings can tell; the compute dtype.

    whole: views must have all rows of anchor.
    """
    check_ndim(anchor, "anchor", (2,), "(N, D)")
    check_ndim(views, "views", (3,), "(V, N, D); one view is views[None]")
    check_ndim(features, "features", (2,), "(N, F)")
    for x, name in ((anchor, "anchor"), (views, "views"), (features, "features")):
        check_dtype(x, name, FLOATS)
    (n, d), (n_views, rows, width) = anchor.shape, views.shape
    if whole:
        check_shape(views, "views", (n_views, n, d), "V views of anchor's rows")
    if width != d:
        raise ValueError(f"views has width {width}; it must have {d}, as anchor has")
    if features.shape[0] != n:
        raise ValueError(f"features has {features.shape[0]} rows; it must have {n}, as anchor has")
    if not 0 <= row_offset <= n - rows:
        raise ValueError(f"views has {rows} rows from row {row_offset} on; they must lie within the {n} of anchor")
    if group is not None:
        check_shape(group, "group", (n,), "one record id per row")
        check_dtype(group, "group", IDS)
    check_choice(mode, "mode", tuple(MODES))
    check_choice(pair_reduction, "pair_reduction", REDUCTIONS)
    check_number(tau, "tau", 0, float("inf"), open_low=True)
    check_number(tau_s, "tau_s", 0, float("inf"), open_low=True)
    check_number(delta, "delta", -1, 1)  # of a cosine: beyond, every pair would be of one kind
    return compute_dtype(anchor, views)


def check_statistics(anchor: Any, stats: Any, counts: Any) -> None:
    check_shape(stats, "stats", (anchor.shape[0], 3), "contrastive_rows of all rows")
    check_shape(counts, "counts", (anchor.shape[0], 2), "contrastive_rows of all rows")


def compute_dtype(anchor: Any, views: Any) -> str:
    return "float64" if "float64" in (dtype_name(anchor), dtype_name(views)) else "float32"


def stored_dtype(anchor: Any, views: Any) -> str:
    """Embeddings of one dtype are read as they are, otherwise as the compute dtype."""
    dtype = dtype_name(anchor)
    return dtype if dtype == dtype_name(views) else compute_dtype(anchor, views)


@functools.lru_cache(maxsize=64)
def settings_fields(tau: float, delta: float, mode: str, tau_s: float, pair_reduction: str) -> dict[str, Any]:
    """As the kernels take them. Kept, so not to be changed."""
    return {
        "mode": MODES[mode], "mean_pairs": pair_reduction == "mean",
        "tau": float(tau), "tau_s": float(tau_s), "delta": float(delta),
    }  # fmt: skip


def _ready(xp: Arrays, anchor: Any, views: Any, features: Any, group: Any) -> tuple[str, Any, Any, Any, Any]:
    """The dtype in which the embeddings are read, and all four as the kernels take them."""
    stored = stored_dtype(anchor, views)
    anchor, views = xp.contiguous(anchor, stored), xp.contiguous(views, stored)
    features = xp.contiguous(features, "float64" if stored == "float64" else "float32")
    return stored, anchor, views, features, None if group is None else xp.contiguous(group, "int64")


def contrastive_rows(
    xp: Arrays, out: Any, anchor: Any, views: Any, features: Any, group: Any, settings: Settings, row_offset: int
) -> None:
    """(n, 3) float64 row statistics (csrc/core/contrastive_calls.h), (n, 2) int64 counts and, where `out` has a third
    array, (n, 3) float64 measures."""
    stored, anchor, views, features, group = _ready(xp, anchor, views, features, group)
    if not xp.on(getattr(_core, f"contrastive_rows_{stored}"))(
        anchor=xp.view(anchor), views=xp.view(views), begin=row_offset,
        features=xp.view(features), group=xp.pointer(group), **settings_fields(*settings),
        stats=xp.pointer(out[0]), counts=xp.pointer(out[1]), measures=xp.pointer(out[2] if len(out) > 2 else None),
    ):  # fmt: skip
        raise ValueError("features contains NaN or infinite values; remove them first (FeatureSpace.transform does)")


def contrastive_finish(xp: Arrays, loss: Any, skipped: Any, stats: Any, counts: Any, n_views: int, mode: str) -> bool:
    """Fills in the mean over the rows that count, 0-d, and the number of the others, 0-d int64. On the CPU, and on any
    device: False, on the CPU alone, where no row counts."""
    return xp.on(getattr(_core, f"contrastive_finish_{xp.dtype(loss)}"))(
        stats=xp.view(stats), counts=xp.pointer(counts), n_views=n_views, mode=MODES[mode],
        loss=xp.pointer(loss), skipped=xp.pointer(skipped),
    )  # fmt: skip


_warned = False


def warn_all_skipped(counts: Any, n_views: int, delta: float, mode: str) -> None:
    """Says, once in a process, why no row of a batch counts; `counts` of all rows, on the CPU."""
    global _warned
    if _warned or len(counts) == 0:
        return
    _warned = True
    positives, negatives = (int(counts[:, q].sum()) for q in range(2))
    if positives + negatives == 0:
        why = "no two rows of different groups have features that are not all 0"
    elif positives + n_views == 0:
        why = f"there are neither views nor positives (features at least delta = {delta:g} alike)"
    else:
        why = f"there are no negatives (the features of all pairs are at least delta = {delta:g} alike)"
    warnings.warn(
        f"hybrid_contrastive_loss: all {len(counts)} rows skipped, so the loss is 0 and gives no gradient: {why}; "
        "are features FeatureSpace-transformed, and is group the record or patient?",
        RuntimeWarning,
        stacklevel=stack_level(),
    )


def contrastive_backward(
    xp: Arrays, grads: Any, grad_loss: Any, anchor: Any, views: Any, features: Any, group: Any, stats: Any,
    counts: Any, settings: Settings, row_offset: int,
) -> None:  # fmt: skip
    """grad_loss times dL/d(the n rows of anchor) and dL/d(views), both of stored_dtype, and the part of
    dL/dtau that the pairs of these rows have, from the statistics and counts of all N rows."""
    stored, anchor, views, features, group = _ready(xp, anchor, views, features, group)
    grad_loss, stats, counts = (
        xp.contiguous(grad_loss, "float64"), xp.contiguous(stats, "float64"), xp.contiguous(counts, "int64"),
    )  # fmt: skip
    xp.on(getattr(_core, f"contrastive_backward_{stored}"))(
        grad_loss=xp.pointer(grad_loss), anchor=xp.view(anchor), views=xp.view(views), begin=row_offset,
        features=xp.view(features), group=xp.pointer(group), **settings_fields(*settings),
        stats=xp.pointer(stats), counts=xp.pointer(counts),
        grad_anchor=xp.pointer(grads[0]), grad_views=xp.pointer(grads[1]),
        grad_tau=xp.pointer(grads[2]),
    )  # fmt: skip
