"""What would give numbers that look right: axes in the other order, other units, leads in another order."""

import warnings

import numpy as np
import pytest
import torch

import physioclr as pc
from physioclr.ops._checks import STANDARD_LEADS

OPS = {
    "detect_rpeaks": lambda x, fs=500: pc.detect_rpeaks(x, fs),
    "delineate": lambda x, fs=500: pc.delineate(x, fs, np.zeros((len(x), 0), np.int32)),
    "physio_features": lambda x, fs=500: pc.physio_features(x, fs),
}


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("shape, turned", [
    ((5000, 12), "ecg.T"), ((5000, 2), "ecg.T"), ((650_000, 2), "ecg.T"), ((500, 499), "ecg.T"),
    ((1, 5000, 12), "ecg.swapaxes"), ((3, 5000, 1), "ecg.swapaxes"),
])  # fmt: skip
@pytest.mark.parametrize("op", OPS)
def test_samples_before_leads_are_refused(op, shape, turned, to):
    with pytest.raises(ValueError, match=rf"it must be \(records, samples\) or .*samples, leads\), pass {turned}"):
        OPS[op](to(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("shape", [(12, 5000), (2, 150), (1, 1), (300, 500), (40, 15), (1000, 12, 2500), (2, 3, 0)])
@pytest.mark.parametrize("op", OPS)
def test_records_before_samples_are_not(op, shape):
    x = np.zeros(shape, np.float32)
    if len(shape) == 2 or op == "detect_rpeaks" or shape[1] == 12:
        OPS[op](x)


def beats(scale):
    t = np.arange(5000) / 500
    x = np.exp(-(((t % 0.8 - 0.4) / 0.02) ** 2)) + 0.2 * np.exp(-(((t % 0.8 - 0.65) / 0.05) ** 2))
    return (scale * np.stack([x] * 12)[None]).astype(np.float32)


@pytest.mark.parametrize("op", ["delineate", "physio_features"])
@pytest.mark.parametrize("scale, unit", [(1000.0, "uV"), (1e-3, "V")])
@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
def test_another_unit_is_warned_of_once_a_call(op, scale, unit, to):
    message = f"{op}: ecg has a median peak-to-peak of .* in {unit}. Pass unit='{unit}'"
    with pytest.warns(UserWarning, match=message) as said:
        OPS[op](to(np.repeat(beats(scale), 9, axis=0)))
    assert len(said) == 1


@pytest.mark.parametrize("scale, unit", [(1000.0, "uV"), (1000.0, "µV"), (1e-3, "V"), (1e6, "nV")])
@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy])
def test_a_named_unit_gives_the_values_of_millivolts(scale, unit, to):
    peaks = pc.detect_rpeaks(beats(1.0), 500)
    want = pc.physio_features(beats(1.0), 500, peaks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = pc.physio_features(to(beats(scale)), 500, to(peaks.index), unit=unit)
        waves = pc.delineate(to(beats(scale)), 500, to(peaks.index), unit=unit)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-4, atol=1e-4)
    for a, b in zip(waves, pc.delineate(beats(1.0), 500, peaks), strict=True):
        assert np.abs(np.asarray(a) - b).max() <= 1
    with pytest.raises(ValueError, match="unit is 'adu'; it must be one of"):
        pc.physio_features(beats(1.0), 500, unit="adu")


def test_leads_go_by_their_names():
    """V1..V6 first, as some recorders write them: lead "II" is what is called so."""
    rng = np.random.default_rng(1)
    x = beats(1.0) * rng.uniform(0.3, 2.0, (1, 12, 1)).astype(np.float32)
    order = [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]
    names, y = [STANDARD_LEADS[i] for i in order], x[:, order]
    peaks = pc.detect_rpeaks(x, 500)
    for lead in ("II", "V2", "avl", ["V1", "II"], "mean", 3):
        want = pc.physio_features(x, 500, peaks, lead=order[lead] if lead == 3 else lead)
        np.testing.assert_array_equal(pc.physio_features(y, 500, peaks, lead=lead, leads=names), want)
    default = pc.physio_features(y, 500, peaks, leads=names)
    np.testing.assert_array_equal(default, pc.physio_features(x, 500, peaks, lead="II"))
    two = pc.delineate(x[:, [1, 6]], 500, peaks, lead="V1", leads=["MLII", "V1"])
    np.testing.assert_array_equal(two.t_peak, pc.delineate(x, 500, peaks, lead="V1").t_peak)
    with pytest.raises(ValueError, match="lead is 'II'; it must be one of leads, MLII, V1"):
        pc.delineate(x[:, [1, 6]], 500, peaks, leads=["MLII", "V1"])
    with pytest.raises(ValueError, match="leads has 2 names; it must have 12, as ecg has leads"):
        pc.delineate(x, 500, peaks, leads=["MLII", "V1"])


def test_twelve_rows_are_not_twelve_leads():
    x = beats(1.0)
    for op in (pc.physio_features, lambda x, fs, **k: pc.delineate(x, fs, np.zeros((len(x), 0), np.int32), **k)):
        with pytest.raises(ValueError, match=r"ecg has shape \(12, 5000\), 12 records of one lead each; .*ecg\[None\]"):
            op(x[0], 500, lead="II")
        op(x[0], 500)
        op(x[:, 0], 500, lead="II")  # one record of one lead


def test_records_of_different_lengths_are_told():
    with pytest.raises(ValueError, match=r"ecg is a list of records of shapes \(12, 400\), \(12, 500\); .* one by one"):
        pc.detect_rpeaks([np.zeros((12, 500)), np.zeros((12, 400))], 500)
    with pytest.raises(ValueError, match=r"ecg is a list of records of shapes \(2,\), \(3,\); it must be one array"):
        pc.detect_rpeaks([[1.0, 2, 3], [1.0, 2]], 500)
