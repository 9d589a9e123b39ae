"""`physioclr bench`: how fast the operations are on this machine, beside what one would use without them.

Each row is timed in turns with its counterpart (ours, theirs, ours, ...) so that a machine that slows down slows both;
the figure is the median. The inputs are the shipped records, 10 s at 500 Hz and timed per record, or random numbers of
the stated shape; the loss goes forward and backward (D = 256, F = 50), `augment` takes the preserving plan.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

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


PEERS = {
    "anusamalgorithm": "AnuSamAlgorithm", "ecg-augmentations": "ecg_augmentations", "faiss-cpu": "faiss",
    "fast-qrs-detector": "fast_qrs_detector", "neurokit2": "neurokit2", "physio": "physio",
    "pytorch-metric-learning": "pytorch_metric_learning", "sleepecg": "sleepecg",
}  # fmt: skip
"""Package -> module of what docs/measured.md and benchmarks/ compare with: the extra `bench`."""


def missing_peers() -> list[str]:
    """The packages of PEERS that are not installed here."""
    return [package for package, module in PEERS.items() if importlib.util.find_spec(module) is None]


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
    name: str, ours: Work, beside: str = "", theirs: Work | None = None, per: int = 1, seconds: float = 1.0
) -> Row:
    """Row of one comparison; the times are of one of `per` records."""
    taken = in_turns([ours] if theirs is None else [ours, theirs], seconds)
    return Row(name, taken[0] / per, beside, taken[1] / per if theirs is not None else float("nan"))


def _rpeak_peers() -> dict[str, Callable[[np.ndarray, float], Any]]:
    """Detectors of other packages that are installed here."""
    peers: dict[str, Callable[[np.ndarray, float], Any]] = {}

    def add(module: str, make: Callable[[Any], Callable[[np.ndarray, float], Any]]) -> None:
        try:
            peers[module.split(".")[0]] = make(importlib.import_module(module))
        except ImportError:
            pass

    add("AnuSamAlgorithm", lambda m: lambda x, fs: m.find_peak(x, int(fs)))
    add("fast_qrs_detector", lambda m: lambda x, fs: m.qrs_detector(x, int(fs)))
    add("physio", lambda m: lambda x, fs: m.compute_ecg(x, fs, parameter_preset="human_ecg"))
    add("sleepecg", lambda m: lambda x, fs: m.detect_heartbeats(x, fs))
    add("neurokit2", lambda m: lambda x, fs: m.ecg_peaks(m.ecg_clean(x, sampling_rate=int(fs)), sampling_rate=int(fs)))
    add("wfdb.processing", lambda m: lambda x, fs: m.xqrs_detect(x, fs, verbose=False))
    return peers


def rows(peers: bool = False, seconds: float = 1.0) -> list[Row]:
    """All rows.

    Args:
        peers: also the R-peak detectors of other packages that are installed.
        seconds: spent on each row, about.
    """
    import torch

    import physioclr as pc

    sample = pc.data.sample()
    ids, fs = sample.record_ids[:16], 500.0
    ecg = np.stack([pc.data.read_record(sample.path / i, sample.path).millivolts() for i in ids])
    lead, peaks = np.ascontiguousarray(ecg[:, 1]), pc.detect_rpeaks(ecg, fs)
    found = [
        _compare("R peaks, one lead", lambda: pc.detect_rpeaks(lead, fs), per=16, seconds=seconds),
        _compare("R peaks, 12 leads fused", lambda: pc.detect_rpeaks(ecg, fs), per=16, seconds=seconds),
        _compare("wave boundaries, lead II", lambda: pc.delineate(ecg, fs, peaks), per=16, seconds=seconds),
        _compare("159 features, lead II", lambda: pc.physio_features(ecg, fs, peaks), per=16, seconds=seconds),
    ]
    for name, detect in _rpeak_peers().items() if peers else ():
        one = lead[:2]

        def theirs(detect: Any = detect, one: np.ndarray = one) -> None:
            for x in one.astype(np.float64):
                detect(x, fs)

        found.append(_compare("R peaks, one lead", lambda: pc.detect_rpeaks(lead[:2], fs), name, theirs, 2, seconds))

    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Any:
        return torch.randn(shape, generator=generator)

    n = 2048
    f, h, views = normal(n, 50), normal(n, 256), normal(2, n, 256)
    group = torch.arange(n) // 2
    unit = torch.nn.functional.normalize(f, dim=1)
    found.append(
        _compare(f"cosine, {n} x {n}", lambda: pc.physio_similarity(f), "torch.mm",
                 lambda: unit @ unit.T, seconds=seconds)
    )  # fmt: skip
    found.append(
        _compare(f"hybrid loss, N = {n}", lambda: _step(h, views, f, group, _fused),
                 "eager torch", lambda: _step(h, views, f, group, _eager), seconds=seconds)
    )  # fmt: skip
    batch = normal(32, 12, 5000)
    index = torch.arange(200, 4900, 420, dtype=torch.int32).repeat(32, 1)
    plan = pc.Augment.preserving()
    found.append(
        _compare("augment, 32 x 12 x 5000",
                 lambda: pc.augment(batch, plan, fs=fs, seed=1, rpeaks=index), "a copy", batch.clone,
                 seconds=seconds)
    )  # fmt: skip
    return found


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
