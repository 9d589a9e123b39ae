"""The most similar segments by physiology, without the matrix of all similarities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _core
from ._arrays import Arrays, jax_in_jax_out
from ._checks import check_dtype, check_int, check_shape
from ._operator import Results, operator
from ._types import Neighbors
from .similarity import METRICS, check_pairs, default_sigma, inverse_width, refuse_missing

if TYPE_CHECKING:
    from ._types import ArrayT, Values


def _results(a: Any, b: Any, k: int, kernel: str, group: Any) -> Results:
    check_pairs(a, b, kernel)
    if group is not None:
        if b is not None:
            raise ValueError("group is given together with b; it must be None then, because it names the rows of a")
        check_shape(group, "group", (a.shape[0],), "one record id per row of a")
        check_dtype(group, "group", ("int64", "int32"))
    shape = a.shape[0], check_int(k, "k", 1)
    return (shape, "int64"), (shape, "float32")


@operator(
    "physio_neighbors(Tensor a, Tensor? b, int k, str metric='cosine', Tensor? group=None) -> (Tensor, Tensor)",
    _results,
)
def _neighbors(xp: Arrays, out: tuple[Any, Any], a: Any, b: Any, k: int, kernel: str, group: Any) -> None:
    a = xp.contiguous(a, "float32")
    own, b = b is None, a if b is None else xp.contiguous(b, "float32")
    group = None if group is None else xp.contiguous(group, "int64")
    if not xp.on(_core.physio_neighbors)(
        a=xp.view(a), b=xp.view(b), own=own, kind=METRICS[kernel],
        inv_width=inverse_width(default_sigma(xp, a) if kernel == "rbf" else None),
        group=xp.pointer(group), k=int(k), scale=xp.pointer(xp.empty((len(a) + len(b),), "float32")),
        index=xp.pointer(out[0]), similarity=xp.pointer(out[1]),
    ):  # fmt: skip
        refuse_missing(xp, a)


@jax_in_jax_out
def physio_neighbors(
    a: ArrayT, b: Values | None = None, *, k: int, kernel: str = "cosine", group: Values | None = None
) -> Neighbors[ArrayT]:
    """The k rows of `b` most similar to each row of `a`; see `physio_similarity` for the similarities.

    Exact, in O(N k) memory. Ties are broken by the lower index, so the result does not depend on the number of threads.

    Args:
        a: (N, F) physiological features, finite. Computed in float32.
        b: (M, F). None: `a` itself; then a row is not its own neighbour.
        k: neighbours per row, at least 1. Rows with fewer candidates are filled up with index -1 and similarity NaN.
        kernel: "cosine" (a zero row has similarity 0 with everything) or "rbf", with sigma the median distance over
            the pairs of at most 512 evenly spaced rows of `a`, as in `physio_similarity`. The order of "rbf" is that of
            the distances, also where the similarity underflows to 0.
        group: (N,) integer record or patient ids; rows of one group are not neighbours. Only with b None.

    Returns:
        `Neighbors`: index (N, k) int64 and similarity (N, k) float32. Same library and device as `a`.

    Raises:
        ValueError: shapes that do not fit, NaN or infinite features (on a CUDA device such a row is nobody's neighbour
            and has none: the check would have to wait for the device), k below 1, group together with b.
    """
    return Neighbors(*_neighbors(a, b, k, kernel, group))
