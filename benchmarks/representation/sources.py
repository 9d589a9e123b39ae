"""Does what a probe learnt hold in a data set that it has not seen? The Challenge's sources, left out one by one.

    python benchmarks/representation/sources.py PTBXL CINC2021 CHAPMAN --out OUT \\
        --encoders random cmsc=RUN,RUN predict12=RUN,RUN pretrained
    python benchmarks/representation/sources.py ... --table          # of what is there

PTBXL ... are stores (`physioclr prepare`) with the merged labels of the Challenge 2021; a record that an earlier store
has already, at whatever rate, is passed over. An encoder is the shipped one, or a name and the folders of its runs, one
for each seed; random is the first run's network with fresh weights, one for each of --random seeds. For each encoder,
and each source but PTB-XL, the linear probe is fitted on the records of all other sources and scores that one: on the
embedding, on the features of II, V1 and V5, and on both side by side. --choose-on names a source that is cut into two
halves by patient: whatever is best on the first is judged by the second. Each half is also scored by a probe fitted on
the other alone.

Embeddings and cells (one encoder, input and source) are kept in OUT: interrupt it at will, the same command does what
is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import physioclr as pc
from physioclr.train import Config, Run, open_run, pretrain
from physioclr.train.compare import ProbeScores, macro_auroc, paired_difference
from physioclr.train.dataset import group_ids
from physioclr.train.judge import Task, run_trials
from physioclr.train.labelled import labelled_records
from physioclr.train.linear import LinearProbe
from physioclr.train.representation import represent
from physioclr.train.scores import interval
from physioclr.train.splits import NEITHER, Split, patient_folds
from physioclr.train.vectors import GivenEmbeddings

SCHEME, FITTED_ALWAYS = "cinc2021", "ptbxl"
ALL = 1.0  # of the labels
BOTH, ALONE, FEATURES = "features + ", "", "features alone"
OWN = "-halves"  # behind a source: each half of it, by a probe fitted on the other


@dataclasses.dataclass
class Pool:
    """The labelled records of all stores, one behind the other. parts: (store, its records)."""

    parts: list[tuple[Any, np.ndarray]]
    classes: tuple[str, ...]
    ids: np.ndarray
    source: np.ndarray
    y: np.ndarray
    groups: np.ndarray

    @property
    def sources(self) -> list[str]:
        return [s for s in sorted(set(self.source)) if s != FITTED_ALWAYS]

    def columns(self, run: Run | None) -> np.ndarray:
        """(n, d): the embedding of every record; of None, the features."""
        rows = []
        for store, records in self.parts:
            given = GivenEmbeddings(np.zeros((len(store), 1)), store) if run is None else run
            rows.append(represent(given, store, records, ("features" if run is None else "embedding",)))
        return np.concatenate(rows)


def called(record_id: str) -> str:
    """The record's name without its folders, and without PTB-XL's suffix of either rate."""
    return Path(record_id).name.removesuffix("_lr").removesuffix("_hr")


def gather(stores: Sequence[Any], least: int) -> Pool:
    """Of open stores. Classes: those with `least` positives and negatives among the records that will be scored."""
    parts, ids, sources, labels, groups, seen, first = [], [], [], [], [], set(), 0
    for store in stores:
        _, names, records, y = labelled_records(store, SCHEME)
        source = np.asarray(store.table["source"])[records].astype(str)
        name = np.asarray(store.table["record_id"])[records].astype(str)
        here = [f"{s}/{called(r)}" for s, r in zip(source, name, strict=True)]
        new = np.array([k for k, r in enumerate(here) if r not in seen], int)
        seen |= set(here)
        if not len(new):
            continue
        parts.append((store, records[new]))
        ids.append(np.array(here)[new])
        sources.append(source[new])
        labels.append(dict(zip(names, y[new].T, strict=True)))
        groups.append(group_ids(store, records[new]) + first)
        first = groups[-1].max() + 1
    source = np.concatenate(sources)
    table = {c: np.concatenate([own.get(c, np.zeros(len(i), int)) for own, i in zip(labels, ids, strict=True)])
             for c in dict.fromkeys(c for own in labels for c in own)}  # fmt: skip
    scored = source != FITTED_ALWAYS
    positives = {c: int(t[scored].sum()) for c, t in table.items()}
    classes = tuple(c for c, n in positives.items() if least <= n <= scored.sum() - least)
    return Pool(parts, classes, np.concatenate(ids), source, np.stack([table[c] for c in classes], 1),
                np.concatenate(groups))  # fmt: skip


def runs_of(text: str, store: Path, folder: Path, random: int, like: Run | None) -> tuple[str, list[Run]]:
    """The name of an encoder, and its run for each seed."""
    name, _, paths = text.partition("=")
    if name != "random":
        return name, [open_run(p) for p in (paths or name).split(",")]
    if like is None:
        raise SystemExit("random is the first run's network, and no run is named")
    made = []
    for seed in range(random):
        config = like.config.replace(method="random", seed=seed, feature_leads=Config().feature_leads)
        if not (folder / "random" / f"run{seed}" / "checkpoints").is_dir():
            pretrain(store, folder / "random" / f"run{seed}", config, resume=True)
        made.append(open_run(folder / "random" / f"run{seed}"))
    return name, made


# ---- cells


def place_of(out: Path, row: str, seed: int, source: str) -> Path:
    return out / "cells" / row.replace(" ", "_") / f"seed{seed}" / f"{source}.npz"


def score(pool: Pool, x: np.ndarray, source: str, c: float, least: int, own: bool = False) -> ProbeScores:
    """The records of one source, by a probe fitted on those of all others; own: each half of it by one fitted on its
    other half alone.
    """
    kept = pool.source == source
    if own:
        fold, tested = np.full(len(kept), NEITHER), np.arange(2)
        fold[kept] = patient_folds(pool.y[kept], pool.groups[kept], 2)
    else:
        fold, tested = kept.astype(int), np.array([1])
    task = Task(SCHEME, pool.classes, np.arange(len(fold)), pool.y, pool.groups)
    trials = run_trials(LinearProbe(x, c), task, Split(fold, tested, across=not own), [(ALL, 0)], least)
    scores = {key: values[kept] for key, values in trials.scores.items()}
    return ProbeScores(scores, pool.ids[kept], pool.y[kept], pool.groups[kept], pool.classes, {ALL: []})


def fill(out: Path, pool: Pool, row: str, seed: int, columns: Any, args: argparse.Namespace) -> None:
    """The cells of a row that are missing; columns(): what its probe sees."""
    cells = {s: (s, False) for s in pool.sources}
    if args.choose_on in cells:
        cells[args.choose_on + OWN] = args.choose_on, True
    todo = [name for name in cells if not place_of(out, row, seed, name).is_file()]
    if not todo:
        return
    x = columns()
    for name in todo:
        source, own = cells[name]
        found = score(pool, x, source, args.c, args.min_positives, own)
        kept_as(place_of(out, row, seed, name), found.save)
        print(f"{row}, seed {seed}: {name}" + ("" if own else " left out"), flush=True)


def kept_as(place: Path, save: Any) -> None:
    """A file that is whole where it is there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f"part-{place.name}")
    save(part)
    part.replace(place)


