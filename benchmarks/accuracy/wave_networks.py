"""What size of network draws the wave boundaries how well: dense networks on windows about each beat, cross-validated.

    nice python benchmarks/accuracy/wave_networks.py DATA OUT [--widths 4 8 16 32] [--folds 5] [--steps 1200]
    python benchmarks/accuracy/wave_networks.py DATA OUT --table [--picture FILE]

A U-Net sees a window of 1.28 s about each beat (wave_windows.py) and gives, for each of the eight fields of
`pc.Delineation`, logits over bins of 8 ms, and one for each wave that it is absent. The wave is absent where that has
most of the probability (no threshold is chosen); a boundary is the mean about the most probable bin. It
is fitted by cross entropy to the reader's mark with a Gaussian of 10 ms about it. Copies of the records changed by
`physioclr.augment` (noise, wander, gain, warp; the marks move with the map) are seen in training alone.

Cells: each width by each fold of LUDB's records (the others, all twelve leads, train; lead II of the fold scores), and
each width fitted on all of LUDB for QTDB and the other way round. A cell that is done lies in OUT/cells.jsonl and its
boundaries in OUT, so that the command can be stopped and started again. Scored as in delineation_peers.py. One
thread of a CPU; nothing is written elsewhere: the kernel has no such network (docs/notes/delineate.md).
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
from torch import nn
from torch.nn import functional as F
from wave_windows import BEFORE, FIELDS, LENGTH, WAVE, collect

BINS, BIN = LENGTH // 2, 2  # of 8 ms
SPREAD = 1.25  # bins
REACH = {f: 2 if f in ("t_peak", "t_off") else 6 for f in FIELDS}  # bins on either side of the most probable one
SHARED = 0.5
INVERTED, STRETCH = 0.3, 0.1  # share of the batches; SD of the logarithm
GROWTH = (1, 1.5, 2, 3, 4)
BATCH, RATE, DECAY = 96, 4e-3, 0.05
WAVES = ("p", "qrs", "t")


def block(a, b, k=5):
    return nn.Sequential(nn.Conv1d(a, b, k, padding=k // 2, bias=False), nn.BatchNorm1d(b), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """(B, 4, LENGTH) -> (B, 8, BINS + 1) logits, the last one: absent."""

    def __init__(self, width: int) -> None:
        super().__init__()
        c = [round(width * g) for g in GROWTH]
        self.stem = nn.Sequential(nn.Conv1d(4, c[0], 7, 2, 3, bias=False), nn.BatchNorm1d(c[0]), nn.ReLU(inplace=True))
        self.enc = nn.ModuleList([block(c[0], c[0])] + [block(a, b) for a, b in itertools.pairwise(c)])
        self.mid = block(c[-1], c[-1])
        self.dec = nn.ModuleList([block(a + b, b) for a, b in zip(c[:0:-1], c[-2::-1], strict=True)])
        self.head = nn.Conv1d(c[0], len(FIELDS), 5, padding=2)
        self.absent = nn.Linear(2 * c[-1], len(WAVES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, skips = self.stem(x), []
        for i, enc in enumerate(self.enc):
            x = enc(F.max_pool1d(x, 2) if i else x)
            skips.append(x)
        x = F.dropout(x + self.mid(x), 0.1, self.training)
        absent = self.absent(torch.cat([x.mean(-1), x.amax(-1)], 1))[:, [WAVES.index(WAVE[f]) for f in FIELDS]]
        for dec, skip in zip(self.dec, skips[-2::-1], strict=True):
            x = dec(torch.cat([F.interpolate(x, size=skip.shape[-1]), skip], 1))
        return torch.cat([self.head(x), absent[:, :, None]], 2)


def size_of(net):
    """Weights, and multiplications a window."""
    macs = []
    hooks = [
        m.register_forward_hook(lambda m, _, y: macs.append(m.weight.numel() * (y.shape[-1] if y.dim() == 3 else 1)))
        for m in net.modules()
        if isinstance(m, nn.Conv1d | nn.Linear)
    ]
    net.eval()(torch.zeros(1, 4, LENGTH))
    for h in hooks:
        h.remove()
    return sum(p.numel() for p in net.parameters()), sum(macs)


def targets(wanted):
    """(n, 8, BINS + 1) probabilities and (n, 8) whether they are known, of marks in samples of the window."""
    place = (wanted - 0.5) / BIN
    line = torch.arange(BINS, dtype=torch.float32)
    near = torch.exp(-0.5 * ((line - torch.nan_to_num(place, 0, 0, 0)[..., None]) / SPREAD) ** 2)
    near = near / near.sum(-1, keepdim=True)
    gone = torch.isinf(place)
    return torch.cat([near * ~gone[..., None], gone[..., None].float()], -1), ~torch.isnan(place)


def with_database(x, ludb):
    """The rows, and one that says by whose custom the boundaries are to be drawn, LUDB's (1) or QTDB's (0)."""
    return torch.cat([x, ludb.float()[:, None, None].expand(-1, 1, LENGTH)], 1)


def stretched(x, wanted):
    """The windows moved, stretched and some turned upside down, and their marks."""
    factor = float(torch.exp(STRETCH * torch.randn(())))
    at = BEFORE + 8 * (2 * float(torch.rand(())) - 1)
    source = BEFORE + (torch.arange(LENGTH) - at) / factor
    source = source.clamp(0, LENGTH - 1.001)
    low = source.floor().long()
    part = source - low
    y = x[:, :, low] * (1 - part) + x[:, :, low + 1] * part
    if torch.rand(()) < INVERTED:
        y[:, :2] *= -1
    moved = (wanted - BEFORE) * factor + at
    out = ~torch.isinf(moved) & ((moved < 2) | (moved > LENGTH - 3))
    return y, torch.where(out, torch.nan, moved)


def train(x, wanted, ludb, weight, width, steps, seed=0):
    """weight: of each window, how often it is drawn."""
    torch.manual_seed(seed)
    net = UNet(width).train()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.2)
    drawn = torch.multinomial(torch.as_tensor(weight, dtype=torch.float64), steps * BATCH, replacement=True)
    x, wanted, ludb = torch.as_tensor(x), torch.as_tensor(wanted, dtype=torch.float32), torch.as_tensor(ludb)
    for rows in drawn.split(BATCH):
        seen, moved = stretched(x[rows], wanted[rows])
        goal, known = targets(moved)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(with_database(seen, ludb[rows]))
        loss = -(goal * F.log_softmax(logits.float(), -1)).sum(-1)[known].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval(), loss.item()


@torch.no_grad()
def chances(net, x, ludb):
    """(n, 8, BINS + 1) logarithms of probabilities; ludb: of the boundaries as LUDB's readers draw them."""
    parts = torch.as_tensor(x).split(512)
    return torch.cat([F.log_softmax(net(with_database(p, torch.full((len(p),), ludb))), -1) for p in parts])


