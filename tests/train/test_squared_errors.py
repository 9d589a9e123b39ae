"""The squared errors of the reconstruction, two kernels on a CPU: their definition, bits and limits."""

import pytest
import torch

from physioclr import _core, _isa
from physioclr.nn import layers, losses
from physioclr.nn.losses import _SquaredErrors


def case(n, leads, samples, dtype=torch.float32, valid=True, near=True):
    generator = torch.Generator().manual_seed(samples)
    x_hat, x = torch.randn(2, n, leads, samples, generator=generator).unbind()
    good = torch.rand(n, leads, samples, generator=generator) < 0.8 if valid else None
    if good is not None:
        x[~good] = float("nan")  # a missing sample, whose mask alone must keep it out
    windows = (torch.rand(n, samples, generator=generator) < 0.2).float() if near else None
    return x_hat.to(dtype), x, good, windows


def written_out(x_hat, x, valid, near, grad, near_grad):
    """Both sums and the gradient, in float64."""
    error = x_hat.double() - x.double()
    if valid is not None:
        error = torch.where(valid, error, 0.0)
    near = torch.zeros_like(error[:, 0]) if near is None else near.double()
    squares = error.square().sum(1)
    weight = 2 * grad.double()[:, None] + 2 * near_grad.double()[:, None] * near
    return squares.sum(1), (squares * near).sum(1), error * weight[:, None]


def both_ways(x_hat, x, valid, near, grad, near_grad):
    leaf = x_hat.detach().requires_grad_()
    out = _SquaredErrors.apply(leaf, x, valid, near)
    return [*(v.detach() for v in out), *torch.autograd.grad(out, leaf, (grad, near_grad))]


@pytest.fixture
def used(monkeypatch):
    calls, kernel = [], layers.squared_errors
    monkeypatch.setattr(layers, "squared_errors", lambda *given: calls.append(1) or kernel(*given))
    return calls


SHAPES = [(1, 1, 1), (3, 2, 15), (2, 12, 16), (5, 3, 17), (4, 12, 500), (2, 1, 1003), (0, 12, 40), (2, 12, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype, tol", [(torch.float32, 2e-6), (torch.bfloat16, 4e-3)])
@pytest.mark.parametrize("valid, near", [(True, True), (False, True), (True, False), (False, False)])
def test_they_are_their_definition(shape, dtype, tol, valid, near, used):
    given = case(*shape, dtype, valid, near)
    grads = torch.linspace(0.1, 1, shape[0]), torch.linspace(-1, 0.3, shape[0])
    got, want = both_ways(*given, *grads), written_out(*given, *grads)
    assert len(used) == 1 and got[2].dtype == dtype and got[0].dtype == torch.float32
    for a, b, allowed in zip(got, want, (2e-6, 2e-6, tol), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=allowed, atol=1e-7)


def test_the_gradient_has_the_bits_of_torch(used, monkeypatch):
    for dtype in (torch.float32, torch.bfloat16):
        given = case(7, 12, 333, dtype)
        grads = torch.rand(7), torch.rand(7)
        ours = both_ways(*given, *grads)
        monkeypatch.setattr(losses, "nobody_looks", lambda: False)
        theirs = both_ways(*given, *grads)
        monkeypatch.undo()
        assert torch.equal(ours[2], theirs[2])
        torch.testing.assert_close(ours[:2], theirs[:2], rtol=1e-6, atol=0)
    assert used


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neither_threads_nor_instructions_change_a_bit(dtype):
    given, found = (*case(7, 5, 331, dtype), torch.rand(7), torch.rand(7)), []
    threads, level = _core.num_threads(), _isa.NAMES.index(_core.isa()[0])
    try:
        for n in (1, 2, 5):
            for limit in range(_isa.NAMES.index(_core.isa()[1]) + 1):
                _core.set_num_threads(n)
                _core.testing.limit_isa(limit)
                found.append(both_ways(*given))
    finally:
        _core.set_num_threads(threads)
        _core.testing.limit_isa(level)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


def test_tensors_of_other_forms(used):
    x_hat, x, valid, near = case(4, 12, 50)
    grads = torch.rand(4), torch.rand(4)
    want = both_ways(x_hat, x, valid, near, *grads)
    turned = [v.transpose(1, 2).contiguous().transpose(1, 2) for v in (x_hat, x, valid)]
    got = both_ways(*turned, near.T.contiguous().T, grads[0][:1].expand(4), grads[1])
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])
    narrow = valid[:, :1].clone()  # as a mask that is the same for all leads
    got = both_ways(x_hat, x.nan_to_num(), narrow.expand_as(x), near, *grads)
    for a, b in zip(got, written_out(x_hat, x.nan_to_num(), narrow, near, *grads), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-6, atol=1e-7)
    assert len(used) == 3


def test_what_does_not_fit_is_left_to_torch(used):
    x_hat, x, valid, near = case(4, 3, 20)
    with pytest.raises(RuntimeError, match="size of tensor"):
        _SquaredErrors.apply(x_hat[:, :, :-1], x, None, None)
    assert _SquaredErrors.apply(x_hat.double(), x.double(), None, near.double())[0].dtype == torch.float64
    with torch.profiler.profile():
        _SquaredErrors.apply(x_hat, x, valid, near)
    assert not used


def test_nan_in_the_reconstruction_is_seen(used):
    x_hat, x, _, near = case(3, 2, 40, valid=False)
    x_hat[1, 0, 3] = float("nan")
    total, _ = _SquaredErrors.apply(x_hat, x, None, near)
    assert torch.equal(total.isnan(), torch.tensor([False, True, False])) and used
