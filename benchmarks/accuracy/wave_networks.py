"""What size of network draws the wave boundaries how well: dense networks on windows about each beat, cross-validated.

    nice python benchmarks/accuracy/wave_networks.py DATA OUT [--widths 4 8 16 32] [--folds 5] [--steps 1200]
    python benchmarks/accuracy/wave_networks.py DATA OUT --table [--picture FILE]

The network (wave_unet.py) sees a window of 1.28 s about each beat (wave_windows.py), and its probabilities are
averaged with those of the alike beats. Copies of the records changed by `physioclr.augment` (noise, wander, gain,
warp; the marks move with the map) are seen in training alone.

Cells: each width by each fold of LUDB's records (its other records, all leads, and QTDB train; lead II of the fold
scores), and each width fitted on LUDB alone for QTDB ("qtdb") and on QTDB alone for LUDB ("ludb"). A network that is
trained is a file of OUT, and a cell that is scored a line of OUT/cells.jsonl, so the command can be stopped and started
again. Scored as in delineation_peers.py: F1 within Martinez' tolerances, mean and SD within 150 ms; alone, and with P
and T taken or left out by `pc.delineate` and drawn by the network within 40 ms of there ("rules"). One thread of a CPU.
The kernel has no such network: docs/notes/delineate.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch
import wfdb
from delineation import TOLERANCE, marks, pair
from delineation_peers import EDGES, MARTINEZ, inside
from wave_unet import UNet, chances, near_rules, place, shared, size_of, train
from wave_windows import FIELDS, by_rules, collect


def spell(data, test, left):
    """(record, lead) -> field -> positions in samples of the record."""
    found = {}
    for record, lead in sorted(set(zip(data["record"][test], data["lead"][test], strict=True))):
        mine = (data["record"][test] == record) & (data["lead"][test] == lead)
        q = 2 if data["ludb"][test][0] else 1
        at = data["first"][test][mine][:, None] + q * left[mine]
        whole = [np.unique(np.rint(v[np.isfinite(v)]).astype(int)) for v in at.T]
        found[record, lead] = dict(zip(FIELDS, whole, strict=True))
    return found


def score_ludb(folder, found):
    """Found within Martinez' tolerances, found and marked; errors in ms within 150 ms; P onsets within 150 ms alike."""
    counts, errors, p_waves = {f: np.zeros(3, int) for f in EDGES}, {f: [] for f in EDGES}, np.zeros(3, int)
    for (number, lead), places in found.items():
        path = folder / str(number)
        name = wfdb.rdheader(str(path)).sig_name[lead].lower()
        truth, fs = marks(path, name), 500
        for f in EDGES:
            v = inside(truth, f, places[f], fs)
            counts[f] += len(pair(truth[f], v, MARTINEZ[f] * fs)), len(v), len(truth[f])
            near = pair(truth[f], v, TOLERANCE * fs)
            errors[f] += [1000 * e / fs for e in near]
            if f == "p_on":
                p_waves += len(near), len(v), len(truth[f])
    return dict(counts={f: c.tolist() for f, c in counts.items()}, errors=errors, p_waves=p_waves.tolist())


def score_qtdb(folder, found):
    """As in delineation_peers.py: the marks found within 150 ms, and the errors of the nearer of two leads."""
    errors, marked = {f: [] for f in EDGES}, dict.fromkeys(EDGES, 0)
    names = (folder / "RECORDS").read_text().split()
    for number in sorted({n for n, _ in found}):
        truth = marks(folder / names[number - 1000], "q1c")
        begin = int(max(0, np.concatenate([truth[f] for f in FIELDS]).min() - 30 * 250))
        for f in EDGES:
            places = np.concatenate([v[f] for (n, _), v in found.items() if n == number]) + begin
            marked[f] += len(truth[f])
            for mark in truth[f] if len(places) else []:
                e = places[np.argmin(np.abs(places - mark))] - mark
                if abs(e) <= TOLERANCE * 250:
                    errors[f].append(1000 * e / 250)
    return dict(marked=marked, errors=errors)


def sides(data, part, folds):
    """Which windows train, and which are scored, of one cell."""
    original = data["copy"] == 0
    lead_ii = data["ludb"] & original & (data["lead"] == 1)
    if part == "qtdb":
        return data["ludb"], ~data["ludb"] & original
    if part == "ludb":
        return ~data["ludb"], lead_ii
    order = np.random.default_rng(0).permutation(np.unique(data["record"][data["ludb"]]))
    aside = np.isin(data["record"], order[int(part) :: folds])
    return ~aside, lead_ii & aside


