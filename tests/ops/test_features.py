import ast
import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_kernel import COLUMN, assert_equal_features
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic import synthetic_ecg
from torch.library import opcheck

import physioclr as pc
from physioclr import reference
from physioclr.ops._numba import scalar
from physioclr.ops.features import resample

# ---- against the definition ---------------------------------------------------------------------------------------


def test_names():
    assert len(pc.FEATURE_NAMES) == len(set(pc.FEATURE_NAMES)) == 159
    assert pc.FEATURE_NAMES[0] == "rr_beat0" and pc.FEATURE_NAMES[99] == "qrs_slope_beat9"
    assert pc.FEATURE_NAMES[100:104] == ("rr_mean", "rr_sd", "rr_median", "rr_iqr")
    assert pc.FEATURE_NAMES[140] == "st_mean" and pc.FEATURE_NAMES[144] == "rmssd"
    assert pc.FEATURE_NAMES[158] == "beat_corr_min"


def test_every_column_has_its_unit_in_the_docs():
    """Each quantity of a beat and each scalar has a line "name  unit  meaning" in the docs of FEATURE_NAMES."""
    units = {
        "rr": "ms",
        "pr": "ms",
        "qrs": "ms",
        "qtc": "ms",
        "p_dur": "ms",
        "t_dur": "ms",
        "r_amp": "mV",
        "t_amp": "mV",
    }
    units |= {"p_amp": "mV", "qrs_slope": "mV/ms", "st": "mV", "rmssd": "ms", "cv_rr": "1", "st_mad": "mV"}
    units |= dict.fromkeys(("beat_corr_mean", "beat_corr_sd", "beat_corr_min"), "1")
    source = Path(pc.__file__).with_name("ops").joinpath("features.py").read_text(encoding="utf-8")
    tree = ast.parse(source).body
    at = next(i for i, node in enumerate(tree) if isinstance(node, ast.AnnAssign) and node.target.id == "FEATURE_NAMES")
    documented = {}
    for line in tree[at + 1].value.value.splitlines():
        if m := re.match(r" {4}((?:\w+, )*\w+) +(ms|mV/ms|mV|%|1) +\S", line):
            documented |= dict.fromkeys(m[1].split(", "), m[2])
    quantities = [n.removesuffix("_beat0") for n in pc.FEATURE_NAMES if n.endswith("_beat0")] + ["st"]
    for name in (*quantities, *pc.FEATURE_NAMES[144:]):
        assert documented.pop(name) == units.get(name, "%"), name
    assert not documented


@pytest.fixture(scope="module")
def twelve():
    """(5, 12, 4321): scaled copies of different rhythms, one record with atrial fibrillation, a little noise."""
    rng = np.random.default_rng(5)
    made = [
        synthetic_ecg(seconds=8.642, rate=rate, noise=0.01, seed=rate, p_absent=f > 0, fibrillation=f)
        for rate, f in ((55, 0.0), (70, 0.0), (90, 0.05), (110, 0.0), (130, 0.0))
    ]
    gains = np.array([0.6, 1.0, 0.4, -0.8, 0.3, 0.7, -0.5, 0.8, 1.2, 1.5, 1.3, 0.9])
    x = np.stack([gains[:, None] * m.ecg for m in made])
    return (x + rng.normal(size=x.shape) * 0.005).astype(np.float32)


@pytest.mark.parametrize("segment", [None, 4.0])
@pytest.mark.parametrize("lead", ["II", 6, -1, "mean", ["V5", "mean", 1]])
def test_public_function_matches_the_reference(backend, twelve, lead, segment):
    to, back = backend
    peaks = pc.detect_rpeaks(twelve, 500)
    got = back(pc.physio_features(to(twelve), 500, pc.RPeaks(*map(to, peaks)), lead=lead, segment=segment))
    want = []
    for one in lead if isinstance(lead, list) else [lead]:
        number = {"II": 1, "V5": 10}.get(one, one)
        x = twelve.mean(axis=1) if one == "mean" else twelve[:, number]
        want.append(reference.physio_features(x, peaks.index, pc.delineate(x, 500, peaks), segment=segment))
    want = np.concatenate(want, axis=-1)
    assert got.shape == want.shape
    assert_equal_features(got, want, rtol=1e-4, atol=1e-4)


def test_detects_r_peaks_itself(backend, twelve):
    to, back = backend
    peaks = pc.detect_rpeaks(twelve, 500)
    want = pc.physio_features(twelve, 500, peaks.index)
    np.testing.assert_array_equal(back(pc.physio_features(to(twelve), 500)), want)


