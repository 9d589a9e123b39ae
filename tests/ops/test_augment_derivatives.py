"""Derivatives of augment and shuffle_beats beyond the first, and forward mode.

A view is A x + noise, so every derivative is A or A^T: the second derivative of a loss through it is not 0.
"""

import dataclasses

import pytest
import torch
from augment_plans import NOISES, PLANS
from torch.autograd import forward_ad
from torch.library import opcheck

import physioclr as pc
from physioclr.ops.augment import _augment_rows

# torch's own forward mode compiles a script the first time
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

R = torch.tensor([[4, 11, 17, 29, -1], [-1, -1, -1, -1, -1]])
QUIET = dataclasses.replace(PLANS["every"], **dict.fromkeys(NOISES))


def augmented(x, plan=PLANS["every"], seed=(3, 8)):
    return pc.augment(x, plan, fs=500, seed=seed, rpeaks=R)[0]


def shuffled(x, cut="tp"):
    return pc.shuffle_beats(x, R, seed=5, cut=cut, fs=1000)[0]


FORMS = {
    "augment": augmented,
    "one view": lambda x: augmented(x, seed=3),
    "time_warp": lambda x: augmented(x, PLANS["time_warp"]),
    "shuffle_beats r": lambda x: shuffled(x, "r"),
    "shuffle_beats tp": shuffled,
}


def signal(leads=2, dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(2, leads, 31, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("form", FORMS)
def test_second_derivative(form):
    assert torch.autograd.gradgradcheck(lambda x: FORMS[form](x).square(), (signal(),))


@pytest.mark.parametrize("leads", [2, 12])
def test_second_derivative_of_a_square_is_twice_the_matrix_squared(leads):
    """f = |A x + n|^2 / 2: the Hessian is A^T A whatever the noise, so H v = A^T (A v)."""
    x, v = signal(leads), torch.randn(2, leads, 31, dtype=torch.float64)
    (grad,) = torch.autograd.grad(augmented(x).square().sum() / 2, x, create_graph=True)
    (got,) = torch.autograd.grad((grad * v).sum(), x)
    moved = augmented(v, QUIET)
    (want,) = torch.autograd.grad((augmented(x, QUIET) * moved).sum(), x)
    assert want.abs().max() > 0.1
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_second_derivative_keeps_the_dtype(dtype):
    x = signal(dtype=dtype)
    for f in (augmented, shuffled):
        (grad,) = torch.autograd.grad(f(x).square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(grad.sum(), x)
        assert second.dtype == dtype and second.abs().max() > 0.5


@pytest.mark.parametrize("form", FORMS)
def test_forward_mode(form):
    f, x = FORMS[form], signal()
    assert torch.autograd.gradcheck(f, (x,), check_forward_ad=True, check_backward_ad=False)
    v = torch.randn_like(x)
    primal, tangent = torch.func.jvp(f, (x.detach(),), (v,))
    assert torch.equal(primal, f(x.detach()))
    step = f(x.detach() + v) - f(x.detach())  # the map is affine
    torch.testing.assert_close(tangent, step, rtol=0, atol=1e-6)


def test_forward_mode_of_the_gradient():
    """Forward over reverse: the Hessian times a vector."""
    x, v = signal().detach(), torch.randn(2, 2, 31, dtype=torch.float64)
    for f in FORMS.values():

        def slope(x, f=f):
            x = x.clone().requires_grad_() if not x.requires_grad else x
            return torch.autograd.grad(f(x).square().sum() / 2, x, create_graph=True)[0]

        y = x.clone().requires_grad_()
        (want,) = torch.autograd.grad((slope(y) * v).sum(), y)
        with forward_ad.dual_level():
            got = forward_ad.unpack_dual(slope(forward_ad.make_dual(x.clone().requires_grad_(), v))).tangent
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_forms_without_a_derivative_say_so():
    ecg, rows = torch.randn(2, 2, 31), torch.tensor([0, 1])
    out = torch.empty_like(ecg)

    def gather(x):
        return _augment_rows(x, rows, rows, 20, PLANS["crop"], fs=500, seed=1)

    with forward_ad.dual_level():
        dual = forward_ad.make_dual(ecg, torch.ones_like(ecg))
        with pytest.raises(ValueError, match="out is given, but ecg carries a tangent"):
            pc.augment(dual, PLANS["crop"], fs=500, seed=1, out=out)
        with pytest.raises(ValueError, match="a batch is gathered without gradient, but signals carries a tangent"):
            gather(dual)
    with pytest.raises(ValueError, match="a batch is gathered without gradient, but signals requires a gradient"):
        gather(ecg.clone().requires_grad_())
    with torch.no_grad():
        gather(ecg.clone().requires_grad_())


def test_the_peak_loss_in_forward_mode():
    x, x_hat, tangent = (torch.randn(2, 2, 900, dtype=torch.float64) for _ in range(3))
    rpeaks = torch.tensor([[100, 500], [30, 700]])
    with forward_ad.dual_level():
        out = pc.peak_reconstruction_loss(forward_ad.make_dual(x_hat, tangent), x, rpeaks, 500.0)
        slope = forward_ad.unpack_dual(out).tangent
        with pytest.raises(ValueError, match="x carries a tangent, which peak_reconstruction_loss does not pass on"):
            pc.peak_reconstruction_loss(x_hat, forward_ad.make_dual(x, tangent), rpeaks, 500.0)
    x_hat.requires_grad_()
    (grad,) = torch.autograd.grad(pc.peak_reconstruction_loss(x_hat, x, rpeaks, 500.0), x_hat)
    torch.testing.assert_close(slope, (grad * tangent).sum(), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="x requires a gradient, which peak_reconstruction_loss does not give"):
        pc.peak_reconstruction_loss(x_hat, x.requires_grad_(), rpeaks, 500.0)


def test_opcheck_of_the_backward_operators():
    text, ops = PLANS["every"]._text, torch.ops.physioclr
    grad = torch.randn(1, 2, 3, 40, dtype=torch.float64, requires_grad=True)
    opcheck(ops.augment_bwd.default, (grad, R, None, text, 500.0, [3]))
    opcheck(ops.shuffle_beats_bwd.default, (grad[0].detach().requires_grad_(), R, None, 5, "tp", 1000.0))


@pytest.mark.parametrize(
    "grad, seeds, message",
    [
        (torch.zeros(2, 2, 3, 40), [3], r"grad has shape \(2, 2, 3, 40\); it must be \(1, 2, 3, 40\)"),
        (torch.zeros(2, 40), [3, 4], r"grad has shape \(2, 40\)"),
        (torch.zeros(1, 3, 3, 40), [3], "rpeaks has 2 rows; it must have 3"),
    ],
)
def test_backward_operator_checks_its_gradient(grad, seeds, message):
    with pytest.raises(ValueError, match=message):
        torch.ops.physioclr.augment_bwd(grad, R, None, PLANS["every"]._text, 500.0, seeds)
