import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.library import opcheck

import physioclr as pc
from physioclr import reference

SIZES = [(1, 1, 1), (2, 3, 5), (4, 32, 8), (5, 33, 50), (129, 151, 17), (64, 9, 1)]


@pytest.mark.parametrize("n, m, f", SIZES)
@pytest.mark.parametrize("kernel, sigma", [("cosine", None), ("rbf", 3.0)])
def test_matches_reference(backend, rng, n, m, f, kernel, sigma):
    to, back = backend
    a, b = rng.normal(size=(n, f)).astype(np.float32), rng.normal(size=(m, f)).astype(np.float32)
    a[0] = 0
    got = back(pc.physio_similarity(to(a), to(b), kernel=kernel, sigma=sigma))
    # float32 sums of at most 50 products of numbers up to 1: a few ulp of 1
    np.testing.assert_allclose(got, reference.physio_similarity(a, b, kernel=kernel, sigma=sigma), atol=2e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize("n, m, f", SIZES)
def test_mask_and_packed_agree_with_dense(backend, rng, n, m, f):
    to, back = backend
    a, b = to(rng.normal(size=(n, f)).astype(np.float32)), to(rng.normal(size=(m, f)).astype(np.float32))
    dense = back(pc.physio_similarity(a, b))
    mask = back(pc.physio_similarity(a, b, threshold=0.25))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, dense >= 0.25)
    np.testing.assert_array_equal(
        back(pc.physio_similarity(a, b, threshold=0.25, packed=True)), np.packbits(mask, axis=1)
    )


def test_self_similarity_is_exactly_symmetric(backend, rng):
    to, back = backend
    s = back(pc.physio_similarity(to(rng.normal(size=(131, 50)).astype(np.float32))))
    np.testing.assert_array_equal(s, s.T)


def test_zero_rows_are_similar_to_nothing(backend):
    to, back = backend
    s = back(pc.physio_similarity(to(np.array([[0, 0], [1, 0]], np.float32))))
    np.testing.assert_array_equal(s, [[0, 0], [0, 1]])


def test_rbf_default_sigma_is_the_median_distance(rng):
    a = rng.normal(size=(40, 6))
    np.testing.assert_allclose(
        pc.physio_similarity(a, kernel="rbf"), reference.physio_similarity(a, kernel="rbf"), atol=2e-6
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_dtypes_and_strides(rng, dtype):
    a = rng.normal(size=(20, 12)).astype(dtype)[::2, ::3]
    np.testing.assert_allclose(pc.physio_similarity(a), reference.physio_similarity(a), atol=2e-6)
    t = torch.from_numpy(a.astype(np.float32)).to(torch.bfloat16)
    np.testing.assert_allclose(pc.physio_similarity(t), reference.physio_similarity(t.double()), atol=2e-6)


def test_empty_and_lists():
    assert pc.physio_similarity(np.zeros((0, 4), np.float32)).shape == (0, 0)
    assert pc.physio_similarity(np.zeros((3, 4), np.float32), np.zeros((0, 4), np.float32)).shape == (3, 0)
    np.testing.assert_array_equal(pc.physio_similarity([[1.0, 0.0], [0.0, 2.0]]), np.eye(2))


@given(arrays(np.float32, (7, 3), elements=st.floats(-1e3, 1e3, width=32)))
@settings(max_examples=50, deadline=None)
def test_cosine_is_bounded(a):
    s = pc.physio_similarity(a)
    assert np.all(np.abs(s) <= 1)
    assert np.all(np.diag(s) == (np.abs(a).max(axis=1) > 0))


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(a=np.zeros(3)), r"a has shape \(3,\); it must be \(rows, features\)"),
        (dict(a=np.zeros((2, 3)), b=np.zeros((2, 4))), "b has 4 features; it must have 3"),
        (dict(a=np.full((2, 3), np.nan)), "a contains NaN or infinite"),
        (dict(a=np.zeros((2, 3)), b=np.full((2, 3), np.inf)), "b contains NaN or infinite"),
        (dict(a=np.zeros((2, 3)), kernel="dot"), "kernel is 'dot'; it must be one of 'cosine', 'rbf'"),
        (dict(a=np.zeros((2, 3)), kernel="rbf", sigma=0.0), "sigma is 0.0"),
        (dict(a=np.zeros((2, 3)), packed=True), "packed is True without a threshold"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_arguments(kwargs, message, torch_in):
    if torch_in:
        kwargs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    with pytest.raises(ValueError, match=message):
        pc.physio_similarity(**kwargs)


def test_wrong_types():
    with pytest.raises(TypeError, match="a has dtype int64"):
        pc.physio_similarity(np.zeros((2, 3), np.int64))
    with pytest.raises(TypeError, match="b is a torch array, but the first array is numpy"):
        pc.physio_similarity(np.zeros((2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("threshold, packed", [(None, False), (0.1, False), (0.1, True)])
def test_opcheck(threshold, packed):
    op = torch.ops.physioclr.physio_similarity.default
    opcheck(op, (torch.randn(5, 4), torch.randn(9, 4).t().contiguous().t(), "cosine", None, threshold, packed))


def test_compiles_in_one_graph():
    f = torch.compile(lambda a: pc.physio_similarity(a * 2, threshold=0.3), fullgraph=True, backend="aot_eager")
    a = torch.randn(6, 4)
    assert torch.equal(f(a), pc.physio_similarity(a, threshold=0.3))