def test_records_do_not_touch_each_other(twelve):
    broken = np.concatenate([twelve, np.full_like(twelve[:1], np.nan)])
    together = pc.physio_features(broken, 500, lead=["II", "V2"], segment=3.0)
    for b in range(len(twelve)):
        np.testing.assert_array_equal(
            pc.physio_features(twelve[b : b + 1], 500, lead=["II", "V2"], segment=3.0)[0], together[b]
        )
    assert np.isnan(together[-1]).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(twelve, threads):
    before, want = pc.info()["threads"], pc.physio_features(twelve, 500)
    pc.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(pc.physio_features(np.concatenate([twelve] * 4), 500), np.concatenate([want] * 4))
    finally:
        pc.set_num_threads(before)


# ---- known truth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fs", [250.0, 360.0, 500.0, 1000.0])
def test_synthetic_truth(fs):
    s = synthetic_ecg(fs=fs, seconds=12, rate=75, pr=0.16, qrs=0.09, qt=0.38, p_amp=0.12, t_amp=0.3, noise=0.004)
    f = dict(zip(pc.FEATURE_NAMES, pc.physio_features(s.ecg[None], fs, s.rpeaks[None])[0], strict=True))
    assert f["rr_median"] == pytest.approx(800, abs=2)
    assert f["pr_median"] == pytest.approx(160, abs=10)
    assert f["qrs_median"] == pytest.approx(90, abs=14)  # readers, and so we, begin a QRS earlier than one lead shows
    assert f["qtc_median"] == pytest.approx(380 / 0.8 ** (1 / 3), abs=16)
    assert f["p_dur_median"] == pytest.approx(100, abs=14)
    assert f["r_amp_median"] == pytest.approx(1.0, abs=0.05)
    assert f["p_amp_median"] == pytest.approx(0.12, abs=0.02)
    assert f["t_amp_median"] == pytest.approx(0.3, abs=0.02)
    assert abs(f["st_median"]) < 0.02 and f["beat_corr_min"] > 0.97
    assert f["pct_p_absent"] < 10 and f["pct_t_inverted"] == 0 and f["pct_qrs_ge_120"] == 0


def test_findings_show():
    def columns(**kwargs):
        s = synthetic_ecg(seconds=12, noise=0.005, **kwargs)
        return dict(zip(pc.FEATURE_NAMES, pc.physio_features(s.ecg[None], 500, s.rpeaks[None])[0], strict=True))

    rng = np.random.default_rng(3)
    fibrillating = columns(p_absent=True, fibrillation=0.05, beats=0.6 + np.cumsum(rng.uniform(0.5, 1.1, size=13)))
    assert fibrillating["pct_p_absent"] >= 90 and fibrillating["cv_rr"] > 0.1 and fibrillating["rmssd"] > 80
    blocked = columns(bundle_branch_block=True, qrs=0.15)
    assert blocked["qrs_median"] >= 120 and blocked["pct_qrs_ge_120"] > 80
    assert columns(t_amp=-0.25)["pct_t_inverted"] == 100
    elevated = columns(st=0.25)
    assert elevated["st_median"] > 0.15 and elevated["pct_st_abnormal"] == 100
    assert columns(rate=45)["rr_median"] > 1000
    assert columns(pr=0.24)["pct_pr_gt_200"] > 80


def test_offset_and_slow_drift_change_little():
    s = synthetic_ecg(seconds=12, noise=0.004)
    t = np.arange(len(s.ecg)) / 500
    want = pc.physio_features(s.ecg[None], 500, s.rpeaks[None])[0]
    got = pc.physio_features((s.ecg + 20.0)[None], 500, s.rpeaks[None])[0]
    amplitudes = [i for i, n in enumerate(pc.FEATURE_NAMES) if n.endswith("_median") and ("amp" in n or "st_" in n)]
    np.testing.assert_allclose(got[amplitudes], want[amplitudes], atol=1e-4)
    got = pc.physio_features((s.ecg + 0.5 * np.sin(2 * np.pi * 0.05 * t))[None], 500, s.rpeaks[None])[0]
    np.testing.assert_allclose(got[amplitudes], want[amplitudes], atol=0.03)


