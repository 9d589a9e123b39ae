import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

import physioclr as pc
from physioclr import _core, reference

OP = torch.ops.physioclr.augment.default
ONE_FIELD = {
    "beat_shuffle": pc.BeatShuffle(p=1),
    "time_warp": pc.TimeWarp(p=1),
    "rr_scale": pc.RrScale(p=1),
    "crop": pc.Crop(p=1),
    "time_mask": pc.TimeMask(p=1, away_from_qrs=0.01),
    "lead_dropout": pc.LeadDropout(lead=0.5),
    "vcg_rotation": pc.VcgRotation(p=1),
    "amplitude_scale": pc.AmplitudeScale(p=1),
    "baseline_wander": pc.BaselineWander(p=1),
    "powerline": pc.Powerline(p=1),
    "muscle_noise": pc.MuscleNoise(p=1),
    "gaussian_noise": pc.GaussianNoise(p=1),
}
PLANS = {name: pc.Augment(**{name: field}) for name, field in ONE_FIELD.items()}
PLANS |= {"every": pc.Augment(**ONE_FIELD), "standard": pc.Augment.standard(), "preserving": pc.Augment.preserving()}
NOISES = ("baseline_wander", "powerline", "muscle_noise", "gaussian_noise")


def peaks_of(rng, records, samples, beats):
    index = np.full((records, beats), -1, np.int32)
    for b in range(records):
        n = rng.integers(0, min(beats, samples) + 1)
        index[b, :n] = np.sort(rng.choice(samples, n, replace=False))
    return index


def noise_of(field, value, shape, fs=500.0, seed=1):
    """What a field adds to silence, in every record."""
    return pc.augment(np.zeros(shape), pc.Augment(**{field: value}), fs=fs, seed=seed)[0]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (4, 2, 151), (5, 12, 1134), (2, 3, 513)])
def test_matches_reference(backend, rng, plan, shape):
    to, back = backend
    ecg, index = rng.normal(size=shape).astype(np.float32), peaks_of(rng, shape[0], shape[-1], 9)
    ids = np.array([7, 2**40 + 1, -5, 0, 123456])[: shape[0]]
    args = dict(fs=250.0, seed=2**62 + 5)
    got, peaks = pc.augment(to(ecg), PLANS[plan], **args, sample_id=to(ids), rpeaks=to(index))
    want, new = reference.augment(ecg, PLANS[plan], **args, sample_id=ids, rpeaks=index)
    np.testing.assert_array_equal(back(peaks.index), new)
    # float32 sums of numbers below 5: 2^-24 of that, a few times
    np.testing.assert_allclose(back(got), want, atol=1e-6, rtol=0)
    assert got.dtype == to(ecg).dtype


@pytest.mark.parametrize("plan", PLANS)
def test_float64_is_computed_in_float64(rng, plan):
    ecg, index = rng.normal(size=(3, 12, 700)), peaks_of(rng, 3, 700, 9)
    got, _ = pc.augment(ecg, PLANS[plan], fs=500, seed=1, rpeaks=index)
    want, _ = reference.augment(ecg, PLANS[plan], fs=500, seed=1, rpeaks=index)
    # noise (below 0.2 mV) and the weights of the interpolation are float32
    exact = plan in ("beat_shuffle", "crop", "time_mask", "lead_dropout", "vcg_rotation", "amplitude_scale")
    np.testing.assert_allclose(got, want, atol=1e-13 if exact else 1e-6, rtol=0)


