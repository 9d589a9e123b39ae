"""Plain CPU tensors go to the kernels without torch's dispatcher, with the results that it gives; and whoever looks at
operators still sees them."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import physioclr as pc
from physioclr.ops import _torch

RNG = np.random.default_rng(3)
ECG = torch.from_numpy(np.cumsum(RNG.normal(size=(2, 12, 2500)), -1).astype(np.float32) * 0.02)
PEAKS = torch.tensor([[300, 700, 1100, 1500, -1], [200, 600, 1000, 1400, 1800]], dtype=torch.int32)
ROWS = torch.from_numpy(RNG.normal(size=(6, 4)).astype(np.float32))
VIEWS = torch.from_numpy(RNG.normal(size=(2, 6, 4)).astype(np.float32))
PLAN = pc.Augment.preserving()
CALLS = {
    "detect_rpeaks": lambda: pc.detect_rpeaks(ECG, 500),
    "delineate": lambda: pc.delineate(ECG, 500, PEAKS),
    "physio_features": lambda: pc.physio_features(ECG, 500, PEAKS, return_paced=True),
    "physio_similarity": lambda: (pc.physio_similarity(ROWS),),
    "physio_neighbors": lambda: pc.physio_neighbors(ROWS, k=2),
    "shuffle_beats": lambda: (pc.shuffle_beats(ECG, PEAKS, seed=4)[0],),
    "augment": lambda: (pc.augment(ECG, PLAN, fs=500, seed=4, rpeaks=PEAKS)[0],),
    "peak_reconstruction": lambda: (pc.peak_reconstruction_loss(ECG * 0.5, ECG, PEAKS, 500),),
    "hybrid_contrastive_loss": lambda: (pc.hybrid_contrastive_loss(ROWS, VIEWS, ROWS),),
    "contrastive_loss": lambda: (pc.nt_xent(ROWS, VIEWS[0]),),
}


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name().partition(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CALLS)
def test_as_the_dispatcher_has_it(name):
    direct = CALLS[name]()
    with Seen() as seen:  # which sends every operator through the dispatcher
        dispatched = CALLS[name]()
    assert any(n.startswith(f"physioclr::{name}") for n in seen.names)
    assert len(direct) == len(dispatched)
    for x, y in zip(direct, dispatched, strict=True):
        assert type(x) is torch.Tensor and x.dtype == y.dtype and x.shape == y.shape
        assert torch.equal(torch.nan_to_num(x), torch.nan_to_num(y))


@pytest.mark.parametrize("name", CALLS)
def test_asks_no_dispatcher(name, monkeypatch):
    def refuse(*args):
        raise AssertionError("dispatched")

    monkeypatch.setattr(_torch, "OVERLOADS", dict.fromkeys(_torch.OVERLOADS, refuse))
    CALLS[name]()


def loss(x, v, **options):
    return pc.hybrid_contrastive_loss(x, v, ROWS, **options)


@pytest.mark.parametrize(
    "f",
    [
        loss,
        lambda x, v: pc.augment(x[None], pc.Augment(gaussian_noise=pc.GaussianNoise(p=1.0)), fs=500, seed=1)[0].sum(),
    ],
)
def test_gradients_as_the_dispatcher_has_them(f):
    given = []
    for mode in (False, True):
        x, v = ROWS.clone().requires_grad_(), VIEWS.clone().requires_grad_()
        if mode:
            with Seen():
                f(x, v).backward()
        else:
            f(x, v).backward()
        given.append((x.grad, v.grad))
    for a, b in zip(*given, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_the_profiler_sees_operators():
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        pc.detect_rpeaks(ECG, 500)
    assert "physioclr::detect_rpeaks" in {e.key for e in profile.key_averages()}


def test_second_derivatives_are_refused():
    x = ROWS.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(x, VIEWS), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        g.sum().backward()


def test_other_layouts_are_refused():
    with pytest.raises((NotImplementedError, RuntimeError, TypeError, ValueError)):
        pc.physio_similarity(ROWS.to_sparse())


def test_scratch_of_other_forms_leaves_no_trace():
    """A thread keeps its scratch and its plan: after records of other lengths, rates and leads all is as before."""
    forms = [(ECG, 500), (ECG[:, :1, :800].contiguous(), 250), (ECG.repeat(1, 1, 4), 1000), (ECG[:, :3], 125)]
    first = [pc.detect_rpeaks(x, fs) for x, fs in forms]
    waves = [pc.delineate(x, fs, r.index, lead=0) for (x, fs), r in zip(forms, first, strict=True)]
    for k in (3, 0, 2, 1, 0, 2):
        x, fs = forms[k]
        assert torch.equal(pc.detect_rpeaks(x, fs).index, first[k].index)
        for a, b in zip(pc.delineate(x, fs, first[k].index, lead=0), waves[k], strict=True):
            assert torch.equal(a, b)