def test_pacing_spikes(twelve):
    x, peaks = twelve.copy(), pc.detect_rpeaks(twelve, 500)
    features, paced = pc.physio_features(x, 500, peaks, return_paced=True)
    assert not paced.any()
    for r in peaks.index[1][peaks.index[1] >= 0]:
        x[1, :, max(r - 40, 0) : max(r - 38, 0)] += np.array([0.8, 0.4], np.float32)
    got, paced = pc.physio_features(x, 500, peaks, return_paced=True)
    assert paced.tolist() == [False, True, False, False, False]
    others = [0, 2, 3, 4]
    np.testing.assert_array_equal(got[others], features[others])
    assert np.isnan(got[1, [COLUMN[n] for n in ("pr_mean", "qrs_mean", "p_amp_mean", "qrs_slope_mean")]]).all()
    assert np.isnan(got[1, COLUMN["pct_p_absent"]])
    _, paced = pc.physio_features(x, 500, peaks, segment=4.0, return_paced=True)
    assert paced.shape == (5, 2) and paced[1].all() and not paced[others].any()


def test_what_a_pacing_spike_is():
    def spikes(x):
        return scalar.spikes(x, 3)

    ramp = np.maximum(np.arange(100) - 50, 0).astype(np.float32)
    spike = np.where(np.isin(np.arange(100), (49, 50)), 1.0, 0.0).astype(np.float32)
    triangle = np.maximum(1 - np.abs(np.arange(100) - 50) / 10, 0).astype(np.float32)  # a QRS complex of 40 ms
    assert spikes(0.25 * spike) and spikes(5 - 0.25 * spike)
    assert not spikes(0.15 * spike)
    assert not spikes(0.25 * spike - 0.04 * ramp)  # a low one only on a level line
    assert spikes(0.8 * spike - 0.04 * ramp)  # a high one even where the QRS complex follows at once
    assert not spikes(0.8 * spike - np.float32(0.1) * np.arange(100, dtype=np.float32))  # but not on a slope
    assert not spikes(3 * triangle) and not spikes(-triangle)
    spike[46:48] = np.nan
    assert not spikes(spike)


def shipped():
    """The shipped records, their codes, and the features of lead II and V1 by name."""
    sample = pc.data.sample()
    x = np.stack([pc.data.read_record(sample.path / name).millivolts() for name in sample.record_ids])
    with open(sample.path / "ptbxl_database.csv", newline="", encoding="utf-8") as f:
        codes = [set(ast.literal_eval(row["scp_codes"])) for row in csv.DictReader(f)]
    features, paced = pc.physio_features(x, 500, lead=["II", "V1"], return_paced=True)
    return codes, features.reshape(-1, 2, 159), paced


def test_real_findings_show():
    codes, features, paced = shipped()

    def median(name, *which, lead=0):
        chosen = [bool(c & set(which)) for c in codes]
        return np.nanmedian(features[chosen, lead, COLUMN[name]])

    for lead in (0, 1):
        assert median("qrs_median", "CLBBB", "CRBBB", lead=lead) >= 120 > median("qrs_median", "NORM", lead=lead)
    assert 60000 / median("rr_mean", "SBRAD") < 60 and 60000 / median("rr_mean", "STACH") > 100
    assert median("pr_median", "1AVB") > 200 > median("pr_median", "NORM")
    assert median("pct_p_absent", "NORM") < 10 and median("pct_p_absent", "AFIB") > 90
    assert median("cv_rr", "AFIB") > 3 * median("cv_rr", "NORM")
    assert [bool(c & {"PACE"}) for c in codes] == paced.tolist()


# ---- segments -----------------------------------------------------------------------------------------------------


def test_first_beat_of_a_segment_has_its_true_interval():
    s = synthetic_ecg(seconds=11, rate=60, noise=0.003)
    f = pc.physio_features(s.ecg[None], 500, s.rpeaks[None], segment=5.0)
    assert f.shape == (1, 2, 159)
    assert np.isnan(f[0, 0, COLUMN["rr_beat0"]]) and f[0, 1, COLUMN["rr_beat0"]] == pytest.approx(1000, abs=2)
    whole = pc.physio_features(s.ecg[None], 500, s.rpeaks[None])
    first = int((s.rpeaks < 2500).sum())
    for q in ("rr", "pr", "qrs", "r_amp", "st"):
        if q != "st":
            np.testing.assert_array_equal(f[0, 1, COLUMN[f"{q}_beat0"]], whole[0, COLUMN[f"{q}_beat{first}"]])


def test_segments_of_other_rates_and_lengths():
    x = np.zeros((2, 3, 3600))
    assert pc.physio_features(x, 360, segment=5.0, lead=0).shape == (2, 2, 159)
    assert pc.physio_features(x, 360, segment=10, lead=0).shape == (2, 1, 159)
    assert pc.physio_features(x, 360, segment=3.3, lead=[0, 1]).shape == (2, 3, 318)
    with pytest.raises(ValueError, match="segment is 12 s; it must be at most the 10 s"):
        pc.physio_features(x, 360, segment=12.0, lead=0)


