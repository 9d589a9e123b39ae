"""The network of wave_networks.py: a small U-Net over a window about a beat, its training and how it is read.

For each of the eight fields of `pc.Delineation` it gives logits over bins of 8 ms, and one that the wave is absent. It
is fitted by cross entropy to the reader's mark with a Gaussian of 10 ms about it; windows are moved, stretched and
turned upside down in training. A wave is absent where that has most of the probability: no threshold is chosen. A
boundary is the mean of the bins about the most probable one.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from wave_windows import BEFORE, FIELDS, LENGTH, WAVE

BINS, BIN = LENGTH // 2, 2  # of 8 ms
SPREAD = 1.25  # bins
REACH = {f: 2 if f in ("t_peak", "t_off") else 6 for f in FIELDS}  # bins on either side of the most probable one
SHARED, NEAR = 0.5, 5
INVERTED, STRETCH = 0.3, 0.1  # share of the batches; SD of the logarithm
GROWTH = (1, 1.5, 2, 3, 4)
BATCH, RATE, DECAY = 96, 4e-3, 0.05
WAVES = ("p", "qrs", "t")


def block(a, b, k=5):
    return nn.Sequential(nn.Conv1d(a, b, k, padding=k // 2, bias=False), nn.BatchNorm1d(b), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """(B, rows, LENGTH) -> (B, 8, BINS + 1) logits, the last one: absent."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__()
        c = [round(width * g) for g in GROWTH]
        self.stem = nn.Sequential(
            nn.Conv1d(rows, c[0], 7, 2, 3, bias=False), nn.BatchNorm1d(c[0]), nn.ReLU(inplace=True)
        )
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
    net.eval()(torch.zeros(1, net.stem[0].in_channels, LENGTH))
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
    net = UNet(width, x.shape[1] + 1).train()
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


def near_rules(chance, found):
    """The chances with P and T present or absent as found, and within 40 ms of there; found: as `place` gives it."""
    at = (torch.as_tensor(found) - 0.5) / BIN
    gone = torch.isnan(at)
    far = ((torch.arange(BINS) - at[..., None]).abs() > NEAR) & ~gone[..., None]
    out = torch.cat([torch.where(far, -1e3, chance[..., :-1]), torch.where(gone, 1e4, -1e4)[..., None]], -1)
    qrs = torch.tensor([WAVE[f] == "qrs" for f in FIELDS])[:, None]
    return torch.where(qrs, chance, out.float())


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
