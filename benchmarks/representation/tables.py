"""The tables of run.py from the cells that are there: macro AUROC, and paired differences with their intervals."""

from __future__ import annotations

import csv
import fcntl
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from physioclr.train.compare import ProbeScores, macro_auroc, paired_difference, pool_folds
from physioclr.train.scores import interval

ALONE = {"features alone": ("features",), "age + sex": ("demographics",)}
FEATURES = "features + "


def add_row(path: Path, columns: Sequence[str], row: dict) -> None:
    """Append to a table of cells; a lock keeps the rows of two processes apart."""
    with open(path, "a+", newline="", encoding="utf-8") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        writer = csv.DictWriter(f, columns, lineterminator="\n")
        if f.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def file_name(scheme: str, inputs: tuple[str, ...], transfer: bool = False) -> str:
    """The scores that `probe` wrote, as a pattern: the name of the store is not known here."""
    name = f"probe_*_{scheme}_linear" + ("_transfer" if transfer else "")
    return name + ("" if inputs == ("embedding",) else f"_{'+'.join(inputs)}") + ".npz"


def folds_of(cell: Path) -> list[int]:
    return [int(k) for k in cell.name.removeprefix("folds").split("-")]


def finished(out: Path, transfer: bool) -> dict[str, dict[int, list[Path]]]:
    """method -> seed -> the folders of its cells, where all cells of the seed are done."""
    found: dict[str, dict[int, list[Path]]] = {}
    wanted = {k for p in out.glob("*/seed*/folds*/") for k in folds_of(p)}  # a seed needs every fold
    for seed in sorted(out.glob("*/seed*")):
        cells = sorted(p for p in seed.iterdir() if p.is_dir() and (p.name == "transfer") == transfer)
        cells = [p for p in cells if (p / "done").is_file()]
        if cells and (transfer or {k for p in cells for k in folds_of(p)} == wanted):
            found.setdefault(seed.parent.name, {})[int(seed.name.removeprefix("seed"))] = cells
    return found


def gather(
    cells: dict[str, dict[int, list[Path]]], scheme: str, transfer: bool = False
) -> dict[str, dict[int, ProbeScores]]:
    """Row of the table -> seed -> scores of all cells together: each encoder, with the features, and what has none."""

    def load(seeds: dict[int, list[Path]], inputs: tuple[str, ...]) -> dict[int, ProbeScores]:
        pattern = file_name(scheme, inputs, transfer)
        files = {s: [f for p in paths for f in p.glob(pattern)] for s, paths in seeds.items()}
        return {s: pool_folds([ProbeScores.load(f) for f in parts]) for s, parts in files.items() if parts}

    rows = {}
    if "random" in cells:
        first = min(cells["random"])
        for name, inputs in ALONE.items():
            rows[name] = load({first: cells["random"][first]}, inputs)
    for method, seeds in sorted(cells.items()):
        rows[method] = load(seeds, ("embedding",))
        rows[FEATURES + method] = load(seeds, ("embedding", "features"))
    return {name: scores for name, scores in rows.items() if scores}


def _means(rows: dict[str, dict[int, ProbeScores]], fractions: tuple[float, ...]) -> list[str]:
    head = " | ".join(f"{100 * f:g} % of the labels" for f in fractions)
    lines = [f"| probe on | seeds | {head} |", f"|---|---|{'---|' * len(fractions)}"]
    for name, seeds in rows.items():
        texts = []
        for f in fractions:
            values = macro_auroc(list(seeds.values()), f).mean(0)
            low, high = interval(values[1:])
            texts.append(f"{values[0]:.3f} ({low:.3f} to {high:.3f})")
        lines.append(f"| {name} | {len(seeds)} | {' | '.join(texts)} |")
    return lines


def _difference(a: dict[int, ProbeScores], b: dict[int, ProbeScores], fraction: float, encoder: bool) -> str:
    """a - b with its interval, of the pretraining seeds that both have; encoder: whether b depends on one."""
    common = sorted(set(a) & set(b)) if encoder else sorted(a)
    if not common:
        return "-"
    others = [b[s] for s in common] if encoder else list(b.values())
    d, low, high = paired_difference([a[s] for s in common], others, fraction)
    found = "" if low > 0 or high < 0 else ", not distinguishable"
    return f"{d:+.3f} ({low:+.3f} to {high:+.3f}){found}"


def comparisons(names: list[str]) -> list[tuple[str, str]]:
    """Which rows are compared: each encoder with CMSC of as many steps, the untrained one and the features; the whole
    method, and the one whose pairs use average beats, with each of its ablations. With and without the features beside
    the embedding."""
    pairs = []
    for prefix in ("", FEATURES):
        encoders = [n for n in names if n not in ALONE and n.startswith(FEATURES) == bool(prefix)]
        for name in encoders:
            method = name.removeprefix(prefix)
            longer = "-longer" if method.endswith("-longer") else ""
            pairs += [(name, prefix + other) for other in ("cmsc" + longer, "random")] + [(name, "features alone")]
            if method.startswith("physioclr-"):
                pairs.append((prefix + "physioclr" + longer, name))
            if method.startswith("physioclr-beats-"):
                pairs.append((prefix + "physioclr-beats" + longer, name))
    return [(a, b) for a, b in dict.fromkeys(pairs) if a in names and b in names and a != b]


def _differences(rows: dict[str, dict[int, ProbeScores]], fractions: tuple[float, ...]) -> list[str]:
    head = " | ".join(f"{100 * f:g} % of the labels" for f in fractions)
    lines = [f"| paired difference | seeds | {head} |", f"|---|---|{'---|' * len(fractions)}"]
    for name, other in comparisons(list(rows)):
        texts = [_difference(rows[name], rows[other], f, other not in ALONE) for f in fractions]
        seeds = len(set(rows[name]) & set(rows[other])) if other not in ALONE else len(rows[name])
        lines.append(f"| {name} minus {other} | {seeds} | {' | '.join(texts)} |")
    return lines


def labelled_tables(out: Path, scheme: str, fractions: tuple[float, ...]) -> str:
    """Both tables of the patient cross-validation, as markdown."""
    rows = gather(finished(out, transfer=False), scheme)
    if not rows:
        return f"{scheme}: no seed of any method is complete yet"
    records = next(iter(next(iter(rows.values())).values()))
    title = f"{scheme}, macro AUROC of {len(records.y)} records, {len(np.unique(records.groups))} patients; 95 %"
    return "\n".join(
        [
            f"{title} intervals over seeds and patients\n",
            *_means(rows, fractions),
            "",
            *_differences(rows, fractions),
            "",
        ]
    )


def cross_tables(out: Path, rhythm: str) -> str:
    """LUDB rhythm, and from PTB-XL to the other sources: encoders that saw PTB-XL alone."""
    cells = finished(out, transfer=True)
    parts = []
    for title, scheme, transfer, fractions in (
        ("LUDB rhythm by patient cross-validation", rhythm, False, (1.0,)),
        ("fitted on PTB-XL, scored on the other sources of the Challenge", "cinc2021", True, (1.0,)),
    ):
        rows = gather(cells, scheme, transfer)
        if rows:
            one = next(iter(next(iter(rows.values())).values()))
            kept = [c for c in one.classes if c not in one.left_out[1.0]]
            parts += [
                f"{title}; encoders pretrained on PTB-XL alone; classes {', '.join(kept)}\n",
                *_means(rows, fractions),
                "",
                *_differences(rows, fractions),
                "",
            ]
    return "\n".join(parts)