# ---- missing samples, odd records ---------------------------------------------------------------------------------


def test_gap_in_every_lead_hides_an_interval(twelve):
    x = twelve.copy()
    peaks = pc.detect_rpeaks(x, 500)
    r = peaks.index[1]
    x[1, 1, r[2] + 60 : r[2] + 160] = np.nan  # lead II alone: the interval stands
    f = pc.physio_features(x, 500, peaks)
    assert f[1, COLUMN["rr_beat3"]] == 2 * (r[3] - r[2])
    x[1, :, r[2] + 60 : r[2] + 160] = np.nan
    f = pc.physio_features(x, 500, peaks)
    assert np.isnan(f[1, COLUMN["rr_beat3"]]) and f[1, COLUMN["rr_beat4"]] == 2 * (r[4] - r[3])
    np.testing.assert_array_equal(
        f[[0, 2, 3, 4]], pc.physio_features(twelve, 500, peaks)[[0, 2, 3, 4]]
    )  # the other records


@pytest.mark.parametrize("shape", [(1, 1), (2, 20), (1, 150), (3, 1, 700), (1, 15, 2500)])
@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 3.0])
def test_records_without_a_heartbeat(shape, value):
    f = pc.physio_features(np.full(shape, value, np.float32), 500, lead=0 if len(shape) == 3 else None)
    assert f.shape == (shape[0], 159) and np.isnan(f).all()


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 1500)),
        elements=st.floats(width=32),
        fill=st.floats(-2, 2, width=32),
    ),
    st.sampled_from([50.0, 257.3, 500.0, 1000.0]),
    st.sampled_from(["mean", 0, [0, "mean"]]),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:physio_features. ecg has a median:UserWarning")
def test_any_samples_give_numbers_or_nan(x, fs, lead):
    f = pc.physio_features(x, fs, lead=lead)
    assert f.shape == (len(x), 318 if isinstance(lead, list) else 159)
    first = pc.physio_features(x[:1], fs, lead=lead)
    np.testing.assert_array_equal(f[:1], first)


def test_no_records_and_no_peaks(twelve):
    assert pc.physio_features(np.zeros((0, 12, 500), np.float32), 500).shape == (0, 159)
    assert pc.physio_features(np.zeros((0, 12, 5000), np.float32), 360, lead=[1, 2], segment=5).shape == (0, 2, 318)
    assert np.isnan(pc.physio_features(twelve, 500, np.zeros((5, 0), np.int32))).all()


def test_flat_lead_keeps_the_rhythm(twelve):
    x = twelve.copy()
    x[:, 1] = 0
    f = pc.physio_features(x, 500)
    assert np.isfinite(f[:, COLUMN["rr_mean"]]).all() and np.isnan(f[:, COLUMN["pct_p_absent"]]).all()


