"""Records in the standard form of a store: leads, rates, units, gaps."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wfdb_files import LEADS, ecg_like

import physioclr as pc
from physioclr import _core
from physioclr.data.resample import every, resample
from physioclr.data.standard import standardise
from physioclr.data.wfdb_source import Record, RecordError


def record_of(x, fs=500.0, leads=LEADS, scale=1e-3, baseline=0.0):
    n = len(x)
    return Record(x, np.full(n, scale), np.full(n, float(baseline)), fs, list(leads), [])


def test_derived_limb_leads(rng):
    """Real leads obey Einthoven's and Goldberger's equations, so what is derived is what was recorded."""
    sample = pc.data.sample()
    ecg = pc.data.read_record(sample.path / sample.record_ids[0]).millivolts()
    keep = [0, 1, 6, 7, 8, 9, 10, 11]
    signal, scale = standardise(record_of(ecg[keep], leads=[LEADS[k] for k in keep], scale=1.0), 500.0)
    one, two = ecg[0].astype(float), ecg[1].astype(float)
    truth = np.array([two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    np.testing.assert_allclose((signal * scale[:, None])[2:6], truth, atol=6e-4)
    np.testing.assert_allclose((signal * scale[:, None])[2:6], ecg[2:6], atol=0.0025)
    with pytest.raises(RecordError, match="lacks I, II, aVR, aVL, aVF"):
        standardise(record_of(ecg[[2, *range(6, 12)]], leads=["III", *LEADS[6:]]), 500.0)


@pytest.mark.parametrize("given", [(a, b) for a in range(6) for b in range(a + 1, 6)])
def test_limb_leads_from_any_two(given):
    """Lead I along 0 degrees, II along 60, as Einthoven's triangle has them; a dipole of known x and y."""
    x, y = np.sin(np.arange(3000) / 40), np.cos(np.arange(3000) / 17)
    one, two = x, x / 2 + y * np.sqrt(3) / 2
    limbs = np.array([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    chest = np.tile(np.sin(np.arange(3000) / 9), (6, 1))
    leads = [LEADS[k] for k in (*given, *range(6, 12))]
    record = record_of(np.concatenate([limbs[list(given)], chest]).astype(np.float32), leads=leads, scale=1.0)
    signal, scale = standardise(record, 500.0)
    np.testing.assert_allclose(signal * scale[:, None], np.concatenate([limbs, chest]), atol=6e-4)
    np.testing.assert_allclose(record.millivolts(standard=True), np.concatenate([limbs, chest]), atol=1e-6)


def test_standard_leads_of_a_record_that_lacks_some(rng):
    x = ecg_like(rng, 3, 3000)
    mv = record_of(x, leads=["v2", "ABC", "avF"]).millivolts(standard=True)
    assert mv.shape == (12, 3000) and mv.dtype == np.float32
    np.testing.assert_allclose(mv[7], x[0] / 1000, rtol=1e-6)
    np.testing.assert_allclose(mv[5], x[2] / 1000, rtol=1e-6)
    assert np.isnan(np.delete(mv, (5, 7), axis=0)).all()


@pytest.mark.parametrize(("n", "text"), [(2499, "4.998"), (2400, "4.8"), (150, "0.3"), (1, "0.002")])
def test_length_in_enough_digits(rng, n, text):
    with pytest.raises(RecordError, match=rf"^it is {text} s long; it must have at least 5 s"):
        standardise(record_of(ecg_like(rng)[:, :n]), 500.0)
    with pytest.raises(RecordError, match=r"^it is 4\.99998 s long"):
        standardise(record_of(ecg_like(rng, n_samples=2500), fs=500.002), 500.0)


def test_integer_samples_are_kept(rng):
    x = ecg_like(rng)
    x[5, 7] = -32768
    signal, scale = standardise(record_of(x, baseline=-100), 500.0)
    present = x != -32768
    np.testing.assert_array_equal(signal[present], x[present] + 100)
    assert signal[5, 7] == -32768 and scale.dtype == np.float32
    y = np.tile(np.array([-32000, 32000], np.int16), (12, 2500))  # less the baseline beyond 16 bits
    signal, scale = standardise(record_of(y, baseline=2000), 500.0)
    np.testing.assert_allclose(signal * scale[:, None].astype(float), (y - 2000.0) * 1e-3, atol=6e-4)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    span=st.sampled_from([10, 2000, 32767]),
    baseline=st.sampled_from([0.0, -5.0, 1024.0, 20000.0, 0.5]),
    scale=st.sampled_from([1e-3, 4.88e-3, -2e-4, 1.0]),
    holes=st.booleans(),
    kind=st.sampled_from(["int16", "float32"]),
)
def test_any_units_keep_their_millivolts(seed, span, baseline, scale, holes, kind):
    rng = np.random.default_rng(seed)
    x = rng.integers(-span, span + 1, (12, 2500)).astype(np.int16)
    if holes:
        x[rng.integers(12), 3:17] = -32768
    record = record_of(x, baseline=baseline, scale=scale)
    truth = record.millivolts().astype(np.float64)
    if kind == "float32":
        record = record_of(truth.astype(np.float32), scale=1.0)
    signal, unit = standardise(record, 500.0)
    np.testing.assert_array_equal(signal == -32768, np.isnan(truth))
    error = np.abs(signal * unit[:, None].astype(np.float64) - truth)
    largest = np.nanmax(np.abs(truth), axis=1, keepdims=True)
    assert np.nanmax(error - np.maximum(5e-4, largest / 60_000) * 1.01) <= 0  # half a unit


@pytest.mark.parametrize("fs", [100, 128, 257, 360, 499.5, 1000, 1024])
def test_resampled_sine(fs):
    """A 5 Hz sine at any rate is the same sine at 500 Hz, ends included."""
    t = np.arange(int(12 * fs)) / fs
    x = np.tile(np.sin(2 * np.pi * 5 * t) + 3.0, (12, 1)).astype(np.float32)
    signal, scale = standardise(record_of(x, fs=float(fs), scale=1.0), 500.0)
    out = np.arange(signal.shape[1]) / 500.0
    error = signal * scale[:, None] - (np.sin(2 * np.pi * 5 * out) + 3.0)
    assert abs(signal.shape[1] - 6000) <= 3
    assert np.abs(error[:, 100:-100]).max() < 5e-3 and np.abs(error).max() < 0.02


@pytest.mark.parametrize("down, length, dtype", [(2, 10_001, np.float32), (2, 5000, np.float64), (5, 777, np.float32),
                                                 (3, 2, np.float64)])  # fmt: skip
def test_decimation_is_that_of_scipy(rng, down, length, dtype):
    from scipy.signal import resample_poly

    x = rng.normal(size=(3, length)).astype(dtype)
    y = every(x, down)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, resample_poly(x, 1, down, axis=1), atol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("down", [2, 3, 4, 16])
@pytest.mark.parametrize(("leads", "length"), [(0, 9), (1, 1), (1, 2), (3, 777), (12, 5001), (13, 1024)])
def test_the_bits_of_decimation(rng, dtype, down, leads, length):
    """The sum of the products in the order of the taps, each rounded by itself, whatever the processor."""
    x, taps = rng.normal(size=(leads, length)).astype(dtype), rng.normal(size=20 * down + 1).astype(dtype)
    n = -(-length // down)
    longer = np.zeros((leads, n * down + len(taps)), dtype)
    longer[:, :length] = x
    truth = np.zeros((leads, n), dtype)
    for j, tap in enumerate(taps):
        truth += tap * longer[:, j::down][:, :n]
    out = np.empty((leads, n), dtype)
    getattr(_core, f"decimate_{np.dtype(dtype)}")(-1, 0, x=x, taps=taps, down=down, out=out)
    np.testing.assert_array_equal(out, truth)


@pytest.mark.parametrize("fs", [250, 257, 360, 1024])
def test_an_offset_stays_an_offset(fs):
    """A constant of 100 mV is one at any rate; scipy's filter alone makes a ripple of 0.05 mV of it."""
    np.testing.assert_allclose(resample(np.full((2, 3000), 100.0), fs, 500), 100.0, rtol=1e-9)
    t = np.arange(12 * fs) / fs
    y = resample((100 + np.sin(2 * np.pi * 5 * t))[None], fs, 500)[0]
    truth = 100 + np.sin(2 * np.pi * 5 * np.arange(len(y)) / 500)
    np.testing.assert_allclose(y[100:-100], truth[100:-100], atol=2e-3)


def test_gaps_stay_gaps_and_do_not_spread(rng):
    x = rng.normal(size=(2, 10_000))
    whole = resample(x, 1000, 500)
    gap = x.copy()
    gap[0, 4000:4100] = np.nan
    y = resample(gap, 1000, 500)
    np.testing.assert_array_equal(np.isnan(y[0]), np.isin(np.arange(5000), np.arange(2000, 2050)))
    np.testing.assert_array_equal(y[1], whole[1])
    away = np.abs(np.arange(5000) - 2025) > 60
    np.testing.assert_allclose(y[0, away], whole[0, away], atol=1e-9)


def test_another_order_of_the_standard_leads_is_told_of():
    """MIMIC-IV-ECG swaps aVL and aVF: a name given to an op would mean the other lead."""
    x = np.arange(12 * 4, dtype=np.int16).reshape(12, 4)
    swapped = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
    with pytest.warns(UserWarning, match="I II III aVR aVF aVL .*millivolts.standard=True., or pass leads=") as told:
        mv = record_of(x, leads=swapped).millivolts()
    assert [w.filename for w in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(record_of(x, leads=swapped).millivolts(standard=False), mv)
        record_of(x, leads=swapped).millivolts(standard=True)
        record_of(x, leads=[n.upper() for n in LEADS]).millivolts()
        record_of(x[:2], leads=["II", "I"]).millivolts()  # names are looked for among 12 leads alone
