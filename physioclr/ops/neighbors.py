"""The most similar segments by physiology, without the matrix of all similarities."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import _launch
from ._arrays import arrays_of, is_torch


class Neighbors(NamedTuple):
    """The k most similar rows of each of N rows, best first.

    index: (N, k) int64 rows of `b` (of `a` where b is None), -1 where there are fewer than k.
    similarity: (N, k) float32, NaN where there are fewer than k.
    """

    index: Any
    similarity: Any


def physio_neighbors(a: Any, b: Any = None, *, k: int, kernel: str = "cosine", group: Any = None) -> Neighbors:
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
    if is_torch(a):
        import torch

        from ._torch import neighbors as op

        group = None if group is None else torch.as_tensor(group, device=a.device)
        return Neighbors(*op.physio_neighbors(a, b, k, kernel, group))
    xp, a = arrays_of(a, "a")
    b, group = (None if x is None else xp.adopt(x, name) for x, name in ((b, "b"), (group, "group")))
    return Neighbors(*_launch.physio_neighbors(xp, a, b, k, kernel, group))
