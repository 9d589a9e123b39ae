"""hybrid_contrastive_loss as autograd meets it: what gets a gradient and what is refused, forward mode, torch.func, and
the warning where nothing is left to learn from."""

import numpy as np
import pytest
import torch
from test_contrastive import MODES, batch
from torch.autograd import forward_ad

import physioclr as pc
from physioclr import reference
from physioclr.ops.contrastive import cpu

# forward_ad compiles decompositions by torch.jit.script
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
loss = pc.hybrid_contrastive_loss


@pytest.mark.parametrize("name", ["features", "delta", "tau_s"])
def test_what_would_get_no_gradient_is_refused(name):
    anchor, views, features = batch(12)
    given = {"anchor": anchor, "views": views, "features": features, "tau": torch.tensor(0.1)}  # tau may be a tensor
    given[name] = torch.nn.Parameter(features if name == "features" else torch.tensor(0.2))
    with pytest.raises(ValueError, match=f"{name} requires a gradient, which hybrid_contrastive_loss does not give"):
        loss(**given)
    with torch.no_grad():
        loss(**given)
    loss(**given | {name: given[name].detach()}).backward()
    assert anchor.grad is not None


@pytest.mark.parametrize("dtype", cpu.IDS)
def test_every_integer_is_a_group(dtype):
    anchor, views, features = batch(12)
    ids = torch.arange(12) // 2
    want = loss(anchor, views, features, ids)
    assert loss(anchor, views, features, ids.to(getattr(torch, dtype))) == want
    assert loss(anchor, views, features, ids.numpy().astype(dtype)) == want
    assert loss(anchor, views, features, ids.tolist()) == want


@pytest.mark.parametrize(
    "group, error, message",
    [
        (["a"] * 12, TypeError, "group cannot be read as a tensor: its items are text; number them: np.unique"),
        (np.array(["a"] * 12), TypeError, "group cannot be read as a tensor"),
        ([None] * 12, TypeError, "group cannot be read as a tensor"),
        ([[1], [2, 3]] * 6, ValueError, "group cannot be read as a tensor"),
        (np.zeros(12), TypeError, "group has dtype float64; it must be one of int64"),
        (torch.zeros(12, dtype=torch.bool), TypeError, "group has dtype bool"),
        ([1, 2], ValueError, r"group has shape \(2,\); it must be \(12,\)"),
    ],
)
def test_other_groups_are_refused_by_name(group, error, message):
    with pytest.raises(error, match=message):
        loss(*batch(12), group)


@pytest.mark.parametrize("delta", [-1.01, 1.5, float("inf")])
def test_delta_is_a_cosine(delta):
    with pytest.raises(ValueError, match=r"delta is .*; it must be finite, at least -1 and at most 1"):
        loss(*batch(6), delta=delta)


def directional(anchor, views, features, ta, tv, **settings):
    want = reference.hybrid_contrastive_loss(anchor, views, features, **settings)[0]
    ga, gv = torch.autograd.grad(want, (anchor, views))
    return want.detach(), (ga * ta).sum() + (gv * tv).sum()


@pytest.mark.parametrize("mode", MODES)
def test_forward_mode(mode):
    anchor, views, features = batch(20)
    ta, tv = torch.randn_like(anchor), torch.randn_like(views)
    want, slope = directional(anchor, views, features, ta, tv, mode=mode)
    a, v = anchor.detach(), views.detach()
    for out, tangent in (
        torch.func.jvp(lambda x, y: loss(x, y, features, mode=mode), (a, v), (ta, tv)),
        torch.func.jvp(
            lambda t: loss(a + t * ta, v + t * tv, features, mode=mode), (torch.zeros(()),), (torch.ones(()),)
        ),
    ):
        torch.testing.assert_close((out, tangent), (want, slope), rtol=1e-9, atol=1e-12)
    with forward_ad.dual_level():
        out, stats = loss(forward_ad.make_dual(a, ta), v, features, mode=mode, return_stats=True)
        found, only = (
            forward_ad.unpack_dual(out).tangent,
            directional(anchor, views, features, ta, 0 * tv, mode=mode)[1],
        )
    torch.testing.assert_close(found, only, rtol=1e-9, atol=1e-12)
    assert stats.skipped == 0


def test_forward_mode_refuses_other_tangents():
    anchor, views, features = batch(20, grad=False)
    with pytest.raises(ValueError, match="features carries a tangent, which hybrid_contrastive_loss does not pass on"):
        torch.func.jvp(lambda f: loss(anchor, views, f), (features,), (features,))


def test_torch_func_grad():
    anchor, views, features = batch(20)
    want = torch.autograd.grad(loss(anchor, views, features), (anchor, views))
    got = torch.func.grad(lambda a, v: loss(a, v, features), argnums=(0, 1))(anchor.detach(), views.detach())
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))
    out, pull = torch.func.vjp(lambda a: loss(a, views.detach(), features), anchor.detach())
    assert torch.equal(pull(torch.ones_like(out))[0], want[0])


@pytest.mark.parametrize("outer", ["jvp", "grad"])
def test_second_derivatives_by_torch_func_are_errors(outer):
    anchor, views, features = batch(10, grad=False)
    first = torch.func.grad(lambda a: loss(a, views, features))
    with pytest.raises(RuntimeError, match="derivative"):
        if outer == "jvp":
            torch.func.jvp(first, (anchor,), (anchor,))
        else:
            torch.func.grad(lambda a: first(a).square().sum())(anchor)


@pytest.mark.parametrize(
    "change, why",
    [
        (dict(features=torch.ones(6, 3, dtype=torch.float64)), "no negatives .*at least delta = 0.25"),
        (dict(features=torch.zeros(6, 3, dtype=torch.float64)), "no two rows of different groups"),
        (dict(group=[1] * 6), "no two rows of different groups"),
        (dict(views=None, features=torch.eye(6, dtype=torch.float64)), "neither views nor positives"),
    ],
)
def test_nothing_to_learn_from_is_said_once(monkeypatch, change, why):
    monkeypatch.setattr(cpu, "_warned", False)
    anchor, views, features = batch(6, f=3)
    given = {"anchor": anchor, "views": views, "features": features, **change}
    with pytest.warns(RuntimeWarning, match=f"all 6 rows skipped.*{why}") as said:
        value = loss(**given)
    assert value == 0 and [w.filename for w in said] == [__file__]
    loss(**given).backward()  # warnings are errors here
    assert anchor.grad.eq(0).all()


def test_an_empty_batch_is_no_reason_to_warn(monkeypatch):
    monkeypatch.setattr(cpu, "_warned", False)
    assert loss(*batch(0)) == 0
