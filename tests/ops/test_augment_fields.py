"""What each field does: distributions, spectra, time maps, the lead mix."""

import numpy as np
import pytest
from augment_plans import NOISES, ONE_FIELD, PLANS, noise_of

import physioclr as pc

# ---- distributions ------------------------------------------------------------------------------------------------


def test_gaussian_noise_statistics():
    x = noise_of("gaussian_noise", pc.GaussianNoise(p=1, sd=0.5), (40, 3, 5000)) / 0.5
    n = x.size
    assert abs(x.mean()) < 5 / np.sqrt(n)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((x**3).mean()) < 5 * np.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / n)
    for lag in (1, 2, 3, 4, 15, 16, 17, 63, 64, 65, 128, 512):  # the strides of the generator among them
        assert abs((x[..., lag:] * x[..., :-lag]).mean()) < 5 / np.sqrt(x[..., lag:].size)
    c = np.corrcoef(x.reshape(120, -1))  # records and leads are independent
    assert np.abs(c[np.triu_indices(120, 1)]).max() < 5.5 / np.sqrt(5000)


def test_gaussian_noise_sd_of_each_of_twelve_leads():
    x = noise_of("gaussian_noise", pc.GaussianNoise(p=1, sd=0.1), (60, 12, 2000))
    sd = x.std(axis=(0, 2)) / 0.1
    want = [1] * 3 + [np.sqrt(3) / 2] * 3 + [np.sqrt(2 / 3)] * 6
    np.testing.assert_allclose(sd, want, atol=5 / np.sqrt(2 * 60 * 2000))


def test_strengths_are_uniform_over_the_range():
    x = noise_of("gaussian_noise", pc.GaussianNoise(p=1, sd=(0.1, 0.3)), (2000, 1, 1000))
    sd = x.std(axis=(1, 2))
    assert 0.09 < sd.min() and sd.max() < 0.33
    np.testing.assert_allclose(np.quantile(sd, [0.25, 0.5, 0.75]), [0.15, 0.2, 0.25], atol=0.01)
    ecg = np.ones((3000, 1, 1))
    gain = pc.augment(ecg, pc.Augment(amplitude_scale=pc.AmplitudeScale(p=0.5, gain=(0.8, 1.2))), fs=500, seed=3)[0]
    hit = gain != 1
    assert abs(hit.mean() - 0.5) < 5 * 0.5 / np.sqrt(3000)
    np.testing.assert_allclose(np.quantile(gain[hit], [0.25, 0.5, 0.75]), [0.9, 1.0, 1.1], atol=0.03)


def spectrum(x, fs):
    return np.fft.rfftfreq(x.shape[-1], 1 / fs), np.abs(np.fft.rfft(x * np.hanning(x.shape[-1]))) ** 2


def test_wander_is_slow_and_bounded():
    x = noise_of("baseline_wander", pc.BaselineWander(p=1, amplitude=0.2), (30, 12, 20000), fs=100.0)
    assert np.abs(x).max() <= 0.2 and np.abs(x).max() > 0.1
    f, power = spectrum(x, 100.0)
    share = power[..., (f > 0.03) & (f < 0.53)].sum() / power.sum()
    assert share > 0.999
    assert np.median(power[..., (f > 0.15) & (f < 0.5)].sum(-1) / power.sum(-1)) > 0.3  # respiration is there


@pytest.mark.parametrize("frequency", [50.0, 60.0])
def test_powerline_has_harmonics_and_no_aliases(frequency):
    field = pc.Powerline(p=1, amplitude=0.03, frequency=frequency)
    x = noise_of("powerline", field, (20, 12, 5000), fs=500.0)
    assert np.abs(x).max() <= 0.03 + 1e-9
    f, power = spectrum(x, 500.0)
    tones = [np.abs(f - frequency * k) < 1 for k in (1, 2, 3)]
    assert power[..., np.any(tones, axis=0)].sum() / power.sum() > 0.9999
    assert all(power[..., t].sum() / power.sum() > 1e-4 for t in tones)
    # at 250 Hz the third harmonic lies above 0.45 fs; at 100 Hz everything does
    x = noise_of("powerline", field, (20, 12, 5000), fs=250.0)
    f, power = spectrum(x, 250.0)
    assert power[..., np.abs(f - 250 / 2) < 250 * 0.05 - 1].sum() / power.sum() < 1e-6
    assert np.all(noise_of("powerline", field, (20, 12, 500), fs=100.0) == 0)