@pytest.mark.parametrize("plan", PLANS)
def test_depends_on_seed_and_sample_id_alone(rng, plan):
    """Any order, any split, any number of threads, any array library."""
    ecg, index = rng.normal(size=(7, 12, 900)).astype(np.float32), peaks_of(rng, 7, 900, 9)
    ids = rng.integers(-(2**50), 2**50, 7)

    def run(rows, to=lambda x: x):
        return pc.augment(to(ecg[rows]), PLANS[plan], fs=500, seed=6, sample_id=to(ids[rows]), rpeaks=to(index[rows]))[
            0
        ]

    whole, order = run(np.arange(7)), np.array([3, 6, 0, 1, 5, 4, 2])
    np.testing.assert_array_equal(run(order), whole[order])
    np.testing.assert_array_equal(np.concatenate([run(np.arange(3)), run(np.arange(3, 7))]), whole)
    np.testing.assert_array_equal(run(np.arange(7), torch.from_numpy).numpy(), whole)
    before = _core.num_threads()
    try:
        for n in (1, 2, 3):
            _core.set_num_threads(n)
            np.testing.assert_array_equal(run(np.arange(7)), whole)
    finally:
        _core.set_num_threads(before)
    again = pc.augment(ecg, PLANS[plan], fs=500, seed=7, sample_id=ids, rpeaks=index)[0]
    assert not np.array_equal(again, whole)


def test_default_sample_ids_count_from_zero(rng):
    ecg = rng.normal(size=(4, 3, 100))
    a = pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=6)[0]
    b = pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=6, sample_id=range(4))[0]
    np.testing.assert_array_equal(a, b)


def test_fields_do_not_disturb_each_other(rng):
    """Each field draws from its own stream: what it adds is the same whatever else is on."""
    ecg = np.zeros((4, 12, 600))
    total = sum(pc.augment(ecg, PLANS[n], fs=500, seed=1)[0] for n in NOISES)
    both = pc.augment(ecg, pc.Augment(**{n: ONE_FIELD[n] for n in NOISES}), fs=500, seed=1)[0]
    np.testing.assert_allclose(both, total, atol=1e-7)


OFF = {
    "beat_shuffle": [pc.BeatShuffle(p=0)],
    "time_warp": [pc.TimeWarp(p=0), pc.TimeWarp(p=1, speed=0)],
    "rr_scale": [pc.RrScale(p=0), pc.RrScale(p=1, factor=1)],
    "crop": [pc.Crop(p=0), pc.Crop(p=1, kept=1)],
    "vcg_rotation": [pc.VcgRotation(p=0), pc.VcgRotation(p=1, angle=0)],
    "muscle_noise": [pc.MuscleNoise(p=0), pc.MuscleNoise(p=1, rms=0), pc.MuscleNoise(p=1, band=(300, 400))],
    "time_mask": [pc.TimeMask(p=0)] + [pc.TimeMask(p=1, **k) for k in (dict(spans=0), dict(duration=0), dict(most=0))],
    "lead_dropout": [pc.LeadDropout(p=0), pc.LeadDropout(lead=0), pc.LeadDropout(kept=12), pc.LeadDropout(dropped=0)],
    "amplitude_scale": [pc.AmplitudeScale(p=0), pc.AmplitudeScale(p=1, gain=1)],
    "baseline_wander": [pc.BaselineWander(p=0), pc.BaselineWander(p=1, amplitude=0)],
    "powerline": [pc.Powerline(p=0), pc.Powerline(p=1, amplitude=0), pc.Powerline(p=1, frequency=230.0)],
    "gaussian_noise": [pc.GaussianNoise(p=0), pc.GaussianNoise(p=1, sd=0)],
}  # fmt: skip


@pytest.mark.parametrize("name, field", [(n, f) for n, fs in OFF.items() for f in fs])
def test_nothing_to_do_is_the_exact_identity(rng, name, field):
    ecg, r = rng.normal(size=(3, 12, 700)).astype(np.float32), peaks_of(rng, 3, 700, 9)
    ecg[0, 0, :3] = [-0.0, np.nan, np.inf]
    out, peaks = pc.augment(ecg, pc.Augment(**{name: field}), fs=500, seed=1, rpeaks=r)
    assert out.tobytes() == ecg.tobytes() and out is not ecg
    np.testing.assert_array_equal(peaks.index, r)


