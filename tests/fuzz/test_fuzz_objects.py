"""The public names that test_fuzz_ops.py has not: classes and helpers, with any arguments. The same number of examples,
PHYSIOCLR_FUZZ, and the same rule: a result twice, or the same error of one line that names what was given.
"""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from op_cases import CASES
from test_fuzz_ops import ODD, settings_of

import physioclr as pc

FIELDS = [c for c in vars(pc).values() if dataclasses.is_dataclass(c) and hasattr(c, "p")]
numbers = st.one_of(
    st.floats(), st.floats(0, 1), st.floats(0, 1000), st.integers(-3, 500), st.integers(), st.just(10**400),
    st.booleans(), st.none(), st.text(max_size=3), st.just(np.zeros((3, 3)))
)  # fmt: skip
values = st.one_of(numbers, st.tuples(numbers, numbers), st.lists(numbers, max_size=3))


def outcome(f, *args, **kwargs):
    """The result's bits or text, or the error's."""
    try:
        with np.errstate(all="ignore"):
            result = f(*args, **kwargs)
    except (ValueError, TypeError) as e:
        assert str(e) and "\n" not in str(e), repr(e)
        return f"{type(e).__name__}: {e}"
    parts = result if isinstance(result, tuple) else (result,)
    return [x.tobytes() if isinstance(x, np.ndarray) else repr(x) for x in parts]


def twice(f, *args, **kwargs):
    first = outcome(f, *args, **kwargs)
    assert first == outcome(f, *args, **kwargs)
    return first


def test_every_public_name_is_fuzzed():
    """Where each is: the ops in `op_cases`, the others here; what takes nothing or is of torch aside."""
    ops = {"augment", "delineate", "detect_rpeaks", "hrv", "hybrid_contrastive_loss", "info_nce", "nt_xent",
           "physio_features", "peak_reconstruction_loss", "physio_neighbors", "physio_similarity", "shuffle_beats",
           "soft_contrast", "supcon", "view_seed", "y_aware_info_nce"}  # fmt: skip
    assert len(CASES) > 30
    helpers = {"feature_frame", "set_num_threads", "set_result_pool"}
    here = {c.__name__ for c in FIELDS} | {"Augment", "FeatureSpace", "Delineation", "RPeaks"} | helpers
    results = {"HRV", "ContrastiveStats", "PairStats", "Intervals", "Neighbors"}  # of the ops
    without_input = {"FEATURE_NAMES", "FeatureInfo", "feature_table", "info"}
    elsewhere = {"data", "nn", "load_pretrained"}  # files: fuzz_*.py, test_damaged_files.py; nn: modules around the ops
    assert set(pc.__all__) == ops | here | results | without_input | elsewhere


@settings_of
@given(kind=st.sampled_from(FIELDS), settings=st.dictionaries(st.integers(0, 4), values, max_size=4))
def test_augmentations_and_plans(kind, settings):
    names = [f.name for f in dataclasses.fields(kind)]
    arguments = {names[k]: v for k, v in settings.items() if k < len(names)}
    first = twice(kind, **arguments)
    if isinstance(first, str):
        return
    made = kind(**arguments)
    field = next(f.name for f in dataclasses.fields(pc.Augment) if kind.__name__ in str(f.type))
    plan = pc.Augment(**{field: made})
    x = np.sin(np.arange(2 * 12 * 300, dtype=np.float32)).reshape(2, 12, 300)
    peaks = np.array([[40, 150, 260], [9, 100, -1]], np.int32)
    result = outcome(pc.augment, x, plan, fs=250.0, seed=1, rpeaks=peaks)
    again = outcome(pc.augment, x, plan, fs=250.0, seed=1, rpeaks=peaks)
    assert result == again


