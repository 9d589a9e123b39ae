"""The pooling of the encoder's skip path, a kernel on a CPU: the bits of torch, whatever the form and the processor."""

import pytest
import torch
import torch.nn.functional as F

from physioclr import _core, _isa
from physioclr.nn import layers
from physioclr.nn.halve import Halve


def by_torch(x):
    return F.avg_pool2d(x, (1, 2), ceil_mode=True, count_include_pad=False)


def both_ways(f, x, grad):
    leaf = x.detach().requires_grad_()
    y = f(leaf)
    return [y.detach(), torch.autograd.grad(y, leaf, grad)[0]]


def case(b, c, t, dtype):
    torch.manual_seed(t)
    x = torch.randn(b, c, 1, t).to(dtype).contiguous(memory_format=torch.channels_last)
    return x, torch.randn(b, c, 1, (t + 1) // 2).to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.fixture
def used(monkeypatch):
    calls, kernel = [], layers.halve
    monkeypatch.setattr(layers, "halve", lambda x: calls.append(1) or kernel(x))
    return calls


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 2), (3, 16, 63), (4, 37, 12), (5, 64, 16), (2, 128, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_has_the_bits_of_torch(shape, dtype, used):
    x, grad = case(*shape, dtype)
    threads, level = _core.num_threads(), _isa.NAMES.index(_core.isa()[0])
    want = both_ways(by_torch, x, grad)
    try:
        for n in (1, 3):
            for limit in range(_isa.NAMES.index(_core.isa()[1]) + 1):
                _core.set_num_threads(n)
                _core.testing.limit_isa(limit)
                got = both_ways(Halve(), x, grad)
                assert used and got[0].is_contiguous(memory_format=torch.channels_last)
                assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    finally:
        _core.set_num_threads(threads)
        _core.testing.limit_isa(level)


def test_it_is_a_mean_of_two_written_out(used):
    x, _ = case(3, 4, 7, torch.float32)
    want = torch.stack([*(0.5 * (x[..., k] + x[..., k + 1]) for k in (0, 2, 4)), x[..., 6]], -1)
    assert torch.equal(Halve()(x), want) and used


def test_gradients_of_other_forms_and_of_gradients(used):
    x, grad = case(3, 8, 9, torch.float32)
    for g in (grad.contiguous(), grad[:, :, :, :1].expand_as(grad)):
        assert torch.equal(both_ways(Halve(), x, g)[1], both_ways(by_torch, x, g)[1])
    found = []
    for f in (Halve(), by_torch):
        leaf = x.clone().requires_grad_()
        first = torch.autograd.grad(f(leaf).pow(3).sum(), leaf, create_graph=True)[0]
        found.append([first, torch.autograd.grad(first.square().sum(), leaf)[0]])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert len(used) == 3


def test_nan_spoils_its_own_mean_alone(used):
    x, _ = case(2, 20, 10, torch.bfloat16)
    x[0, 3, 0, 4] = float("nan")
    assert Halve()(x).isnan().nonzero().tolist() == [[0, 3, 0, 2]] and used


def test_all_else_is_left_to_torch(used):
    x, _ = case(2, 8, 9, torch.float32)
    for other in (x.double(), x.contiguous(), x[:0], x.expand(2, 8, 3, 9)):
        assert torch.equal(Halve()(other), by_torch(other))
    with torch.profiler.profile():
        Halve()(x)
    compiled = torch.compile(Halve(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), by_torch(x)) and not used
