"""AUROC and average precision with weights, so that a bootstrap over patients is one matrix product per class."""

from __future__ import annotations

import numpy as np


def weighted_auroc_auprc(score: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision, for each row of weights.

    Args:
        score: (n,), higher means positive; ties count half in the AUROC and share a threshold in the precision.
        positive: (n,) bool. weight: (R, n), how often each record counts in each of R resamples.

    Returns:
        (R,) AUROC and (R,) average precision (sklearn's definition); NaN where a resample lacks either class.
    """
    order = np.argsort(-score, kind="stable")
    score, positive, weight = score[order], positive[order], weight[:, order].astype(np.float64)
    starts = np.flatnonzero(np.concatenate(([True], score[1:] != score[:-1])))
    p = np.add.reduceat(weight * positive, starts, axis=1)  # positives and negatives at each distinct threshold
    n = np.add.reduceat(weight * ~positive, starts, axis=1)
    cp, cn = np.cumsum(p, axis=1), np.cumsum(n, axis=1)
    total_p, total_n = cp[:, -1], cn[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (p * (total_n[:, None] - cn + 0.5 * n)).sum(1) / (total_p * total_n)
        precision = np.where(cp > 0, cp / (cp + cn), 0.0)
        auprc = (p * precision).sum(1) / total_p
    neither = (total_p == 0) | (total_n == 0)
    auroc[neither], auprc[neither] = np.nan, np.nan
    return auroc, auprc


def bootstrap_weights(groups: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples + 1, n) counts: row 0 is the data itself, the others draw whole patients with replacement."""
    _, index = np.unique(groups, return_inverse=True)
    patients = index.max() + 1 if len(index) else 0
    rng = np.random.Generator(np.random.Philox(key=seed))
    counts = np.ones((resamples + 1, patients))
    for row in counts[1:]:
        row[:] = np.bincount(rng.integers(0, patients, patients), minlength=patients)
    return counts[:, index]


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the resamples that are not NaN."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