def columns_of(place: Path, make: Any) -> np.ndarray:
    """make(), or what it made in an earlier call."""
    if not place.is_file():
        values = make()
        kept_as(place, lambda part: np.save(part, values))
    return np.load(place)


# ---- tables


def joined(parts: Sequence[ProbeScores]) -> ProbeScores:
    """Scores of several sources, each left out by its own fit, as one."""
    first = parts[0]
    scores = {key: np.concatenate([p.scores[key] for p in parts]) for key in first.scores}
    y, groups, records = (np.concatenate([getattr(p, k) for p in parts]) for k in ("y", "groups", "records"))
    return ProbeScores(scores, records, y, groups, first.classes, {ALL: []})


def among(p: ProbeScores, rows: np.ndarray, least: int) -> ProbeScores:
    """Those rows alone; classes with fewer than `least` positives or negatives among them are left out."""
    y = p.y[rows]
    scored = np.isfinite(p.scores[ALL, 0][rows]).all(0)
    few = (np.minimum(y.sum(0), len(y) - y.sum(0)) < least) | ~scored
    rare = [c for c, f in zip(p.classes, few, strict=True) if f]
    scores = {key: values[rows] for key, values in p.scores.items()}
    return ProbeScores(scores, p.records[rows], y, p.groups[rows], p.classes, {ALL: rare})


def loaded(out: Path, pool: Pool, choose: str, least: int) -> dict[str, dict[str, dict[int, ProbeScores]]]:
    """what is scored -> row -> seed -> scores; of rows and seeds that have every source."""
    table: dict[str, dict[str, dict[int, ProbeScores]]] = {}
    for folder in sorted((out / "cells").glob("*/seed*")):
        places = {s: folder / f"{s}.npz" for s in pool.sources}
        if not all(p.is_file() for p in places.values()):
            continue
        row, seed = folder.parent.name.replace("_", " "), int(folder.name.removeprefix("seed"))
        parts = {s: ProbeScores.load(p) for s, p in places.items()}
        sets = {s: (p, np.arange(len(p.y))) for s, p in parts.items()}
        if choose in parts:
            half = patient_folds(parts[choose].y, parts[choose].groups, 2)
            del sets[choose]
            sets |= {f"{choose}, {n} half": (parts[choose], np.flatnonzero(half == k))
                     for k, n in enumerate(("first", "second"))}  # fmt: skip
            own = folder / f"{choose}{OWN}.npz"
            if own.is_file():
                p = ProbeScores.load(own)
                sets[f"{choose}, fitted on its other half alone"] = p, np.arange(len(p.y))
        whole = joined(list(parts.values()))
        sets[f"all {len(parts)}"] = whole, np.arange(len(whole.y))
        for name, (p, rows) in sets.items():
            table.setdefault(name, {}).setdefault(row, {})[seed] = among(p, rows, least)
    return table


