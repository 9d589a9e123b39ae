"""Wave boundaries beside the delineators of others: lead II of LUDB, and the marks of QTDB's first reader (q1c).

    python benchmarks/accuracy/delineation_peers.py DATA      # with ludb/data/*.hea and qtdb/RECORDS

Each is optional, and said to be missing where it is: openecg (its int8 ONNX codec, with onnxruntime), wavedet
(GPL-2), neurokit2 (wavelets). All see one lead at a time. Per boundary: F1 within Martinez' tolerances (P 50, QRS 40,
T onset 50, T offset 100 ms), whose mean over the six is the macro F1, and the SD of the errors within 150 ms. QTDB
marks only some beats, so there it is the sensitivity within the same tolerances, its mean over the six, the sensitivity
within 150 ms and the SD of those errors; of two leads the nearer, of the marked part with 30 s before and after it.
openecg was trained on LUDB and QTDB, ours fitted to LUDB's marks: for either the figures flatter; fit_qrs.py
cross-validates ours.
"""

from __future__ import annotations

import argparse
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import wfdb
from delineation import TOLERANCE, marks, pair

import physioclr as pc

EDGES = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")
MARTINEZ = dict(zip(EDGES, (0.050, 0.050, 0.040, 0.040, 0.050, 0.100), strict=True))  # s


def ours():
    def find(x, fs):
        found = pc.delineate(x[None], fs, pc.detect_rpeaks(x[None], fs))
        return {f: getattr(found, f)[0] for f in EDGES}

    return find


def openecg():
    import openecg
    from openecg.eval import ALL_SUPER_QRS_CLASSES, SUPER_P, SUPER_T
    from scipy.signal import resample_poly

    model = openecg.load_codec_onnx()
    waves = {SUPER_P: "p", SUPER_T: "t", **dict.fromkeys(ALL_SUPER_QRS_CLASSES, "qrs")}

    def find(x, fs):
        y = x if fs == 500 else resample_poly(x, 500, int(fs))
        out = {f: [] for f in EDGES}
        step, window = 3000, 5000  # of 10 s the middle six, but at the ends
        for first in range(0, max(1, len(y) - window + step), step):
            first = max(0, min(first, len(y) - window))
            piece = np.pad(y[first : first + window], (0, max(0, window - len(y))))
            low = first + (1000 if first > 0 else 0)
            high = first + (window - 1000 if first + window < len(y) else window)
            for begin, end, kind in openecg.encode(piece, fs=500, model=model).events("frame"):
                if kind in waves and low <= first + begin < high:
                    out[waves[kind] + "_on"].append((first + begin) * fs / 500)
                    out[waves[kind] + "_off"].append((first + end - 1) * fs / 500)
        return {f: np.rint(v).astype(int) for f, v in out.items()}

    return find


def wavedet():
    import wavedet

    def find(x, fs):
        found = wavedet.delineate(x.astype(np.float64), int(fs))
        return {f: np.rint(v[np.isfinite(v)]).astype(int) for f in EDGES for v in [np.asarray(getattr(found, f))]}

    return find


def neurokit2():
    import neurokit2 as nk

    names = {"p": "P_{}s", "qrs": "R_{}s", "t": "T_{}s"}

    def find(x, fs):
        clean = nk.ecg_clean(x.astype(np.float64), sampling_rate=int(fs))
        r = nk.ecg_peaks(clean, sampling_rate=int(fs))[1]["ECG_R_Peaks"]
        waves = nk.ecg_delineate(clean, r, sampling_rate=int(fs), method="dwt")[1]
        out = {}
        for f in EDGES:
            wave, edge = f.split("_")
            v = np.array(waves["ECG_" + names[wave].format("Onset" if edge == "on" else "Offset")], float)
            out[f] = v[np.isfinite(v)].astype(int)
        return out

    return find


FINDERS = {"physioclr": ours, "openecg": openecg, "wavedet": wavedet, "neurokit2": neurokit2}


def inside(truth, f, v, fs):
    """Of the found positions those where the reader has marked: LUDB leaves the edges of a record unmarked."""
    first, last = truth["r"][0], truth["r"][-1]
    margin = [TOLERANCE * fs * (f[0] == "q")] * 2
    if len(truth[f]):
        margin = [
            TOLERANCE * fs * (f[0] == "q" or truth[f][k] * s < e * s) for k, s, e in ((0, 1, first), (-1, -1, last))
        ]
        first, last = min(first, truth[f][0]), max(last, truth[f][-1])
    return v[(v >= 0) & (v >= first - margin[0]) & (v <= last + margin[1])]


