"""What a similarity promises whatever the scale, offset and width: its bounds, the exact 1, symmetry, accuracy."""

import numpy as np
import pytest

import physioclr as pc
from physioclr import reference

# |error| of the RBF is at most this for every sigma: of 50 features the largest seen is 1.1e-6
TOLERANCE = 2e-6
SIGMAS = [1e-30, 1e-8, 0.01, 0.3, 3.0, 30.0, 1e4, 1e30]


@pytest.fixture
def close(rng):
    """(150, 50) rows: far from the origin, near each other, equal, opposite, zero."""
    a = rng.normal(size=(150, 50))
    a[20:40] += 1000
    a[40:60] = a[20:40] + 1e-2 * rng.normal(size=(20, 50))
    a[60:80] = a[:20]
    a[80:100] = -a[:20]
    a[100] = 0
    return a.astype(np.float32)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_rbf_is_accurate_at_every_sigma(backend, close, sigma):
    to, back = backend
    want = reference.physio_similarity(close, kernel="rbf", sigma=sigma)
    got = back(pc.physio_similarity(to(close), kernel="rbf", sigma=sigma))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE)
    assert (np.diag(got) == 1).all() and (got == got.T).all() and got.min() >= 0 and got.max() <= 1
    assert (got[np.arange(60, 80), np.arange(20)] == 1).all()  # equal rows
    between = back(pc.physio_similarity(to(close), to(close[:90].copy()), kernel="rbf", sigma=sigma))
    np.testing.assert_array_equal(between, got[:, :90])


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-19, 1e-10, 1e10, 1e19, 1e30, 8e37])
def test_rbf_is_accurate_at_every_scale(backend, rng, scale):
    to, back = backend
    a = (np.clip(rng.normal(size=(70, 9)), -4, 4) * scale).astype(np.float32)
    for kwargs in (dict(kernel="rbf"), dict(kernel="rbf", sigma=2.5 * scale), dict(kernel="cosine")):
        got = back(pc.physio_similarity(to(a), **kwargs))
        np.testing.assert_allclose(got, reference.physio_similarity(a, **kwargs), rtol=0, atol=TOLERANCE)
        found = pc.physio_neighbors(to(a), k=5, kernel=kwargs["kernel"])
        index, similarity = reference.physio_neighbors(a, k=5, kernel=kwargs["kernel"])
        np.testing.assert_allclose(back(found.similarity), similarity, rtol=0, atol=TOLERANCE)
        if scale > 1e-40:  # below, the features themselves are only some multiples of the smallest number
            np.testing.assert_array_equal(back(found.index)[:, 0], index[:, 0])


@pytest.mark.parametrize("scale", [4e18, 6e18, 9e18, 1.1e19, 1.8e19])
def test_rbf_where_the_distance_overflows_and_the_norms_do_not(backend, scale):
    """|a|^2 + |b|^2 is a float32, and of opposite rows |a - b|^2, twice as large, is none."""
    to, back = backend
    a = (np.array([[1.0], [-1.03], [0.3], [-0.7], [0.0]]) * scale).astype(np.float32)
    for sigma in (None, 0.5 * scale, 10 * scale, 1e8 * scale):
        got = back(pc.physio_similarity(to(a), kernel="rbf", sigma=sigma))
        np.testing.assert_allclose(
            got, reference.physio_similarity(a, kernel="rbf", sigma=sigma), rtol=0, atol=TOLERANCE
        )
    found = pc.physio_neighbors(to(a), k=4, kernel="rbf")
    want = reference.physio_neighbors(a, k=4, kernel="rbf")
    np.testing.assert_array_equal(back(found.index), want[0])
    np.testing.assert_allclose(back(found.similarity), want[1], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("features", [1, 3, 50, 1000])
@pytest.mark.parametrize("scale", [1e-40, 1.0, 1e30])
def test_cosine_is_exact_where_rows_are_equal_or_opposite(backend, rng, features, scale):
    to, back = backend
    a = (np.clip(rng.normal(size=(90, features)), -4, 4) * scale).astype(np.float32)
    a[30:60], a[60:90] = a[:30], -a[:30]
    got, rows = back(pc.physio_similarity(to(a))), np.arange(30)
    assert (np.diag(got) == 1).all() and (got == got.T).all() and np.abs(got).max() <= 1
    assert (got[rows, rows + 30] == 1).all() and (got[rows, rows + 60] == -1).all()
    np.testing.assert_allclose(got, reference.physio_similarity(a), rtol=0, atol=TOLERANCE)
    mask = back(pc.physio_similarity(to(a), threshold=1.0))
    np.testing.assert_array_equal(mask, got >= 1)
    assert mask.diagonal().all()
    packed = back(pc.physio_similarity(to(a), threshold=1.0, packed=True))
    np.testing.assert_array_equal(packed, np.packbits(mask, axis=1))


def test_a_long_constant_row_is_itself(backend):
    """Sums of this many equal terms drift by some percent."""
    to, back = backend
    a = np.ones((3, 1_000_000), np.float32)
    np.testing.assert_array_equal(back(pc.physio_similarity(to(a))), np.ones((3, 3)))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_rbf_falls_as_the_distance_grows(backend, offset):
    to, back = backend
    line = (offset + np.arange(400) / 64).astype(np.float32)[:, None]
    for sigma in (0.01, 0.3, 3.0, 100.0):
        got = back(pc.physio_similarity(to(line), kernel="rbf", sigma=sigma))
        assert (np.diff(got[0]) <= 0).all() and (np.diff(got[-1][::-1]) <= 0).all()


@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
def test_neighbors_have_the_similarities_of_the_matrix(backend, close, kernel):
    to, back = backend
    # sigma of both is the median distance
    got, s = pc.physio_neighbors(to(close), k=20, kernel=kernel), back(pc.physio_similarity(to(close), kernel=kernel))
    index, similarity = back(got.index), back(got.similarity)
    np.testing.assert_allclose(similarity, np.take_along_axis(s, index, axis=1), rtol=0, atol=1e-7)
    assert (similarity[:20, 0] == 1).all() and (index[:20, 0] == np.arange(60, 80)).all()
    assert similarity.max() <= 1
    index, similarity = reference.physio_neighbors(close, k=20, kernel=kernel)
    np.testing.assert_allclose(back(got.similarity), similarity, rtol=0, atol=TOLERANCE)


def test_the_nearest_of_close_rows_is_found(backend, rng):
    """1e-3 apart, 1e3 from the origin: the products of the rows cannot tell which is nearest."""
    to, back = backend
    a = (1000 + 1e-3 * rng.normal(size=(300, 20))).astype(np.float32)
    got = pc.physio_neighbors(to(a), k=3, kernel="rbf")
    want = reference.physio_neighbors(a, k=3, kernel="rbf")
    np.testing.assert_array_equal(back(got.index), want[0])
    np.testing.assert_allclose(back(got.similarity), want[1], rtol=0, atol=TOLERANCE)


def test_default_sigma_of_close_rows(rng):
    from physioclr.ops.similarity import median_distance

    a = (1e6 + rng.integers(0, 3, size=(200, 4))).astype(np.float32)
    d = np.linalg.norm(a[:, None].astype(np.float64) - a[None], axis=-1)[np.triu_indices(200, 1)]
    assert median_distance(a) == pytest.approx(np.median(d), rel=1e-12)
    assert median_distance(np.full((9, 3), 12345.678, np.float32)) == 1
