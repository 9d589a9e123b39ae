import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

import physioclr as pc
from physioclr import _core, reference

# test_contrastive_autograd.py is about this one
pytestmark = pytest.mark.filterwarnings("ignore:hybrid_contrastive_loss. all .* rows skipped:RuntimeWarning")
MODES = ["ratio", "supcon", "soft"]
# float32 against float64: h.h is off by a few 6e-8, which exp((s - 1) / tau) multiplies by 1 / tau <= 200
TOL = {torch.float32: 1e-4, torch.float64: 1e-9}


def batch(n, v=2, d=16, f=6, dtype=torch.float64, seed=0, grad=True):
    gen = torch.Generator().manual_seed(seed)
    anchor = torch.randn(n, d, dtype=dtype, generator=gen)
    views = torch.randn(v, n, d, dtype=dtype, generator=gen)
    features = torch.randn(n, f, dtype=dtype, generator=gen)
    return anchor.requires_grad_(grad), views.requires_grad_(grad), features


def check(anchor, views, features, group=None, tol=1e-9, **kwargs):
    """Loss (to tol, at most 1e-5), gradients and statistics against the definition; returns what the op gave."""
    loss, stats = pc.hybrid_contrastive_loss(anchor, views, features, group, return_stats=True, **kwargs)
    want, positives, negatives, skipped = reference.hybrid_contrastive_loss(anchor, views, features, group, **kwargs)
    assert torch.equal(stats.positives, positives) and torch.equal(stats.negatives, negatives)
    assert stats.skipped == skipped
    assert loss.item() == pytest.approx(want.item(), rel=min(tol, 1e-5), abs=min(tol, 1e-5))
    got = torch.autograd.grad(loss, (anchor, views))
    for g, w in zip(got, torch.autograd.grad(want, (anchor, views)), strict=True):
        assert g.dtype == anchor.dtype and (g - w).norm() <= tol * w.norm() + 1e-12
    return loss, stats, got


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n, v", [(1, 2), (2, 2), (3, 0), (31, 4), (64, 1), (129, 2), (151, 0)])
@pytest.mark.parametrize("d", [16, 32])  # 32: the gradient is made where it goes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matches_reference(mode, n, v, d, dtype):
    check(*batch(n, v, d, dtype=dtype), mode=mode, tol=TOL[dtype])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_tiles_groups_and_zero_features(mode, dtype):
    anchor, views, features = batch(1100, 2, d=40, f=50, dtype=dtype)
    features[::7] = 0
    group = torch.from_numpy(np.random.default_rng(1).integers(-5, 300, 1100)) * 2**40
    check(anchor, views, features, group, mode=mode, delta=0.05, tol=TOL[dtype])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tau", [1.0, 0.02, 0.005])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperatures(mode, tau, dtype):
    check(*batch(140, 2, dtype=dtype), mode=mode, tau=tau, tau_s=tau, tol=TOL[dtype])


def test_small_terms_survive_a_small_tau():
    # every cosine of a negative is near -1, so exp((s - 1) / tau) underflows even in float64
    anchor, views, features = batch(4, 0)
    with torch.no_grad():
        anchor[:] = torch.randn(16, dtype=torch.float64) + 1e-3 * anchor
        anchor[2:] *= -1
        features[:2], features[2:] = features[0], -features[0]
    loss, stats, _ = check(anchor, views, features, tau=0.002)
    assert stats.negatives.tolist() == [2, 2, 2, 2] and loss < -900
    check(
        anchor.detach().float().requires_grad_(),
        views.detach().float().requires_grad_(),
        features.float(),
        tau=0.005,
        tol=1e-4,
    )


@pytest.mark.parametrize("mode", MODES)
def test_gradcheck(mode):
    anchor, views, features = batch(9, 2, d=5, f=3)
    group = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5, 6])
    for reduction, tau in itertools.product(["sum", "mean"], [0.3, 0.009]):
        torch.autograd.gradcheck(
            lambda a, v, r=reduction, t=tau: pc.hybrid_contrastive_loss(
                a, v, features, group, mode=mode, pair_reduction=r, tau=t, tau_s=t
            ),
            (anchor, views),
            eps=1e-7,
            atol=1e-4,
        )


def test_pair_reduction_mean():
    tensors = batch(70, 2)
    loss, _, _ = check(*tensors, pair_reduction="mean")
    assert loss != pc.hybrid_contrastive_loss(*tensors)


