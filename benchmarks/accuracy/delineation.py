"""Delineation accuracy on LUDB (lead II, then all leads) and on the manual marks of QTDB (q1c).

    python benchmarks/accuracy/delineation.py DATA        # a folder with ludb/data/*.hea and qtdb/RECORDS

LUDB, one lead at a time, R peaks by detect_rpeaks: sensitivity, positive predictive value and F1 within 150 ms, mean
and SD of the error, and the two parts of the SD: between the means of the records and within them. For lead II also how
far the marks themselves scatter within a record, about their mean distance from the aligned QRS complexes: with no
algorithm involved, what the readers leave open. Only what lies between the first and the last marked QRS of a lead
counts, because LUDB leaves the edges unmarked. QTDB, both leads at once: the mark is compared with the nearer of the
two leads, as is usual there; QTDB marks only some beats, so there is no predictive value.
Beside others: delineation_peers.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import wfdb

import physioclr as pc

FIELDS = pc.Delineation._fields
TOLERANCE = 0.150  # s
QRS_SYMBOLS = set("NLRBAaJSVrFejnE/fQ?")


def marks(path, extension):
    """field -> positions, from an annotation file of the form ( p ) ( N ) ( t )."""
    a = wfdb.rdann(str(path), extension)
    symbols, samples = a.symbol, a.sample
    out = {f: [] for f in (*FIELDS, "r")}
    for i, symbol in enumerate(symbols):
        wave = "qrs" if symbol in QRS_SYMBOLS else symbol if symbol in "pt" else None
        if wave is None:
            continue
        out["r" if wave == "qrs" else f"{wave}_peak"].append(samples[i])
        if i and symbols[i - 1] == "(":
            out[f"{wave}_on"].append(samples[i - 1])
        j = i + 1
        while j < len(symbols) and symbols[j] == symbol == "t":  # a biphasic T has two peaks before its end
            j += 1
        if j < len(symbols) and symbols[j] == ")":
            out[f"{wave}_off"].append(samples[j])
    return {f: np.unique(np.array(v, dtype=np.int64)) for f, v in out.items()}


def pair(reference, found, tolerance):
    """Errors of the found positions, each mark taking the nearest one that is still free."""
    free, errors = set(found.tolist()), []
    for mark in reference.tolist():
        near = [v for v in free if abs(v - mark) <= tolerance]
        if near:
            best = min(near, key=lambda v: (abs(v - mark), v))
            free.discard(best)
            errors.append(best - mark)
    return errors


def ludb(folder, only=None):
    counts = {f: [0, 0, 0, []] for f in FIELDS}  # matched, found, marked, errors in ms, a list for each lead
    scatter = {f: [] for f in FIELDS}
    headers = sorted(folder.glob("*.hea"))
    for header in headers:
        record = wfdb.rdrecord(str(header.with_suffix("")))
        fs, names = record.fs, [n.lower() for n in record.sig_name]
        for name in names if only is None else [only]:
            truth = marks(header.with_suffix(""), name)
            if not len(truth["r"]):
                continue
            x = record.p_signal[None, :, names.index(name)].astype(np.float32)
            found = pc.delineate(x, fs, pc.detect_rpeaks(x, fs))
            for f in FIELDS:
                v = np.unique(getattr(found, f)[0])
                first, last = truth["r"][0], truth["r"][-1]
                margin = [TOLERANCE * fs * (f[0] == "q")] * 2
                if len(truth[f]):  # a wave marked beyond the outer QRS moves the limit
                    margin = [
                        TOLERANCE * fs * (f[0] == "q" or truth[f][0] < first),
                        TOLERANCE * fs * (f[0] == "q" or truth[f][-1] > last),
                    ]
                    first, last = min(first, truth[f][0]), max(last, truth[f][-1])
                v = v[(v >= 0) & (v >= first - margin[0]) & (v <= last + margin[1])]
                errors = pair(truth[f], v, TOLERANCE * fs)
                c = counts[f]
                c[0] += len(errors)
                c[1] += len(v)
                c[2] += len(truth[f])
                c[3].append([1000 * e / fs for e in errors])
            if only is not None:
                for f, v in marks_from_qrs(x[0], found, truth, fs).items():
                    scatter[f].append(v)
    print(f"LUDB, {len(headers)} records, {'12 leads' if only is None else 'lead ' + only.upper()}")
    for f, (matched, n_found, marked, by_lead) in counts.items():
        errors = np.concatenate(by_lead)
        between, within = parts(by_lead)
        se, ppv = 100 * matched / max(marked, 1), 100 * matched / max(n_found, 1)
        f1 = 2 * se * ppv / max(se + ppv, 1e-9)
        error = f"{np.mean(errors):+5.1f} +- {np.std(errors):4.1f} ms"
        line = f"  {f:8s} Se {se:6.2f}  PPV {ppv:6.2f}  F1 {f1:6.2f}  error {error}"
        line += f" ({between:4.1f} between, {within:4.1f} within"
        print(line + (f"; the marks within: {parts(scatter[f])[1]:4.1f})" if only is not None else ")"))


def parts(by_lead):
    """SD of the means, and the SD about them, both weighted with the numbers of errors."""
    by_lead = [np.asarray(v) for v in by_lead if len(v)]
    n = [len(v) for v in by_lead]
    means = np.array([v.mean() for v in by_lead])
    between = np.sqrt(np.average((means - np.average(means, weights=n)) ** 2, weights=n))
    return between, np.sqrt(np.average([v.var() for v in by_lead], weights=n))


def marks_from_qrs(x, found, truth, fs):
    """field -> distances in ms of the marks of one lead from their QRS complexes, which are aligned by correlation."""
    reach, shift = int(0.06 * fs), int(0.025 * fs)
    r = found.qrs_on[0][found.qrs_on[0] >= 0] + reach
    r = r[(r >= reach + shift) & (r + reach + shift < len(x))].astype(int)
    if len(r) < 3:
        return {}
    at = r
    for _ in range(3):
        mean = np.mean([x[k - reach : k + reach + 1] for k in at], axis=0)
        tries = range(-shift, shift + 1)
        alike = [[np.corrcoef(mean, x[k + s - reach : k + s + reach + 1])[0, 1] for s in tries] for k in r]
        at = r + np.argmax(alike, axis=1) - shift
    out = {}
    for f in FIELDS:
        low, high = {"p": (-0.45, 0.05), "q": (-0.2, 0.2), "t": (0.0, 0.6)}[f[0]]
        d = (truth[f][:, None] - at[None]) / fs
        d[(d <= low) | (d >= high)] = np.inf
        d = d[np.arange(len(d)), np.argmin(np.abs(d), axis=1)]  # of the nearest QRS on the right side of the mark
        d = d[np.isfinite(d)] * 1000
        if len(d) > 2:
            out[f] = d
    return out


def qtdb(folder):
    errors, marked = {f: [] for f in FIELDS}, dict.fromkeys(FIELDS, 0)
    names = [n for n in (folder / "RECORDS").read_text().split() if (folder / f"{n}.q1c").exists()]
    for name in names:
        record = wfdb.rdrecord(str(folder / name))
        fs, truth = record.fs, marks(folder / name, "q1c")
        x = np.ascontiguousarray(record.p_signal.T[None], dtype=np.float32)
        found = pc.delineate(x, fs, pc.detect_rpeaks(x, fs), lead="all")
        for f in FIELDS:
            rows = getattr(found, f)[0, :-1]
            each = []
            for mark in truth[f]:
                distance = np.where(rows >= 0, rows - mark, 10**9).ravel()
                best = distance[np.argmin(np.abs(distance))]
                marked[f] += 1
                if abs(best) <= TOLERANCE * fs:
                    each.append(1000 * best / fs)
            errors[f].append(each)
    print(f"QTDB, {len(names)} records, reader 1, the nearer of two leads (SD of all errors, mean SD of a record)")
    for f, by_record in errors.items():
        e = np.concatenate(by_record)
        within = np.mean([np.std(v) for v in by_record if len(v) > 1])
        print(
            f"  {f:8s} n {marked[f]:5d}  Se {100 * len(e) / max(marked[f], 1):6.2f}"
            f"  error {e.mean():+5.1f} +- {e.std():4.1f} ({within:4.1f}) ms"
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    data = Path(sys.argv[1])
    ludb(data / "ludb" / "data", "ii")
    ludb(data / "ludb" / "data")
    qtdb(data / "qtdb")
