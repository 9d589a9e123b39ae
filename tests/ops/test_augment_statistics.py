"""How what augment draws is distributed: strengths, probabilities, places; and that draws do not know of each other."""

import numpy as np
import pytest
from augment_plans import NOISES, ONE_FIELD, noise_of

import physioclr as pc
from physioclr.ops.augment.plan import FIELDS

N, FS = 2000, 500.0


def is_uniform(x, low, high):
    """Kolmogorov-Smirnov distance from the uniform distribution, against its 0.001 point."""
    x = np.sort((np.asarray(x) - low) / (high - low))
    assert x[0] >= -1e-6 and x[-1] <= 1 + 1e-6
    steps = np.arange(len(x) + 1) / len(x)
    return max(np.abs(x - steps[1:]).max(), np.abs(x - steps[:-1]).max()) < 1.95 / np.sqrt(len(x))


def records(n=N, leads=12, samples=200):
    t = np.arange(samples)
    ecg = np.sin(t / 7) + 0.01 * t + np.arange(1, leads + 1)[:, None]  # nothing that a time map would leave as it is
    return np.tile(ecg, (n, 1, 1)), np.tile(np.array([20, 60, 105, 140, 185]), (n, 1))


TOUCHES = {  # settings that show whenever the field acts
    "time_warp": dict(speed=(0.1, 0.3)), "rr_scale": dict(factor=(1.1, 1.3)), "crop": dict(kept=0.5),
    "time_mask": dict(spans=3, duration=0.05), "lead_dropout": dict(lead=1.0), "vcg_rotation": dict(angle=(5, 15)),
}  # fmt: skip


def touched(name, p, seed=1, n=N):
    ecg, r = records(n, samples=200 if name != "beat_shuffle" else 400)
    if name == "beat_shuffle":  # many beats: the order drawn is hardly ever the one they had
        r = np.tile(np.arange(10, 400, 12) + np.arange(33) % 5, (n, 1))
    plan = pc.Augment(**{name: FIELDS[name](p=p, **TOUCHES.get(name, {}))})
    out, _ = pc.augment(ecg, plan, fs=FS, seed=seed, rpeaks=r)
    return (out != ecg).any((1, 2))


@pytest.mark.parametrize("name", FIELDS)
def test_probability(name):
    for p in (0.3, 1.0):
        assert abs(touched(name, p, n=800).mean() - p) <= 5 * np.sqrt(p * (1 - p) / 800)


def test_fields_seeds_and_neighbours_decide_independently():
    hits = [
        touched(name, 0.5) for name in ("amplitude_scale", "gaussian_noise", "powerline", "baseline_wander", "crop")
    ]
    hits += [touched("amplitude_scale", 0.5, seed) for seed in (2, 3, 2**33 + 1)]
    hits += [np.roll(hits[0], k) for k in (1, 2, 7)]
    c = np.corrcoef(np.array(hits, float))
    assert np.abs(c[np.triu_indices(len(hits), 1)]).max() < 5 / np.sqrt(N)


def test_gain():
    ecg = np.ones((N, 1, 1))
    gain = pc.augment(ecg, pc.Augment(amplitude_scale=pc.AmplitudeScale(p=1, gain=(0.8, 1.25))), fs=FS, seed=1)[0]
    assert is_uniform(gain.ravel(), 0.8, 1.25)


def test_gaussian_sd():
    x = noise_of("gaussian_noise", pc.GaussianNoise(p=1, sd=(0.1, 0.5)), (N, 1, 4000)).astype(np.float32)
    assert is_uniform(x.std((1, 2)).clip(0.1, 0.5), 0.1, 0.5)  # known to 1 %


def test_rr_factor():
    r = np.tile(np.arange(100, 4000, 400), (N, 1))
    plan = pc.Augment(rr_scale=pc.RrScale(p=1, factor=(0.85, 1.15)))
    _, peaks = pc.augment(np.zeros((N, 1, 5000)), plan, fs=FS, seed=1, rpeaks=r)
    assert is_uniform(((peaks.index[:, 8] - 100) / 3200).clip(0.85, 1.15), 0.85, 1.15)


