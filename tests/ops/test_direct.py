"""Plain CPU tensors go to the kernels without torch's dispatcher, with the results that it gives; and whoever looks at
operators still sees them."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import physioclr as pc
from physioclr.ops import _torch
from physioclr.ops._operator import MOST_KNOWN, OPERATORS

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


# ---- a call like one before is not checked again: only one that is alike --------------------------------------------

NUMPY_ROWS, NUMPY_ECG, NUMPY_PEAKS = ROWS.numpy(), ECG.numpy(), PEAKS.numpy()
WRONG = {  # after a good call of the same op: one with another of its settings or arrays, and what it must say
    "packed is no bool": (
        lambda x: pc.physio_similarity(x(ROWS), threshold=0.5, packed=True),
        lambda x: pc.physio_similarity(x(ROWS), threshold=0.5, packed=1),
        "packed is 1",
    ),
    "k": (lambda x: pc.physio_neighbors(x(ROWS), k=2), lambda x: pc.physio_neighbors(x(ROWS), k=0), "k is 0"),
    "fs": (lambda x: pc.detect_rpeaks(x(ECG), 500), lambda x: pc.detect_rpeaks(x(ECG), 5), "fs is 5"),
    "fs is text": (
        lambda x: pc.detect_rpeaks(x(ECG), 500),
        lambda x: pc.detect_rpeaks(x(ECG), "500"),
        "fs is '500'",
    ),
    "dtype": (
        lambda x: pc.delineate(x(ECG), 500, x(PEAKS)),
        lambda x: pc.delineate(x(ECG.to(torch.int32)), 500, x(PEAKS)),
        "ecg has dtype int32",
    ),
    "shape": (
        lambda x: pc.delineate(x(ECG), 500, x(PEAKS)),
        lambda x: pc.delineate(x(ECG), 500, x(PEAKS[:1])),
        "rpeaks has 1 rows",
    ),
    "leads": (
        lambda x: pc.physio_features(x(ECG), 500, x(PEAKS), lead=[0, 1]),
        lambda x: pc.physio_features(x(ECG), 500, x(PEAKS), lead=[0, 12]),
        "12",
    ),
    "values": (
        lambda x: pc.physio_features(x(ECG), 500, x(PEAKS)),
        lambda x: pc.physio_features(x(ECG), 500, x(PEAKS.flip(1))),
        r"rpeaks\[0, 1\] is 1500",
    ),
    "seed": (
        lambda x: pc.shuffle_beats(x(ECG), x(PEAKS), seed=4),
        lambda x: pc.shuffle_beats(x(ECG), x(PEAKS), seed=-4),
        "seed is -4",
    ),
    "seeds": (
        lambda x: pc.augment(x(ECG), PLAN, fs=500, seed=[1, 2], rpeaks=x(PEAKS)),
        lambda x: pc.augment(x(ECG), PLAN, fs=500, seed=[1, 2**63], rpeaks=x(PEAKS)),
        "seed is 9223372036854775808",
    ),
}


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_after_a_good_one_is_told(name, library):
    good, wrong, said = WRONG[name]
    of = (lambda x: x.numpy()) if library == "numpy" else (lambda x: x)
    for _ in range(2):
        good(of)
    for _ in range(2):
        with pytest.raises((TypeError, ValueError), match=said):
            wrong(of)
    good(of)


def test_a_gradient_that_is_not_given_is_refused_after_a_call_without():
    features = ROWS.clone().requires_grad_()
    with torch.no_grad():
        pc.hybrid_contrastive_loss(ROWS, VIEWS, features)
    with pytest.raises(ValueError, match="features requires a gradient"):
        pc.hybrid_contrastive_loss(ROWS, VIEWS, features)


def test_a_subclass_is_seen_after_a_plain_tensor():
    class Tagged(torch.Tensor):
        pass

    pc.physio_similarity(ROWS)
    assert type(pc.physio_similarity(ROWS.as_subclass(Tagged))) is Tagged


def test_other_bytes_and_strides_after_the_usual():
    want = pc.physio_similarity(NUMPY_ROWS)
    for _ in range(2):
        np.testing.assert_array_equal(pc.physio_similarity(NUMPY_ROWS.astype(">f4")), want)
        np.testing.assert_array_equal(pc.physio_similarity(np.asfortranarray(NUMPY_ROWS)), want)
        assert torch.equal(pc.physio_similarity(ROWS.t().contiguous().t()), torch.from_numpy(want))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_results_are_new_each_time(library):
    x = NUMPY_ECG if library == "numpy" else ECG
    first, second = pc.detect_rpeaks(x, 500), pc.detect_rpeaks(x, 500)
    first.index[...] = 7
    assert not (second.index == 7).any()


def test_what_is_remembered_is_bounded():
    op = OPERATORS["physio_similarity"]
    for n in range(1, 2 * MOST_KNOWN):
        pc.physio_similarity(np.ones((n, 1), np.float32))
        pc.physio_similarity(torch.ones(n, 1))
    assert 0 < len(op.known) <= MOST_KNOWN
    assert all(len(known) <= MOST_KNOWN for known in op.known_tensors)


def test_a_large_result_takes_the_pool_where_there_is_one(monkeypatch):
    x = RNG.normal(size=(1200, 2)).astype(np.float32)  # 5.8 MB of similarities
    pc.physio_similarity(x)
    pc.set_result_pool(1 << 24)
    try:
        del_me = pc.physio_similarity(x)
        at = del_me.ctypes.data
        del del_me
        assert pc.physio_similarity(x).ctypes.data == at
    finally:
        pc.set_result_pool(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("mode", ["ratio", "supcon", "soft"])
def test_the_gradient_with_the_loss_is_that_after_it(dtype, mode, monkeypatch):
    found = []
    for few in (_torch.FEW_ROWS, 0):
        monkeypatch.setattr(_torch, "FEW_ROWS", few)
        for known in OPERATORS["hybrid_contrastive_loss"].known_tensors:
            known.clear()
        x, v = ROWS.to(dtype, copy=True).requires_grad_(), VIEWS.to(dtype, copy=True).requires_grad_()
        tau = torch.tensor(0.2, requires_grad=True)
        loss(x, v, tau=tau, mode=mode).mul(4).backward()
        found.append((x.grad, v.grad, tau.grad))
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b) and a.abs().sum() > 0


def test_embeddings_changed_after_the_loss_are_told():
    x = ROWS.clone().requires_grad_()
    y = x * 1.0
    value = loss(y, VIEWS)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()