def shared(chance, x, signal):
    """Half of each beat and half of the mean over those alike among the twenty around it; signal: (n,) its lead."""
    middle = x[:, 0, BEFORE - 20 : BEFORE + 21]
    middle = middle - middle.mean(axis=1, keepdims=True)
    middle /= np.sqrt((middle**2).sum(axis=1, keepdims=True)) + 1e-9
    out = chance.clone()
    for s in np.unique(signal):
        here = np.flatnonzero(signal == s)
        far = np.abs(np.subtract.outer(range(len(here)), range(len(here)))) > 10
        alike = (middle[here] @ middle[here].T > 0.9) & ~far
        np.fill_diagonal(alike, True)
        weight = torch.as_tensor(alike / alike.sum(axis=1, keepdims=True), dtype=torch.float32)
        out[here] = (1 - SHARED) * chance[here] + SHARED * torch.einsum("ij,jkl->ikl", weight, chance[here])
    return out


def place(chance):
    """(n, 8) boundaries in samples of the window, NaN where absent."""
    p, reach, most = torch.softmax(chance, -1), torch.tensor([REACH[f] for f in FIELDS]), max(REACH.values())
    gone, p = p[..., -1] > 0.5, p[..., :-1]
    line = torch.arange(-most, most + 1)
    near = p.argmax(-1)[..., None] + line
    counted = (near >= 0) & (near < BINS) & (line.abs() <= reach[:, None])
    share = torch.gather(p, 2, near.clamp(0, BINS - 1)) * counted
    at = (share * near).sum(-1) / share.sum(-1) * BIN + 0.5
    return torch.where(gone, torch.nan, at).numpy()


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


