"""What benchmarks/gpu/check.py times: each op at a size that fills a large GPU, with the bytes that must move through
memory and the operations that must be done (METHOD: inputs read once, outputs written once), and what PyTorch offers
for the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import physioclr as pc

FS = 500.0


@dataclass(frozen=True)
class Workload:
    """setup(device, scale) -> the function to time. scale 1: the real size; the rehearsal takes a small one.

    moved(scale) bytes and flops(scale) floating-point operations give the two floors. peers: other ways to the result,
    each a setup; "compiled" is torch.compile of the eager one.
    """

    name: str
    ops: tuple[str, ...]
    setup: Callable[[torch.device, float], Callable[[], Any]]
    moved: Callable[[float], float]
    flops: Callable[[float], float] = lambda scale: 0.0
    eager: Callable[[torch.device, float], Callable[[], Any]] | None = None
    compiled: bool = False


def scaled(n: int, scale: float) -> int:
    return max(2, round(n * scale))


def ecg(device: torch.device, records: int, leads: int, samples: int) -> torch.Tensor:
    """Beats at 60 to 110 per minute with noise, made on the device."""
    g = torch.Generator(device).manual_seed(1)
    t = torch.arange(samples, device=device) / FS
    rate = torch.rand(records, 1, generator=g, device=device) * 0.8 + 1.0
    phase = (t * rate + torch.rand(records, 1, generator=g, device=device)) % 1.0
    beat = torch.exp(-(((phase - 0.4) / 0.018) ** 2)) + 0.25 * torch.exp(-(((phase - 0.75) / 0.07) ** 2))
    gain = torch.rand(records, leads, 1, generator=g, device=device) * 1.5 + 0.3
    out = torch.randn(records, leads, samples, generator=g, device=device).mul_(0.02)
    return out.addcmul_(gain, beat[:, None])


def peaks(device: torch.device, records: int, samples: int) -> torch.Tensor:
    """R peaks each 400 samples, with their -1 behind the last."""
    own = torch.arange(200, samples - 200, 400, dtype=torch.int32)
    index = torch.full((records, max(51, len(own) + 1)), -1, dtype=torch.int32)
    index[:, : len(own)] = own
    return index.to(device)


def normal(device: torch.device, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    g = torch.Generator(device).manual_seed(2)
    return torch.randn(*shape, generator=g, device=device, dtype=torch.float32).to(dtype)


def setup_rpeaks(device, scale):
    x = ecg(device, scaled(4096, scale), 12, 5000)
    return lambda: pc.detect_rpeaks(x, FS)


def setup_delineate(device, scale):
    x, r = ecg(device, scaled(1024, scale), 12, 5000), peaks(device, scaled(1024, scale), 5000)
    return lambda: pc.delineate(x, FS, r)


def setup_features(device, scale):
    x, r = ecg(device, scaled(1024, scale), 12, 5000), peaks(device, scaled(1024, scale), 5000)
    return lambda: pc.physio_features(x, FS, r)


def setup_augment(device, scale):
    x, r = ecg(device, scaled(2048, scale), 12, 5000), peaks(device, scaled(2048, scale), 5000)
    plan = pc.Augment.standard()
    return lambda: pc.augment(x, plan, fs=FS, seed=1, rpeaks=r)


def setup_augment_raw(device, scale):
    n = scaled(2048, scale)
    x, r = (ecg(device, n, 12, 2500) * 1000).to(torch.int16), peaks(device, n, 2500)
    plan = pc.Augment.standard()
    return lambda: pc.augment(x, plan, fs=FS, seed=[1, 2], rpeaks=r, scale=0.001, dtype=torch.bfloat16)


def eager_augment(device, scale):
    """A part of the plan's steps, as a training script writes them in PyTorch: scale, wander, noise, mask."""
    x = ecg(device, scaled(2048, scale), 12, 5000)
    t = torch.arange(5000, device=device) / FS

    def run():
        n = len(x)
        y = x * (torch.rand(n, 12, 1, device=device) * 0.4 + 0.8)
        y = y + 0.1 * torch.sin(6.28 * 0.3 * t + 6.28 * torch.rand(n, 12, 1, device=device))
        y = y + 0.02 * torch.randn_like(y)
        return y * (torch.rand(n, 12, 1, device=device) > 0.2)

    return run


