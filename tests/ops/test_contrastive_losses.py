import pytest
import torch
from torch.library import opcheck

import physioclr as pc
from physioclr import _core, reference

TOL = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}


def rows(n, d, dtype=torch.float64, seed=0):
    gen = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, d, dtype=torch.float64, generator=gen).to(dtype).requires_grad_() for _ in range(2))
    features = torch.randn(n, 4, dtype=torch.float64, generator=gen)
    features[min(2, n - 1)] = 0
    return a, b, features, torch.arange(n) // 3


def f32(x, like):
    return x.to(torch.float64 if like.dtype == torch.float64 else torch.float32)


# name -> (of the op, of the reference): functions of a, b, features, group, tau
FORMS = {
    "info_nce": lambda p, a, b, f, g, tau: p.info_nce(a, b, tau=tau),
    "info_nce group": lambda p, a, b, f, g, tau: p.info_nce(a, b, g, tau=tau),
    "info_nce one-sided": lambda p, a, b, f, g, tau: p.info_nce(a, b, g, tau=tau, symmetric=False),
    "info_nce queue": lambda p, a, b, f, g, tau: p.info_nce(a, b, tau=tau, negatives=a.detach().flip(1)[:5]),
    "info_nce one-sided queue": lambda p, a, b, f, g, tau: p.info_nce(
        a, b, tau=tau, symmetric=False, negatives=b.detach().flip(1)[1:6]
    ),
    "nt_xent": lambda p, a, b, f, g, tau: p.nt_xent(a, b, tau=tau),
    "nt_xent group queue": lambda p, a, b, f, g, tau: p.nt_xent(a, b, g, tau=tau, negatives=a.detach().flip(1)[:5]),
    "supcon": lambda p, a, b, f, g, tau: p.supcon(torch.cat([a, b]), torch.cat([g, g]), tau=tau),
    "y_aware": lambda p, a, b, f, g, tau: p.y_aware_info_nce(a, b, f, tau=tau, sigma=1.5),
    "y_aware group": lambda p, a, b, f, g, tau: p.y_aware_info_nce(a, b, f, g, tau=tau, sigma=0.7, symmetric=False),
    "soft": lambda p, a, b, f, g, tau: p.soft_contrast(a, b, f, tau=tau, tau_s=0.3),
    "soft group": lambda p, a, b, f, g, tau: p.soft_contrast(a, b, f, g, tau=tau, tau_s=0.04),
}
every_form = pytest.mark.parametrize("form", FORMS)


def loss_of(result):
    return result[0] if isinstance(result, tuple) else result


