"""The C++ kernels of waves and features give the bits of Numba's code, which a GPU runs, on whatever they are given."""

import math

import numba_waves
import numpy as np
import pytest
from feature_kernel import kernel, random_records
from hypothesis import given, settings
from hypothesis import strategies as st
from physioclr._core.testing import limit_isa
from synthetic import synthetic_ecg

import physioclr as pc
from physioclr.ops._numba import features
from physioclr.ops.features import slope_taps

pytestmark = pytest.mark.filterwarnings("ignore:.*median peak-to-peak:UserWarning")
RATES = [50, 62.5, 100, 125, 128, 180, 200, 250, 256.4, 360, 400, 500, 512, 750, 1000]


def same(a, b):
    np.testing.assert_array_equal(a, b.reshape(a.shape))


LEVELS = sorted({limit_isa(level) for level in range(3)})  # of vector code that this processor has


@pytest.fixture(autouse=True)
def every_level():
    yield
    limit_isa(2)


def check(x, fs, r):
    """x (B, L, T), r (B, P): every way to choose leads; at 500 Hz the features too."""
    x, r = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(r, np.int32)
    for lead in (x.shape[1] - 1, "mean", "all"):
        want = numba_waves.delineate(x, fs, r, lead)
        for level in LEVELS:
            limit_isa(level)
            same(np.stack(pc.delineate(x, fs, r, lead=lead)), want)
    if fs == 500:
        check_features(x, r)


def check_features(x, r):
    chosen = [x.shape[1] - 1, "mean"]
    for segment in (None, 2.2):
        if segment and x.shape[2] < 1100:
            continue
        want, beats = numba_waves.physio_features(x, r, [chosen[0], -1], segment=segment, bazett=bool(segment))
        for level in LEVELS:
            limit_isa(level)
            got, paced = pc.physio_features(
                x, 500, r, lead=chosen, segment=segment, qtc="bazett" if segment else "fridericia", return_paced=True
            )
            same(got, want)
        if segment is None:
            np.testing.assert_array_equal(paced, beats.any(axis=1))
        else:
            of = np.where(r >= 0, r // 1100, -1)
            for s in range(paced.shape[1]):
                np.testing.assert_array_equal(paced[:, s], ((of == s) & (beats > 0)).any(axis=1))


def record(rng, fs, seconds, leads, **settings):
    s = synthetic_ecg(fs, seconds, **settings)
    x = s.ecg * rng.normal(size=(leads, 1)) + rng.normal(size=(leads, len(s.ecg))) * 0.01
    return x, s.rpeaks


@pytest.mark.parametrize("fs", RATES)
def test_every_rate(rng, fs):
    for rate, noise in ((40, 1e-3), (75, 0.02), (150, 0.1)):
        x, r = record(rng, fs, 12, 4, rate=rate, noise=noise, seed=rate)
        check(x[None], fs, np.append(r, [-1, -1])[None])


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.3, 4, 61])
def test_every_length(rng, seconds):
    """61 s are four blocks of beats."""
    x, r = record(rng, 500, seconds, 3, rate=70, noise=0.01)
    check(x[None], 500, np.append(r, -1)[None])


def test_ragged_batch(rng):
    rows = [record(rng, 500, 8, 12, rate=rate, noise=0.02, t_amp=t) for rate, t in ((45, 0.3), (90, -0.2), (170, 0.0))]
    r = np.full((4, 40), -1)
    for b, (_, peaks) in enumerate(rows):
        r[b, : len(peaks)] = peaks
    check(np.stack([x for x, _ in rows] + [rows[0][0]]), 500, r)  # the last without a beat


