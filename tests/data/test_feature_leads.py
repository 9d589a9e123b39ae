"""Which leads' features a store keeps."""

import numpy as np
import pytest
from typer.testing import CliRunner
from wfdb_files import ecg_like, write_record

import physioclr as pc
from physioclr.cli import app
from physioclr.ops._checks import STANDARD_LEADS
from physioclr.train import Config, open_run, pretrain
from physioclr.train.dataset import record_features
from physioclr.train.embed import feature_vectors


@pytest.fixture
def source(tmp_path, rng):
    for k in range(4):
        write_record(tmp_path / "src", f"r{k}", ecg_like(rng))
    return tmp_path / "src"


def wanted(store, i, leads):
    x = store.read(i)[None].astype(np.float32)
    return pc.physio_features(x, store.fs, pc.detect_rpeaks(x, store.fs), lead=list(leads), segment=5.0)[0]


@pytest.mark.parametrize("leads", [("V2",), ("aVF", "I"), STANDARD_LEADS])
def test_the_columns_are_those_of_the_leads_in_their_order(source, tmp_path, leads):
    pc.data.prepare(source, tmp_path / "store", feature_leads=leads)
    store = pc.data.open_store(tmp_path / "store")
    assert store.feature_leads == tuple(leads) and pc.data.verify(tmp_path / "store") == []
    for i in range(4):
        got = store.features(i)
        assert got.shape == (2, 159 * len(leads))
        np.testing.assert_array_equal(got, wanted(store, i, leads))


def test_they_are_a_setting_of_the_store(source, tmp_path):
    pc.data.prepare(source, tmp_path / "store", feature_leads=["I", "V6"])
    with pytest.raises(ValueError, match="begun with feature_leads"):
        pc.data.prepare(source, tmp_path / "store")
    assert pc.data.prepare(source, tmp_path / "store", feature_leads=("I", "V6")).n_new == 0


@pytest.mark.parametrize("leads", [(), "II", ["II", "II"], ["II", "V7"], ["ii"]])
def test_bad_leads(source, tmp_path, leads):
    for make in (lambda: pc.data.prepare(source, tmp_path / "store", feature_leads=leads),
                 lambda: pc.data.write_store(tmp_path / "store", [], feature_leads=leads)):  # fmt: skip
        with pytest.raises(ValueError, match=r"feature_leads is .*; it must name one or more of I, II, .*, each once"):
            make()
    assert not (tmp_path / "store").exists()


def test_arrays_and_the_command_take_them_too(source, tmp_path, rng):
    units = np.stack([ecg_like(rng) for _ in range(2)])
    pc.data.write_store(tmp_path / "a", [(1e-3 * x, 500, None) for x in units], feature_leads=["V3"])
    store = pc.data.open_store(tmp_path / "a")
    np.testing.assert_array_equal(store.features(1), wanted(store, 1, ["V3"]))
    command = ["prepare", str(source), str(tmp_path / "b"), "--feature-leads", "V3", "--feature-leads", "aVL"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert pc.data.open_store(tmp_path / "b").feature_leads == ("V3", "aVL")
    assert (
        CliRunner().invoke(app, ["prepare", str(source), str(tmp_path / "c"), "--feature-leads", "all"]).exit_code == 0
    )
    assert pc.data.open_store(tmp_path / "c").feature_leads == STANDARD_LEADS


def test_a_run_with_other_leads_than_the_store_computes_what_it_needs(source, tmp_path):
    """The shipped encoder was told the features of all leads; most stores keep those of three."""
    pc.data.prepare(source, tmp_path / "three")
    pc.data.prepare(source, tmp_path / "all", feature_leads=STANDARD_LEADS)
    three, every = pc.data.open_store(tmp_path / "three"), pc.data.open_store(tmp_path / "all")
    for i in range(4):
        for kind in ("segment", "all"):
            got = record_features(three, i, STANDARD_LEADS, kind)
            np.testing.assert_array_equal(got, record_features(every, i, STANDARD_LEADS, kind))
    np.testing.assert_array_equal(feature_vectors(open_run("pretrained"), three),
                                  feature_vectors(open_run("pretrained"), every))  # fmt: skip


def test_training_uses_those_that_are_there(source, tmp_path):
    pc.data.prepare(source, tmp_path / "store", feature_leads=["V2", "aVF"])
    store = pc.data.open_store(tmp_path / "store")
    config = Config(channels=[8, 8], batch_size=4, steps=1, feature_components=3, decimate=4)
    with pytest.raises(ValueError, match="feature_leads has 'II'; the store holds features of V2, aVF"):
        pretrain(store, tmp_path / "refused", config)
    run = open_run(pretrain(store, tmp_path / "run", config.replace(feature_leads=["aVF"])).path)
    assert feature_vectors(run, store).shape == (4, 3)
