"""The table of PhysioCLR's paper: pretrain on large sets, judge on Chapman and Georgia, beside its baselines.

    python benchmarks/representation/paper.py --pretrain DIR... --chapman DIR --georgia DIR --out OUT [--config FILE]
    torchrun --nproc-per-node 4 benchmarks/representation/paper.py ...          # pretraining on all, the rest on one
    python benchmarks/representation/paper.py ... --small                       # the whole way in minutes, on a CPU

DIR are folders of recordings (docs/reading.md): MIMIC-IV-ECG and the Challenge 2021 for --pretrain. Of --chapman and
--georgia the records of that source are judged, and they are in no pretraining. Every method has the same encoder
(12 x 768 transformer, or that of --config), records, epochs and batch. 26 merged labels of the Challenge; folds by
patient; a linear probe on the frozen encoder and fine-tuning, both with binary cross-entropy whose positives weigh
negatives / positives; AUROC and AUPRC, macro and by class. One cell is one encoder, or one encoder judged on one target
in one way: interrupt it at will, the same command does what is missing. docs/reproduce.md says what differs from the
paper and what is unknown.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

import physioclr as pc
from physioclr import nn
from physioclr.ops.augment.plan import AmplitudeScale, Augment, TimeMask, VcgRotation
from physioclr.train import Config, Method, open_run, pretrain
from physioclr.train.compare import ProbeScores, paired_difference
from physioclr.train.dataset import group_ids, network_input
from physioclr.train.finetune import FineTuner
from physioclr.train.judge import ALL_SEEDS, MACRO, Task, judge, run_trials
from physioclr.train.labelled import labelled_records
from physioclr.train.linear import LinearProbe
from physioclr.train.probe_report import COLUMNS
from physioclr.train.representation import represent
from physioclr.train.splits import Split, patient_folds

SCHEME = "cinc2021"
TARGETS = {"chapman": "chapman_ningbo", "georgia": "georgia"}  # target -> the source that its records have
SMALL = {"width": 64, "layers": 2, "heads": 4, "ffn": 128, "steps": 60, "accumulate": 1, "lr": 1e-3, "amp": False,
         "log_every": 10, "checkpoint_every": 1000}  # fmt: skip


class ThreeKG(Method):
    """3KG's views (Gopal et al. 2021): the vectorcardiogram rotated by up to 45 degrees and scaled by 1 to 1.5, a fifth
    of the time masked; NT-Xent, rows of one patient are no negatives of each other.
    """

    plan = Augment(
        vcg_rotation=VcgRotation(p=1.0, angle=(-45.0, 45.0)),
        amplitude_scale=AmplitudeScale(p=1.0, gain=(1.0, 1.5)),
        time_mask=TimeMask(p=1.0, duration=(1.0, 1.0), spans=(1, 1), most=0.2),
    )

    def views(self, batch, draw):
        with torch.no_grad():
            seeds = [draw.seed(view) for view in (0, 1)]
            out, _ = pc.augment(batch.ecg, self.plan, fs=draw.fs, seed=seeds, sample_id=batch.sample_id,
                                rpeaks=batch.rpeaks)  # fmt: skip
            return network_input(out, draw.sd).unbind()

    def loss(self, out, batch):
        a, b = out.embeddings
        return nn.nt_xent(a, b, batch.group, tau=self.config.tau, process_group=self.process_group)


# name -> (method, changes of the configuration)
METHODS = {
    "random": ("random", {}),
    "simclr": ("simclr", {"augment": "preserving"}),
    "cmsc": ("cmsc", {}),
    "3kg": (ThreeKG, {}),
    "physioclr": ("physioclr", {}),
}
BASELINES = {"linear": ["random", "simclr", "cmsc", "3kg"], "finetune": ["supervised", "simclr", "cmsc", "3kg"]}


# ---- stores


def prepared(dest: Path, src: Path, fs: float, jobs: int):
    """The store, made by the first process; the others wait for it."""
    if int(os.environ.get("RANK", 0)) == 0:
        print(pc.data.prepare(src, dest, fs=fs, jobs=jobs, follow_links=True), flush=True)
    while not (dest / "store.json").is_file():
        time.sleep(5)
    return pc.data.open_store(dest)


def pretraining_store(args: argparse.Namespace):
    """One store of all folders of --pretrain, by way of a folder of links to them."""
    links = args.out / "pretrain-sources"
    if int(os.environ.get("RANK", 0)) == 0:
        links.mkdir(parents=True, exist_ok=True)
        for k, folder in enumerate(args.pretrain):
            link = links / f"{k}-{folder.resolve().name}"
            if not link.is_symlink():
                link.symlink_to(folder.resolve(), target_is_directory=True)
    return prepared(args.out / "stores" / "pretrain", links, args.fs, args.jobs)


def of_source(store, source: str) -> np.ndarray:
    return np.flatnonzero(np.asarray(store.table["source"]).astype(str) == source)


# ---- cells


def run_folder(args: argparse.Namespace, name: str, seed: int) -> Path:
    return args.out / "runs" / f"{name}-seed{seed}"


def train_all(args: argparse.Namespace, base: Config) -> bool:
    """Every encoder that is not finished; whether all are."""
    todo = [(s, name) for s in range(args.seeds) for name in args.methods]
    todo = [(s, n) for s, n in todo if not (run_folder(args, n, s) / "done").is_file()]
    if not todo:
        return True
    store = pretraining_store(args)
    records = np.flatnonzero(~np.isin(np.asarray(store.table["source"]).astype(str), list(TARGETS.values())))
    for seed, name in todo:
        folder = run_folder(args, name, seed)
        method, changes = METHODS[name]
        kind = changes | ({"method": method} if isinstance(method, str) else {})
        config = base.replace(seed=seed, **kind)
        own = None if isinstance(method, str) else method
        print(f"pretraining {name}, seed {seed}, on {len(records)} records", flush=True)
        result = pretrain(store, folder, config, resume=True, records=records, method=own)
        print(result, flush=True)
        if result.status != "finished":
            return False
        (folder / "done").touch()
    return True


def judge_cell(args: argparse.Namespace, store, target: str, name: str, seed: int, protocol: str) -> None:
    """One encoder on one target in one way: CSV of all figures, and the scores of every record."""
    place = args.out / "cells" / f"{target}-{protocol}-{name}-seed{seed}.csv"
    if place.is_file():
        return
    begun = time.monotonic()
    # supervised training has the encoder's fresh weights, as the random one, and all of its budget for the labels
    run = open_run(run_folder(args, "random" if name == "supervised" else name, seed))
    _, classes, records, y = labelled_records(store, SCHEME, of_source(store, TARGETS[target]))
    task = Task(SCHEME, classes, records, y, group_ids(store, records))
    fold = patient_folds(task.y, task.groups, args.folds)
    if protocol == "linear":
        fit = LinearProbe(represent(run, store, records, ("embedding",)), args.c)
    else:
        fit = FineTuner(run, store, records, args.epochs)
    trials = run_trials(fit, task, Split(fold, np.arange(args.folds)), [(1.0, seed)], args.min_positives)
    rows, left_out = judge(trials, task, args.min_positives, 1000)
    ids = np.asarray(store.table["record_id"])[records]
    place.parent.mkdir(parents=True, exist_ok=True)
    ProbeScores(trials.scores, ids, task.y, task.groups, classes, left_out).save(place.with_suffix(".npz"))
    head = {"method": name, "inputs": "embedding", "protocol": protocol, "scheme": SCHEME}
    temporary = place.with_suffix(".part")
    with open(temporary, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**head, **row} for row in rows if row["seed"] != ALL_SEEDS)
    temporary.replace(place)  # last: a cell that has it is whole
    print(f"{place.stem}: {time.monotonic() - begun:.0f} s", flush=True)


# ---- the table


def cells_of(out: Path, target: str, protocol: str) -> dict[str, dict[int, Path]]:
    found: dict[str, dict[int, Path]] = {}
    for path in sorted((out / "cells").glob(f"{target}-{protocol}-*.csv")):
        name, _, seed = path.stem.removeprefix(f"{target}-{protocol}-").rpartition("-seed")
        found.setdefault(name, {})[int(seed)] = path
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def table(out: Path) -> str:
    lines = []
    for target in TARGETS:
        for protocol, baselines in BASELINES.items():
            cells = cells_of(out, target, protocol)
            if not cells:
                continue
            first = rows_of(next(iter(next(iter(cells.values())).values())))
            kept = [r["class"] for r in first if r["class"] != MACRO]
            if not kept:
                lines += [
                    f"{target}, {protocol}: {first[-1]['test_records']} records, too few positives of any class",
                    "",
                ]
                continue
            lines += [f"{target}, {protocol}: {first[-1]['test_records']} records, {len(kept)} classes with enough of "
                      f"them ({', '.join(kept)})", "", "| method | seeds | AUROC | AUPRC | physioclr minus it, AUROC |",
                      "|---|---|---|---|---|"]  # fmt: skip
            scores = {n: {s: ProbeScores.load(p.with_suffix(".npz")) for s, p in c.items()} for n, c in cells.items()}
            for name in [n for n in dict.fromkeys((*baselines, *METHODS)) if n in cells]:
                if name in baselines or name not in BASELINES["linear"]:
                    macro = [r for p in cells[name].values() for r in rows_of(p) if r["class"] == MACRO]
                    texts = [_mean(macro, what) for what in ("auroc", "auprc")]
                    difference = _difference(scores, name)
                    lines.append(f"| {name} | {len(macro)} | {' | '.join(texts)} | {difference} |")
            lines += ["", "| class | " + " | ".join(cells) + " |", "|---|" + "---|" * len(cells)]
            for c in kept:
                means = []
                for seeds in cells.values():
                    of = [r for p in seeds.values() for r in rows_of(p) if r["class"] == c]
                    means.append(" / ".join(f"{np.mean([float(r[k]) for r in of]):.3f}" for k in ("auroc", "auprc")))
                lines.append(f"| {c} | {' | '.join(means)} |")
            lines.append("")
    return "\n".join(lines)


def _mean(rows: list[dict[str, str]], what: str) -> str:
    """Mean over the seeds, and of the bounds of their intervals over patients."""
    value, low, high = (np.mean([float(r[f"{what}{end}"]) for r in rows]) for end in ("", "_low", "_high"))
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _difference(scores: dict[str, dict[int, ProbeScores]], name: str) -> str:
    common = sorted(set(scores.get("physioclr", {})) & set(scores[name]))
    if name == "physioclr" or not common:
        return ""
    d, low, high = paired_difference(*([scores[n][s] for s in common] for n in ("physioclr", name)), 1.0)
    return f"{d:+.3f} ({low:+.3f} to {high:+.3f})" + ("" if low > 0 or high < 0 else ", not distinguishable")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrain", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--chapman", type=Path, metavar="DIR")
    parser.add_argument("--georgia", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("paper"))
    parser.add_argument("--config", default="published", help="a YAML file or a name, as of `physioclr pretrain`")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="over the configuration of every run")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--small", action="store_true", help="100 Hz, a transformer of 2 x 64, 60 steps, 2 folds")
    parser.add_argument("--fs", type=float, help="of the stores, Hz (500; small: 100)")
    parser.add_argument("--seeds", type=int, help="pretraining seeds (3; small: 1)")
    parser.add_argument("--folds", type=int, help="of patients, each scored once (5; small: 2)")
    parser.add_argument("--epochs", type=int, help="of fine-tuning (20; small: 3)")
    parser.add_argument("--c", type=float, default=0.01, help="inverse strength of the linear probe's penalty")
    parser.add_argument("--min-positives", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    for name, full, small in (("fs", 500.0, 100.0), ("seeds", 3, 1), ("folds", 5, 2), ("epochs", 20, 3)):
        if getattr(args, name) is None:
            setattr(args, name, small if args.small else full)
    if "random" not in args.methods:
        args.methods.insert(0, "random")  # supervised training begins with its weights
    base = Config.load(args.config)
    base = (base.replace(**SMALL) if args.small else base).override(args.set)
    if not train_all(args, base):
        sys.exit("interrupted; the same command goes on")
    if int(os.environ.get("RANK", 0)):
        return
    for target, folder in (("chapman", args.chapman), ("georgia", args.georgia)):
        if folder is None:
            continue
        store = prepared(args.out / "stores" / target, folder, args.fs, args.jobs)
        for seed in range(args.seeds):
            for protocol in BASELINES:
                for name in [*args.methods, *(["supervised"] if protocol == "finetune" else [])]:
                    if not (protocol == "finetune" and name == "random"):  # that is supervised training
                        judge_cell(args, store, target, name, seed, protocol)
    text = table(args.out)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