def run(data, folder, out, width, part, folds, steps):
    """Trains and scores one cell."""
    original = data["copy"] == 0
    lead_ii = data["ludb"] & original & (data["lead"] == 1)
    if part == "qtdb":
        fitted, test = data["ludb"], ~data["ludb"] & original
    elif part == "ludb":
        fitted, test = ~data["ludb"], lead_ii
    else:
        order = np.random.default_rng(0).permutation(np.unique(data["record"][data["ludb"]]))
        aside = np.isin(data["record"], order[int(part) :: folds])
        fitted, test = ~aside, lead_ii & aside
    assert not (fitted & test).any()
    known = fitted & ~np.isnan(data["wanted"]).all(axis=1)
    _, which, often = np.unique(data["record"][known], return_inverse=True, return_counts=True)
    weight = np.where(data["ludb"][known] | (part == "ludb"), 1.0, 0.5) / np.sqrt(often)[which]
    start = time.process_time()
    net, loss = train(data["x"][known], data["wanted"][known], data["ludb"][known], weight, width, steps)
    took = time.process_time() - start
    torch.save(net.state_dict(), out / f"{width}_{part}.pt")
    begin = time.process_time()
    own = chances(net, data["x"][test], part != "ludb")
    each = (time.process_time() - begin) / len(own)
    left = place(shared(own, data["x"][test], 100 * data["record"][test] + data["lead"][test]))
    found = spell(data, test, left)
    scored = score_qtdb(folder / "qtdb", found) if part == "qtdb" else score_ludb(folder / "ludb" / "data", found)
    weights, macs = size_of(net)
    row = dict(width=width, part=part, folds=folds, steps=steps, weights=weights, macs=macs, loss=loss, took=took)
    with (out / "cells.jsonl").open("a") as file:
        file.write(json.dumps(dict(row, us_a_beat=1e6 * each, **scored)) + "\n")
    print(f"width {width}, {part}: {took:.0f} s, loss {loss:.3f}", flush=True)


def done(out):
    path = out / "cells.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(out):
    rows = done(out)
    print(f"{'':34s}{'macro F1':>9s}" + "".join(f"{f:>21s}" for f in EDGES) + "  (F1 or Se in %, mean and SD in ms)")
    for width in sorted({r["width"] for r in rows}):
        for title, chosen in (
            ("LUDB II by record", lambda r: r["part"] not in ("qtdb", "ludb")),
            ("LUDB II fitted on QTDB", lambda r: r["part"] == "ludb"),
            ("QTDB fitted on LUDB", lambda r: r["part"] == "qtdb"),
        ):
            mine = [r for r in rows if r["width"] == width and chosen(r)]
            if not mine:
                continue
            errors = {f: np.concatenate([r["errors"][f] for r in mine]) for f in EDGES}
            name = f"{mine[0]['weights']:8d} {title}"
            if "counts" in mine[0]:
                counts = {f: np.sum([r["counts"][f] for r in mine], axis=0) for f in EDGES}
                share = {f: 200 * n / (found + marked) for f, (n, found, marked) in counts.items()}
                head = f"{np.mean(list(share.values())):9.2f}"
                tp, found, marked = np.sum([r["p_waves"] for r in mine], axis=0)
                tail = f"  P Se {100 * tp / marked:.2f} PPV {100 * tp / found:.2f}"
                tail += f"  {mine[0]['macs'] / 1e6:.2f} M, {np.median([r['us_a_beat'] for r in mine]):.0f} us a beat"
                tail += f"  {len(mine)} of {mine[0]['folds']} folds" if "record" in title else ""
            else:
                share = {f: 100 * len(errors[f]) / sum(r["marked"][f] for r in mine) for f in EDGES}
                head, tail = 9 * " ", ""
            cells = "".join(f"{share[f]:8.2f}{errors[f].mean():+6.1f}{errors[f].std():7.1f}" for f in EDGES)
            print(f"{name:34s}{head}{cells}{tail}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--parts", nargs="+", help="folds by number, 'qtdb' (fitted on LUDB), 'ludb' (on QTDB); all")
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        options.out.mkdir(parents=True, exist_ok=True)
        data = collect(options.data, options.copies, options.out / f"windows{options.copies}.npz")
        parts = options.parts or [*map(str, range(options.folds)), "qtdb", "ludb"]
        for width, part in itertools.product(options.widths, parts):
            if not any((r["width"], r["part"]) == (width, part) for r in done(options.out)):
                run(data, options.data, options.out, width, part, options.folds, options.steps)
    table(options.out)


if __name__ == "__main__":
    main()
