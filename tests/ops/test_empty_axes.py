"""Every op on every empty axis: an empty result, NaN or "nothing found" where results remain, or an error that names an
argument; the same each time, never a value that was read beside the array."""

import numpy as np
import pytest
import torch
from op_cases import CASES, flat, made_up, uncovered

import physioclr as pc

AXES = {
    "no records": lambda x: x._replace(
        ecg=x.ecg[:0], raw=x.raw[:0], rpeaks=x.rpeaks[:0], rows=x.rows[:0], starts=x.starts[:0]
    ),
    "no leads": lambda x: x._replace(ecg=x.ecg[:, :0], raw=x.raw[:, :0]),
    "no samples": lambda x: x._replace(ecg=x.ecg[..., :0], raw=x.raw[..., :0], rpeaks=torch.full_like(x.rpeaks, -1)),
    "no beats": lambda x: x._replace(rpeaks=x.rpeaks[:, :0]),
    "no rows": lambda x: x._replace(
        features=x.features[:0], anchor=x.anchor[:0], views=x.views[:, :0], group=x.group[:0]
    ),
    "no features": lambda x: x._replace(features=x.features[:, :0], others=x.others[:, :0]),
    "no others": lambda x: x._replace(others=x.others[:0]),
    "no width": lambda x: x._replace(anchor=x.anchor[:, :0], views=x.views[..., :0]),
    "no views": lambda x: x._replace(views=x.views[:0]),
}


@pytest.fixture(scope="module")
def inputs():
    return made_up(records=3, samples=2600)


def outcome(case, x):
    """The results, or the error's kind and text."""
    try:
        return [v for v in flat(case.forward(x)) if v is not None]
    except (ValueError, TypeError) as e:
        return f"{type(e).__name__}: {e}"


def same(a, b):
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    arrays = [[np.asarray(v.float() if v.dtype == torch.bfloat16 else v) for v in r] for r in (a, b)]
    return len(a) == len(b) and all(
        p.shape == q.shape and np.array_equal(p, q, equal_nan=p.dtype.kind == "f") for p, q in zip(*arrays, strict=True)
    )


def disturb():
    """Leave other values in the memory that the next arrays get."""
    for n in (64, 1024, 65536):
        torch.full((n,), 7e7)
        np.full(n, -7e7, np.float32)


@pytest.mark.filterwarnings("ignore:hybrid_contrastive_loss. all:RuntimeWarning")
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_an_empty_axis(inputs, case, axis):
    if (case.name, axis) == ("detect_rpeaks one lead", "no leads"):
        pytest.skip("there is no lead to take")
    x = AXES[axis](inputs)
    found = []
    for _ in range(3):
        disturb()
        found.append(outcome(case, x))
    assert same(found[0], found[1]) and same(found[0], found[2]), "the result depends on what is in memory"
    if isinstance(found[0], str):
        assert len(found[0]) < 400 and "division" not in found[0] and "NoneType" not in found[0], found[0]
    else:
        for v in found[0]:
            assert not (v.is_floating_point() and torch.isinf(v).any())


@pytest.mark.parametrize("shape", [(3, 0, 2600), (3, 12, 0), (0, 12, 2600)], ids=["leads", "samples", "records"])
def test_what_is_not_there_has_no_beats_no_waves_and_is_not_paced(inputs, shape):
    x = np.zeros(shape, np.float32)
    found = pc.detect_rpeaks(x, 500.0)
    assert (found.count == 0).all() and (found.index == -1).all() and (found.quality == 0).all()
    beats = inputs.rpeaks.numpy()[: shape[0]] if shape[2] else np.full((shape[0], 4), -1, np.int32)
    for _ in range(20):
        disturb()
        features, paced = pc.physio_features(x, 500.0, beats, lead="mean", return_paced=True)
        assert not paced.any(), "a spike in a lead that is not there"
        if not x.size:
            assert not np.isfinite(features).any() or shape[2] == 2600
    waves = pc.delineate(x, 500.0, beats, lead="all")
    assert all((np.asarray(w) == -1).all() for w in waves)


def test_every_operator_is_here():
    assert uncovered() == set()
