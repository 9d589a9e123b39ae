"""Stretches of exact zeros over all leads are missing samples, by a rule that can be switched off."""

import numpy as np
import pytest
from wfdb_files import LEADS, ecg_like, write_record

import physioclr as pc
from physioclr.data.zeros import zero_stretches

FS = 500.0


def ecg(rng):
    x = (ecg_like(rng) / 1000).astype(np.float32)
    x[x == 0] = 0.001
    return x


def test_the_rule(rng):
    """At least 0.2 s, every lead, exactly 0: 100 samples at 500 Hz."""
    x = ecg(rng)
    x[:, 1000:1100] = 0  # 0.2 s
    x[:, 2000:2099] = 0  # one sample less
    x[:11, 3000:3500] = 0  # not on all leads
    x[:, 4900:] = 0  # an end
    y = pc.data.zeros_as_missing(x, FS)
    gap = np.zeros(5000, bool)
    gap[1000:1100] = gap[4900:] = True
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(gap, y.shape))
    np.testing.assert_array_equal(y[:, ~gap], x[:, ~gap])
    assert not np.isnan(x).any()  # a copy
    assert np.isnan(pc.data.zeros_as_missing(x, FS, seconds=0.198)[:, 2050]).all()
    np.testing.assert_array_equal(pc.data.zeros_as_missing(np.stack([x, x]), FS), np.stack([y, y]))
    one = pc.data.zeros_as_missing(x[0], FS)  # a single lead is all there is
    assert np.isnan(one[3000:3500]).all() and np.isnan(one[1000:1100]).all() and not np.isnan(one[2050])


def test_what_is_no_gap(rng):
    x = ecg(rng)
    np.testing.assert_array_equal(pc.data.zeros_as_missing(x, FS), x)
    flat = x.copy()
    flat[4] = 0  # a lead that is off
    np.testing.assert_array_equal(pc.data.zeros_as_missing(flat, FS), flat)
    nothing = np.zeros((12, 5000))
    np.testing.assert_array_equal(pc.data.zeros_as_missing(nothing, FS), nothing)  # a flat record, not a missing one
    assert zero_stretches(np.zeros((12, 10), bool), FS, 0.2, ends=True) is None


def test_ends_of_any_length():
    zero = np.zeros((2, 1000), bool)
    zero[:, :3] = zero[:, -1:] = zero[:, 500:510] = True
    assert np.flatnonzero(zero_stretches(zero, FS, 0.2, ends=True)).tolist() == [0, 1, 2, 999]
    assert zero_stretches(zero, FS, 0.2) is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ecg": np.zeros((12, 100), np.int16)}, TypeError, "ecg is int16"),
        ({"ecg": np.float32(1)}, TypeError, "ecg is float32 of 0 dimensions"),
        ({"fs": 10}, ValueError, "fs is 10"),
        ({"seconds": 0}, ValueError, "seconds is 0"),
        ({"seconds": np.nan}, ValueError, "seconds is nan"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"ecg": np.zeros((12, 100), np.float32), "fs": FS, "seconds": 0.2} | change
    with pytest.raises(error, match=message):
        pc.data.zeros_as_missing(arguments["ecg"], arguments["fs"], seconds=arguments["seconds"])


def test_prepare_takes_them_as_missing(tmp_path, rng):
    """A gap of 2 s filled with zeros hides two beats: the interval over it is not an RR interval of 2.4 s."""
    x = ecg_like(rng)  # 75 beats per minute: one each 400 samples, at 120
    x[x == 0] = 1
    filled = x.copy()
    filled[:, 2000:3000] = 0
    baseline = filled + 100  # 0 mV is where the header's baseline is
    write_record(tmp_path / "src", "whole", x)
    write_record(tmp_path / "src", "filled", filled)
    write_record(tmp_path / "src", "baseline", baseline, gain="1000(100)/mV")
    gapped = filled.copy()
    gapped[:, 2000:3000] = -32768
    write_record(tmp_path / "src", "nan", gapped)
    pc.data.prepare(tmp_path / "src", tmp_path / "store")
    store = pc.data.open_store(tmp_path / "store")
    at = {name: i for i, name in enumerate(store.table["record_id"])}
    for name in ("filled", "baseline"):
        np.testing.assert_array_equal(store.read(at[name]), store.read(at["nan"]))
        np.testing.assert_array_equal(store.features(at[name]), store.features(at["nan"]))
    rmssd = pc.FEATURE_NAMES.index("rmssd")
    assert store.features(at["filled"])[:, rmssd].max() < 30
    pc.data.prepare(tmp_path / "src", tmp_path / "as-is", zero_seconds=0)
    as_is = pc.data.open_store(tmp_path / "as-is")
    assert not np.isnan(as_is.read(at["filled"])).any()
    assert as_is.features(at["filled"])[:, rmssd].max() > 100  # what the zeros do


def test_another_signal_beside_the_leads_does_not_hide_a_gap(tmp_path, rng):
    x = np.vstack([ecg_like(rng), ecg_like(rng, 1)])
    x[:12, 2000:3000] = 0
    write_record(tmp_path / "src", "r", x, leads=[*LEADS, "resp"])
    pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert np.isnan(pc.data.open_store(tmp_path / "store").read(0)[:, 2000:3000]).all()
