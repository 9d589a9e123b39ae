"""Which pretraining makes the best embeddings: every method with the same budget, patient cross-validation, one table.

    python benchmarks/representation/run.py DATA --out results/representation            # the quick form
    python benchmarks/representation/run.py DATA --out results/representation --full
    python benchmarks/representation/run.py DATA --out results/representation --table    # of what is there

DATA is a folder of WFDB records with PTB-XL among them, or a store. The folds of PTB-XL form three groups. For each
method, pretraining seed and group an encoder is pretrained, without labels, on all records but those of the group; then
linear probes score the folds of the group, each fitted on the labels of all other folds. All scores of a seed are
judged together.

One encoder is one cell: a folder below --out and a row of cells.csv. Interrupt it at will; the same command does the
cells that are missing. Several processes with the same --out share the cells among them, one thread each:
OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
from pathlib import Path

import torch
from tables import add_row, cross_tables, labelled_tables

import physioclr as pc
from physioclr.train import Config, pretrain, probe

# As --config beats: pairs by features and average beats; one view and no decoder, a step costs little more than cmsc's
BEATS = {"mode": "supcon", "beat_weight": 2.0, "shuffle": False, "alpha": 0.0, "beta": 0.0}
METHODS = {
    "random": {"method": "random"},
    "cmsc": {"method": "cmsc"},
    "cmsc-longer": {"method": "cmsc", "steps": 400},  # about the seconds of physioclr, which encodes two views
    "physioclr-longer": {"steps": 400},
    "simclr": {"method": "simclr", "augment": "preserving"},
    "physioclr": {},
    "physioclr-released": {"mode": "ratio", "pair_reduction": "sum", "delta": 0.25, "alpha": 0.2, "beta": 0.1},
    "physioclr-no-feature-pairs": {"feature_pairs": False, "mode": "ratio"},
    "physioclr-no-shuffle": {"shuffle": False},
    "physioclr-no-reconstruction": {"alpha": 0.0, "beta": 0.0},
    "physioclr-no-peak-term": {"beta": 0.0},
    "physioclr-mean-pairs": {"mode": "ratio", "pair_reduction": "mean", "delta": 0.4},
    "physioclr-supcon": {"mode": "supcon"},
    "physioclr-soft": {"mode": "soft"},
    "physioclr-predict": {"gamma": 1.0},
    "physioclr-predict-no-reconstruction": {"gamma": 1.0, "alpha": 0.0, "beta": 0.0},
    "physioclr-predict-no-reconstruction-longer": {"gamma": 1.0, "alpha": 0.0, "beta": 0.0, "steps": 400},
    "physioclr-beats": BEATS,
    "physioclr-beats-longer": {**BEATS, "steps": 400},
    "physioclr-beats-fewer-longer": {**BEATS, "delta": 0.4, "steps": 400},
    "physioclr-beats-off-longer": {**BEATS, "beat_weight": 0.0, "steps": 400},  # pairs by the features alone
    "supervised": {"method": "supervised", "scheme": "ptbxl_superclass"},
}
QUICK = ("random", "cmsc", "physioclr", "physioclr-beats")
SCHEME, RHYTHM = "ptbxl_superclass", "ludb_rhythm"
CELL = ("method", "seed", "cell", "steps", "seconds", "loss", "positives", "auroc_10", "auroc_100")
# A small encoder at 100 Hz, so that a step takes a tenth of a second of one core
BASE = {
    "decimate": 5,
    "channels": [16, 32, 64, 128],
    "amp": True,
    "checkpoint_every": 1_000_000,
    "keep_checkpoints": 1,
    "log_every": 10,
    "workers": 0,
}


def inputs_of(method: str) -> list[tuple[str, ...]]:
    """Features alone, and age and sex, do not depend on the encoder: they are scored once, with "random"."""
    both: list[tuple[str, ...]] = [("embedding",), ("embedding", "features")]
    return [*both, ("features",), ("demographics",)] if method == "random" else both


def groups_of(folds: list[int], n: int = 3) -> list[list[int]]:
    """n groups of neighbouring folds."""
    size = -(-len(folds) // n)
    return [folds[i : i + size] for i in range(0, len(folds), size)]


def one_cell(store, folder: Path, method: str, config: Config, draws: int, within: bool) -> dict | None:
    """Pretrain one encoder and probe it; the row for cells.csv, or None if it was interrupted.

    within: the cell leaves out some folds of PTB-XL and scores them; otherwise it was pretrained on PTB-XL alone, and
    the Challenge's other sources and LUDB are scored.
    """
    records = None
    if not within:
        records = [i for i, source in enumerate(store.table["source"]) if source == "ptbxl"]
    result = pretrain(store, folder, config, resume=True, records=records)
    if result.status != "finished":
        return None
    row = {"steps": result.step, "seconds": round(result.metrics.get("seconds", 0.0), 1)}
    row |= {k: round(result.metrics[k], 4) for k in ("loss", "positives") if k in result.metrics}
    for inputs in inputs_of(method):
        if within:
            found = probe(folder, store, scheme=SCHEME, test_folds=config.exclude_folds, fractions=(0.1, 1.0),
                          seeds=draws, inputs=inputs, bootstrap=0, picture=False)  # fmt: skip
            if inputs == ("embedding",):
                row |= {"auroc_10": found.macro(0.1)["auroc"], "auroc_100": found.macro(1.0)["auroc"]}
        else:
            others = sorted({str(s) for s in store.table["source"]} - {"ptbxl", "ludb"})
            probe(folder, store, scheme="cinc2021", train_sources=["ptbxl"], test_sources=others, fractions=(1.0,),
                  inputs=inputs, bootstrap=0, min_positives=5, picture=False)  # fmt: skip
            probe(folder, store, scheme=RHYTHM, fractions=(1.0,), inputs=inputs, bootstrap=0, min_positives=5,
                  picture=False)  # fmt: skip
    for optimizer in folder.glob("checkpoints/*/optimizer.pt"):  # nobody goes on with a finished cell
        optimizer.unlink()
    (folder / "done").touch()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("representation"))
    parser.add_argument("--full", action="store_true", help="every method, 5 pretraining seeds, 20 draws, transfer")
    parser.add_argument("--table", action="store_true", help="print the tables of the finished cells and stop")
    parser.add_argument("--cells-only", action="store_true", help="end without the tables")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, help="pretraining seeds (1; full: 5)")
    parser.add_argument("--draws", type=int, help="draws of 10 %% of the labels (5; full: 20)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="instead of the form's own")
    parser.add_argument("--transfer", action="store_true", help="with the cells for LUDB and across data sets")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="over the configuration of every run")
    args = parser.parse_args()

    methods = list(args.methods or (METHODS if args.full else QUICK))
    if args.table:
        print(labelled_tables(args.out, SCHEME, (0.1, 1.0)))
        print(cross_tables(args.out, RHYTHM))
        return
    store = args.data if (args.data / "store.json").is_file() else args.out / "store"
    if not (store / "store.json").is_file():
        print(pc.data.prepare(args.data, store, jobs=2))
    store = pc.data.open_store(store)
    folds = sorted({int(k) for k in store.table["fold"] if k >= 0})
    groups = groups_of(folds)
    cells = [("folds" + "-".join(map(str, g)), g) for g in groups]
    if args.transfer or args.full:
        cells.append(("transfer", []))
    seeds, draws = args.seeds or (5 if args.full else 1), args.draws or (20 if args.full else 5)
    base = Config(**BASE, steps=args.steps).override(args.set)
    # whole seeds first, so that the tables of an unfinished experiment compare all methods
    todo = [(s, name, g, m) for s in range(seeds) for name, g in cells for m in methods]
    for n, (s, name, g, method) in enumerate(todo, 1):
        folder = args.out / method / f"seed{s}" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.with_suffix(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given up by a process that dies
            except BlockingIOError:
                continue  # another process is at it
            if (folder / "done").is_file():
                continue
            print(f"{n} of {len(todo)}: {method}, seed {s}, {name}", flush=True)
            if folder.exists() and not any(folder.glob("checkpoints/step_*")):
                shutil.rmtree(folder)  # killed before its first checkpoint
            config = base.replace(seed=s, exclude_folds=g, **METHODS[method])
            row = one_cell(store, folder, method, config, draws, bool(g))
            if row is None:
                raise SystemExit("interrupted; the same command goes on")
            add_row(args.out / "cells.csv", CELL, {"method": method, "seed": s, "cell": name, **row})
    if args.cells_only:
        return
    text = (
        f"{len(store)} records; {args.steps} steps, {draws} draws of the labels, torch with "
        f"{torch.get_num_threads()} threads\n\n{labelled_tables(args.out, SCHEME, (0.1, 1.0))}\n"
        f"{cross_tables(args.out, RHYTHM)}"
    )
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
