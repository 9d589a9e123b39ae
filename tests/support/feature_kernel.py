"""The feature kernel on given boundaries, random ones, and the comparison of features."""

import math

import numpy as np

import physioclr as pc
from physioclr import _core
from physioclr.ops.features import slope_taps

COLUMN = {name: i for i, name in enumerate(pc.FEATURE_NAMES)}
FIELDS = pc.Delineation._fields


def kernel(x, r, waves, *, segment=None, bazett=False, paced=None, record=None):
    """The compiled kernel on one lead per record, from given boundaries."""
    x, r = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(r, np.int32)
    waves = np.ascontiguousarray(np.stack(waves), np.int32)
    paced = np.zeros(r.shape, np.uint8) if paced is None else paced.astype(np.uint8)
    ecg = x[:, None] if record is None else np.concatenate([x[:, None], np.float32(record)], axis=1)
    segments = 1 if segment is None else int(x.shape[1] / 500 // segment)
    length = math.inf if segment is None else segment * 500.0
    out = _core.testing.features_of_waves(ecg, r, waves, paced, length, segments, bazett, slope_taps())
    return out[:, 0] if segment is None else out


def random_records(rng, n, samples, beats):
    """Signals, R peaks and boundaries without physiological sense: gaps, absent waves, waves in odd places."""
    x = np.cumsum(rng.normal(size=(n, samples)), axis=1) * 0.05 + rng.normal(size=(n, samples)) * 0.02
    r = np.full((n, beats), -1)
    waves = np.full((8, n, beats), -1)
    for b in range(n):
        count = int(rng.integers(0, min(beats, samples) + 1)) if b else min(beats, samples)
        r[b, :count] = np.sort(rng.choice(samples, count, replace=False))
        at = np.array([-80, -60, -40, -20, 20, 60, 100, 140])[:, None] + rng.integers(-12, 13, size=(8, count))
        waves[:, b, :count] = np.where(rng.random((8, count)) < 0.12, -1, np.clip(r[b, :count] + at, 0, samples - 1))
        for _ in range(rng.integers(0, 3)):
            start = int(rng.integers(0, samples))
            x[b, start : start + int(rng.integers(1, 200))] = rng.choice([np.nan, np.inf])
    return x, r, pc.Delineation(*waves)


def assert_equal_features(got, want, rtol=2e-5, atol=2e-5):
    """float32 against float64, column by column, so that a failure names the columns."""
    assert got.dtype == np.float32
    got, want = got.reshape(-1, 159), want.reshape(-1, 159)
    wrong = ~np.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True).all(axis=0)
    bad = int(np.flatnonzero(wrong)[0]) if wrong.any() else 0
    assert not wrong.any(), ([pc.FEATURE_NAMES[i] for i in np.flatnonzero(wrong)], got[:, bad], want[:, bad])