def test_warp_speed_and_course():
    t = np.arange(1000.0)
    plan = pc.Augment(time_warp=pc.TimeWarp(p=1, speed=(0.02, 0.1)))
    ramp, _ = pc.augment(np.tile(t, (N, 1)), plan, fs=FS, seed=1)
    waves = np.sin(np.pi * np.arange(1, 4)[:, None] * t / 999)
    shares = (ramp[:, 5:-5] - t[5:-5]) @ np.linalg.pinv(waves[:, 5:-5]) * np.pi * np.arange(1, 4) / 999
    assert is_uniform(np.abs(shares).sum(1).clip(0.02, 0.1), 0.02, 0.1)
    assert np.abs((shares > 0).mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(N)  # as often ahead as behind
    assert np.abs(np.corrcoef(np.sign(shares).T)[np.triu_indices(3, 1)]).max() < 5 / np.sqrt(N)


def test_crop_size_and_places():
    ramp = np.tile(np.arange(1.0, 4001.0), (N, 1))
    out, _ = pc.augment(ramp, pc.Augment(crop=pc.Crop(p=1, kept=(0.5, 0.9))), fs=FS, seed=1)
    width = (out != 0).sum(1)
    assert is_uniform(width / 4000, 0.5, 0.9)
    place = (out != 0).argmax(1)
    start = out[np.arange(N), place] - 1
    free = 4000 - width + 1
    assert is_uniform((place + 0.5) / free, 0, 1) and is_uniform((start + 0.5) / free, 0, 1)
    assert abs(np.corrcoef(place / free, start / free)[0, 1]) < 5 / np.sqrt(N)


def test_mask_lengths_and_places():
    plan = pc.Augment(time_mask=pc.TimeMask(p=1, duration=(0.1, 0.5), spans=1, most=1))
    out, _ = pc.augment(np.ones((N, 1, 4000)), plan, fs=FS, seed=1)
    length, place = (out == 0).sum((1, 2)), (out[:, 0] == 0).argmax(1)
    assert is_uniform(length / FS, 0.099, 0.501) and is_uniform((place + 0.5) / (4001 - length), 0, 1)
    some, _ = pc.augment(
        np.ones((N, 1, 4000)),
        pc.Augment(time_mask=pc.TimeMask(p=1, duration=0.02, spans=(1, 3), most=1)),
        fs=FS,
        seed=1,
    )
    lengths = (some == 0).sum((1, 2))  # ten samples a span, if they do not overlap
    assert all(abs((lengths == 10 * k).mean() - 1 / 3) < 0.06 for k in (1, 2, 3))


def test_rotation_angles():
    from physioclr.reference.augment import DOWER

    dipole = np.eye(3)
    i, ii = DOWER[0] @ dipole, DOWER[1] @ dipole
    ecg = np.vstack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, DOWER[2:] @ dipole])
    plan = pc.Augment(vcg_rotation=pc.VcgRotation(p=1, angle=(-40, 10)))
    out, _ = pc.augment(np.tile(ecg, (N, 1, 1)), plan, fs=FS, seed=1)
    m = np.linalg.pinv(DOWER) @ out[:, [0, 1, 6, 7, 8, 9, 10, 11]]  # Rz Ry Rx
    angles = [np.arctan2(m[:, 2, 1], m[:, 2, 2]), -np.arcsin(m[:, 2, 0]), np.arctan2(m[:, 1, 0], m[:, 0, 0])]
    assert all(is_uniform(np.degrees(a), -40, 10) for a in angles)
    assert np.abs(np.corrcoef(angles)[np.triu_indices(3, 1)]).max() < 5 / np.sqrt(N)


def tones_of(x, frequency, fs):
    """Complex amplitudes of tones in (..., T) at these cycles per second: least squares."""
    t = np.arange(x.shape[-1]) / fs
    basis = np.exp(2j * np.pi * np.asarray(frequency)[:, None] * t)
    both = np.vstack([basis.real, basis.imag])
    c = x @ np.linalg.pinv(both)
    return c[..., : len(frequency)] - 1j * c[..., len(frequency) :]


