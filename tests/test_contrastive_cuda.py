"""hybrid_contrastive_loss on a CUDA device: against the reference, without waiting for the device, in a CUDA graph."""

import pytest
import torch
from conftest import NO_GPU
from test_contrastive import MODES, TOL, batch

import physioclr as pc
from physioclr import reference
from physioclr.ops._arrays import TorchArrays
from physioclr.ops._torch import contrastive_tiles as tiles

pytestmark = [pytest.mark.cuda, NO_GPU]


def on_device(n, v=2, dtype=torch.float32, **shape):
    anchor, views, features = (x.to("cuda") for x in batch(n, v, dtype=torch.float32, grad=False, **shape))
    leaves = [x.to(dtype).requires_grad_() for x in (anchor, views)]
    return *leaves, features if dtype != torch.float64 else features.double()


def both(anchor, views, features, group=None, **options):
    """(loss, gradients) of the op and of the reference, the latter on the host in float64."""
    loss = pc.hybrid_contrastive_loss(anchor, views, features, group, **options)
    host = [x.detach().cpu().requires_grad_() for x in (anchor, views)]
    ids = None if group is None else group.cpu()
    want = reference.hybrid_contrastive_loss(*host, features.cpu(), ids, **options)[0]
    return loss, torch.autograd.grad(loss, (anchor, views)), want, torch.autograd.grad(want, host)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tau", [0.1, 0.005])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n, v", [(1, 2), (3, 0), (151, 4), (4500, 1)])  # the last one takes two tiles
def test_tiles(mode, tau, dtype, n, v):
    group = torch.arange(n, device="cuda") // 2
    loss, grads, want, wants = both(*on_device(n, v, dtype), group, mode=mode, tau=tau, tau_s=max(tau, 0.05))
    assert loss.item() == pytest.approx(want.item(), rel=1e-5, abs=1e-5)
    for g, w in zip(grads, wants, strict=True):
        assert (g.cpu() - w).norm() <= TOL[dtype] * w.norm() + 1e-12


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n, d, v", [(1, 5, 2), (151, 64, 4), (3000, 256, 2), (700, 130, 0)])
def test_16_bit(mode, dtype, n, d, v):
    group = torch.arange(n, device="cuda") // 2
    loss, grads, want, wants = both(*on_device(n, v, dtype, d=d, f=50), group, mode=mode)
    assert loss.item() == pytest.approx(want.item(), rel=1e-5, abs=1e-5)
    for g, w in zip(grads, wants, strict=True):
        assert (g.cpu().float() - w.float()).norm() <= 2 * torch.finfo(dtype).eps * w.float().norm()


def test_the_same_bits_every_time():
    for dtype in (torch.float32, torch.bfloat16):
        inputs = on_device(3000, 2, dtype, d=256, f=50)
        runs = []
        for _ in range(3):
            loss = pc.hybrid_contrastive_loss(*inputs)
            runs.append((loss, *torch.autograd.grad(loss, inputs[:2])))
        assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_waits_for_the_device(dtype):
    inputs, group = on_device(300, 2, dtype), torch.arange(300, device="cuda") // 2
    pc.hybrid_contrastive_loss(*inputs, group).backward()  # what the first call of anything needs
    torch.cuda.set_sync_debug_mode("error")
    try:
        pc.hybrid_contrastive_loss(*inputs, group).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_a_cuda_graph(dtype):
    anchor, views, features = on_device(300, 2, dtype)
    group = torch.arange(300, device="cuda") // 2

    def step():
        loss = pc.hybrid_contrastive_loss(anchor, views, features, group)
        return loss, *torch.autograd.grad(loss, (anchor, views))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        anchor.copy_(anchor.flip(0))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))


def test_16_bit_takes_the_fused_kernels():
    anchor, views, features = on_device(300, 2, torch.bfloat16)
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("no tensor cores for bfloat16")
    xp, settings = TorchArrays(anchor), (0.1, 0.25, "ratio", 0.1, "sum")
    assert isinstance(tiles.version(xp, anchor, views, features, None, settings, 0), tiles.Fused)
    assert isinstance(tiles.version(xp, anchor.float(), views.float(), features, None, settings, 0), tiles.Tiles)


def test_memory_grows_as_n():
    n = 16384
    inputs = on_device(n, 2, torch.bfloat16, d=256, f=50)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    pc.hybrid_contrastive_loss(*inputs).backward()
    assert torch.cuda.max_memory_allocated() - before < n * n / 2  # bytes; a bit a pair would be n * n / 8
