from __future__ import annotations

from typing import Any

import numpy as np

from ... import _core
from .._arrays import Arrays, check_dtype, check_int, check_shape
from .similarity import KERNELS, check_pairs, default_sigma


def neighbors_shape(a: Any, b: Any, k: int, kernel: str, group: Any) -> tuple[int, int]:
    """Checks everything that shapes and settings can tell; the shape of both results. Also the fake kernel."""
    check_pairs(a, b, kernel)
    if group is not None:
        if b is not None:
            raise ValueError("group is given together with b; it must be None then, because it names the rows of a")
        check_shape(group, "group", (a.shape[0],), "one record id per row of a")
        check_dtype(group, "group", ("int64", "int32"))
    return a.shape[0], check_int(k, "k", 1)


def physio_neighbors(xp: Arrays, a: Any, b: Any, k: int, kernel: str = "cosine", group: Any = None) -> tuple[Any, Any]:
    shape = neighbors_shape(a, b, k, kernel, group)
    a = xp.contiguous(a, "float32")
    own = b is None
    b = a if own else xp.contiguous(b, "float32")
    group = None if group is None else xp.contiguous(group, "int64")
    inv_two_sigma2 = 0.5 / default_sigma(xp, a) ** 2 if kernel == "rbf" else 0.0
    index, similarity = xp.empty(shape, "int64"), xp.empty(shape, "float32")
    scale = xp.empty((len(a) + len(b),), "float32")
    with xp.guard():
        finite = _core.physio_neighbors(
            xp.address(a), a.shape[0], xp.address(b), b.shape[0], a.shape[1], own, KERNELS[kernel], inv_two_sigma2,
            0 if group is None else xp.address(group), k, xp.address(scale), xp.address(index), xp.address(similarity),
            xp.device, xp.stream,
        )  # fmt: skip
    if not finite:
        bad = "b" if np.isfinite(xp.to_numpy(a)).all() else "a"
        raise ValueError(f"{bad} contains NaN or infinite features; remove them first (FeatureSpace.transform does)")
    return index, similarity
