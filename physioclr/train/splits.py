"""Which records a probe is fitted on and which it scores: folds of patients, or sources; stratified draws of labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

NEITHER = -1  # the fold of records that are neither fitted on nor scored


@dataclasses.dataclass(frozen=True)
class Split:
    """fold: (n,) of each record. tested: the folds to score, each by a classifier fitted on the others."""

    fold: np.ndarray
    tested: np.ndarray
    across: bool = False  # from some sources to others

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(fold, rows to draw labels from, rows to score) of each."""
        for k in self.tested:
            others = np.flatnonzero((self.fold != k) & (self.fold != NEITHER))
            yield int(k), others, np.flatnonzero(self.fold == k)

    @property
    def scored(self) -> np.ndarray:
        """(n,) bool: the records that get a score."""
        return np.isin(self.fold, self.tested)


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


def make_split(
    store: Any, task: Any, folds: int | None, test_folds: Sequence[int] | None,
    train_sources: Sequence[str] | None, test_sources: Sequence[str] | None,
) -> Split:  # fmt: skip
    """By sources where any are named, otherwise by folds; see `probe`. task: has records, y and groups."""
    if train_sources is None and test_sources is None:
        return split_by_folds(store, task.records, task.y, task.groups, folds, test_folds)
    if folds is not None or test_folds is not None:
        raise ValueError(
            "folds and test_folds cannot be used with train_sources and test_sources, which take their place"
        )
    return split_by_source(store, task.records, train_sources, test_sources)


def split_by_folds(
    store: Any, records: np.ndarray, y: np.ndarray, groups: np.ndarray,
    folds: int | None = None, test_folds: Sequence[int] | None = None,
) -> Split:  # fmt: skip
    """The store's own folds, where no patient lies in two of them, or `folds` (5) made by patient."""
    own = given_folds(store, records) if folds is None else None
    if test_folds is not None and own is None:
        raise ValueError("test_folds is given, but the store's records have no folds of their own (or folds is set)")
    if own is not None:
        _, index = np.unique(groups, return_inverse=True)
        if len(np.unique(np.stack((index, own), axis=1), axis=0)) > index.max() + 1:
            own = None  # a patient in two folds would leak; make clean ones
            if test_folds is not None:
                raise ValueError("test_folds cannot be used: a patient's records lie in several of the store's folds")
    fold = patient_folds(y, groups, folds or 5) if own is None else own
    names = np.unique(fold)
    if test_folds is None:
        return Split(fold, names)
    missing = [k for k in test_folds if k not in names]
    if missing:
        raise ValueError(f"test_folds has {missing}; the store has the folds {', '.join(map(str, names))}")
    return Split(fold, np.asarray(sorted(set(test_folds))))


def split_by_source(store: Any, records: np.ndarray, train: Sequence[str] | None, test: Sequence[str] | None) -> Split:
    """Fold 0 is fitted on and fold 1 scored; None means all sources that the other does not name."""
    source = np.asarray(store.table["source"])[records].astype(str)
    names = set(source)
    train = sorted(names - set(test or ())) if train is None else list(train)
    test = sorted(names - set(train)) if test is None else list(test)
    for argument, given in (("train_sources", train), ("test_sources", test)):
        bad = [s for s in given if s not in names]
        if bad or not given:
            raise ValueError(f"{argument} is {given!r}; the labelled records come from {', '.join(sorted(names))}")
    if set(train) & set(test):
        raise ValueError(f"{sorted(set(train) & set(test))} is in both train_sources and test_sources")
    fold = np.full(len(records), NEITHER)
    fold[np.isin(source, train)], fold[np.isin(source, test)] = 0, 1
    return Split(fold, np.array([1]), across=True)
