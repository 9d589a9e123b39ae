"""Stores at 100 and 250 Hz: samples stay as they were recorded, and what is measured knows the rate."""

import numpy as np
import pytest
from wfdb_files import ecg_like, write_record

import physioclr as pc
from physioclr.train import Config, embed, pretrain


@pytest.mark.parametrize("fs", [100, 250])
def test_a_store_keeps_the_rate_of_its_records(tmp_path, rng, fs):
    recorded = [ecg_like(rng, n_samples=10 * fs, fs=fs) for _ in range(4)]
    for k, units in enumerate(recorded):
        write_record(tmp_path / "src", f"r{k}", units, fs=fs)
    pc.data.prepare(tmp_path / "src", tmp_path / "store", fs=fs)
    store = pc.data.open_store(tmp_path / "store")
    assert store.fs == fs and "own_fs" not in {k for k, v in store.table.items() if np.any(np.asarray(v) != "")}
    x = np.stack([store.read(i) for i in range(4)]).astype(np.float32)
    assert x.shape == (4, 12, 10 * fs)
    np.testing.assert_array_equal(x, np.float32(1e-3) * np.stack(recorded))  # to the bit: nothing was resampled
    peaks = pc.detect_rpeaks(x, fs)
    features = pc.physio_features(x, fs, peaks, lead=["II", "V1", "V5"], segment=5.0)
    for i in range(4):
        np.testing.assert_array_equal(store.rpeaks(i), peaks.index[i, : peaks.count[i]])
        np.testing.assert_array_equal(store.features(i), features[i])


def test_the_network_trains_at_the_rate_of_the_store(tmp_path, rng):
    for k in range(4):
        write_record(tmp_path / "src", f"r{k}", ecg_like(rng, n_samples=1000, fs=100), fs=100)
    pc.data.prepare(tmp_path / "src", tmp_path / "store", fs=100)
    store = pc.data.open_store(tmp_path / "store")
    config = Config(channels=[8, 8], batch_size=4, steps=2, feature_components=3, beat_weight=1.0)
    run = pc.train.open_run(pretrain(store, tmp_path / "run", config).path)
    assert (run.info["fs"], run.info["samples"], run.config.decimate) == (100.0, 500, 1)
    assert embed(run, store).shape == (4, 8)
