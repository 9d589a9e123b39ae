"""Encoders by name, and the records most like one."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import butter, resample_poly, sosfiltfilt
from training_store import FakeStore, one_thread
from typer.testing import CliRunner

import physioclr as pc
from physioclr.cli import app
from physioclr.train import Config, draw_similar, embed, load_pretrained, open_run, pretrain, similar
from physioclr.train.hub import NAMES
from physioclr.train.similar import find_record

single = pytest.fixture(autouse=True, scope="module")(one_thread)

SMALL = Config(channels=[8, 8], batch_size=8, steps=2, feature_components=10, decimate=4)


@pytest.fixture(scope="module")
def store():
    return FakeStore(12)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    return pretrain(store, tmp_path_factory.mktemp("runs") / "run", SMALL).path


# ---- load_pretrained


def test_the_shipped_encoder_gives_the_embeddings_of_embed(store):
    model = pc.load_pretrained()
    cfg = model.pretrained_cfg
    assert cfg["name"] in NAMES and (cfg["fs"], cfg["input_fs"], cfg["samples"]) == (100.0, 100.0, 500)
    assert cfg["leads"] == list(store.leads) and len(cfg["revision"]) == 12 and not model.training
    card = Path(cfg["card"]).read_text(encoding="utf-8")
    assert "CC BY 4.0" in card and f'"{cfg["name"]}")`, revision {cfg["revision"]}.' in card
    wanted = embed("pretrained", store, records=[0, 3])
    for row, i in enumerate((0, 3)):  # record 3 has a gap in one lead
        x = model.preprocess(store.read(i), 500)
        assert x.shape == (1, 12, 1000)
        with torch.no_grad():
            halves = model(torch.cat((x[..., :500], x[..., 500:])))
        np.testing.assert_allclose(halves.mean(0).numpy(), wanted[row], atol=1e-5)


def test_a_run_of_your_own_by_its_folder(store, run):
    model = load_pretrained(run)
    assert (model.name, model.pretrained_cfg["width"], model.pretrained_cfg["card"]) == ("run", 8, None)
    assert load_pretrained(run, revision=model.revision[:6]).revision == model.revision
    batch = np.stack([store.read(0), store.read(3)])
    assert model(model.preprocess(batch, 500)).shape == (2, 8)


@pytest.mark.parametrize("rate", [250, 360, 1000])
def test_a_recording_at_another_rate_is_resampled_on_the_way(store, run, rate):
    """The same heart at another rate is the same embedding, but for what a filter leaves of the noise above 50 Hz."""
    model = load_pretrained(run)
    original, other = FakeStore(12), FakeStore(12)
    low_pass = butter(6, 45, "lowpass", fs=500, output="sos")
    for i in range(len(original)):
        original._ecg[i] = sosfiltfilt(low_pass, np.nan_to_num(store.read(i))).astype(np.float32)
        other._ecg[i] = resample_poly(original._ecg[i], rate, 500, axis=1, padtype="line").astype(np.float32)
    other.fs = float(rate)
    want, got = embed(run, original), embed(run, other)
    np.testing.assert_allclose(got, want, atol=0.02 * np.abs(want).max())
    x, y = model.preprocess(original.read(0), 500), model.preprocess(other.read(0), rate)
    assert x.shape == y.shape
    np.testing.assert_allclose(y[0, :, 20:-20], x[0, :, 20:-20], atol=0.01 * float(x.abs().max()))


def test_what_training_left_in_memory_is_not_taken_for_another_rate(run, tmp_path):
    """A run at 100 Hz reads a store at 500 Hz that is being trained on as it is, undecimated."""
    slow, fast = FakeStore(10), FakeStore(10)
    for i in range(len(slow)):
        slow._ecg[i] = np.ascontiguousarray(resample_poly(fast._ecg[i], 1, 5, axis=1).astype(np.float32))
        slow._rpeaks[i] = slow._rpeaks[i] // 5
    slow.fs, slow.table["n_samples"] = 100.0, slow.table["n_samples"] // 5
    made = pretrain(slow, tmp_path / "slow", SMALL.replace(decimate=1)).path
    before = embed(made, fast)
    pretrain(fast, tmp_path / "fast", SMALL.replace(decimate=1))
    np.testing.assert_array_equal(embed(made, fast), before)


def test_errors_of_load_pretrained(run, store):
    with pytest.raises(ValueError, match="name is 'resnet999'; it must be one of 'resnet1d_ptbxl13k'"):
        load_pretrained("resnet999")
    with pytest.raises(ValueError, match="revision is 'abc'; the weights of 'resnet1d_ptbxl13k' are revision"):
        load_pretrained(revision="abc")
    with pytest.raises(ValueError, match="revision is ''"):
        load_pretrained(revision="")
    model = load_pretrained(run)
    with pytest.raises(ValueError, match=r"ecg has shape \(3, 100\); it must be \(12, T\)"):
        model.preprocess(np.zeros((3, 100), np.float32), 500)
    for fs in (100, np.nan, np.inf, -500):  # the network runs at 125 Hz
        with pytest.raises(ValueError, match=f"fs is {fs:g} Hz; the network's rate is 125 Hz"):
            model.preprocess(store.read(0), fs)
    with pytest.raises(ValueError, match="ecg has no samples"):
        model.preprocess(np.zeros((12, 0), np.float32), 500)


def test_the_package_still_imports_without_torch():
    code = "import sys, physioclr as pc; assert 'torch' not in sys.modules; assert 'load_pretrained' in dir(pc)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- similar


def test_similar_is_sorted_and_right(store, run):
    found = similar(run, store, 0, 4)
    x = embed(run, store).astype(np.float64)
    x = (x - x.mean(0)) / x.std(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosine = x @ x[0]
    order = [i for i in np.argsort(-cosine) if i != 0][:4]
    assert [n.record for n in found["embedding"]] == order
    np.testing.assert_allclose([n.cosine for n in found["embedding"]], cosine[order], atol=1e-6)
    for neighbours in found.values():
        assert len(neighbours) == 4 and all(n.record != 0 for n in neighbours)
        assert all(a.cosine >= b.cosine for a, b in itertools.pairwise(neighbours))
    assert len(similar(run, store, 0, 100)["physiology"]) == len(store) - 1
    of_five = similar(run, store, "r005", 11)["embedding"]  # records 5 and 6 are of one patient
    assert [n.record for n in of_five if n.same_patient] == [6]


def test_alike_physiology_is_found(store, run):
    """The features of the store tell fast from slow and tall from small hearts, and little else."""
    fast, tall = (store.labels["shape"][1][:, k] for k in (0, 1))
    same = [
        fast[n.record] == fast[i] and tall[n.record] == tall[i]
        for i in range(len(store))
        for n in similar(run, store, i, 1)["physiology"]
    ]
    assert np.mean(same) > 0.7


def test_find_record(store):
    assert find_record(store, "r007") == find_record(store, "07") == 7
    with pytest.raises(ValueError, match="record is 'x', which 0 records"):
        find_record(store, "x")
    with pytest.raises(ValueError, match=r"record is '1', which 2 records .*r001, r011"):
        find_record(store, "1")
    with pytest.raises(ValueError, match="which 0 records"):
        find_record(store, "")


def test_errors_of_similar(store, run):
    with pytest.raises(ValueError, match="record is 12; it must be from 0 to 11"):
        similar(run, store, 12)
    with pytest.raises(ValueError, match="k is 0; it must be at least 1"):
        similar(run, store, 0, 0)


def test_the_picture(store, run, tmp_path):
    path = draw_similar(tmp_path / "a.png", store, 3, similar(run, store, 3, 3), title="record 3")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_the_command(tmp_path):
    pc.data.sample_store(tmp_path / "store")
    out = tmp_path / "similar.png"
    ids = pc.data.open_store(tmp_path / "store").table["record_id"]
    result = CliRunner().invoke(
        app, ["similar", str(tmp_path / "store"), "--record", ids[0], "-k", "3", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "by embedding: " in result.output and "by physiology: " in result.output and out.is_file()
    assert open_run("pretrained").shipped
