"""Every contrastive loss with its batch spread over processes (gloo), gathered and in a ring, against one process."""

import pytest
import torch
import torch.distributed as dist
from gloo import in_four_processes
from test_contrastive_losses import rows, sets

import physioclr as pc
from physioclr.ops.contrastive import ring

SIZES = {4: (5, 31, 0, 14), 3: (5, 40, 23), 2: (33, 0)}  # rows of each process
QUEUE = torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

# of a, b, features, group and what every loss takes
LOSSES = {
    "info_nce": lambda a, b, f, g, **o: pc.info_nce(a, b, **o),
    "info_nce group queue": lambda a, b, f, g, **o: pc.info_nce(a, b, g, negatives=QUEUE.to(a.dtype), **o),
    "info_nce one-sided": lambda a, b, f, g, **o: pc.info_nce(a, b, g, symmetric=False, **o),
    "info_nce hard": lambda a, b, f, g, **o: pc.info_nce(a, b, g, beta=0.7, negatives=QUEUE.to(a.dtype), **o),
    "nt_xent": lambda a, b, f, g, **o: pc.nt_xent(a, b, g, **o),
    "nt_xent hard": lambda a, b, f, g, **o: pc.nt_xent(a, b, beta=2.0, **o),
    "supcon": lambda a, b, f, g, **o: pc.supcon(a, g, **o),
    "supcon multi-label": lambda a, b, f, g, **o: pc.supcon(a, sets(f), threshold=1 / 3, **o),
    "y_aware": lambda a, b, f, g, **o: pc.y_aware_info_nce(a, b, f, **o),
    "y_aware one-sided": lambda a, b, f, g, **o: pc.y_aware_info_nce(a, b, f, g, sigma=1.5, symmetric=False, **o),
    "soft": lambda a, b, f, g, **o: pc.soft_contrast(a, b, f, g, tau_s=0.3, **o),
}


def check(name, ranks, group, dtype, tau, travels):
    fn, sizes = LOSSES[name], SIZES[ranks]
    a, b, f, g = rows(sum(sizes), 12, dtype)
    g = g % 9 - 4
    learnt = torch.tensor(tau, dtype=torch.float64, requires_grad=True)
    whole, want = fn(a, b, f, g, tau=learnt, return_stats=True)
    wanted = torch.autograd.grad(whole, (a, b, learnt), allow_unused=True)
    first = sum(sizes[: dist.get_rank(group)])
    own = slice(first, first + sizes[dist.get_rank(group)])
    x, y = (z.detach()[own].requires_grad_() for z in (a, b))
    t = learnt.detach().requires_grad_()
    loss, stats = fn(x, y, f[own], g[own], tau=t, process_group=group, return_stats=True, ring=travels)
    tol = 1e-9 if dtype == torch.float64 else 1e-4
    assert loss.dtype == whole.dtype and abs(loss - whole) <= tol * abs(whole)
    got = torch.autograd.grad(loss, (x, y, t), allow_unused=True)
    for u, v in zip(got, (wanted[0][own], None if wanted[1] is None else wanted[1][own], wanted[2]), strict=True):
        assert (u is None) == (v is None)
        if v is not None:
            u, v = u.double(), v.double()
            assert u.shape == v.shape and (u - v).norm() <= max(tol, torch.finfo(dtype).eps) * v.norm() + 1e-12
    for k in ("skipped", "alignment", "uniformity"):
        torch.testing.assert_close(getattr(stats, k), getattr(want, k), rtol=max(tol, 1e-6), atol=1e-9)
    n, anchors = len(a), torch.arange(len(a))[own]
    index = anchors if len(want.positives) == n else torch.cat([anchors, anchors + n])
    for k in ("positives", "negatives", "effective_positives"):
        wanted_rows = getattr(want, k)[index] if travels else getattr(want, k)
        torch.testing.assert_close(getattr(stats, k), wanted_rows, rtol=1e-4, atol=1e-6)


def check_errors(group):
    a, b, f, _ = rows(8, 12)
    wrong = b[:5] if dist.get_rank(group) == 1 else b
    with pytest.raises(ValueError, match=r"b has|process 1 of process_group has wrong arguments"):  # nobody waits
        pc.info_nce(a, wrong, process_group=group, ring=True)
    bad = f * float("nan") if dist.get_rank(group) == 0 else f
    with pytest.raises(ValueError, match=r"features contains NaN|process 0 of process_group has wrong arguments"):
        pc.soft_contrast(a, b, bad, process_group=group, ring=True)
    ends = torch.tensor([-(2**63), 2**63 - 1] * 4)  # no number is left beyond these groups'
    for travels in (True, False):
        kept = pc.info_nce(a, b, ends, negatives=QUEUE, process_group=group, ring=travels, return_stats=True)[1]
        assert kept.negatives[0] == 16 + len(QUEUE)
    loss = pc.info_nce(a, b, process_group=group, ring=True)
    (grad,) = torch.autograd.grad(loss, a, create_graph=True)
    with pytest.raises(RuntimeError, match="contrastive_loss has no second derivative"):
        grad.sum().backward()


def check_all(rank, groups):
    for name in LOSSES:
        for ranks in (r for r in SIZES if rank < r):
            for dtype, tau, form in (
                (torch.float64, 0.2, "kernels"), (torch.float64, 0.01, "kernels"), (torch.float32, 0.2, "kernels"),
                (torch.float32, 0.01, "kernels"), (torch.bfloat16, 0.2, "kernels"), (torch.float64, 0.2, "blocks"),
                (torch.float32, 0.01, "blocks"), (torch.float64, 0.2, "gathered"),
            ):  # fmt: skip
                ring.KERNELS = form == "kernels"  # otherwise torch's operations, which other devices take
                try:
                    check(name, ranks, groups[ranks], dtype, tau, form != "gathered")
                except AssertionError as e:
                    raise AssertionError(f"{name}, {ranks} processes, {dtype}, tau {tau}, {form}: {e}") from e
    ring.KERNELS = True
    check_errors(groups[4])


def test_two_to_four_processes_equal_one(tmp_path):
    in_four_processes(check_all, tmp_path)
