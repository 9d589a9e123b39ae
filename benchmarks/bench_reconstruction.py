"""peak_reconstruction_loss, forward + backward, beside torch's mse_loss over all samples and the plain torch way.

pytest benchmarks/bench_reconstruction.py
"""

import pytest
import torch

import physioclr as pc

B, L, T, FS = 64, 12, 2500, 500.0
METHODS = ["mse_loss (all samples)", "torch, mask", "physioclr"]


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    x_hat, x = (torch.randn(B, L, T, generator=generator) for _ in range(2))
    peaks = torch.arange(100, T, 400).repeat(B, 1).to(torch.int32)  # 75 beats a minute
    return x_hat.requires_grad_(), x, peaks


def masked(x_hat, x, peaks):
    inside = ((torch.arange(T)[None, :, None] - peaks[:, None, :]).abs() <= round(0.04 * FS)).any(-1)
    inside = inside[:, None, :].expand_as(x)
    return ((x_hat - x).square() * inside).sum() / inside.sum()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threads", [1, 2])
def test_peak_reconstruction_loss(benchmark, batch, method, threads):
    x_hat, x, peaks = batch
    benchmark.group = f"peak reconstruction loss, forward + backward, {B} x {L} x {T}, {threads} threads"
    loss = {
        METHODS[0]: lambda: torch.nn.functional.mse_loss(x_hat, x),
        METHODS[1]: lambda: masked(x_hat, x, peaks),
        METHODS[2]: lambda: pc.peak_reconstruction_loss(x_hat, x, peaks, FS),
    }[method]
    before = torch.get_num_threads(), pc.info()["threads"]
    torch.set_num_threads(threads)
    pc.set_num_threads(threads)
    try:
        benchmark(lambda: torch.autograd.grad(loss(), x_hat))
    finally:
        torch.set_num_threads(before[0])
        pc.set_num_threads(before[1])
