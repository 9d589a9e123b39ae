"""Damaged files of a run: each is one line that names file and field, from Python and from the command line."""

import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_store import FakeStore, one_thread

from physioclr import cli
from physioclr.train import Config, DamagedFile, checkpoint, embed, open_run, pretrain

SMALL = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=4, checkpoint_every=2, seed=3,
               feature_components=10, beat_weight=1.0, gamma=1.0, target="kernel")  # fmt: skip

single = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(scope="module")
def store():
    return FakeStore(12)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    return pretrain(store, tmp_path_factory.mktemp("whole") / "run", SMALL, stop_after=2).path


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


class Evil:
    def __reduce__(self):
        return print, ("code of the file was run",)


def text(content):
    return lambda path: path.write_text(content)


def raw(content):
    return lambda path: path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def remove(path):
    path.unlink()


def changed(**values):
    """A JSON file with these values; None takes the field away."""

    def damage(path):
        fields = json.loads(path.read_text()) | values
        path.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))

    return damage


def tensors(change):
    def damage(path):
        found = load_file(path)
        change(found)
        save_file(found, path)

    return damage


def optimizer(change):
    def damage(path):
        found = torch.load(path, weights_only=True)
        change(found)
        torch.save(found, path)

    return damage


def arrays(**values):
    def damage(path):
        with np.load(path) as archive:
            found = dict(archive)
        np.savez(path, **found | values)

    return damage


WEIGHTS, OPTIMIZER, STATE = (
    f"checkpoints/step_0000000002/{k}" for k in ("model.safetensors", "optimizer.pt", "state.json")
)
STEM, HEAD = "encoder.stem.weight", "projection.0.weight"
NAN = float("nan")

OPENING = {  # what `embed` and `probe` read, and a resumed run too
    "weights cut short": (WEIGHTS, cut, "it is no safetensors file"),
    "weights empty": (WEIGHTS, raw(b""), "it is no safetensors file"),
    "weights NaN": (WEIGHTS, tensors(lambda t: t[STEM].view(-1)[5:6].fill_(NAN)), f"tensor {STEM} holds NaN"),
    "weights infinite": (WEIGHTS, tensors(lambda t: t[STEM].fill_(torch.inf)), f"tensor {STEM} holds NaN"),
    "a weight missing": (WEIGHTS, tensors(lambda t: t.pop(STEM)), f"it has no tensor {STEM}"),
    "a weight too much": (WEIGHTS, tensors(lambda t: t.update({"encoder.x": torch.ones(1)})), "no tensor encoder.x"),
    "a weight's shape": (WEIGHTS, tensors(lambda t: t.update({STEM: torch.ones(2, 2)})), rf"{STEM} has shape \(2, 2\)"),
    "state a list": (STATE, text("[]"), "it holds a list; it must be an object"),
    "state empty": (STATE, text(""), "it is not JSON"),
    "state without step": (STATE, text("{}"), "it has no field step"),
    "state's step a text": (STATE, changed(step="2"), "field step is '2'; it must be an integer"),
    "state's step another": (STATE, changed(step=3), "field step is 3; the folder is step_0000000002"),
    "state's seconds": (STATE, changed(seconds="long"), "field seconds is 'long'; it must be a number"),
    "info empty": ("run.json", text("{}"), "it has no field leads"),
    "info cut short": ("run.json", text('{"leads": ["I"'), "it is not JSON"),
    "info not UTF-8": ("run.json", raw(b'{"leads": "\xff"}'), "it is not JSON"),
    "info's leads": ("run.json", changed(leads="I, II"), "field leads is 'I, II'; it must be a list of lead names"),
    "SD 0": ("run.json", changed(input_sd=0), "field input_sd is 0; it must be a number above 0"),
    "SD NaN": ("run.json", changed(input_sd=NAN), "field input_sd is nan; it must be a number above 0"),
    "SD missing": ("run.json", changed(input_sd=None), "it has no field input_sd"),
    "fs a boolean": ("run.json", changed(fs=True), "field fs is True; it must be a number above 0"),
    "samples": ("run.json", changed(samples=-3), "field samples is -3; it must be an integer above 0"),
    "config no YAML": ("config.yaml", text("method: ["), "not valid YAML"),
    "config a list": ("config.yaml", text("- 1"), "holds a list"),
    "config's key": ("config.yaml", text("methd: cmsc"), "there is no key 'methd'"),
    "config's type": ("config.yaml", text("tau: hot"), "tau is 'hot'; it must be a number"),
    "config's range": ("config.yaml", text("tau: -1"), r"tau is -1\.0; it must be at least"),
}  # fmt: skip
RESUMING = {
    "optimizer empty": (OPTIMIZER, raw(b""), "it is no plain torch file"),
    "optimizer cut short": (OPTIMIZER, cut, "it is no plain torch file"),
    "optimizer pickled": (OPTIMIZER, raw(pickle.dumps(Evil())), "it is no plain torch file"),
    "optimizer with code": (OPTIMIZER, lambda p: torch.save({"state": Evil()}, p), "it is no plain torch file"),
    "optimizer missing": (OPTIMIZER, remove, "it is missing"),
    "optimizer a list": (OPTIMIZER, lambda p: torch.save([1], p), "it has no field state"),
    "optimizer without groups": (OPTIMIZER, optimizer(lambda o: o.pop("param_groups")), "it has no field param_groups"),
    "optimizer of fewer": (OPTIMIZER, optimizer(lambda o: o["param_groups"][0]["params"].pop()), "of other parameters"),
    "optimizer of more": (OPTIMIZER, optimizer(lambda o: o["state"].update({999: {}})), "has the key 999"),
    "optimizer's shape": (OPTIMIZER, optimizer(lambda o: o["state"][0].update(exp_avg=torch.ones(2))),
                          "exp_avg of parameter 0 is not finite, or not of the parameter's shape"),
    "optimizer NaN": (OPTIMIZER, optimizer(lambda o: o["state"][1]["exp_avg_sq"].fill_(NAN)),
                      "exp_avg_sq of parameter 1"),
    "head's weights NaN": (WEIGHTS, tensors(lambda t: t[HEAD].fill_(NAN)), f"tensor {HEAD} holds NaN"),
    "head's weight missing": (WEIGHTS, tensors(lambda t: t.pop(HEAD)), f"it has no tensor {HEAD}"),
    "checksum": ("run.json", changed(records_crc32="x"), "field records_crc32 is 'x'; it must be a checksum"),
    "features cut short": ("feature_space.npz", cut, "FeatureSpace"),
    "features missing": ("feature_space.npz", remove, "it is missing"),
    "beats cut short": ("beat_space.npz", cut, "beat space"),
    "beats NaN": ("beat_space.npz", arrays(offset=np.full(40, NAN, np.float32)), "beat space"),
    "beats missing": ("beat_space.npz", remove, "it is missing"),
    "kernel cut short": ("kernel_space.npz", cut, "kernel space"),
    "kernel's shapes": ("kernel_space.npz", arrays(matrix=np.ones((2, 3), np.float32)), "its arrays have the shapes"),
    "kernel missing": ("kernel_space.npz", remove, "it is missing"),
    "metrics no table": ("metrics.csv", text("a,b\n1,2\n"), "its first line is not that of metrics.csv"),
    "metrics' number": ("metrics.csv", lambda p: p.write_text(p.read_text().replace("\n1,", "\none,")),
                        "line 2, field step is 'one'; it must be a number"),
    "metrics not UTF-8": ("metrics.csv", lambda p: p.write_bytes(p.read_bytes() + b"\xff"), "it is no table"),
}  # fmt: skip


