"""One or more calls of every registered operator, to be run on any device and compared: the tests marked `cuda`, the
short run under compute-sanitizer and benchmarks/gpu use this one list. An operator without a case here is found by
`uncovered`, so a new op cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from augment_plans import ONE_FIELD

import physioclr as pc
from physioclr.ops.augment import _augment_rows


class Inputs(NamedTuple):
    """What the cases read. Move with `on`."""

    ecg: torch.Tensor  # (B, 12, T) float32, mV
    raw: torch.Tensor  # (B, 12, T) int16, 1000 units per mV
    rpeaks: torch.Tensor  # (B, P) int32
    features: torch.Tensor  # (N, F) float32
    others: torch.Tensor  # (M, F) float32
    anchor: torch.Tensor  # (N, D) float32
    views: torch.Tensor  # (2, N, D) float32
    group: torch.Tensor  # (N,) int64
    rows: torch.Tensor  # (B,) int64: the records of a batch gathered from `raw`
    starts: torch.Tensor  # (B,) int64
    fs: float = 500.0

    def on(self, device: Any) -> Inputs:
        return Inputs(*(x.to(device) if isinstance(x, torch.Tensor) else x for x in self))


def gathered(ecg: Any) -> int:
    """Samples of a segment of these records."""
    return max(1, ecg.shape[2] * 2 // 3)


def inputs_of(ecg: np.ndarray, features: np.ndarray | None = None, *, width: int = 33, seed: int = 0) -> Inputs:
    """Inputs around real or made-up records (B, 12, T) at 500 Hz; features None: made-up ones."""
    rng = np.random.default_rng(seed)
    ecg = np.ascontiguousarray(ecg, np.float32)
    if features is None:
        features = rng.normal(size=(70, 19)).astype(np.float32)
        features[3] = 0  # a row without physiology forms no pairs
    n = len(features)
    rpeaks = pc.detect_rpeaks(ecg, 500.0).index
    arrays = (
        ecg,
        np.rint(np.nan_to_num(ecg) * 1000).clip(-32767, 32767).astype(np.int16),
        rpeaks,
        np.asarray(features, np.float32),
        rng.normal(size=(n // 2 + 1, features.shape[1])).astype(np.float32),
        rng.normal(size=(n, width)).astype(np.float32),
        rng.normal(size=(2, n, width)).astype(np.float32),
        rng.integers(0, max(n // 2, 1), n),
        np.arange(len(ecg))[::-1].copy(),
        rng.integers(0, ecg.shape[2] - gathered(ecg) + 1, len(ecg)),
    )
    return Inputs(*(torch.from_numpy(x) for x in arrays))


def made_up(records: int = 3, samples: int = 2600, seed: int = 0) -> Inputs:
    """Records with beats, wander and noise; one has a gap, one a flat lead."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 500.0
    ecg = np.empty((records, 12, samples), np.float32)
    for b in range(records):
        beat = (t * rng.uniform(0.9, 1.8)) % 1.0
        one = np.exp(-(((beat - 0.4) / 0.018) ** 2)) + 0.25 * np.exp(-(((beat - 0.75) / 0.07) ** 2))
        wander = 0.2 * np.sin(2 * np.pi * 0.3 * t + b)
        ecg[b] = rng.uniform(-1.5, 1.5, (12, 1)) * one + wander + rng.normal(0, 0.02, (12, samples))
    ecg[0, 2, samples // 3 : samples // 2] = np.nan
    ecg[-1, 5] = 0.1
    return inputs_of(ecg, seed=seed)


@dataclass(frozen=True)
class Case:
    """forward(inputs) gives tensors or tuples of them. grad: the inputs whose gradient is compared too.

    tolerance: the largest difference of floats, relative to the largest element of the result; 0: the same bits.
    agreement: the share of integers and booleans that must be equal (a similarity at the threshold may go either way).
    """

    name: str
    ops: tuple[str, ...]
    forward: Callable[[Inputs], Any]
    grad: tuple[str, ...] = ()
    tolerance: float = 0.0
    agreement: float = 1.0
    cupy: bool = True  # whether forward takes every library's arrays


EVERY = pc.Augment(**ONE_FIELD)


def _loss(mode: str, dtype: torch.dtype, **settings: float) -> Callable[[Inputs], Any]:
    def forward(x: Inputs) -> Any:
        inputs = x.anchor.to(dtype), x.views.to(dtype), x.features, x.group
        loss, stats = pc.hybrid_contrastive_loss(*inputs, mode=mode, **settings, return_stats=True)
        return (loss, *stats)

    return forward


def _pair_losses(dtype: torch.dtype, **settings: float) -> Callable[[Inputs], Any]:
    def forward(x: Inputs) -> Any:
        a = x.anchor.to(dtype)
        b, queue = (x.views[k].to(dtype) if k < len(x.views) else a for k in (0, 1))
        queue = queue.detach()[:40]
        return (
            pc.info_nce(a, b, x.group, negatives=queue, return_stats=True, **settings),
            pc.nt_xent(a, b, x.group, return_stats=True, **settings),
            pc.supcon(a, x.group, return_stats=True, **settings),
            pc.y_aware_info_nce(a, b, x.features, sigma=5.0, symmetric=False, return_stats=True, **settings),
            pc.soft_contrast(a, b, x.features, x.group, return_stats=True, **settings),
        )

    return forward


LOSS_OPS = ("hybrid_contrastive_loss", "contrastive_backward", "contrastive_rows")
CASES = [
    Case("detect_rpeaks", ("detect_rpeaks",), lambda x: pc.detect_rpeaks(x.ecg, x.fs)),
    Case("detect_rpeaks int16", ("detect_rpeaks",), lambda x: pc.detect_rpeaks(x.raw, x.fs)),
    Case("detect_rpeaks one lead", ("detect_rpeaks",), lambda x: pc.detect_rpeaks(x.ecg[:, 1], x.fs)),
    Case("delineate", ("delineate",), lambda x: pc.delineate(x.ecg, x.fs, x.rpeaks), agreement=0.999),
    Case("delineate all", ("delineate",), lambda x: pc.delineate(x.ecg, x.fs, x.rpeaks, lead="all"), agreement=0.999),
    Case(
        "physio_features",
        ("physio_features",),
        lambda x: pc.physio_features(x.ecg, x.fs, x.rpeaks, lead=["II", "mean"], return_paced=True),
        tolerance=1e-4,
    ),
    Case("hrv", ("hrv",), lambda x: pc.hrv(x.rpeaks, x.fs), tolerance=1e-5),
    Case("shuffle_beats", ("shuffle_beats", "shuffle_beats_bwd"), lambda x: pc.shuffle_beats(x.ecg, x.rpeaks, seed=1),
         grad=("ecg",)),
    Case("shuffle_beats tp", ("shuffle_beats", "shuffle_beats_bwd"),
         lambda x: pc.shuffle_beats(x.ecg, x.rpeaks, seed=1, cut="tp"), grad=("ecg",), tolerance=1e-6),
    Case("augment", ("augment", "augment_bwd"), lambda x: pc.augment(x.ecg, EVERY, fs=x.fs, seed=2, rpeaks=x.rpeaks),
         grad=("ecg",), tolerance=1e-6),
    Case("augment int16 two views", ("augment",),
         lambda x: pc.augment(x.raw, pc.Augment.standard(), fs=x.fs, seed=[2, 3], rpeaks=x.rpeaks, scale=0.001)),
    Case("augment out", ("augment_out",),
         lambda x: pc.augment(x.ecg, EVERY, fs=x.fs, seed=2, rpeaks=x.rpeaks, out=x.ecg * 0), tolerance=1e-6),
    Case("augment gathered", ("augment_gather",),
         lambda x: _augment_rows(x.raw, x.rows, x.starts, gathered(x.raw), pc.Augment.standard(), fs=x.fs, seed=[2, 3],
                                 rpeaks=x.rpeaks, scale=0.001)),
    Case("seeds", ("seed_of", "view_seed"),
         lambda x: (torch.tensor(torch.ops.physioclr.seed_of(torch.arange(2, device=x.group.device), 1)),
                    torch.tensor(torch.ops.physioclr.view_seed(x.group, 7, 3, 1))), cupy=False),
    Case("median_distance", ("median_distance",),
         lambda x: torch.ops.physioclr.median_distance(x.features), tolerance=1e-12, cupy=False),
    Case("physio_similarity", ("physio_similarity",), lambda x: pc.physio_similarity(x.features, x.others),
         tolerance=2e-6),
    Case("physio_similarity rbf", ("physio_similarity",),
         lambda x: pc.physio_similarity(x.features, kernel="rbf", sigma=5.0), tolerance=4e-6),
    Case("physio_similarity mask", ("physio_similarity",),
         lambda x: pc.physio_similarity(x.features, threshold=0.2512345), agreement=0.999),
    Case("physio_similarity packed", ("physio_similarity",),
         lambda x: pc.physio_similarity(x.features, threshold=0.2512345, packed=True), agreement=0.99),
    Case("physio_neighbors", ("physio_neighbors",), lambda x: pc.physio_neighbors(x.features, k=7, group=x.group),
         tolerance=2e-6, agreement=0.99),
    Case("physio_neighbors between", ("physio_neighbors",), lambda x: pc.physio_neighbors(x.features, x.others, k=5),
         tolerance=2e-6, agreement=0.99),
    *(
        Case(f"hybrid_contrastive_loss {mode} {str(dtype)[6:]}", LOSS_OPS, _loss(mode, dtype),
             grad=("anchor", "views"), tolerance=1e-2 if dtype == torch.bfloat16 else 1e-4, cupy=False)
        # float64 goes by tiles, the others through the fused kernels
        for mode in ("ratio", "supcon", "soft") for dtype in (torch.float32, torch.bfloat16, torch.float64)
    ),
    Case("hybrid_contrastive_loss soft float32, small tau", LOSS_OPS,
         _loss("soft", torch.float32, tau=0.01, tau_s=0.02), grad=("anchor", "views"), tolerance=1e-3, cupy=False),
    Case("contrastive_rows", ("contrastive_rows",),
         lambda x: torch.ops.physioclr.contrastive_rows(x.anchor, x.views, x.features, x.group), tolerance=1e-5,
         cupy=False),
    *(
        Case(f"contrastive_loss {str(dtype)[6:]}, tau {tau:g}", ("contrastive_loss", "contrastive_loss_bwd"),
             _pair_losses(dtype, tau=tau), grad=("anchor", "views"), cupy=False,
             tolerance=1e-2 if dtype == torch.bfloat16 else 1e-3)
        for dtype in (torch.float32, torch.bfloat16, torch.float64) for tau in (0.1, 0.02)
    ),
    Case("contrastive_step", ("contrastive_step",),  # with no gradient of its own: what autograd keeps
         lambda x: torch.ops.physioclr.contrastive_step(x.anchor, x.anchor * 2 + 1, None, None, x.group, None, 0.1, 0.1,
                                                        "instance", 2), tolerance=1e-3, cupy=False),
    Case("peak_reconstruction_loss", ("peak_reconstruction_loss", "peak_reconstruction_loss_bwd"),
         lambda x: pc.peak_reconstruction_loss(
             *((x.ecg.roll(3, 2), x.ecg.detach()) if isinstance(x.ecg, torch.Tensor) else (x.ecg, x.ecg)),
             x.rpeaks, x.fs), grad=("ecg",), tolerance=1e-5),
]  # fmt: skip


def uncovered() -> set[str]:
    """Registered operators that no case runs."""
    from physioclr.ops import _torch

    registered = {name.partition("::")[2] for name in _torch.LIB._op_defs}
    return registered - {op for case in CASES for op in case.ops}


def flat(result: Any) -> list[Any]:
    return [x for part in result for x in flat(part)] if isinstance(result, tuple) else [result]


def run(case: Case, x: Inputs) -> list[torch.Tensor]:
    """The outputs of a case, then the gradients of a fixed weighted sum of them."""
    leaves = [getattr(x, name).detach().nan_to_num(0.0).requires_grad_() for name in case.grad]
    out = [v for v in flat(case.forward(x._replace(**dict(zip(case.grad, leaves, strict=True))))) if v is not None]
    if not leaves:
        return out
    total = sum(
        (v.float() * torch.cos(torch.arange(v.numel(), device=v.device, dtype=torch.float32).reshape(v.shape))).sum()
        for v in out
        if v.requires_grad
    )
    return [v.detach() for v in out] + list(torch.autograd.grad(total, leaves))


def differences(case: Case, got: list[torch.Tensor], want: list[torch.Tensor]) -> list[str]:
    """What differs by more than the case allows; empty if nothing does."""
    found = []
    if len(got) != len(want):
        return [f"{len(got)} results instead of {len(want)}"]
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        a, b = a.detach().cpu(), b.detach().cpu()
        if a.shape != b.shape or a.dtype != b.dtype:
            found.append(f"result {k} is {a.dtype} {tuple(a.shape)} instead of {b.dtype} {tuple(b.shape)}")
        elif not a.is_floating_point():
            share = (a == b).double().mean().item() if a.numel() else 1.0
            if share < case.agreement:
                found.append(f"result {k}: {share:.6f} of the elements agree, not {case.agreement:g}")
        else:
            a, b = a.double(), b.double()
            if not torch.equal(a.isnan(), b.isnan()):
                found.append(f"result {k}: NaN at {(a.isnan() != b.isnan()).sum().item()} other places")
                continue
            scale = b.nan_to_num().abs().max().item() if b.numel() else 0.0
            worst = (a - b).nan_to_num().abs().max().item() if b.numel() else 0.0
            if worst > case.tolerance * scale:
                found.append(f"result {k}: off by {worst:.3g}, {worst / (scale or 1):.2g} of the largest element")
    return found
