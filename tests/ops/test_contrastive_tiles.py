"""CUDA's versions of hybrid_contrastive_loss, driven on the host by their host kernels, against the reference."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_contrastive import MODES, TOL, batch

from physioclr import _core, reference
from physioclr.ops._arrays import TorchArrays
from physioclr.ops.contrastive import cpu, cuda


def by_tiles(tile):
    return lambda *inputs: cuda.Tiles(*inputs, tile=tile)


THIRTY_TWO = by_tiles(32)


def fused(strips, operands):
    return lambda *inputs: cuda.Fused(*inputs, plan=cuda.FusedPlan(operands, strips))


DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "tf32": torch.float32}


def row_stats(anchor, views, features, group, options, first=0, *make, by=cpu):
    xp, n = TorchArrays(anchor), views.shape[1]
    out = xp.empty((n, 3), "float64"), xp.empty((n, 2), "int64")
    by.contrastive_rows(xp, out, anchor, views, features, group, options, first, *make)
    return out


def gradients(
    anchor, views, features, group, stats, counts, options, first=0, *make, by=cpu, outer=1.5, slope_only=False
):
    slope = torch.empty((), dtype=torch.float64)
    grads = anchor.new_empty((views.shape[1], anchor.shape[1])), torch.empty_like(views), slope
    grad_loss, inputs = torch.tensor(outer, dtype=torch.float64), (anchor, views, features, group, stats, counts)
    by.contrastive_backward(TorchArrays(anchor), grads, grad_loss, *inputs, options, first, *make)
    return grads


def run(anchor, views, features, group=None, *, tau=0.1, delta=0.25, mode="ratio", tau_s=0.1, pair_reduction="sum",
        first=0, make=THIRTY_TWO):  # fmt: skip
    """(loss, counts, skipped, gradients) of all rows, the statistics those of the rows from `first` on."""
    options, inputs = (tau, delta, mode, tau_s, pair_reduction), (anchor, views, features, group)
    stats, counts = row_stats(*inputs, options, first, make, by=cuda)
    loss, skipped = torch.empty((), dtype=torch.float64), torch.empty((), dtype=torch.int64)
    cpu.contrastive_finish(TorchArrays(anchor), loss, skipped, stats, counts, len(views), mode)
    if first or views.shape[1] < len(anchor):
        return stats, counts
    grads = gradients(*inputs, stats, counts, options, 0, make, by=cuda, outer=1.0)
    return loss, counts, skipped, grads


def check(anchor, views, features, group=None, tol=1e-9, make=THIRTY_TWO, **options):
    loss, counts, skipped, grads = run(anchor, views, features, group, make=make, **options)
    anchor, views = (x.detach().clone().requires_grad_() for x in (anchor, views))
    tau = torch.tensor(options.get("tau", 0.1), dtype=torch.float64, requires_grad=True)
    want, positives, negatives, want_skipped = reference.hybrid_contrastive_loss(
        anchor, views, features, group, **options | {"tau": tau}
    )
    assert torch.equal(counts[:, 0], positives) and torch.equal(counts[:, 1], negatives) and skipped == want_skipped
    assert loss.item() == pytest.approx(want.item(), rel=min(tol, 1e-5), abs=min(tol, 1e-5))
    *wanted, slope = torch.autograd.grad(want, (anchor, views, tau), allow_unused=True)  # unused where all are skipped
    for g, w in zip(grads, wanted, strict=False):
        assert g.dtype == anchor.dtype and (g - w).norm() <= tol * w.norm() + 1e-12
    slope = 0.0 if slope is None else slope.item()
    assert grads[2].item() == pytest.approx(slope, rel=tol, abs=tol / tau.item())  # a difference of sums of s / tau^2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n, v", [(1, 2), (2, 2), (3, 0), (31, 4), (64, 1), (129, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [0.1, 0.005])
def test_matches_reference(mode, n, v, dtype, tau):
    check(*batch(n, v, dtype=dtype, grad=False), mode=mode, tau=tau, tau_s=max(tau, 0.02), tol=TOL[dtype])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_groups_zero_features_and_ragged_tiles(mode, reduction):
    anchor, views, features = batch(151, 2, d=40, f=50, grad=False)
    features[::7] = 0
    group = torch.from_numpy(np.random.default_rng(1).integers(-5, 40, 151)) * 2**40
    check(anchor, views, features, group, mode=mode, delta=0.05, pair_reduction=reduction, make=by_tiles(50))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    anchor, views, features = batch(90, dtype=torch.float32, grad=False)
    anchor, views = anchor.to(dtype), views.to(dtype)
    loss, _, _, grads = run(anchor, views, features)
    a, v = (x.clone().requires_grad_() for x in (anchor, views))
    want = reference.hybrid_contrastive_loss(a, v, features)[0]
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)
    for g, w in zip(grads[:2], torch.autograd.grad(want, (a, v)), strict=True):
        assert g.dtype == dtype and (g - w).norm() <= (torch.finfo(dtype).eps + 1e-4) * w.norm()


# of a gradient, row by row. 16-bit embeddings are taken as they are; their coefficients and the result are rounded. At
# tau = 0.005 a cosine's error counts 200 times.
@pytest.mark.parametrize("tau", [0.1, 0.005])
@pytest.mark.parametrize(
    "operands, tol", [("float16", 2**-10), ("bfloat16", 2**-7), ("float32", 1e-5), ("tf32", 2**-9)]
)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n, d, v, strips", [(1, 5, 2, 1), (70, 130, 2, 3), (131, 16, 0, 1)])
def test_fused(mode, operands, tol, tau, n, d, v, strips):
    dtype = DTYPES[operands]
    rounded = operands == "tf32"
    anchor, views, features = batch(n, v, d=d, f=50, dtype=torch.float32, grad=False)
    anchor, views = (anchor * torch.logspace(-3, 3, n)[:, None]).to(dtype), views.to(dtype)
    group = torch.arange(n) // 2
    features[::9] = 0
    options = {"mode": mode, "tau": tau, "tau_s": max(tau, 0.02)}
    loss, counts, skipped, grads = run(anchor, views, features, group, make=fused(strips, operands), **options)
    a, v = (x.clone().requires_grad_() for x in (anchor, views))
    want, positives, negatives, want_skipped = reference.hybrid_contrastive_loss(a, v, features, group, **options)
    assert torch.equal(counts[:, 0], positives) and torch.equal(counts[:, 1], negatives) and skipped == want_skipped
    # the cosines of rounded rows are off by 2^-12 and less
    assert loss.item() == pytest.approx(want.item(), rel=1e-5, abs=1e-6 + rounded * 2**-13 / tau)
    if tau < 0.05:
        tol = max(4 * tol, 1e-4) * (1 + 9 * rounded)
    least = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps * d**0.5  # gradients of long rows are short
    for g, w in zip(grads[:2], torch.autograd.grad(want, (a, v)), strict=True):
        g, w = g.double(), w.double()  # the rows' lengths span six decades, so each row by itself
        assert g.isfinite().all() and ((g - w).norm(dim=-1) <= tol * w.norm(dim=-1) + least).all()


@pytest.mark.parametrize("mode", MODES)
def test_fused_keeps_small_terms(mode):
    """A row whose largest cosine is -0.9: relative to exp(1 / tau) its sums would be zero in float32."""
    anchor = torch.zeros(12, 8)
    anchor[0, 0], anchor[1:, 0] = 1.0, -0.95
    anchor[1:, 1:] = torch.eye(11, 7) * 0.3
    features, views = batch(12, 1, d=8, f=6, dtype=torch.float32, grad=False)[2], torch.randn(1, 12, 8)
    options = {"mode": mode, "tau": 0.005, "tau_s": 0.005, "delta": 0.1}
    for operands, tol in (("float32", 1e-3), ("bfloat16", 2e-2)):
        dtype = DTYPES[operands]
        a, v = (x.to(dtype).requires_grad_() for x in (anchor, views))
        loss, _, _, grads = run(a.detach(), v.detach(), features, make=fused(1, operands), **options)
        want = reference.hybrid_contrastive_loss(a, v, features, **options)[0]
        assert loss.item() == pytest.approx(want.item(), rel=1e-4)
        for g, w in zip(grads[:2], torch.autograd.grad(want, (a, v)), strict=True):
            assert (g.double() - w.double()).norm() <= tol * w.double().norm()


def test_split_operands_have_the_accuracy_of_float32():
    anchor, views, features = batch(300, 2, d=256, f=50, dtype=torch.float32, grad=False)
    a, v = (x.double().requires_grad_() for x in (anchor, views))
    want = reference.hybrid_contrastive_loss(a, v, features.double())[0]
    wants = torch.autograd.grad(want, (a, v))

    def errors(operands):
        loss, _, _, grads = run(anchor, views, features, make=fused(1, operands))
        pairs = zip(grads[:2], wants, strict=True)
        return abs(loss.item() / want.item() - 1), max((g - w).norm() / w.norm() for g, w in pairs)

    split, rounded = errors("float32"), errors("tf32")
    assert split[0] <= 1e-6 and split[1] <= 2e-6
    assert 1e-5 < rounded[1] <= 2**-10  # what the permission costs


@pytest.mark.parametrize("operands", DTYPES)
@pytest.mark.parametrize("first, count", [(37, 64), (90, 61), (0, 0)])
def test_fused_part_of_the_rows(first, count, operands):
    dtype = DTYPES[operands]
    anchor, views, features = (x.to(dtype) for x in batch(151, grad=False, dtype=torch.float32))
    own, options = slice(first, first + count), (0.2, 0.25, "soft", 0.1, "mean")
    inputs = anchor, views[:, own], features, torch.arange(151) // 3
    stats, counts = row_stats(anchor, views, *inputs[2:], options)
    make, rounded = fused(2, operands), operands == "tf32"
    part = row_stats(*inputs, options, first, make, by=cuda)
    torch.testing.assert_close(part[0], stats[own], rtol=1e-5, atol=1e-3 if rounded else 1e-5)
    assert torch.equal(part[1], counts[own])
    grads = gradients(*inputs, stats, counts, options, first, make, by=cuda)
    tol = {"float32": 1e-5, "bfloat16": 2**-7}.get(operands, 2**-10)
    for g, w in zip(grads[:2], gradients(*inputs, stats, counts, options, first)[:2], strict=True):
        assert (g.float() - w.float()).norm() <= tol * w.float().norm()


def test_the_host_takes_the_fused_version_only_on_demand():
    anchor, views, features = (x.half() for x in batch(9, grad=False))
    xp, settings = TorchArrays(anchor), (0.1, 0.25, "ratio", 0.1, "sum")
    assert cuda.Fused.plan_for(xp, anchor, views, features) is None
    assert isinstance(cuda.version(xp, anchor, views, features, None, settings, 0), cuda.Tiles)


@pytest.fixture
def fused_plan(monkeypatch):
    """A device of 132 processors, where SplitHalf has 96 rows a block and the others 128."""
    plan = lambda d, f, split: (0 if d > 256 or f > 64 else 96 if split else 128, 132)  # noqa: E731
    monkeypatch.setattr(_core, "contrastive_fused_plan", plan)
    return lambda *inputs: cuda.Fused.plan_for(SimpleNamespace(device=0), *inputs)


@pytest.mark.parametrize("allowed", [False, True])
def test_what_goes_to_the_fused_kernels(monkeypatch, fused_plan, allowed):
    monkeypatch.setattr(cuda, "tf32_allowed", lambda: allowed)
    anchor, views, features = batch(9, grad=False)
    single = "tf32" if allowed else "float32"
    for a, v, operands in (
        (torch.float16, torch.float16, "float16"),
        (torch.bfloat16, torch.bfloat16, "bfloat16"),
        (torch.float32, torch.float32, single),
        (torch.float16, torch.bfloat16, single),
        (torch.bfloat16, torch.float32, single),
        (torch.float64, torch.float64, None),
        (torch.float64, torch.bfloat16, None),
    ):
        plan = fused_plan(anchor.to(a), views.to(v), features)
        assert plan == (None if operands is None else cuda.FusedPlan(operands, 8))
    anchor = torch.zeros(9, 257, dtype=torch.float16)
    assert fused_plan(anchor, anchor[None], features) is None
    assert fused_plan(anchor[:, :256], anchor[None, :, :256], torch.zeros(9, 65)) is None
    assert fused_plan(anchor[:, :0], anchor[None, :, :0], features) is None
    many = torch.zeros(132 * 128, 4, dtype=torch.float16)
    assert fused_plan(many, many[None], torch.zeros(len(many), 3)).strips == 2


# torch's two interfaces in turn: once the newer one is used, the older one raises.
SWITCHES = """
import torch, warnings
from physioclr.ops.contrastive.cuda import tf32_allowed
warnings.simplefilter("error")
matmul = torch.backends.cuda.matmul
assert not tf32_allowed()
for precision in ("high", "medium", "highest"):
    torch.set_float32_matmul_precision(precision)
    assert tf32_allowed() is (precision != "highest"), precision
