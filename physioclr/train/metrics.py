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
