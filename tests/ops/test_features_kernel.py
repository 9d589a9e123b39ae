"""The features from given boundaries: against the reference, and computed by hand."""

import math

import numpy as np
import pytest
from feature_kernel import COLUMN, FIELDS, assert_equal_features, kernel, random_records
from hypothesis import given, settings
from hypothesis import strategies as st

import physioclr as pc
from physioclr import reference
from physioclr.ops.features import slope_taps

# ---- against the reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", [None, 5.0, 2.9])
@pytest.mark.parametrize("qtc", ["fridericia", "bazett"])
def test_every_column_matches_the_reference(rng, segment, qtc):
    x, r, waves = random_records(rng, 24, 6007, 60)
    paced = rng.random(r.shape) < 0.15
    x = x.astype(np.float32)
    got = kernel(x, r, waves, segment=segment, bazett=qtc == "bazett", paced=paced)
    want = reference.physio_features(x, r, waves, segment=segment, qtc=qtc, paced=paced)
    finite = np.isfinite(want.reshape(-1, 159)).sum(axis=0)
    assert (finite[1 if segment is None else 0 :] > 5).all()  # only the first RR of a record is always missing
    # correlations: sums of 326 float32 products; the rest is exact to a few ulp of 1 mV or 1 s
    assert_equal_features(got, want, rtol=1e-4, atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(1, 1200), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_any_boundaries_match_the_reference(seed, samples, beats):
    rng = np.random.default_rng(seed)
    x, r, waves = random_records(rng, 2, samples, beats)
    x = x.astype(np.float32)
    want = reference.physio_features(x, r, waves)
    assert_equal_features(kernel(x, r, waves), want, rtol=1e-4, atol=1e-4)


def test_slope_filter():
    h = reference.features.low_pass()
    half = slope_taps()
    np.testing.assert_allclose(np.append(half, -half[::-1]), np.convolve(h, [1, -1])[::-1], atol=1e-7)
    gain = [abs(np.sum(h * np.exp(-2j * np.pi * f / 500 * np.arange(31)))) for f in (5.0, 40.0, 120.0)]
    assert gain[0] == pytest.approx(1, abs=0.005)
    assert gain[1] == pytest.approx(np.sqrt(0.5), abs=0.01)  # 3 dB
    assert gain[2] < 0.04


# ---- hand-computed ------------------------------------------------------------------------------------------------


def from_intervals(rr_ms, **extra):
    """Columns of a flat record with R peaks at these intervals, by name."""
    r = 100 + np.concatenate([[0], np.cumsum(np.array(rr_ms) // 2)])[None]
    waves = {f: extra.get(f, np.full(r.shape, -1)) for f in FIELDS}
    f = kernel(np.zeros((1, int(r.max()) + 500)), r, pc.Delineation(**waves), paced=extra.get("paced"))[0]
    return dict(zip(pc.FEATURE_NAMES, f, strict=True))


def test_rhythm_by_hand():
    f = from_intervals([800, 860, 800, 600, 1000, 800])  # steps 60, -60, -200, 400, -200
    assert np.isnan(f["rr_beat0"]) and f["rr_beat1"] == 800 and f["rr_beat5"] == 1000 and np.isnan(f["rr_beat7"])
    assert f["rr_mean"] == 810 and f["rr_median"] == 800
    assert f["rr_sd"] == pytest.approx(math.sqrt((4 * 0 + 3 * 100 + 50**2 + 210**2 + 190**2) / 6))
    assert f["rr_iqr"] == pytest.approx(45)  # quartiles 800 and 845
    assert f["rmssd"] == pytest.approx(math.sqrt((2 * 60**2 + 2 * 200**2 + 400**2) / 5))
    assert f["pnn50"] == 100
    assert f["cv_rr"] == pytest.approx(f["rr_sd"] / 810)
    assert f["pct_rr_short"] == pytest.approx(100 / 6)  # 600 < 640


def test_rhythm_as_neurokit2_has_it():
    """hrv_time of neurokit2 0.2.13; its SD has ddof 1, its pNN50 divides by the intervals, ours by the differences."""
    rr = "694 718 718 778 660 788 742 852 856 882 846 796 850 890 760 836 796 886 748 780 820 814 700 820 792"
    f = from_intervals([int(v) for v in rr.split()])
    assert f["rr_mean"] == pytest.approx(792.88) and f["rr_median"] == 796 and f["rr_iqr"] == 98
    assert f["rmssd"] == pytest.approx(76.366441)
    assert f["rr_sd"] == pytest.approx(63.500866 * math.sqrt(24 / 25))
    assert f["cv_rr"] == pytest.approx(0.080089 * math.sqrt(24 / 25), rel=1e-5)
    assert f["pnn50"] == pytest.approx(44 * 25 / 24)


def test_rhythm_edges():
    f = from_intervals([800, 850, 800, 852])  # a step of exactly 50 ms does not count
    assert f["pnn50"] == pytest.approx(100 / 3)
    f = from_intervals([800, 800])
    assert f["rmssd"] == 0 and f["cv_rr"] == 0 and f["pct_rr_short"] == 0
    f = from_intervals([800])
    assert f["rr_mean"] == 800 and f["rr_sd"] == 0 and np.isnan(f["rmssd"]) and np.isnan(f["pnn50"])
    f = from_intervals([])
    assert np.isnan(f["rr_mean"]) and np.isnan(f["pct_rr_short"])
    f = from_intervals([1000, 1000, 640, 1000])  # 640 < 0.8 * 1000
    assert f["pct_rr_short"] == 25


def test_intervals_by_hand():
    r = np.array([[500, 1000, 1500, 2000]])
    qrs_on = r - np.array([20, 20, 20, 20])
    f = from_intervals(
        [1000, 1000, 1000],
        p_on=np.array([[-1, 500, 980, 1480]]) - 400,
        p_peak=np.array([[-1, 520, 1000, 1500]]) - 400,
        p_off=np.array([[-1, 540, 1020, 1520]]) - 400,
        qrs_on=qrs_on - 400,
        qrs_off=qrs_on - 400 + np.array([[50, 59, 60, 40]]),
        t_on=qrs_on - 400 + 120,
        t_peak=qrs_on - 400 + 160,
        t_off=qrs_on - 400 + np.array([[200, 250, 249, 200]]),
    )
    # QRS onsets at 80 580 1080 1580; P onsets -, 100, 580, 1080: PR -, 960, 1000, 1000
    assert np.isnan(f["pr_beat0"]) and [f[f"pr_beat{k}"] for k in (1, 2, 3)] == [960, 1000, 1000]
    assert [f[f"qrs_beat{k}"] for k in range(4)] == [100, 118, 120, 80]
    assert f["pct_qrs_ge_120"] == 25 and f["pct_qrs_100_119"] == 50
    assert f["p_dur_mean"] == 80 and f["t_dur_beat0"] == 160
    assert [f[f"qtc_beat{k}"] for k in range(4)] == [400, 500, 498, 400]  # at 1000 ms QTc is QT
    assert f["pct_qtc_ge_500"] == 25 and f["pct_p_absent"] == 25 and f["pct_pr_gt_200"] == 100


@pytest.mark.parametrize("bazett, power", [(False, 1 / 3), (True, 1 / 2)])
def test_qtc(bazett, power):
    r = np.array([[300, 700, 1100, 1400]])  # RR 800 800 600: the median corrects all three
    waves = {f: np.full(r.shape, -1) for f in FIELDS} | {"qrs_on": r - 20, "t_off": r + 160}
    f = kernel(np.zeros((1, 2000)), r, pc.Delineation(**waves), bazett=bazett)[0]
    assert f[COLUMN["qtc_median"]] == pytest.approx(360 / 0.8**power, rel=1e-6) and f[COLUMN["qtc_sd"]] < 1e-3


def test_pr_of_exactly_200_ms_is_not_long():
    on = np.array([[100, 600, 1100]])
    f = from_intervals([1000, 1000], p_on=on - np.array([[100, 101, 40]]), qrs_on=on, p_peak=on - 30, p_off=on - 20)
    assert f["pct_pr_gt_200"] == pytest.approx(100 / 3)


def steps_record():
    """One beat per 500 samples with a level for each wave: baseline 0.3, P 0.4, R 1.3, ST 0.15, T -0.1 above it."""
    x = np.full((1, 2600), 7.0)
    r = np.array([[500, 1000, 1500, 2000]])
    for k in r[0]:
        x[0, k - 60 : k - 30] = 7.3 + 0.4
        x[0, k - 30 : k - 20] = 7.3
        x[0, k - 20 : k + 30] = 7.3
        x[0, k] = 7.3 + 1.3
        x[0, k + 30 : k + 70] = 7.3 + 0.15
        x[0, k + 70 : k + 110] = 7.3 - 0.1
    from_r = (-60, -45, -29, -19, 20, 70, 90, 109)
    return x, r, {f: r + d for f, d in zip(FIELDS, from_r, strict=True)}


def test_amplitudes_by_hand():
    x, r, waves = steps_record()
    f = dict(zip(pc.FEATURE_NAMES, kernel(x, r, pc.Delineation(**waves))[0], strict=True))
    assert f["r_amp_beat0"] == pytest.approx(1.3, abs=1e-5) and f["p_amp_beat2"] == pytest.approx(0.4, abs=1e-5)
    assert f["t_amp_median"] == pytest.approx(-0.1, abs=1e-5) and f["pct_t_inverted"] == 100
    assert f["st_mean"] == pytest.approx(0.15, abs=1e-5) and f["pct_st_abnormal"] == 100 and f["st_mad"] == 0
    assert f["beat_corr_mean"] == pytest.approx(1, abs=1e-5) and f["beat_corr_min"] == pytest.approx(1, abs=1e-5)

    absent = waves | {k: np.full_like(r, -1) for k in ("p_on", "p_peak", "p_off")}
    f = dict(zip(pc.FEATURE_NAMES, kernel(x, r, pc.Delineation(**absent))[0], strict=True))
    assert np.isnan(f["p_amp_mean"]) and np.isnan(f["pr_mean"]) and f["pct_p_absent"] == 100
    assert f["r_amp_mean"] == pytest.approx(1.3, abs=1e-5)  # the 20 ms before QRS onset are level, too


def test_r_peak_of_other_leads_is_moved_to_this_one():
    x, r, waves = steps_record()
    waves["qrs_on"] = r - 19
    f = kernel(x, r + 4, pc.Delineation(**waves))[0]
    assert f[COLUMN["r_amp_mean"]] == pytest.approx(1.3, abs=1e-5)


def test_st_is_read_earlier_above_120_per_minute():
    _, _, waves = steps_record()
    for rr, want in ((250, 0.15), (249, 0.0)):  # 120 per minute, and above
        r = 500 + rr * np.arange(6)[None]
        y = np.zeros((1, 2600))
        for k in r[0]:
            y[0, k + 50 : k + 70] = 0.15  # J + 60 lies in it, J + 40 before it
        w = {f: r + (v[0, 0] - 500) for f, v in waves.items()}
        assert kernel(y, r, pc.Delineation(**w))[0][COLUMN["st_mean"]] == pytest.approx(want, abs=1e-6)


def test_paced_beats_lose_what_the_spike_hides():
    x, r, waves = steps_record()
    waves["p_peak"] = np.where(r == 2000, -1, waves["p_peak"])
    paced = np.array([[True, False, False, True]])
    f = dict(zip(pc.FEATURE_NAMES, kernel(x, r, pc.Delineation(**waves), paced=paced)[0], strict=True))
    for q in ("pr", "qrs", "p_dur", "p_amp", "qrs_slope"):
        assert np.isnan([f[f"{q}_beat0"], f[f"{q}_beat3"]]).all() and np.isfinite(f[f"{q}_beat1"]), q
    assert f["pct_p_absent"] == 0 and np.isfinite(f["qtc_beat0"]) and np.isfinite(f["st_mean"])


@pytest.mark.filterwarnings("ignore")  # neurokit2's own
@pytest.mark.parametrize("seed", range(3))
def test_rhythm_beside_neurokit2(seed):
    nk = pytest.importorskip("neurokit2")
    rr = 2 * np.random.default_rng(seed).integers(300, 550, 40)
    f = from_intervals(rr)
    peaks = 100 + np.concatenate([[0], np.cumsum(rr // 2)])
    want = nk.hrv_time({"ECG_R_Peaks": peaks}, sampling_rate=500).iloc[0]
    assert f["rr_mean"] == pytest.approx(want["HRV_MeanNN"]) and f["rr_median"] == pytest.approx(want["HRV_MedianNN"])
    assert f["rr_iqr"] == pytest.approx(want["HRV_IQRNN"]) and f["rmssd"] == pytest.approx(want["HRV_RMSSD"])
    assert f["rr_sd"] == pytest.approx(want["HRV_SDNN"] * math.sqrt(39 / 40), rel=1e-5)  # ours has ddof 0
    assert f["cv_rr"] == pytest.approx(want["HRV_CVNN"] * math.sqrt(39 / 40), rel=1e-5)
    assert f["pnn50"] == pytest.approx(want["HRV_pNN50"] * 40 / 39, rel=1e-5)  # of the differences, not the intervals
