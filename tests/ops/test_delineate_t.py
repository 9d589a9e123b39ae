"""T waves that are not there, flat ones in noise, and ones whose sign changes: electrocardiograms of known truth."""

import numpy as np
import pytest
from synthetic import synthetic_ecg

import physioclr as pc
from physioclr import reference

RATES = (40, 55, 70, 85, 100, 110, 120, 130, 140, 150)  # per minute


def delineate(records):
    """A Delineation of records of one length, each field (records, beats)."""
    beats = max(len(s.rpeaks) for s in records)
    r = np.stack([np.pad(s.rpeaks, (0, beats - len(s.rpeaks)), constant_values=-1) for s in records])
    return pc.delineate(np.stack([s.ecg for s in records]), 500, r), r


@pytest.mark.parametrize("seconds", [10, 30])
@pytest.mark.parametrize("noise", [0, 0.001, 0.002, 0.004, 0.010, 0.020])
def test_an_absent_t_is_absent(noise, seconds):
    records = [
        synthetic_ecg(rate=rate, t_amp=0.0, noise=noise, seed=seed, seconds=seconds)
        for rate in RATES
        for seed in range(1 if noise == 0 else 4)
    ]
    d, r = delineate(records)
    for f in ("t_on", "t_peak", "t_off"):
        assert (getattr(d, f) == -1).all(), f
    assert (d.p_peak[r >= 0] >= 0).all()  # at 150 per minute P lies where T could be
    assert (d.qrs_off[r >= 0] >= 0).all()


@pytest.mark.parametrize("kind", ["wander", "uneven rhythm", "no P", "wide QRS"])
def test_an_absent_t_stays_absent_beside_other_things(kind):
    more = {
        "wander": dict(wander=0.15, noise=0.004),
        "uneven rhythm": dict(beats=0.6 + np.cumsum(0.85 + 0.04 * np.sin(np.arange(10) * 0.9)), noise=0.004),
        "no P": dict(p_absent=True, noise=0.004),
        "wide QRS": dict(bundle_branch_block=True, qrs=0.15, noise=0.004),
    }[kind]
    d, _ = delineate([synthetic_ecg(t_amp=0.0, seed=seed, **more) for seed in range(6)])
    assert (d.t_peak == -1).all()


def test_the_reference_says_the_same():
    for seed, rate in enumerate((45, 75, 150)):
        for t_amp in (0.0, 0.04):
            s = synthetic_ecg(rate=rate, t_amp=t_amp, noise=0.01, seed=seed)
            expected = reference.delineate(s.ecg[None], 500, s.rpeaks[None])
            for f, v in pc.delineate(s.ecg[None], 500, s.rpeaks[None])._asdict().items():
                np.testing.assert_array_equal(v, getattr(expected, f), err_msg=f)


@pytest.mark.parametrize("seconds", [5, 10])
@pytest.mark.parametrize("t_amp", [0.03, 0.05, -0.04])
def test_a_flat_t_in_noise_is_found(t_amp, seconds):
    records = [
        synthetic_ecg(rate=rate, t_amp=t_amp, noise=0.01, seed=seed, seconds=seconds, qt=min(0.38, 0.30 + 6 / rate))
        for rate in RATES
        if rate <= 100
        for seed in range(4)
    ]
    d, r = delineate(records)
    assert (d.t_peak[r >= 0] >= 0).all()
    truth = np.concatenate([s.truth["t_peak"] for s in records])
    error = np.abs(d.t_peak[r >= 0] - truth) * 2
    assert np.median(error) <= 10 and np.quantile(error, 0.95) <= 40  # ms; a wave as high as three SDs of the noise


@pytest.mark.parametrize("noise", [0.001, 0.01])
@pytest.mark.parametrize("rate", [45, 70, 95])
@pytest.mark.parametrize("height", [0.10, 0.30])
def test_a_t_whose_sign_alternates_is_found(height, rate, noise):
    up, down = (synthetic_ecg(rate=rate, t_amp=a, noise=noise, seed=3) for a in (height, -height))
    cut = (up.rpeaks[:-1] + up.rpeaks[1:] + 100) // 2  # after T, before P
    beat = np.searchsorted(cut, np.arange(len(up.ecg)))
    s = up._replace(ecg=np.where(beat % 2 == 0, up.ecg, down.ecg))
    d = pc.delineate(s.ecg[None], 500, s.rpeaks[None])
    assert (d.t_peak >= 0).all()
    assert np.abs(d.t_peak[0] - s.truth["t_peak"]).max() <= 10
    t = s.ecg[d.t_peak[0]]
    np.testing.assert_array_equal(np.sign(t), (-1) ** np.arange(len(t)))
    expected = reference.delineate(s.ecg[None], 500, s.rpeaks[None])
    for f, v in d._asdict().items():
        np.testing.assert_array_equal(v, getattr(expected, f), err_msg=f)


def test_a_biphasic_t_is_found():
    d, r = delineate([synthetic_ecg(t_biphasic=True, t_amp=0.08, noise=0.005, seed=seed) for seed in range(4)])
    assert (d.t_peak[r >= 0] >= 0).all()


@pytest.mark.parametrize("present", [True, False])
def test_an_extra_beat_keeps_its_t_and_noise_gives_it_none(present):
    """In a record without T waves the one beat unlike the others has one where it is far above the noise."""
    s = synthetic_ecg(t_amp=0.0, noise=0.004, ectopic={4})
    x = s.ecg
    if present:
        x = x + (synthetic_ecg(t_amp=0.4, ectopic={4}).ecg - synthetic_ecg(t_amp=0.0, ectopic={4}).ecg) * (
            np.abs(np.arange(len(x)) - s.truth["t_off"][4] + 50) < 120
        )
    d = pc.delineate(x[None], 500, s.rpeaks[None])
    assert (np.delete(d.t_peak[0], 4) == -1).all()
    assert (d.t_peak[0, 4] >= 0) == present


def test_features_of_an_absent_t():
    s = synthetic_ecg(t_amp=0.0, noise=0.002)
    f = dict(zip(pc.FEATURE_NAMES, pc.physio_features(s.ecg[None], 500, s.rpeaks[None])[0], strict=True))
    for name in ("qtc", "t_dur", "t_amp"):
        for k in range(10):
            assert np.isnan(f[f"{name}_beat{k}"])
        for statistic in ("mean", "sd", "median", "iqr"):
            assert np.isnan(f[f"{name}_{statistic}"])
    assert np.isnan(f["pct_qtc_ge_500"])
    assert f["pct_t_inverted"] == 0  # of all beats
    assert np.isfinite(f["qrs_mean"]) and np.isfinite(f["pr_mean"]) and np.isfinite(f["st_mean"])


def test_inverted_t_waves_count_among_all_beats():
    """19 beats without T waves and then 20 with inverted ones: the blocks of 39 beats."""
    none, inverted = (synthetic_ecg(seconds=40, rate=60, t_amp=a, noise=0.002) for a in (0.0, -0.25))
    r = none.rpeaks[None]
    assert r.shape[1] == 39
    x = np.where(np.arange(len(none.ecg)) < r[0, 19] - 150, none.ecg, inverted.ecg)
    f = dict(zip(pc.FEATURE_NAMES, pc.physio_features(x[None], 500, r)[0], strict=True))
    np.testing.assert_array_equal(pc.delineate(x[None], 500, r).t_peak[0] >= 0, np.arange(39) >= 19)
    assert f["pct_t_inverted"] == pytest.approx(100 * 20 / 39, rel=1e-6)
