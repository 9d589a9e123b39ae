"""hybrid_contrastive_loss on a CUDA device: against the reference, without waiting for the device, in a CUDA graph."""

import pytest
import torch
from conftest import NO_GPU
from test_contrastive import MODES, TOL, batch

import physioclr as pc
from physioclr import reference
from physioclr.ops._arrays import TorchArrays
from physioclr.ops.contrastive import cuda

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
def test_tiles(mode, tau, dtype, n, v, monkeypatch):
    monkeypatch.setattr(cuda.Fused, "plan_for", lambda *inputs: None)
    group = torch.arange(n, device="cuda") // 2
    loss, grads, want, wants = both(*on_device(n, v, dtype), group, mode=mode, tau=tau, tau_s=max(tau, 0.05))
    assert loss.item() == pytest.approx(want.item(), rel=1e-5, abs=1e-5)
    for g, w in zip(grads, wants, strict=True):
        assert (g.cpu() - w).norm() <= TOL[dtype] * w.norm() + 1e-12


SHAPES = [(1, 5, 2), (151, 64, 4), (3000, 256, 2), (700, 130, 0)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tau", [0.1, 0.005])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n, d, v", SHAPES)
def test_fused(mode, tau, dtype, n, d, v):
    group = torch.arange(n, device="cuda") // 2
    options = {"mode": mode, "tau": tau, "tau_s": max(tau, 0.02)}
    loss, grads, want, wants = both(*on_device(n, v, dtype, d=d, f=50), group, **options)
    assert loss.item() == pytest.approx(want.item(), rel=1e-5, abs=1e-5)
    tol = 1e-4 if dtype == torch.float32 else (2 if tau == 0.1 else 4) * torch.finfo(dtype).eps
    for g, w in zip(grads, wants, strict=True):
        assert (g.cpu().float() - w.float()).norm() <= tol * w.float().norm()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n, d, v", SHAPES)
def test_tf32(mode, n, d, v, monkeypatch):
    monkeypatch.setattr(cuda, "tf32_allowed", lambda: True)
    loss, grads, want, wants = both(*on_device(n, v, d=d, f=50), torch.arange(n, device="cuda") // 2, mode=mode)
    assert loss.item() == pytest.approx(want.item(), rel=1e-3, abs=1e-3)
    for g, w in zip(grads, wants, strict=True):
        assert (g.cpu() - w).norm() <= 2**-9 * w.norm()


def test_float32_accuracy_of_long_sums():
    """9,000 columns: more tiles than the gradient is summed over on the tensor cores."""
    inputs = on_device(9000, 1, d=256, f=50)
    loss, grads, want, wants = both(*inputs)
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)
    assert all((g.cpu() - w).norm() <= 2e-5 * w.norm() for g, w in zip(grads, wants, strict=True))


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


def test_which_version_runs(monkeypatch):
    anchor, views, features = on_device(300, 2, d=100)
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("no tensor cores for these kernels")
    for dtype, allowed, operands in (
        (torch.bfloat16, False, "bfloat16"),
        (torch.float16, False, "float16"),
        (torch.float32, False, "float32"),
        (torch.float32, True, "tf32"),
        (torch.float64, False, None),
    ):
        monkeypatch.setattr(cuda, "tf32_allowed", lambda allowed=allowed: allowed)
        inputs = TorchArrays(anchor), anchor.to(dtype), views.to(dtype), features
        rows = cuda.version(*inputs, None, (0.005, 0.25, "ratio", 0.1, "sum"), 0)
        assert isinstance(rows, cuda.Tiles) if operands is None else rows.plan.operands == operands


def test_memory_grows_as_n():
    n = 16384
    inputs = on_device(n, 2, torch.bfloat16, d=256, f=50)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    pc.hybrid_contrastive_loss(*inputs).backward()
    assert torch.cuda.max_memory_allocated() - before < n * n / 2  # bytes; a bit a pair would be n * n / 8