def check(error, file, run, what):
    message = str(error.value)
    assert message.startswith(str(run / file)), message
    assert "\n" not in message and isinstance(error.value, ValueError), message


@pytest.mark.parametrize("kind", OPENING)
def test_opening(store, run, kind):
    file, damage, what = OPENING[kind]
    damage(run / file)
    with pytest.raises(DamagedFile, match=what) as error:
        open_run(run)
    check(error, file, run, what)
    with pytest.raises(DamagedFile, match=what):
        pretrain(store, run, SMALL, resume=True)


@pytest.mark.parametrize("kind", RESUMING)
def test_resuming(store, run, kind, capsys):
    file, damage, what = RESUMING[kind]
    damage(run / file)
    with pytest.raises(DamagedFile, match=what) as error:
        pretrain(store, run, SMALL, resume=True)
    check(error, file, run, what)
    assert "code of the file" not in capsys.readouterr().out
    assert not (run / ".pretrain.lock").exists() and checkpoint.latest(run).name == "step_0000000002"


def test_records_are_named_when_they_are_asked_for(run):
    (run / "records.txt").unlink()
    opened = open_run(run)
    with pytest.raises(DamagedFile, match=r"records\.txt is damaged: it is missing"):
        _ = opened.record_ids


def test_a_whole_run_goes_on(store, run):
    assert pretrain(store, run, SMALL, resume=True).step == 4
    assert np.isfinite(embed(run, store)).all()


def test_the_command_line_prints_one_line_and_exits_1(run, monkeypatch, capsys):
    (run / "run.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["physioclr", "embed", str(run), str(run), "--out", "x.npy"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out = capsys.readouterr()
    assert end.value.code == 1 and out.out == ""
    assert out.err == f"error: {run / 'run.json'} is damaged: it has no field leads\n"


def test_the_shipped_encoder_damaged(monkeypatch, tmp_path, capsys):
    from physioclr.train import run as run_py

    copy = shutil.copytree(open_run("pretrained").path, tmp_path / "broken")
    (copy / "config.yaml").write_text("channels: wide")
    monkeypatch.setattr(run_py, "SHIPPED", tmp_path)
    monkeypatch.setattr(run_py, "DEFAULT", "broken")
    with pytest.raises(DamagedFile, match=r"config\.yaml is damaged: channels is 'wide'; it must be a list of int"):
        open_run(copy)
