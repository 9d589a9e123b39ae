"""Draws the learning curves that curves.py gathered: macro AUROC of the embedding over steps, and over CPU seconds.

    python benchmarks/representation/picture.py FILE.png OUT [wide=OUT ...] [--share 0.1]

OUT: a folder of curves.py; with a word in front, its methods are named "METHOD, WORD" and drawn with broken lines. A
point is the mean over the seeds that are there, a bar what they span.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
from curves import INPUTS, METHODS
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from physioclr.train.compare import ProbeScores, macro_auroc


def cells(text: str, share: float) -> dict[str, dict[int, list[tuple[float, float]]]]:
    """name -> steps -> (CPU seconds, AUROC) of each seed, at that share of the labels."""
    word, _, folder = text.rpartition("=")
    found: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with open(Path(folder) / "cells.csv", newline="") as f:
        for row in csv.DictReader(f):
            name = row["method"] + (f", {word}" if word else "")
            found[name][int(row["steps"])].append((float(row["cpu_seconds"]), float(row[f"embedding_{share:g}"])))
    return {name: dict(sorted(found[name].items())) for name in found if not name.startswith("random")}


def of_features(folder: Path, share: float) -> float:
    scores = ProbeScores.load(next((folder / INPUTS["features"][0]).glob("probe_*_features.npz")))
    return float(macro_auroc([scores], share).mean(0)[0])


def draw(path: Path, folders: list[str], share: float) -> None:
    figure = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    first = of_features(Path(folders[0].rpartition("=")[2]), share)
    colours = dict(zip(METHODS, matplotlib.color_sequences["tab10"], strict=False))
    for text in folders:
        for name, steps in cells(text, share).items():
            method, _, word = name.partition(", ")
            seen = [np.array(v) for v in steps.values()]
            score = [v[:, 1].mean() for v in seen]
            span = np.array([[v[:, 1].mean() - v[:, 1].min(), v[:, 1].max() - v[:, 1].mean()] for v in seen]).T
            for a, x in zip(axes, (list(steps), [v[:, 0].mean() for v in seen]), strict=True):
                a.errorbar(x, score, span, marker=".", linestyle="--" if word else "-", color=colours[method],
                           label=name, linewidth=1.2)  # fmt: skip
    for a, label in zip(axes, ("optimiser steps of 128 segments", "CPU seconds of one thread"), strict=True):
        a.axhline(first, color="black", linewidth=0.8, linestyle=":", label="features alone")
        a.set_xscale("log")
        a.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        a.xaxis.set_major_formatter("{x:,.0f}")
        a.xaxis.set_minor_formatter(NullFormatter())
        a.set_xlabel(label, fontsize=8)
        a.tick_params(labelsize=8)
        a.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"macro AUROC, {100 * share:g} % of the labels", fontsize=8)
    axes[1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", nargs="+", help="OUT, or WORD=OUT")
    parser.add_argument("--share", type=float, default=0.1, choices=[0.01, 0.1, 1.0], help="of the labels")
    args = parser.parse_args()
    draw(args.file, args.out, args.share)


if __name__ == "__main__":
    main()