def run(data, ruled, folder, out, width, part, folds, steps):
    """Trains one cell's network, if it is not there, and scores it."""
    fitted, test = sides(data, part, folds)
    if np.isin(data["record"][test], data["record"][fitted]).any():
        raise AssertionError("a record on both sides")
    kept = out / f"{width}_{part}.pt"
    if kept.exists():
        net = UNet(width, 4)
        net.load_state_dict(torch.load(kept))
        net.eval()
    else:
        known = fitted & ~np.isnan(data["wanted"]).all(axis=1)
        _, which, often = np.unique(data["record"][known], return_inverse=True, return_counts=True)
        weight = np.where(data["ludb"][known] | (part == "ludb"), 1.0, 0.5) / np.sqrt(often)[which]
        start = time.process_time()
        net, loss = train(data["x"][known], data["wanted"][known], data["ludb"][known], weight, width, steps)
        torch.save(net.state_dict(), kept)
        print(f"width {width}, {part}: {time.process_time() - start:.0f} s, loss {loss:.3f}", flush=True)
    begin = time.process_time()
    chance = chances(net, data["x"][test], part != "ludb")
    each = 1e6 * (time.process_time() - begin) / len(chance)
    record, lead = data["record"][test], data["lead"][test]
    chance = shared(chance, data["x"][test], 100 * record + lead)
    q = np.where(data["ludb"][test], 2, 1)[:, None]
    found = np.concatenate([ruled[k] for k in dict.fromkeys(zip(record.tolist(), lead.tolist(), strict=True))])
    found = np.where(found < 0, np.nan, (found - data["first"][test][:, None]) / q)
    weights, macs = size_of(net)
    row = dict(width=width, part=part, folds=folds, steps=steps, weights=weights, macs=macs, us_a_beat=each)
    for how, c in (("alone", chance), ("rules", near_rules(chance, found))):
        places = spell(data, test, place(c))
        row[how] = score_qtdb(folder / "qtdb", places) if part == "qtdb" else score_ludb(folder / "ludb/data", places)
    with (out / "cells.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def done(out):
    path = out / "cells.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


PARTS = {"LUDB II by record": None, "LUDB II fitted on QTDB": "ludb", "QTDB fitted on LUDB": "qtdb"}


def summary(rows, width, part, how):
    """Over the folds: F1 (of QTDB the sensitivity) in %, mean and SD in ms for each boundary, and what is said of P."""
    mine = [r for r in rows if r["width"] == width and (r["part"] == part if part else r["part"].isdigit())]
    if not mine:
        return None
    out = dict(mine[0], folds_done=len(mine), us_a_beat=np.median([r["us_a_beat"] for r in mine]))
    scored = [r[how] for r in mine]
    errors = {f: np.concatenate([s["errors"][f] for s in scored]) for f in EDGES}
    if part == "qtdb":
        out["share"] = {f: 100 * len(errors[f]) / scored[0]["marked"][f] for f in EDGES}
    else:
        counts = {f: np.sum([s["counts"][f] for s in scored], axis=0) for f in EDGES}
        out["share"] = {f: 200 * n / (found + marked) for f, (n, found, marked) in counts.items()}
        out["macro"] = np.mean(list(out["share"].values()))
        near, found, marked = np.sum([s["p_waves"] for s in scored], axis=0)
        out["p_se"], out["p_ppv"] = 100 * near / marked, 100 * near / found
    return dict(out, mean={f: e.mean() for f, e in errors.items()}, sd={f: e.std() for f, e in errors.items()})


def table(rows):
    print(f"{'':40s}{'macro F1':>9s}" + "".join(f"{f:>21s}" for f in EDGES) + "  (F1 or Se in %, mean and SD in ms)")
    for (title, part), how in itertools.product(PARTS.items(), ("alone", "rules")):
        for width in sorted({r["width"] for r in rows}):
            s = summary(rows, width, part, how)
            if s is None:
                continue
            line = f"{s['weights']:8d} {title:25s}{how:6s}" + (f"{s['macro']:9.2f}" if "macro" in s else 9 * " ")
            line += "".join(f"{s['share'][f]:8.2f}{s['mean'][f]:+6.1f}{s['sd'][f]:7.1f}" for f in EDGES)
            if "macro" in s:
                line += f"  P Se {s['p_se']:.2f} PPV {s['p_ppv']:.2f}"
                line += f"  {s['macs'] / 1e6:.2f} M, {s['us_a_beat']:.0f} us a beat"
            print(line + (f"  {s['folds_done']} of {s['folds']} folds" if part is None else ""))


def picture(rows, path):
    """Weights against macro F1 and the SD of each boundary, by record."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [r for r in rows if r["part"].isdigit()]
    widths = sorted({r["width"] for r in rows})
    folds = set.intersection(*({r["part"] for r in rows if r["width"] == w} for w in widths))
    rows = [r for r in rows if r["part"] in folds]  # the same records for each size
    every = [summary(rows, w, None, "alone") for w in widths]
    chosen = [summary(rows, w, None, "rules") for w in widths]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    weights = [s["weights"] for s in every]
    left.semilogx(weights, [s["macro"] for s in every], "o-", color="k", label="network alone")
    left.semilogx(weights, [s["macro"] for s in chosen], "o--", color="k", label="P and T by the rules")
    left.legend(fontsize=7, handlelength=4)  # long enough to tell broken lines
    left.set(xlabel="weights", ylabel="macro F1, %")
    for f in EDGES:
        (line,) = right.loglog(weights, [s["sd"][f] for s in every], "o-", label=f)
        right.loglog(weights, [s["sd"][f] for s in chosen], "o--", color=line.get_color())
    right.set(xlabel="weights", ylabel="SD, ms")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    right.legend(fontsize=7, ncols=2)
    about = f"LUDB, lead II, {len(folds)} of {rows[0]['folds']} folds; broken: P and T chosen by the rules"
    figure.suptitle(about, fontsize=8)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, help="a folder; for other folds, steps or copies another one")
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--parts", nargs="+", help="folds by number, 'qtdb' (fitted on LUDB), 'ludb' (on QTDB); all")
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print what is done, train nothing")
    parser.add_argument("--picture", type=Path, help="a PNG of the curve")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        options.out.mkdir(parents=True, exist_ok=True)
        data = collect(options.data, options.copies, options.out / f"windows{options.copies}.npz")
        ruled = by_rules(options.data, options.out / "rules.npz")
        parts = options.parts or [*map(str, range(options.folds)), "qtdb", "ludb"]
        for width, part in itertools.product(options.widths, parts):
            if not any((r["width"], r["part"]) == (width, part) for r in done(options.out)):
                run(data, ruled, options.data, options.out, width, part, options.folds, options.steps)
    table(done(options.out))
    if options.picture:
        picture(done(options.out), options.picture)


if __name__ == "__main__":
    main()