def test_every_field_is_tested():
    assert set(ONE_FIELD) == set(OFF) == set(pc.Augment.__dataclass_fields__)


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


# ---- inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [*NOISES, "lead_dropout", "time_mask", "amplitude_scale"])
def test_missing_samples_stay_where_they_are(rng, plan):
    ecg = rng.normal(size=(3, 12, 700)).astype(np.float32)
    ecg[0, 3, 100:150], ecg[1, :, 7], ecg[2, 5] = np.nan, -np.inf, np.nan
    r = np.tile([50, 250, 450], (3, 1))
    got = pc.augment(ecg, PLANS[plan], fs=500, seed=1, rpeaks=r)[0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(ecg))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(ecg))
    clean = pc.augment(np.nan_to_num(ecg, posinf=0, neginf=0), PLANS[plan], fs=500, seed=1, rpeaks=r)[0]
    there = np.isfinite(ecg)
    np.testing.assert_array_equal(got[there], clean[there])


def test_int16_with_scale(rng):
    raw = rng.integers(-3000, 3000, (3, 12, 400)).astype(np.int16)
    for scale in (0.005, np.linspace(0.001, 0.012, 12)):
        got = pc.augment(raw, PLANS["every"], fs=500, seed=1, rpeaks=[[30, 130, 250]] * 3, scale=scale)[0]
        mv = raw * np.float32(np.reshape(scale, (-1, 1)))
        want = pc.augment(mv, PLANS["every"], fs=500, seed=1, rpeaks=[[30, 130, 250]] * 3)[0]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6)
        t = pc.augment(torch.from_numpy(raw), PLANS["every"], fs=500, seed=1, rpeaks=[[30, 130, 250]] * 3, scale=scale)[
            0
        ]
        np.testing.assert_array_equal(t.numpy(), got)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept(rng, dtype):
    ecg = torch.from_numpy(rng.normal(size=(2, 12, 300))).to(dtype)
    got = pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=1)[0]
    want = pc.augment(ecg.float(), PLANS["gaussian_noise"], fs=500, seed=1)[0]
    assert got.dtype == dtype and torch.equal(got, want.to(dtype))


def test_strided_input_and_peaks(rng):
    ecg = rng.normal(size=(4, 2, 300, 3)).astype(np.float32)[::2, :, :, 1]
    got = pc.augment(ecg, PLANS["every"], fs=500, seed=1, rpeaks=np.tile(np.arange(10, 250, 30), (4, 1))[::2])[0]
    want = pc.augment(ecg.copy(), PLANS["every"], fs=500, seed=1, rpeaks=np.tile(np.arange(10, 250, 30), (2, 1)))[0]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("shape", [(0, 12, 100), (2, 0, 100), (2, 12, 0), (0, 100)])
def test_empty(shape):
    ecg = np.zeros(shape, np.float32)
    out, peaks = pc.augment(ecg, PLANS["every"], fs=500, seed=1, rpeaks=np.zeros((shape[0], 0), np.int32))
    assert out.shape == shape and peaks.index.shape == (shape[0], 0)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_settings(data):
    samples, leads = data.draw(st.integers(1, 300)), data.draw(st.sampled_from([1, 2, 12, 15]))
    r = sorted(data.draw(st.sets(st.integers(0, samples - 1), max_size=6)))
    unit = st.floats(0, 1)
    plan = pc.Augment(
        beat_shuffle=pc.BeatShuffle(data.draw(unit), data.draw(st.sampled_from(["r", "tp"]))),
        time_mask=pc.TimeMask(
            1, (0, data.draw(unit)), (0, data.draw(st.integers(0, 8))), data.draw(unit), data.draw(unit)
        ),
        lead_dropout=pc.LeadDropout(1, data.draw(unit), data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))),
        baseline_wander=pc.BaselineWander(1, 0.1, (data.draw(unit), 1)),
        powerline=pc.Powerline(1, 0.1, data.draw(st.floats(1, 1000))),
        muscle_noise=pc.MuscleNoise(1, 0.1, (data.draw(st.floats(0, 100)), 150)),
        gaussian_noise=pc.GaussianNoise(1, (0, data.draw(unit))),
    )
    args = dict(fs=data.draw(st.floats(50, 4000)), seed=data.draw(st.integers(0, 2**63 - 1)))
    args |= dict(sample_id=[data.draw(st.integers(-(2**63), 2**63 - 1))], rpeaks=np.array([[*r, -1]]))
    ecg = np.ones((1, leads, samples))
    got, peaks = pc.augment(ecg, plan, **args)
    want, new = reference.augment(ecg, plan, **args)
    np.testing.assert_allclose(got, want, atol=3e-6)
    np.testing.assert_array_equal(peaks.index, new)


