from __future__ import annotations

from typing import Any

import numpy as np

from ... import _core
from .._arrays import FLOATS, Arrays, check_choice, check_dtype, check_ndim, check_number

KERNELS = {"cosine": 0, "rbf": 1}
FORMS = {"float32": 0, "bool": 1, "uint8": 2}


def check_pairs(a: Any, b: Any, kernel: str) -> None:
    """The arguments that every op over pairs of feature rows shares."""
    check_choice(kernel, "kernel", tuple(KERNELS))
    for x, name in ((a, "a"), (b, "b")):
        if x is not None:
            check_ndim(x, name, (2,), "(rows, features)")
            check_dtype(x, name, FLOATS)
    if b is not None and a.shape[1] != b.shape[1]:
        raise ValueError(f"b has {b.shape[1]} features; it must have {a.shape[1]}, as a has")


def similarity_shape(a: Any, b: Any, kernel: str, sigma: float | None, threshold: float | None, packed: bool):
    """Checks everything that shapes and settings can tell; (shape, dtype) of the result. Also the fake kernel."""
    check_pairs(a, b, kernel)
    if sigma is not None:
        check_number(sigma, "sigma", 0, float("inf"), open_low=True)
    if threshold is not None:
        check_number(threshold, "threshold", -float("inf"), float("inf"))
    elif packed:
        raise ValueError("packed is True without a threshold; a packed result is a mask, so give a threshold")
    n, m = a.shape[0], (a if b is None else b).shape[0]
    return ((n, (m + 7) // 8), "uint8") if packed else ((n, m), "float32" if threshold is None else "bool")


def _some_rows(n: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(n, 512)).astype(np.int64) if n else np.zeros(0, np.int64)


def default_sigma(xp: Arrays, x: Any) -> float:
    """median_distance of the rows of any array library; only the rows it looks at leave a device."""
    return median_distance(xp.to_numpy(x[xp.from_numpy(_some_rows(len(x)))]))


def median_distance(x: np.ndarray) -> float:
    """Median distance over the pairs of at most 512 evenly spaced rows; 1 where there is no pair, or all are equal."""
    rows = x[_some_rows(len(x))].astype(np.float64)
    gram = rows @ rows.T
    d2 = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram
    pairs = d2[np.triu_indices(len(rows), 1)]
    return (float(np.sqrt(max(np.median(pairs), 0.0))) if len(pairs) else 0.0) or 1.0


def physio_similarity(
    xp: Arrays,
    a: Any,
    b: Any = None,
    kernel: str = "cosine",
    sigma: float | None = None,
    threshold: float | None = None,
    packed: bool = False,
) -> Any:
    shape, dtype = similarity_shape(a, b, kernel, sigma, threshold, packed)
    a = xp.contiguous(a, "float32")
    b = a if b is None else xp.contiguous(b, "float32")
    if kernel == "rbf" and sigma is None:
        sigma = default_sigma(xp, a)
    out, scale = xp.empty(shape, dtype), xp.empty((len(a) + len(b),), "float32")
    with xp.guard():
        finite = _core.physio_similarity(
            xp.address(a), len(a), xp.address(b), len(b), a.shape[1], KERNELS[kernel],
            0.0 if sigma is None else 0.5 / (sigma * sigma), FORMS[dtype], 0.0 if threshold is None else threshold,
            xp.address(scale), xp.address(out), xp.device, xp.stream,
        )  # fmt: skip
    if not finite:
        bad = "b" if np.isfinite(xp.to_numpy(a)).all() else "a"
        raise ValueError(f"{bad} contains NaN or infinite features; remove them first (FeatureSpace.transform does)")
    return out
