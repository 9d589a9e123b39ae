"""Windows about the beats of LUDB and QTDB with the readers' marks, as wave_networks.py trains on them.

A window has 320 samples at 250 Hz, the QRS complex's centre of gravity (of its squared slope) at sample 120, in three
rows: the beat, the average of the beats that are alike among the twenty around it, and where the other R peaks are.
Nothing in it comes from `pc.delineate`, whose constants were fitted to the same records. Voltages are compressed,
asinh(v / 0.05 mV), so that P waves and R waves have the same order of magnitude.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import wfdb
from delineation import TOLERANCE, marks
from fit_waves import changed

import physioclr as pc

FI = 250  # Hz
BEFORE, LENGTH = 120, 320  # samples
FIELDS = pc.Delineation._fields
WAVE = {f: f.split("_")[0] for f in FIELDS}
SCALE = 0.05  # mV


def inputs(x, fs, rpeaks):
    """(n, 3, LENGTH) windows and (n,) their first samples, in samples of x; None where there are too few beats."""
    r = rpeaks[rpeaks >= 0]
    q = max(1, round(fs / FI))
    if len(r) < 2:
        return None
    y = np.nan_to_num(x[: len(x) // q * q]).reshape(-1, q).mean(axis=1).astype(np.float64)
    y = np.pad(y, LENGTH, mode="edge")
    r = np.clip(r / q + LENGTH, LENGTH, len(y) - LENGTH - 1)
    power = np.gradient(y) ** 2
    reach = np.arange(-20, 21)
    centre = r
    for _ in range(2):  # the R peak may be any of the complex's peaks; its centre of gravity moves less
        at = np.rint(centre).astype(int)
        weight = power[at[:, None] + reach] + 1e-12
        centre = at + (weight * reach).sum(axis=1) / weight.sum(axis=1)
    at = np.clip(np.rint(centre).astype(int), BEFORE, len(y) - LENGTH + BEFORE)
    windows = y[at[:, None] - BEFORE + np.arange(LENGTH)]
    windows = windows - np.median(windows[:, BEFORE - 30 : BEFORE - 10], axis=1, keepdims=True)
    middle = windows[:, BEFORE - 20 : BEFORE + 21]
    middle = middle - middle.mean(axis=1, keepdims=True)
    middle /= np.sqrt((middle**2).sum(axis=1, keepdims=True)) + 1e-9
    alike = (middle @ middle.T > 0.9) & (np.abs(np.subtract.outer(range(len(at)), range(len(at)))) <= 10)
    np.fill_diagonal(alike, True)
    mean = alike @ windows / alike.sum(axis=1, keepdims=True)
    others = np.zeros((len(at), LENGTH))
    for step in (-3, -2, -1, 1, 2, 3):
        here, there = np.arange(len(at)), np.arange(len(at)) + step
        ok = (there >= 0) & (there < len(at))
        d = np.arange(LENGTH) - (BEFORE + at[there[ok]] - at[here[ok]])[:, None]
        others[here[ok]] += np.exp(-0.5 * (d / 8.0) ** 2)
    rows = np.stack([np.arcsinh(windows / SCALE), np.arcsinh(mean / SCALE), others], axis=1)
    return rows.astype(np.float32), q * (at - BEFORE - LENGTH) + 0.5 * (q - 1)


def wanted(first, r, truth, fs):
    """(n, 8) marks in samples of the window; infinite: no such wave; NaN: not known."""
    q, out = max(1, round(fs / FI)), np.full((len(r), len(FIELDS)), np.nan)
    complexes = truth["r"]
    for k, at in enumerate(r):
        if not len(complexes) or np.abs(complexes - at).min() > TOLERANCE * fs:
            continue
        n = int(np.argmin(np.abs(complexes - at)))
        own = complexes[n]
        low = complexes[n - 1] if n else own - 0.5 * fs
        high = complexes[n + 1] if n + 1 < len(complexes) else own + 0.8 * fs
        spans = {"p": (max(low + 0.1 * fs, own - 0.5 * fs), own), "t": (own, high)}
        spans["qrs"] = own - 0.2 * fs, own + 0.2 * fs
        inner = {"p": n > 0, "qrs": False, "t": n + 1 < len(complexes)}
        for i, f in enumerate(FIELDS):
            a, b = spans[WAVE[f]]
            v = truth[f][(truth[f] > a) & (truth[f] < b)]
            if len(v):
                near = v[-1] if WAVE[f] == "p" else v[0] if WAVE[f] == "t" else v[np.argmin(np.abs(v - own))]
                out[k, i] = (near - first[k]) / q
        for w in inner:  # a wave of which nothing is marked, between two marked beats, is not there
            mine = [i for i, f in enumerate(FIELDS) if WAVE[f] == w]
            if inner[w] and np.isnan(out[k, mine]).all():
                out[k, mine] = np.inf
    inside = np.isinf(out) | ((out > 2) & (out < LENGTH - 3))
    return np.where(inside, out, np.nan)


def append(rows, x, fs, truth, where, known_only):
    rpeaks = pc.detect_rpeaks(x[None], fs).index[0]
    made = inputs(x, fs, rpeaks)
    if made is None:
        return
    windows, first = made
    marked = wanted(first, rpeaks[rpeaks >= 0], truth, fs)
    keep = ~np.isnan(marked).all(axis=1) if known_only else np.ones(len(first), bool)
    for k in np.flatnonzero(keep):
        rows.append((windows[k], marked[k], first[k], *where))


def arrays(rows):
    names = ("x", "wanted", "first", "ludb", "record", "lead", "copy")
    return {n: np.array([r[i] for r in rows]) for i, n in enumerate(names)}


def signals(data: Path):
    """Whether of LUDB, the record's number, the lead's, its samples, their rate, the marks, for each marked lead."""
    for header in sorted((data / "ludb" / "data").glob("*.hea")):
        record = wfdb.rdrecord(str(header.with_suffix("")))
        for lead, name in enumerate(n.lower() for n in record.sig_name):
            truth = marks(header.with_suffix(""), name)
            if len(truth["r"]):
                yield True, int(header.stem), lead, record.p_signal[:, lead].astype(np.float32), record.fs, truth
    for number, name in enumerate((data / "qtdb" / "RECORDS").read_text().split()):
        if (data / "qtdb" / f"{name}.q1c").exists():
            record, truth = wfdb.rdrecord(str(data / "qtdb" / name)), marks(data / "qtdb" / name, "q1c")
            every = np.concatenate([truth[f] for f in FIELDS])
            begin = int(max(0, every.min() - 30 * record.fs))
            x = record.p_signal[begin : int(every.max() + 30 * record.fs)].astype(np.float32)
            for lead in range(x.shape[1]):
                own = {f: v - begin for f, v in truth.items()}
                yield False, 1000 + number, lead, np.ascontiguousarray(x[:, lead]), record.fs, own


def collect(data: Path, copies: int, kept: Path):
    """All windows as a dict of arrays; kept: the file where they are left for the next time."""
    if kept.exists():
        return dict(np.load(kept))
    rows: list[tuple] = []
    for ludb, number, lead, x, fs, truth in signals(data):
        append(rows, x, fs, truth, (ludb, number, lead, 0), False)
        for copy in range(1, copies + 1):
            z, moved = changed(x, fs, truth, 1000 * number + 20 * lead + copy)
            if z is not None:
                append(rows, z, fs, moved, (ludb, number, lead, copy), True)
    found = arrays(rows)
    np.savez(kept, **found)
    return found


def by_rules(data: Path, kept: Path):
    """(record, lead) -> (n, 8) what `pc.delineate` finds, of LUDB's lead II and QTDB, in samples of the record."""
    if not kept.exists():
        out = {}
        for ludb, number, lead, x, fs, _ in signals(data):
            if lead == 1 or not ludb:
                r = pc.detect_rpeaks(x[None], fs)
                found = np.stack([v[0] for v in pc.delineate(x[None], fs, r)], axis=1)
                out[f"{number} {lead}"] = found[: (r.index[0] >= 0).sum()]
        np.savez(kept, **out)
    return {tuple(map(int, k.split())): v for k, v in np.load(kept).items()}