def test_worked_example():
    # Rows 0 and 1 alike, row 2 opposite in physiology; embeddings e0, e0, e1; one view, equal to the anchor.
    anchor = torch.eye(2, dtype=torch.float64)[[0, 0, 1]] * 3
    features = torch.tensor([[1.0, 0], [2, 0], [-1, 0]], dtype=torch.float64)
    loss, stats = pc.hybrid_contrastive_loss(anchor, anchor[None] * 2, features, tau=1.0, return_stats=True)
    e = np.e
    rows = [-np.log(e + e) + np.log(1), -np.log(e + e) + np.log(1), -np.log(e) + np.log(2)]
    assert loss.item() == pytest.approx(np.mean(rows), rel=1e-12)
    assert stats.positives.tolist() == [1, 1, 0] and stats.negatives.tolist() == [1, 1, 2] and stats.skipped == 0


def test_self_pairs_are_no_positives():
    # The released criterion counts (i, i), which has S = 1; then the loss of unrelated rows could not exceed 0 by much.
    anchor, views, _ = batch(50, 1)
    features = torch.eye(50, dtype=torch.float64)
    _, stats = pc.hybrid_contrastive_loss(anchor, views, features, return_stats=True)
    assert stats.positives.eq(0).all() and stats.negatives.eq(49).all()


@pytest.mark.parametrize("mode", MODES)
def test_rows_without_negatives_are_skipped(mode):
    anchor, views, features = batch(20)
    features[:] = features[0].abs()
    loss, stats, grads = check(anchor, views, features, mode=mode)
    if mode == "ratio":  # nothing left: 0, not the released -1e4
        assert loss == 0 and stats.skipped == 20 and all(g.eq(0).all() for g in grads)
    features[3] *= -1
    loss, stats, _ = check(anchor, views, features, mode=mode)
    assert stats.skipped == 0
    loss, stats, _ = check(anchor, views, features, torch.zeros(20, dtype=torch.int64), mode=mode)
    assert loss == 0 and stats.skipped == 20


@pytest.mark.parametrize("mode", MODES)
def test_rows_without_positive_or_view_are_skipped(mode):
    anchor, views, _ = batch(6, 0)
    features = torch.eye(6, dtype=torch.float64)
    features[1] = features[0]
    _, stats, _ = check(anchor, views, features, mode=mode)
    assert stats.skipped == 4


@pytest.mark.parametrize("mode", MODES)
def test_duplicate_rows_and_zero_embeddings(mode):
    anchor, views, features = batch(40)
    with torch.no_grad():
        anchor[20:], features[20:] = anchor[:20], features[:20]
        views[0] = anchor
    check(anchor, views, features, mode=mode)
    with torch.no_grad():
        anchor[5], views[1, 6] = 0, 0
    loss = pc.hybrid_contrastive_loss(anchor, views, features, mode=mode)
    want = reference.hybrid_contrastive_loss(anchor, views, features, mode=mode)[0]
    assert loss.item() == pytest.approx(want.item(), rel=1e-12)
    loss.backward()
    assert anchor.grad[5].eq(0).all() and views.grad[1, 6].eq(0).all() and anchor.grad.isfinite().all()


