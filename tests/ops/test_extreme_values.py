"""Finite samples of any size, and R peaks that meet at 500 Hz: own numbers or NaN, and neighbours untouched."""

import numba_waves
import numpy as np
import pytest
from feature_kernel import COLUMN, FIELDS, assert_equal_features, kernel, random_records
from hypothesis import given, settings
from hypothesis import strategies as st

import physioclr as pc
from physioclr import _core, reference

pytestmark = [pytest.mark.filterwarnings("error::RuntimeWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]
LIKENESS = [COLUMN[f"beat_corr_{s}"] for s in ("mean", "sd", "min")]


def beats(fs, seconds=8.0, seed=0):
    """One lead (T,) in mV with a beat every 0.8 s, and its R peaks."""
    t = np.arange(int(seconds * fs)) / fs
    r = np.arange(0.6, seconds - 0.6, 0.8)
    x = sum(
        a * np.exp(-(((t[:, None] - r - at) / s) ** 2).clip(0, 700)).sum(1)
        for a, at, s in [(0.1, -0.16, 0.02), (1.0, 0.0, 0.012), (0.3, 0.25, 0.04)]
    )
    return x + np.random.default_rng(seed).normal(0, 0.01, t.size), np.rint(r * fs).astype(np.int64)


def scaled(x, scale):
    return np.clip(x * scale, -3.4e38, 3.4e38).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-30, 1e-22, 1e-20, 1e-16, 1e-8, 1e8, 1e10, 1e15, 1e19, 1e30, 3e38])
def test_every_scale(scale):
    x, r = beats(500)
    want = pc.physio_features(scaled(x, 1.0)[None], 500, r[None])[0]
    got = pc.physio_features(np.stack([scaled(x, scale), scaled(x, 1.0)]), 500, np.stack([r, r]))
    assert not np.isinf(got).any()
    np.testing.assert_array_equal(got[1], want)
    rhythm = [COLUMN[n] for n in ("rr_mean", "rmssd", "pnn50", "rr_beat3")]
    np.testing.assert_array_equal(got[0, rhythm], want[rhythm])
    if 1e-15 < scale < 1e17:
        np.testing.assert_allclose(got[0, LIKENESS], want[LIKENESS], rtol=1e-4, atol=1e-5)
    if scale < 1e-17 or scale > 1e19:  # the squares leave float32
        assert np.isnan(got[0, LIKENESS]).all()
    height = got[0, COLUMN["r_amp_mean"]] / scale
    assert np.isnan(height) if scale > 1e38 else scale < 1e-44 or abs(height - 1) < 0.1


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e-12, 1e9, 1e16, 1e25, 1e38])
def test_every_scale_matches_the_reference(scale):
    rng = np.random.default_rng(3)
    x, r, waves = random_records(rng, 6, 3000, 9)
    x = np.where(np.isfinite(x), scaled(np.where(np.isfinite(x), x, 0.0), scale), x).astype(np.float32)
    for qtc in ("fridericia", "bazett"):
        want = reference.physio_features(x, r, waves, qtc=qtc)
        tiny = np.abs(want) < 1e-37  # float32 has few digits left
        got = kernel(x, r, waves, bazett=qtc == "bazett")
        size = 2e-5 * max(1.0, scale)
        for q, columns in {"amplitudes": [c for c, n in enumerate(pc.FEATURE_NAMES) if "_amp" in n or n[:3] == "st_"],
                           "slope": [c for c, n in enumerate(pc.FEATURE_NAMES) if "slope" in n]}.items():  # fmt: skip
            np.testing.assert_allclose(
                np.where(tiny, 0, got)[:, columns], np.where(tiny, 0, want)[:, columns], rtol=2e-4, atol=size, err_msg=q
            )
            got[:, columns] = want[:, columns] = 0
        assert_equal_features(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.3, -1.7, 1e-20, 123.4, 1e-45, 3e38])
def test_a_level_lead_has_no_likeness(value):
    """Every mean of equal samples is rounded; what is left is no shape that two beats could share."""
    x = np.full((1, 4000), value, np.float32)
    r = np.arange(400, 3600, 400)[None]
    got = pc.physio_features(x, 500, r)[0]
    assert np.isnan(got[LIKENESS]).all()
    assert got[COLUMN["rr_mean"]] == 800.0


