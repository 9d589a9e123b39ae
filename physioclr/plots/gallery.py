"""What augmentations look like: each field of a plan at its weakest and its strongest."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from .paper import INK, WAVES, figure_of, save

# The parameter that says how much a field does, where it has one; the others are drawn from for both.
STRENGTH = {
    "time_warp": "speed", "rr_scale": "factor", "crop": "kept", "time_mask": "duration", "vcg_rotation": "angle",
    "amplitude_scale": "gain", "baseline_wander": "amplitude", "powerline": "amplitude", "muscle_noise": "rms",
    "gaussian_noise": "sd",
}  # fmt: skip
UNIT = {"time_mask": "s", "vcg_rotation": "degrees", "baseline_wander": "mV", "powerline": "mV", "muscle_noise": "mV",
        "gaussian_noise": "mV"}  # fmt: skip


def ends(field: Any) -> list[tuple[str, Any]]:
    """(what to write, the field) at its weakest and its strongest, always drawn."""
    certain = dataclasses.replace(field, p=1.0)
    name = STRENGTH.get(field.name)
    if name is None:
        return [("drawn", certain)]
    low, high = getattr(field, name)
    if field.name == "crop":
        low, high = high, low  # the less is kept, the stronger
    unit = f" {UNIT[field.name]}" if field.name in UNIT else ""
    return [(f"{name} {v:g}{unit}", dataclasses.replace(certain, **{name: (v, v)})) for v in (low, high)]


def plot_augmentations(
    path: str | os.PathLike[str],
    ecg: np.ndarray,
    fs: float,
    *,
    plan: Any = None,
    rpeaks: Any = None,
    lead: int = 1,
    seconds: float = 5.0,
    seed: int = 0,
) -> Path:
    """Draws one record under each augmentation at the weakest and the strongest that its range allows.

    The record itself lies behind in grey; marks show where its R peaks went.

    Args:
        path: the PNG, SVG or PDF to write.
        ecg: (12, T), mV. fs: sampling rate, Hz.
        plan: an `Augment`: its fields with their ranges; None: every field with its defaults.
        rpeaks: its R peaks, (P,) or an `RPeaks` of one record; None: `detect_rpeaks` finds them.
        lead: the lead to draw. seconds: how much of it, from the beginning.
        seed: of the random numbers; of the 50 from here on the first that changes what is drawn, for each field.

    Raises:
        ValueError: a plan without fields, or shapes that do not fit.
    """
    from .. import Augment, augment, detect_rpeaks

    x = np.asarray(ecg, np.float32)
    if x.ndim != 2:
        raise ValueError(f"ecg has shape {x.shape}; it must be (leads, samples)")
    if not 0 <= lead < len(x):
        raise ValueError(f"lead is {lead}; it must be from 0 to {len(x) - 1}")
    names = [f.name for f in dataclasses.fields(Augment)]
    everything: dict[str, Any] = dict.fromkeys(names, True)
    plan = Augment(**everything) if plan is None else plan
    fields = [getattr(plan, name) for name in names if getattr(plan, name) is not None]
    if not fields:
        raise ValueError("plan has no fields; there is nothing to draw")
    x = x[None]
    peaks = detect_rpeaks(x, fs) if rpeaks is None else rpeaks
    if not hasattr(peaks, "index") or isinstance(peaks, np.ndarray | list):
        peaks = np.atleast_2d(np.asarray(peaks, np.int32))
    figure = figure_of(260, 8 + 21 * len(fields))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(len(fields), 2, squeeze=False, sharex=True, sharey=True)
    samples = min(round(seconds * fs), x.shape[2])
    t = np.arange(samples) / fs
    before = x[0, lead, :samples]
    for axes, field in zip(grid, fields, strict=True):
        told = ends(field)

        def changed(one: Any, at: int, name: str = field.name) -> Any:
            y, carried = augment(x, Augment(**{name: one}), fs=fs, seed=at, rpeaks=peaks)
            return y[0, lead, :samples], carried

        tries = (s for s in range(seed, seed + 50) if not np.array_equal(changed(told[-1][1], s)[0], before, True))
        at = next(tries, seed)
        for a, (text, one) in zip(axes, told, strict=False):
            y, carried = changed(one, at)
            a.plot(t, before, color="0.75", linewidth=0.8)
            a.plot(t, y, color=INK, linewidth=0.8)
            marks = np.asarray(carried.index[0])
            marks = marks[(marks >= 0) & (marks < samples)]
            a.plot(marks / fs, np.asarray(y)[marks], "v", color=WAVES["QRS"][2], markersize=3)
            a.set_title(f"{field.name}: {text}", fontsize=8, loc="left")
        for a in axes[len(told) :]:
            a.set_visible(False)
        for a in axes:
            a.margins(x=0.0)
            a.spines[["top", "right"]].set_visible(False)
            a.tick_params(labelsize=7)
        axes[0].set_ylabel("mV", fontsize=7)
    low, high = np.nanmin(before), np.nanmax(before)
    grid[0, 0].set_ylim(low - 0.35 * (high - low), high + 0.35 * (high - low))
    for a in grid[-1]:
        a.set_xlabel("s", fontsize=7)
    return save(figure, path)
