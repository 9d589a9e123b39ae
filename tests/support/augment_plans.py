"""Plans of one field each, and of several, for the tests of augment."""

import numpy as np

import physioclr as pc

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
