"""Seeds under torch.compile: one that changes every step or epoch does not compile again."""

import copy

import pytest
import torch
from augment_plans import PLANS
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend
from torch.library import opcheck

import physioclr as pc

# inductor's own warnings, of a new process pool and the like, are not ours
INDUCTOR = pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")])
EAGER_AND_INDUCTOR = pytest.mark.parametrize("backend", ["eager", INDUCTOR])
PLAN = PLANS["every"]
R = torch.tensor([[4, 11, 17, 29, -1], [-1, -1, -1, -1, -1]])


def augmented(x, seed):
    return pc.augment(x, PLAN, fs=500, seed=seed, rpeaks=R)[0]


SEEDS = [3, 5, 2**63 - 1, 0, 1, 40, *range(100, 112)]


def both(x, seed):
    return augmented(x, seed), pc.shuffle_beats(x, R, seed=seed)[0]


@pytest.mark.parametrize("dynamic, compilations", [(None, 2), (True, 1)])  # torch takes an int that changed for dynamic
def test_a_seed_that_changes_does_not_compile_again(dynamic, compilations):
    torch._dynamo.reset()
    counter, x = CompileCounter(), torch.randn(2, 3, 40)
    f = torch.compile(both, fullgraph=True, backend=counter, dynamic=dynamic)
    for seed in SEEDS:
        for got, want in zip(f(x, seed), both(x, seed), strict=True):
            assert torch.equal(got, want)
    assert counter.frame_count == compilations


def test_several_seeds_and_the_gradient_do_not_compile_again():
    torch._dynamo.reset()
    x = torch.randn(2, 3, 40, requires_grad=True)

    def loss(x, seeds):
        return augmented(x, seeds).square().sum()

    f = torch.compile(loss, fullgraph=True, backend="aot_eager")  # more than 8 compilations would be an error
    for seed in SEEDS:
        (got,) = torch.autograd.grad(f(x, [seed, seed // 2]), x)
        (want,) = torch.autograd.grad(loss(x, [seed, seed // 2]), x)
        assert torch.equal(got, want)


def at_epoch(x, epoch):
    first, second = (pc.view_seed(7, epoch, view) for view in range(2))
    return augmented(x, [first, second]), pc.shuffle_beats(x, R, seed=second)[0]


def seeded(x, seed):
    return augmented(x, seed), pc.shuffle_beats(x, R, seed=seed)[0]


@EAGER_AND_INDUCTOR
@pytest.mark.parametrize("f", [at_epoch, seeded])
@pytest.mark.parametrize(
    "number, compilations", [(int, 2), (torch.tensor, 1)]
)  # torch takes an int for dynamic if it changes
def test_view_seed_and_tensors_do_not_compile_again(f, number, compilations, backend):
    torch._dynamo.reset()
    counter, x = CompileCounterWithBackend(backend), torch.randn(2, 3, 40)
    compiled = torch.compile(f, fullgraph=True, backend=counter)
    for epoch in range(10):
        for got, want in zip(compiled(x, number(epoch)), f(x, epoch), strict=True):
            assert torch.equal(got, want)
    assert counter.frame_count == compilations


@EAGER_AND_INDUCTOR
@pytest.mark.parametrize("views", [1, 2])
def test_the_module_compiles_once(views, backend):
    torch._dynamo.reset()
    module = pc.nn.Augmentation(PLAN, 500.0, seed=3, views=views)
    counter, x = CompileCounterWithBackend(backend), torch.randn(2, 3, 40, requires_grad=True)
    compiled = torch.compile(module, fullgraph=True, backend=counter)
    for epoch in range(10):
        module.set_epoch(epoch)
        for step in range(2):
            ids = torch.arange(2) + 2 * step
            out, peaks = compiled(x, R, ids)
            want, want_peaks = module(x, R, ids)
            assert torch.equal(out, want) and torch.equal(peaks.index, want_peaks.index)
            got, want = (torch.autograd.grad(y.square().sum(), x)[0] for y in (out, want))
            assert torch.equal(got, want)
    assert counter.frame_count == 1


@pytest.mark.parametrize("rpeaks", [R, pc.RPeaks(R, torch.tensor([4, 0]), torch.tensor([0.5, 0.25]))])
def test_gathering_compiles_once(rpeaks):
    torch._dynamo.reset()
    module, rows = pc.nn.Augmentation(PLAN, 500.0, seed=3), torch.tensor([1, 0])
    counter, x = CompileCounter(), torch.randint(-99, 99, (2, 3, 40), dtype=torch.int16)
    compiled = torch.compile(module.gather, fullgraph=True, backend=counter)
    for epoch in range(10):
        module.set_epoch(epoch)
        got, want = (f(x, rows, [1, 0], 30, rpeaks, scale=0.01) for f in (compiled, module.gather))
        assert torch.equal(got[0], want[0]) and all(map(torch.equal, got[1], want[1]))
    assert counter.frame_count == 1


def test_the_seeds_are_no_state_of_the_module():
    module = pc.nn.Augmentation(PLAN, 500.0, seed=3)
    assert not module.state_dict() and not list(module.buffers())
    moved = copy.deepcopy(module).to("meta").half()
    assert moved._traced.tolist() == module.seeds and moved.seeds == module.seeds


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(
    "f, number, message",
    [
        (seeded, -1, "seed is -1; it must be from 0 to"),
        (seeded, torch.tensor(-1), "seed is -1; it must be from 0 to"),
        (at_epoch, torch.tensor(-3), "epoch is -3; it must be from 0 to"),
        (at_epoch, 2**32, "epoch is 4294967296; it must be from 0 to 4294967295"),
        (lambda x, e: augmented(x, pc.view_seed(e, 0, 0)), -4, "seed is -4; it must be from 0 to"),
    ],
)
def test_wrong_seeds_are_refused(f, number, message, backend):
    torch._dynamo.reset()
    compiled = torch.compile(f, fullgraph=True, backend=backend)
    # of a constant while compiling: torch wraps the error
    with pytest.raises((ValueError, torch._dynamo.exc.TorchRuntimeError), match=message):
        compiled(torch.randn(2, 3, 40), number)


def test_opcheck():
    ops = torch.ops.physioclr
    opcheck(ops.seed_of.default, (torch.tensor([4, 5]), 1))
    opcheck(ops.view_seed.default, (torch.empty(0), 7, 3, 1))
    assert ops.seed_of(torch.tensor(2**63 - 1)) == 2**63 - 1
    assert ops.view_seed(torch.empty(0), 7, 3, 1) == pc.view_seed(7, 3, 1)


class Draw(torch.nn.Module):
    def forward(self, x, epoch):
        return augmented(x, pc.view_seed(7, epoch, 1))


@pytest.mark.parametrize("strict", [True, False])
def test_export_keeps_the_epoch_open(strict):
    x = torch.randn(2, 3, 40)
    for given, others in ((torch.tensor(4), map(torch.tensor, range(5))), (4, (4,))):
        exported = torch.export.export(Draw(), (x, given), strict=strict).module()
        for epoch in others:
            assert torch.equal(exported(x, epoch), Draw()(x, epoch))
