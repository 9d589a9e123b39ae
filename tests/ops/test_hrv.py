"""hrv against the definitions, worked out by hand, the reference, SciPy's periodogram and neurokit2."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import physioclr as pc
from physioclr import reference
from physioclr.reference.hrv import lomb_scargle

FS = 1000.0


def peaks(rr, start=500):
    return np.cumsum([start, *rr])[None]


def rhythm(seed, beats, fs=FS, ectopic=0.0):
    """R peaks that breathe at 0.25 Hz, wander at 0.1 Hz, and come early now and then."""
    rng = np.random.default_rng(seed)
    k, rr = np.arange(beats), rng.uniform(0.6, 1.1)
    rr = rr * (1 + 0.05 * np.sin(0.5 * k + seed) + 0.03 * np.sin(1.5 * k)) + rng.normal(0, 0.01, beats)
    early = np.flatnonzero(rng.random(beats) < ectopic)
    rr[early] *= 0.6
    rr[np.minimum(early + 1, beats - 1)] *= 1.4
    return np.cumsum(np.rint(rr * fs).astype(int))


def padded(rows):
    out = np.full((len(rows), max(map(len, rows), default=0)), -1, np.int64)
    for row, found in zip(out, rows, strict=True):
        row[: len(found)] = found
    return out


def same(got, want, rtol=1e-5):
    for name, a, b in zip(pc.HRV._fields, got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6, err_msg=name)


def test_time_domain_by_hand():
    """NN 800, 860, 800, 810 ms: mean 817.5; changes 60, -60, 10."""
    found = pc.hrv(peaks([800, 860, 800, 810]), FS)
    sdnn = np.sqrt((17.5**2 + 42.5**2 + 17.5**2 + 7.5**2) / 3)
    rmssd = np.sqrt((3600 + 3600 + 100) / 3)
    want = dict(
        mean_nn=817.5, mean_hr=60000 / 817.5, sdnn=sdnn, rmssd=rmssd, pnn50=100 * 2 / 4, cvnn=sdnn / 817.5,
        cvsd=rmssd / 817.5,
    )  # fmt: skip
    for name, value in want.items():
        assert getattr(found, name)[0] == pytest.approx(value, rel=1e-6), name
        assert getattr(found, name).dtype == np.float32
    assert np.isnan([found.lf[0], found.hf[0], found.lf_hf[0]]).all()  # 2.5 s
    assert found.ectopic.shape == (1, 5) and not found.ectopic.any()


def test_a_change_of_50_ms_is_not_above_50_ms():
    assert pc.hrv(peaks([800, 850, 800, 851]), FS).pnn50[0] == pytest.approx(25.0)


def test_the_unit_of_time_is_the_second():
    a, b = pc.hrv(peaks([800, 860, 800, 810]), 1000.0), pc.hrv(peaks([400, 430, 400, 405]), 500.0)
    same(a, b)


@pytest.mark.parametrize("beats, defined", [(0, 0), (1, 0), (2, 2), (3, 7)])
def test_what_is_undefined_is_nan(beats, defined):
    """No interval: nothing; one: mean and rate; two: SD and one change."""
    found = pc.hrv(padded([range(100, 100 + 900 * beats, 900), []]), FS)
    values = np.stack(found[:-1])
    assert np.isfinite(values[:defined, 0]).all() and np.isnan(values[defined:, 0]).all()
    assert np.isnan(values[:, 1]).all()


def test_a_band_needs_two_periods_of_its_lower_end():
    """50 s from the end of the first interval to that of the last for LF, 13.33 s for HF."""
    for last, lf, hf in ((50_000, True, True), (49_000, False, True), (14_000, False, True), (13_000, False, False)):
        found = pc.hrv(np.arange(0, last + 2000, 1000)[None], FS)
        assert (np.isfinite(found.lf[0]), np.isfinite(found.hf[0])) == (lf, hf), last
    few = pc.hrv([[0, 30_000, 60_000, 90_000]], FS)
    assert np.isnan(few.lf[0]) and np.isnan(few.hf[0])  # three intervals


def test_a_metronome_has_no_power_and_no_ratio():
    found = pc.hrv(np.arange(0, 300_000, 800)[None], FS)
    assert found.sdnn[0] == found.rmssd[0] == found.lf[0] == found.hf[0] == 0
    assert np.isnan(found.lf_hf[0])


@pytest.mark.parametrize("frequency, band", [(0.1, "lf"), (0.25, "hf")])
def test_the_power_of_a_sine_is_its_variance(frequency, band):
    """Intervals of 1 s + A sin(2 pi f t), t their end: A^2 / 2 = 450 ms^2 in its band, little in the other."""
    r = [0.0]
    for _ in range(600):
        rr = 0.7
        for _ in range(20):  # the interval that fits the time where it ends
            rr = 0.7 + 0.030 * np.sin(2 * np.pi * frequency * (r[-1] + rr))
        r.append(r[-1] + rr)
    found = pc.hrv(np.rint(np.array(r) * 4000).astype(int)[None], 4000.0)
    other = {"lf": "hf", "hf": "lf"}[band]
    assert getattr(found, band)[0] == pytest.approx(450.0, rel=0.02)
    assert getattr(found, other)[0] < 9.0


def test_the_periodogram_is_scipys():
    scipy_signal = pytest.importorskip("scipy.signal")
    t = rhythm(3, 200) / FS
    y = np.diff(t) * 1000
    t = t[1:]
    f = np.linspace(0.03, 0.4, 50)
    share = scipy_signal.lombscargle(t, y - y.mean(), 2 * np.pi * f, floating_mean=True, normalize=True)
    want = share * ((y - y.mean()) ** 2).sum() * (t[-1] - t[0]) / len(t)
    np.testing.assert_allclose([lomb_scargle(t, y, v) for v in f], want, rtol=1e-7)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("fs", [125.0, 360.0, 1000.0])
def test_equals_the_reference(fs, exclude):
    rows = [rhythm(k, n, fs, 0.05) for k, n in enumerate([0, 1, 2, 3, 4, 5, 12, 60, 75, 150, 400])]
    same(
        pc.hrv(padded(rows), fs, exclude_ectopic=exclude), reference.hrv(padded(rows), fs, exclude_ectopic=exclude),
        rtol=2e-5,
    )  # fmt: skip


def test_cosine_and_sine_of_one_kind():
    """30 beats per minute, all on full seconds: at 0.25 Hz, half the rate of the beats, the sine is 0 everywhere."""
    rr = np.full(100, 2000)
    rr[[20, 50]] += [4, -4]
    same(pc.hrv(peaks(rr), FS), reference.hrv(peaks(rr), FS), rtol=1e-4)


def test_ectopic_candidates_by_hand():
    """The interval that ends in the beat is below 0.8 of the mean of its two neighbours."""
    rr = [800, 800, 500, 1100, 800, 800, 661, 850, 800, 639, 800, 800]
    found = pc.hrv(peaks(rr), FS)
    # 500 < 0.8 * 950; 661 > 0.8 * 825; 639 < 0.8 * 800
    assert np.flatnonzero(found.ectopic[0]).tolist() == [3, 10]
    assert pc.hrv(peaks([800, 640, 800]), FS).ectopic.sum() == 0  # 640 is not below 640
    bigeminy = pc.hrv(peaks([600, 1000] * 6), FS)
    assert np.flatnonzero(bigeminy.ectopic[0]).tolist() == [3, 5, 7, 9, 11]  # the first and the last have one neighbour
    assert not pc.hrv(peaks([500, 900, 900, 500]), FS).ectopic.any()


def test_intervals_beside_a_candidate_are_left_out():
    rr = [800, 820, 500, 1100, 810, 830, 800]
    found = pc.hrv(peaks(rr), FS, exclude_ectopic=True)
    nn, changes = np.array([800, 820, 810, 830, 800]), np.array([20, 20, -30])  # none across the gap
    assert found.ectopic[0].tolist() == [False, False, False, True, False, False, False, False]
    assert found.mean_nn[0] == pytest.approx(nn.mean())
    assert found.sdnn[0] == pytest.approx(nn.std(ddof=1))
    assert found.rmssd[0] == pytest.approx(np.sqrt((changes**2).mean()))
    assert pc.hrv(peaks(rr), FS).sdnn[0] > 10 * found.sdnn[0]


def test_equals_neurokit2_on_clean_records():
    nk = pytest.importorskip("neurokit2")
    for seed in range(4):
        r = rhythm(seed, 320)
        found, want = pc.hrv(r[None], FS), nk.hrv_time(r, sampling_rate=int(FS)).iloc[0]
        for ours, theirs in dict(
            mean_nn="MeanNN", sdnn="SDNN", rmssd="RMSSD", pnn50="pNN50", cvnn="CVNN", cvsd="CVSD"
        ).items():
            assert getattr(found, ours)[0] == pytest.approx(want[f"HRV_{theirs}"], rel=1e-5), ours
        pytest.importorskip("astropy")
        settings = dict(psd_method="lomb", interpolation_rate=None, silent=True)
        ratio = nk.hrv_frequency(r, sampling_rate=int(FS), **settings)["HRV_LFHF"].iloc[0]
        assert found.lf_hf[0] == pytest.approx(ratio, rel=5e-3)  # astropy's fast periodogram is an approximation


def test_what_may_stand_for_the_r_peaks():
    r = padded([rhythm(1, 80), rhythm(2, 60)])
    want = pc.hrv(r, FS)
    index = r.astype(np.int32)
    for given in (index, r.tolist(), pc.RPeaks(index, None, None), np.ma.masked_equal(r, -1), index.astype(">i4")):
        same(pc.hrv(given, FS), want, rtol=0)
    got = pc.hrv(torch.from_numpy(r), FS)
    assert all(isinstance(v, torch.Tensor) for v in got) and got.ectopic.dtype == torch.bool
    same([v.numpy() for v in got], want, rtol=0)
    same(pc.hrv(r[0], FS), [v[:1] for v in want], rtol=0)
    same(pc.hrv(r[0].tolist(), FS), [v[:1] for v in want], rtol=0)


def test_of_detected_beats():
    sample = pc.data.sample()
    ecg = pc.data.read_record(sample.path / sample.record_ids[0]).millivolts()[None]
    found = pc.detect_rpeaks(ecg, 500)
    assert pc.hrv(found, 500).mean_nn[0] == pytest.approx(2 * np.diff(found.lists()[0]).mean(), rel=1e-6)


def test_each_record_has_its_own_numbers_whatever_the_team():
    rows = padded([rhythm(k, 150, ectopic=0.03) for k in range(64)])
    before = pc.info()["threads"]
    whole = pc.hrv(rows, FS)
    pc.set_num_threads(1)
    try:
        same(pc.hrv(rows, FS), whole, rtol=0)
    finally:
        pc.set_num_threads(before)
    for b in (0, 31, 63):
        same(pc.hrv(rows[b : b + 1], FS), [v[b : b + 1] for v in whole], rtol=0)


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(fs=10), "fs is 10; it must be finite, at least 50"),
        (dict(rpeaks=np.zeros((2, 3))), "rpeaks has dtype float64; it must be one of"),
        (dict(rpeaks=np.zeros((2, 2, 3), int)), r"rpeaks has shape \(2, 2, 3\); it must be \(records, beats\)"),
        (dict(rpeaks=np.array(5)), r"rpeaks has shape \(\); it must be \(records, beats\)"),
        (dict(rpeaks=[[500, 400, -1]]), r"rpeaks\[0, 1\] is 400; each row must be rising sample indices"),
        (dict(rpeaks=[[-1, 400]]), r"rpeaks\[0, 1\] is 400; each row must be rising sample indices"),
        (dict(rpeaks=[[0, 2**31]]), r"rpeaks\[0, 1\] is 2147483648"),
    ],
)
def test_errors_name_the_argument(change, said):
    with pytest.raises((ValueError, TypeError), match=said):
        pc.hrv(**{"rpeaks": [[100, 900, -1]], "fs": FS, **change})


def test_compile_export_vmap_and_an_operator_without_gradient():
    r = torch.from_numpy(padded([rhythm(1, 80), rhythm(2, 60)]))
    want = pc.hrv(r, FS)

    class Model(torch.nn.Module):
        def forward(self, r):
            return tuple(pc.hrv(r, FS))

    graphs = [torch.compile(Model(), fullgraph=True, backend="aot_eager"), torch.export.export(Model(), (r,)).module()]
    for f in graphs:
        same([v.numpy() for v in f(r)], [v.numpy() for v in want], rtol=0)
    stacked = torch.func.vmap(lambda r: tuple(pc.hrv(r, FS)))(
        torch.stack([r, r.clamp(max=40_000).where(r < 30_000, -1)])
    )
    same([v[0].numpy() for v in stacked], [v.numpy() for v in want], rtol=0)
    assert not any(v.requires_grad for v in want)


def test_torch_is_not_needed():
    code = "import sys, physioclr as pc; pc.hrv([[100, 900]], 500.0); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
