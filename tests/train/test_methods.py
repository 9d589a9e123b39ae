"""Training at a lower rate, with labels, without a network, with predicted features; and the shipped encoder."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import torch
from safetensors.torch import load_file
from training_store import FS, FakeStore, one_thread

from physioclr.train import Config, checkpoint, dataset, embed, open_run, pretrain
from physioclr.train.dataset import Segments, feature_columns, network_signal
from physioclr.train.metrics import read_metrics

SMALL = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=20, checkpoint_every=5, seed=3,
               feature_components=10)  # fmt: skip

single = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(scope="module")
def store():
    return FakeStore(12)


class Identity:
    """A feature space that only fills the gaps."""

    def transform(self, features):
        return np.nan_to_num(features)


def weights(run):
    return load_file(checkpoint.latest(Path(run)) / checkpoint.WEIGHTS)


# ---- a lower rate in front of the network, and methods that need labels or no network -----------------------------


def test_decimated_signal_is_low_passed(rng):
    time = np.arange(5000) / FS
    kept, gone = np.sin(2 * np.pi * 10 * time), np.sin(2 * np.pi * 110 * time)
    x = np.stack((kept, gone, kept)).astype(np.float32)
    x[2, 1000:1203] = np.nan
    y = network_signal(x, FS, 0.5, 4)
    assert y.shape == (3, 1250) and y.dtype == np.float32
    middle = slice(250, 1000)
    np.testing.assert_allclose(y[0, middle], kept[::4][middle], atol=0.02)
    assert np.abs(y[1, middle]).max() < 0.02  # it would alias to 15 Hz
    assert np.array_equal(np.isnan(y), np.isnan(x[:, ::4]))


def zero_phase_by_definition(x, b, a, state, pad):
    """Sample after sample in double precision: direct form II transposed, the ends continued by point reflection."""
    x = x.astype(np.float64)
    y = np.concatenate([2 * x[:, :1] - x[:, pad:0:-1], x, 2 * x[:, -1:] - x[:, -2 : -pad - 2 : -1]], axis=1)
    for _ in range(2):
        z1, z2 = state[0] * y[:, 0], state[1] * y[:, 0]
        for t in range(y.shape[1]):
            u = y[:, t].copy()
            v = b[0] * u + z1
            z1 = b[1] * u - a[1] * v + z2
            z2 = b[2] * u - a[2] * v
            y[:, t] = v
        y = y[:, ::-1]
    return y[:, pad : pad + x.shape[1]].astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leads", [1, 2, 3, 5, 12, 16, 17, 35])
@pytest.mark.parametrize(("samples", "pad"), [(2, 1), (777, 776), (1500, 250), (700, 0)])
def test_the_bits_of_the_high_pass(rng, dtype, leads, samples, pad):
    b, a, state = dataset._filter(0.67, 125.0)
    x = (rng.normal(size=(leads, samples)) + 3).astype(dtype)
    got = dataset.zero_phase(x, b, a, state, pad)
    np.testing.assert_array_equal(got, zero_phase_by_definition(x, b, a, state, pad))
    theirs = scipy.signal.sosfiltfilt(np.concatenate([b, a])[None], x.astype(np.float64), padlen=pad)
    np.testing.assert_allclose(got, theirs, atol=1e-6)


def test_decimation_keeps_peaks_and_segments_in_place(store, tmp_path):
    slow = Segments(store, SMALL.replace(decimate=4))
    slow.feature_space = Identity()
    fast = Segments(store, SMALL)
    fast.feature_space = Identity()
    assert (slow.fs, slow.samples) == (125.0, 625) and np.array_equal(slow.pairs, fast.pairs)
    a, b = slow.batch(np.arange(4)), fast.batch(np.arange(4))
    assert a.ecg.shape == (8, 12, 625)
    assert torch.equal(a.rpeaks >= 0, b.rpeaks >= 0) and torch.equal(
        a.rpeaks[a.rpeaks >= 0], b.rpeaks[b.rpeaks >= 0] // 4
    )
    assert torch.equal(a.features, b.features) and torch.equal(a.sample_id, b.sample_id)
    run = pretrain(store, tmp_path / "run", SMALL.replace(decimate=4, steps=2)).path
    assert embed(run, store).shape == (12, 8)
    with pytest.raises(ValueError, match="decimate is 3; it must divide the 2500 samples"):
        pretrain(store, tmp_path / "a", SMALL.replace(decimate=3))
    with pytest.raises(ValueError, match=r"decimate is 20; .* at least 50 Hz"):
        pretrain(store, tmp_path / "b", SMALL.replace(decimate=20))


def test_supervised_learns_its_labels(tmp_path):
    fake = FakeStore(30)
    fake.labels["shape"] = (("fast", "tall", "none"), fake.labels["shape"][1] * np.array([1, 1, 0], np.uint8))
    fake.labelled["shape"][[4, 7]] = False
    config = SMALL.replace(method="supervised", scheme="shape", steps=60, lr=1e-2, augment="none",
                           channels=[16, 16], decimate=4, batch_size=16)  # fmt: skip
    rows = []
    pretrain(fake, tmp_path / "run", config, progress=rows.append)
    assert np.mean([r["loss"] for r in rows[-10:]]) < 0.6 * rows[0]["loss"]
    assert weights(tmp_path / "run")["projection.weight"].shape == (2, 16)
    used = Segments(fake, config)
    assert not {4, 7} & set(used.pairs[:, 0]) and used.classes == ("fast", "tall")
    assert embed(tmp_path / "run", fake).shape == (30, 16)
    with pytest.raises(ValueError, match="scheme is 'x'; the store has 'shape'"):
        pretrain(fake, tmp_path / "other", config.replace(scheme="x"))


def test_features_as_a_method(store, tmp_path):
    result = pretrain(store, tmp_path / "run", SMALL.replace(method="features"))
    assert (result.step, result.status) == (0, "finished")
    values = embed(tmp_path / "run", store)
    run = open_run(tmp_path / "run")
    rows = run.feature_space().transform(
        store.features(0)[:, feature_columns(store.feature_leads, ["II", "V1", "V5"], "segment")]
    )
    assert values.shape == (12, 10)
    np.testing.assert_allclose(values[0], rows.mean(0), rtol=1e-5, atol=1e-6)


def test_predicting_the_features_makes_the_embedding_hold_them(tmp_path):
    fake = FakeStore(40)
    config = SMALL.replace(gamma=1.0, steps=60, lr=1e-2, augment="none", channels=[16, 16], decimate=4, batch_size=32)
    rows = []
    pretrain(fake, tmp_path / "run", config, progress=rows.append)
    assert rows[0]["prediction"] == pytest.approx(1, abs=0.4)  # of the mean
    assert rows[-1]["prediction"] < 0.75 * rows[0]["prediction"]
    assert read_metrics(tmp_path / "run" / "metrics.csv")[-1]["prediction"] == pytest.approx(rows[-1]["prediction"])
    assert weights(tmp_path / "run")["predictor.weight"].shape == (10, 16)


def test_rows_without_features_are_not_predicted(store, tmp_path):
    from physioclr.train.distributed import world
    from physioclr.train.pretrain import Trainer

    with world(False) as alone:
        trainer = Trainer(store, tmp_path / "run", SMALL.replace(gamma=1.0), False, None, alone)
    f = torch.randn(6, 10)
    f[2] = 0
    scale = trainer.segments.feature_space.explained_variance.mean() ** 0.5
    predicted = torch.randn(6, 10)
    expected = (predicted - f / scale)[[0, 1, 3, 4, 5]].square().mean()

    def error(features):
        target = trainer.method.target(SimpleNamespace(features=features))
        return trainer.method.prediction_error(predicted, *target)

    assert error(f) == pytest.approx(float(expected), rel=1e-5)
    assert error(torch.zeros(6, 10)) == 0


# ---- the shipped encoder ------------------------------------------------------------------------------------------


def test_the_shipped_encoder_embeds_real_records(tmp_path):
    import physioclr as pc

    run = open_run("pretrained")
    size = sum(f.stat().st_size for f in run.path.rglob("*") if f.is_file())
    assert size < 10e6 and (run.path / "ORIGIN.md").is_file() and len(run.record_ids) == 13_069
    assert "CC BY 4.0" in (run.path / "ORIGIN.md").read_text(encoding="utf-8") and run.shipped
    store = pc.data.sample_store(tmp_path / "sample")
    embeddings = embed("pretrained", store)
    assert embeddings.shape == (80, run.encoder.width) and np.isfinite(embeddings).all()
    # what it learnt without labels tells normal records from others
    normal = store.labels["ptbxl_superclass"][1][:, 0] == 1
    distance = np.linalg.norm(embeddings - embeddings[normal].mean(0), axis=1)
    assert np.median(distance[~normal]) > np.median(distance[normal])