def setup_shuffle(device, scale):
    x, r = ecg(device, scaled(2048, scale), 12, 5000), peaks(device, scaled(2048, scale), 5000)
    return lambda: pc.shuffle_beats(x, r, seed=1)


def pairs(n: int, **kwargs: Any) -> Callable:
    def setup(device, scale):
        x = normal(device, scaled(n, scale), 50)
        return lambda: pc.physio_similarity(x, **kwargs)

    return setup


def eager_pairs(n: int, threshold: float | None = None) -> Callable:
    def setup(device, scale):
        x = normal(device, scaled(n, scale), 50)

        def run():
            u = torch.nn.functional.normalize(x, dim=1)
            s = u @ u.T
            return s if threshold is None else s >= threshold

        return run

    return setup


def setup_hrv(device, scale):
    r = peaks(device, scaled(2048, scale), 300 * 500)
    return lambda: pc.hrv(r, 500)


def setup_neighbors(device, scale):
    x = normal(device, scaled(32768, scale), 50)
    return lambda: pc.physio_neighbors(x, k=10)


def eager_neighbors(device, scale):
    x = normal(device, scaled(32768, scale), 50)

    def run():
        u = torch.nn.functional.normalize(x, dim=1)
        return (u @ u.T).fill_diagonal_(-2).topk(10)

    return run


def loss_inputs(device, n, dtype):
    anchor = normal(device, n, 256, dtype=dtype).requires_grad_()
    views = normal(device, 2, n, 256, dtype=dtype).requires_grad_()
    return anchor, views, normal(device, n, 50)


def setup_loss(n: int, dtype: torch.dtype, precision: str = "highest", **settings: Any) -> Callable:
    def setup(device, scale):
        anchor, views, features = loss_inputs(device, scaled(n, scale), dtype)

        def run():
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision(precision)
            try:
                loss = pc.hybrid_contrastive_loss(anchor, views, features, **settings)
                return torch.autograd.grad(loss, (anchor, views))
            finally:
                torch.set_float32_matmul_precision(before)

        return run

    return setup


def ratio_loss(anchor, views, features, tau=0.1, delta=0.25):
    """The same loss with the N x N arrays in memory."""
    h, v = torch.nn.functional.normalize(anchor, dim=1), torch.nn.functional.normalize(views, dim=2)
    f = torch.nn.functional.normalize(features, dim=1)
    e = torch.exp(h @ h.T / tau)
    positive = f @ f.T >= delta
    off = ~torch.eye(len(h), dtype=torch.bool, device=h.device)
    pos = torch.exp((h * v).sum(-1) / tau).sum(0) + (e * (positive & off)).sum(1)
    return (torch.log((e * (~positive & off)).sum(1)) - torch.log(pos)).mean()


def eager_loss(n: int, dtype: torch.dtype) -> Callable:
    def setup(device, scale):
        anchor, views, features = loss_inputs(device, scaled(n, scale), dtype)
        return lambda f=ratio_loss: torch.autograd.grad(f(anchor, views, features), (anchor, views))

    return setup


def setup_peak_loss(device, scale):
    n = scaled(2048, scale)
    x, r = ecg(device, n, 12, 2500), peaks(device, n, 2500)
    x_hat = (x + 0.1).requires_grad_()
    return lambda: torch.autograd.grad(pc.peak_reconstruction_loss(x_hat, x, r, FS), x_hat)


def masked_mse(x_hat, x, mask):
    return ((x_hat - x) ** 2 * mask).sum() / (mask.sum() * x.shape[1])


def eager_peak_loss(device, scale):
    """With the mask of the windows made beforehand."""
    n = scaled(2048, scale)
    x, r = ecg(device, n, 12, 2500), peaks(device, n, 2500)
    near = (torch.arange(2500, device=device) - r[0, r[0] >= 0][:, None]).abs() <= 20
    mask = near.any(0).float().expand(n, 1, 2500)
    x_hat = (x + 0.1).requires_grad_()
    return lambda f=masked_mse: torch.autograd.grad(f(x_hat, x, mask), x_hat)


