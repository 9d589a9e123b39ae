"""What `quality` of detect_rpeaks is worth: the F1 of ten seconds of a lead by their quality, and a map to it.

    python benchmarks/accuracy/quality_curve.py DATA      # mitdb qtdb ludb nstdb, as for rpeaks.py

Every piece of 10 s is detected by itself; a beat counts within 150 ms, marks and detections within 0.5 s of the ends
do not. The map is the isotonic regression of F1 on quality (pool adjacent violators, weighted with the beats), fitted
on every second record of mitdb, qtdb and ludb and on half of the pieces with noise of `rpeaks_noise.py` (short), and
read off on the others, on nstdb, 119 and half, which it has not seen. Printed: for each set and bin of quality the
pieces, F1 and the map in brackets; and the calibration error, the mean of |F1 of the bin - mean of the map in it|,
weighted with the beats.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import rpeaks
import rpeaks_noise

import physioclr as pc

EDGES = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0001])
SECONDS, MARGIN = 10, 0.5


def pieces(records):
    """(quality, matched, found, marked, number of the record) of every piece, an array (n, 5)."""
    rows = []
    for number, r in enumerate(records):
        n = SECONDS * r.fs
        starts = range(0, len(r.ecg) - n + 1, n)
        if not starts:
            continue
        x = np.stack([r.ecg[s : s + n] for s in starts]).astype(np.float32)
        found = pc.detect_rpeaks(x, r.fs)
        for k, start in enumerate(starts):
            low, high = max(start + MARGIN * r.fs, r.span[0]), min(start + n - MARGIN * r.fs, r.span[1])
            if any(a < start + n and b > start for a, b in r.ignored):
                continue
            beats, marks = found.index[k, : found.count[k]].astype(np.int64) + start, r.marks
            marks = marks[(marks >= start) & (marks < start + n)]
            inner = (beats >= low) & (beats <= high), (marks >= low) & (marks <= high)
            # Paired with all, counted where either lies inside.
            hit_beats = rpeaks.matched(beats[inner[0]], marks, 0.150 * r.fs)
            hit_marks = rpeaks.matched(beats, marks[inner[1]], 0.150 * r.fs)
            found_, marked = int(inner[0].sum()), int(inner[1].sum())
            rows.append((found.quality[k], 0.5 * (hit_beats + hit_marks), found_, marked, number))
    return np.array(rows)


def f1(rows):
    return 2 * rows[:, 1].sum() / max(1.0, rows[:, 2].sum() + rows[:, 3].sum())


def isotonic(x, y, weight):
    """(knots, values): the rising step function nearest to y."""
    order = np.argsort(x, kind="stable")
    blocks: list[list[float]] = []  # first x, value, weight
    for k in order:
        blocks.append([x[k], y[k], weight[k]])
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            _, v, w = blocks.pop()
            first, value, own = blocks[-1]
            blocks[-1] = [first, (value * own + v * w) / (own + w), own + w]
    return np.array([b[0] for b in blocks]), np.array([b[1] for b in blocks])


def main() -> None:
    data = Path(sys.argv[1])
    seen, aside = {}, {}
    for name in ("mitdb", "qtdb", "ludb"):
        rows = pieces(rpeaks.records(data, name))
        even = rows[:, 4] % 2 == 0
        seen[name], aside[name] = rows[even], rows[~even]
    rows = pieces(rpeaks_noise.short_records(data))
    seen["short"], aside["short"] = rows[::2], rows[1::2]
    aside["nstdb"] = pieces(rpeaks.records(data, "nstdb"))
    aside["119"] = pieces(rpeaks_noise.record_119(data))
    aside["half"] = pieces(rpeaks_noise.half_records(data))
    fitted = np.concatenate(list(seen.values()))
    beats = fitted[:, 2] + fitted[:, 3]
    knots, values = isotonic(fitted[:, 0], 2 * fitted[:, 1] / np.maximum(beats, 1), beats)

    def expected(quality):
        return values[np.clip(np.searchsorted(knots, quality, side="right") - 1, 0, None)]

    print("map:", ", ".join(f"{q:.2f} -> {expected(np.array([q]))[0]:.3f}" for q in EDGES[:-1]))
    for name, rows in aside.items():
        total, line = 0.0, []
        for low, high in itertools.pairwise(EDGES):
            one = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)]
            weight = (one[:, 2] + one[:, 3]).sum()
            if weight == 0:
                continue
            guess = np.average(expected(one[:, 0]), weights=one[:, 2] + one[:, 3])
            total += weight * abs(f1(one) - guess)
            line.append(f"{low:.2f}: {len(one)} {100 * f1(one):.1f} ({100 * guess:.1f})")
        error, raw = total / (rows[:, 2] + rows[:, 3]).sum(), abs(f1(rows) - np.average(rows[:, 0]))
        text = f"calibration error {100 * error:.2f}; mean quality off by {100 * raw:.2f}"
        print(f"{name:6s} F1 {100 * f1(rows):.2f}, {text}")
        print("       " + "  ".join(line), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
