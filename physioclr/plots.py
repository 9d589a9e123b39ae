"""Pictures: the ECG on its paper with R peaks and wave boundaries, the similarity matrix, training curves.

Every function writes one file and returns its path. They draw on Figure objects of their own, without pyplot, so they
neither need a display nor touch the caller's figures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .ops._checks import STANDARD_LEADS
from .ops._types import Delineation

PAPER, FINE, BOLD, INK = "#fffaf7", "#f7d9d2", "#eaa79b", "#1b1b1b"
WAVES = {"P": ("p_on", "p_off", "#2b6cb0"), "QRS": ("qrs_on", "qrs_off", "#c53030"), "T": ("t_on", "t_off", "#2f855a")}
ROW_MV = 2.0  # height of a lead's row: 20 mm of paper
MM = 1 / 25.4  # inches


def _figure(width_mm: float, height_mm: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_mm * MM, height_mm * MM), dpi=150)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=figure.get_facecolor())
    return path


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
) -> Path:
    """Draws an ECG on paper at 25 mm/s and 10 mm/mV: leads in two columns, and a rhythm strip with peaks and waves.

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
    """
    ecg = np.atleast_2d(np.asarray(ecg, dtype=float))
    n_leads = len(ecg)
    if len(leads) != n_leads:
        leads = [f"lead {i + 1}" for i in range(n_leads)]
    rhythm = (1 if n_leads == 12 else 0) if rhythm is None else rhythm
    seconds = min(seconds, 10.0)
    a = round(start * fs)
    b = min(a + round(seconds * fs), ecg.shape[1])
    columns = 2 if n_leads > 1 else 0
    rows = -(-n_leads // 2) if columns else 0
    height = (rows + 1.5) * ROW_MV
    middle = (a + b) // 2
    half = (a, middle), (middle, b)
    halves = [(k, float(k % rows), *half[k >= rows]) for k in range(n_leads if columns else 0)]
    places = [*halves, (rhythm, rows + 0.25, a, b)]
    gain = _gain([(row, t0, _about_zero(ecg[lead, t0:t1])) for lead, row, t0, t1 in places], height, round(0.1 * fs))
    left, right = -0.48, seconds + 0.2
    figure = _figure((right - left) * 25, height * 10 + 24)
    figure.set_facecolor(PAPER)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(left, right), ylim=(-height - 1.0, 1.4))
    axes.set_axis_off()
    for step, colour, width in ((1, FINE, 0.3), (5, BOLD, 0.5)):
        across = np.arange(-10, round(right * 25) + 1, step) * 0.04
        axes.vlines(across, -height, 1.0, colour, linewidth=width, zorder=0.5)
        up = np.arange(-round(height * 10), 11, step) * 0.1
        axes.hlines(up, -0.4, right, colour, linewidth=width, zorder=0.5)  # paper, labels, then traces
    for second in range(int(seconds) + 1):
        axes.text(second, -height - 0.08, f"{start + second:g} s", fontsize=7, color=INK, ha="center", va="top")

    def trace(lead: int, row: float, t0: int, t1: int) -> float:
        base = -(row + 0.5) * ROW_MV
        axes.plot((np.arange(t0, t1) - a) / fs, base + gain * _about_zero(ecg[lead, t0:t1]), color=INK, linewidth=0.7)
        if t0 == a:  # the pulse of its row
            pulse = base + gain * np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
            axes.plot([-0.36, -0.32, -0.32, -0.12, -0.12, -0.08], pulse, color=INK, linewidth=0.7)
        else:
            axes.vlines((t0 - a) / fs, base - 0.4, base + 0.4, INK, linewidth=1.0)
        place = ((t0 - a) / fs + 0.12, base + 0.55 * ROW_MV - 0.25)
        back = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
        axes.text(*place, leads[lead], fontsize=9, weight="bold", color=INK, parse_math=False, bbox=back, zorder=1.5)
        return base

    peaks = np.empty(0, int) if rpeaks is None else np.asarray(rpeaks)
    peaks = peaks[(peaks >= a) & (peaks < b)]
    for lead, row, t0, t1 in halves:
        base = trace(lead, row, t0, t1)
        inside = peaks[(peaks >= t0) & (peaks < t1)]
        axes.vlines((inside - a) / fs, base - 0.9, base - 0.8, WAVES["QRS"][2], linewidth=0.8)
    base = trace(rhythm, rows + 0.25, a, b)
    if len(peaks):
        axes.plot(
            (peaks - a) / fs, np.full(len(peaks), base + 1.15), "v", color=WAVES["QRS"][2], markersize=4, label="R peak"
        )
    if delineation is not None:
        for name, (on, off, colour) in WAVES.items():
            spans = np.stack([np.asarray(getattr(delineation, on)), np.asarray(getattr(delineation, off))], 1)
            spans = spans[(spans >= a).all(1) & (spans < b).all(1)]
            for k, (s, e) in enumerate((spans - a) / fs):
                label = name if k == 0 else None
                axes.fill_between([s, e], base - 0.9, base + 1.0, color=colour, alpha=0.18, linewidth=0, label=label)
        found = intervals(delineation, [] if rpeaks is None else rpeaks, fs)
        title = "   ".join(filter(None, (title, _describe(found))))
    axes.text(-0.1, 1.1, title, fontsize=9, color=INK, parse_math=False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.0), ncols=4, fontsize=7, frameon=False)
    scale = f"25 mm/s   {10 * gain:g} mm/mV" + (", smaller than usual: leads would overlap" if gain < 1 else "")
    below = "   ".join(filter(None, (scale, filters, patient)))
    axes.text(-0.4, -height - 0.75, below, fontsize=7, color=INK, parse_math=False)
    return _save(figure, path)


def plot_similarity(
    path: str | os.PathLike[str], similarity: np.ndarray, groups: Sequence[str], *, title: str = ""
) -> Path:
    """Draws an (N, N) similarity as a heat map, rows ordered as given; `groups` (N names) marks the blocks."""
    figure = _figure(150, 135)
    axes = figure.add_subplot()
    image = axes.imshow(similarity, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
    names = np.asarray(groups)
    edges = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    for edge in edges[1:]:
        axes.axhline(edge - 0.5, color=INK, linewidth=0.6)
        axes.axvline(edge - 0.5, color=INK, linewidth=0.6)
    middles = (edges + np.r_[edges[1:], len(names)]) / 2 - 0.5
    axes.set_xticks(middles, names[edges], fontsize=8)
    axes.set_yticks(middles, names[edges], fontsize=8)
    axes.tick_params(length=0)
    figure.colorbar(image, label="cosine similarity of the physiology", shrink=0.85)
    axes.set_title(title, fontsize=10)
    figure.set_layout_engine("tight")
    return _save(figure, path)


def _patient(comments: Sequence[str]) -> str:
    """Age and sex as the header states them."""
    from .data.metadata import parse_age, parse_sex

    stated = {k.strip(" <>#").lower(): v for k, _, v in (c.partition(":") for c in comments)}
    age, sex = parse_age(stated.get("age", "")), parse_sex(stated.get("sex", ""))
    return ", ".join(filter(None, (f"{age:g} years" if age is not None else "", sex)))


def draw_record(record: str | os.PathLike[str], path: str | os.PathLike[str], *, start: float = 0.0) -> Path:
    """Draws a WFDB record with R peaks fused over its leads and the waves of lead II (the first lead if not 12).

    Its title names the signals that are not drawn because they are no voltages.

    Args:
        record: its header, or the path without suffix.
        path: the picture to write.
        start: where the picture begins, s.

    Raises:
        ValueError: the record cannot be read, has no signal in volts, or ends before `start`.
    """
    from .data import read_record
    from .ops.delineate import delineate
    from .ops.rpeaks import detect_rpeaks

    found = read_record(record)
    ecg, leads = found.millivolts(), list(found.leads)
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
        patient=_patient(found.comments),
        title=Path(record).stem + (f"   not drawn: {', '.join(found.left_out)}" if found.left_out else ""),
        start=start,
    )
