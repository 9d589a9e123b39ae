"""Evaluation: a linear probe on frozen embeddings, or fine-tuning, at given fractions of the labels.

Records are split by patient: into the store's own folds (PTB-XL's strat_fold) or into folds made here. Each fold is
scored by a classifier that was fitted on labels drawn from the other folds, and the scores of all folds are judged
together. The draws depend on the labels and the seed alone, so two methods are compared on the same draws.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint import write_atomically
from .compare import ProbeScores
from .dataset import feature_columns, group_ids
from .embed import embed
from .labelled import labelled_records
from .run import Run, open_run
from .scores import bootstrap_weights, interval, weighted_auroc_auprc
from .splits import draw_labels, given_folds, patient_folds

INPUTS = ("embedding", "features", "demographics")
COLUMNS = (
    "method", "inputs", "protocol", "scheme", "fraction", "seed", "class", "train_records", "train_positives",
    "test_records", "test_positives", "auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high",
)  # fmt: skip
MACRO, ALL_SEEDS = "macro", "all"
NEITHER = -1  # the fold of records that are neither fitted on nor scored


@dataclasses.dataclass
class ProbeResult:
    """rows: one dict per (fraction, seed, class), with class "macro" and seed "all" for the means; keys COLUMNS.

    left_out: fraction -> names of the classes too rare to be scored. notes: sentences a reader must know.
    scores: with which two results can be compared pair by pair (`compare.paired_difference`).
    csv, picture: the files written (picture None where none was wanted); the scores are beside them as .npz.
    """

    rows: list[dict[str, Any]]
    left_out: dict[float, list[str]]
    notes: list[str]
    scores: ProbeScores
    csv: Path
    picture: Path | None

    def macro(self, fraction: float) -> dict[str, Any]:
        """The row of the macro means over the seeds at this fraction."""
        return next(r for r in self.rows if (r["fraction"], r["seed"], r["class"]) == (fraction, ALL_SEEDS, MACRO))

    def __str__(self) -> str:
        head = self.rows[0]
        lines = [f"{head['method']}, {head['protocol']} on {head['inputs']}, labels {head['scheme']}"]
        lines.append(
            f"{'labels':>8} {'class':20} {'AUROC':>6} {'95 % interval':>16} {'AUPRC':>6} {'95 % interval':>16}"
        )
        for r in self.rows:
            if r["seed"] == ALL_SEEDS:
                cells = [f"{r[m]:6.3f} {r[f'{m}_low']:8.3f} - {r[f'{m}_high']:.3f}" for m in ("auroc", "auprc")]
                lines.append(f"{100 * r['fraction']:>6g} % {r['class']:20} {' '.join(cells)}")
        files = [f"table: {self.csv}"] + ([f"picture: {self.picture}"] if self.picture else [])
        return "\n".join([*lines, *self.notes, *files])


def probe(
    run: str | Path | Run,
    store: Any,
    *,
    out: str | Path | None = None,
    scheme: str | None = None,
    fractions: Sequence[float] = (0.01, 0.1, 1.0),
    seeds: int = 3,
    folds: int | None = None,
    test_folds: Sequence[int] | None = None,
    train_sources: Sequence[str] | None = None,
    test_sources: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    finetune: bool = False,
    epochs: int = 20,
    c: float = 0.01,
    min_positives: int = 2,
    bootstrap: int = 1000,
    picture: bool = True,
    device: str = "auto",
    progress: Callable[[int, int], Any] | None = None,
) -> ProbeResult:
    """Judge an encoder by how well its embeddings tell diagnoses apart.

    Args:
        run: a run folder or an open run. store: an open store with labels, or the path of one.
        out: folder for the table (CSV) and the picture; the run folder if None.
        scheme: the label scheme; if None the one that applies to most records.
        fractions: of the training labels. seeds: draws of labels at each fraction.
        folds: None takes the store's own folds, or makes 5 where it has none; a number makes that many, by patient.
        test_folds: score these of the store's folds only and train on the others, instead of each in turn.
        train_sources, test_sources: score the records of these sources of the store by a classifier fitted on the
            others (across data sets, no folds); train_sources None means all that are not in test_sources.
        inputs: what the linear probe sees: "embedding", "features" (those of the run's configuration), "demographics"
            (age and sex), or several side by side. None: the embedding, of a "features" run the features.
        finetune: train encoder and head together instead (`epochs` passes over the drawn records); from a random
            run that is supervised training from scratch.
        c: inverse strength of the logistic regression's penalty on standardised inputs.
        min_positives: a class is left out at a fraction if any of its draws, or what is scored, has fewer positives or
            negatives.
        bootstrap: resamples of the patients for the 95 % intervals; those over all seeds resample the seeds as well.
        picture: draw the result beside the table.
        progress: called with (fits done, fits in all).

    Raises:
        ValueError: no labels, a scheme that the store lacks, folds that cannot be made.
    """
    run = open_run(run)
    if out is None and run.shipped:
        raise ValueError(
            "out is None; give a folder for the table of the shipped encoder, which has no run folder of yours"
        )
    if isinstance(store, str | Path):
        from ..data import open_store

        store = open_store(store)
    if inputs is None:
        inputs = ("features",) if run.config.method == "features" else ("embedding",)
    _check_inputs(inputs)
    for f in fractions:
        if not 0 < f <= 1:
            raise ValueError(f"fractions has {f!r}; each must be above 0 and at most 1")
    scheme, classes, records, y = labelled_records(store, scheme)
    groups = group_ids(store, records)
    if train_sources is None and test_sources is None:
        fold, tested = _folds(store, records, y, groups, folds, test_folds)
    elif folds is not None or test_folds is not None:
        raise ValueError(
            "folds and test_folds cannot be used with train_sources and test_sources, which take their place"
        )
    else:
        fold, tested = _by_source(store, records, train_sources, test_sources)
    if finetune:
        from .finetune import FineTuner

        fit: Any = FineTuner(run, store, records, epochs, device)
    else:
        fit = LinearProbe(represent(run, store, records, inputs, device), c)

    jobs = [
        (f, s) for f in sorted({float(f) for f in fractions}) for s in range(1 if f >= 1 and not finetune else seeds)
    ]
    scores: dict[tuple[float, int], np.ndarray] = {}
    drawn: dict[tuple[float, int], tuple[int, np.ndarray, np.ndarray]] = {}
    done, total = 0, len(jobs) * len(tested)
    for f, s in jobs:
        score, sizes = np.full(y.shape, np.nan), []
        for k in tested:
            others, test = np.flatnonzero((fold != k) & (fold != NEITHER)), np.flatnonzero(fold == k)
            train = others[draw_labels(y[others], groups[others], f, 1000 * s + int(k))]
            sizes.append((len(train), y[train].sum(0), len(train) - y[train].sum(0)))
            score[test] = fit(train, test, y[train], 1000 * s + int(k), min_positives)
            done += 1
            if progress is not None:
                progress(done, total)
        scores[f, s] = score
        count, positives, negatives = zip(*sizes, strict=True)
        drawn[f, s] = round(float(np.mean(count))), np.mean(positives, 0), np.minimum.reduce(positives + negatives)

    rows, left_out = _judge(scores, drawn, classes, y, groups, min_positives, bootstrap)
    head = {
        "method": run.config.method, "inputs": "signal" if finetune else "+".join(inputs),
        "protocol": "finetune" if finetune else "linear", "scheme": scheme,
    }  # fmt: skip
    rows = [{**head, **row} for row in rows]
    notes = _notes(run, store, records[np.isin(fold, tested)], left_out)
    ids = np.asarray(store.table["record_id"])[records]
    folder = run.path if out is None else Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"probe_{Path(store.path).name}_{scheme}_{head['protocol']}"
    name += "" if test_sources is None and train_sources is None else "_transfer"
    name += "" if tuple(inputs) == ("embedding",) else f"_{head['inputs']}"
    judged = ProbeScores(scores, ids, y, groups, classes, left_out)
    drawing = folder / f"{name}.png" if picture else None
    result = ProbeResult(rows, left_out, notes, judged, folder / f"{name}.csv", drawing)
    judged.save(folder / f"{name}.npz")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(result.csv, text.getvalue())
    if result.picture is not None:
        draw_probe(result, result.picture)
    return result


# ---- what goes in -------------------------------------------------------------------------------------------------


def represent(run: Run, store: Any, records: np.ndarray, inputs: Sequence[str], device: str = "auto") -> np.ndarray:
    """(n, d) float64: the columns that the linear probe sees."""
    _check_inputs(inputs)
    parts = []
    for name in inputs:
        if name == "embedding":
            parts.append(embed(run, store, records=records, device=device).astype(np.float64))
        elif name == "features":
            columns = feature_columns(store, run.config.feature_leads, run.config.feature_set)
            parts.append(_record_means([store.features(int(i))[:, columns] for i in records], len(columns)))
        else:
            age = np.asarray(store.table["age"])[records].astype(np.float64)
            sex = np.asarray(store.table["sex"])[records].astype(str)
            parts.append(np.stack((age, sex == "F", sex == "M", ~np.isfinite(age)), axis=1).astype(np.float64))
    return np.concatenate(parts, axis=1)


def _record_means(rows: list[np.ndarray], width: int) -> np.ndarray:
    """Mean over the segments of each record, NaN where no segment has the value."""
    out = np.full((len(rows), width), np.nan)
    for k, r in enumerate(rows):
        seen = np.isfinite(r)
        count = seen.sum(0)
        out[k, count > 0] = np.where(seen, r, 0).sum(0, dtype=np.float64)[count > 0] / count[count > 0]
    return out


def _check_inputs(inputs: Sequence[str]) -> None:
    bad = [i for i in inputs if i not in INPUTS]
    if bad or not inputs or isinstance(inputs, str):
        raise ValueError(f"inputs is {inputs!r}; it must be a list of some of {', '.join(map(repr, INPUTS))}")


def _folds(store, records, y, groups, folds, test_folds) -> tuple[np.ndarray, np.ndarray]:
    """(fold of each record, the folds to score)."""
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
        return fold, names
    missing = [k for k in test_folds if k not in names]
    if missing:
        raise ValueError(f"test_folds has {missing}; the store has the folds {', '.join(map(str, names))}")
    return fold, np.asarray(sorted(set(test_folds)))


def _by_source(store, records, train, test) -> tuple[np.ndarray, np.ndarray]:
    """Fold 0 is fitted on and fold 1 scored."""
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
    return fold, np.array([1])


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
        return tuple(np.clip(np.where(np.isfinite(x), (x - mean) / sd, 0.0), -10, 10) for x in (a, b))


# ---- what comes out -----------------------------------------------------------------------------------------------


def _judge(scores, drawn, classes, y, groups, least, bootstrap) -> tuple[list[dict[str, Any]], dict[float, list[str]]]:
    rows: list[dict[str, Any]] = []
    left_out: dict[float, list[str]] = {}
    for f in sorted({f for f, _ in scores}):
        seeds = [s for g, s in scores if g == f]
        tested = np.isfinite(scores[f, seeds[0]]).any(1) if seeds else np.zeros(len(y), bool)
        for s in seeds:
            tested |= np.isfinite(scores[f, s]).any(1)
        fewest = np.minimum.reduce([drawn[f, s][2] for s in seeds])
        positives = y[tested].sum(0)
        both = (positives >= least) & (tested.sum() - positives >= least)
        keep = np.flatnonzero((fewest >= least) & both)
        left_out[f] = [classes[k] for k in range(len(classes)) if k not in keep]
        weights = bootstrap_weights(groups[tested], bootstrap, seed=0)
        # (seeds, classes, 2 measures, 1 + resamples)
        values = np.full((len(seeds), len(keep), 2, bootstrap + 1), np.nan)
        for a, s in enumerate(seeds):
            for b, k in enumerate(keep):
                values[a, b] = weighted_auroc_auprc(scores[f, s][tested, k], y[tested, k] == 1, weights)
        for a, s in enumerate([*seeds, ALL_SEEDS]):
            value = _over_seeds(values) if s == ALL_SEEDS else values[a]
            size = np.mean([drawn[f, t][0] for t in seeds]) if s == ALL_SEEDS else drawn[f, s][0]
            positives = np.mean([drawn[f, t][1] for t in seeds], 0) if s == ALL_SEEDS else drawn[f, s][1]
            common = {"fraction": f, "seed": s, "train_records": round(float(size)), "test_records": int(tested.sum())}
            for b, k in enumerate(keep):
                rows.append({
                    **common, "class": classes[k], "train_positives": round(float(positives[k]), 1),
                    "test_positives": int(y[tested, k].sum()), **_measures(value[b]),
                })  # fmt: skip
            mean = value.mean(0) if len(keep) else np.full((2, bootstrap + 1), np.nan)
            rows.append({**common, "class": MACRO, "train_positives": "", "test_positives": "", **_measures(mean)})
    return rows, left_out


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


def _measures(value: np.ndarray) -> dict[str, float]:
    out = {}
    for name, v in zip(("auroc", "auprc"), value, strict=True):
        low, high = interval(v[1:])
        out |= {name: round(float(v[0]), 4), f"{name}_low": round(low, 4), f"{name}_high": round(high, 4)}
    return out


def _notes(run: Run, store: Any, tested: np.ndarray, left_out: dict[float, list[str]]) -> list[str]:
    notes = [
        f"at {f:g} of the labels too rare and left out: {', '.join(names)}" for f, names in left_out.items() if names
    ]
    trained = run.record_ids
    seen = sum(str(i) in trained for i in np.asarray(store.table["record_id"])[tested])
    if seen:
        notes.append(f"{seen} of the {len(tested)} scored records were in the pretraining (without their labels)")
    return notes


def draw_probe(result: ProbeResult, path: Path) -> None:
    """Macro AUROC against the fraction of labels, and the AUROC of each class at the largest one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    head = result.rows[0]
    pooled = [r for r in result.rows if r["seed"] == ALL_SEEDS and math.isfinite(r["auroc"])]
    macro = [r for r in pooled if r["class"] == MACRO]
    if macro:
        x, y = [100 * r["fraction"] for r in macro], [r["auroc"] for r in macro]
        error = [[r["auroc"] - r["auroc_low"] for r in macro], [r["auroc_high"] - r["auroc"] for r in macro]]
        left.errorbar(x, y, yerr=np.maximum(error, 0), marker="o", capsize=4)
        left.set_xscale("log")
        left.set_xticks(x, [f"{v:g} %" for v in x])
        left.minorticks_off()
    left.set_xlabel("labels used")
    left.set_ylabel("macro AUROC, 95 % interval")
    left.set_title(f"{head['method']}, {head['protocol']}, {head['inputs']}", fontsize=10)
    largest = max((r["fraction"] for r in pooled), default=None)
    single = [r for r in pooled if r["fraction"] == largest and r["class"] != MACRO]
    if single:
        y, x = np.arange(len(single))[::-1], [r["auroc"] for r in single]
        error = [[r["auroc"] - r["auroc_low"] for r in single], [r["auroc_high"] - r["auroc"] for r in single]]
        right.barh(y, x, xerr=np.maximum(error, 0), color="tab:blue", alpha=0.6)
        right.set_yticks(y, [r["class"] for r in single], fontsize=8)
        right.axvline(0.5, color="grey", linewidth=1)
        right.set_xlim(0, 1)
        right.set_xlabel(f"AUROC at {100 * largest:g} % of the labels")
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
