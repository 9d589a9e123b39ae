"""The average beat of a segment, the space in which beats are compared, and training with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_store import FakeStore, one_thread

from physioclr.train import Config, pretrain
from physioclr.train.beats import BeatSpace, average_beat
from physioclr.train.run import BEATS

SMALL = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=6, checkpoint_every=3, seed=3,
               feature_components=10, beat_weight=2.0, mode="supcon")  # fmt: skip

single = pytest.fixture(autouse=True, scope="module")(one_thread)


def by_loops(ecg, rpeaks, before, after):
    """The definition, in float64."""
    out = np.full((*ecg.shape[:2], before + after), np.nan)
    for n in range(len(ecg)):
        beats = [ecg[n, :, r - before : r + after] for r in rpeaks[n] if r >= before and r + after <= ecg.shape[2]]
        for lead in range(ecg.shape[1]):
            for t in range(before + after):
                values = [b[lead, t] for b in beats if np.isfinite(b[lead, t])]
                if values:
                    out[n, lead, t] = np.mean(values)
    return out


@pytest.mark.parametrize("fs", [100.0, 125.0])
def test_average_beat_is_the_mean_of_whole_beats(rng, fs):
    before, after = round(0.3 * fs), round(0.5 * fs)
    ecg = rng.normal(size=(5, 3, 300))
    ecg[0, 1, 90:140] = np.nan
    ecg[4] = np.nan
    # the first beat of row 0 begins with the segment, the last one of row 1 ends with it, those beyond are cut
    rpeaks = np.array([[before, 110, 200, 299], [before - 1, 60, 300 - after, 300 - after + 1], [-1] * 4,
                       [150, -1, -1, -1], [100, 150, -1, -1]])  # fmt: skip
    found = average_beat(torch.from_numpy(ecg), torch.from_numpy(rpeaks.astype(np.int32)), fs).numpy()
    expected = by_loops(ecg, rpeaks, before, after)
    assert np.isnan(expected[[2, 4]]).all() and np.isfinite(expected[[1, 3]]).all()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_faster_signals_are_averaged_down(rng):
    ecg = np.repeat(rng.normal(size=(2, 3, 300)), 5, axis=2)
    rpeaks = np.array([[402, 900], [1001, -1]], np.int32)
    fast = average_beat(torch.from_numpy(ecg), torch.from_numpy(rpeaks), 500.0)
    slow = average_beat(torch.from_numpy(ecg[:, :, ::5].copy()), torch.from_numpy(rpeaks // 5), 100.0)
    assert fast.shape == (2, 3, 80)
    torch.testing.assert_close(fast, slow)


def test_a_segment_shorter_than_a_beat_has_none():
    assert average_beat(torch.ones(2, 3, 79), torch.full((2, 1), 30), 100.0).isnan().all()


def test_blocks_change_nothing(rng, monkeypatch):
    ecg, rpeaks = torch.from_numpy(rng.normal(size=(7, 2, 200))), torch.from_numpy(rng.integers(-1, 200, (7, 4)))
    whole = average_beat(ecg, rpeaks, 100.0)
    monkeypatch.setattr("physioclr.train.beats.BLOCK", 3)
    torch.testing.assert_close(average_beat(ecg, rpeaks, 100.0), whole, equal_nan=True)


def test_space_is_the_principal_components_of_scaled_beats(rng):
    beats = rng.normal(size=(60, 2, 5)) @ np.diag([9, 3, 1, 0.5, 0.1]) + 4
    space = BeatSpace.fit(beats, 3)
    z = (beats.reshape(60, -1) - beats.reshape(60, -1).mean(0)) / beats.reshape(60, -1).std(0)
    z = z.clip(-5, 5)
    z -= z.mean(0)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    expected = u[:, :3] * s[:3] / np.sqrt((s[:3] ** 2).sum() / 60)
    found = space.transform(torch.from_numpy(beats).float()).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-4)
    assert (found**2).sum(1).mean() == pytest.approx(1, rel=1e-4)


def test_missing_samples_count_as_average_and_missing_beats_as_nothing(rng, tmp_path):
    beats = rng.normal(size=(40, 2, 6)).astype(np.float32)
    beats[3, 1], beats[:, 0, 2], beats[5] = np.nan, 7.0, np.nan  # a lead, a constant column, a row
    space = BeatSpace.fit(beats, 4)
    filled = beats.copy()
    filled[3, 1] = np.nanmean(beats[:, 1], axis=0)
    a, b = (space.transform(torch.from_numpy(x)) for x in (beats, filled))
    torch.testing.assert_close(a[3], b[3], rtol=1e-4, atol=1e-5)
    assert (a[5] == 0).all() and a.isfinite().all()
    space.save(tmp_path / BEATS)
    assert torch.equal(BeatSpace.load(tmp_path / BEATS).transform(torch.from_numpy(beats)), a)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_space_is_named(tmp_path, content):
    if content is None:
        np.savez(tmp_path / "x.npz", format=np.array("another"))
    else:
        (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.npz' is not the beat space of a run"):
        BeatSpace.load(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError):
        BeatSpace.load(tmp_path / "none.npz")


def test_beats_decide_on_pairs_and_a_resumed_run_has_the_same_bits(tmp_path):
    from safetensors.torch import load_file

    from physioclr.train import checkpoint

    def weights(run):
        return load_file(checkpoint.latest(Path(run)) / checkpoint.WEIGHTS)

    store, rows = FakeStore(12), {}
    for weight in (0.0, 100.0):
        rows[weight] = []
        pretrain(store, tmp_path / str(weight), SMALL.replace(beat_weight=weight), progress=rows[weight].append)
    assert not (tmp_path / "0.0" / BEATS).exists() and (tmp_path / "100.0" / BEATS).is_file()
    # the beats of the fake records come in two shapes, and the features know no such thing
    assert rows[100.0][0]["positives"] != rows[0.0][0]["positives"]
    pretrain(store, tmp_path / "parts", SMALL.replace(beat_weight=100.0), stop_after=3)
    pretrain(store, tmp_path / "parts", SMALL.replace(beat_weight=100.0), resume=True)
    whole, parts = weights(tmp_path / "100.0"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)


def test_beats_without_feature_pairs_are_refused():
    with pytest.raises(ValueError, match="feature_pairs is false with beat_weight above 0"):
        Config(feature_pairs=False, beat_weight=1.0)
