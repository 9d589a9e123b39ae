"""What gives numbers that look right from augment and shuffle_beats: axes, units, the same noise for every record."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import physioclr as pc
from physioclr.ops.augment import told

NOISE = pc.Augment(gaussian_noise=pc.GaussianNoise(p=1.0, sd=(0.02, 0.02)))
MASK = pc.Augment(amplitude_scale=pc.AmplitudeScale(p=1.0))
NO_PEAKS = np.zeros((1, 0), np.int32)


def ecg(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("shape, turned", [((5000, 12), "ecg.T"), ((650_000, 2), "ecg.T"), ((1, 5000, 12), "swapaxes")])
def test_samples_before_leads_are_refused(shape, turned, to, rng):
    x = to(ecg(rng, *shape))
    with pytest.raises(ValueError, match=turned):
        pc.augment(x, NOISE, fs=500, seed=0)
    with pytest.raises(ValueError, match=turned):
        pc.augment(x, NOISE, fs=500, seed=0, out=to(np.empty(shape, np.float32)))
    with pytest.raises(ValueError, match=turned):
        pc.shuffle_beats(x, to(np.zeros((shape[0], 0), np.int32)), seed=0)


@pytest.mark.parametrize("shape", [(12, 5000), (500, 499), (40, 15), (2, 3, 0), (600, 100)])
def test_short_records_are_not(shape, rng):
    pc.augment(ecg(rng, *shape), NOISE, fs=500, seed=0)


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("factor, unit", [(1000.0, "uV"), (1e-3, "V")])
def test_another_unit_is_warned_of_where_noise_is_added(factor, unit, to, rng):
    x = to(0.25 * factor * ecg(rng, 2, 12, 1000))
    for out in (None, to(np.empty((2, 12, 1000), np.float32))):
        with pytest.warns(UserWarning, match=f"augment: ecg has a median .* in {unit}. Pass unit='{unit}'") as said:
            pc.augment(x, NOISE, fs=500, seed=0, out=out)
        assert len(said) == 1
    pc.augment(x, MASK, fs=500, seed=0)  # the same in every unit: nothing to warn of


def test_raw_samples_are_looked_at_through_their_scale(rng):
    raw = (1000 * ecg(rng, 2, 12, 1000)).astype(np.int16)
    pc.augment(raw, NOISE, fs=500, seed=0, scale=0.001)
    pc.augment(raw, NOISE, fs=500, seed=0, scale=np.full(12, 0.001))
    with pytest.warns(UserWarning, match="in uV"):
        pc.augment(raw, NOISE, fs=500, seed=0, scale=1.0)
    with pytest.raises(ValueError, match="unit is 'uV', but int16 samples have scale"):
        pc.augment(raw, NOISE, fs=500, seed=0, scale=0.001, unit="uV")


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("factor, unit", [(1000.0, "uV"), (1e-3, "V"), (1e6, "nV")])
def test_a_named_unit_gives_the_result_in_it(factor, unit, to, rng):
    x = ecg(rng, 2, 12, 1000)
    want = factor * pc.augment(x, NOISE, fs=500, seed=3)[0]
    given = to((factor * x).astype(np.float32))
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * factor}
    np.testing.assert_allclose(pc.augment(given, NOISE, fs=500, seed=3, unit=unit)[0], want, **tolerance)
    out = to(np.empty_like(x))
    assert pc.augment(given, NOISE, fs=500, seed=3, unit=unit, out=out)[0] is out
    np.testing.assert_allclose(out, want, **tolerance)
    with pytest.raises(ValueError, match="unit is 'adu'; it must be one of"):
        pc.augment(given, NOISE, fs=500, seed=3, unit="adu")


def test_a_named_unit_keeps_the_gradient(rng):
    x = torch.from_numpy(1000 * ecg(rng, 1, 12, 1000)).requires_grad_()
    y, _ = pc.augment(x, NOISE, fs=500, seed=3, unit="uV")
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


class Records(Dataset):
    """Augments one record at a time; an item is how often it was warned."""

    def __init__(self, given, shuffle=False):
        self.given, self.shuffle = given, shuffle

    def __len__(self):
        return 6

    def __getitem__(self, i):
        x = torch.randn(1, 2, 1000)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            given = self.given(i)
            if self.shuffle:
                pc.shuffle_beats(x, torch.zeros((1, 0), dtype=torch.int32), **given)
            else:
                pc.augment(x, NOISE, fs=500, **given)
        return sum("draws the same numbers" in str(w.message) for w in said)


def same(i):
    return {"seed": 0}


def named(i):
    return {"seed": 0, "sample_id": torch.tensor([i])}


def seeded(i):
    return {"seed": i}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("given, expected", [(same, [0, 1, 0, 0, 0, 0]), (named, [0] * 6), (seeded, [0] * 6)])
def test_the_same_numbers_for_every_record_of_a_dataset(given, expected, shuffle, monkeypatch):
    monkeypatch.setattr(told, "_warned", False)
    told._recent.clear()
    loader = DataLoader(Records(given, shuffle), batch_size=None, num_workers=1)
    assert [int(n) for n in loader] == expected


def test_outside_of_a_worker_one_record_is_one_record(rng):
    for _ in range(3):
        pc.augment(ecg(rng, 1, 12, 1000), NOISE, fs=500, seed=0)
