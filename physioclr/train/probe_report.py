"""What a probe leaves: its table, its picture, and the scores with which two probes are compared."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .compare import ProbeScores
from .files import write_atomically
from .judge import ALL_SEEDS, MACRO, Task
from .run import Run
from .splits import Split
from .vectors import GivenEmbeddings

COLUMNS = (
    "method", "inputs", "protocol", "scheme", "fraction", "seed", "class", "train_records", "train_positives",
    "test_records", "test_positives", "auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high",
)  # fmt: skip


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

    def save(self) -> None:
        """Write the scores, the table, and the picture where one is wanted."""
        self.scores.save(self.csv.with_suffix(".npz"))
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.csv, text.getvalue())
        if self.picture is not None:
            draw_probe(self, self.picture)


def report(
    run: Run | GivenEmbeddings, store: Any, task: Task, split: Split, scores: dict, rows: list[dict[str, Any]],
    left_out: dict[float, list[str]], *, folder: Path, inputs: Sequence[str], protocol: str, picture: bool,
) -> ProbeResult:  # fmt: skip
    """The result in its files' names; the folder is made."""
    finetune = protocol == "finetune"
    head = {
        "method": run.name, "inputs": "signal" if finetune else "+".join(inputs),
        "protocol": protocol, "scheme": task.scheme,
    }  # fmt: skip
    name = f"probe_{Path(store.path).name}_{task.scheme}_{protocol}" + "_transfer" * split.across
    name = name if isinstance(run, Run) else f"{name}_{run.name}"
    name += "" if tuple(inputs) == ("embedding",) else f"_{head['inputs']}"
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.asarray(store.table["record_id"])[task.records]
    return ProbeResult(
        rows=[{**head, **row} for row in rows],
        left_out=left_out,
        notes=reader_notes(run, store, task.records[split.scored], left_out),
        scores=ProbeScores(scores, ids, task.y, task.groups, task.classes, left_out),
        csv=folder / f"{name}.csv",
        picture=folder / f"{name}.png" if picture else None,
    )


def reader_notes(
    run: Run | GivenEmbeddings, store: Any, tested: np.ndarray, left_out: dict[float, list[str]]
) -> list[str]:
    """What a reader must know: classes left out, and records that the pretraining saw."""
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