def test_order_of_rows_does_not_matter():
    anchor, views, features = batch(300)
    perm = torch.randperm(300, generator=torch.Generator().manual_seed(3))
    group = torch.arange(300) // 2
    loss, _, (ga, gv) = check(anchor, views, features, group)
    shuffled = [x.detach().requires_grad_() for x in (anchor[perm], views[:, perm])]
    other = pc.hybrid_contrastive_loss(*shuffled, features[perm], group[perm])
    other.backward()
    assert other.item() == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(shuffled[0].grad, ga[perm], rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(shuffled[1].grad, gv[:, perm], rtol=1e-9, atol=1e-14)


def test_length_of_embeddings_does_not_matter():
    anchor, views, features = batch(50, dtype=torch.float32, grad=False)
    scale = torch.logspace(-18, 18, 50)[:, None]
    loss = pc.hybrid_contrastive_loss(anchor, views, features)
    scaled = pc.hybrid_contrastive_loss(anchor * scale, views * scale, features * scale)
    assert scaled.item() == pytest.approx(loss.item(), rel=1e-5)


def test_a_view_that_is_another_anchor_passes_its_gradient_there():
    anchor, _, features = batch(30, grad=True)
    index = torch.arange(30).roll(1)
    loss = pc.hybrid_contrastive_loss(anchor, anchor[index][None], features)
    want = reference.hybrid_contrastive_loss(anchor, anchor[index][None], features)[0]
    got, ref = (torch.autograd.grad(x, anchor)[0] for x in (loss, want))
    torch.testing.assert_close(got, ref, rtol=1e-9, atol=1e-14)


def test_same_bits_at_any_number_of_threads():
    anchor, views, features = batch(1200, dtype=torch.float32)
    before, results = _core.num_threads(), []
    try:
        for threads in (1, 2, 3, 2):
            _core.set_num_threads(threads)
            loss = pc.hybrid_contrastive_loss(anchor, views, features)
            results.append((loss, *torch.autograd.grad(loss, (anchor, views))))
    finally:
        _core.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_keep_float32_features(dtype):
    anchor, views, features = batch(200, dtype=torch.float32, f=50)
    half = [x.detach().to(dtype).requires_grad_() for x in (anchor, views)]
    loss, stats = pc.hybrid_contrastive_loss(*half, features, return_stats=True)
    want, positives, _, _ = reference.hybrid_contrastive_loss(*half, features)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(want.item(), rel=1e-5)
    assert torch.equal(stats.positives, positives)
    loss.backward()
    for x, w in zip(half, torch.autograd.grad(want, half), strict=True):
        assert x.grad.dtype == dtype  # only the result is rounded to the dtype: half an ulp
        assert (x.grad - w).norm() <= torch.finfo(dtype).eps * w.norm() + 1e-4 * w.norm()


def test_strides_and_mixed_dtypes():
    anchor, views, features = batch(60)
    loss = pc.hybrid_contrastive_loss(anchor[::2, ::2], views[:, ::2, ::2], features.t().contiguous().t()[::2])
    want = reference.hybrid_contrastive_loss(anchor[::2, ::2], views[:, ::2, ::2], features[::2])[0]
    assert loss.item() == pytest.approx(want.item(), rel=1e-12)
    mixed = pc.hybrid_contrastive_loss(anchor.detach().float().requires_grad_(), views, features)
    assert mixed.dtype == torch.float64
    mixed.backward()
    assert views.grad.dtype == torch.float64


def test_none_for_no_views():
    anchor, views, features = batch(20, 0, grad=False)
    assert torch.equal(
        pc.hybrid_contrastive_loss(anchor, None, features), pc.hybrid_contrastive_loss(anchor, views, features)
    )


def test_empty_batch():
    anchor, views, features = batch(0)
    loss, stats = pc.hybrid_contrastive_loss(anchor, views, features, return_stats=True)
    assert loss == 0 and stats.skipped == 0 and stats.positives.shape == (0,)
    loss.backward()
    assert anchor.grad.shape == (0, 16)


@pytest.mark.parametrize("tau", [0.1, 0.01])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_embeddings_propagate(bad, tau):
    anchor, views, features = batch(40, dtype=torch.float32, grad=False)
    anchor[3, 2] = bad
    assert pc.hybrid_contrastive_loss(anchor, views, features, tau=tau).isnan()
    anchor, views, features = batch(40, dtype=torch.float32, grad=False)
    views[1, 3, 2] = bad
    assert pc.hybrid_contrastive_loss(anchor, views, features, tau=tau).isnan()


@given(
    n=st.integers(1, 40),
    v=st.integers(0, 3),
    groups=st.integers(1, 40),
    mode=st.sampled_from(MODES),
    reduction=st.sampled_from(["sum", "mean"]),
    tau=st.floats(0.005, 10),
    delta=st.sampled_from([-1.0, -0.3, 0.0, 0.25, 0.9, 1.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_any_settings(n, v, groups, mode, reduction, tau, delta, seed):
    anchor, views, features = batch(n, v, d=3, f=3, seed=seed)
    group = torch.from_numpy(np.random.default_rng(seed).integers(0, groups, n))
    check(
        anchor, views, features, group, mode=mode, pair_reduction=reduction, tau=tau, tau_s=tau, delta=delta, tol=1e-7
    )


# ---- torch ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_opcheck(mode):
    ops = torch.ops.physioclr
    anchor, views, features = batch(7, dtype=torch.float32)
    group = torch.tensor([0, 0, 1, 2, 3, 4, 5])
    settings = (0.1, 0.25, mode, 0.1, "mean")
    opcheck(ops.hybrid_contrastive_loss.default, (anchor, views, features, group, *settings))
    opcheck(ops.hybrid_contrastive_loss.default, (anchor, views, features, None, *settings))
    anchor, views = anchor.detach(), views.detach()
    opcheck(ops.hybrid_contrastive_loss.default, (anchor, views, features, group, *settings, None, True))
    opcheck(ops.contrastive_rows.default, (anchor, views[:, 2:5], features, group, *settings, 2, True))
    _, stats, counts, *_ = ops.hybrid_contrastive_loss(anchor, views, features, group, *settings)
    opcheck(
        ops.contrastive_backward.default,
        (torch.tensor(1.0), anchor, views[:, 2:5], features, group, stats, counts, *settings, 2),
    )


def test_compiles_in_one_graph():
    anchor, views, features = batch(20)

    def step(a, v):
        loss, stats = pc.hybrid_contrastive_loss(a * 2, v, features, mode="soft", return_stats=True)
        return loss * 3, stats.skipped

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    (loss, skipped), (want, _) = compiled(anchor, views), step(anchor, views)
    assert torch.equal(loss, want) and skipped == 0
    for g, w in zip(
        torch.autograd.grad(loss, (anchor, views)), torch.autograd.grad(want, (anchor, views)), strict=True
    ):
        torch.testing.assert_close(g, w)


def test_second_derivative_is_an_error():
    anchor, views, features = batch(10)
    loss = pc.hybrid_contrastive_loss(anchor, views, features)
    (grad,) = torch.autograd.grad(loss, anchor, create_graph=True)
    with pytest.raises(RuntimeError, match="hybrid_contrastive_loss has no second derivative"):
        grad.sum().backward()


def test_only_the_views_want_a_gradient():
    anchor, views, features = batch(12)
    pc.hybrid_contrastive_loss(anchor.detach(), views, features).backward()
    assert views.grad.abs().sum() > 0 and anchor.grad is None


@pytest.mark.parametrize("first, count, d", [(0, 5, 16), (37, 64, 32), (90, 61, 16), (40, 111, 64)])
def test_part_of_the_rows(first, count, d):
    # what each of several processes computes: its rows against the rows of all
    anchor, views, features = batch(151, d=d, grad=False)
    group = torch.arange(151) // 3
    ops = torch.ops.physioclr
    _, stats, counts, *_ = ops.hybrid_contrastive_loss(anchor, views, features, group, tau=0.2)
    whole = ops.contrastive_backward(torch.tensor(1.0), anchor, views, features, group, stats, counts, tau=0.2)
    own = slice(first, first + count)
    part = ops.contrastive_rows(anchor, views[:, own], features, group, tau=0.2, row_offset=first)
    torch.testing.assert_close(part[0], stats[own], rtol=1e-12, atol=1e-13)
    assert torch.equal(part[1], counts[own])
    grads = ops.contrastive_backward(
        torch.tensor(1.0), anchor, views[:, own], features, group, stats, counts, tau=0.2, row_offset=first
    )
    torch.testing.assert_close(grads[0], whole[0][own], rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(grads[1], whole[1][:, own], rtol=1e-9, atol=1e-13)


# ---- errors ---------------------------------------------------------------------------------------------------------

A, V, F = torch.zeros(4, 3), torch.zeros(2, 4, 3), torch.zeros(4, 5)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(anchor=A[0]), r"anchor has shape \(3,\); it must be \(N, D\)"),
        (dict(views=A), r"views has shape \(4, 3\); it must be \(V, N, D\)"),
        (dict(views=V[:, :3]), r"views has shape \(2, 3, 3\); it must be \(2, 4, 3\)"),
        (dict(views=V[..., :2]), r"views has shape \(2, 4, 2\); it must be \(2, 4, 3\)"),
        (dict(features=F[:2]), "features has 2 rows; it must have 4, as anchor has"),
        (dict(features=F[0]), r"features has shape \(5,\)"),
        (dict(features=F * float("nan")), "features contains NaN or infinite"),
        (dict(features=F + float("inf")), "features contains NaN or infinite"),
        (dict(group=torch.zeros(3, dtype=torch.int64)), r"group has shape \(3,\); it must be \(4,\)"),
        (dict(mode="max"), "mode is 'max'; it must be one of 'ratio', 'supcon', 'soft'"),
        (dict(pair_reduction="max"), "pair_reduction is 'max'"),
        (dict(tau=0.0), "tau is 0.0; it must be finite, above 0"),
        (dict(tau_s=-1.0), "tau_s is -1.0"),
        (dict(delta=float("nan")), "delta is nan"),
    ],
)
def test_bad_values(change, message):
    with pytest.raises(ValueError, match=message):
        pc.hybrid_contrastive_loss(**{"anchor": A, "views": V, "features": F, **change})


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(anchor=A.numpy()), "anchor is a numpy array; hybrid_contrastive_loss takes torch tensors"),
        (dict(views=V.numpy()), "views is a numpy array; it must be a torch tensor"),
        (dict(features=F.numpy()), "features is a numpy array"),
        (dict(anchor=A.long()), "anchor has dtype int64"),
        (dict(group=torch.zeros(4)), "group has dtype float32"),
    ],
)
def test_bad_types(change, message):
    with pytest.raises(TypeError, match=message):
        pc.hybrid_contrastive_loss(**{"anchor": A, "views": V, "features": F, **change})