def square(n: int) -> Callable[[float], float]:
    return lambda scale: float(scaled(n, scale)) ** 2


MIB = float(1 << 20)
WORKLOADS = [
    Workload("detect_rpeaks 4096 x 12 x 5000", ("detect_rpeaks",), setup_rpeaks,
             lambda s: 4.0 * scaled(4096, s) * 12 * 5000),
    Workload("delineate 1024 x 5000, lead II", ("delineate",), setup_delineate, lambda s: 4.0 * scaled(1024, s) * 5000),
    Workload("physio_features 1024 x 5000, lead II", ("physio_features",), setup_features,
             lambda s: 4.0 * scaled(1024, s) * 5000),
    Workload("augment 2048 x 12 x 5000, standard", ("augment",), setup_augment,
             lambda s: 8.0 * scaled(2048, s) * 12 * 5000, eager=eager_augment, compiled=True),
    Workload("augment 2048 x 12 x 2500 int16, two views bf16", ("augment",), setup_augment_raw,
             lambda s: (2.0 + 4.0) * scaled(2048, s) * 12 * 2500),
    Workload("shuffle_beats 2048 x 12 x 5000", ("shuffle_beats",), setup_shuffle,
             lambda s: 8.0 * scaled(2048, s) * 12 * 5000),
    # 300 s: 600 frequencies of 375 intervals, a cosine and a sine each
    Workload("hrv 2048 x 300 s", ("hrv",), setup_hrv, lambda s: scaled(2048, s) * 375 * 5.0,
             lambda s: scaled(2048, s) * 375 * 540 * 60.0),
    Workload("physio_similarity 16384 x 16384, F 50", ("physio_similarity",), pairs(16384),
             lambda s: 4 * square(16384)(s), lambda s: 100 * square(16384)(s), eager_pairs(16384), True),
    Workload("packed mask 16384 x 16384, F 50", ("physio_similarity",), pairs(16384, threshold=0.25, packed=True),
             lambda s: square(16384)(s) / 8, lambda s: 100 * square(16384)(s), eager_pairs(16384, 0.25), True),
    Workload("physio_neighbors 32768, F 50, k 10", ("physio_neighbors",), setup_neighbors,
             lambda s: scaled(32768, s) * (200.0 + 120.0), lambda s: 100 * square(32768)(s), eager_neighbors),
    *(
        Workload(
            f"hybrid loss forward + backward, N {n}, D 256, {form}", ("hybrid_contrastive_loss",),
            setup_loss(n, dtype, **how), lambda s, n=n, dtype=dtype: scaled(n, s) * (256.0 * 6 * dtype.itemsize + 200),
            # two N x N products of depth 256 (symmetric: half of each), one more in the backward pass for the gradient
            lambda s, n=n: square(n)(s) * 256 * 2 * 2, eager_loss(n, dtype) if peer else None, peer and n <= 8192,
        )
        for n, form, dtype, how, peer in (
            (8192, "float32", torch.float32, {}, True),
            (8192, "float32 as TF32", torch.float32, {"precision": "high"}, False),
            (8192, "bfloat16", torch.bfloat16, {}, True),
            (65536, "float32", torch.float32, {}, False),
            (65536, "float32 as TF32", torch.float32, {"precision": "high"}, False),
            (65536, "bfloat16", torch.bfloat16, {}, False),
            (65536, "bfloat16, tau 0.01", torch.bfloat16, {"tau": 0.01}, False),
        )
    ),
    Workload("peak loss forward + backward, 2048 x 12 x 2500",
             ("peak_reconstruction_loss", "peak_reconstruction_loss_bwd"), setup_peak_loss,
             # the gradient written once; of the two inputs the tenth in the windows, in either pass
             lambda s: 4.0 * scaled(2048, s) * 12 * 2500 * (1 + 4 * 41 / 400), eager=eager_peak_loss, compiled=True),
]  # fmt: skip
