"""Pretraining on a synthetic store: batches, resuming to the bit, stopping, and every way a run can go wrong."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_store import FS, FakeStore, one_thread

import physioclr as pc
from physioclr.train import Config, TrainingDiverged, checkpoint, embed, open_run, pretrain
from physioclr.train.dataset import Sampler, Segments, feature_columns, group_ids, iterate, network_signal
from physioclr.train.metrics import read_metrics
from physioclr.train.run import build_model
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


def weights(run):
    return load_file(checkpoint.latest(Path(run)) / checkpoint.WEIGHTS)


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---- segments and batches -----------------------------------------------------------------------------------------


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
    raw = store.features(int(i))[:, feature_columns(store, ["II", "V1", "V5"], "segment")]
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
    assert feature_columns(store, ["V1"], "all").tolist() == list(range(159, 318))
    assert feature_columns(store, ["V5", "II"], "segment").tolist() == [*range(418, 477), *range(100, 159)]
    with pytest.raises(ValueError, match="feature_leads has 'V3'; the store holds features of II, V1, V5"):
        feature_columns(store, ["V3"], "all")


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


# ---- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(store, tmp_path_factory):
    """20 steps without a stop, that every resumed run must equal."""
    out = tmp_path_factory.mktemp("straight") / "run"
    rows = []
    result = pretrain(store, out, SMALL, progress=rows.append)
    assert result.status == "finished" and result.step == result.steps == len(rows) == 20
    return out


def test_run_folder(straight):
    names = {p.name for p in straight.iterdir()}
    assert names == {
        "checkpoints",
        "config.yaml",
        "feature_space.npz",
        "loss.png",
        "metrics.csv",
        "records.txt",
        "run.json",
    }
    rows = read_metrics(straight / "metrics.csv")
    assert [r["step"] for r in rows] == list(range(1, 21))
    assert all(np.isfinite(r["loss"]) and np.isfinite(r["uniformity"]) for r in rows)
    for r in rows:
        total = r["contrastive"] + SMALL.alpha * r["reconstruction"] + SMALL.beta * r["peak"]
        assert r["loss"] == pytest.approx(total, abs=1e-4)
    assert [p.name for p in sorted((straight / "checkpoints").iterdir())] == ["step_0000000015", "step_0000000020"]
    assert len((straight / "records.txt").read_text().split()) == 11
    assert (straight / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert Config.load(straight / "config.yaml") == SMALL


def test_two_parts_are_the_whole_to_the_bit(store, straight, tmp_path):
    first = pretrain(store, tmp_path / "run", SMALL, stop_after=10)
    assert (first.step, first.status) == (10, "stopped")
    second = pretrain(store, tmp_path / "run", SMALL, resume=True)
    assert (second.step, second.status) == (20, "finished")
    assert same_weights(straight, tmp_path / "run")
    a, b = (read_metrics(p / "metrics.csv") for p in (straight, tmp_path / "run"))
    timed = ("segments_per_s", "seconds")
    assert [{k: v for k, v in r.items() if k not in timed} for r in a] == [
        {k: v for k, v in r.items() if k not in timed} for r in b
    ]


KILLED = """
import os, sys, torch
torch.set_num_threads(1)  # as the run it is compared with: the order of torch's sums follows the number of threads
sys.path.insert(0, {tests!r})
from training_store import FakeStore
from physioclr.train import pretrain, Config
config = Config.load({config!r})
pretrain(FakeStore(12), {out!r}, config, progress=lambda row: os._exit(9) if row["step"] == 13 else None)
"""


def test_killed_run_resumes_to_the_bit(store, straight, tmp_path):
    out = tmp_path / "run"
    code = KILLED.format(tests=str(Path(__file__).parent), config=str(straight / "config.yaml"), out=str(out))
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 9
    assert checkpoint.latest(out).name == "step_0000000010"
    assert len(read_metrics(out / "metrics.csv")) == 13
    half_written = out / "checkpoints" / ".step_0000000013.1.tmp"
    half_written.mkdir()
    result = pretrain(store, out, SMALL, resume=True)
    assert result.step == 20 and not half_written.exists()
    assert same_weights(straight, out)
    assert [r["step"] for r in read_metrics(out / "metrics.csv")] == list(range(1, 21))


def test_dropout_resumes_to_the_bit(store, tmp_path):
    c = SMALL.replace(encoder="transformer", width=16, layers=1, heads=2, ffn=16, steps=4, dropout=0.3, accumulate=2)
    pretrain(store, tmp_path / "a", c)
    pretrain(store, tmp_path / "b", c, stop_after=1)
    torch.rand(7)  # the caller's generator does not matter
    pretrain(store, tmp_path / "b", c, resume=True)
    assert same_weights(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_returns(store, straight, tmp_path, number):
    before = signal.getsignal(number)

    def interrupt(row):
        if row["step"] == 7:
            os.kill(os.getpid(), number)

    result = pretrain(store, tmp_path / "run", SMALL, progress=interrupt)
    assert (result.status, result.step) == ("interrupted", 7)
    assert checkpoint.latest(tmp_path / "run").name == "step_0000000007"
    assert signal.getsignal(number) is before
    assert "go on with resume" in str(result)


def test_second_ctrl_c_raises(store, tmp_path):
    def interrupt(row):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain(store, tmp_path / "run", SMALL, progress=interrupt)


def test_nan_stops_with_step_records_and_checkpoint(store, tmp_path):
    out = tmp_path / "run"
    config = SMALL.replace(warmup=0, schedule="constant", clip=0.0, checkpoint_every=1)
    pretrain(store, out, config, stop_after=2)
    good = weights(out)
    state = checkpoint.latest(out)
    # the weights that the next step starts from overflow: what a learning rate that is too high ends in
    from safetensors.torch import save_file

    save_file({k: v * 1e30 if k.startswith("projection") else v for k, v in good.items()}, state / checkpoint.WEIGHTS)
    with pytest.raises(TrainingDiverged) as caught:
        pretrain(store, out, config, resume=True)
    message = str(caught.value)
    report = json.loads((out / "diverged.json").read_text())
    assert "at step 3 of 20" in message and str(state) in message
    assert report["step"] == 3 and report["last_good"] == str(state)
    assert set(report["records"]) <= set(store.table["record_id"]) and all(r in message for r in report["records"][:8])
    assert checkpoint.latest(out) == state  # nothing was saved after it


def test_too_high_a_learning_rate_diverges_with_an_error(store, tmp_path):
    config = SMALL.replace(lr=1e30, warmup=0, clip=0.0, schedule="constant")
    with pytest.raises(TrainingDiverged, match="there is no checkpoint yet"):
        pretrain(store, tmp_path / "run", config)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "simclr", "augment": "preserving"},
        {"method": "cmsc"},
        {"mode": "supcon", "pair_reduction": "mean"},
        {"mode": "soft"},
        {"shuffle": False, "feature_pairs": False, "alpha": 0.0, "beta": 0.0},
        {
            "adjacent": False,
            "shuffle_cut": "tp",
            "augment": "preserving",
            "feature_set": "all",
            "feature_leads": ["II"],
        },
        {"shuffle": False, "beta": 0.0, "chunk": 5},
        {"gamma": 0.5, "chunk": 3},
        {"beat_weight": 2.0, "mode": "supcon"},
        {"beat_weight": 2.0, "chunk": 3, "resident": True},
        {"gamma": 0.5, "beta": 0.0},
        {"gamma": 0.5, "alpha": 0.0, "beta": 0.0},
        {"accumulate": 2, "amp": True, "optimizer": "adam", "norm": "group"},
    ],
    ids=lambda c: ",".join(map(str, c)),
)
def test_methods_and_ablations_run(store, tmp_path, changes):
    result = pretrain(store, tmp_path / "run", SMALL.replace(**{"steps": 2, **changes}))
    assert result.step == 2 and np.isfinite(result.metrics["loss"])
    if changes.get("beta") == 0:
        assert "peak" not in result.metrics
    if not changes.get("feature_pairs", True):
        assert result.metrics["positives"] == 0 and result.metrics["negatives"] > 0


def test_bfloat16_training_goes_where_float32_goes(store, tmp_path, monkeypatch):
    """The embeddings reach the loss as autocast made them, whole or by chunks, and their gradients come back."""
    # gradient descent: Adam would divide a wrong factor of the gradient out again
    monkeypatch.setattr(torch.optim, "AdamW", lambda parameters, lr, *_, **__: torch.optim.SGD(parameters, lr))
    contrastive, seen = pc.nn.HybridLoss.contrastive, set()

    def spy(self, anchor, views, *rest):
        seen.add((anchor.dtype, views.dtype))
        return contrastive(self, anchor, views, *rest)

    monkeypatch.setattr(pc.nn.HybridLoss, "contrastive", spy)
    plain = {"norm": "group", "warmup": 0, "schedule": "constant", "weight_decay": 0.0, "clip": 0.0}
    config = SMALL.replace(steps=10, lr=0.02, **plain)
    torch.manual_seed(config.seed)
    model = build_model(config, FS)
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()

    def moved(name, **changes):
        run = pretrain(store, tmp_path / name, config.replace(**changes)).path
        checkpoint.load_weights(checkpoint.latest(run), model)
        return torch.nn.utils.parameters_to_vector(model.parameters()).detach() - start

    single = moved("single")
    assert seen == {(torch.float32,) * 2}
    seen.clear()
    # 2 % by rounding; without the gradient of the views it is 8 %
    assert (moved("amp", amp=True) - single).norm() <= 0.04 * single.norm()
    assert (moved("chunks", amp=True, chunk=3) - single).norm() <= 0.04 * single.norm()
    assert seen == {(torch.bfloat16,) * 2}


@pytest.mark.parametrize("method", ["physioclr", "simclr", "cmsc"])
def test_chunks_have_the_gradient_of_the_whole_batch(store, tmp_path, method):
    config = SMALL.replace(method=method, norm="group", steps=1, warmup=0)
    rows = []
    for chunk in (0, 3):
        pretrain(store, tmp_path / str(chunk), config.replace(chunk=chunk), progress=rows.append)
    for k in rows[0]:
        if k not in ("seconds", "segments_per_s"):
            assert rows[0][k] == pytest.approx(rows[1][k], rel=1e-4, abs=1e-6), k


def test_random_trains_nothing(store, tmp_path):
    result = pretrain(store, tmp_path / "run", SMALL.replace(method="random"))
    assert (result.step, result.status) == (0, "finished")
    assert open_run(tmp_path / "run").record_ids == set()


def test_folds_and_records_are_kept_out(tmp_path):
    fake = FakeStore(12)
    fake.table["fold"] = np.arange(12) % 3
    pretrain(fake, tmp_path / "run", SMALL.replace(steps=1, exclude_folds=[1]), records=np.arange(9))
    assert open_run(tmp_path / "run").record_ids == {"r000", "r003", "r005", "r006", "r008"}


def test_errors_before_the_first_step(store, straight, tmp_path):
    with pytest.raises(FileExistsError, match="is not empty; resume"):
        pretrain(store, straight, SMALL)
    with pytest.raises(ValueError, match=r"another configuration: delta is 0\.5 and was 0\.25"):
        pretrain(store, straight, SMALL.replace(delta=0.5), resume=True)
    with pytest.raises(ValueError, match="the 5 records given now are not the same"):
        pretrain(store, straight, SMALL, resume=True, records=[0, 3, 4, 5, 6])
    with pytest.raises(ValueError, match="records goes from 0 to 12"):
        pretrain(store, tmp_path / "a", SMALL, records=[0, 12])
    with pytest.raises(ValueError, match="training needs at least two"):
        pretrain(store, tmp_path / "b", SMALL, records=[0])
    with pytest.raises(ValueError, match="device is 'gpu'"):
        pretrain(store, tmp_path / "c", SMALL.replace(device="gpu"))
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="a file; it must be a folder"):
        pretrain(store, tmp_path / "file", SMALL)
    with pytest.raises(ValueError, match="is not a run folder"):
        open_run(tmp_path)


def test_a_finished_run_has_nothing_to_resume(store, straight):
    result = pretrain(store, straight, SMALL, resume=True)
    assert (result.status, result.step) == ("finished", 20)


def test_embed(store, straight):
    whole = embed(straight, store)
    assert whole.shape == (12, 8) and whole.dtype == np.float32 and np.isfinite(whole).all()
    np.testing.assert_allclose(embed(straight, store, records=[3, 1, 2], batch_size=2), whole[[3, 1, 2]], atol=1e-5)
    other = FakeStore(10)
    other.fs = 250.0
    with pytest.raises(ValueError, match="the store is sampled at 250 Hz; the run was trained at 500 Hz"):
        embed(straight, other)


def test_embed_is_the_mean_of_the_segments(store, straight):
    run = open_run(straight)
    x = torch.from_numpy(network_signal(store.read(0), FS, 0.5)) / run.sd
    with torch.inference_mode():
        parts = [run.encoder(x[None, :, k : k + 2500]).pooled[0] for k in (0, 2500)]
    np.testing.assert_allclose(embed(run, store, records=[0])[0], torch.stack(parts).mean(0), atol=1e-5)
