"""bfloat16 embeddings on the CPU: multiplied as they are by processors that can, otherwise, and where pairs are few,
widened to float32."""

import pytest
import torch
from test_contrastive_losses import FORMS, every_form, loss_of, rows
from torch.nn.functional import cross_entropy, normalize

import physioclr as pc
from physioclr import _core


@pytest.fixture(params=["bfloat16", "float32"], autouse=True)
def products(request):
    wanted = request.param == "bfloat16"
    try:
        if _core.testing.limit_bf16(wanted) != wanted:
            pytest.skip("this processor, or this build, does not multiply bfloat16")
        yield request.param
    finally:
        _core.testing.limit_bf16(True)


def of_float64(fn, *inputs):
    """The loss and gradients of the same embeddings in float64."""
    inputs = [x.detach().double().requires_grad_() for x in inputs]
    loss = loss_of(fn(*inputs))
    return loss.detach(), *torch.autograd.grad(loss, inputs)


def distance(x, y):
    return ((x.double() - y).norm() / y.norm()).item()


@every_form
@pytest.mark.parametrize("n, d, tau", [(40, 33, 0.1), (257, 64, 0.1), (900, 5, 0.2), (1500, 1, 0.5), (300, 64, 0.02)])
def test_loss_is_of_float32_and_gradient_within_its_own_rounding(form, n, d, tau):
    a, b, f, g = rows(n, d, torch.bfloat16)

    def fn(a, b):
        return FORMS[form](pc, a, b, f, g, tau)

    loss, truth = fn(a, b), of_float64(fn, a, b)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(truth[0].item(), rel=1e-5, abs=1e-5)
    for got, want in zip(torch.autograd.grad(loss, (a, b)), truth[1:], strict=True):
        assert got.dtype == torch.bfloat16
        # the dtype's own rounding is up to 2^-9 a number; where d is 1 nothing but the rounding of sums is left
        assert (got.double() - want).norm() <= 2**-8 * want.norm() + (1e-4 if d == 1 else 1e-12)


def test_nearer_to_the_truth_than_torch_in_bfloat16():
    def eager(a, b):
        logits = normalize(a) @ normalize(b).T / 0.1
        target = torch.arange(len(a))
        return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2

    a, b, _, _ = rows(500, 64, torch.bfloat16)
    truth = of_float64(lambda a, b: pc.info_nce(a, b, tau=0.1), a, b)
    ours, theirs = pc.info_nce(a, b, tau=0.1), eager(a, b)
    assert distance(ours, truth[0]) <= 0.01 * distance(theirs, truth[0])
    grads = (torch.autograd.grad(x, (a, b)) for x in (ours, theirs))
    for x, y, want in zip(*grads, truth[1:], strict=True):
        assert distance(x, want) <= 0.5 * distance(y, want)


@every_form
def test_same_bits_at_any_number_of_threads(form):
    before, results = _core.num_threads(), []
    a, b, f, g = rows(900, 33, torch.bfloat16)
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            loss = FORMS[form](pc, a, b, f, g, 0.1)
            results.append([loss, *torch.autograd.grad(loss, (a, b))])
    finally:
        _core.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@every_form
def test_the_operator_gives_the_bits_of_the_step(form):
    a, b, f, g = rows(300, 64, torch.bfloat16)
    loss = FORMS[form](pc, a, b, f, g, 0.1)
    with torch.no_grad():
        assert torch.equal(loss, FORMS[form](pc, a, b, f, g, 0.1))


def test_the_hybrid_loss():
    for n in (100, 500):
        a, b, f, g = rows(n, 40, torch.bfloat16)
        for mode in ("ratio", "supcon", "soft"):

            def fn(a, b, mode=mode, f=f, g=g):
                features = f.to(a.dtype if a.dtype == torch.float64 else torch.float32)
                return pc.hybrid_contrastive_loss(a, b[None], features, group=g, mode=mode, delta=0.5)

            loss, truth = fn(a, b), of_float64(fn, a, b)
            assert loss.item() == pytest.approx(truth[0].item(), rel=1e-5)
            for got, want in zip(torch.autograd.grad(loss, (a, b)), truth[1:], strict=True):
                assert distance(got, want) <= 2**-8


def test_temperature_learns(products):
    a, b, _, _ = rows(300, 64, torch.bfloat16)
    tau = torch.tensor(0.1, requires_grad=True)
    wide = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    (got,) = torch.autograd.grad(pc.info_nce(a, b, tau=tau), tau)
    (want,) = torch.autograd.grad(pc.info_nce(a.detach().double(), b.detach().double(), tau=wide), wide)
    assert got.item() == pytest.approx(want.item(), rel=1e-3 if products == "bfloat16" else 1e-5)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_length_of_rows_does_not_count(scale):
    a, b, _, _ = rows(500, 33, torch.bfloat16)
    want = pc.info_nce(a, b)
    (grad,) = torch.autograd.grad(want, a)
    moved = (a.detach() * scale).requires_grad_()
    loss = pc.info_nce(moved, b)
    assert torch.equal(loss, want)  # a power of 2 changes no bit
    (other,) = torch.autograd.grad(loss, moved)
    assert distance(other.double() * scale, grad.double()) <= 2**-8


def test_rows_of_zeros_count_as_in_float64_and_nan_is_seen():
    a, b, _, _ = rows(500, 33, torch.bfloat16)
    with torch.no_grad():
        a[3] = 0
        b[440] = 0
    loss, truth = pc.info_nce(a, b), of_float64(pc.info_nce, a, b)
    assert loss.item() == pytest.approx(truth[0].item(), rel=1e-5)
    for got, want in zip(torch.autograd.grad(loss, (a, b)), truth[1:], strict=True):
        assert torch.isfinite(got).all() and distance(got, want) <= 2**-8
    for wrong in (float("nan"), float("inf")):
        with torch.no_grad():
            a[5, 2] = wrong
        assert pc.info_nce(a, b).isnan() and pc.nt_xent(a, b).isnan()
