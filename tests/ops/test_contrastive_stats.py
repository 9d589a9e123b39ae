"""ContrastiveStats of hybrid_contrastive_loss against its definition, every N x N matrix written out."""

import pytest
import torch
from test_contrastive import MODES, batch

import physioclr as pc
from physioclr.ops._arrays import TorchArrays
from physioclr.ops.contrastive import cuda
from physioclr.ops.contrastive.measures import fill_measures

FORMS = [*((mode, "sum") for mode in MODES), ("ratio", "mean")]
every_form = pytest.mark.parametrize("mode, reduction", FORMS)


def unit(x):
    return torch.nn.functional.normalize(x.detach().double(), dim=-1)


def wanted(anchor, views, features, group, mode, reduction, delta, tau_s):
    """(effective positives, alignment of each row, log mean closeness, the rows that count)."""
    h, v, f = unit(anchor), unit(views), unit(features)
    group = torch.arange(len(h)) if group is None else group
    known = (features != 0).any(1)
    pair = (group[:, None] != group) & known[:, None] & known
    positive = pair & (f @ f.T >= delta)
    n, m = positive.sum(1), len(views)
    ones = torch.ones(len(h), m, dtype=torch.float64)
    weights = torch.cat([ones, positive.double()], 1)
    if mode == "soft":
        weights = torch.cat([ones, torch.exp((f @ f.T - 1) / tau_s) * pair], 1)
    elif reduction == "mean":
        weights = torch.cat([ones, positive / n[:, None].clamp(min=1).double()], 1)
    distance = torch.cat([(h - v).square().sum(2).T, torch.cdist(h, h).square() * positive], 1).sum(1)
    used = (n + m > 0) & ((pair.sum(1) - (n if mode == "ratio" else 0)) > 0)
    effective = torch.where(used, weights.sum(1).square() / weights.square().sum(1), 0.0)
    alignment = (distance / (n + m))[used].mean()
    return effective, alignment, torch.exp(-2 * torch.cdist(h, h).square())[pair].mean().log(), used


@every_form
@pytest.mark.parametrize("n, v", [(9, 2), (150, 1), (600, 0)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_is_its_definition(mode, reduction, n, v, dtype):
    anchor, views, features = (x.detach().to(dtype) for x in batch(n, v))
    features[::7] = 0
    group = torch.arange(n) // 2
    options = {"mode": mode, "delta": 0.1, "tau_s": 0.3}
    stats = pc.hybrid_contrastive_loss(
        anchor, views, features, group, pair_reduction=reduction, return_stats=True, **options
    )[1]
    wide = features.double() if dtype == torch.float64 else features.float()
    effective, alignment, uniformity, used = wanted(anchor, views, wide, group, mode, reduction, 0.1, 0.3)
    tol = {"rtol": 1e-9 if dtype == torch.float64 else 1e-4, "atol": 1e-9}
    torch.testing.assert_close(stats.effective_positives, effective, **tol)
    torch.testing.assert_close(stats.alignment, alignment, **tol)
    torch.testing.assert_close(stats.uniformity, uniformity, **tol)
    assert stats.skipped == (~used).sum() and used.any()


def test_by_hand():
    """Rows 0 and 1 are alike, row 2 is not. Cosines: h0.h1 = 0, h0.h2 = -1, h1.h2 = 0; the view of each is itself."""
    h = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    f = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    stats = pc.hybrid_contrastive_loss(h, h[None], f, return_stats=True)[1]
    assert stats.effective_positives.tolist() == [2, 2, 1]
    assert stats.alignment.item() == pytest.approx((1 + 1 + 0) / 3)  # |h0 - h1|^2 = 2, with a view at 0
    closeness = torch.tensor([2.0, 4.0, 2.0], dtype=torch.float64).mul(-2).exp().mean()
    assert stats.uniformity.item() == pytest.approx(closeness.log().item())


@pytest.mark.filterwarnings("ignore:hybrid_contrastive_loss. all:RuntimeWarning")
def test_nothing_compared():
    anchor, views, features = batch(5, 1)
    group = torch.zeros(5, dtype=torch.int64)
    stats = pc.hybrid_contrastive_loss(anchor, views, features, group, return_stats=True)[1]
    assert stats.skipped == 5 and stats.alignment.isnan() and stats.uniformity.isnan()
    assert stats.effective_positives.eq(0).all()


def test_one_type_for_all():
    assert pc.PairStats is pc.ContrastiveStats
    anchor, views, features = batch(12, 1)
    all_of = [
        pc.hybrid_contrastive_loss(anchor, views, features, return_stats=True)[1],
        pc.info_nce(anchor, views[0], return_stats=True)[1],
        pc.supcon(anchor, torch.arange(12) // 3, return_stats=True)[1],
    ]
    assert all(type(s) is pc.ContrastiveStats and all(x is not None for x in s) for s in all_of)


def test_does_not_move_the_loss():
    anchor, views, features = batch(300, 2, dtype=torch.float32)
    plain = pc.hybrid_contrastive_loss(anchor, views, features)
    told = pc.hybrid_contrastive_loss(anchor, views, features, return_stats=True)[0]
    assert torch.equal(plain, told)
    for x, y in zip(*(torch.autograd.grad(x, (anchor, views)) for x in (plain, told)), strict=True):
        assert torch.equal(x, y)


@every_form
def test_the_devices_pass_is_the_cpus(mode, reduction):
    """fill_measures, which CUDA takes, with the host's kernels; and a part of the rows, as a process group has it."""
    anchor, views, features = (x.detach() for x in batch(70, 2))
    features[3] = 0
    group, settings = torch.arange(70) // 3, (0.1, 0.1, mode, 0.2, reduction)
    rows = torch.ops.physioclr.contrastive_rows
    for first, count in ((0, 70), (17, 30)):
        own = views[:, first : first + count]
        _, counts, want = rows(anchor, own, features, group, *settings, first, True)
        made = cuda.Tiles(TorchArrays(anchor), anchor, own, features, group, settings, first)
        got = torch.empty_like(want)
        fill_measures(made, counts, got, tile=16)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
