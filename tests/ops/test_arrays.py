"""Arrays as they come in: byte order, overflow, and what the shared checks say."""

import numpy as np
import pytest

import physioclr as pc


def test_other_byte_order_is_the_same_array(rng):
    ecg = rng.normal(size=(2, 1000)).astype(np.float32)
    a, b = pc.detect_rpeaks(ecg, 250), pc.detect_rpeaks(ecg.astype(">f4"), 250)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    features = rng.normal(size=(7, 5)).astype(">f8")
    native = features.astype("<f8")
    np.testing.assert_array_equal(pc.physio_similarity(features, features), pc.physio_similarity(native, native))
    group = np.arange(7, dtype=">i8") // 2
    near = pc.physio_neighbors(features, k=2, group=group)
    np.testing.assert_array_equal(near.index, pc.physio_neighbors(features, k=2, group=group.astype("<i8")).index)


def test_float64_beyond_float32_is_missing_or_refused():
    ecg = np.zeros((1, 500))
    ecg[0, 100] = 1e300
    assert pc.detect_rpeaks(ecg, 500).count[0] == 0  # a warning would fail the test
    with pytest.raises(ValueError, match="a contains NaN or infinite"):
        pc.physio_similarity(np.full((2, 3), 1e300))


@pytest.mark.parametrize("lead", [b"II", 1.5, ["I", "II"]])
def test_what_a_lead_can_be(lead):
    with pytest.raises(TypeError, match="it must be a lead's name, an index, 'mean', 'all'"):
        pc.delineate(np.zeros((1, 12, 500)), 500, np.zeros((1, 0), np.int32), lead=lead)