@pytest.mark.parametrize("kind", ["nan", "gaps", "inf", "flat", "zeros", "huge", "tiny", "noise", "walk", "spikes"])
@pytest.mark.parametrize("fs", [180, 250, 500, 1000])
def test_what_is_no_ecg(rng, kind, fs):
    x, r = record(rng, fs, 9, 3, rate=80, noise=0.02)
    n = x.shape[1]
    if kind == "nan":
        x[rng.random(x.shape) < 0.05] = np.nan
    elif kind == "gaps":
        for lead, at in enumerate(rng.integers(0, n - int(fs), 3)):
            x[lead, at : at + int(fs)] = np.nan
        x[:, r[3] : r[4]] = np.nan
    elif kind == "inf":
        x[rng.random(x.shape) < 0.01] = np.inf
    elif kind == "flat":
        x[1] = 0.7
    elif kind == "zeros":
        x[:] = 0
    elif kind in ("huge", "tiny"):
        x *= 1e37 if kind == "huge" else 1e-40
    elif kind in ("noise", "walk"):
        x = rng.normal(size=x.shape) * 0.3
        x = np.cumsum(x, axis=1) if kind == "walk" else x
        r = np.sort(rng.choice(n, 25, replace=False))
    else:
        for k in r:
            x[:, max(0, k - int(0.05 * fs)) :][:, : max(1, int(0.003 * fs))] += 2.0
    check(x[None], fs, r[None])


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4000), st.integers(0, 60), st.sampled_from(RATES),
    st.sampled_from(["beats", "noise", "steps", "any R"]), st.sampled_from([0, 0.01, 0.3]),
)  # fmt: skip
@settings(max_examples=150, deadline=None, derandomize=True)
def test_anything(seed, leads, samples, beats, fs, kind, missing):
    rng = np.random.default_rng(seed)
    if kind in ("beats", "any R"):
        at = np.sort(rng.uniform(0, samples / fs, min(beats, 1 + int(4 * samples / fs))))
        s = synthetic_ecg(
            fs, samples / fs, beats=at, pr=rng.uniform(0.08, 0.3), qt=rng.uniform(0.25, 0.6),
            t_amp=rng.uniform(-0.5, 0.5), noise=10 ** rng.uniform(-4, -1), seed=seed,
        )  # fmt: skip
        x, r = s.ecg * rng.normal(size=(leads, 1)), np.unique(np.clip(s.rpeaks, 0, s.ecg.size - 1))
    else:
        x = rng.normal(size=(leads, samples)) * 10 ** rng.uniform(-4, 2)
        x = np.cumsum(x, axis=1) if kind == "steps" else x
    if kind != "beats":
        r = np.sort(rng.choice(x.shape[1], min(beats, x.shape[1]), replace=False))
    x[rng.random(x.shape) < missing] = np.nan
    if x.shape[1]:
        check(x[None], fs, np.append(r, [-1, -1])[None])


def test_shipped_records():
    sample = pc.data.sample()
    x = np.stack([pc.data.read_record(sample.path / name).millivolts() for name in sample.record_ids])
    r = pc.detect_rpeaks(x, 500).index
    check(x[:40], 500, r[:40])
    for lead in range(12):
        same(np.stack(pc.delineate(x, 500, r, lead=lead)), numba_waves.delineate(x, 500, r, lead))


@pytest.mark.parametrize("segment", [None, 2.9])
def test_features_of_any_boundaries(rng, segment):
    for samples, beats in ((40, 6), (900, 40), (6007, 60)):
        x, r, waves = random_records(rng, 16, samples, beats)
        x, r, paced = np.float32(x), np.int32(r), rng.random(r.shape) < 0.15
        segment = None if samples < 1500 else segment
        segments, length = (1, math.inf) if segment is None else (int(samples / 500 // segment), segment * 500.0)
        want = np.empty((len(x), segments, 1, 159), np.float32)
        features.features_range(
            0, len(x), x[:, None], np.zeros(1, np.int64), r, paced.astype(np.uint8),
            np.ascontiguousarray(np.stack(waves)[None], np.int32), length, False, slope_taps(), want,
        )  # fmt: skip
        for level in LEVELS:
            limit_isa(level)
            same(kernel(x, r, waves, segment=segment, paced=paced), want)
