"""The commands, in process: what they print, write and answer to mistakes."""

import csv
import shutil
import sys

import numpy as np
import pytest

import physioclr as pc
from physioclr import cli


@pytest.fixture
def physioclr(monkeypatch, capsys):
    """physioclr("info") -> (exit status, stdout, stderr)"""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["physioclr", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Twelve of the shipped records, in PTB-XL's layout, and one whose signal file is missing."""
    folder, sample = tmp_path_factory.mktemp("ptbxl"), pc.data.sample()
    table = (sample.path / "ptbxl_database.csv").read_text(encoding="utf-8")
    (folder / "ptbxl_database.csv").write_text(table, encoding="utf-8")
    for k in [*np.flatnonzero(~sample.test)[:8], *np.flatnonzero(sample.test)[:4]]:
        for suffix in (".hea", ".dat"):
            target = folder / (sample.record_ids[k] + suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample.path / (sample.record_ids[k] + suffix), target)
    lost = next(folder.rglob("*.hea"))
    (lost.with_name("lost.hea")).write_text(lost.read_text().replace(lost.stem, "lost"))
    return folder


@pytest.fixture(scope="module")
def store(source, tmp_path_factory):
    return pc.data.prepare(source, tmp_path_factory.mktemp("stores") / "small").dest


def test_info(physioclr):
    status, out, _ = physioclr("info")
    assert status == 0 and f"physioclr:     {pc.__version__}" in out and "cuda:" in out


def test_plot(physioclr, tmp_path):
    sample = pc.data.sample()
    status, out, _ = physioclr("plot", sample.path / sample.record_ids[3], "--out", tmp_path / "x" / "ecg.png")
    assert status == 0 and out.strip() == str(tmp_path / "x" / "ecg.png")
    assert (tmp_path / "x" / "ecg.png").stat().st_size > 50_000


def test_prepare_lists_what_it_left_out(physioclr, source, tmp_path):
    status, out, _ = physioclr("prepare", source, tmp_path / "store")
    assert status == 0 and "12 of 13 records" in out and "1 left out" in out
    with open(tmp_path / "store" / "skipped.csv", newline="", encoding="utf-8") as f:
        (_, reason) = list(csv.reader(f))[1]
    assert "missing" in reason
    assert physioclr("verify", tmp_path / "store")[:2] == (0, f"{tmp_path / 'store'}: no problems\n")


def test_own_labels_from_a_table_to_the_probe(physioclr, source, tmp_path):
    """--table, then `pretrain --method supervised` and `probe --scheme` with the scheme that the table has."""
    (tmp_path / "mine.csv").write_text(
        "record_id,fold,big:odd,big:half,codes\n"
        + "".join(
            f"{r},{k % 3},{k % 2},{int(k < 6)},{'a|b' if k % 2 else 'b'}\n"
            for k, r in enumerate(r for r in pc.data.find_records(source) if not r.endswith("lost"))
        )
    )
    store = tmp_path / "store"
    status, out, err = physioclr("prepare", source, store, "--table", tmp_path / "mine.csv", "--zero-seconds", "0.5")
    assert status == 0 and "1 of 13 records have no row in mine.csv" in out, err
    words = ["--set", "batch_size=4", "channels=[8,8]", "warmup=1", "steps=2", "scheme=big"]
    status, out, err = physioclr("pretrain", store, "--out", tmp_path / "run", "--method", "supervised", *words)
    assert status == 0, err
    for scheme, name in (("big", "half"), ("codes", "a")):
        words = ["--scheme", scheme, "--fractions", "1", "--min-positives", "1"]
        status, out, err = physioclr("probe", tmp_path / "run", store, *words)
        assert status == 0 and f"labels {scheme}" in out and name in out, err
    words = ["--table", tmp_path / "mine.csv", "--label-columns", "codes"]
    status, out, err = physioclr("prepare", source, tmp_path / "codes", *words)
    assert status == 0 and "not used: big:odd, big:half" in out, err
    assert "codes" in pc.data.open_store(tmp_path / "codes").labels


def test_verify_finds_damage(physioclr, store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "copy")
    signals = next(copy.rglob("signals.npy"))
    raw = bytearray(signals.read_bytes())
    raw[-1] ^= 1
    signals.write_bytes(raw)
    status, out, _ = physioclr("verify", copy)
    assert status == 1 and "signals" in out and "1 problem" in out
    status, out, _ = physioclr("verify", tmp_path / "nowhere")
    assert status == 1 and "nowhere" in out and "1 problem" in out


def test_pretrain_probe_embed(physioclr, store, tmp_path):
    run = tmp_path / "run"
    small = ["--set", "batch_size=8", "channels=[8,8]", "warmup=1", "checkpoint_every=2", "cache_mb=50"]
    status, out, err = physioclr("pretrain", store, "--out", run, *small, "steps=2")
    assert status == 0 and "finished after 2 of 2 steps" in out, err
    assert {"config.yaml", "metrics.csv", "loss.png", "checkpoints"} <= {p.name for p in run.iterdir()}
    status, out, err = physioclr("pretrain", store, "--out", run, *small, "steps=4")
    assert status == 2 and "resume" in err  # a run folder is not overwritten
    status, out, err = physioclr("pretrain", store, "--out", run, *small, "steps=4", "--resume")
    assert status == 0 and "finished after 4 of 4 steps" in out, err
    status, out, err = physioclr("probe", run, store, "--fractions", "0.5", "1.0", "--seeds", "2")
    assert status == 0 and "AUROC" in out and "macro" in out, err
    status, out, err = physioclr("embed", run, store, "--out", tmp_path / "e.npy")
    embeddings = np.load(tmp_path / "e.npy")
    assert status == 0 and embeddings.dtype == np.float32 and embeddings.shape[0] == 12
    assert np.isfinite(embeddings).all() and embeddings.std(0).max() > 0
    status, out, err = physioclr("embed", store, "--out", tmp_path / "shipped.npy")  # by the encoder of the package
    assert status == 0 and np.load(tmp_path / "shipped.npy").shape == (12, 128), err
    assert physioclr("embed", run, store, run, "--out", tmp_path / "x.npy")[0] == 2


def test_probe_options(physioclr, store, tmp_path):
    run = tmp_path / "run"
    status, _, err = physioclr("pretrain", store, "--out", run, "--method", "features", "--set", "channels=[8]")
    assert status == 0, err
    words = ["--fractions", "1", "--folds", "3", "--inputs", "features", "demographics", "--out", tmp_path / "table"]
    status, out, err = physioclr("probe", run, store, *words)
    assert status == 0 and "features, linear on features+demographics" in out, err
    assert len(list((tmp_path / "table").glob("*_features+demographics.png"))) == 1
    status, out, err = physioclr("probe", run, store, "--test-sources", "ptbxl")
    assert status == 2 and "train_sources is []" in err


def test_bench(physioclr):
    status, out, err = physioclr("bench", "--seconds", "0.01")
    assert status == 0 and "R peaks, one lead" in out and "eager torch" in out, err


def test_the_loss_that_bench_compares_with_is_the_same():
    torch = pytest.importorskip("torch")
    from physioclr.bench import _eager, _fused, text

    g = torch.Generator().manual_seed(0)
    h, views, f = (torch.randn(s, generator=g) for s in ((40, 16), (2, 40, 16), (40, 8)))
    group = torch.arange(40) // 2
    torch.testing.assert_close(_eager(h, views, f, group), _fused(h, views, f, group))
    assert [text(t) for t in (2.5, 0.0123, 16e-6, 5e-9)] == ["2.5 s", "12.3 ms", "16 us", "5 ns"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["plot", "nowhere"], "the header cannot be read"),
        (["prepare", "nowhere", "x"], "it must be a folder"),
        (["prepare", ".", "x", "--shard", "three"], "--shard is 'three'; it must be i/n"),
        (["prepare", ".", "x", "--fs", "10"], "fs is 10"),
        (["pretrain", "nowhere", "--out", "r"], "nowhere"),
        (["pretrain", "nowhere", "--out", "r", "--set", "detla=0.3"], "did you mean 'delta'"),
        (["pretrain", "nowhere", "--out", "r", "--method", "byol"], "method is 'byol'; it must be one of"),
        (["probe", "nowhere", "x"], "is not a run folder"),
    ],
)
def test_mistakes_are_one_clear_line(physioclr, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = physioclr(*words)
    assert status == 2 and message in out + err, err
    assert "Traceback" not in err


def test_progress_in_a_log(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(cli.time, "monotonic", lambda: now[0])
    lines = cli.Lines("prepare", "records", seconds=120)
    now[0] = 100.0
    assert lines(1000, 5000) == "0 records/s"  # found done already
    now[0] = 110.0
    assert lines(1200, 5000, "3 left out") == "20 records/s" and capsys.readouterr().err == ""  # too early for a line
    now[0] = 150.0
    lines(2000, 5000, "3 left out")
    assert capsys.readouterr().err == "prepare: 2000 of 5000, 20 records/s, 150 s left, 3 left out\n"


def test_lists_of_values():
    assert cli.expand_lists(["probe", "r", "s", "--fractions", "0.1", "1", "--seeds", "2"]) == [
        "probe", "r", "s", "--fractions", "0.1", "--fractions", "1", "--seeds", "2",
    ]  # fmt: skip
    assert cli.expand_lists(["pretrain", "--set", "a=1", "b=2"]) == ["pretrain", "--set", "a=1", "--set", "b=2"]
