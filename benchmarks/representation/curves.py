"""How long is each method worth training? Learning curves on PTB-XL at 100 Hz, fold 9 scored, equal steps or seconds.

    python benchmarks/representation/curves.py STORE --out OUT                     # gathers cells; interrupt it at will
    python benchmarks/representation/curves.py STORE --out OUT --minutes 8         # stops by itself; call it again
    python benchmarks/representation/curves.py STORE --out OUT --table             # of what is there

STORE: `physioclr prepare PTBXL STORE --fs 100`, folds 1 to 6 and 9. One cell is one encoder: a method, a number of
steps (each with a cosine schedule of its own) and a seed, pretrained without labels on every fold but the scored one.
Then the linear probe is fitted on those folds, at 1, 10 and 100 % of their labels (5 draws), and scores that fold.
Seconds are CPU seconds of the process, one thread, reading included: other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import fcntl
import time
from pathlib import Path

import numpy as np
import torch
from tables import add_row

import physioclr as pc
from physioclr.train import Config, embed, pretrain, probe
from physioclr.train.compare import ProbeScores, macro_auroc, paired_difference
from physioclr.train.scores import interval

SCHEME, FRACTIONS, DRAWS = "ptbxl_superclass", (0.01, 0.1, 1.0), 5
INPUTS = {"embedding": ("embedding",), "both": ("embedding", "features"), "features": ("features",)}
BASE = {
    "channels": [16, 32, 64, 128],
    "amp": True,
    "workers": 0,
    "log_every": 50,
    "checkpoint_every": 1_000_000,
    "keep_checkpoints": 1,
    "cache_mb": 400,
}
BEATS = {"mode": "supcon", "beat_weight": 2.0, "shuffle": False, "alpha": 0.0, "beta": 0.0}
METHODS = {
    "random": {"method": "random"},
    "simclr": {"method": "simclr", "augment": "preserving"},
    "cmsc": {"method": "cmsc"},
    "physioclr": {},
    "beats": BEATS,
    "predict": {**BEATS, "gamma": 10.0},
    "predict-cmsc": {**BEATS, "gamma": 10.0, "beat_weight": 0.0, "feature_pairs": False},
    "kernel": {**BEATS, "gamma": 10.0, "target": "kernel", "augment": "preserving"},
    "predict-alone": {**BEATS, "gamma": 100.0},  # the contrast drowned by the prediction
}
PIECE = 200  # steps between looks at the clock
CELL = ("method", "steps", "seed", "cpu_seconds", "loss", *(f"{k}_{f:g}" for k in ("embedding", "both")
                                                             for f in FRACTIONS))  # fmt: skip


def train_cell(store, folder: Path, config: Config, stop_at: float) -> float | None:
    """CPU seconds of the whole training, or None where the time was up before its end."""
    spent_file = folder.parent / "cpu_seconds"
    while True:
        spent = float(spent_file.read_text()) if spent_file.is_file() else 0.0
        begun = time.process_time()
        result = pretrain(store, folder, config, resume=True, stop_after=PIECE)
        spent += time.process_time() - begun
        spent_file.write_text(f"{spent:.2f}")
        if result.status == "finished":
            return spent
        if result.status == "interrupted" or time.monotonic() > stop_at:
            return None


def score(store, x: np.ndarray | None, out: Path, fold: int, inputs: str):
    values = np.zeros((len(store), 1)) if x is None else x
    return probe(None, store, embeddings=values, out=out, scheme=SCHEME, test_folds=[fold], fractions=FRACTIONS,
                 seeds=DRAWS, inputs=INPUTS[inputs], bootstrap=0, picture=False)  # fmt: skip


def one_cell(store, place: Path, method: str, config: Config, fold: int, stop_at: float) -> dict | None:
    place.mkdir(parents=True, exist_ok=True)
    spent = train_cell(store, place / "run", config, stop_at)
    if spent is None:
        return None
    x = embed(place / "run", store)
    row = {"method": method, "steps": config.steps, "seed": config.seed, "cpu_seconds": round(spent, 1)}
    for inputs in ("embedding", "both"):
        found = score(store, x, place, fold, inputs)
        row |= {f"{inputs}_{f:g}": found.macro(f)["auroc"] for f in FRACTIONS}
    for optimizer in (place / "run").glob("checkpoints/*/optimizer.pt"):  # nobody goes on with a finished cell
        optimizer.unlink()
    (place / "done").touch()
    return row


# ---- tables


def scores_of(places: list[Path], inputs: str) -> dict[int, ProbeScores]:
    """seed -> scores"""
    ending = "" if inputs == "embedding" else "_" + "+".join(INPUTS[inputs])
    return {int(p.name.removeprefix("seed")): ProbeScores.load(next(p.glob(f"probe_*_embeddings{ending}.npz")))
            for p in places}  # fmt: skip


def cells_of(out: Path) -> dict[tuple[str, int], list[Path]]:
    found: dict[tuple[str, int], list[Path]] = {}
    for done in sorted(out.glob("*/steps*/seed*/done")):
        method, steps, _ = done.parts[-4:-1]
        found.setdefault((method, int(steps.removeprefix("steps"))), []).append(done.parent)
    return dict(sorted(found.items(), key=lambda cell: (cell[0][1], cell[0][0])))


def mean_text(seeds: dict[int, ProbeScores], f: float) -> str:
    values = macro_auroc(list(seeds.values()), f).mean(0)
    return "{:.3f} ({:.3f} to {:.3f})".format(values[0], *interval(values[1:]))


def difference_text(a: dict[int, ProbeScores], b: dict[int, ProbeScores], f: float) -> str:
    common = sorted(set(a) & set(b)) or sorted(a)
    d, low, high = paired_difference([a[s] for s in common], [b[s] for s in common] if set(a) & set(b) else
                                     list(b.values()), f)  # fmt: skip
    return f"{d:+.3f} ({low:+.3f} to {high:+.3f})" + ("" if low > 0 or high < 0 else ", not distinguishable")


def tables(out: Path) -> str:
    cells = cells_of(out)
    features = {0: ProbeScores.load(next((out / "features").glob("probe_*_features.npz")))}
    seconds = {p: float((p / "cpu_seconds").read_text()) for places in cells.values() for p in places}
    head = " | ".join(f"{100 * f:g} %" for f in FRACTIONS)
    rule = "---|" * (4 + len(FRACTIONS))
    lines = [f"| probe on | steps | seeds | CPU s | {head} |", f"|{rule}"]
    lines.append(f"| features alone | | | | {' | '.join(mean_text(features, f) for f in FRACTIONS)} |")
    loaded = {}
    for inputs in ("embedding", "both"):
        for (method, steps), places in cells.items():
            s = loaded[method, steps, inputs] = scores_of(places, inputs)
            name = method if inputs == "embedding" else f"features + {method}"
            spent = np.mean([seconds[p] for p in places])
            texts = " | ".join(mean_text(s, f) for f in FRACTIONS)
            lines.append(f"| {name} | {steps} | {len(s)} | {spent:.0f} | {texts} |")
    lines += ["", f"| paired difference | steps | seeds | {head} |", f"|{rule.removesuffix('---|')}"]
    for (method, steps, inputs), s in loaded.items():
        prefix = "" if inputs == "embedding" else "features + "
        others = [("cmsc", loaded.get(("cmsc", steps, inputs)))] if method not in ("cmsc", "random") else []
        others.append(("features alone", features))
        for other, o in others:
            if o is None:
                continue
            name = other if other == "features alone" else prefix + other
            n = len(set(s) & set(o)) if other != "features alone" else len(s)
            texts = " | ".join(difference_text(s, o, f) for f in FRACTIONS)
            lines.append(f"| {prefix}{method} minus {name} | {steps} | {n} | {texts} |")
    n = next(iter(features.values()))
    tested = int(np.isfinite(n.scores[1.0, 0]).any(1).sum())
    return f"{tested} records of fold 9; 95 % intervals over patients and seeds\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, default=Path("curves"))
    parser.add_argument("--steps", type=int, nargs="+", default=[400, 1000, 3000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--fold", type=int, default=9, help="the fold that is kept out of the training and scored")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after about so long")
    parser.add_argument("--table", action="store_true", help="print the tables of the finished cells and stop")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="over the configuration of every run")
    args = parser.parse_args()
    if args.table:
        print(tables(args.out))
        return
    stop_at = time.monotonic() + 60 * args.minutes
    torch.set_num_threads(1)
    store = pc.data.open_store(args.store)
    if not list((args.out / "features").glob("*.npz")):
        score(store, None, args.out / "features", args.fold, "features")
    base = Config(**BASE, exclude_folds=[args.fold]).override(args.set)
    for steps in args.steps:
        for seed in args.seeds:
            for method in args.methods:
                if method == "random" and steps != args.steps[0]:
                    continue
                place = args.out / method / f"steps{0 if method == 'random' else steps}" / f"seed{seed}"
                if (place / "done").is_file():
                    continue
                if time.monotonic() > stop_at:
                    return
                place.parent.mkdir(parents=True, exist_ok=True)
                with open(place.with_suffix(".lock"), "w") as lock:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given up by a process that dies
                    except BlockingIOError:
                        continue  # another process is at it
                    config = base.replace(seed=seed, steps=steps, **METHODS[method])
                    row = one_cell(store, place, method, config, args.fold, stop_at)
                    if row is None:
                        return
                    add_row(args.out / "cells.csv", CELL, row)
                    print(row, flush=True)


if __name__ == "__main__":
    main()
