"""The ECG on its paper: leads in a layout, R peaks, wave boundaries, intervals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..ops._checks import STANDARD_LEADS
from ..ops._types import Delineation
from .paper import BOLD, FINE, INK, PAPER, WAVES, figure_of, save

ROW_MV = 2.0  # height of a lead's row: 20 mm of paper
LAYOUTS = {"6x2": 2, "3x4": 4, "12x1": 1}  # columns


def intervals(delineation: Delineation[Any], rpeaks: np.ndarray | Sequence[int], fs: float) -> dict[str, float]:
    """Median rate (per minute) and PR, QRS, QT and QTc (Fridericia) in ms of one record; NaN where none was found.

    Args:
        delineation: eight (P,) arrays of sample indices, -1 for an absent wave.
        rpeaks: (P,) sample indices, -1 padded.
        fs: sampling rate, Hz.
    """
    d = {k: np.asarray(v, dtype=float) for k, v in delineation._asdict().items()}
    d = {k: np.where(v >= 0, v, np.nan) * 1000 / fs for k, v in d.items()}
    r = np.asarray(rpeaks)
    r = r[r >= 0] * 1000 / fs

    def middle(x: np.ndarray) -> float:
        x = x[np.isfinite(x)]
        return float(np.median(x)) if len(x) else float("nan")

    rr, qt = middle(np.diff(r)), middle(d["t_off"] - d["qrs_on"])
    return {
        "rate": 60000 / rr,
        "PR": middle(d["qrs_on"] - d["p_on"]),
        "QRS": middle(d["qrs_off"] - d["qrs_on"]),
        "QT": qt,
        "QTc": qt / (rr / 1000) ** (1 / 3),
    }


def _describe(values: Mapping[str, float]) -> str:
    parts = [f"{values['rate']:.0f} /min"] if np.isfinite(values["rate"]) else []
    parts += [f"{k} {values[k]:.0f} ms" for k in ("PR", "QRS", "QT", "QTc") if np.isfinite(values[k])]
    return ", ".join(parts)


def _about_zero(piece: np.ndarray) -> np.ndarray:
    return piece - (np.nanmedian(piece) if np.isfinite(piece).any() else 0.0)


def _gain(pieces: Sequence[tuple[float, int, np.ndarray]], height: float, near: int) -> float:
    """1 for 10 mm/mV; 0.5 or 0.25 where a lead would run into the one below it, or off the paper.

    pieces: (row, first sample, mV about 0) of each lead drawn. near: samples within which two traces meet for the eye.
    """
    spans = []
    for row, first, x in pieces:
        blocks = {}
        for t in range(-(-first // near) * near, first + len(x), near):
            piece = x[t - first : t - first + near]
            if np.isfinite(piece).any():
                blocks[t] = np.nanmin(piece), np.nanmax(piece)
        spans.append((row, blocks))

    def fits(gain: float) -> bool:
        for row, blocks in spans:
            base = -(row + 0.5) * ROW_MV
            if any(base + gain * low < -height or base + gain * high > 1.3 for low, high in blocks.values()):
                return False
            for other, below in spans:
                if 0 < other - row < 1.5:
                    room = (other - row) * ROW_MV
                    meet = blocks.keys() & below.keys()
                    if any(gain * (below[t][1] - blocks[t][0]) > room for t in meet):
                        return False
        return True

    return next((gain for gain in (1.0, 0.5) if fits(gain)), 0.25)


class _Labels:
    """Names of leads, each where no trace runs, as near as can be to the beginning of its own."""

    def __init__(self) -> None:
        self.traces: list[tuple[np.ndarray, np.ndarray]] = []

    def free(self, x: float, y: float, width: float) -> bool:
        """Whether the box from (x, y), 3.4 mm high, meets no trace."""
        for t, v in self.traces:
            inside = v[(t > x - 0.03) & (t < x + width + 0.03)]
            inside = inside[np.isfinite(inside)]
            if len(inside) and inside.min() < y + 0.4 and inside.max() > y - 0.06:
                return False
        return True

    def place(self, start: float, base: float, text: str) -> tuple[float, float]:
        width = 0.04 + 0.09 * len(text)
        tries = [(start + dx, base + dy) for dx in np.arange(0.05, 2.0, 0.1) for dy in (0.65, 0.45, 0.25)]
        return next((at for at in tries if self.free(*at, width)), tries[0])


def plot_ecg(
    path: str | os.PathLike[str],
    ecg: np.ndarray,
    fs: float,
    *,
    rpeaks: np.ndarray | None = None,
    delineation: Delineation[Any] | None = None,
    leads: Sequence[str] = STANDARD_LEADS,
    rhythm: int | None = None,
    title: str = "",
    start: float = 0.0,
    seconds: float = 10.0,
    patient: str = "",
    filters: str = "no filter",
    layout: str = "6x2",
) -> Path:
    """Draws an ECG on paper at 25 mm/s and 10 mm/mV, with R peaks, waves and intervals.

    Where leads would run over each other or off the paper it takes 5 or 2.5 mm/mV and says so. Before each row stands
    the calibration pulse, 1 mV for 0.2 s; a bar between the columns says that the lead changes.

    Args:
        path: the PNG, SVG or PDF to write.
        ecg: (L, T), mV; NaN leaves a gap.
        fs: sampling rate, Hz.
        rpeaks: (P,) R peaks as sample indices, -1 padded; ticks on every lead, marks on the strip.
        delineation: wave boundaries of the strip's lead, eight (P,) arrays; shaded, intervals in the title.
        leads: L names.
        rhythm: which lead the strip shows; lead II of a 12-lead record, else the first.
        title: printed above, before the intervals.
        start, seconds: the stretch to draw, s; at most 10 s. The axis counts from the beginning of `ecg`.
        patient, filters: printed below: who, and what was done to the signal before.
        layout: "6x2" leads in two columns, 5 s each; "3x4" in four, 2.5 s each; below them the rhythm strip. "12x1"
            every lead over the whole stretch, the waves in the row of the rhythm lead.

    Raises:
        ValueError: an unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; it must be one of {', '.join(map(repr, LAYOUTS))}")
    ecg = np.atleast_2d(np.asarray(ecg, dtype=float))
    n_leads = len(ecg)
    if len(leads) != n_leads:
        leads = [f"lead {i + 1}" for i in range(n_leads)]
    rhythm = (1 if n_leads == 12 else 0) if rhythm is None else rhythm
    seconds = min(seconds, 10.0)
    a = round(start * fs)
    b = min(a + round(seconds * fs), ecg.shape[1])
    columns = LAYOUTS[layout] if n_leads > 1 else 0
    rows = -(-n_leads // columns) if columns else 0
    strip = columns != 1
    height = (rows + 1.5 * strip) * ROW_MV
    edges = [a + (b - a) * k // max(columns, 1) for k in range(columns + 1)]
    parts = [(k, float(k % rows), *edges[k // rows : k // rows + 2]) for k in range(n_leads if columns else 0)]
    long = (rhythm, rows + 0.25 if strip else float(rhythm), a, b)
    drawn = [*parts, long] if strip else parts
    gain = _gain([(row, t0, _about_zero(ecg[lead, t0:t1])) for lead, row, t0, t1 in drawn], height, round(0.1 * fs))
    left, right = -0.48, seconds + 0.2
    figure = figure_of((right - left) * 25, height * 10 + 24)
    figure.set_facecolor(PAPER)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(left, right), ylim=(-height - 1.0, 1.4))
    axes.set_axis_off()
    for step, colour, width in ((1, FINE, 0.3), (5, BOLD, 0.5)):
        across = np.arange(-10, round(right * 25) + 1, step) * 0.04
        axes.vlines(across, -height, 1.0, colour, linewidth=width, zorder=0.5)
        up = np.arange(-round(height * 10), 11, step) * 0.1
        axes.hlines(up, -0.4, right, colour, linewidth=width, zorder=0.5)
    for second in range(int(seconds) + 1):
        axes.text(second, -height - 0.08, f"{start + second:g} s", fontsize=7, color=INK, ha="center", va="top")

    labels = _Labels()
    for lead, row, t0, t1 in drawn:
        base = _base(row)
        labels.traces.append(((np.arange(t0, t1) - a) / fs, base + gain * _about_zero(ecg[lead, t0:t1])))
        axes.plot(*labels.traces[-1], color=INK, linewidth=0.7)
        if t0 == a:  # the pulse of its row
            pulse = base + gain * np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
            axes.plot([-0.36, -0.32, -0.32, -0.12, -0.12, -0.08], pulse, color=INK, linewidth=0.7)
        else:
            axes.vlines((t0 - a) / fs, base - 0.4, base + 0.4, INK, linewidth=1.0)
    for lead, row, t0, _ in drawn:
        _name(axes, labels, (t0 - a) / fs, _base(row), leads[lead])

    peaks = np.empty(0, int) if rpeaks is None else np.asarray(rpeaks)
    peaks = peaks[(peaks >= a) & (peaks < b)]
    for _, row, t0, t1 in parts:
        inside = peaks[(peaks >= t0) & (peaks < t1)]
        axes.vlines((inside - a) / fs, _base(row) - 0.9, _base(row) - 0.8, WAVES["QRS"][2], linewidth=0.8)
    base, top = _base(long[1]), 1.15 if strip else 0.95
    if len(peaks):
        y = np.full(len(peaks), base + top)
        axes.plot((peaks - a) / fs, y, "v", color=WAVES["QRS"][2], markersize=4, label="R peak")
    if delineation is not None:
        _shade(axes, delineation, a, b, fs, base - 0.9, base + top - 0.15)
        found = intervals(delineation, [] if rpeaks is None else rpeaks, fs)
        title = "   ".join(filter(None, (title, _describe(found))))
    axes.text(-0.1, 1.1, title, fontsize=9, color=INK, parse_math=False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.0), ncols=4, fontsize=7, frameon=False)
    scale = f"25 mm/s   {10 * gain:g} mm/mV" + (", smaller than usual: leads would overlap" if gain < 1 else "")
    below = "   ".join(filter(None, (scale, filters, patient)))
    axes.text(-0.4, -height - 0.75, below, fontsize=7, color=INK, parse_math=False)
    return save(figure, path)


def _base(row: float) -> float:
    """The height of a row's zero line, mV at 10 mm/mV."""
    return -(row + 0.5) * ROW_MV


def _name(axes: Any, labels: _Labels, start: float, base: float, text: str) -> None:
    """The name of a lead, on a halo, should a trace run there after all."""
    from matplotlib.patheffects import withStroke

    at = labels.place(start, base, text)
    halo = [withStroke(linewidth=2.5, foreground=PAPER)]
    axes.text(*at, text, fontsize=9, weight="bold", color=INK, parse_math=False, path_effects=halo, zorder=4)


def _shade(axes: Any, delineation: Delineation[Any], a: int, b: int, fs: float, low: float, high: float) -> None:
    """P, QRS and T of the samples from a to b, each with its colour."""
    for name, (on, off, colour) in WAVES.items():
        spans = np.stack([np.asarray(getattr(delineation, on)), np.asarray(getattr(delineation, off))], 1)
        spans = spans[(spans >= a).all(1) & (spans < b).all(1)]
        for k, (s, e) in enumerate((spans - a) / fs):
            label = name if k == 0 else None
            axes.fill_between([s, e], low, high, color=colour, alpha=0.18, linewidth=0, label=label)


def _patient(comments: Sequence[str]) -> str:
    """Age and sex as the header states them."""
    from ..data.metadata import parse_age, parse_sex

    stated = {k.strip(" <>#").lower(): v for k, _, v in (c.partition(":") for c in comments)}
    age, sex = parse_age(stated.get("age", "")), parse_sex(stated.get("sex", ""))
    return ", ".join(filter(None, (f"{age:g} years" if age is not None else "", sex)))


def draw_record(
    record: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    start: float = 0.0,
    layout: str = "6x2",
    patient: str | None = None,
) -> Path:
    """Draws a WFDB record with R peaks fused over its leads and the waves of lead II (the first lead if not 12).

    Its title names the signals that are not drawn because they are no voltages.

    Args:
        record: its header, or the path without suffix.
        path: the picture to write.
        start: where the picture begins, s.
        layout: "6x2", "3x4" or "12x1", as in `plot_ecg`.
        patient: printed below the picture; None: age and sex, if the header states them.

    Raises:
        ValueError: the record cannot be read, has no signal in volts, or ends before `start`.
    """
    from ..data import read_record
    from ..ops.delineate import delineate
    from ..ops.rpeaks import detect_rpeaks

    found = read_record(record)
    ecg, leads = found.millivolts(standard=False), list(found.leads)
    names = [name.strip().casefold() for name in leads]
    twelve = all(lead.casefold() in names for lead in STANDARD_LEADS)
    if twelve:
        ecg, leads = ecg[[names.index(lead.casefold()) for lead in STANDARD_LEADS]], list(STANDARD_LEADS)
    if not 0 <= start < max(ecg.shape[1] / found.fs, 1e-9):
        raise ValueError(f"start is {start:g} s; it must be from 0 to less than {ecg.shape[1] / found.fs:g} s")
    rhythm = 1 if twelve else 0
    peaks = detect_rpeaks(ecg[None], found.fs)
    waves = delineate(ecg[None], found.fs, peaks, lead=rhythm)
    return plot_ecg(
        path,
        ecg,
        found.fs,
        rpeaks=peaks.index[0],
        delineation=Delineation(*(x[0] for x in waves)),
        leads=leads,
        rhythm=rhythm,
        patient=(_patient(found.comments) or "patient not stated") if patient is None else patient,
        layout=layout,
        title=Path(record).stem + (f"   not drawn: {', '.join(found.left_out)}" if found.left_out else ""),
        start=start,
    )