for allow in (True, False):
    matmul.allow_tf32 = allow
    assert tf32_allowed() is allow
if hasattr(matmul, "fp32_precision"):
    for precision in ("tf32", "ieee"):
        matmul.fp32_precision = precision
        assert tf32_allowed() is (precision == "tf32"), precision
    matmul.fp32_precision = "none"
    torch.backends.fp32_precision = "tf32"
    assert tf32_allowed()
"""


def test_tf32_follows_every_switch_of_torch():
    subprocess.run([sys.executable, "-c", SWITCHES], check=True)  # a process of its own: some of it cannot be undone


@pytest.mark.parametrize("first, count", [(0, 5), (37, 64), (90, 61), (0, 0)])
@pytest.mark.parametrize("mode", MODES)
def test_part_of_the_rows(first, count, mode):
    anchor, views, features = batch(151, grad=False)
    group, own = torch.arange(151) // 3, slice(first, first + count)
    options = (0.2, 0.25, mode, 0.1, "mean")
    inputs = anchor, views[:, own], features, group
    stats, counts = row_stats(anchor, views, features, group, options)
    part = row_stats(*inputs, options, first, by_tiles(40), by=cuda)
    torch.testing.assert_close(part[0], stats[own], rtol=1e-11, atol=1e-12)
    assert torch.equal(part[1], counts[own])
    grads = gradients(*inputs, stats, counts, options, first, by_tiles(40), by=cuda)
    for g, w in zip(grads[:2], gradients(*inputs, stats, counts, options, first)[:2], strict=True):
        torch.testing.assert_close(g, w, rtol=1e-9, atol=1e-13)


def test_bad_numbers_show_in_the_loss():
    anchor, views, features = batch(40, dtype=torch.float32, grad=False)
    features[3, 2] = float("nan")  # on a device nobody looks: that would make the host wait
    assert run(anchor, views, features)[0].isnan()
    anchor, views, features = batch(40, dtype=torch.float32, grad=False)
    anchor[3, 2] = float("inf")
    assert run(anchor, views, features, tau=0.01)[0].isnan()


def test_autocast_leaves_the_products_alone():
    inputs = batch(70, dtype=torch.float32, grad=False)
    want = run(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = run(*inputs)
    assert torch.equal(got[0], want[0]) and all(torch.equal(a, b) for a, b in zip(got[3], want[3], strict=True))


@given(
    n=st.integers(1, 40),
    v=st.integers(0, 3),
    groups=st.integers(1, 40),
    mode=st.sampled_from(MODES),
    reduction=st.sampled_from(["sum", "mean"]),
    tau=st.floats(0.005, 10),
    delta=st.sampled_from([-1.0, 0.0, 0.25, 1.0]),
    tile=st.integers(1, 50),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_any_settings(n, v, groups, mode, reduction, tau, delta, tile, seed):
    inputs = batch(n, v, d=3, f=3, seed=seed, grad=False)
    group = torch.from_numpy(np.random.default_rng(seed).integers(0, groups, n))
    check(
        *inputs,
        group,
        mode=mode,
        pair_reduction=reduction,
        tau=tau,
        tau_s=tau,
        delta=delta,
        make=by_tiles(tile),
        tol=1e-7,
    )
