"""Who resembles whom: the similarity matrix, the records nearest to one, embeddings in two dimensions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .paper import INK, WAVES, figure_of, save


def _heat_map(axes: Any, similarity: np.ndarray, groups: Sequence[str]) -> Any:
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
    return image


def plot_similarity(
    path: str | os.PathLike[str], similarity: np.ndarray, groups: Sequence[str], *, title: str = ""
) -> Path:
    """Draws an (N, N) similarity as a heat map, rows ordered as given; `groups` (N names) marks the blocks."""
    figure = figure_of(150, 135)
    axes = figure.add_subplot()
    image = _heat_map(axes, similarity, groups)
    figure.colorbar(image, label="cosine similarity of the physiology", shrink=0.85)
    axes.set_title(title, fontsize=10)
    figure.set_layout_engine("tight")
    return save(figure, path)


def plot_nearest(
    path: str | os.PathLike[str],
    similarity: np.ndarray,
    groups: Sequence[str],
    ecg: np.ndarray,
    fs: float,
    *,
    query: int = 0,
    k: int = 4,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Draws the similarity as a map with one record marked, and beside it that record and those nearest to it.

    Args:
        path: the PNG, SVG or PDF to write.
        similarity: (N, N), of `physio_similarity`. groups: N names; records of one group lie side by side in the map.
        ecg: (N, T), one lead of each record, mV; its first 5 s are drawn. fs: sampling rate, Hz.
        query: the record to mark. k: how many of the nearest.
        names: N names of the records, numbers if None.

    Raises:
        ValueError: shapes that do not fit, or a query that is none of the records.
    """
    s, x, n = np.asarray(similarity), np.asarray(ecg), len(groups)
    if s.shape != (n, n) or x.ndim != 2 or len(x) != n:
        raise ValueError(f"similarity has shape {s.shape} and ecg {x.shape}; with {n} groups they must be ({n}, {n}) "
                         f"and ({n}, samples)")  # fmt: skip
    if not 0 <= query < n:
        raise ValueError(f"query is {query}; it must be from 0 to {n - 1}")
    order = np.argsort(np.asarray(groups), kind="stable")
    likest = [int(i) for i in np.argsort(-s[query], kind="stable") if i != query][:k]
    shown = [query, *likest]
    figure = figure_of(260, max(110, 24 * len(shown)))
    figure.set_layout_engine("constrained")
    left, right, _ = figure.subfigures(1, 3, width_ratios=[1.0, 1.15, 0.03])
    axes = left.add_subplot()
    image = _heat_map(axes, s[np.ix_(order, order)], [groups[i] for i in order])
    place = np.argsort(order)
    mark = WAVES["T"][2]
    axes.axhline(place[query], color=mark, linewidth=1.2)
    axes.plot(place[likest], np.full(len(likest), place[query]), "o", color=mark, markersize=6, mfc="none", mew=1.5)
    bar = left.colorbar(image, shrink=0.7, location="bottom")
    bar.set_label("cosine similarity of the physiology", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axes.set_title(title or "line: the record; rings: those nearest to it", fontsize=9)
    samples = round(5 * fs)
    for a, i in zip(right.subplots(len(shown), 1, sharex=True), shown, strict=True):
        piece = x[i, :samples]
        a.plot(np.arange(len(piece)) / fs, piece, color=INK, linewidth=0.8)
        a.margins(x=0.0)
        a.spines[["top", "right"]].set_visible(False)
        a.tick_params(labelsize=7)
        told = "the record" if i == query else f"similarity {s[query, i]:.2f}"
        name = str(i) if names is None else names[i]
        a.set_title(f"{name}, {groups[i]}: {told}", fontsize=8, loc="left", parse_math=False)
        a.set_ylabel("mV", fontsize=7)
    a.set_xlabel("s", fontsize=7)
    return save(figure, path)


def plot_embeddings(
    path: str | os.PathLike[str], embeddings: np.ndarray, groups: Sequence[str], *, title: str = ""
) -> Path:
    """Draws (N, D) embeddings in their first two principal components, coloured by group.

    Distances in the plane are lower bounds of those in the space: what the two components hold stands at the axes.

    Raises:
        ValueError: shapes that do not fit, or NaN.
    """
    x = np.asarray(embeddings, dtype=float)
    if x.ndim != 2 or len(x) != len(groups) or len(x) < 2:
        raise ValueError(f"embeddings has shape {x.shape} with {len(groups)} groups; it must be (N, D), N at least 2")
    if not np.isfinite(x).all():
        raise ValueError("embeddings contains NaN or infinity; leave such records out")
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    s = np.pad(s, (0, max(0, 2 - len(s))))
    u = np.pad(u, ((0, 0), (0, max(0, 2 - u.shape[1]))))
    points, share = u[:, :2] * s[:2], s[:2] ** 2 / max(float((s**2).sum()), 1e-300)
    points *= np.where(
        points[np.abs(points).argmax(0), [0, 1]] < 0, -1.0, 1.0
    )  # the sign is free: one for all machines
    figure = figure_of(150, 115)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    names = np.asarray(groups)
    for k, name in enumerate(sorted(set(names.tolist()))):
        here = points[names == name]
        axes.plot(*here.T, "osD^vP*X"[k // 10 % 8], color=f"C{k % 10}", markersize=5, alpha=0.75, mew=0,
                  label=f"{name} ({len(here)})")  # fmt: skip
    for axis, which, part in zip("xy", ("first", "second"), share, strict=True):
        getattr(axes, f"set_{axis}label")(f"{which} component, {100 * part:.0f} % of the variance", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.set_aspect("equal", "datalim")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_title(title, fontsize=9, parse_math=False)
    return save(figure, path)