def attempt(find, x, fs):
    """What is found, with nothing where a peer fails, and the time it took."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = find(x, fs)
    except Exception:
        found = {f: np.zeros(0, int) for f in EDGES}
    return {f: np.unique(v) for f, v in found.items()}, time.perf_counter() - start


def ludb(folder, find):
    counts, errors, took = {f: np.zeros(3, int) for f in EDGES}, {f: [] for f in EDGES}, []
    for header in sorted(folder.glob("*.hea")):
        record = wfdb.rdrecord(str(header.with_suffix("")))
        truth = marks(header.with_suffix(""), "ii")
        if not len(truth["r"]):
            continue
        lead = [n.lower() for n in record.sig_name].index("ii")
        found, seconds = attempt(find, record.p_signal[:, lead].astype(np.float32), record.fs)
        took.append(seconds)
        for f in EDGES:
            v = inside(truth, f, found[f], record.fs)
            counts[f] += len(pair(truth[f], v, MARTINEZ[f] * record.fs)), len(v), len(truth[f])
            errors[f] += [1000 * e / record.fs for e in pair(truth[f], v, TOLERANCE * record.fs)]
    f1 = {f: 200 * n / max(1, found + marked) for f, (n, found, marked) in counts.items()}
    return f1, errors, np.median(took)


def qtdb(folder, find):
    errors, marked = {f: [] for f in EDGES}, dict.fromkeys(EDGES, 0)
    for name in (folder / "RECORDS").read_text().split():
        if not (folder / f"{name}.q1c").exists():
            continue
        record, truth = wfdb.rdrecord(str(folder / name)), marks(folder / name, "q1c")
        fs, every = record.fs, np.concatenate([truth[f] for f in EDGES])
        first = int(max(0, every.min() - 30 * fs))
        x = record.p_signal[first : int(every.max() + 30 * fs)].astype(np.float32)
        leads = [attempt(find, np.ascontiguousarray(x[:, k]), fs)[0] for k in range(x.shape[1])]
        for f in EDGES:
            found = np.concatenate([lead[f][lead[f] >= 0] for lead in leads]) + first
            marked[f] += len(truth[f])
            for mark in truth[f] if len(found) else []:
                e = found[np.argmin(np.abs(found - mark))] - mark
                if abs(e) <= TOLERANCE * fs:
                    errors[f].append(1000 * e / fs)
    wide = {f: len(errors[f]) for f in EDGES}
    near = {f: sum(abs(e) <= 1000 * MARTINEZ[f] for e in errors[f]) for f in EDGES}
    se, se_wide = ({f: 100 * n[f] / max(1, marked[f]) for f in EDGES} for n in (near, wide))
    return se, se_wide, errors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["ludb", "qtdb"], choices=["ludb", "qtdb"])
    parser.add_argument("--peers", nargs="+", default=list(FINDERS), choices=list(FINDERS))
    options = parser.parse_args()
    heads = {"ludb": ("macro F1", 15, "F1 in %, SD in ms"), "qtdb": ("mean Se", 21, "Se in %, Se at 150 ms, SD in ms")}
    for macro, width, units in (heads[name] for name in options.sets):
        print(f"{'':17s}{macro:>9s}{'ms':>8s}" + "".join(f"{f:>{width}s}" for f in EDGES) + f"   ({units})")
    for name in options.peers:
        try:
            find = FINDERS[name]()
        except ImportError as missing:
            print(f"{name:17s} missing: {missing}")
            continue
        name = f"{name} {version(name)}"
        if "ludb" in options.sets:
            f1, errors, took = ludb(options.data / "ludb" / "data", find)
            row = "".join(f"{f1[f]:9.2f}{np.std(errors[f]):6.1f}" for f in EDGES)
            print(f"{name:17s}{np.mean(list(f1.values())):9.2f}{1000 * took:8.3f}{row}   LUDB, lead II", flush=True)
        if "qtdb" in options.sets:
            se, se_wide, errors = qtdb(options.data / "qtdb", find)
            row = "".join(f"{se[f]:8.2f}{se_wide[f]:7.2f}{np.std(errors[f]):6.1f}" for f in EDGES)
            print(f"{name:17s}{np.mean(list(se.values())):9.2f}{'':8s}{row}   QTDB, q1c", flush=True)


if __name__ == "__main__":
    main()