def test_powerline_draws_both_mains():
    x = noise_of("powerline", pc.Powerline(p=1), (200, 1, 500))
    f, power = spectrum(x[:, 0], 500.0)
    peak = f[power.argmax(-1)]
    assert set(np.round(peak)) == {50.0, 60.0}
    assert 60 < (np.round(peak) == 50).sum() < 140


@pytest.mark.parametrize("name", NOISES)
def test_noise_of_twelve_leads_obeys_einthoven_and_goldberger(name):
    x = noise_of(name, ONE_FIELD[name], (8, 12, 1000))
    peak = np.abs(x).max()
    assert peak > 0
    np.testing.assert_allclose(x[:, 0] + x[:, 2], x[:, 1], atol=1e-6 * peak)
    np.testing.assert_allclose(x[:, 3:6].sum(1), 0, atol=1e-6 * peak)
    assert len(np.unique(np.round(x[0, :, 500] / peak, 9))) == 12  # and no two leads are alike


def test_time_mask_statistics():
    ecg = np.ones((4000, 1, 1000))
    out = pc.augment(ecg, pc.Augment(time_mask=pc.TimeMask(p=1)), fs=500, seed=1)[0][:, 0]
    share = (out == 0).mean(1)
    assert share.max() <= 0.15 and share.min() >= 0.04
    assert 0.07 < share.mean() < 0.15
    place = 1 - out.mean(0)  # every part of the record, the ends a little less often
    assert place[100:-100].std() / place.mean() < 0.15 and place.min() >= 0
    runs = np.abs(np.diff(out, axis=1)).sum(1)
    assert runs.max() <= 6


def test_time_mask_keeps_away_from_qrs(rng):
    ecg, r = np.ones((200, 2, 2000)), np.tile(np.arange(100, 2000, 220), (200, 1))
    plan = pc.Augment(time_mask=pc.TimeMask(p=1, away_from_qrs=0.06))
    out, _ = pc.augment(ecg, plan, fs=500, seed=1, rpeaks=r)
    near = (np.abs(np.arange(2000)[:, None] - r[0]) <= 55).any(1)
    assert np.all(out[..., near] == 1) and (out[..., ~near] == 0).mean() > 0.03
    # after a beat shuffle it keeps away from where the beats then are
    plan = pc.Augment(time_mask=plan.time_mask, beat_shuffle=pc.BeatShuffle(p=1))
    r = np.tile(np.array([100, 300, 400, 800, 1000, 1500, 1800]), (200, 1))
    out, peaks = pc.augment(ecg, plan, fs=500, seed=1, rpeaks=r)
    assert all(out[b, :, k - 50 : k + 50].all() for b in range(200) for k in peaks.index[b])


def test_lead_dropout_statistics():
    ecg = np.ones((5000, 12, 1))
    out = pc.augment(ecg, pc.Augment(lead_dropout=pc.LeadDropout(lead=0.25)), fs=500, seed=1)[0][..., 0]
    np.testing.assert_allclose(1 - out.mean(0), 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 5000))
    c = np.corrcoef(out.T)
    assert np.abs(c[np.triu_indices(12, 1)]).max() < 5 / np.sqrt(5000)
    for kept, dropped in ((2, None), (5, None), (2, 2), (11, 3)):
        out = pc.augment(
            ecg, pc.Augment(lead_dropout=pc.LeadDropout(lead=0.9, kept=kept, dropped=dropped)), fs=500, seed=1
        )
        left = out[0][..., 0].sum(1)
        assert left.min() == max(kept, 12 - (12 if dropped is None else dropped))
    out = pc.augment(ecg[:, :1], pc.Augment(lead_dropout=pc.LeadDropout(lead=1)), fs=500, seed=1)[0]
    assert np.all(out == 1)  # a single lead is not dropped


def test_muscle_noise_is_band_limited_and_bursts():
    x = noise_of("muscle_noise", pc.MuscleNoise(p=1, rms=0.04), (60, 3, 5000))
    f, power = spectrum(x, 500.0)
    assert power[..., (f > 20) & (f < 120)].sum() / power.sum() > 0.9
    assert power[..., (f < 5) | (f > 160)].sum() / power.sum() < 0.02
    rms = np.sqrt((x.reshape(60, 3, 50, 100) ** 2).mean((1, 3)))  # of tenths of a second over the leads
    assert rms.max() < 0.06 and 0.5 * 0.04 < np.median(rms.max(1)) < 1.3 * 0.04
    assert np.median(rms.max(1) / rms.min(1)) > 3
    narrow = noise_of("muscle_noise", pc.MuscleNoise(p=1, rms=0.04, band=(30, 50)), (20, 1, 5000))
    f, power = spectrum(narrow, 500.0)
    assert power[..., (f > 28) & (f < 52)].sum() / power.sum() > 0.9
    c = np.corrcoef(x.reshape(180, -1))
    assert np.abs(c[np.triu_indices(180, 1)]).max() < 0.25  # some 500 independent values each


