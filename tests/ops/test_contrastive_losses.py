import math

import pytest
import torch
from torch.library import opcheck

import physioclr as pc
from physioclr import _core, reference
from physioclr.ops._arrays import TorchArrays

TOL = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}


def rows(n, d, dtype=torch.float64, seed=0):
    gen = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, d, dtype=torch.float64, generator=gen).to(dtype).requires_grad_() for _ in range(2))
    features = torch.randn(n, 4, dtype=torch.float64, generator=gen)
    features[min(2, n - 1)] = 0
    return a, b, features, torch.arange(n) // 3


def sets(features):
    """(N, 4) labels of rows, some with all and some with none."""
    return (features > 0.3).to(torch.uint8) * 3


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
    "supcon multi-label": lambda p, a, b, f, g, tau: p.supcon(
        torch.cat([a, b]), torch.cat([sets(f), sets(f)]), tau=tau, threshold=1 / 3
    ),
    "info_nce hard": lambda p, a, b, f, g, tau: p.info_nce(a, b, g, tau=tau, beta=1.5),
    "info_nce one-sided hard queue": lambda p, a, b, f, g, tau: p.info_nce(
        a, b, tau=tau, symmetric=False, negatives=b.detach().flip(1)[1:6], beta=0.3
    ),
    "nt_xent hard queue": lambda p, a, b, f, g, tau: p.nt_xent(
        a, b, g, tau=tau, negatives=a.detach().flip(1)[:5], beta=0.8
    ),
    "y_aware": lambda p, a, b, f, g, tau: p.y_aware_info_nce(a, b, f, tau=tau, sigma=1.5),
    "y_aware group": lambda p, a, b, f, g, tau: p.y_aware_info_nce(a, b, f, g, tau=tau, sigma=0.7, symmetric=False),
    "soft": lambda p, a, b, f, g, tau: p.soft_contrast(a, b, f, tau=tau, tau_s=0.3),
    "soft group": lambda p, a, b, f, g, tau: p.soft_contrast(a, b, f, g, tau=tau, tau_s=0.04),
}
every_form = pytest.mark.parametrize("form", FORMS)


def loss_of(result):
    return result[0] if isinstance(result, tuple) else result