def text_of(d: float, low: float, high: float, signed: bool) -> str:
    if not signed:
        return f"{d:.3f} ({low:.3f} to {high:.3f})"
    return f"{d:+.3f} ({low:+.3f} to {high:+.3f})" + ("" if low > 0 or high < 0 else ", not distinguishable")


def mean_text(seeds: dict[int, ProbeScores]) -> str:
    values = macro_auroc(list(seeds.values()), ALL).mean(0)
    return text_of(values[0], *interval(values[1:]), signed=False)


def difference_text(a: dict[int, ProbeScores], b: dict[int, ProbeScores]) -> str:
    common = sorted(set(a) & set(b)) if len(b) > 1 else sorted(a)
    others = [b[s] for s in common] if len(b) > 1 else list(b.values())
    return text_of(*paired_difference([a[s] for s in common], others, ALL), signed=True)


def rows_in_order(rows: Sequence[str]) -> list[str]:
    encoders = [r for r in rows if r != FEATURES and not r.startswith(BOTH)]
    first = ["random"] if "random" in encoders else []
    encoders = first + [e for e in encoders if e not in first]
    return [r for r in (FEATURES, *encoders, *(BOTH + e for e in encoders)) if r in rows]


def tables(out: Path, pool: Pool, choose: str, least: int, against: str) -> str:
    found = loaded(out, pool, choose, least)
    lines, scored = [], {}
    for name, rows in found.items():
        one = next(iter(next(iter(rows.values())).values()))
        kept = [c for c in one.classes if c not in one.left_out[ALL]]
        lines.append(f"- {name}: {len(one.y)} records, {len(kept)} classes with {least} positives and more"
                     + (f" ({', '.join(kept)})" if kept else ""))  # fmt: skip
        if kept:
            scored[name] = rows
    if not scored:
        return "no row is complete yet, or every class too rare"
    rows = rows_in_order(list(next(iter(scored.values()))))
    head = f"| {' | '.join(scored)} |"
    lines += ["", f"| probe on | seeds {head}", "|---|---|" + "---|" * len(scored)]
    for row in rows:
        cells = [mean_text(scored[name][row]) for name in scored]
        lines.append(f"| {row} | {len(scored[next(iter(scored))][row])} | {' | '.join(cells)} |")
    lines += ["", f"| paired difference {head}", "|---|" + "---|" * len(scored)]
    for row in rows:
        beside = BOTH if row.startswith(BOTH) else ALONE
        for other in dict.fromkeys((FEATURES, beside + against)):
            if row in (FEATURES, other) or other not in rows or row.endswith("random"):
                continue
            cells = [difference_text(of[row], of[other]) for of in scored.values()]
            lines.append(f"| {row} minus {other} | {' | '.join(cells)} |")
    first, second = (f"{choose}, {n} half" for n in ("first", "second"))
    if first in scored:
        best = max(rows, key=lambda r: macro_auroc(list(scored[first][r].values()), ALL, 0).mean())
        lines += ["", f"Best on the first half of {choose}: {best}; on the second {mean_text(scored[second][best])}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", type=Path, nargs="+", metavar="STORE")
    parser.add_argument("--out", type=Path, default=Path("sources"))
    parser.add_argument("--encoders", nargs="+", default=["pretrained"], metavar="NAME[=RUN,RUN]")
    parser.add_argument("--random", type=int, default=2, help="seeds of random")
    parser.add_argument("--choose-on", default="chapman_ningbo", metavar="SOURCE")
    parser.add_argument("--against", default="cmsc", metavar="NAME", help="the encoder that others are compared with")
    parser.add_argument("--c", type=float, default=0.01, help="inverse strength of the probe's penalty")
    parser.add_argument("--min-positives", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="print the tables of the finished cells and stop")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pool = gather([pc.data.open_store(p) for p in args.stores], args.min_positives)
    if not args.table:
        args.out.mkdir(parents=True, exist_ok=True)
        folder = args.out / "columns"

        def features() -> np.ndarray:
            return columns_of(folder / "features.npy", lambda: pool.columns(None))

        fill(args.out, pool, FEATURES, 0, features, args)
        like = next((open_run(t.partition("=")[2].split(",")[0] or t) for t in args.encoders if t != "random"), None)
        for text in args.encoders:
            name, runs = runs_of(text, args.stores[0], args.out, args.random, like)
            for seed, run in enumerate(runs):

                def embedding(place: Path = folder / f"{name}-seed{seed}.npy", run: Run = run) -> np.ndarray:
                    return columns_of(place, lambda: pool.columns(run))

                def beside(embedding: Any = embedding) -> np.ndarray:
                    return np.concatenate((embedding(), features()), axis=1)

                fill(args.out, pool, name, seed, embedding, args)
                fill(args.out, pool, BOTH + name, seed, beside, args)
    text = tables(args.out, pool, args.choose_on, args.min_positives, args.against)
    if not args.table:
        (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
