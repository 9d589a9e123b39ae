"""What `quality` of detect_rpeaks is worth: the F1 that `RPeaks.expected_f1` makes of it, beside the F1 there is.

    python benchmarks/accuracy/quality_curve.py DATA      # mitdb qtdb ludb nstdb, as for rpeaks.py

Every piece of 10 s of the sets of rpeaks.py (mitdb, qtdb, ludb, nstdb) and rpeaks_noise.py (119, half, short) is
detected by itself; a beat counts within 150 ms, marks and detections within 0.5 s of the ends do not. The map is a
logistic regression of F1 on log(1.01 - quality), weighted with the beats, each set alike.

Cross-fitted: all pieces of a record, with whatever noise, lie in one of two halves (by the CRC of its name), and each
half is read off the map of the other. 118 and 119, the records of nstdb and 119, lie in the same half. twelve, fitted
by neither half, has all leads of a record of ludb, fused, each with noise of its own at -6 to 12 dB.

Printed: the map of each half and of all, which is the one in the library; for each set and bin of the expected F1 the
pieces, the F1 there is and the mean of the expected one in brackets; the calibration error, the mean distance of the
two over ten bins, weighted with the beats; and whole records of 30 minutes, whose quality is a mean.
"""

from __future__ import annotations

import itertools
import sys
import zlib
from pathlib import Path

import numpy as np
import rpeaks
import rpeaks_noise
from scipy.signal import resample_poly

import physioclr as pc

EDGES = np.linspace(0.5, 1, 11)  # of the expected F1; 0, where no beat is found, counts to the first bin
SECONDS, MARGIN, END = 10, 0.5, 1.01


def pieces(records):
    """(quality, matched, (found + marked) / 2, half, any found) of every piece of every record, an array (n, 5)."""
    rows = []
    for r in records:
        n = SECONDS * r.fs
        starts = range(0, r.ecg.shape[-1] - n + 1, n) if r.ecg.ndim == 1 else [0]
        if not starts:
            continue
        x = np.stack([r.ecg[..., s : s + n] for s in starts]).astype(np.float32)
        found = pc.detect_rpeaks(x, r.fs)
        half = zlib.crc32(r.name.split("e")[0].encode() if r.name[:3].isdigit() else r.name.encode()) & 1
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
            beats_and_marks = (inner[0].sum() + inner[1].sum()) / 2
            rows.append((found.quality[k], (hit_beats + hit_marks) / 2, beats_and_marks, half, found.count[k] > 0))
    rows = np.array(rows)
    return rows[rows[:, 2] > 0]


def twelve(data: Path):
    """Each record of ludb twice, every lead with its own stretch of electrode motion, muscle noise or both."""
    rng, noise = np.random.default_rng(2), rpeaks_noise.sources(data)
    for r in itertools.chain(*(rpeaks.records(data, "ludb12") for _ in range(2))):
        n, snr, kinds = r.ecg.shape[1], rng.uniform(-6, 12), (("em",), ("ma",), ("em", "ma"))[rng.integers(3)]
        total = np.zeros(r.ecg.shape)
        for lead, kind in itertools.product(range(len(r.ecg)), kinds):
            length = 360 * n // r.fs + 360
            start = int(rng.integers(len(noise[kind]) - length))
            v = noise[kind][start : start + length, rng.integers(2)]
            total[lead] += resample_poly(v - v[0], r.fs, 360)[r.fs // 4 :][:n]
        height = np.array([rpeaks_noise.qrs_height(lead, r.marks, r.fs) for lead in r.ecg])
        yield r._replace(ecg=r.ecg + rpeaks_noise.gain(snr) * height[:, None] * total)


def terms(quality):
    return np.stack([np.ones_like(quality), -np.log(END - quality)], axis=-1)


def fit(sets):
    """Coefficients of `terms`, by Newton's method; every one of `sets` has the same weight."""
    sets = [rows[rows[:, 4] > 0] for rows in sets]
    x = terms(np.concatenate([rows[:, 0] for rows in sets]))
    f1 = np.concatenate([rows[:, 1] / rows[:, 2] for rows in sets])
    weight = np.concatenate([rows[:, 2] / rows[:, 2].sum() for rows in sets])
    c = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ c))
        c += np.linalg.solve((x.T * (weight * p * (1 - p))) @ x, x.T @ (weight * (f1 - p)))
    return c


def expected(c, rows):
    return rows[:, 4] / (1 + np.exp(-terms(rows[:, 0]) @ c))


def curve(rows, guess):
    """A line of the bins, and the calibration error in %."""
    total, cells = 0.0, []
    bins = np.clip(np.digitize(guess, EDGES) - 1, 0, len(EDGES) - 2)
    for k in range(len(EDGES) - 1):
        one = bins == k
        if one.any():
            n = rows[one, 2].sum()
            f1, mean = rows[one, 1].sum() / n, np.average(guess[one], weights=rows[one, 2])
            total += n * abs(f1 - mean)
            cells.append(f"{EDGES[k]:.2f}: {one.sum()} {100 * f1:.1f} ({100 * mean:.1f})")
    return "  ".join(cells), 100 * total / rows[:, 2].sum()


def main() -> None:
    data = Path(sys.argv[1])
    sets = {name: pieces(rpeaks.records(data, name)) for name in ("mitdb", "qtdb", "ludb", "nstdb")}
    sets |= {name: pieces(made(data)) for name, made in rpeaks_noise.SETS.items()}
    of_half = [fit([part for rows in sets.values() if len(part := rows[rows[:, 3] != h])]) for h in (0, 1)]
    for name, c in (("tested on half 0", of_half[0]), ("tested on half 1", of_half[1]), ("all", fit(sets.values()))):
        print(f"map, {name:16s}: 1 / (1 + {np.exp(-c[0]):.3f} * ({END} - quality) ** {c[1]:.3f})")
    sets["all"] = np.concatenate(list(sets.values()))
    sets["twelve"] = pieces(twelve(data))
    for name, rows in sets.items():
        guess = np.where(rows[:, 3] == 0, expected(of_half[0], rows), expected(of_half[1], rows))
        line, error = curve(rows, guess)
        f1, mean = rows[:, 1].sum() / rows[:, 2].sum(), np.average(guess, weights=rows[:, 2])
        print(f"{name:6s} F1 {100 * f1:.2f}, expected {100 * mean:.2f}, calibration error {error:.2f}\n       {line}")
    print("whole records: quality, expected F1, F1")
    for r in itertools.chain(rpeaks.records(data, "nstdb"), rpeaks_noise.record_119(data)):
        found = pc.detect_rpeaks(r.ecg[None], r.fs)
        f1 = rpeaks.f1(found.index[0, : found.count[0]], r, 0.150)
        print(f"  {r.name:7s} {found.quality[0]:.2f}  {100 * found.expected_f1()[0]:.1f}  {f1:.1f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
