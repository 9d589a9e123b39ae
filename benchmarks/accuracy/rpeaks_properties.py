"""Properties of detect_rpeaks on annotated databases.

    python benchmarks/accuracy/rpeaks_properties.py DATA [--quality] [--overlap] [--resample [--sets mitdb ...]]
        [--shift] [--crop] [--piece] [--offset] [--polarity]

DATA as for rpeaks.py. --quality: `quality` on nstdb by signal-to-noise ratio. --overlap: how many beats of mitdb and
nstdb are others when a record is cut into pieces that overlap. --resample: how likely the lead over the other
--detectors is to hold on other records. --shift, --crop, --piece, --offset, --polarity: how many beats of pieces of
10 s (of all sets that are there, up to six of a record, fused and lead by lead) move or go when samples are cut off the
front (1 to 16), only a half is there (--piece: and is told where it starts), a constant is added (10 uV to 10 V), or
all leads are reversed; beats within 0.5 s of a cut are left out.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import wfdb
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
        found = start + detect(record.ecg[start:end], fs, start=start)
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
            whole = detect(record.ecg, record.fs, start=0)
            cut = [of_pieces(detect, record, piece, o) for o in overlaps]
            row = np.array([len(whole), *(len(np.setxor1d(whole, c)) for c in cut)])
            key = record.name if name == "nstdb" else name
            totals[key] = totals.get(key, 0) + row
        for key, row in totals.items():
            print(f"{key:16s} | {row[0]:6d} | " + " | ".join(f"{d}" for d in row[1:]))


SETS = ("mitdb", "qtdb", "nstdb", "ludb", "ptbxl", "cinc2021", "chapman")
MOVES: dict[str, list] = {
    "shift": list(range(1, 17)),  # samples
    "crop": [2.5, 3.137],  # s: where a half begins
    "piece": [2.5, 3.137],  # the same, with start=
    "offset": [0.01, -0.01, 10.0, -10.0, 1e4],  # mV
    "polarity": [None],
}


def all_beats(ecg: np.ndarray, fs: float, start: int | None = None) -> list[np.ndarray]:
    found = pc.detect_rpeaks(ecg, fs, start=start)
    return [row[:n] for row, n in zip(found.index, found.count, strict=True)]


def pieces(folder: Path, most: int = 6, seconds: int = 10) -> Iterable[tuple[np.ndarray, int]]:
    """(L, T) in mV and the rate of up to `most` pieces of each record."""
    for path in sorted(folder.rglob("*.hea")):
        name = str(path.with_suffix(""))
        header = wfdb.rdheader(name)
        if not header.n_sig or not header.sig_len:
            continue
        for start in range(0, min(header.sig_len, most * seconds * header.fs), seconds * header.fs):
            end = min(start + seconds * header.fs, header.sig_len)
            if end - start > 5 * header.fs:
                yield wfdb.rdrecord(name, sampfrom=start, sampto=end).p_signal.T.astype(np.float32), header.fs


def show_moved(data: Path, kind: str) -> None:
    """Beats that a change moves by more than 2 samples at 500 Hz (4 ms), by more than 10 ms, or takes away (150 ms)."""
    limits = np.array([0.004, 0.010, 0.150])
    print(f"{kind:8s} |         | beats   | % by more than 4 ms, 10 ms, 150 ms or gone")
    together = np.zeros((2, 4), int)
    for name in (s for s in SETS if (data / s).is_dir()):
        totals = np.zeros((2, 4), int)
        for ecg, fs in pieces(data / name):
            for single, x in enumerate((ecg[None], ecg[:, None])):
                for before, after, begin, low, high in changed(x, fs, kind):
                    for a, b in zip(before, after, strict=True):
                        a = a[(a >= low) & (a < high)]
                        apart = np.abs(a[:, None] - (b + begin)[None]).min(axis=1, initial=10**9) / fs
                        totals[single] += [len(a), *(apart[:, None] > limits + 1e-9).sum(axis=0)]
        together += totals
        show_shares(name, totals)
    show_shares("all", together)


def changed(x: np.ndarray, fs: int, kind: str) -> Iterator[tuple[list, list, int, float, float]]:
    """Beats before and after a change, what begins before the changed one's first sample, and which are counted."""
    samples = x.shape[-1]
    if kind == "shift":
        length = samples - max(MOVES["shift"])
        before = all_beats(x[..., :length], fs)
        for by in MOVES["shift"]:
            yield before, all_beats(x[..., by : by + length], fs), by, 0.5 * fs + by, length - 0.5 * fs
    elif kind in ("crop", "piece"):
        before = all_beats(x, fs, 0 if kind == "piece" else None)
        for begin in (round(by * fs) for by in MOVES[kind]):
            half = x[..., begin : begin + 5 * fs]
            after = all_beats(half, fs, begin if kind == "piece" else None)
            yield before, after, begin, begin + 0.5 * fs, begin + half.shape[-1] - 0.5 * fs
    else:
        before = all_beats(x, fs)
        for by in MOVES[kind]:
            yield before, all_beats(-x if by is None else x + np.float32(by), fs), 0, 0, samples


def show_shares(name: str, totals: np.ndarray) -> None:
    for row, leads in zip(totals, ("fused", "single"), strict=True):
        shares = " ".join(f"{100 * n / max(row[0], 1):6.3f}" for n in row[1:])
        print(f"{name:8s} | {leads:7s} | {row[0]:7d} | {shares}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    for flag in ("--quality", "--overlap", "--resample", *(f"--{kind}" for kind in MOVES)):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--sets", nargs="+", default=["mitdb", "qtdb", "ludb", "nstdb"])
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # the peers' own
    if args.quality:
        show_quality(args.data)
    if args.overlap:
        show_overlap(args.data)
    for kind in MOVES:
        if getattr(args, kind):
            show_moved(args.data, kind)
    if args.resample:
        show_resampled(args.data, args.sets, args.detectors)


if __name__ == "__main__":
    main()