# ---- time maps ----------------------------------------------------------------------------------------------------

FS = 500.0


def beats(records=40, samples=5000, seed=0):
    """Records of P, QRS and T bumps, and where their R peaks are."""
    rng = np.random.default_rng(seed)
    index = np.full((records, 20), -1, np.int32)
    ecg, t = np.zeros((records, samples)), np.arange(samples)
    for b in range(records):
        r = np.cumsum(rng.integers(280, 520, 20)) - 150
        r = r[(r < samples - 60)]
        index[b, : len(r)] = r
        for k in r:
            for at, width, height in ((-80, 10, 0.15), (-12, 4, -0.15), (0, 5, 1.2), (12, 5, -0.3), (130, 22, 0.3)):
                ecg[b] += height * np.exp(-0.5 * ((t - k - at) / width) ** 2)
    return ecg[:, None].astype(np.float32), index


@pytest.mark.parametrize("name", ["beat_shuffle", "time_warp", "rr_scale", "crop", "all"])
def test_rpeaks_are_carried_along(name):
    fields = ["beat_shuffle", "time_warp", "rr_scale", "crop"] if name == "all" else [name]
    ecg, index = beats()
    plan = pc.Augment(**{n: pc.BeatShuffle(p=1, cut="tp") if n == "beat_shuffle" else ONE_FIELD[n] for n in fields})
    out, peaks = pc.augment(ecg, plan, fs=FS, seed=2, rpeaks=index)
    assert not np.array_equal(peaks.index, index)
    for b in range(len(ecg)):
        r = peaks.index[b, : peaks.count[b]]
        inside = r[(r > 30) & (r < 4970)]
        top = [k - 12 + out[b, 0, k - 12 : k + 13].argmax() for k in inside]
        assert np.abs(top - inside).max() <= 1
        assert np.all(out[b, 0, inside] > 1.1)
    assert (peaks.count >= (index >= 0).sum(1) - 4).all()


def test_detection_finds_the_carried_rpeaks():
    ecg, index = beats(12)
    plan = pc.Augment(time_warp=pc.TimeWarp(p=1), rr_scale=pc.RrScale(p=1, factor=(1.0, 1.15)))
    out, peaks = pc.augment(ecg, plan, fs=FS, seed=2, rpeaks=index)
    found = pc.detect_rpeaks(out, FS)
    for b in range(len(ecg)):
        r, d = peaks.index[b, : peaks.count[b]], found.index[b, : found.count[b]]
        r = r[(r > 250) & (r < 4750)]
        assert np.abs(d[:, None] - r).min(0).max() <= 2


def test_time_warp_bounds_the_speed_and_keeps_the_ends():
    ramp = np.tile(np.arange(3000.0), (50, 1))
    out, _ = pc.augment(ramp, pc.Augment(time_warp=pc.TimeWarp(p=1, speed=0.05)), fs=FS, seed=1)
    speed = (out[:, 12:-2] - out[:, 2:-12]) / 10  # cubic convolution reproduces a ramp, except at its ends
    assert speed.min() > 0.9497 and speed.max() < 1.0503  # float32 weights times 3000, over 10: 2e-4
    assert (np.abs(speed - 1).max(1) > 0.02).all()
    assert np.abs(np.diff(speed)).max() < 2e-3  # smooth
    np.testing.assert_allclose(out[:, [0, -1]], ramp[:, [0, -1]], atol=1e-6)


def test_rr_scale_scales_rr_and_keeps_pr_and_qrs():
    ecg, index = beats()
    for factor in (0.85, 0.95, 1.15):
        out, peaks = pc.augment(ecg, pc.Augment(rr_scale=pc.RrScale(p=1, factor=factor)), fs=FS, seed=1, rpeaks=index)
        for b in range(len(ecg)):
            r, n = index[b], peaks.count[b]
            new = peaks.index[b, :n]
            np.testing.assert_allclose(np.diff(new), factor * np.diff(r[:n]), atol=1.01)
            for k, old in zip(new[1:-1], r[1 : n - 1], strict=True):  # P wave and QRS as they were, to half a sample
                np.testing.assert_allclose(out[b, 0, k - 80 : k + 25], ecg[b, 0, old - 80 : old + 25], atol=0.15)
            t_old = r[1] + 60 + ecg[b, 0, r[1] + 60 : r[1] + 200].argmax()
            t_new = new[1] + 60 + out[b, 0, new[1] + 60 : new[1] + 200].argmax()
            moved, qrs = (t_new - new[1]) - (t_old - r[1]), 20 + t_old - r[1]  # relative to QRS onset
            assert abs(moved - qrs * (np.cbrt(factor) - 1)) < 3


