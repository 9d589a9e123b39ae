"""Pairwise similarity of physiology: which segments of a batch have alike rhythm, intervals and amplitudes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ._arrays import Arrays, jax_in_jax_out
from ._checks import FLOATS, check_choice, check_dtype, check_ndim, check_number, shown
from ._operator import Results, operator

if TYPE_CHECKING:
    from ._types import ArrayT, Values

METRICS = {"cosine": 0, "rbf": 1}
FORMS = {"float32": 0, "bool": 1, "uint8": 2}


def check_pairs(a: Any, b: Any, kernel: str) -> None:
    """The arguments that every op over pairs of feature rows shares."""
    check_choice(kernel, "kernel", tuple(METRICS))
    for x, name in ((a, "a"), (b, "b")):
        if x is not None:
            check_ndim(x, name, (2,), "(rows, features)")
            check_dtype(x, name, FLOATS)
    if b is not None and a.shape[1] != b.shape[1]:
        raise ValueError(f"b has {b.shape[1]} features; it must have {a.shape[1]}, as a has")


def refuse_missing(xp: Arrays, a: Any) -> None:
    """For a kernel that found NaN or infinite features in a or b."""
    bad = "b" if np.isfinite(xp.to_numpy(a)).all() else "a"
    raise ValueError(f"{bad} contains NaN or infinite features; remove them first (FeatureSpace.transform does)")


def _results(a: Any, b: Any, kernel: str, sigma: float | None, threshold: float | None, packed: bool) -> Results:
    check_pairs(a, b, kernel)
    if sigma is not None:
        check_number(sigma, "sigma", 0, float("inf"), open_low=True)
    if not isinstance(packed, (bool, np.bool_)):
        raise TypeError(f"packed is {shown(packed)}; it must be True or False")
    if threshold is not None:
        check_number(threshold, "threshold", -float("inf"), float("inf"))
    elif packed:
        raise ValueError("packed is True without a threshold; a packed result is a mask, so give a threshold")
    n, m = a.shape[0], (a if b is None else b).shape[0]
    if packed:
        return (((n, (m + 7) // 8), "uint8"),)
    return (((n, m), "float32" if threshold is None else "bool"),)


def _some_rows(n: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(n, 512)).astype(np.int64) if n else np.zeros(0, np.int64)


def default_sigma(xp: Arrays, x: Any) -> float:
    """median_distance of the rows of any array library; only the rows it looks at leave a device."""
    return median_distance(xp.to_numpy(x[xp.from_numpy(_some_rows(len(x)))]))


def median_distance(x: np.ndarray) -> float:
    """Median distance over the pairs of at most 512 evenly spaced rows; 1 where there is no pair, or all are equal."""
    rows = x[_some_rows(len(x))].astype(np.float64)
    if len(rows) < 2:
        return 1.0
    with np.errstate(over="ignore", invalid="ignore"):  # of values that are not finite: NaN, which the ops refuse
        gram = rows @ rows.T
        norms = np.diag(gram)[:, None] + np.diag(gram)
        i, j = np.triu_indices(len(rows), 1)
        d2 = (norms - 2 * gram)[i, j]
        close = np.flatnonzero(d2 < 1e-4 * norms[i, j])  # rounding is no longer small beside it
        for k in np.array_split(close, len(close) // 4096 + 1):
            d2[k] = ((rows[i[k]] - rows[j[k]]) ** 2).sum(axis=1)
        return float(np.sqrt(np.median(d2))) or 1.0


def _distance_results(x: Any) -> Results:
    check_ndim(x, "x", (2,), "(rows, features)")
    check_dtype(x, "x", FLOATS)
    return (((), "float64"),)


@operator("median_distance(Tensor x) -> Tensor", _distance_results)
def median_distance_of(xp: Arrays, out: tuple[Any], x: Any) -> None:
    """default_sigma where torch must not see how: under torch.compile and torch.func."""
    out[0][...] = default_sigma(xp, x)


def inverse_width(sigma: float | None) -> float:
    """1 / (sqrt(2) sigma); 0 where there is no RBF."""
    return 0.0 if sigma is None else 1.0 / (2.0**0.5 * float(sigma))


@operator(  # `metric`: an argument named kernel would clash with one of inductor's own
    "physio_similarity(Tensor a, Tensor? b=None, str metric='cosine', float? sigma=None, float? threshold=None, "
    "bool packed=False) -> Tensor",
    _results,
)
def _similarity(
    xp: Arrays,
    out: tuple[Any],
    a: Any,
    b: Any,
    kernel: str,
    sigma: float | None,
    threshold: float | None,
    packed: bool,
) -> None:
    a = xp.contiguous(a, "float32")
    b = a if b is None else xp.contiguous(b, "float32")
    if kernel == "rbf" and sigma is None:
        sigma = default_sigma(xp, a)
    if not xp.on(_core.physio_similarity)(
        a=xp.view(a), b=xp.view(b), kind=METRICS[kernel],
        inv_width=inverse_width(sigma),
        form=FORMS[xp.dtype(out[0])], threshold=0.0 if threshold is None else float(threshold),
        scale=xp.pointer(xp.empty((len(a) + len(b),), "float32")), out=xp.pointer(out[0]),
    ):  # fmt: skip
        refuse_missing(xp, a)


@jax_in_jax_out
def physio_similarity(
    a: ArrayT,
    b: Values | None = None,
    *,
    kernel: str = "cosine",
    sigma: float | None = None,
    threshold: float | None = None,
    packed: bool = False,
) -> ArrayT:
    """Similarity of every row of `a` with every row of `b` (PhysioCLR, the feature similarity behind its positives).

    Whatever the scale of the features, exactly 1 between equal rows (a zero row's cosine is 0), never outside [-1, 1]
    or [0, 1], and with b None symmetric to the bit. With 50 features the cosine is within 5e-7 of the exact value for
    the float32 features, and the RBF within 2e-6 for every sigma, however far from the origin the rows lie: where
    |a - b|^2 is below an eighth of |a|^2 + |b|^2, the differences themselves are squared and summed, which takes
    twice as long. The RBF falls as the distance grows, up to that accuracy.

    Args:
        a: (N, F) physiological features, finite. Computed in float32.
        b: (M, F); `a` itself if None.
        kernel: "cosine", a.b / (|a||b|), where a zero row has similarity 0 with everything, itself included;
            or "rbf", exp(-|a - b|^2 / (2 sigma^2)).
        sigma: width of the RBF, in units of the features. None: the median distance over the pairs of at most 512
            evenly spaced rows of `a` (choose it on the training set and pass it, or it changes with the batch).
        threshold: return the mask `similarity >= threshold` instead of the similarity.
        packed: return that mask eight pairs to a byte, as np.packbits(mask, axis=1) does. Needs a threshold.

    Returns:
        (N, M) float32; with a threshold (N, M) bool; packed (N, ceil(M / 8)) uint8. Same library and device as `a`.

    Raises:
        ValueError: shapes that do not fit, NaN or infinite features (on a CUDA device NaN propagates instead: the
            check would have to wait for the device), packed without a threshold.
    """
    return _similarity(a, b, kernel, sigma, threshold, packed)
