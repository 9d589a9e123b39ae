import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

import physioclr as pc
from physioclr import reference


def assert_neighbors(got, want, tol=3e-6):
    """Equal up to the order of neighbours whose float64 similarities are closer than float32 can tell."""
    index, similarity = got
    assert index.dtype == np.int64 and similarity.dtype == np.float32
    np.testing.assert_array_equal(index == -1, want[0] == -1)
    np.testing.assert_allclose(similarity, want[1], atol=tol)
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in index)


@pytest.mark.parametrize("n, m, f", [(2, 1, 1), (2, 3, 5), (5, 33, 50), (129, 151, 17), (300, 700, 50)])
@pytest.mark.parametrize("k", [1, 7, 200])
@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
def test_matches_reference(backend, rng, n, m, f, k, kernel):
    to, back = backend
    a, b = rng.normal(size=(n, f)).astype(np.float32), rng.normal(size=(m, f)).astype(np.float32)
    got = pc.physio_neighbors(to(a), to(b), k=k, kernel=kernel)
    assert_neighbors((back(got.index), back(got.similarity)), reference.physio_neighbors(a, b, k=k, kernel=kernel))
    np.testing.assert_array_equal(back(got.index)[:, 0], reference.physio_neighbors(a, b, k=1, kernel=kernel)[0][:, 0])


@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
def test_self_and_group_are_excluded(backend, rng, kernel):
    to, back = backend
    a, group = rng.normal(size=(200, 9)).astype(np.float32), rng.integers(0, 3, 200)
    got = pc.physio_neighbors(to(a), k=150, kernel=kernel, group=to(group))
    want = reference.physio_neighbors(a, k=150, kernel=kernel, group=group)
    assert_neighbors((back(got.index), back(got.similarity)), want)
    index = back(got.index)
    assert np.all((index == -1) | (group[index] != group[:, None]))
    alone = back(pc.physio_neighbors(to(a), k=199, kernel=kernel).index)
    np.testing.assert_array_equal(np.sort(alone, axis=1), [[j for j in range(200) if j != i] for i in range(200)])


def test_ties_go_to_the_lower_index(backend):
    to, back = backend
    a = np.tile(np.array([[1.0, 2, 3], [3, -1, 0.5]], np.float32), (200, 1))
    index = back(pc.physio_neighbors(to(a), k=5).index)
    np.testing.assert_array_equal(index[0], [2, 4, 6, 8, 10])
    np.testing.assert_array_equal(index[1], [3, 5, 7, 9, 11])
    np.testing.assert_array_equal(index[4], [0, 2, 6, 8, 10])
    np.testing.assert_array_equal(back(pc.physio_neighbors(to(a[:2] * 0), to(a), k=3).index), [[0, 1, 2]] * 2)


def test_rbf_orders_by_distance_where_the_similarity_underflows():
    a = np.array([[0.0], [1], [2], [3]], np.float32)
    far = np.array([[1000.0], [900], [1100]], np.float32)
    got = pc.physio_neighbors(a, far, k=3, kernel="rbf")
    assert np.all(got.similarity == 0)
    np.testing.assert_array_equal(got.index, [[1, 0, 2]] * 4)


def test_values_are_those_of_physio_similarity(rng):
    a = rng.normal(size=(150, 50)).astype(np.float32)
    got, dense = pc.physio_neighbors(a, k=20), pc.physio_similarity(a)
    np.testing.assert_array_equal(got.similarity, np.take_along_axis(dense, got.index, axis=1))


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 45), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_any_size(n, k, groups, seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(-2, 3, (n, 3)).astype(np.float32)  # many ties and zero rows
    group = rng.integers(0, groups, n)
    assert_neighbors(pc.physio_neighbors(a, k=k, group=group), reference.physio_neighbors(a, k=k, group=group))


def test_empty_and_dtypes(rng):
    assert pc.physio_neighbors(np.zeros((0, 4)), k=2).index.shape == (0, 2)
    got = pc.physio_neighbors(np.zeros((3, 4)), np.zeros((0, 4)), k=2)
    assert np.all(got.index == -1) and np.all(np.isnan(got.similarity))
    a = rng.normal(size=(20, 12)).astype(np.float16)[::2, ::3]
    assert_neighbors(pc.physio_neighbors(a, k=4), reference.physio_neighbors(a, k=4))


@pytest.mark.parametrize("torch_in", [False, True])
@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(a=np.zeros(3), k=1), r"a has shape \(3,\); it must be \(rows, features\)"),
        (dict(a=np.zeros((2, 3)), b=np.zeros((2, 4)), k=1), "b has 4 features; it must have 3"),
        (dict(a=np.full((2, 3), np.nan), k=1), "a contains NaN or infinite"),
        (dict(a=np.zeros((2, 3)), b=np.full((2, 3), np.inf), k=1), "b contains NaN or infinite"),
        (dict(a=np.zeros((2, 3)), k=0), "k is 0; it must be from 1"),
        (dict(a=np.zeros((2, 3)), k=1, kernel="dot"), "kernel is 'dot'"),
        (dict(a=np.zeros((2, 3)), k=1, group=np.zeros(3, np.int64)), r"group has shape \(3,\); it must be \(2,\)"),
        (dict(a=np.zeros((2, 3)), b=np.zeros((2, 3)), k=1, group=np.zeros(2, np.int64)), "group is given together"),
    ],
)
def test_bad_arguments(kwargs, message, torch_in):
    if torch_in:
        kwargs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    with pytest.raises(ValueError, match=message):
        pc.physio_neighbors(**kwargs)


def test_opcheck_and_compile():
    a, b = torch.randn(9, 4), torch.randn(11, 4)
    op = torch.ops.physioclr.physio_neighbors.default
    opcheck(op, (a, b, 3))
    opcheck(op, (a, None, 3, "rbf", torch.arange(9) // 2))
    compiled = torch.compile(lambda x: pc.physio_neighbors(x * 2, k=4).index, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(a), pc.physio_neighbors(a, k=4).index)
