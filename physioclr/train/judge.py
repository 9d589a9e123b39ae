"""The scores of a probe: fitted fold by fold and draw by draw, then judged together, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .scores import bootstrap_weights, interval, weighted_auroc_auprc
from .splits import Split, draw_labels

MACRO, ALL_SEEDS = "macro", "all"

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, int, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be told apart. scheme, classes: of the labels. records: (n,) of the store, y: (n, C), groups: (n,)."""

    scheme: str
    classes: tuple[str, ...]
    records: np.ndarray
    y: np.ndarray
    groups: np.ndarray


class Drawn(NamedTuple):
    """Labels of one draw. records, positives (C,): means over the folds. fewest: (C,) of either class in any fold."""

    records: int
    positives: np.ndarray
    fewest: np.ndarray


@dataclasses.dataclass
class Trials:
    """(fraction, seed) -> out-of-fold scores (n, C), NaN where a record or class was not scored, and what was drawn."""

    scores: dict[tuple[float, int], np.ndarray] = dataclasses.field(default_factory=dict)
    drawn: dict[tuple[float, int], Drawn] = dataclasses.field(default_factory=dict)


def run_trials(
    fit: Fit, task: Task, split: Split, jobs: Sequence[tuple[float, int]], least: int,
    progress: Callable[[int, int], Any] | None = None,
) -> Trials:  # fmt: skip
    """Fit and score every fold of the split for each (fraction, seed). The draws depend on labels and seed alone."""
    trials, done, total = Trials(), 0, len(jobs) * len(split.tested)
    for f, s in jobs:
        score, sizes = np.full(task.y.shape, np.nan), []
        for k, others, test in split:
            seed = 1000 * s + k
            train = others[draw_labels(task.y[others], task.groups[others], f, seed)]
            y = task.y[train]
            sizes.append((len(train), y.sum(0), len(train) - y.sum(0)))
            score[test] = fit(train, test, y, seed, least)
            done += 1
            if progress is not None:
                progress(done, total)
        count, positives, negatives = zip(*sizes, strict=True)
        mean = round(float(np.mean(count)))
        trials.scores[f, s] = score
        trials.drawn[f, s] = Drawn(mean, np.mean(positives, 0), np.minimum.reduce(positives + negatives))
    return trials


def judge(
    trials: Trials, task: Task, least: int, bootstrap: int
) -> tuple[list[dict[str, Any]], dict[float, list[str]]]:
    """(rows, fraction -> classes left out): AUROC and AUPRC of each class and their mean, per seed and over all."""
    rows: list[dict[str, Any]] = []
    left_out: dict[float, list[str]] = {}
    for f in sorted({f for f, _ in trials.scores}):
        seeds = [s for g, s in trials.scores if g == f]
        tested = np.any([np.isfinite(trials.scores[f, s]).any(1) for s in seeds], axis=0)
        keep = _common_enough(trials, task, f, seeds, tested, least)
        left_out[f] = [name for k, name in enumerate(task.classes) if k not in keep]
        values = _measured(trials, task, f, seeds, tested, keep, bootstrap)
        shown: list[int | str] = [*seeds, ALL_SEEDS]
        for a, s in enumerate(shown):
            value = _over_seeds(values) if s == ALL_SEEDS else values[a]
            draws = [trials.drawn[f, t] for t in (seeds if isinstance(s, str) else [s])]
            positives = np.mean([d.positives for d in draws], 0)
            size = round(float(np.mean([d.records for d in draws])))
            common: dict[str, Any] = {
                "fraction": f,
                "seed": s,
                "train_records": size,
                "test_records": int(tested.sum()),
            }
            for b, k in enumerate(keep):
                rows.append({
                    **common, "class": task.classes[k], "train_positives": round(float(positives[k]), 1),
                    "test_positives": int(task.y[tested, k].sum()), **_rounded(value[b]),
                })  # fmt: skip
            mean = value.mean(0) if len(keep) else np.full((2, bootstrap + 1), np.nan)
            rows.append({**common, "class": MACRO, "train_positives": "", "test_positives": "", **_rounded(mean)})
    return rows, left_out


def _common_enough(
    trials: Trials, task: Task, f: float, seeds: list[int], tested: np.ndarray, least: int
) -> np.ndarray:
    """Numbers of the classes with at least `least` positives and negatives in each draw and among what is scored."""
    fewest = np.minimum.reduce([trials.drawn[f, s].fewest for s in seeds])
    positives = task.y[tested].sum(0)
    return np.flatnonzero((fewest >= least) & (positives >= least) & (tested.sum() - positives >= least))


def _measured(
    trials: Trials, task: Task, f: float, seeds: list[int], tested: np.ndarray, keep: np.ndarray, bootstrap: int
) -> np.ndarray:
    """(seeds, classes, AUROC and AUPRC, 1 + resamples)"""
    weights = bootstrap_weights(task.groups[tested], bootstrap, seed=0)
    values = np.full((len(seeds), len(keep), 2, bootstrap + 1), np.nan)
    for a, s in enumerate(seeds):
        for b, k in enumerate(keep):
            values[a, b] = weighted_auroc_auprc(trials.scores[f, s][tested, k], task.y[tested, k] == 1, weights)
    return values


def _over_seeds(values: np.ndarray) -> np.ndarray:
    """Mean over the seeds; in the resamples, over seeds drawn with replacement."""
    n, resamples = values.shape[0], values.shape[-1] - 1
    rng = np.random.Generator(np.random.Philox(key=1))
    out = values.mean(0)
    if resamples:
        picks = rng.integers(0, n, (n, resamples))
        out[..., 1:] = np.mean([values[picks[j], ..., 1 + np.arange(resamples)] for j in range(n)], 0).transpose(
            1, 2, 0
        )
    return out


def _rounded(value: np.ndarray) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, v in zip(("auroc", "auprc"), value, strict=True):
        low, high = interval(v[1:])
        out |= {name: round(float(v[0]), 4), f"{name}_low": round(low, 4), f"{name}_high": round(high, 4)}
    return out
