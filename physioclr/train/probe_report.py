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

from ..data.ptbxl import without_rate
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
    run: Run | GivenEmbeddings, store: Any, task: Task, split: Split, scores: dict[tuple[float, int], np.ndarray],
    rows: list[dict[str, Any]],
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
    trained = {without_rate(i) for i in run.record_ids}
    seen = sum(without_rate(str(i)) in trained for i in np.asarray(store.table["record_id"])[tested])
    if seen:
        notes.append(f"{seen} of the {len(tested)} scored records were in the pretraining (without their labels)")
    return notes


def draw_probe(result: ProbeResult | Sequence[ProbeResult], path: Path) -> None:
    """Macro AUROC against the fraction of labels, and the AUROC of each class at the largest one, with 95 % intervals.

    Several results share one picture. The axes run from chance, 0.5, or the lowest figure below it, to 1, whatever is
    drawn, so that two pictures can be laid side by side.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = [result] if isinstance(result, ProbeResult) else list(result)
    names = list(dict.fromkeys(c for r in results for c in _largest(r)[1]))
    figure = Figure(figsize=(9, max(4.0, 1.6 + 0.16 * len(names) * (1 + len(results)))), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    places = {name: k for k, name in enumerate(reversed(names))}
    lowest, step = 0.5, 0.7 / len(results)
    fractions: set[float] = set()
    for a, one in enumerate(results):
        head = one.rows[0]
        colour, label = f"C{a}", f"{head['method']}, {head['protocol']}, {head['inputs']}"
        macro = [r for r in one.rows if r["seed"] == ALL_SEEDS and r["class"] == MACRO and math.isfinite(r["auroc"])]
        x = [100 * r["fraction"] * 1.04 ** (a - (len(results) - 1) / 2) for r in macro]  # bars beside each other
        style = {"color": colour, "marker": "o", "capsize": 3}
        if macro:
            left.errorbar(x, [r["auroc"] for r in macro], yerr=_reach(macro), label=label, **style)
        classes = list(_largest(one)[1].values())
        y = [places[r["class"]] + ((len(results) - 1) / 2 - a) * step for r in classes]
        if classes:
            right.errorbar([r["auroc"] for r in classes], y, xerr=_reach(classes), linestyle="none", **style)
        fractions |= {r["fraction"] for r in macro}
        lowest = min([lowest, *(r["auroc_low"] for r in (*macro, *classes) if math.isfinite(r["auroc_low"]))])
    if fractions:
        left.set_xscale("log")
        left.set_xticks([100 * f for f in sorted(fractions)], [f"{100 * f:g} %" for f in sorted(fractions)])
        left.minorticks_off()
        if left.get_legend_handles_labels()[0]:
            left.legend(frameon=False, fontsize=8)
    left.set_xlabel("labels used")
    left.set_ylabel("macro AUROC, 95 % interval")
    left.set_ylim(lowest - 0.02, 1.0)
    left.grid(alpha=0.3)
    right.set_yticks(list(places.values()), list(places), fontsize=8)
    right.axvline(0.5, color="grey", linewidth=1)
    right.set_xlim(lowest - 0.02, 1.0)
    right.grid(alpha=0.3, axis="x")
    largest = sorted({_largest(r)[0] for r in results})
    right.set_xlabel(f"AUROC at {', '.join(f'{100 * f:g} %' for f in largest)} of the labels, 95 % interval")
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)


def _largest(result: ProbeResult) -> tuple[float, dict[str, dict[str, Any]]]:
    """The largest fraction that was scored, and the rows of its classes by name."""
    pooled = [r for r in result.rows if r["seed"] == ALL_SEEDS and math.isfinite(r["auroc"])]
    largest = max((r["fraction"] for r in pooled), default=1.0)
    return largest, {r["class"]: r for r in pooled if r["fraction"] == largest and r["class"] != MACRO}


def _reach(rows: list[dict[str, Any]]) -> np.ndarray:
    """(2, n): how far the interval reaches below and above the figure."""
    reach = [[r["auroc"] - r["auroc_low"] for r in rows], [r["auroc_high"] - r["auroc"] for r in rows]]
    return np.nan_to_num(np.maximum(reach, 0))
