"""What training reads: segments, their pairs and groups, the high-pass, the sampler, batches and their views."""

import numpy as np
import pytest
import torch
from training_store import FS, FakeStore, one_thread

from physioclr.train import Config, embed, pretrain
from physioclr.train.dataset import Sampler, Segments, feature_columns, group_ids, iterate, network_signal
from physioclr.train.views import make_views

SMALL = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=20, checkpoint_every=5, seed=3,
               feature_components=10)  # fmt: skip


@pytest.fixture(scope="module")
def store():
    return FakeStore(12)


single = pytest.fixture(autouse=True, scope="module")(one_thread)


class Identity:
    """A feature space that only fills the gaps."""

    def transform(self, features):
        return np.nan_to_num(features)


@pytest.fixture
def segments(store):
    segments = Segments(store, SMALL)
    segments.feature_space = Identity()
    return segments


def test_pairs_are_adjacent_and_short_records_left_out(segments):
    assert segments.left_out == 1 and 2 not in segments.records
    assert segments.pairs[segments.pairs[:, 0] == 1].tolist() == [[1, 0]]  # 16 s: three segments, one pair
    assert len(segments) == 11


def test_batch_is_the_segments_of_its_records(store, segments):
    batch = segments.batch(np.array([1, 3]))
    i, j = segments.pairs[[1, 3], 0]
    assert batch.record.tolist() == [i, i, j, j] and batch.segment.tolist() == [0, 1, 0, 1]
    assert batch.pair.tolist() == [1, 0, 3, 2]
    assert batch.ecg.shape == (4, 12, 2500)
    whole = torch.from_numpy(network_signal(store.read(int(i)), FS, 0.5))
    torch.testing.assert_close(batch.ecg[1], whole[:, 2500:5000])
    peaks = store.rpeaks(int(i))
    expected = peaks[(peaks >= 2500) & (peaks < 5000)] - 2500
    assert batch.rpeaks[1][batch.rpeaks[1] >= 0].tolist() == expected.tolist()
    raw = store.features(int(i))[:, feature_columns(store.feature_leads, ["II", "V1", "V5"], "segment")]
    np.testing.assert_array_equal(batch.features[:2], np.nan_to_num(raw)[:2])
    assert len(set(batch.sample_id.tolist())) == 4


def test_missing_samples_stay_missing(store, segments):
    row = list(segments.pairs[:, 0]).index(3)
    batch = segments.batch(np.array([row]))
    missing = ~torch.isfinite(batch.ecg[0])
    assert missing[4, 700:900].all() and missing.sum() == 200
    anchor, second = make_views(batch, SMALL.replace(augment="none", shuffle=False), 0, FS, 0.5)
    assert second is None and (anchor[0][missing] == 0).all()
    torch.testing.assert_close(anchor[0][~missing], batch.ecg[0][~missing] / 0.5)


def test_feature_columns(store):
    assert feature_columns(store.feature_leads, ["V1"], "all").tolist() == list(range(159, 318))
    assert feature_columns(store.feature_leads, ["V5", "II"], "segment").tolist() == [
        *range(418, 477),
        *range(100, 159),
    ]
    with pytest.raises(ValueError, match="feature_leads has 'V3'; the store holds features of II, V1, V5"):
        feature_columns(store.feature_leads, ["V3"], "all")


def test_groups_are_patients_where_known(store):
    g = group_ids(store)
    assert g[5] == g[6] and g[7] == g[8]
    assert len(set(g)) == 10


def test_groups_of_unknown_patients():
    fake = FakeStore(10)
    fake.table["patient_id"] = np.array(["", "", "a", "a", "a", "nan", "b", "b", "b", "b"])
    fake.table["source"] = np.array(["x", "x", "x", "x", "y", "x", "x", "x", "x", "x"])
    g = group_ids(fake)
    assert g[2] == g[3] and len(set(g)) == 6


