"""Logistic regression on frozen columns."""

from __future__ import annotations

import warnings

import numpy as np


class LinearProbe:
    """One logistic regression per class on standardised columns; missing values take the training mean."""

    def __init__(self, x: np.ndarray, c: float):
        self.x, self.c = x, c

    def __call__(self, train: np.ndarray, test: np.ndarray, y: np.ndarray, seed: int, least: int) -> np.ndarray:
        """(len(test), C) log odds; NaN for a class with too few positives or negatives."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        a, b = self._standardise(train, test)
        out = np.full((len(test), y.shape[1]), np.nan)
        for k in range(y.shape[1]):
            if min(y[:, k].sum(), len(y) - y[:, k].sum()) < least:
                continue
            model = LogisticRegression(C=self.c, max_iter=500, class_weight="balanced")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the ranking has long settled by then
                out[:, k] = model.fit(a, y[:, k]).decision_function(b)
        return out

    def _standardise(self, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = self.x[train], self.x[test]
        seen = np.isfinite(a)
        count = np.maximum(seen.sum(0), 1)
        mean = np.where(seen, a, 0).sum(0) / count
        sd = np.sqrt(np.where(seen, (a - mean) ** 2, 0).sum(0) / count)
        sd[sd < 1e-12] = np.inf  # a constant column says nothing
        a, b = (np.clip(np.where(np.isfinite(x), (x - mean) / sd, 0.0), -10, 10) for x in (a, b))
        return a, b
