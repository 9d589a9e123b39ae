"""The order of the waves, which holds for every lead, the mean lead and the consensus, whatever the record is."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import synthetic_ecg

import physioclr as pc
from physioclr import reference
from physioclr.reference.order import meet
from physioclr.reference.waves import Signal

script = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "delineation_order.py"
spec = importlib.util.spec_from_file_location("delineation_order", script)
delineation_order = importlib.util.module_from_spec(spec)
spec.loader.exec_module(delineation_order)
disorder = delineation_order.disorder


def in_order(ecg, fs, r):
    """Asserts the order in every lead, the consensus and the mean; the delineation of all leads."""
    every = pc.delineate(ecg[None], fs, r[None], lead="all")
    one = pc.Delineation(*(v[0] for v in every))
    np.testing.assert_array_equal(disorder(one, r), 0)
    np.testing.assert_array_equal(disorder(pc.delineate(ecg[None], fs, r[None], lead="mean"), r), 0)
    for v in one:
        assert ((v >= -1) & (v < ecg.shape[1])).all()
    return one


@pytest.mark.parametrize(
    "change, bad",
    [
        ({}, 0),
        (dict(p_on=20), 1),  # no room before its peak
        (dict(p_off=31), 1),
        (dict(qrs_on=41), 1),  # behind R
        (dict(qrs_off=39), 1),
        (dict(t_on=44), 1),
        (dict(t_off=70), 1),  # behind the P wave of the next beat, which is counted
        (dict(p_peak=-1), 1),  # half of a wave
        (dict(t_on=-1, t_peak=-1, t_off=-1), 0),
    ],
)
def test_the_check_itself(change, bad):
    good = dict(p_on=10, p_peak=20, p_off=30, qrs_on=30, qrs_off=45, t_on=45, t_peak=50, t_off=60)
    two = {f: np.array([(good | change)[f], v + 55]) for f, v in good.items()}
    assert disorder(pc.Delineation(**two), np.array([40, 95])) == bad


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(1, 3000),
    st.integers(0, 24),
    st.sampled_from([50.0, 90.0, 250.0, 360.0, 500.0, 1000.0]),
    st.sampled_from(["beats", "noise", "steps", "any R"]),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore:delineate. ecg has a median:UserWarning")
def test_any_record_and_any_r_peaks(seed, leads, samples, beats, fs, kind):
    rng = np.random.default_rng(seed)
    seconds = samples / fs
    if kind in ("beats", "any R"):
        at = np.sort(rng.uniform(0, seconds, min(beats, 1 + int(4 * seconds))))
        s = synthetic_ecg(
            fs, seconds, beats=at, pr=rng.uniform(0.08, 0.3), qt=rng.uniform(0.25, 0.6), t_amp=rng.uniform(-0.5, 0.5),
            noise=10 ** rng.uniform(-4, -1), wander=rng.uniform(0, 0.3), seed=seed,
        )  # fmt: skip
        x, r = s.ecg * rng.normal(size=(leads, 1)), np.unique(np.clip(s.rpeaks, 0, samples - 1))
        x = x + rng.normal(size=x.shape) * 0.02
    else:
        x = rng.normal(size=(leads, samples)) * 10 ** rng.uniform(-4, 2)
        x = np.cumsum(x, axis=1) if kind == "steps" else x
        r = np.empty(0, np.int64)
    if kind != "beats":
        r = np.sort(rng.choice(samples, min(beats, samples), replace=False))
    x[rng.random(x.shape) < rng.choice([0, 0.01, 0.3])] = np.nan
    in_order(x, fs, np.concatenate([r, [-1, -1]]).astype(np.int64))


@pytest.mark.parametrize("sign", [1, -1])
def test_p_on_t_meets_at_the_lowest_point_between_them(sign):
    """Two Gaussians cross at their lowest point: heights 0.3 and 0.1 mV, 60 samples apart, SD 14 and 9 samples."""
    i = np.arange(300)
    y = sign * (0.3 * np.exp(-0.5 * ((i - 100) / 14) ** 2) + 0.1 * np.exp(-0.5 * ((i - 160) / 9) ** 2))
    before, after = dict(t_peak=100.0, t_off=141.0), dict(p_on=133.0, p_peak=160.0, qrs_on=200.0)
    meet(Signal(y, 250.0), before, after)
    lowest = 100 + np.argmin(sign * y[100:161])
    assert before["t_off"] == after["p_on"]
    assert abs(before["t_off"] - lowest) <= 1  # a mean of five samples


def test_r_lies_in_its_qrs_complex():
    s = synthetic_ecg(noise=0.002)
    for shift in (-25, -15, 15, 25):
        d = in_order(np.stack([s.ecg, -s.ecg, s.ecg]), 500, s.rpeaks + shift)
        assert (d.qrs_on[:, 1:-1] >= 0).all()


@pytest.mark.parametrize("seed", range(12))
def test_the_reference_says_the_same(seed):
    """Where the order has to be made: R peaks at random, short records, high rates."""
    rng = np.random.default_rng(seed)
    fs = (128, 250, 500)[seed % 3]
    s = synthetic_ecg(fs, 4, rate=(60, 130, 180)[seed % 3], noise=0.01, pr=0.24, qt=0.4, seed=seed)
    x = s.ecg * np.array([1, -0.6, 0.4])[:, None] + rng.normal(size=(3, len(s.ecg))) * 0.005
    r = np.sort(rng.choice(len(s.ecg), 14, replace=False)) if seed % 2 else s.rpeaks
    expected = reference.delineate(x[None], fs, r[None], lead="all")
    for f, v in pc.delineate(x[None], fs, r[None], lead="all")._asdict().items():
        np.testing.assert_array_equal(v, getattr(expected, f), err_msg=f)