def test_powerline_amplitude_phase_and_coupling():
    field = pc.Powerline(p=1, amplitude=(0.01, 0.03), frequency=50)
    x = noise_of("powerline", field, (N, 3, 250))
    a = tones_of(x, (50, 100, 150), FS)
    total = np.abs(a).sum(-1)  # amplitude of the record times the coupling of the lead
    assert np.abs(total.mean() / (0.02 * 0.75) - 1) < 0.02 and total.max() <= 0.03 and total.min() >= 0.005
    phase = np.angle(a) / (2 * np.pi)
    assert all(is_uniform(phase[:, lead, k], -0.5, 0.5) for lead in range(3) for k in range(3))
    c = np.corrcoef(np.exp(2j * np.pi * phase.reshape(N, 9)).T)
    assert np.abs(c[np.triu_indices(9, 1)]).max() < 5 / np.sqrt(N)
    second = np.abs(a[..., 1]) / np.abs(a[..., 0])
    assert is_uniform(second[:, 0], 0, 0.1) and is_uniform(np.abs(a[:, 0, 2] / a[:, 0, 0]), 0, 0.3)


def test_wander_amplitude_and_phase():
    """One tone of a band of no width: all three tones of the wander add up in it."""
    x = noise_of("baseline_wander", pc.BaselineWander(p=1, amplitude=(0.1, 0.2), band=0.3), (N, 3, 1000), fs=100)
    a = tones_of(x, (0.3,), 100)[..., 0]
    assert np.abs(a).max() <= 0.2 and is_uniform(np.angle(a[:, 0]), -np.pi, np.pi)
    assert np.abs(np.corrcoef(a.T)[np.triu_indices(3, 1)]).max() < 5 / np.sqrt(N)
    # E |a|^2 = E A^2 sum of E w^2, where the weights w are those of the tones
    w = np.random.default_rng(0).uniform(0.25, 1, (200_000, 3))
    w /= w.sum(1, keepdims=True)
    want = (0.2**3 - 0.1**3) / 0.3 * (w**2).sum(1).mean()
    assert abs((np.abs(a) ** 2).mean() / want - 1) < 0.05


def test_muscle_noise_moments_and_lags():
    x = noise_of("muscle_noise", pc.MuscleNoise(p=1, rms=0.04), (400, 2, 2000))
    x = x / np.sqrt((x**2).mean((1, 2), keepdims=True))
    assert abs(x.mean()) < 5 / np.sqrt(x.size)
    assert abs((x**3).mean()) < 0.1
    for lag in (30, 64, 100, 257, 512):  # the splines reach over 14 samples: beyond, nothing is left
        assert abs((x[..., lag:] * x[..., :-lag]).mean()) < 0.02
    assert (x[..., 4:] * x[..., :-4]).mean() < -0.1  # half a turn of the carrier, 70 Hz at 500 Hz
    strength = noise_of("muscle_noise", pc.MuscleNoise(p=1, rms=(0.01, 0.04)), (1000, 1, 2500))
    top = np.sqrt((strength.reshape(1000, 25, 100) ** 2).mean(2)).max(1)
    assert 0.75 * 0.025 * 0.8 < top.mean() < 0.75 * 0.025 * 1.5  # tenths of seconds scatter


@pytest.mark.parametrize("name", NOISES)
def test_views_records_and_leads_are_independent(name):
    shape = (6, 3, 6000)
    a, b = (noise_of(name, ONE_FIELD[name], shape, seed=s).reshape(18, -1) for s in (1, 2))
    c = np.corrcoef(np.vstack([a, b]))
    free = c[np.triu_indices(36, 1)]
    # Tones of one frequency are not orthogonal over a few periods; over the pairs their correlations cancel.
    limit = {"gaussian_noise": 0.06, "muscle_noise": 0.25}.get(name, 1.0)
    assert np.abs(free).max() <= limit and abs(free.mean()) < 0.12