@every_form
@pytest.mark.parametrize("n, d", [(7, 5), (64, 33), (257, 64), (700, 5), (96, 32)])  # 32, 64: gradients made in place
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
            fn, beta = pc.nt_xent if "nt" in form else pc.info_nce, 0.8 * ("hard" in form)
            assert torch.autograd.gradcheck(
                lambda a, b, t, fn=fn, q=queue, beta=beta: fn(a, b, g, tau=t, negatives=q, beta=beta),
                (a, b, tau),
                eps=1e-7,
                atol=1e-4,
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


def effective(w):
    return w.sum(1).square() / w.square().sum(1)


def test_effective_positives_alignment_and_uniformity():
    a, b, f, g = rows(300, 9)
    h, k = (torch.nn.functional.normalize(x.detach(), dim=1) for x in (a, b))
    across, both = torch.cdist(h, k).square(), torch.cdist(torch.cat([h, k]), torch.cat([h, k])).square()
    other = g[:, None] != g
    alignment = pytest.approx((h - k).square().sum(1).mean().item())
    uniformity = pytest.approx(torch.exp(-2 * across)[other].mean().log().item())

    for beta in (0.0, 0.5):
        stats = pc.info_nce(a, b, g, negatives=k[:20], beta=beta, return_stats=True)[1]
        assert stats.alignment.item() == alignment and stats.uniformity.item() == uniformity
        assert stats.effective_positives.tolist() == [1] * 600
    one_sided = pc.info_nce(a, b, g, symmetric=False, return_stats=True)[1]
    assert one_sided.uniformity.item() == uniformity and one_sided.effective_positives.tolist() == [1] * 300
    stats = pc.nt_xent(a, b, g, return_stats=True)[1]
    assert stats.alignment.item() == alignment
    assert stats.uniformity.item() == pytest.approx(torch.exp(-2 * both)[other.repeat(2, 2)].mean().log().item())

    labels = torch.arange(300) % 7 % 5
    labels[0] = 9
    same, itself = (labels[:, None] == labels) & ~torch.eye(300, dtype=torch.bool), torch.eye(300, dtype=torch.bool)
    stats = pc.supcon(a, labels, return_stats=True)[1]
    assert torch.equal(stats.effective_positives, same.sum(1).double()) and stats.effective_positives[0] == 0
    inside = torch.cdist(h, h).square()
    mean = (inside * same).sum(1)[1:] / same.sum(1)[1:]
    assert stats.alignment.item() == pytest.approx(mean.mean().item())
    assert stats.uniformity.item() == pytest.approx(torch.exp(-2 * inside)[~itself].mean().log().item())

    w = torch.exp(-torch.cdist(f, f).square() / (2 * 1.5**2))
    got = pc.y_aware_info_nce(a, b, f, sigma=1.5, return_stats=True)[1].effective_positives
    torch.testing.assert_close(got, effective(w).repeat(2))
    u = torch.nn.functional.normalize(f, dim=1)
    w = torch.exp((u @ u.T - 1) / 0.2).fill_diagonal_(1) * (other | torch.eye(300, dtype=torch.bool))
    w[2, torch.arange(300) != 2] = w[torch.arange(300) != 2, 2] = 0  # without features
    stats = pc.soft_contrast(a, b, f, g, tau_s=0.2, return_stats=True)[1]
    want = effective(w).repeat(2)
    want[[2, 302]] = 0  # skipped
    torch.testing.assert_close(stats.effective_positives, want)
    assert stats.skipped == 2


@pytest.mark.filterwarnings("ignore:hybrid_contrastive_loss. all:RuntimeWarning")
def test_features_without_columns():
    """All alike by distance; by cosine all 0, so that every row meets its partner alone and is skipped."""
    a, b, f, _ = rows(7, 5)  # not a whole panel: padding is no row
    assert pc.y_aware_info_nce(a, b, f[:, :0], sigma=1.0).item() == pytest.approx(
        reference.y_aware_info_nce(a, b, f[:, :0]).item()
    )
    loss, stats = pc.soft_contrast(a, b, f[:, :0], return_stats=True)
    assert loss == 0 and stats.skipped == 14 and stats.negatives.eq(0).all()
    loss, stats = pc.hybrid_contrastive_loss(a, b[None], f[:, :0], mode="supcon", return_stats=True)
    assert loss == 0 and stats.skipped == 7


def test_few_rows_have_no_uniformity():
    a, b, _, _ = rows(1, 5)
    stats = pc.info_nce(a, b, return_stats=True)[1]
    assert stats.uniformity.isnan() and stats.alignment > 0
    stats = pc.supcon(a, torch.zeros(1, dtype=torch.int64), return_stats=True)[1]
    assert stats.alignment.isnan() and stats.skipped == 1


def test_multi_label_by_jaccard_index():
    """By hand: {0, 1} and {0}: 1 / 2; {0, 1} and {1, 2, 3}: 1 / 4; {0} and {1, 2, 3}: 0; nothing with anything: 0."""
    x = rows(4, 5)[0]
    sets = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]])
    for threshold, positives in ((0.5, [1, 1, 0, 0]), (0.51, [0] * 4), (0.25, [2, 1, 1, 0])):
        for labels in (sets, sets > 0, sets.numpy(), sets.tolist()):
            loss, stats = pc.supcon(x, labels, threshold=threshold, return_stats=True)
            assert stats.positives.tolist() == positives and stats.negatives.tolist() == [3 - p for p in positives]
            assert stats.skipped == positives.count(0) and (loss > 0) == any(positives)
    for wrong, message in ((sets.float(), "labels"), (sets[:3], "features has 3 rows|labels")):
        with pytest.raises((TypeError, ValueError), match=message):
            pc.supcon(x, wrong)
    with pytest.raises(ValueError, match="threshold"):
        pc.supcon(x, sets, threshold=0)


def test_hard_negatives_by_hand():
    """One anchor at cosine 1 of its partner, negatives at 0 and 1: the weights are 1 and e^beta over their mean."""
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    beta, e = 0.7, math.e
    w = [2 / (1 + e**beta), 2 * e**beta / (1 + e**beta)]
    want = (2 * math.log((e + w[0] + w[1] * e) / e) + math.log((e + 2) / e)) / 3
    loss = pc.info_nce(a, a, tau=1.0, beta=beta, symmetric=False)
    assert loss.item() == pytest.approx(want)
    for beta in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beta"):
            pc.nt_xent(a, a, beta=beta)


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


