"""Fits the correction of QRS onset and offset to the readers' marks of LUDB, all leads, and cross-validates it.

    python benchmarks/accuracy/fit_qrs.py DATA            # errors without it and, cross-validated, with it
    python benchmarks/accuracy/fit_qrs.py DATA --write    # fits it to all records and writes csrc/core/qrs_weights.h

A network of one hidden layer sees the QRS complex of an average of alike beats, or of a beat that is unlike the others
(`physioclr.reference.delineate.qrs_inputs`), and says how far the mean of the marks lies from the boundary found by
thresholds and priors. Averages are seen five times, shifted by up to 8 ms; single beats count less.
"""

from __future__ import annotations

import argparse
import importlib
import textwrap
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import wfdb
from delineation import marks, parts
from descent import descend

import physioclr as pc
from physioclr.ops._numba import constants as C
from physioclr.ops._numba import weights as W

reference = importlib.import_module("physioclr.reference.delineate")
EDGES = ("on", "off")
WEIGHT = np.array([C.QRS_ON_WEIGHT, C.QRS_OFF_WEIGHT])
PRIOR = np.array([C.QRS_ON_PRIOR, C.QRS_OFF_PRIOR])
SHIFTS = (0, -2, -1, 1, 2)  # samples
SINGLE, UNLIKE = (
    0.1,
    0.3,
)  # weights of a beat that belongs to an average and of one that does not; an average: sqrt(n) / 3
HIDDEN, EPOCHS, BATCH, RATE, DECAY, UNIT = 16, 30, 512, 1e-2, 0.3, 0.01  # UNIT: s of an error that counts as large


def collect(folder):
    """One dict for each average and each beat: record, lead, kind, inputs, base (s from the centre), marks (s)."""
    averages, beats = [], []
    for header in sorted(folder.glob("*.hea")):
        record = wfdb.rdrecord(str(header.with_suffix("")))
        for lead, name in enumerate(n.lower() for n in record.sig_name):
            truth = marks(header.with_suffix(""), name)
            x = record.p_signal[None, :, lead].astype(np.float32)
            if not len(truth["r"]):
                continue
            with mock.patch.object(reference, "settle_qrs") as settle:
                reference.delineate(x, record.fs, pc.detect_rpeaks(x, record.fs))
            for call in settle.call_args_list:
                add_block(averages, beats, dict(record=int(header.stem), lead=lead), truth, record.fs, *call.args)
    return averages, beats


def add_block(averages, beats, where, truth, fs, signal, block, group, mean):
    fi = signal.fi
    q = fs / fi

    def offsets(beat):
        return np.array([beat["qrs_on"] - beat["centre"], beat["qrs_off"] - beat["centre"]]) / fi

    members = [id(b) for b in group] if mean is not None else []
    own = np.mean([offsets(b) for b in group], axis=0) if group else np.zeros(2)
    average = None
    if mean is not None:
        template, c, on, off = mean
        seen = [reference.qrs_inputs(template, c + s, on - s, off - s) for s in SHIFTS]
        average = dict(where, inputs=seen, base=WEIGHT * [on / fi, off / fi] + (1 - WEIGHT) * PRIOR, marks=[])
        averages.append(average)
    for beat in block:
        if beat["qrs_on"] is None:
            continue
        c, alike = int(beat["centre"] + 0.5), id(beat) in members
        base = WEIGHT * offsets(beat) + (1 - WEIGHT) * PRIOR
        found = base
        if alike:
            found = average["base"] + WEIGHT * C.QRS_OWN * np.clip(offsets(beat) - own, -0.02, 0.02)
        mark = np.full(2, np.nan)
        for side, edge in enumerate(EDGES):
            d = ((truth["qrs_" + edge] - 0.5 * (q - 1)) / q - beat["centre"]) / fi
            if len(d) and np.abs(d - found[side]).min() <= 0.150:
                mark[side] = d[np.argmin(np.abs(d - found[side]))]
        inputs = reference.qrs_inputs(signal, c, beat["qrs_on"] - c, beat["qrs_off"] - c)
        if inputs is not None:
            one = dict(where, inputs=inputs, base=base, found=found, mark=mark, average=average if alike else None)
            beats.append(one)
            if alike and np.isfinite(mark).all():
                average["marks"].append(mark)


