"""`physioclr bench`: how fast the operations are on this machine, beside what one would use without them.

Each row is timed in turns with its counterpart (ours, theirs, ours, ...) so that a machine that slows down slows both;
the figure is the median. The inputs are the shipped records, 10 s at 500 Hz and timed per record, or random numbers of
the stated shape; the loss goes forward and backward (D = 256, F = 50), `augment` takes the preserving plan.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .peers import PEERS as PEERS
from .peers import SEVEN, installed, readable, released, rpeak_detectors, seven_steps
from .peers import missing_peers as missing_peers

Work = Callable[[], Any]


class Row(NamedTuple):
    """What was timed; seconds of ours; what is beside it ("" if nothing); its seconds (NaN if nothing)."""

    # Both do the same work: the figures are of one record, or of one call where the name says the sizes.
    name: str
    seconds: float
    beside: str
    beside_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For --json. times_as_long: what is beside it takes so many times the seconds of ours; None for nothing."""
        none = self.beside_seconds != self.beside_seconds
        return {
            "name": self.name, "seconds": self.seconds, "beside": self.beside or None,
            "beside_seconds": None if none else self.beside_seconds,
            "times_as_long": None if none else self.beside_seconds / self.seconds,
        }  # fmt: skip


def in_turns(works: list[Work], seconds: float) -> list[float]:
    """Median seconds of each, called in turns: once to warm up, then at least 3 times and for about `seconds`."""
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds
    while len(times[0]) < 3 or time.perf_counter() < end:
        for work, taken in zip(works, times, strict=True):
            begun = time.perf_counter()
            work()
            taken.append(time.perf_counter() - begun)
    return [statistics.median(taken) for taken in times]


def _compare(
    name: str, ours: Work, beside: str = "", theirs: Work | None = None, *, per: int = 1, seconds: float = 1.0
) -> Row:
    """Row of one comparison; the times are of one of `per` records."""
    taken = in_turns([ours] if theirs is None else [ours, theirs], seconds)
    return Row(name, taken[0] / per, beside, taken[1] / per if theirs is not None else float("nan"))


def rows(peers: bool = False, seconds: float = 1.0, progress: Callable[[int, int], object] | None = None) -> list[Row]:
    """All rows.

    Args:
        peers: also the README's table, beside the packages of PEERS that are installed.
        seconds: spent on each row, about.
        progress: called with (rows timed, rows in all).
    """
    timed = _rows(seconds) + (_peer_rows(seconds) if peers else [])
    found = []
    for k, row in enumerate(timed):
        if progress is not None:
            progress(k, len(timed))
        found.append(row())
    return found


def _records() -> np.ndarray:
    """(16, 12, 5000) mV of the shipped sample."""
    import physioclr as pc

    sample = pc.data.sample()
    return np.stack([pc.data.read_record(sample.path / i, sample.path).millivolts() for i in sample.record_ids[:16]])


def _rows(seconds: float) -> list[Callable[[], Row]]:
    import torch

    import physioclr as pc

    fs, ecg = 500.0, _records()
    lead, peaks = np.ascontiguousarray(ecg[:, 1]), pc.detect_rpeaks(ecg, fs)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Any:
        return torch.randn(shape, generator=generator)

    n = 2048
    f, h, views = normal(n, 50), normal(n, 256), normal(2, n, 256)
    group = torch.arange(n) // 2
    unit = torch.nn.functional.normalize(f, dim=1)
    batch = normal(32, 12, 5000)
    index = torch.arange(200, 4900, 420, dtype=torch.int32).repeat(32, 1)
    plan = pc.Augment.preserving()

    def row(name: str, ours: Work, beside: str = "", theirs: Work | None = None, per: int = 1) -> Callable[[], Row]:
        return lambda: _compare(name, ours, beside, theirs, per=per, seconds=seconds)

    return [
        row("R peaks, one lead", lambda: pc.detect_rpeaks(lead, fs), per=16),
        row("R peaks, 12 leads fused", lambda: pc.detect_rpeaks(ecg, fs), per=16),
        row("wave boundaries, lead II", lambda: pc.delineate(ecg, fs, peaks), per=16),
        row("159 features, lead II", lambda: pc.physio_features(ecg, fs, peaks), per=16),
        row(f"cosine, {n} x {n}", lambda: pc.physio_similarity(f), "torch.mm", lambda: unit @ unit.T),
        row(f"hybrid loss, N = {n}", lambda: _step(h, views, f, group, _fused),
            "eager torch", lambda: _step(h, views, f, group, _eager)),
        row("augment, 32 x 12 x 5000", lambda: pc.augment(batch, plan, fs=fs, seed=1, rpeaks=index),
            "a copy", batch.clone),
    ]  # fmt: skip


