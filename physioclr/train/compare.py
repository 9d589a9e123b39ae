"""Paired comparison of two methods by the scores of their probes: the same records, draws and resampled patients."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .scores import bootstrap_weights, interval


@dataclasses.dataclass
class ProbeScores:
    """What a probe writes beside its table: out-of-fold scores, and what they are judged against.

    scores: (fraction, seed) -> (n, C), NaN where a record or class was not scored. records: (n,) ids. y: (n, C).
    groups: (n,) patients. left_out: fraction -> classes that were too rare.
    """

    scores: dict[tuple[float, int], np.ndarray]
    records: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    left_out: dict[float, list[str]]

    def save(self, path: str | Path) -> None:
        """Write an .npz file that `load` reads; no pickle."""
        arrays: dict[str, Any] = {f"scores {f!r} {s}": v.astype(np.float32) for (f, s), v in self.scores.items()}
        arrays |= {f"left_out {f!r}": np.array(names, dtype=str) for f, names in self.left_out.items()}
        np.savez_compressed(
            path,
            records=self.records.astype(str),
            y=self.y,
            groups=self.groups,
            classes=np.array(self.classes),
            **arrays,
        )

    @classmethod
    def load(cls, path: str | Path) -> ProbeScores:
        with np.load(path, allow_pickle=False) as z:
            scores, left_out = {}, {}
            for key in z.files:
                kind, *rest = key.split(" ")
                if kind == "scores":
                    scores[float(rest[0]), int(rest[1])] = z[key].astype(np.float64)
                elif kind == "left_out":
                    left_out[float(rest[0])] = [str(n) for n in z[key]]
            return cls(scores, z["records"], z["y"], z["groups"], tuple(str(c) for c in z["classes"]), left_out)


def pool_folds(parts: Sequence[ProbeScores]) -> ProbeScores:
    """One set of scores from probes that each scored other folds of the same records."""
    first = parts[0]
    for p in parts[1:]:
        if not np.array_equal(p.records, first.records) or p.classes != first.classes:
            raise ValueError("the probes to pool are of different records or classes")
    scores = {}
    for key in first.scores:
        stack = np.stack([p.scores[key] for p in parts])
        seen = np.isfinite(stack)
        if (seen.sum(0) > 1).any():
            raise ValueError("the probes to pool scored the same records twice")
        scores[key] = np.where(seen.any(0), np.where(seen, stack, 0.0).sum(0), np.nan)
    left_out = {f: [c for c in first.classes if any(c in p.left_out[f] for p in parts)] for f in first.left_out}
    return ProbeScores(scores, first.records, first.y, first.groups, first.classes, left_out)


def macro_auroc(probes: Sequence[ProbeScores], fraction: float, resamples: int = 1000) -> np.ndarray:
    """(pretraining seeds, 1 + resamples) macro AUROC, the mean over the label draws; column 0 is the data itself.

    probes: one for each pretraining seed. Resample r draws the same patients in every call on the same records.
    """
    rows = []
    for p in probes:
        keep = [k for k, name in enumerate(p.classes) if name not in p.left_out[fraction]]
        draws = [v for (f, _), v in p.scores.items() if f == fraction]
        tested = np.isfinite(np.concatenate([d[:, keep] for d in draws], axis=1)).all(1)
        if not keep or not tested.any():
            raise ValueError(f"no class was scored at a fraction of {fraction:g}")
        weight = bootstrap_weights(p.groups[tested], resamples, seed=0)
        scores = np.stack([d[tested] for d in draws])
        values = [mean_auroc(scores[:, :, k], p.y[tested, k] == 1, weight) for k in keep]
        rows.append(np.mean(values, axis=0))
    return np.stack(rows)


def mean_auroc(scores: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(R,) the mean over the draws of the weighted AUROC, for each row of weights; NaN where a class has no weight.

    The AUROC is a weighted mean over pairs (positive, negative) of whether the positive has the higher score. The
    weights are those of all draws, so the draws can be averaged before: one product in place of one for each draw.

    Args:
        scores: (draws, n). positive: (n,) bool. weight: (R, n).
    """
    high, low = scores[:, positive], scores[:, ~positive]
    wins = np.zeros((high.shape[1], low.shape[1]))
    for h, other in zip(high, low, strict=True):
        difference = h[:, None] - other
        wins += (difference > 0) + 0.5 * (difference == 0)
    a, b = weight[:, positive].astype(np.float64), weight[:, ~positive].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((a @ wins) * b).sum(1) / (len(scores) * a.sum(1) * b.sum(1))


def paired_difference(
    a: Sequence[ProbeScores], b: Sequence[ProbeScores], fraction: float, resamples: int = 1000
) -> tuple[float, float, float]:
    """Macro AUROC of a minus that of b with its 95 % interval over patients and pretraining seeds.

    a, b: one `ProbeScores` for each pretraining seed, all of the same records. Patients are resampled for both at
    once, seeds for each on its own.
    """
    for p in (*a, *b):
        if not np.array_equal(p.records, a[0].records) or p.left_out[fraction] != a[0].left_out[fraction]:
            raise ValueError("the probes to compare are of different records or left out different classes")
    rng = np.random.Generator(np.random.Philox(key=2))
    means = []
    for probes in (a, b):
        x = macro_auroc(probes, fraction, resamples)
        mean = x.mean(0)
        picks = rng.integers(0, len(x), (len(x), resamples))
        mean[1:] = np.take_along_axis(x[:, 1:], picks, axis=0).mean(0)
        means.append(mean)
    difference = means[0] - means[1]
    return (float(difference[0]), *interval(difference[1:]))