def test_resampling_keeps_gaps_and_levels():
    t = np.arange(3600) / 360
    x = (np.sin(2 * np.pi * 1.3 * t) + 4.0).astype(np.float32)[None]
    x[0, 1000:1100] = np.nan
    y = resample(x, 360.0)
    assert y.shape == (1, 5000) and y.dtype == np.float32
    gap = np.isnan(y[0])
    np.testing.assert_array_equal(np.flatnonzero(gap)[[0, -1]], [1388, 1527])
    want = np.sin(2 * np.pi * 1.3 * np.arange(5000) / 500) + 4
    clear = ~gap
    clear[1340:1580] = clear[:60] = clear[-60:] = False
    np.testing.assert_allclose(y[0, clear], want[clear], atol=2e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_dtypes_and_strides(twelve, dtype):
    peaks = pc.detect_rpeaks(twelve, 500)
    wide = np.repeat(twelve, 2, axis=2).astype(dtype)[:, :, ::2]
    assert not wide.flags.c_contiguous
    np.testing.assert_array_equal(
        pc.physio_features(wide, 500, peaks), pc.physio_features(twelve.astype(dtype).astype(np.float32), 500, peaks)
    )
    b = torch.from_numpy(twelve).bfloat16()
    assert torch.equal(
        pc.physio_features(b, 500, peaks.index).nan_to_num(-1),
        pc.physio_features(b.float(), 500, peaks.index).nan_to_num(-1),
    )


def test_read_only_input(twelve):
    x, peaks = twelve.copy(), pc.detect_rpeaks(twelve, 500)
    x.setflags(write=False)
    peaks.index.setflags(write=False)
    assert pc.physio_features(x, 500, peaks).shape == (5, 159)


# ---- errors -------------------------------------------------------------------------------------------------------

X = np.zeros((2, 12, 1000), np.float32)


@pytest.mark.parametrize(
    "args, kwargs, message",
    [
        ((np.zeros((1, 1, 1, 5)), 500), {}, "ecg has shape (1, 1, 1, 5); it must be (records, samples)"),
        ((X, 20), {}, "fs is 20"),
        ((X, 500), dict(lead="V7"), "lead is 'V7'"),
        ((X, 500), dict(lead=12), "lead is 12"),
        ((X, 500), dict(lead=[]), "lead is an empty list"),
        ((X, 500), dict(lead=["II", "X"]), "lead is 'X'"),
        ((X[:, :3], 500), {}, "lead is 'II', a name, but ecg has 3 leads"),
        ((X, 500), dict(qtc="hodges"), "qtc is 'hodges'"),
        ((X, 500), dict(segment=0.0), "segment is 0.0"),
        ((X, 500), dict(segment=math.nan), "segment is nan"),
        ((X, 500), dict(segment=2.5), "segment is 2.5 s; it must be at most the 2 s of a record"),
        ((X, 500, np.zeros((3, 4), np.int32)), {}, "rpeaks has 3 rows; it must have"),
        ((X, 500, np.array([[5, 3], [1, 2]])), {}, "each row must be rising"),
        ((X, 500, np.array([[5, 1000], [1, 2]])), {}, "rpeaks[0, 1] is 1000"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_arguments(args, kwargs, message, torch_in):
    if torch_in:
        args = tuple(torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in args)
    with pytest.raises(ValueError, match=re.escape(message)):
        pc.physio_features(*args, **kwargs)


def test_wrong_types():
    with pytest.raises(TypeError, match="ecg has dtype int16"):
        pc.physio_features(np.zeros((2, 12, 1000), np.int16), 500)
    with pytest.raises(TypeError, match="rpeaks has dtype float64"):
        pc.physio_features(X, 500, np.zeros((2, 4)))
    with pytest.raises(TypeError, match="rpeaks is a torch array"):
        pc.physio_features(X, 500, torch.zeros(2, 4, dtype=torch.int32))


# ---- the registered operator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", [None, 4.0])
def test_opcheck(twelve, segment):
    x = torch.from_numpy(twelve[:2])
    r = torch.from_numpy(pc.detect_rpeaks(twelve[:2], 500).index)
    op = torch.ops.physioclr.physio_features.default
    for kind in ("test_schema", "test_faketensor", "test_autograd_registration"):
        opcheck(op, (x, 500.0, r, [1, -1], segment, "bazett"), test_utils=kind)
        opcheck(op, (x[:, 1], 360.0), test_utils=kind)
    # The remaining checks compare results and take NaN for a difference, and the first beat of a record has no RR: they
    # get no records. What they would find on records is the next test's.
    opcheck(op, (x[:0], 500.0, r[:0], [1, -1], segment, "bazett"))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_in_one_graph(twelve, dynamic):
    x, r = torch.from_numpy(twelve), torch.from_numpy(pc.detect_rpeaks(twelve, 500).index)

    def two_leads(x, r):
        return pc.physio_features(x * 1.0, 500, r, lead=["II", "V1"], segment=4.0)

    compiled = torch.compile(two_leads, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for n in (5, 3):
        torch.testing.assert_close(compiled(x[:n], r[:n]), two_leads(x[:n], r[:n]), rtol=0, atol=0, equal_nan=True)


def test_a_default_lead_without_samples_is_told():
    """MIT-BIH's MLII and V1 among the standard 12: lead II is missing, and all of the waves would be NaN in silence."""
    sample = pc.data.sample()
    ecg = pc.data.read_record(sample.path / sample.record_ids[0]).millivolts(standard=True)[None]
    there = np.full_like(ecg, np.nan)
    there[:, 6] = ecg[:, 6]
    with pytest.warns(UserWarning, match="lead II, measured unless another is named, has no sample .* lead=: 'V1'. Na"):
        assert np.isnan(pc.physio_features(there, 500)[0, pc.FEATURE_NAMES.index("qrs_median")])
    pc.physio_features(np.full_like(ecg, np.nan), 500)
    assert np.isfinite(pc.physio_features(there, 500, lead="V1")).any()  # these warn of nothing
    pc.physio_features(there, 500, lead="II")
    pc.physio_features(np.zeros_like(ecg), 500)
    pc.physio_features(np.concatenate([there, ecg]), 500)
