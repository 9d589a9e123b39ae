"""Pairwise similarity of physiology: which segments of a batch have alike rhythm, intervals and amplitudes."""

from __future__ import annotations

from typing import Any

from . import _launch
from ._arrays import arrays_of, is_torch


def physio_similarity(
    a: Any,
    b: Any = None,
    *,
    kernel: str = "cosine",
    sigma: float | None = None,
    threshold: float | None = None,
    packed: bool = False,
) -> Any:
    """Similarity of every row of `a` with every row of `b` (PhysioCLR, the feature similarity behind its positives).

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
    if is_torch(a):
        from ._torch import similarity as op

        _launch.similarity_shape(a, b, kernel, sigma, threshold, packed)  # the dispatcher would not say it as clearly
        return op.physio_similarity(a, b, kernel, sigma, threshold, packed)
    xp, a = arrays_of(a, "a")
    b = None if b is None else xp.adopt(b, "b")
    return _launch.physio_similarity(xp, a, b, kernel, sigma, threshold, packed)
