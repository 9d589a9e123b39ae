import numpy as np
import pytest
import torch
from torch.library import opcheck

import physioclr as pc
from physioclr import reference
from physioclr.ops._types import RPeaks

PEAKS = np.array([[0, 5, 40, 99], [50, -1, -1, -1], [-1, -1, -1, -1]], np.int32)


def make(rng, leads, dtype=np.float32):
    shape = (3, 100) if leads is None else (3, leads, 100)
    return rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("leads", [None, 1, 12])
@pytest.mark.parametrize("window", [0.0, 0.04, 0.5])
def test_matches_reference(backend, rng, leads, window):
    to, _ = backend
    x_hat, x = make(rng, leads)
    x[0, ..., 38] = np.nan  # missing
    want = reference.peak_reconstruction_loss(
        torch.from_numpy(x_hat).double(), torch.from_numpy(x).double(), PEAKS, 100.0, window=window
    )
    got = pc.peak_reconstruction_loss(to(x_hat), to(x), to(PEAKS), 100.0, window=window)
    assert float(got) == pytest.approx(float(want), rel=1e-6)


def test_overlapping_windows_count_once():
    x, x_hat = np.zeros((1, 20), np.float32), np.zeros((1, 20), np.float32)
    x_hat[0, 6], x_hat[0, 11] = 1.0, 2.0
    # windows 4..8 and 6..10 unite to 4..10: seven samples, of which one is off by 1
    assert pc.peak_reconstruction_loss(x_hat, x, [[6, 8]], 50.0) == pytest.approx(1 / 7)


def test_takes_rpeaks_and_no_peaks_is_zero(rng):
    x_hat, x = make(rng, 2)
    peaks = RPeaks(PEAKS, np.array([4, 1, 0], np.int32), np.ones(3, np.float32))
    assert pc.peak_reconstruction_loss(x_hat, x, peaks, 100.0) == pc.peak_reconstruction_loss(x_hat, x, PEAKS, 100.0)
    t = torch.from_numpy(x_hat).requires_grad_()
    loss = pc.peak_reconstruction_loss(t, torch.from_numpy(x), np.full((3, 2), -1), 100.0)
    loss.backward()
    assert loss.item() == 0 and not t.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradient_matches_reference(rng, dtype):
    x_hat, x = (torch.from_numpy(v) for v in make(rng, 3))
    a = x_hat.to(dtype, copy=True).requires_grad_()
    loss = pc.peak_reconstruction_loss(a, x.to(dtype), torch.from_numpy(PEAKS), 100.0)
    (3 * loss).backward()
    b = x_hat.detach().to(dtype).to(torch.float64, copy=True).requires_grad_()
    want = reference.peak_reconstruction_loss(b, x.to(dtype).double(), PEAKS, 100.0)
    (3 * want).backward()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32) and a.grad.dtype == dtype
    # bfloat16 keeps 8 bits, so its gradient is rounded to 2^-9 relative
    torch.testing.assert_close(a.grad.double(), b.grad, rtol=4e-3 if dtype == torch.bfloat16 else 1e-5, atol=0)
    assert loss.item() == pytest.approx(want.item(), rel=1e-6)


def test_gradcheck(rng):
    x_hat, x = (torch.from_numpy(v) for v in make(rng, 2, np.float64))
    peaks = torch.from_numpy(PEAKS)
    torch.autograd.gradcheck(lambda v: pc.peak_reconstruction_loss(v, x, peaks, 100.0), x_hat.requires_grad_())


def test_double_backward_is_refused(rng):
    x_hat, x = (torch.from_numpy(v) for v in make(rng, 2))
    x_hat.requires_grad_()
    loss = pc.peak_reconstruction_loss(x_hat, x, PEAKS, 100.0)
    (grad,) = torch.autograd.grad(loss, x_hat, create_graph=True)
    with pytest.raises(RuntimeError, match="peak_reconstruction_loss has no second derivative"):
        grad.sum().backward()


def test_opcheck_and_compile(rng):
    x_hat, x = (torch.from_numpy(v) for v in make(rng, 2))
    peaks = torch.from_numpy(PEAKS)
    opcheck(torch.ops.physioclr.peak_reconstruction_loss.default, (x_hat.clone().requires_grad_(), x, peaks, 100.0))
    opcheck(torch.ops.physioclr.peak_reconstruction_loss_bwd.default, (torch.ones(3), x_hat, x, peaks, 100.0, 0.1))
    f = torch.compile(
        lambda v: pc.peak_reconstruction_loss(v * 2, x, peaks, 100.0), fullgraph=True, backend="aot_eager"
    )
    a, b = x_hat.clone().requires_grad_(), x_hat.clone().requires_grad_()
    f(a).backward()
    pc.peak_reconstruction_loss(b * 2, x, peaks, 100.0).backward()
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(x=np.zeros((2, 10))), ValueError, r"x has shape \(2, 10\); it must be \(1, 10\)"),
        (dict(x_hat=np.zeros(10)), ValueError, r"x_hat has shape \(10,\)"),
        (dict(rpeaks=[[1], [2]]), ValueError, "rpeaks has 2 rows; it must have 1, one for each record"),
        (dict(rpeaks=[[10]]), ValueError, r"rpeaks\[0, 0\] is 10; each row must be rising sample indices from 0 to 9"),
        (dict(rpeaks=[[5, 3]]), ValueError, r"rpeaks\[0, 1\] is 3; each row must be rising"),
        (dict(rpeaks=[[-1, 5]]), ValueError, r"rpeaks\[0, 1\] is 5; each row must be rising"),
        (dict(rpeaks=[[5, 5]]), ValueError, r"rpeaks\[0, 1\] is 5; each row must be rising"),
        (dict(rpeaks=[[2**32 + 5]]), ValueError, r"rpeaks\[0, 0\] is 4294967301; each row must be rising"),
        (dict(rpeaks=[[0.5]]), TypeError, "rpeaks has dtype float64"),
        (dict(fs=10), ValueError, "fs is 10; it must be finite, at least 50 and at most 4000 Hz"),
        (dict(window=-1), ValueError, "window is -1"),
        (dict(window="wide"), TypeError, "window is 'wide'; it must be a number"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_arguments(change, error, message, torch_in):
    args = dict(x_hat=np.zeros((1, 10)), x=np.zeros((1, 10)), rpeaks=[[4]], fs=100.0, window=0.04) | change
    if torch_in:
        args["x_hat"], args["x"] = torch.from_numpy(args["x_hat"]), torch.from_numpy(args["x"])
    window = args.pop("window")
    with pytest.raises(error, match=message):
        pc.peak_reconstruction_loss(*args.values(), window=window)