@pytest.mark.parametrize("fs", [1000, 2000, 4000])
@pytest.mark.parametrize("qtc", ["fridericia", "bazett"])
def test_peaks_that_meet_at_500_hz(fs, qtc):
    x, r = beats(fs)
    pairs = np.stack([r - r % (fs // 500), r - r % (fs // 500) + 1])  # one sample of 500 Hz
    every = np.sort(pairs.T.ravel())
    short = np.full(every.size, -1)
    short[:2] = every[:2]  # the only interval is none
    plain = np.full(every.size, -1)
    plain[: r.size] = r
    batch = np.stack([every, short, plain])
    got = pc.physio_features(np.tile(scaled(x, 1.0), (3, 1)), fs, batch, qtc=qtc)
    alone = pc.physio_features(scaled(x, 1.0)[None], fs, plain[None], qtc=qtc)[0]
    assert not np.isinf(got).any()
    np.testing.assert_array_equal(got[2], alone)
    assert got[0, COLUMN["rr_mean"]] == pytest.approx(alone[COLUMN["rr_mean"]], abs=2.0)
    assert np.isnan(got[1, [COLUMN["rr_mean"], COLUMN["qtc_mean"], COLUMN["cv_rr"], *LIKENESS]]).all()


def test_beats_of_no_distance_have_no_rhythm_in_the_delineation():
    """What the features call it with after the peaks have met: equal indices."""
    from physioclr.ops._numba import beats as compiled

    wave, rr = np.zeros((compiled.ROWS, 5)), np.empty(20)
    assert compiled.block_rhythm(wave, 0, 5, rr) == (0.0, 0.0)
    x, r = beats(500)
    twice = np.repeat(r, 2)
    want = reference.delineate(np.float32(x)[None], 500.0, twice[None])
    assert want.qrs_on.max() > 0


def test_waves_of_peaks_that_meet_match_the_reference():
    x, r = beats(500)
    twice = np.repeat(r, 2)[None].astype(np.int32)
    x = np.float32(x)[None, None]
    out = np.empty((8, 1, 2, twice.shape[1]), np.int32)  # the kernel itself: callers may not give such R peaks
    _core.delineate(-1, 0, ecg=x, lead=_core.delineate_constants()["kLeadAll"], rpeaks=twice, fs=500.0, out=out)
    np.testing.assert_array_equal(out, numba_waves.delineate(x, 500.0, twice, "all"))
    want = reference.delineate(x, 500.0, twice, lead="all")
    for name, a, b in zip(FIELDS, out, want, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
records = st.fixed_dictionaries(
    {
        "fs": st.one_of(st.sampled_from([100, 250, 500, 1000, 2000]), st.integers(100, 2000)),
        "exponents": st.lists(st.floats(-45, 38.5), min_size=3, max_size=3),
        "seed": st.integers(0, 2**31 - 1),
        "offset": st.sampled_from([0.0, 0.0, 1.0, 1e4, 1e8]),  # in units of the scale
        "values": st.lists(FLOAT32, max_size=12),
        "share": st.sampled_from([0.0, 0.002, 0.1, 1.0]),
        "peaks": st.sampled_from(["true", "pairs", "random", "found"]),
        "segment": st.sampled_from([None, 2.0]),
        "lead": st.sampled_from(["II", "mean", ["I", "mean", "V6"]]),
    }
)


def arrays(e):
    """(ecg (3, 12, T) of finite float32, R peaks (3, P) or None): each record has a scale of its own."""
    rng, fs = np.random.default_rng(e["seed"]), e["fs"]
    x, r = beats(fs, 5.0, e["seed"])
    odd = np.array(e["values"] or [3e38, -3e38, 1e-45, 1e-38, 0.0], np.float32)
    ecg = np.empty((3, 12, x.size), np.float32)
    for b, power in enumerate(e["exponents"]):
        with np.errstate(over="ignore"):
            ecg[b] = scaled((x * rng.uniform(-1, 1, (12, 1)) + e["offset"]) * 10.0 ** (power / 2), 10.0 ** (power / 2))
        where = rng.random(ecg[b].shape) < e["share"]
        ecg[b][where] = rng.choice(odd, where.sum())
    if e["peaks"] == "found":
        return ecg, None
    if e["peaks"] == "pairs":
        r = np.unique(np.stack([r, r + 1]))
    rows = [r, r[:2], np.unique(rng.integers(0, x.size, r.size)) if e["peaks"] == "random" else r]
    peaks = np.full((3, max(map(len, rows))), -1, np.int64)
    for row, given_peaks in zip(peaks, rows, strict=True):
        row[: len(given_peaks)] = given_peaks
    return ecg, peaks


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(e=records)
def test_no_finite_samples_raise_or_give_infinity(e):
    ecg, peaks = arrays(e)
    assert np.isfinite(ecg).all()
    options = {"lead": e["lead"], "segment": e["segment"]}
    got = pc.physio_features(ecg, e["fs"], peaks, **options)
    assert not np.isinf(got).any()
    for b in range(3):
        alone = pc.physio_features(ecg[b : b + 1], e["fs"], None if peaks is None else peaks[b : b + 1], **options)
        np.testing.assert_array_equal(alone[0], got[b])
    if peaks is None:
        return
    waves = pc.delineate(ecg, e["fs"], peaks, lead="all")
    for b in range(3):
        alone = pc.delineate(ecg[b : b + 1], e["fs"], peaks[b : b + 1], lead="all")
        for name, a, one in zip(FIELDS, waves, alone, strict=True):
            np.testing.assert_array_equal(a[b], one[0], err_msg=name)
            assert a.min() >= -1 and a.max() < ecg.shape[-1]
