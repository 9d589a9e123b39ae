import numpy as np

from .similarity import physio_similarity


def physio_neighbors(a, b=None, *, k, kernel="cosine", group=None):
    """(index, similarity), both (N, k); see physioclr.physio_neighbors for the meaning of the arguments."""
    s = physio_similarity(a, b, kernel=kernel)
    n, m = s.shape
    allowed = np.ones((n, m), bool)
    if b is None:
        group = np.arange(n) if group is None else np.asarray(group)
        allowed = (group[:, None] != group[None, :]) & ~np.eye(n, dtype=bool)
    index, similarity = np.full((n, k), -1), np.full((n, k), np.nan)
    for i in range(n):
        candidates = np.flatnonzero(allowed[i])
        best = candidates[np.argsort(-s[i, candidates], kind="stable")][:k]
        index[i, : len(best)], similarity[i, : len(best)] = best, s[i, best]
    return index, similarity
