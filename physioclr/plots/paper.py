"""Colours, and figures that need neither pyplot nor a display."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

PAPER, FINE, BOLD, INK = "#fffaf7", "#f7d9d2", "#eaa79b", "#1b1b1b"
WAVES = {"P": ("p_on", "p_off", "#2b6cb0"), "QRS": ("qrs_on", "qrs_off", "#c53030"), "T": ("t_on", "t_off", "#2f855a")}
MM = 1 / 25.4  # inches


def figure_of(width_mm: float, height_mm: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_mm * MM, height_mm * MM), dpi=150)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=figure.get_facecolor())
    return path