def fit(averages, beats, seed=0):
    """The weights, as arrays."""
    averages = [a for a in averages if len(a["marks"]) >= 2]
    beats = [b for b in beats if np.isfinite(b["mark"]).all()]
    x = np.concatenate([a["inputs"] for a in averages] + [[b["inputs"] for b in beats]])
    wanted = [np.median(a["marks"], axis=0) - a["base"] for a in averages for _ in SHIFTS]
    wanted += [b["mark"] - b["base"] for b in beats]
    weight = [np.sqrt(len(a["marks"])) / 3 for a in averages for _ in SHIFTS]
    weight += [SINGLE if b["average"] is not None else UNLIKE for b in beats]
    x, wanted = torch.tensor(x, dtype=torch.float32), torch.tensor(np.array(wanted) / UNIT, dtype=torch.float32)
    weight = torch.tensor(weight, dtype=torch.float32)[:, None]
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], HIDDEN), torch.nn.Softsign(), torch.nn.Linear(HIDDEN, 2))
    descend(net, x, wanted, lambda rows: weight[rows], epochs=EPOCHS, batch=BATCH, rate=RATE, decay=DECAY)
    first, _, last = net
    return [p.detach().double().numpy() for p in (first.weight, first.bias, last.weight * UNIT, last.bias * UNIT)]


def correct(weights, x):
    hidden = x @ weights[0].T + weights[1]
    return np.clip(hidden / (1 + np.abs(hidden)) @ weights[2].T + weights[3], -W.LIMIT, W.LIMIT)


def apply(weights, beats):
    """Offsets from the centre with the correction, for each beat."""
    seen = [b["inputs"] if b["average"] is None else b["average"]["inputs"][0] for b in beats]
    return np.array([b["found"] for b in beats]) + correct(weights, np.array(seen))


def report(title, beats, found):
    record, lead = np.array([b["record"] for b in beats]), np.array([b["lead"] for b in beats])
    errors = 1000 * (found - [b["mark"] for b in beats])
    for name, chosen in (("lead II", lead == 1), ("12 leads", lead >= 0)):
        for side, edge in enumerate(EDGES):
            e = errors[:, side]
            there = chosen & np.isfinite(e)
            each = [e[there & (record == r) & (lead == k)] for r in np.unique(record) for k in np.unique(lead[chosen])]
            between, within = parts(each)
            e = e[there]
            print(f"{title:14s} {name:8s} QRS {edge:3s} {e.mean():+5.1f} +- {e.std():5.2f} ms"
                  f" ({between:4.1f} between, {within:4.1f} within)", flush=True)  # fmt: skip


def write(weights, path):
    start, _, rest = path.read_text().partition("// fitted\n")
    text = start + "// fitted\n"
    for name, w in zip(("kHidden", "kHiddenBias", "kOut", "kOutBias"), weights, strict=True):
        digits = 4 if name.startswith("kHidden") else 6
        shape = {"kHidden": f"[{HIDDEN}][kInputs]", "kOut": f"[2][{HIDDEN}]"}.get(name, f"[{len(w)}]")
        rows = [", ".join(f"{v:.{digits}f}" for v in row) for row in np.atleast_2d(w)]
        rows = [row if w.ndim == 1 else "{" + row + "}" for row in rows]
        body = ",\n".join(textwrap.fill(r, 116, initial_indent=4 * " ", subsequent_indent=4 * " ") for r in rows)
        text += f"constexpr double {name}{shape} = {{\n{body}}};\n"
    path.write_text(text + "// clang-format on\n" + rest.partition("// clang-format on\n")[2])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    averages, beats = collect(options.data / "ludb" / "data")
    print(f"{len(averages)} averages, {len(beats)} beats")
    report("without", beats, np.array([b["found"] for b in beats]))
    if options.write:
        weights = fit(averages, beats)
        report("fitted", beats, apply(weights, beats))
        write(weights, Path(__file__).parents[2] / "csrc" / "core" / "qrs_weights.h")
    else:
        records = np.random.default_rng(0).permutation(np.unique([a["record"] for a in averages]))
        found = np.zeros((len(beats), 2))
        for k in range(options.folds):
            aside = set(records[k :: options.folds].tolist())
            weights = fit(*([v for v in seen if v["record"] not in aside] for seen in (averages, beats)))
            rows = [i for i, b in enumerate(beats) if b["record"] in aside]
            found[rows] = apply(weights, [beats[i] for i in rows])
        report("cross-validated", beats, found)