# ---- errors -------------------------------------------------------------------------------------------------------

ECG = np.zeros((2, 3, 50), np.float32)


@pytest.mark.parametrize(
    "kwargs, error, message",
    [
        (dict(plan=None), TypeError, "plan is None; it must be an Augment"),
        (dict(plan=PLANS["beat_shuffle"]), ValueError, "rpeaks is None, but the plan looks at R peaks"),
        (dict(plan=PLANS["time_mask"]), ValueError, "rpeaks is None, but the plan looks at R peaks"),
        (dict(plan=PLANS["rr_scale"]), ValueError, "rpeaks is None, but the plan looks at R peaks"),
        (dict(ecg=ECG[0, 0]), ValueError, r"ecg has shape \(50,\)"),
        (dict(ecg=ECG.astype(np.int32)), TypeError, "ecg has dtype int32"),
        (dict(ecg=ECG.astype(np.int16)), ValueError, "ecg is int16 without scale"),
        (dict(scale=0.1), ValueError, "scale is given, but ecg has dtype"),
        (dict(ecg=ECG.astype(np.int16), scale=np.ones(4)), ValueError, r"scale has shape \(4,\)"),
        (dict(fs=20), ValueError, "fs is 20"),
        (dict(fs=float("nan")), ValueError, "fs is nan"),
        (dict(seed=-1), ValueError, "seed is -1"),
        (dict(sample_id=np.zeros(2)), TypeError, "sample_id has dtype float64"),
        (dict(sample_id=np.zeros(3, int)), ValueError, r"sample_id has shape \(3,\)"),
        (dict(rpeaks=np.array([[3, 2], [1, 2]])), ValueError, r"rpeaks\[0, 1\] is 2"),
        (dict(rpeaks=np.array([3, 2])), ValueError, r"rpeaks has shape \(2,\)"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_arguments(kwargs, error, message, torch_in):
    kwargs = dict(ecg=ECG, plan=PLANS["gaussian_noise"], fs=500, seed=0) | kwargs
    if torch_in:
        kwargs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    with pytest.raises(error, match=message):
        pc.augment(**kwargs)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: pc.GaussianNoise(p=1.5), ValueError, r"gaussian_noise\.p is 1\.5"),
        (lambda: pc.GaussianNoise(sd=-1), ValueError, r"gaussian_noise\.sd is -1"),
        (lambda: pc.GaussianNoise(sd=(0.2, 0.1)), ValueError, r"gaussian_noise\.sd is \(0\.2, 0\.1\); its low end"),
        (lambda: pc.GaussianNoise(sd="big"), TypeError, r"gaussian_noise\.sd is 'big'"),
        (lambda: pc.GaussianNoise(sd=(float("nan"), 1)), ValueError, r"gaussian_noise\.sd is nan"),
        (lambda: pc.AmplitudeScale(gain=(1, 2, 3)), TypeError, r"amplitude_scale\.gain is \(1, 2, 3\)"),
        (lambda: pc.BeatShuffle(cut="qrs"), ValueError, r"beat_shuffle\.cut is 'qrs'"),
        (lambda: pc.TimeMask(spans=(1, 9)), ValueError, r"time_mask\.spans is 9"),
        (lambda: pc.TimeMask(spans=1.5), TypeError, r"time_mask\.spans is 1\.5"),
        (lambda: pc.TimeMask(most=2), ValueError, r"time_mask\.most is 2"),
        (lambda: pc.LeadDropout(lead=2), ValueError, r"lead_dropout\.lead is 2"),
        (lambda: pc.LeadDropout(kept=1.5), TypeError, r"lead_dropout\.kept is 1\.5"),
        (lambda: pc.BaselineWander(band=(0.1, 50)), ValueError, r"baseline_wander\.band is 50"),
        (lambda: pc.TimeWarp(speed=0.6), ValueError, r"time_warp\.speed is 0\.6"),
        (lambda: pc.RrScale(factor=(0.1, 1)), ValueError, r"rr_scale\.factor is 0\.1"),
        (lambda: pc.Crop(kept=1.2), ValueError, r"crop\.kept is 1\.2"),
        (lambda: pc.VcgRotation(angle=(-200, 0)), ValueError, r"vcg_rotation\.angle is -200"),
        (lambda: pc.MuscleNoise(band=(-1, 5)), ValueError, r"muscle_noise\.band is -1"),
        (lambda: pc.Powerline(frequency=0), ValueError, r"powerline\.frequency is 0"),
        (lambda: pc.Augment(powerline=pc.GaussianNoise()), TypeError, "powerline is GaussianNoise"),
        (
            lambda: pc.Augment(powerline=0.5),
            TypeError,
            r"powerline is 0\.5; it must be Powerline\(\.\.\.\), True or None",
        ),
    ],
)
def test_bad_plans(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_plans_are_values():
    assert pc.Augment(powerline=True) == pc.Augment(powerline=pc.Powerline())
    assert hash(pc.Augment.preserving()) == hash(pc.Augment.preserving()) != hash(pc.Augment.standard())
    assert pc.GaussianNoise(sd=0.1) == pc.GaussianNoise(sd=(0.1, 0.1))
    assert all(getattr(pc.Augment.standard(), name) is not None for name in ONE_FIELD)
    with pytest.raises(AttributeError):
        pc.Augment().powerline = None


# ---- torch --------------------------------------------------------------------------------------------------------

R = torch.tensor([[4, 11, 17, 29, -1], [-1, -1, -1, -1, -1]])


@pytest.mark.parametrize("plan", PLANS)
def test_gradient(plan):
    ecg = torch.randn(2, 2, 31, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pc.augment(x, PLANS[plan], fs=500, seed=3, rpeaks=R)[0], (ecg,))


def test_opcheck():
    ecg = torch.randn(2, 3, 40, dtype=torch.float64, requires_grad=True)
    opcheck(OP, (ecg, R, torch.tensor([4, 5]), None, PLANS["every"]._text, 500.0, 3))
    opcheck(torch.ops.physioclr.augment_bwd.default, (ecg.detach(), R, None, PLANS["every"]._text, 500.0, 3))


def test_opcheck_without_peaks_and_with_scale():
    flat = PLANS["gaussian_noise"]._text
    opcheck(OP, (torch.randn(2, 40), None, None, None, flat, 500.0, 3))
    opcheck(OP, (torch.ones(2, 3, 40, dtype=torch.int16), None, None, torch.ones(3), flat, 500.0, 3))


def test_compiles_in_one_graph():
    def f(x, r):
        return pc.augment(x * 2, PLANS["every"], fs=500, seed=3, rpeaks=r)

    ecg = torch.randn(2, 3, 40)
    out, peaks = torch.compile(f, fullgraph=True, backend="aot_eager")(ecg, R)
    want, new = f(ecg, R)
    assert torch.equal(out, want) and torch.equal(peaks.index, new.index)
