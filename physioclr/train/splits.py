"""Patient-level folds and stratified draws of labels."""

from __future__ import annotations

from typing import Any

import numpy as np


def given_folds(store: Any, records: np.ndarray) -> np.ndarray | None:
    """The store's own folds of these records, or None where a record has none or there are fewer than two."""
    fold = np.asarray(store.table["fold"])[records].astype(int)
    return fold if len(fold) and (fold >= 0).all() and len(np.unique(fold)) > 1 else None


def patient_folds(y: np.ndarray, groups: np.ndarray, n_folds: int, seed: int = 0) -> np.ndarray:
    """(n,) fold numbers 0..n_folds-1; a patient is in one fold only, and each class is spread as evenly as that allows.

    Greedy: patients with the rarest classes first, each to the fold that has the least of what the patient brings.
    """
    _, group = np.unique(groups, return_inverse=True)
    n_groups = group.max() + 1
    if n_groups < n_folds:
        raise ValueError(f"folds is {n_folds}, but there are {n_groups} patients")
    brings = np.zeros((n_groups, y.shape[1] + 1))  # positives of each class, then the number of records
    np.add.at(brings, group, np.concatenate((y, np.ones((len(y), 1))), axis=1))
    rarity = brings / np.maximum(brings.sum(0), 1)
    rng = np.random.Generator(np.random.Philox(key=seed))
    order = np.lexsort((rng.random(n_groups), -rarity.max(1)))
    load, fold = np.zeros((n_folds, brings.shape[1])), np.zeros(n_groups, int)
    weight = 1 / np.maximum(brings.sum(0), 1)
    for g in order:
        fold[g] = np.argmin((load * weight) @ (brings[g] > 0) + 1e-6 * load[:, -1])
        load[fold[g]] += brings[g]
    return fold[group]


def draw_labels(y: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Indices of a stratified draw of about `fraction` of the records, whole patients at a time.

    Patients come in random order, first those with a class of which the draw has too few (rarest class first), then
    any, until the number of records is reached. All records for a fraction of 1.
    """
    if fraction >= 1:
        return np.arange(len(y))
    rng = np.random.Generator(np.random.Philox(key=seed))
    patients, group = np.unique(groups, return_inverse=True)
    members = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[members], np.arange(len(patients) + 1))
    order = rng.permutation(len(patients))
    wanted = np.maximum(1, np.round(fraction * y.sum(0)))
    size = max(1, round(fraction * len(y)))
    taken, has, drawn = np.zeros(len(patients), bool), np.zeros(y.shape[1]), 0
    for c in (*np.argsort(y.sum(0), kind="stable"), None):
        for g in order:
            if drawn >= size or (c is not None and has[c] >= wanted[c]):
                break
            rows = members[starts[g] : starts[g + 1]]
            if taken[g] or (c is not None and not y[rows, c].any()):
                continue
            taken[g], drawn = True, drawn + len(rows)
            has += y[rows].sum(0)
    return np.flatnonzero(taken[group])