@every_form
@pytest.mark.parametrize("n, d", [(7, 5), (64, 33), (257, 33), (700, 5)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_is_its_definition(form, n, d, dtype):
    for tau in (0.2, 0.02):
        _check(form, n, d, dtype, tau)


@every_form
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_embeddings(form, dtype):
    _check(form, 100, 33, dtype, 0.1)


def _check(form, n, d, dtype, tau):
    a, b, f, g = rows(n, d, dtype)
    tau = torch.tensor(tau, dtype=torch.float64, requires_grad=True)
    got, want = FORMS[form](pc, a, b, f, g, tau), loss_of(FORMS[form](reference, a, b, f, g, tau))
    tol = TOL[dtype]
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert got.item() == pytest.approx(want.item(), rel=min(tol, 1e-5), abs=min(tol, 1e-5))
    pairs = zip(*(torch.autograd.grad(x, (a, b, tau)) for x in (got, want)), strict=True)
    for x, y in pairs:
        assert x.dtype == y.dtype and (x.double() - y.double()).norm() <= tol * y.double().norm() + 1e-12


@every_form
def test_gradcheck_of_embeddings_and_temperature(form):
    a, b, f, g = rows(7, 5)
    for tau in (0.3, 0.009):
        tau = torch.tensor(tau, dtype=torch.float64, requires_grad=True)
        with torch.no_grad():
            queue = torch.randn(5, 5, dtype=torch.float64)
        if "queue" in form:  # the forms above make the queue of a or b: a constant here
            fn = pc.nt_xent if "nt" in form else pc.info_nce
            assert torch.autograd.gradcheck(
                lambda a, b, t, fn=fn, q=queue: fn(a, b, g, tau=t, negatives=q), (a, b, tau), eps=1e-7, atol=1e-4
            )
        else:
            assert torch.autograd.gradcheck(
                lambda a, b, t: FORMS[form](pc, a, b, f, g, t), (a, b, tau), eps=1e-7, atol=1e-4
            )


def test_one_row_has_no_negative_and_no_loss():
    a, b, _, _ = rows(1, 5)
    for fn in (pc.info_nce, pc.nt_xent):
        loss, stats = fn(a, b, return_stats=True)
        assert loss.item() == pytest.approx(0, abs=1e-12) and stats.negatives.eq(0).all() and stats.skipped == 0
        assert all(x.abs().max() < 1e-12 for x in torch.autograd.grad(loss, (a, b)))


def test_statistics():
    a, b, _, g = rows(7, 5)
    assert pc.info_nce(a, b, g, return_stats=True)[1].negatives.tolist() == [4, 4, 4, 4, 4, 4, 6] * 2
    one_sided = pc.info_nce(a, b, symmetric=False, negatives=a.detach()[:2], return_stats=True)[1]
    assert one_sided.negatives.tolist() == [8] * 7 and one_sided.skipped == 0
    assert pc.nt_xent(a, b, return_stats=True)[1].negatives.tolist() == [12] * 14
    labels = pc.supcon(a, g, return_stats=True)[1]
    assert labels.positives.tolist() == [2] * 6 + [0] and labels.negatives.tolist() == [4] * 6 + [6]
    assert labels.skipped == 1


def test_same_bits_at_any_number_of_threads():
    before, results = _core.num_threads(), []
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            a, b, f, g = rows(900, 33, torch.float32)
            losses = [fn(pc, a, b, f, g, 0.1) for fn in FORMS.values()]
            results.append([*losses, *torch.autograd.grad(sum(losses), (a, b))])
    finally:
        _core.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


@pytest.mark.parametrize("form", ["instance", "labels", "cosine", "distance"])
def test_opcheck(form):
    a, b, f, g = rows(20, 5)
    op = torch.ops.physioclr.contrastive_loss.default
    tau = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    features = f if form in ("cosine", "distance") else None
    b = None if form == "labels" else b
    opcheck(op, (a, b, None, features, g, tau, 0.1, 0.5, form, 0 if b is None else 2))
    if features is None:
        opcheck(op, (a, b, a.detach()[:3], None, g, None, 0.1, 0.5, form, 0))
    else:
        with pytest.raises(ValueError, match="negatives have no features"):
            op(a, b, a.detach()[:3], features, g, None, 0.1, 0.5, form, 0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # forward_ad's own
def test_compile_and_functional_transforms():
    a, b, f, g = rows(20, 5)
    fn = lambda a, b: pc.info_nce(a, b, g, tau=0.2) + pc.soft_contrast(a, b, f)  # noqa: E731
    compiled = torch.compile(fn, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(a, b), fn(a, b))
    torch._dynamo.reset()
    want = torch.autograd.grad(fn(a, b), a)[0]
    torch.testing.assert_close(torch.func.grad(fn)(a, b), want)
    t = torch.ones_like(a)
    torch.testing.assert_close(torch.func.jvp(lambda a: fn(a, b.detach()), (a.detach(),), (t,))[1], (want * t).sum())


def test_wrong_arguments_are_named():
    a, b, f, _ = rows(8, 5)
    with pytest.raises(TypeError, match="a is a numpy array"):
        pc.info_nce(a.detach().numpy(), b)
    with pytest.raises(ValueError, match="b has"):
        pc.info_nce(a, b[:5])
    with pytest.raises(ValueError, match="negatives has width 4"):
        pc.nt_xent(a, b, negatives=torch.zeros(3, 4))
    with pytest.raises(ValueError, match="negatives requires a gradient"):
        pc.nt_xent(a, b, negatives=torch.zeros(3, 5, requires_grad=True))
    with pytest.raises(ValueError, match="features requires a gradient"):
        pc.soft_contrast(a, b, f.requires_grad_())
    for tau in (0.0, torch.tensor(-1.0)):
        with pytest.raises(ValueError, match="tau"):
            pc.info_nce(a, b, tau=tau)
    with pytest.raises((TypeError, ValueError), match="labels"):
        pc.supcon(a, torch.zeros(8))
    with pytest.raises(ValueError, match="NaN"):
        pc.soft_contrast(a, b, torch.full((8, 2), torch.nan))


@every_form
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blocks_are_the_same_op(form, dtype, monkeypatch):
    """The form in torch's own operations that runs where there is no kernel, on the same arguments."""
    from physioclr.ops.contrastive import blocks, engine

    monkeypatch.setattr(blocks, "ROWS", 24)
    calls, whole = [], engine.contrastive_loss
    monkeypatch.setattr(engine, "contrastive_loss", lambda *args: calls.append(args) or whole(*args))
    a, b, f, g = rows(61, 33, dtype)
    FORMS[form](pc, a, b, f, g, 0.05)
    ((a, b, *rest),) = calls
    want = whole(a, b, *rest)
    got = [torch.empty_like(x) for x in want]
    blocks.forward(got, a, b, *rest)
    for x, y in zip(got, want, strict=True):
        assert x.dtype == y.dtype
        torch.testing.assert_close(x, y, rtol=TOL[dtype], atol=TOL[dtype])
    one, arrays, settings = torch.ones((), dtype=torch.float64), (a, b, *rest[:4]), rest[4:]
    want = engine.contrastive_loss_bwd(one, *arrays, *want[1:3], *settings)
    grads = [torch.empty_like(x) for x in want]
    blocks.backward(grads, one, *arrays, *got[1:3], *settings)
    for x, y in zip(grads, want, strict=True):
        assert x.dtype == y.dtype and (x - y).norm() <= TOL[dtype] * y.norm() + 1e-12


@pytest.mark.parametrize("mode", ["ratio", "supcon", "soft"])
@pytest.mark.parametrize("tau", [0.3, 0.009])
def test_temperature_of_the_hybrid_loss(mode, tau):
    a, b, f, g = rows(9, 5)
    views, tau = torch.stack([b, a.flip(0)]).detach().requires_grad_(), torch.tensor(tau, dtype=torch.float64)
    fn = lambda a, v, t: pc.hybrid_contrastive_loss(a, v, f, g, tau=t, mode=mode, delta=0.1, tau_s=0.3)  # noqa: E731
    assert fn(a, views, tau) == fn(a, views, float(tau))
    assert torch.autograd.gradcheck(fn, (a, views, tau.requires_grad_()), eps=1e-7, atol=1e-4)
    assert torch.autograd.gradcheck(lambda a, t: fn(a, views[:0], t), (a, tau), eps=1e-7, atol=1e-4)
