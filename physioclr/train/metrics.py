"""metrics.csv and the picture of the loss."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from .._files import DamagedFile
from .files import write_atomically

COLUMNS = (
    "step", "epoch", "loss", "contrastive", "reconstruction", "peak", "prediction", "positives", "negatives", "skipped",
    "alignment", "uniformity", "lr", "grad_norm", "segments_per_s", "seconds",
)  # fmt: skip


TERMS = ("loss", "contrastive", "reconstruction", "peak", "prediction")  # of the picture: the sum, and what is added

NOT_SHOWN = ("steps",)  # of what `progress` gets


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv as numbers; a line cut short by a kill is left out.

    Raises:
        DamagedFile: it is no table of metrics, or a cell is no number.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[list[str], list[dict[str, float]]]:
    """Names of the columns, which are COLUMNS and then those of a method's own terms, and the rows."""
    if not path.exists():
        return list(COLUMNS), []
    try:
        with open(path, newline="", encoding="utf-8") as f:
            lines = list(csv.reader(f))
    except (ValueError, csv.Error) as e:
        raise DamagedFile(path, f"it is no table ({e})") from None
    columns = lines[0] if lines else []
    if tuple(columns[: len(COLUMNS)]) != COLUMNS:
        raise DamagedFile(path, "its first line is not that of metrics.csv")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(columns):
            continue
        row = {}
        for k, v in zip(columns, cells, strict=True):
            try:
                row[k] = float(v) if v else math.nan
            except ValueError:
                raise DamagedFile(path, f"line {number}, field {k} is {v!r}; it must be a number") from None
        rows.append(row)
    return columns, rows


class MetricsFile:
    """Appends a row each time; on a resumed run the rows after `step` go first, so that none appears twice.

    What a row has beside COLUMNS, the terms of a method of the user's own, gets columns behind them.
    """

    def __init__(self, path: Path, step: int = 0):
        self.path = path
        self.columns, rows = _read(path)
        self._begin([row for row in rows if row["step"] <= step])

    def _begin(self, rows: list[dict[str, float]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *(self._texts(row) for row in rows)])
        write_atomically(self.path, text.getvalue())
        self._file = open(self.path, "a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, row: dict[str, Any]) -> None:
        more = [k for k in row if k not in self.columns and k not in NOT_SHOWN]
        if more:
            self.close()
            rows = read_metrics(self.path)
            self.columns += more
            self._begin(rows)
        self._writer.writerow(self._texts(row))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _texts(self, row: dict[str, Any]) -> list[str]:
        return [_text(row.get(k)) for k in self.columns]


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def draw_loss(
    rows: list[dict[str, float]], path: Path, title: str = "", weights: dict[str, float] | None = None
) -> None:
    """The loss and its terms against the step, as a PNG; no file where no step was made. Needs no display.

    weights: of the terms, 1 where not named. Each is drawn with its weight, so that they add up to the loss.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not any(math.isfinite(row["loss"]) for row in rows):
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in TERMS:
        weight = 1.0 if name == "loss" else (weights or {}).get(name, 1.0)
        points = [(row["step"], weight * row[name]) for row in rows if math.isfinite(row[name])]
        if points and (name == "loss" or any(y != 0 for _, y in points)):
            label = name if weight == 1 else f"{weight:g} x {name}"
            marker = "o" if len(points) == 1 else None
            axes.plot(*zip(*points, strict=True), marker=marker, label=label, linewidth=2 if name == "loss" else 1)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss = sum of the terms" if len(axes.lines) > 2 else "loss")
    axes.set_title(title)
    if any(row["contrastive"] < 0 for row in rows):
        axes.axhline(0.0, color="grey", linewidth=0.8)
        note = "below 0 is no fault: the ratio of negatives to positives is below 1"
        axes.annotate(note, (0.01, 0.02), xycoords="axes fraction", fontsize=8, color="grey")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