@pytest.mark.filterwarnings("ignore:augment. ecg has a median:UserWarning")
def test_crop_moves_a_window_and_pads_with_zeros():
    ramp = np.tile(np.arange(1.0, 1001.0), (500, 1))
    out, _ = pc.augment(ramp, pc.Augment(crop=pc.Crop(p=1, kept=(0.8, 1.0)), gaussian_noise=None), fs=FS, seed=1)
    inside = out != 0
    width = inside.sum(1)
    assert width.min() >= 800 and width.max() <= 1000 and 880 < width.mean() < 920
    assert (np.abs(np.diff(inside.astype(int), axis=1)).sum(1) <= 2).all()
    assert all(np.array_equal(np.diff(row[row != 0]), np.ones(w - 1)) for row, w in zip(out, width, strict=True))
    noisy = pc.Augment(crop=pc.Crop(p=1, kept=0.8), gaussian_noise=ONE_FIELD["gaussian_noise"])
    padding = pc.augment(ramp, pc.Augment(crop=noisy.crop), fs=FS, seed=1)[0] == 0
    assert np.all(pc.augment(ramp, noisy, fs=FS, seed=1)[0][padding] == 0)  # no noise where there is no signal


@pytest.mark.parametrize("name", ["time_warp", "rr_scale"])
def test_missing_samples_do_not_spread_in_time(rng, name):
    ecg, index = beats(3)
    holed = ecg.copy()
    holed[:, :, 1000:1100], holed[0, 0, 3000] = np.nan, np.inf
    args = dict(fs=FS, seed=1, rpeaks=index)
    got, clean = (pc.augment(x, PLANS[name], **args)[0] for x in (holed, ecg))
    lost = ~np.isfinite(got)
    assert all(25 <= n < 127 for n in lost.sum((1, 2)))  # TP shrinks to a quarter at most
    np.testing.assert_allclose(got[~lost], clean[~lost], atol=0.05)
    far = np.ones(5000, bool)
    far[900:1200] = False
    np.testing.assert_array_equal(got[1:, :, far], clean[1:, :, far])


# ---- lead mix -----------------------------------------------------------------------------------------------------


def test_vcg_rotation_turns_the_dipole_and_nothing_else(rng):
    from physioclr.reference.augment import DOWER

    eight = [0, 1, 6, 7, 8, 9, 10, 11]

    def leads(x):  # all twelve from the independent eight
        i, ii = x[:, 0], x[:, 1]
        return np.concatenate([np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2], 1), x[:, 2:]], 1)

    dipole = rng.normal(size=(30, 3, 50))
    rest = rng.normal(size=(30, 8, 50))
    rest -= DOWER @ (np.linalg.pinv(DOWER) @ rest)
    plan = pc.Augment(vcg_rotation=pc.VcgRotation(p=1, angle=15))
    out, _ = pc.augment(leads(DOWER @ dipole + rest), plan, fs=FS, seed=1)
    got = np.linalg.pinv(DOWER) @ out[:, eight]
    np.testing.assert_allclose(out[:, eight] - DOWER @ got, rest, atol=1e-10)  # what is not dipolar stays
    np.testing.assert_allclose((got**2).sum(1), (dipole**2).sum(1))  # a rotation keeps lengths
    cosine = (got * dipole).sum(1) / (dipole**2).sum(1)
    assert cosine.min() > np.cos(np.radians(15 * np.sqrt(3))) and cosine.mean() < 0.995
    np.testing.assert_allclose(leads(out[:, eight]), out, atol=1e-12)  # Einthoven and Goldberger hold


def test_vcg_rotation_leaves_other_records_and_missing_samples(rng):
    ecg = rng.normal(size=(2, 12, 100)).astype(np.float32)
    assert np.array_equal(pc.augment(ecg[:, :8], PLANS["vcg_rotation"], fs=FS, seed=1)[0], ecg[:, :8])
    ecg[0, 7, 30:40], ecg[1, 2, 50] = np.nan, np.inf
    out, _ = pc.augment(ecg, PLANS["vcg_rotation"], fs=FS, seed=1)
    np.testing.assert_array_equal(np.isfinite(out), np.isfinite(ecg))
    np.testing.assert_array_equal(out[0, :, 30:40], ecg[0, :, 30:40])
    assert np.all(out[1, :2, 50] != ecg[1, :2, 50])  # III follows from I and II, so it need not be there
