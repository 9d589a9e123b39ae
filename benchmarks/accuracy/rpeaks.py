"""Accuracy of R-peak detectors on annotated databases: sensitivity, positive predictive value and F1 at 150 and 50 ms.

    python benchmarks/accuracy/rpeaks.py DATA [--sets mitdb qtdb ludb nstdb ludb12] [--detectors ours ...] [--records]

DATA holds the PhysioNet folders mitdb, qtdb, nstdb and ludb. Every beat of every record counts, over a whole set,
except within ventricular flutter ("[" to "]"), where neither marks nor detections count. mitdb, nstdb, qtdb: first lead
against the .atr beats. ludb: lead II against its QRS marks, from 0.2 s before the first to 0.2 s after the last,
because the outer beats of these records are unmarked. ludb12: all leads fused, against the same marks (ours only), and
how many records one of their leads alone, chosen with the marks at hand, would have done better on.
A detector that raises has found nothing; one that is not installed gets a line that says so. --records lists each
record's missed and false beats at 150 ms, and those that are only wrong at 50 ms.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import wfdb

import physioclr as pc

TOLERANCES = (0.150, 0.050)
BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")
NSTDB = ("118e24", "118e06", "118e00", "118e_6")


class Record(NamedTuple):
    name: str
    ecg: np.ndarray  # (T,), or (L, T)
    fs: int
    marks: np.ndarray
    ignored: list[tuple[int, int]]
    span: tuple[float, float]


def arrhythmia(path: Path) -> Record:
    record, notes = wfdb.rdrecord(str(path)), wfdb.rdann(str(path), "atr")
    marks = [s for s, y in zip(notes.sample, notes.symbol, strict=True) if y in BEAT_SYMBOLS]
    starts = [s for s, y in zip(notes.sample, notes.symbol, strict=True) if y == "["]
    ends = [s for s, y in zip(notes.sample, notes.symbol, strict=True) if y == "]"]
    flutter = list(zip(starts, ends, strict=False))
    return Record(path.name, record.p_signal[:, 0], int(record.fs), np.array(marks), flutter, (-np.inf, np.inf))


def ludb(path: Path, fused: bool) -> Record:
    record, notes = wfdb.rdrecord(str(path)), wfdb.rdann(str(path), "ii")
    marks = np.array([s for s, y in zip(notes.sample, notes.symbol, strict=True) if y == "N"])
    lead = [n.lower() for n in record.sig_name].index("ii")
    ecg = record.p_signal.T if fused else record.p_signal[:, lead]
    edge = 0.2 * record.fs
    return Record(path.name, ecg, int(record.fs), marks, [], (marks[0] - edge, marks[-1] + edge))


def records(data: Path, name: str) -> Iterator[Record]:
    if name == "nstdb":
        yield from (arrhythmia(data / name / r) for r in NSTDB)
    elif name in ("ludb", "ludb12"):
        yield from (ludb(p.with_suffix(""), name == "ludb12") for p in sorted((data / "ludb" / "data").glob("*.dat")))
    else:
        yield from (arrhythmia(p.with_suffix("")) for p in sorted((data / name).glob("*.atr")))


def matched(found: np.ndarray, marks: np.ndarray, tolerance: float) -> int:
    """Pairs of a detection and a mark within `tolerance` samples, one to one and in order of time."""
    i = j = pairs = 0
    while i < len(found) and j < len(marks):
        distance = found[i] - marks[j]
        if abs(distance) > tolerance:
            i, j = (i + 1, j) if distance < 0 else (i, j + 1)
        elif i + 1 < len(found) and abs(found[i + 1] - marks[j]) < abs(distance):
            i += 1
        else:
            i, j, pairs = i + 1, j + 1, pairs + 1
    return pairs


def scored(samples: np.ndarray, record: Record) -> np.ndarray:
    v = np.unique(np.asarray(samples, dtype=np.int64))
    for a, b in record.ignored:
        v = v[(v < a) | (v > b)]
    return v[(v >= record.span[0]) & (v <= record.span[1])]


# ---- detectors: each takes (T,) float64 in mV and fs, and returns sample indices -------------------------------------


def ours() -> Callable:
    def detect(x: np.ndarray, fs: int, start: int | None = None) -> np.ndarray:
        found = pc.detect_rpeaks(x[None], fs, start=start)
        return found.index[0, : found.count[0]]

    return detect


def sleepecg() -> Callable:
    from sleepecg import detect_heartbeats

    return detect_heartbeats


def xqrs() -> Callable:
    from wfdb.processing import xqrs_detect

    return lambda x, fs: xqrs_detect(x, fs, verbose=False)


def neurokit(method: str) -> Callable:
    import neurokit2

    if method == "koka2022":
        import ts2vg  # noqa: F401  which neurokit2 asks for only when it is called

    def detect(x: np.ndarray, fs: int) -> np.ndarray:
        try:
            x = neurokit2.ecg_clean(x, sampling_rate=fs, method=method)
        except ValueError:  # methods without a cleaning step of their own
            x = neurokit2.ecg_clean(x, sampling_rate=fs)
        return neurokit2.ecg_peaks(x, sampling_rate=fs, method=method)[1]["ECG_R_Peaks"]

    return detect


def fast_qrs() -> Callable:
    from fast_qrs_detector import qrs_detector

    return qrs_detector


def anusam() -> Callable:
    from AnuSamAlgorithm import find_peak

    return find_peak


def physio() -> Callable:
    import physio

    return lambda x, fs: physio.compute_ecg(x, fs, parameter_preset="human_ecg")[1]["peak_index"]


def pan_tompkins() -> Callable:
    from pantompkins import pan_tompkins

    return lambda x, fs: pan_tompkins(x, fs, gr=False)[1]


def torch_ecg(method: str) -> Callable:
    """On the signal filtered by the same package, in the band that its documentation calls typical."""
    from torch_ecg._preprocessors import preprocess_single_lead_signal
    from torch_ecg.utils import rpeaks as detectors

    detect = getattr(detectors, f"{method}_detect")
    return lambda x, fs: detect(preprocess_single_lead_signal(x, fs, band_fs=[0.5, 45]), fs)


def openecg_qrs() -> Callable:
    from openecg import detect_qrs

    return detect_qrs


def openecg_codec() -> Callable:
    """Its network names spans of QRS complexes: the R peak is where they are farthest from the line of their ends."""
    from delineation_peers import openecg

    find = openecg()

    def detect(x: np.ndarray, fs: int) -> np.ndarray:
        found = find(x.astype(np.float32), fs)
        spans = zip(found["qrs_on"], found["qrs_off"], strict=True)
        return np.array([a + np.abs(x[a : b + 1] - np.linspace(x[a], x[b], b - a + 1)).argmax() for a, b in spans])

    return detect


def wavedet() -> Callable:
    from wavedet import delineate

    def detect(x: np.ndarray, fs: int) -> np.ndarray:
        beats = np.asarray(delineate(x, fs).qrs, float)
        return beats[np.isfinite(beats)]

    return detect


DETECTORS: dict[str, Callable[[], Callable]] = {
    "ours": ours,
    "anusamalgorithm": anusam,
    "sleepecg": sleepecg,
    "fast-qrs-detector": fast_qrs,
    "neurokit2": lambda: neurokit("neurokit"),
    "neurokit2 manikandan2012": lambda: neurokit("manikandan2012"),
    "neurokit2 koka2022": lambda: neurokit("koka2022"),
    "physio": physio,
    "wfdb xqrs": xqrs,
    "pantompkins": pan_tompkins,
    **{f"torch-ecg {m}": partial(torch_ecg, m) for m in ("xqrs", "gqrs", "hamilton", "christov", "engzee")},
    "openecg": openecg_qrs,
    "openecg codec": openecg_codec,
    "wavedet": wavedet,
}


def label(detector: str) -> str:
    """Package, its version, and the method if it has several."""
    package, *method = detector.replace("ours", "physioclr").split()
    return " ".join([package, version(package), *method])


def evaluate(detect: Callable, of: Iterable[Record], list_records: bool) -> str:
    totals = {t: np.zeros(3, int) for t in TOLERANCES}  # pairs, detections, marks
    failures = 0
    for record in of:
        try:
            found = scored(detect(record.ecg, record.fs), record)
        except Exception:
            found, failures = np.empty(0, int), failures + 1
        marks = scored(record.marks, record)
        pairs = {t: matched(found, marks, t * record.fs) for t in TOLERANCES}
        for t in TOLERANCES:
            totals[t] += (pairs[t], len(found), len(marks))
        missed, false, misplaced = len(marks) - pairs[0.150], len(found) - pairs[0.150], pairs[0.150] - pairs[0.050]
        if list_records and missed + false + misplaced:
            print(f"    {record.name:12s} missed {missed:4d}  false {false:4d}  misplaced {misplaced:4d}")
    cells = []
    for pairs, detections, marks in totals.values():
        se, ppv = 100 * pairs / max(marks, 1), 100 * pairs / max(detections, 1)
        cells.append(f"{se:6.2f} {ppv:6.2f} {2 * se * ppv / max(se + ppv, 1e-9):6.2f}")
    return " | ".join(cells) + (f" | raised on {failures} records" if failures else "")


def f1(found: np.ndarray, record: Record, tolerance: float) -> float:
    found, marks = scored(found, record), scored(record.marks, record)
    return 200 * matched(found, marks, tolerance * record.fs) / max(len(found) + len(marks), 1)


def hindsight(detect: Callable, data: Path) -> str:
    """On how many records of ludb12 the best single lead beats the fused leads."""
    worse = {t: [] for t in TOLERANCES}
    for record in records(data, "ludb12"):
        fused, alone = detect(record.ecg, record.fs), [detect(lead, record.fs) for lead in record.ecg]
        for t in TOLERANCES:
            if f1(fused, record, t) < max(f1(found, record, t) for found in alone) - 1e-9:
                worse[t].append(record.name)
    cells = [f"{1000 * t:.0f} ms: {len(names)} {' '.join(names)}" for t, names in worse.items()]
    return "records where the best single lead in hindsight is better: " + " | ".join(cells)


def installed(names: Iterable[str]) -> Iterator[tuple[str, Callable]]:
    """Begins the table; then each detector that can be imported, by name. One that cannot gets a line that says so."""
    warnings.filterwarnings("ignore")  # the peers' own
    print(f"{'detector':32s} {'set':7s} |   150 ms: Se PPV F1   |   50 ms: Se PPV F1")
    for detector in names:
        try:
            detect = DETECTORS[detector]()
        except ImportError as e:
            print(f"{detector:32s} left out: {e}")
            continue
        yield detector, detect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["mitdb", "qtdb", "ludb", "nstdb", "ludb12"])
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--records", action="store_true")
    args = parser.parse_args()
    for detector, detect in installed(args.detectors):
        for name in args.sets:
            if name == "ludb12" and detector != "ours":
                continue
            print(
                f"{label(detector):32s} {name:7s} | {evaluate(detect, records(args.data, name), args.records)}",
                flush=True,
            )
            if name == "ludb12":
                print(f"{label(detector):32s} {name:7s} | {hindsight(detect, args.data)}", flush=True)


if __name__ == "__main__":
    main()
