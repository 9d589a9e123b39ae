"""Pretraining on a synthetic store: resuming to the bit, stopping, and every way a run can go wrong."""

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
from training_store import FS, SMALL, FakeStore, one_thread

from physioclr._files import file_entry
from physioclr.train import Config, TrainingDiverged, checkpoint, embed, open_run, pretrain
from physioclr.train.dataset import Segments, network_signal
from physioclr.train.files import json_text
from physioclr.train.metrics import read_metrics


@pytest.fixture(scope="module")
def store():
    return FakeStore(12)


single = pytest.fixture(autouse=True, scope="module")(one_thread)


def weights(run):
    return load_file(checkpoint.latest(Path(run)) / checkpoint.WEIGHTS)


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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


SUPPORT = str(Path(__file__).parents[1] / "support")
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
    code = KILLED.format(
        tests=str(Path(__file__).parents[1] / "support"), config=str(straight / "config.yaml"), out=str(out)
    )
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
    fields = json.loads((state / checkpoint.STATE).read_text())
    fields["files"][checkpoint.WEIGHTS] = file_entry(state / checkpoint.WEIGHTS)
    (state / checkpoint.STATE).write_text(json_text({k: v for k, v in fields.items() if k != "crc32"}))
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
    assert not list(tmp_path.iterdir())  # no folder is left of a run that did not begin
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="a file; it must be a folder"):
        pretrain(store, tmp_path / "file", SMALL)
    with pytest.raises(ValueError, match="is not a run folder"):
        open_run(tmp_path)


def test_two_pretrains_on_one_run(store, tmp_path):
    """The second is told so, whether it resumes or begins; the first is not touched, and leaves no lock behind."""
    seen = []

    def second(row):
        if row["step"] == 2:
            for resume in (True, False):
                with pytest.raises((ValueError, FileExistsError)) as error:
                    pretrain(store, tmp_path / "run", SMALL, resume=resume)
                seen.append(str(error.value))

    pretrain(store, tmp_path / "run", SMALL.replace(steps=3), progress=second)
    assert seen[0] == f"another `pretrain` is at work in {tmp_path / 'run'}" and "is not empty" in seen[1]
    assert not list((tmp_path / "run").glob(".*"))
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 3
    assert pretrain(store, tmp_path / "run", SMALL, resume=True).step == 20


def test_a_run_locked_by_another_process(store, tmp_path):
    """Two that begin at the same moment: the folder is still empty but for the lock."""
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('locked', flush=True); time.sleep(60)"
    )
    run = tmp_path / "run"
    run.mkdir()
    other = subprocess.Popen([sys.executable, "-c", code, str(run / ".pretrain.lock")], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(ValueError, match="another `pretrain` is at work in"):
            pretrain(store, run, SMALL)
        assert [p.name for p in run.iterdir()] == [".pretrain.lock"]
    finally:
        other.kill()
        other.communicate()
    assert pretrain(store, run, SMALL.replace(steps=1)).step == 1  # the system freed it


@pytest.mark.parametrize("where", ["training_features", "_fit", "describe"])
def test_a_run_stopped_before_its_first_step_keeps_its_configuration(store, tmp_path, monkeypatch, where):
    """Features take minutes, and Ctrl-C may come then: what was asked for must not become the defaults."""
    from physioclr.train import folder

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    owner = {"training_features": Segments, "_fit": folder.RunFolder, "describe": folder}[where]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, where, interrupted)
        pretrain(store, tmp_path / "run", SMALL)
    result = pretrain(store, tmp_path / "run", resume=True, stop_after=1)
    assert (result.steps, Config.load(tmp_path / "run" / "config.yaml")) == (20, SMALL)
    # nothing was trained yet: another configuration is no contradiction
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, where, interrupted)
        pretrain(store, tmp_path / "other", SMALL)
    assert pretrain(store, tmp_path / "other", SMALL.replace(steps=3), resume=True).steps == 3


def test_a_finished_run_has_nothing_to_resume(store, straight):
    result = pretrain(store, straight, SMALL, resume=True)
    assert (result.status, result.step) == ("finished", 20)


def test_embed(store, straight):
    whole = embed(straight, store)
    assert whole.shape == (12, 8) and whole.dtype == np.float32 and np.isfinite(whole).all()
    np.testing.assert_allclose(embed(straight, store, records=[3, 1, 2], batch_size=2), whole[[3, 1, 2]], atol=1e-5)
    other = FakeStore(10)
    other.fs = 250.0
    with pytest.raises(ValueError, match="the store is sampled at 250 Hz; the network's rate is 500 Hz"):
        embed(straight, other)


def test_embed_is_the_mean_of_the_segments(store, straight):
    run = open_run(straight)
    x = torch.from_numpy(network_signal(store.read(0), FS, 0.5)) / run.sd
    with torch.inference_mode():
        parts = [run.encoder(x[None, :, k : k + 2500]).pooled[0] for k in (0, 2500)]
    np.testing.assert_allclose(embed(run, store, records=[0])[0], torch.stack(parts).mean(0), atol=1e-5)