@pytest.mark.parametrize("form", ["instance", "labels", "cosine", "distance", "hard", "jaccard"])
def test_opcheck(form):
    a, b, f, g = rows(20, 5)
    op = torch.ops.physioclr.contrastive_loss.default
    tau = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    features = f if form in ("cosine", "distance") else (f > 0).double() if form == "jaccard" else None
    b = None if form in ("labels", "jaccard") else b
    opcheck(op, (a, b, None, features, g, tau, 0.1, 0.5, form, 0 if b is None else 2, 0.4, True))
    step = torch.ops.physioclr.contrastive_step.default
    plain = [None if x is None else x.detach() for x in (a, b, None, features, g, tau)]
    opcheck(step, (*plain, 0.1, 0.5, form, 0 if b is None else 2, 0.4, True))
    if features is None:
        opcheck(op, (a, b, a.detach()[:3], None, g, None, 0.1, 0.5, form, 0, 0.4))
    else:
        with pytest.raises(ValueError, match="negatives have no features"):
            op(a, b, a.detach()[:3], features, g, None, 0.1, 0.5, form, 0, 0.4)


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
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_step_is_the_registered_operator(form, dtype, monkeypatch):
    """The loss with its gradient in one pass gives the bits of the loss and of its backward pass."""
    from physioclr.ops.contrastive import step

    a, b, f, g = rows(150, 33, dtype)
    results = []
    for at_once in (True, False):
        monkeypatch.setattr(step, "applies", step.applies if at_once else lambda *_: False)
        loss = FORMS[form](pc, a, b, f, g, 0.05)
        first = torch.autograd.grad(loss, (a, b), retain_graph=True)
        results.append([loss, *first, *torch.autograd.grad(3 * loss, (a, b))])
        (grad,) = torch.autograd.grad(FORMS[form](pc, a, b, f, g, 0.05), a, create_graph=True)
        with pytest.raises(RuntimeError, match="contrastive_loss has no second derivative"):
            grad.sum().backward()
    for x, y in zip(*results, strict=True):
        assert x.dtype == y.dtype and (x - y).norm() <= torch.finfo(dtype).eps * 4 * y.norm()
    assert torch.equal(results[0][0], results[1][0])


def by_blocks(monkeypatch):
    from physioclr.ops.contrastive import blocks

    monkeypatch.setattr(blocks, "ROWS", 24)
    return blocks.forward, blocks.backward


def by_tiles(monkeypatch):
    from physioclr.ops.contrastive import tiles

    xp, make = TorchArrays(torch.zeros(0)), lambda *args: tiles.Sides(*args, tile=24)
    return (lambda *args: tiles.forward(xp, *args, make=make)), (lambda *args: tiles.backward(xp, *args, make=make))


@every_form
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tau", [0.2, 0.009])
@pytest.mark.parametrize("version", [by_blocks, by_tiles])
def test_other_versions_are_the_same_op(form, dtype, tau, version, monkeypatch):
    """In torch's own operations (a ring's), and by tiles (CUDA's, here with the kernels' host versions)."""
    from physioclr.ops.contrastive import engine

    forward, backward = version(monkeypatch)
    calls, whole = [], engine.contrastive_loss
    monkeypatch.setattr(engine, "contrastive_loss", lambda *args: calls.append(args) or whole(*args))
    a, b, f, g = rows(61, 33, dtype)
    with torch.no_grad():
        FORMS[form](pc, a, b, f, g, tau)
    ((a, b, *rest, _),) = calls
    rest.append(True)  # with measures
    want = whole(a, b, *rest)
    got = [torch.empty_like(x) for x in want]
    forward(got, a, b, *rest)
    tol = TOL[dtype] * (0.1 / tau if tau < 0.1 else 1)
    for x, y in zip(got, want, strict=True):
        assert x.dtype == y.dtype
        torch.testing.assert_close(x, y, rtol=tol, atol=tol)
    one, arrays, settings = torch.ones((), dtype=torch.float64), (a, b, *rest[:4]), rest[4:-1]
    want = engine.contrastive_loss_bwd(one, *arrays, *want[1:3], *settings)
    grads = [torch.empty_like(x) for x in want]
    backward(grads, one, *arrays, *got[1:3], *settings)
    for x, y in zip(grads, want, strict=True):
        assert x.dtype == y.dtype and (x - y).norm() <= tol * y.norm() + 1e-9


@pytest.mark.parametrize("mode", ["ratio", "supcon", "soft"])
@pytest.mark.parametrize("tau", [0.3, 0.009])
def test_temperature_of_the_hybrid_loss(mode, tau):
    a, b, f, g = rows(9, 5)
    views, tau = torch.stack([b, a.flip(0)]).detach().requires_grad_(), torch.tensor(tau, dtype=torch.float64)
    fn = lambda a, v, t: pc.hybrid_contrastive_loss(a, v, f, g, tau=t, mode=mode, delta=0.1, tau_s=0.3)  # noqa: E731
    assert fn(a, views, tau) == fn(a, views, float(tau))
    assert torch.autograd.gradcheck(fn, (a, views, tau.requires_grad_()), eps=1e-7, atol=1e-4)
    assert torch.autograd.gradcheck(lambda a, t: fn(a, views[:0], t), (a, tau), eps=1e-7, atol=1e-4)