def _peer_rows(seconds: float) -> list[Callable[[], Row]]:
    """The README's table, as far as its packages are installed."""
    import torch

    import physioclr as pc

    fs, ecg = 500.0, _records()
    lead = np.ascontiguousarray(ecg[:2, 1])
    halves = np.ascontiguousarray(ecg.reshape(-1, 12, 2, 2500).swapaxes(1, 2).reshape(-1, 12, 2500))
    found: list[Callable[[], Row]] = []

    def add(name: str, ours: Work, beside: str = "", theirs: Work | None = None, per: int = 1) -> None:
        found.append(lambda: _compare(name, ours, beside, theirs, per=per, seconds=seconds))

    for name, detect in rpeak_detectors().items():

        def theirs(detect: Any = detect) -> None:
            for x in lead.astype(np.float64):
                detect(x, fs)

        add("R peaks, one lead, 10 s", lambda: pc.detect_rpeaks(lead, fs), name, theirs, per=2)
    if installed("neurokit2"):
        few = readable(halves, 4)

        def steps() -> None:
            for x in few:
                released(x)

        name = "R peaks, waves, 159 features, 12 leads, 5 s"
        add(name, lambda: pc.physio_features(np.stack(few), fs), "the paper's steps, neurokit2", steps, per=len(few))
    if installed("ecg_augmentations"):
        batch = torch.randn(256, 12, 5000, generator=torch.Generator().manual_seed(0))
        name = "seven augmentations, 256 x 12 x 5000"
        add(name, lambda: pc.augment(batch, SEVEN, fs=fs, seed=1), "ecg-augmentations", seven_steps(batch, fs))
    if installed("pytorch_metric_learning"):
        from pytorch_metric_learning.losses import SupConLoss

        x, label = torch.randn(4096, 256, generator=torch.Generator().manual_seed(0)), torch.arange(4096) // 4
        loss = SupConLoss(temperature=0.1)
        add("SupCon, forward and backward, N = 4096", lambda: _supcon(x, lambda h: pc.supcon(h, label, tau=0.1)),
            "pytorch-metric-learning", lambda: _supcon(x, lambda h: loss(h, label)))  # fmt: skip
    return found


def _supcon(x: Any, loss: Callable[[Any], Any]) -> None:
    h = x.detach().requires_grad_()
    loss(h).backward()


def _step(h: Any, views: Any, f: Any, group: Any, loss: Callable[..., Any]) -> None:
    h = h.detach().requires_grad_()
    loss(h, views, f, group).backward()


def _fused(h: Any, views: Any, f: Any, group: Any) -> Any:
    import physioclr as pc

    return pc.hybrid_contrastive_loss(h, views, f, group)


def _eager(h: Any, views: Any, f: Any, group: Any, tau: float = 0.1, delta: float = 0.25) -> Any:
    """The loss as one writes it in PyTorch, every N x N block in memory. Rows without a negative do not occur here."""
    from torch.nn.functional import normalize

    h, views, f = normalize(h, dim=1), normalize(views, dim=2), normalize(f, dim=1)
    other = group[:, None] != group[None]
    similar = f @ f.T >= delta
    e = (h @ h.T / tau).exp()
    positive = ((h * views).sum(2) / tau).exp().sum(0) + (e * (other & similar)).sum(1)
    return ((e * (other & ~similar)).sum(1).log() - positive.log()).mean()


def text(seconds: float) -> str:
    """A duration in its unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
