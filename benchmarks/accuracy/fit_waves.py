"""How far a small network could correct the boundaries of P and T, by its size: cross-validated on LUDB and QTDB.

    python benchmarks/accuracy/fit_waves.py DATA [--sizes 8 32 128] [--copies 1] [--folds 5]

A network sees, of each beat, the average of the alike beats of its record about the found P or T wave (values and
slopes), the same stretch of the beat itself, and what was found; it says how far the reader's mark lies from it.
Copies of the records changed by `physioclr.augment` (noise, wander, gain, warp; the marks move with the map) are
added to the training records alone. Printed per size: LUDB lead II and twelve leads, each beat corrected by a network
that has not seen its record; QTDB by a network that has seen LUDB alone, and LUDB by one that has seen QTDB alone. SD
of the errors within 150 ms, F1 within Martinez' tolerances, and its mean over the four boundaries. Nothing is
written: the kernel has no such network (docs/notes/delineate.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import wfdb
from delineation import TOLERANCE, marks
from delineation_peers import MARTINEZ, inside
from descent import descend

import physioclr as pc

FI = 250  # Hz
TARGETS = {"p": ("p_on", "p_off"), "t": ("t_on", "t_peak", "t_off")}
STEPS = {"p": np.arange(-280, 29, 8), "t": np.arange(-240, 289, 12)}  # ms from the QRS onset; from the T peak
BEFORE, AFTER = 120, 200  # samples of the window around the middle of the QRS complex
UNIT, LIMIT = 10.0, 60.0  # ms
EPOCHS, BATCH, RATE, DECAY = 15, 512, 5e-3, 0.1
PLAN = pc.Augment(
    gaussian_noise=pc.GaussianNoise(p=0.5), muscle_noise=pc.MuscleNoise(p=0.3),
    baseline_wander=pc.BaselineWander(p=0.5), amplitude_scale=pc.AmplitudeScale(p=0.5), time_warp=pc.TimeWarp(p=0.7),
)  # fmt: skip


def changed(x, fs, truth, seed):
    """The record and its marks after a random change."""
    every = np.unique(np.concatenate([v for v in truth.values() if len(v)]))
    every = every[(every >= 0) & (every < x.shape[-1])]
    y, moved = pc.augment(x[None, None], PLAN, fs=fs, seed=seed, rpeaks=every[None])
    to = np.asarray(moved.index)[0][: len(every)]
    if (to < 0).any():
        return None, None
    there = {int(a): int(b) for a, b in zip(every, to, strict=True)}
    return y[0, 0], {f: np.array([there[int(k)] for k in v if int(k) in there], np.int64) for f, v in truth.items()}


def beats_of(x, fs, truth, where, rows, span=None):
    """Appends a dict for each beat of one lead; span: the beats to keep, of more that make the averages."""
    found = pc.delineate(x[None], fs, pc.detect_rpeaks(x[None], fs))
    found = {f: v[0] for f, v in found._asdict().items()}
    there = np.flatnonzero(found["qrs_on"] >= 0)
    if len(there) < 2:
        return
    q = max(1, round(fs / FI))
    y = np.nan_to_num(x[: len(x) // q * q]).reshape(-1, q).mean(axis=1)
    ms = 1000.0 / fs
    middle = 0.5 * (found["qrs_on"] + found["qrs_off"])[there] / q
    at = middle.astype(int)
    ok = (at >= BEFORE) & (at + AFTER < len(y))
    there, middle, at = there[ok], middle[ok], at[ok]
    if len(there) < 2:
        return
    windows = np.stack([y[c - BEFORE : c + AFTER] for c in at])
    windows = windows - np.median(windows[:, BEFORE - 24 : BEFORE - 14], axis=1, keepdims=True)
    centre = windows[:, BEFORE - 15 : BEFORE + 15]
    likeness = np.corrcoef(np.vstack([np.median(centre, axis=0), centre]))[0, 1:]
    rr = np.gradient(middle) * (1000 / FI)
    for j, k in enumerate(there):
        if span is not None and not span[0] <= found["qrs_on"][k] <= span[1]:
            continue
        near = np.abs(np.arange(len(there)) - j) <= 10
        group = near & (likeness > 0.9) if likeness[j] > 0.9 else np.arange(len(there)) == j
        mean, own = windows[group].mean(axis=0), windows[j]
        noise = np.sqrt(((windows[group] - mean) ** 2).mean())
        row = dict(where)
        for wave, names in TARGETS.items():
            if found[names[0]][k] < 0:
                continue
            offsets = {f: ms * (found[f][there[group]] - q * middle[group]) for f in (*names, wave + "_peak", "qrs_on")}
            seen = found[names[0]][there[group]] >= 0
            usual = {f: np.median(v[seen]) for f, v in offsets.items()}
            mine = {f: ms * (found[f][k] - q * middle[j]) for f in offsets}
            origin = usual["qrs_on"] if wave == "p" else usual["t_peak"]
            points = np.clip(BEFORE + (origin + STEPS[wave]) * FI / 1000, 0, BEFORE + AFTER - 1)
            line = np.arange(BEFORE + AFTER)
            smooth = np.convolve(own, np.ones(5) / 5, mode="same")
            m, o = np.interp(points, line, mean), np.interp(points, line, smooth)
            slope = np.interp(points, line, np.gradient(np.convolve(mean, np.ones(5) / 5, mode="same")))
            height, steep = np.ptp(m) + 1e-4, np.abs(slope).max() + 1e-6
            extra = [(usual[f] - origin) / 100 for f in usual if f != "qrs_on"]
            extra += [np.clip(mine[f] - usual[f], -60, 60) / 30 for f in usual]
            extra += [rr[j] / 1000 - 0.8, np.log(height) + 2, np.log(noise + 1e-3) + 4, np.log(group.sum()) - 2]
            row[wave] = np.concatenate([2 * (m - m.mean()) / height, slope / steep, 2 * (o - o.mean()) / height, extra])
            wanted = np.full(len(names), np.nan)
            for i, f in enumerate(names):
                if len(truth[f]):
                    d = truth[f] - found[f][k]
                    d = d[np.argmin(np.abs(d))]
                    if abs(d) <= TOLERANCE * fs:
                        wanted[i] = d * ms
            row[wave + "_error"] = wanted
        rows.append(row)


def collect_ludb(folder, copies):
    rows, counts = [], {}
    for header in sorted(folder.glob("*.hea")):
        record = wfdb.rdrecord(str(header.with_suffix("")))
        for lead, name in enumerate(n.lower() for n in record.sig_name):
            truth = marks(header.with_suffix(""), name)
            if not len(truth["r"]):
                continue
            x = record.p_signal[:, lead].astype(np.float32)
            where = dict(db="ludb", record=int(header.stem), lead=lead, copy=0)
            beats_of(x, record.fs, truth, where, rows)
            found = pc.delineate(x[None], record.fs, pc.detect_rpeaks(x[None], record.fs))
            for f in MARTINEZ:
                v = np.unique(getattr(found, f)[0])
                counts[lead, f] = counts.get((lead, f), 0) + np.array(
                    [len(inside(truth, f, v[v >= 0], record.fs)), len(truth[f])]
                )
            for copy in range(1, copies + 1):
                z, moved = changed(x, record.fs, truth, 1000 * int(header.stem) + 20 * lead + copy)
                if z is not None:
                    beats_of(z, record.fs, moved, dict(where, copy=copy), rows)
    return rows, counts


def collect_qtdb(folder, copies):
    rows = []
    for number, name in enumerate((folder / "RECORDS").read_text().split()):
        if not (folder / f"{name}.q1c").exists():
            continue
        record, truth = wfdb.rdrecord(str(folder / name)), marks(folder / name, "q1c")
        every, fs = np.concatenate([v for v in truth.values() if len(v)]), record.fs
        first, last = int(max(0, every.min() - 20 * fs)), int(every.max() + 20 * fs)
        for lead in range(record.p_signal.shape[1]):
            x = np.ascontiguousarray(record.p_signal[first:last, lead], np.float32)
            own = {f: v - first for f, v in truth.items()}
            where = dict(db="qtdb", record=1000 + number, lead=lead, copy=0)
            for copy in range(copies + 1):
                z, moved = (x, own) if copy == 0 else changed(x, fs, own, 7000 * (number + 1) + 2 * copy + lead)
                if z is not None:
                    at = np.concatenate([v for v in moved.values() if len(v)])
                    span = at.min() - fs, at.max() + fs
                    beats_of(z, fs, moved, dict(where, copy=copy), rows, span)
    return rows


def fit(x, wanted, size, seed=0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], size), torch.nn.Softsign(), torch.nn.Linear(size, wanted.shape[1])
    )
    there = torch.isfinite(wanted)
    wanted = torch.nan_to_num(wanted) / UNIT
    descend(net, x, wanted, lambda rows: there[rows], epochs=EPOCHS, batch=BATCH, rate=RATE, decay=DECAY)
    return lambda x: np.clip(UNIT * net(x).detach().numpy(), -LIMIT, LIMIT)


class Wave:
    """The beats that have one of the waves, as arrays."""

    def __init__(self, rows, wave):
        rows = [r for r in rows if wave in r]
        self.names, self.wave = TARGETS[wave], wave
        self.x = torch.tensor(np.stack([r[wave] for r in rows]), dtype=torch.float32)
        self.error = np.stack([r[wave + "_error"] for r in rows])
        self.wanted = torch.tensor(self.error, dtype=torch.float32)
        self.record, self.lead, self.copy = (np.array([r[k] for r in rows]) for k in ("record", "lead", "copy"))
        self.ludb = np.array([r["db"] == "ludb" for r in rows])

    def corrected(self, train, test, size):
        net = fit(self.x[train], self.wanted[train], size)
        return self.error[test] - net(self.x[test])

    def cross_validated(self, size, folds):
        left = np.full(self.error.shape, np.nan)
        order = np.random.default_rng(0).permutation(np.unique(self.record[self.ludb]))
        for k in range(folds):
            aside = np.isin(self.record, order[k::folds])
            test = aside & (self.copy == 0)
            left[test] = self.corrected(~aside, test, size)
        return left

    def other_database(self, size):
        left = np.full(self.error.shape, np.nan)
        for ludb in (True, False):
            test = (self.ludb != ludb) & (self.copy == 0)
            left[test] = self.corrected(self.ludb == ludb, test, size)
        return left


def report(title, waves, left, counts):
    for name, chosen in (
        ("LUDB lead II", lambda w: w.ludb & (w.lead == 1)),
        ("LUDB 12 leads", lambda w: w.ludb),
        ("QTDB", lambda w: ~w.ludb),
    ):
        parts, scores = [], []
        for w, errors in zip(waves, left, strict=True):
            here = errors[chosen(w) & (w.copy == 0)]
            for i, f in enumerate(w.names):
                e = here[:, i][np.isfinite(here[:, i])]
                if not len(e):
                    continue
                parts.append(f"{f} {e.mean():+5.1f} +- {e.std():4.1f}")
                if f in MARTINEZ and name[0] == "L":
                    found, marked = sum(n for (k, g), n in counts.items() if g == f and (k == 1 or "12" in name))
                    scores.append(200 * (np.abs(e) <= 1000 * MARTINEZ[f] + 1e-3).sum() / (found + marked))
        if parts:
            score = f"  F1 of the four {np.mean(scores):5.2f}" if scores else ""
            print(f"{title:24s} {name:13s} {'  '.join(parts)}{score}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ludb, counts = collect_ludb(options.data / "ludb" / "data", options.copies)
    qtdb = collect_qtdb(options.data / "qtdb", options.copies)
    waves = [Wave(ludb + qtdb, wave) for wave in TARGETS]
    print(", ".join(f"{len(w.x)} beats with {w.wave.upper()} ({w.x.shape[1]} inputs)" for w in waves), flush=True)
    report("found", waves, [w.error for w in waves], counts)
    for size in options.sizes:
        weights = sum(size * (w.x.shape[1] + 1 + len(w.names)) + len(w.names) for w in waves)
        title = f"{size} units, {weights}"
        report(title + " by record", waves, [w.cross_validated(size, options.folds) for w in waves], counts)
        report(title + " by database", waves, [w.other_database(size) for w in waves], counts)
