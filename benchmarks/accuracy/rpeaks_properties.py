"""Three properties of detect_rpeaks on annotated databases.

    python benchmarks/accuracy/rpeaks_properties.py DATA [--quality] [--overlap] [--resample [--sets mitdb ...]]

DATA as for rpeaks.py. --quality: `quality` on nstdb by signal-to-noise ratio. --overlap: how many beats of mitdb and
nstdb are others when a record is cut into pieces that overlap. --resample: how likely the lead over the other
--detectors is to hold on other records.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from rpeaks import DETECTORS, NSTDB, TOLERANCES, Record, matched, ours, records, scored

import physioclr as pc


def stretches(detect: Callable, of: Iterable[Record], seconds: float) -> np.ndarray:
    """Per stretch of `seconds` of each record: (pairs at each tolerance, detections and marks)."""
    rows = []
    for record in of:
        try:
            found = scored(detect(record.ecg, record.fs), record)
        except Exception:
            found = np.empty(0, int)
        marks = scored(record.marks, record)
        for start in np.arange(0, len(record.ecg), seconds * record.fs):
            here = [v[(v >= start) & (v < start + seconds * record.fs)] for v in (found, marks)]
            rows.append([*(matched(*here, t * record.fs) for t in TOLERANCES), len(here[0]) + len(here[1])])
    return np.array(rows, float)


def show_resampled(data: Path, names: list[str], detectors: list[str], times: int = 2000) -> None:
    """How often ours is ahead on other records: on the same ones, drawn anew with replacement. nstdb is one recording
    in four mixtures, so that its minutes are drawn instead."""
    print(f"set     | at ms | % of {times} resamples ahead of all the others | least lead, its 2.5 and 97.5 % quantile")
    for name in names:
        of = list(records(data, name))
        rows = {d: stretches(DETECTORS[d](), of, 60 if name == "nstdb" else 1e9) for d in detectors}
        units = len(rows["ours"]) // (len(NSTDB) if name == "nstdb" else 1)
        weight = np.random.default_rng(0).multinomial(units, np.full(units, 1 / units), times)
        weight = np.tile(np.concatenate([np.ones((1, units)), weight]), len(rows["ours"]) // units)
        for k, tolerance in enumerate(TOLERANCES):
            f1s = {d: 200 * (weight @ r[:, k]) / (weight @ r[:, 2]) for d, r in rows.items()}
            lead = f1s["ours"] - np.max([f1s[d] for d in detectors if d != "ours"], axis=0)
            low, high = np.quantile(lead[1:], [0.025, 0.975])
            ahead = 100 * (lead[1:] >= 0).mean()
            print(
                f"{name:7s} | {1000 * tolerance:5.0f} | {ahead:5.1f} | {lead[0]:+.2f} {low:+.2f} {high:+.2f}",
                flush=True,
            )


def show_quality(data: Path) -> None:
    """`quality` by signal-to-noise ratio: of whole records, and of the 10 s pieces of their noisy stretches."""
    print("quality          | whole | 10 s pieces of the noisy stretches: mean, 10 % and 90 % quantile")
    for record in records(data, "nstdb"):
        fs, ten = record.fs, 10 * record.fs
        starts = [fs * (s + 10 * k) for s in range(300, 1800, 240) for k in range(12)]  # 2 minutes of noise in each 4
        pieces = np.array([record.ecg[s : s + ten] for s in starts if s + ten <= len(record.ecg)])
        noisy = pc.detect_rpeaks(pieces, fs).quality
        whole = pc.detect_rpeaks(record.ecg[None], fs).quality[0]
        low, high = np.quantile(noisy, [0.1, 0.9])
        print(f"{record.name:16s} |  {whole:.2f} | {noisy.mean():.2f} {low:.2f} {high:.2f}")


def of_pieces(detect: Callable, record: Record, piece: int, overlap: int) -> np.ndarray:
    """Beats of pieces of `piece` seconds with `overlap` seconds in common, each up to the middle of what it shares."""
    fs, samples, beats = record.fs, len(record.ecg), []
    for start in range(0, samples, (piece - overlap) * fs):
        end = start + piece * fs
        found = start + detect(record.ecg[start:end], fs)
        low, high = start + overlap * fs // 2 if start else 0, end - overlap * fs // 2 if end < samples else samples
        beats.append(found[(found >= low) & (found < high)])
        if end >= samples:
            break
    return np.concatenate(beats)


def show_overlap(data: Path, piece: int = 60, overlaps: tuple[int, ...] = (10, 14)) -> None:
    """Beats that are in the whole record or in its pieces, not in both."""
    detect = ours()
    heads = " | ".join(f"differ with {o} s of overlap" for o in overlaps)
    print(f"pieces of {piece} s   |  beats | {heads}")
    for name in ("mitdb", "nstdb"):
        totals: dict[str, np.ndarray] = {}
        for record in records(data, name):
            whole = detect(record.ecg, record.fs)
            cut = [of_pieces(detect, record, piece, o) for o in overlaps]
            row = np.array([len(whole), *(len(np.setxor1d(whole, c)) for c in cut)])
            key = record.name if name == "nstdb" else name
            totals[key] = totals.get(key, 0) + row
        for key, row in totals.items():
            print(f"{key:16s} | {row[0]:6d} | " + " | ".join(f"{d}" for d in row[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    for flag in ("--quality", "--overlap", "--resample"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--sets", nargs="+", default=["mitdb", "qtdb", "ludb", "nstdb"])
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # the peers' own
    if args.quality:
        show_quality(args.data)
    if args.overlap:
        show_overlap(args.data)
    if args.resample:
        show_resampled(args.data, args.sets, args.detectors)


if __name__ == "__main__":
    main()
