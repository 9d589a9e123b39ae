"""Which pretraining makes the best embeddings: every method with the same budget, patient cross-validation, one table.

    python benchmarks/representation/run.py DATA --out results/representation            # the quick form
    python benchmarks/representation/run.py DATA --out results/representation --full

DATA is a folder of WFDB records with PTB-XL among them, or a store. For each method, pretraining seed and test fold of
PTB-XL an encoder is pretrained without labels on all records but those of the fold, then a linear probe is fitted on
the labels of the other folds and scores the fold. The scores of all folds are judged together. Interrupt it at will:
what is done is kept, and the same command goes on; `--only METHOD` does a part of it, for several machines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import physioclr as pc
from physioclr.train import Config, pretrain, probe
from physioclr.train.compare import ProbeScores, macro_auroc, paired_difference, pool_folds
from physioclr.train.scores import interval

SCHEME = "ptbxl_superclass"
METHODS = {
    "random": {"method": "random"},
    "simclr": {"method": "simclr"},
    "cmsc": {"method": "cmsc"},
    "physioclr": {},
    "physioclr, mean pairs": {"pair_reduction": "mean"},
    "physioclr, no feature pairs": {"feature_pairs": False},
    "physioclr, no shuffle": {"shuffle": False},
    "physioclr, no reconstruction": {"alpha": 0.0, "beta": 0.0},
    "physioclr, no peak term": {"beta": 0.0},
    "physioclr, supcon": {"mode": "supcon"},
    "physioclr, soft": {"mode": "soft"},
}
QUICK = ("random", "cmsc", "physioclr")
INPUTS = (("embedding",), ("embedding", "features"))
ALONE = (("features",), ("demographics",))  # these do not depend on the encoder: done once, with "random"


def inputs_of(method: str) -> tuple[tuple[str, ...], ...]:
    return INPUTS + ALONE if method == "random" else INPUTS


def one_run(store, folder: Path, config: Config, fold: int, fractions: tuple[float, ...], draws: int) -> None:
    """Pretrain without a fold and score it; whatever of it is already there stays."""
    config = config.replace(exclude_folds=[fold])
    if not (folder / "done").is_file():
        result = pretrain(store, folder, config, resume=True)
        if result.status != "finished":
            raise SystemExit("interrupted; the same command goes on")
        for inputs in inputs_of(folder.parts[-3]):
            probe(
                folder, store, scheme=SCHEME, test_folds=[fold], fractions=fractions, seeds=draws, inputs=inputs,
                bootstrap=0,
            )  # fmt: skip
        (folder / "done").touch()


def gather(out: Path, method: str, inputs: tuple[str, ...], seeds: int, folds: list[int]) -> list[ProbeScores]:
    """The scores of a method, one for each pretraining seed, all folds together."""
    name = f"probe_*_{SCHEME}_linear" + ("" if inputs == ("embedding",) else f"_{'+'.join(inputs)}") + ".npz"
    return [
        pool_folds([ProbeScores.load(next((out / method / f"seed{s}" / f"fold{k}").glob(name))) for k in folds])
        for s in range(seeds)
    ]


def table(out: Path, methods: list[str], seeds: int, folds: list[int], fractions: tuple[float, ...]) -> str:
    """Macro AUROC of everything, and the differences from CMSC with the same inputs, as markdown."""
    lines = [
        "| encoder | probe on | labels | macro AUROC | 95 % interval | minus CMSC | 95 % interval | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for f in fractions:
        for method in methods:
            for inputs in inputs_of(method):
                scores = gather(out, method, inputs, seeds, folds)
                values = macro_auroc(scores, f).mean(0)
                low, high = interval(values[1:])
                row = [method if "embedding" in inputs else "-", " + ".join(inputs), f"{100 * f:g} %"]
                row += [f"{values[0]:.3f}", f"{low:.3f} to {high:.3f}"]
                if "cmsc" in methods and method != "cmsc":
                    base = gather(out, "cmsc", inputs if inputs in INPUTS else INPUTS[0], seeds, folds)
                    d, low, high = paired_difference(scores, base, f)
                    row += [
                        f"{d:+.3f}",
                        f"{low:+.3f} to {high:+.3f}",
                        "" if low > 0 or high < 0 else "not distinguishable",
                    ]
                else:
                    row += ["", "", ""]
                lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("representation"))
    parser.add_argument("--full", action="store_true", help="every method, all folds, 5 pretraining seeds, 20 draws")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, help="pretraining seeds (1; full: 5)")
    parser.add_argument("--folds", type=int, nargs="+", help="PTB-XL folds to score (1 2 3; full: all there are)")
    parser.add_argument("--only", choices=METHODS, help="do the runs of this method, without the table")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="over the configuration of every run")
    args = parser.parse_args()

    if (args.data / "store.json").is_file():
        store = pc.data.open_store(args.data)
    else:
        store = args.out / "store"
        if not (store / "store.json").is_file():
            print(pc.data.prepare(args.data, store, jobs=2))
        store = pc.data.open_store(store)
    known = sorted({int(k) for k in store.table["fold"] if k >= 0})
    folds = args.folds or (known if args.full else known[:3])
    seeds = args.seeds or (5 if args.full else 1)
    methods = [args.only] if args.only else list(METHODS if args.full else QUICK)
    fractions, draws = (0.1, 1.0), 20 if args.full else 5
    config = Config(steps=args.steps).override(args.set)
    todo = [(s, k, m) for s in range(seeds) for k in folds for m in methods]
    for n, (s, k, m) in enumerate(todo, 1):
        print(f"{n} of {len(todo)}: {m}, seed {s}, fold {k}", flush=True)
        folder = args.out / m / f"seed{s}" / f"fold{k}"
        one_run(store, folder, config.replace(seed=s, **METHODS[m]), k, fractions, draws)
    if args.only:
        return
    text = table(args.out, methods, seeds, folds, fractions)
    text = (
        f"PTB-XL superclasses, {len(store)} records for pretraining (less the test fold), folds {folds}, {seeds} "
        f"pretraining seeds, {draws} label draws, {args.steps} steps, {torch.get_num_threads()} threads\n\n{text}\n"
    )
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
