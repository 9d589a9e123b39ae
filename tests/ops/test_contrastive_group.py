"""hybrid_contrastive_loss over several processes (gloo). One start of four processes serves all checks."""

import pytest
import torch
import torch.distributed as dist
from gloo import in_four_processes

import physioclr as pc
from physioclr.ops.contrastive import ring

SIZES = {4: (5, 31, 0, 14), 3: (5, 40, 23), 2: (33, 0)}  # rows of each process


def batch(rows, dtype, seed=0):
    gen = torch.Generator().manual_seed(seed)
    anchor = torch.randn(rows, 12, dtype=dtype, generator=gen)
    views = torch.randn(2, rows, 12, dtype=dtype, generator=gen)
    features = torch.randn(rows, 6, dtype=dtype, generator=gen)
    return anchor, views, features, torch.arange(rows) // 2


def check_against_one_process(ranks, group, dtype, in_ring=False, **settings):
    anchor, views, features, records = batch(sum(SIZES[ranks]), dtype)
    anchor.requires_grad_(), views.requires_grad_()
    whole, all_stats = pc.hybrid_contrastive_loss(anchor, views, features, records, return_stats=True, **settings)
    whole.backward()
    first = sum(SIZES[ranks][: dist.get_rank(group)])
    own = slice(first, first + SIZES[ranks][dist.get_rank(group)])
    a, v = anchor.detach()[own].requires_grad_(), views.detach()[:, own].requires_grad_()
    loss, stats = pc.hybrid_contrastive_loss(
        a, v, features[own], records[own], process_group=group, ring=in_ring, return_stats=True, **settings
    )
    loss.backward()
    tol = 1e-6 if dtype == torch.float64 else 1e-4
    assert loss.dtype == whole.dtype and abs(loss - whole) <= tol * abs(whole)
    tol = 2**-8 if dtype == torch.bfloat16 else tol  # where a gradient was rounded the other way
    for got, want in ((a.grad, anchor.grad[own]), (v.grad, views.grad[:, own])):
        assert (got - want).norm() <= tol * want.norm()
    for name in ("positives", "negatives", "effective_positives"):
        got, want = getattr(stats, name), getattr(all_stats, name)[own]
        torch.testing.assert_close(got, want, rtol=1e-4 if got.is_floating_point() else 0, atol=0)
    for name in ("alignment", "uniformity"):  # of the whole batch
        torch.testing.assert_close(getattr(stats, name), getattr(all_stats, name), rtol=1e-4, atol=1e-9)


def check_torch_func(group):
    """torch.func.grad gives what backward gives, and what would get no gradient is refused on every process."""
    anchor, views, features, records = batch(8, torch.float64)
    anchor.requires_grad_()
    pc.hybrid_contrastive_loss(anchor, views, features, records, process_group=group).backward()
    got = torch.func.grad(lambda a: pc.hybrid_contrastive_loss(a, views, features, records, process_group=group))(
        anchor.detach()
    )
    assert torch.equal(got, anchor.grad)
    if dist.get_rank(group) == 1:
        features.requires_grad_()
    with pytest.raises(
        ValueError, match=r"features requires a gradient|process 1 of process_group has wrong arguments"
    ):
        pc.hybrid_contrastive_loss(anchor, views, features, records, process_group=group)


def train(group, rows):
    """Ten steps; the weights. With a group under DDP, which averages, so the loss is multiplied by the world size."""
    torch.manual_seed(5)
    model = net = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.Tanh(), torch.nn.Linear(8, 6)).double()
    world, own = 1, slice(0, rows)
    if group is not None:
        model = torch.nn.parallel.DistributedDataParallel(net, process_group=group)
        first = sum(SIZES[3][: dist.get_rank(group)])
        world, own = 3, slice(first, first + SIZES[3][dist.get_rank(group)])
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    for step in range(10):
        anchor, views, features, records = batch(rows, torch.float64, seed=step)
        x = torch.cat([anchor[None], views])[:, own]
        out = model(x)
        loss = pc.hybrid_contrastive_loss(out[0], out[1:], features[own], records[own], tau=0.5, process_group=group)
        optimiser.zero_grad()
        (loss * world).backward()
        optimiser.step()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def check_errors(group):
    anchor, views, features, records = batch(8, torch.float32)
    with pytest.raises(ValueError, match=r"features has 7 rows|process 1 of process_group has wrong arguments"):
        wrong = features[:7] if dist.get_rank(group) == 1 else features  # nobody waits for ever
        pc.hybrid_contrastive_loss(anchor, views, wrong, records, process_group=group)
    with pytest.raises(ValueError, match="the number of views on process 2 differs"):
        pc.hybrid_contrastive_loss(
            anchor, views[: 1 if dist.get_rank(group) == 2 else 2], features, records, process_group=group
        )
    bad = features * float("nan") if dist.get_rank(group) == 0 else features
    for in_ring in (False, True):
        with pytest.raises(ValueError, match="features contains NaN"):
            pc.hybrid_contrastive_loss(anchor, views, bad, records, process_group=group, ring=in_ring)
    anchor.requires_grad_()
    loss = pc.hybrid_contrastive_loss(anchor, views, features, records, process_group=group, ring=True)
    (grad,) = torch.autograd.grad(loss, anchor, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        grad.sum().backward()


def check_all(rank, groups):
    for mode in ("ratio", "supcon", "soft"):
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            for ranks in (r for r in SIZES if rank < r):
                for tau in (0.1, 0.01):
                    settings = {"mode": mode, "tau": tau, "pair_reduction": "mean" if ranks == 3 else "sum"}
                    check_against_one_process(ranks, groups[ranks], dtype, **settings)
                    for kernels in (True, False):  # False: torch's operations, which other devices take
                        ring.KERNELS = kernels
                        check_against_one_process(ranks, groups[ranks], dtype, in_ring=True, **settings)
                    ring.KERNELS = True
    if rank < 3:
        torch.testing.assert_close(train(groups[3], 68), train(None, 68), rtol=1e-9, atol=1e-9)
    check_errors(groups[4])
    check_torch_func(groups[4])


def test_two_to_four_processes_equal_one(tmp_path):
    in_four_processes(check_all, tmp_path)
