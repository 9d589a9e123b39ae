"""Accuracy of R-peak detectors in noise that is added to other records than those of the MIT-BIH Noise Stress Test
Database, by its own noise: a check that nothing was fitted to its one recording.

    python benchmarks/accuracy/rpeaks_noise.py DATA [--sets 119 half short] [--detectors ours ...]

DATA as for rpeaks.py. Electrode motion (em) is what 118e_6 adds to mitdb 118; muscle noise (ma) and baseline wander
(bw) come as records. Noise is scaled as that database does it, by the height of the QRS complexes.
119: mitdb 119 with em at 24, 6, 0 and -6 dB in every other two minutes. half: five minutes of each other mitdb record
with em at 6, 0 and -6 dB. short: 900 pieces of 10 s drawn from mitdb, qtdb and the leads of ludb, with em, ma, both, or
bw and ma, at -6 to 12 dB. Printed as by rpeaks.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import rpeaks
import wfdb
from rpeaks import DETECTORS, Record
from scipy.signal import resample_poly

KINDS = (("em",), ("ma",), ("em", "ma"), ("bw", "ma"))


def qrs_height(ecg: np.ndarray, marks: np.ndarray, fs: int) -> float:
    half = round(0.05 * fs)
    inside = marks[(marks >= half) & (marks + half < len(ecg))]
    return float(np.median([np.ptp(ecg[m - half : m + half + 1]) for m in inside]))


@cache
def sources(data: Path) -> dict[str, np.ndarray]:
    """Noise (samples, 2) at 360 Hz, of -6 dB beside complexes 1 mV high."""
    clean = wfdb.rdrecord(str(data / "mitdb" / "118")).p_signal
    marks = rpeaks.arrhythmia(data / "mitdb" / "118").marks
    em = (wfdb.rdrecord(str(data / "nstdb" / "118e_6")).p_signal - clean) / qrs_height(clean[:, 0], marks, 360)
    noisy = np.concatenate([em[360 * s : 360 * (s + 120)] for s in range(300, 1800, 240)])

    def rms(v: np.ndarray) -> float:  # of seconds, as the database measures it
        return float(v[: len(v) // 360 * 360, 0].reshape(-1, 360).std(axis=1).mean())

    found = {"em119": em, "em": noisy}
    for name in ("ma", "bw"):
        v = wfdb.rdrecord(str(data / "nstdb" / name)).p_signal
        found[name] = v * (rms(noisy) / rms(v))
    return found


def gain(snr: float) -> float:
    return 10 ** (-(snr + 6) / 20)


def record_119(data: Path) -> Iterator[Record]:
    r, em = rpeaks.arrhythmia(data / "mitdb" / "119"), sources(data)["em119"][:, 0]
    height = qrs_height(r.ecg, r.marks, r.fs)
    for snr in (24, 6, 0, -6):
        yield r._replace(name=f"119e{snr}", ecg=r.ecg + gain(snr) * height * em)


def half_records(data: Path) -> Iterator[Record]:
    rng, em = np.random.default_rng(0), sources(data)["em"]
    for i, r in enumerate(rpeaks.records(data, "mitdb")):
        n = 300 * r.fs
        start, height = int(rng.integers(len(r.ecg) - n)), qrs_height(r.ecg, r.marks, r.fs)
        noise = height * np.roll(em[:, i % 2], rng.integers(len(em)))[:n]
        marks = r.marks[(r.marks >= start) & (r.marks < start + n)] - start
        ignored = [(a - start, b - start) for a, b in r.ignored]
        if r.name not in ("118", "119"):
            for snr in (6, 0, -6):
                ecg = r.ecg[start : start + n] + gain(snr) * noise
                yield r._replace(name=f"{r.name}e{snr}", ecg=ecg, marks=marks, ignored=ignored)


def piece_of(r: Record, rng: np.random.Generator) -> Record | None:
    """10 s of a record; None where marks are missing."""
    if r.ecg.ndim == 2:
        return r._replace(ecg=r.ecg[rng.integers(len(r.ecg))])
    n = 10 * r.fs
    start = int(rng.integers(len(r.ecg) - n))
    marks = r.marks[(r.marks >= start) & (r.marks < start + n)] - start
    gaps = np.diff(marks, prepend=0, append=n)
    flutter = any(a < start + n and b > start for a, b in r.ignored)
    if flutter or len(marks) < 4 or gaps.max() > 2.5 * np.median(gaps):
        return None
    return r._replace(ecg=r.ecg[start : start + n], marks=marks, ignored=[])


def short_records(data: Path) -> Iterator[Record]:
    rng, noise = np.random.default_rng(1), sources(data)
    pools = [list(rpeaks.records(data, name)) for name in ("mitdb", "qtdb", "ludb12")]
    for i in range(900):
        r = piece_of(pools[i % 3][rng.integers(len(pools[i % 3]))], rng)
        kinds, snr = KINDS[rng.integers(len(KINDS))], rng.uniform(-6, 12)
        if r is None or r.name in ("118", "119"):
            continue
        n, total = len(r.ecg), np.zeros(len(r.ecg))
        for kind in kinds:
            length = 360 * n // r.fs + 360
            start = int(rng.integers(len(noise[kind]) - length))
            v = noise[kind][start : start + length, rng.integers(2)]
            total += resample_poly(v - v[0], r.fs, 360)[r.fs // 4 :][:n]
        yield r._replace(ecg=r.ecg + gain(snr) * qrs_height(r.ecg, r.marks, r.fs) * total)


SETS: dict[str, Callable[[Path], Iterator[Record]]] = {"119": record_119, "half": half_records, "short": short_records}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    args = parser.parse_args()
    made = {name: list(SETS[name](args.data)) for name in args.sets}
    for detector, detect in rpeaks.installed(args.detectors):
        for name, records in made.items():
            print(f"{rpeaks.label(detector):32s} {name:7s} | {rpeaks.evaluate(detect, records, False)}", flush=True)


if __name__ == "__main__":
    main()
