"""metrics.csv and the picture of the loss."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from .checkpoint import write_atomically

COLUMNS = (
    "step", "epoch", "loss", "contrastive", "reconstruction", "peak", "prediction", "positives", "negatives", "skipped",
    "alignment", "uniformity", "lr", "grad_norm", "segments_per_s", "seconds",
)  # fmt: skip


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv as numbers; a line cut short by a kill is left out."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as f:
        rows = [row for row in csv.reader(f) if len(row) == len(COLUMNS)]
    return [{k: float(v) if v else math.nan for k, v in zip(COLUMNS, row, strict=True)} for row in rows[1:]]


class MetricsFile:
    """Appends a row each time; on a resumed run the rows after `step` go first, so that none appears twice."""

    def __init__(self, path: Path, step: int = 0):
        rows = [_texts(row) for row in read_metrics(path) if row["step"] <= step]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
        write_atomically(path, text.getvalue())
        self._file = open(path, "a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, row: dict[str, Any]) -> None:
        self._writer.writerow(_texts(row))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _texts(row: dict[str, Any]) -> list[str]:
    def text(value: Any) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))

    return [text(row.get(k)) for k in COLUMNS]


def draw_loss(rows: list[dict[str, float]], path: Path, title: str = "") -> None:
    """The loss and its terms against the step, as a PNG. Needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in ("loss", "contrastive", "reconstruction", "peak", "prediction"):
        points = [(row["step"], row[name]) for row in rows if math.isfinite(row[name])]
        if points and (name == "loss" or any(y != 0 for _, y in points)):
            axes.plot(*zip(*points, strict=True), label=name, linewidth=2 if name == "loss" else 1)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss")
    axes.set_title(title)
    if axes.lines:
        axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