def test_highpass_removes_drift_and_keeps_gaps(rng):
    time = np.arange(5000) / FS
    slow, fast = np.sin(2 * np.pi * 0.1 * time), np.sin(2 * np.pi * 8 * time)
    x = np.stack((slow + 2.0, fast, fast, np.full(5000, np.nan))).astype(np.float32)
    x[2, 1000:1200] = np.nan
    y = network_signal(x, FS, 0.5)
    middle = slice(1000, 4000)
    assert np.abs(y[0, middle]).max() < 0.1
    np.testing.assert_allclose(y[1, middle], fast[middle], atol=0.02)
    assert np.array_equal(np.isnan(y), np.isnan(x))
    seen = ~np.isnan(y[2])
    assert np.abs(y[2, seen]).max() < 1.5
    for n in (1, 2, 7):
        assert network_signal(x[:2, :n], FS, 0.5).shape == (2, n)


@pytest.mark.parametrize("dtype, length", [(np.float32, 5000), (np.float64, 2500), (np.float32, 300)])
def test_highpass_is_that_of_scipy(rng, dtype, length):
    import scipy.signal

    x = (rng.normal(size=(12, length)).cumsum(1) * 0.1).astype(dtype)
    sos = scipy.signal.butter(2, 0.5, "highpass", fs=FS, output="sos")
    truth = scipy.signal.sosfiltfilt(sos, x.astype(np.float64), axis=1, padlen=min(length - 1, 1000))
    before = x.copy()
    np.testing.assert_allclose(network_signal(x, FS, 0.5), truth, atol=2e-6 * np.abs(x).max())
    np.testing.assert_array_equal(x, before)  # the caller's samples stay as they are
    np.testing.assert_array_equal(network_signal(x[:, ::2], FS, 0.5), network_signal(x[:, ::2].copy(), FS, 0.5))


def test_sampler_visits_each_pair_once_an_epoch_and_needs_no_history():
    sampler = Sampler(23, 8, seed=1)
    assert sampler.batches_per_epoch == 5
    epoch = [sampler(k) for k in range(5)]
    assert len(set(np.concatenate(epoch))) == 20
    assert not np.array_equal(sampler(5), epoch[0])
    assert np.array_equal(Sampler(23, 8, seed=1)(3), epoch[3])
    assert not np.array_equal(Sampler(23, 8, seed=2)(3), epoch[3])
    assert sorted(Sampler(3, 8, seed=1)(0)) == [0, 1, 2]


def test_reading_ahead_changes_nothing_and_errors_arrive(store, segments):
    sampler = Sampler(len(segments), 8, 0)
    ahead = Segments(FakeStore(12), SMALL.replace(workers=2, cache_mb=0))
    now = Segments(store, SMALL.replace(workers=0))
    ahead.feature_space = now.feature_space = Identity()
    pairs = list(zip(iterate(ahead, sampler, 1, 6), iterate(now, sampler, 1, 6), strict=True))
    assert len(pairs) == 5 and not ahead.cache and now.cache
    for a, b in pairs:
        assert torch.equal(a.ecg.nan_to_num(), b.ecg.nan_to_num()) and torch.equal(a.sample_id, b.sample_id)

    def broken(i):
        raise OSError(f"record {i} cannot be read")

    ahead.filtered = broken
    with pytest.raises(OSError, match="cannot be read"):
        next(iterate(ahead, sampler, 0, 3))


def test_memory_for_filtered_records_is_bounded_and_shared(tmp_path):
    fake = FakeStore(12)
    limit = SMALL.replace(cache_mb=1)
    pretrain(fake, tmp_path / "run", limit.replace(steps=3))
    kept = Segments(fake, limit).cache
    assert kept.bytes == sum(x.nbytes for x in kept.values()) <= 2**20 and len(kept) >= 3  # 240 kB each, one 384
    x = embed(tmp_path / "run", fake)
    assert Segments(fake, limit.replace(highpass=0.4)).cache is not kept
    np.testing.assert_array_equal(embed(tmp_path / "run", FakeStore(12)), x)


def test_views_depend_on_the_segment_alone(segments):
    both, alone = segments.batch(np.array([4, 6])), segments.batch(np.array([6]))
    for c in (SMALL, SMALL.replace(method="simclr", augment="preserving")):
        for a, b in zip(make_views(both, c, 2, FS, 0.3), make_views(alone, c, 2, FS, 0.3), strict=True):
            torch.testing.assert_close(a[2:], b)
    masked = (make_views(both, SMALL, 2, FS, 0.3)[0] == 0).all(2)
    assert 0 < masked.sum() < masked.numel() and ((~masked).sum(1) >= 2).all()
