import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

import physioclr as pc
from physioclr import _core
from physioclr.reference.augment import philox4x32, unit


def philox(counters, key):
    return _core.testing.philox(counters, key)


def normals(words):
    return _core.testing.normals(words)


@pytest.mark.parametrize(
    "counter, key, words",
    [  # the known answers that Random123 publishes for philox4x32-10
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 0xFFFFFFFFFFFFFFFF, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers(counter, key, words):
    np.testing.assert_array_equal(philox([counter], key), [words])
    np.testing.assert_array_equal(philox4x32(counter, key), words)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4), st.integers(0, 2**64 - 1))
def test_matches_reference(counter, key):
    np.testing.assert_array_equal(philox([counter], key)[0], philox4x32(counter, key))


def test_normals_are_the_inverse_distribution_function():
    edges = np.array([0, 1, 125828, 125829, 125830, 4194303, 4194304, 8388608 - 125829, 8388608 - 125830, 8388607])
    words = np.concatenate([edges, np.arange(0, 2**23, 97)]).astype(np.uint32) << 9
    z = normals(words)
    # float32 evaluation of a quotient of two polynomials: a few ulp
    np.testing.assert_allclose(z, ndtri(unit(words)), rtol=1.5e-6, atol=1e-7)
    # Symmetric, rising but for rounding, and as wide as 23 bits allow
    np.testing.assert_array_equal(normals(~words), -z)
    order = np.sort(words)
    assert np.all(np.diff(normals(order)) > -2e-6)
    assert 5.2 < z.max() < 5.6


def test_low_bits_do_not_matter():
    words = np.array([123 << 9, (123 << 9) + 511], np.uint32)
    assert normals(words)[0] == normals(words)[1]


def test_view_seeds_differ():
    seeds = [pc.view_seed(s, e, v) for s in (0, 1, 2**62) for e in range(20) for v in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds)
    assert pc.view_seed(7, 3, 1) == pc.view_seed(np.int64(7), np.int32(3), 1)
    # Bits of neighbouring seeds are as good as independent: about half of them differ
    bits = [bin(a ^ b).count("1") for a, b in itertools.pairwise(seeds)]
    assert 28 < np.mean(bits) < 35


def test_view_seed_is_what_it_was():  # a run must be repeatable with a later release
    assert pc.view_seed(0, 0, 0) == 8870345578735991915
    assert pc.view_seed(2**63 - 1, 9, 1) == 6712301275550923818


@pytest.mark.parametrize("args, message", [((-1, 0, 0), "seed is -1"), ((0, -1, 0), "epoch"), ((0, 0, 2**32), "view")])
def test_view_seed_errors(args, message):
    with pytest.raises(ValueError, match=message):
        pc.view_seed(*args)
    with pytest.raises(TypeError, match="seed is 'a'"):
        pc.view_seed("a", 0, 0)