@settings_of
@given(
    seed=st.integers(0, 2**31), rows=st.integers(0, 40), leads=st.integers(0, 2), components=numbers,
    odd=st.sampled_from([0.0, 0.0, 0.05, 0.5, 1.0]), scale=st.sampled_from([1.0, 1.0, 1e-44, 1e-20, 1e20, 1e37]),
    double=st.booleans(), width=st.integers(-1, 1),
)  # fmt: skip
def test_feature_space(seed, rows, leads, components, odd, scale, double, width):
    rng = np.random.default_rng(seed)

    def table(n):
        with np.errstate(all="ignore"):
            x = (rng.normal(size=(n, max(159 * leads + width, 0))) * scale).astype(np.float64 if double else np.float32)
        where = rng.random(x.shape) < odd
        x[where] = rng.choice(ODD, where.sum())
        return x

    x, y = table(rows), table(7)
    if isinstance(twice(pc.FeatureSpace.fit, x, components), str):
        return
    with np.errstate(all="ignore"):
        space = pc.FeatureSpace.fit(x, components)
    for z in (x, y):
        found = outcome(space.transform, z)
        assert isinstance(found, list) and found == outcome(space.transform, z)
        with np.errstate(all="ignore"):
            assert np.isfinite(space.transform(z)).all()


@settings_of
@given(seed=st.integers(0, 2**31), shape=st.lists(st.integers(0, 4), min_size=1, max_size=3), fs=st.floats(50, 4000))
def test_results(seed, shape, fs):
    rng = np.random.default_rng(seed)
    waves = pc.Delineation(*(rng.integers(-3, 5000, shape).astype(np.int32) for _ in range(8)))
    for found, (on, off) in zip(waves.intervals(fs), ((0, 2), (0, 3), (3, 4), (3, 7), (5, 7)), strict=True):
        absent = (waves[on] < 0) | (waves[off] < 0)
        want = np.where(absent, math.nan, (waves[off] - waves[on]) * (1000.0 / fs))
        np.testing.assert_array_equal(found, want.astype(np.float32))
    if len(shape) == 2:
        lists = pc.RPeaks(waves.p_on, None, None).lists()
        assert [row.tolist() for row in lists] == [[v for v in row if v >= 0] for row in waves.p_on.tolist()]


@settings_of
@given(seed=values, epoch=values, view=values)
def test_seeds(seed, epoch, view):
    found = twice(pc.view_seed, seed, epoch, view)
    assert isinstance(found, str) or 0 <= int(found[0]) < 2**63


@settings_of
@given(n=values)
def test_number_of_threads(n):
    before = pc.info()["threads"]
    try:
        twice(pc.set_num_threads, n)
        assert pc.info()["threads"] >= 1
    finally:
        pc.set_num_threads(before)


@settings_of
@given(nbytes=values)
def test_size_of_the_result_pool(nbytes):
    try:
        twice(pc.set_result_pool, nbytes)
    finally:
        pc.set_result_pool(0)


@settings_of
@given(rows=st.integers(0, 3), width=st.sampled_from([0, 1, 159, 318]), records=values, leads=values)
def test_feature_frames(rows, width, records, leads):
    pytest.importorskip("pandas")
    twice(pc.feature_frame, np.ones((rows, width), np.float32), records=records, leads=leads)


@pytest.mark.parametrize("name", ["supcon", "info_nce", "nt_xent", "soft_contrast", "y_aware_info_nce"])
@settings_of
@given(seed=st.integers(0, 2**31), n=st.integers(0, 9), tau=numbers, second=numbers, delta=numbers)
def test_settings_of_the_losses(name, seed, n, tau, second, delta):
    import torch

    rng = np.random.default_rng(seed)
    a, b, f = (torch.from_numpy(rng.normal(size=(n, 5)).astype(np.float32)) for _ in range(3))
    group = torch.from_numpy(rng.integers(0, 3, n))
    more = {"supcon": ((group,), {"threshold": delta}), "info_nce": ((b, group), {"beta": delta}),
            "nt_xent": ((b, group), {"beta": delta}), "soft_contrast": ((b, f, group), {"tau_s": second}),
            "y_aware_info_nce": ((b, f, group), {"sigma": second})}  # fmt: skip
    args, settings = more[name]

    def loss():
        return getattr(pc, name)(a, *args, tau=tau, **settings).numpy()

    twice(loss)
