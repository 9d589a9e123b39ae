"""The commands, in process: what they print, write and answer to mistakes."""

import csv
import functools
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

import physioclr as pc
from physioclr import bench, cli


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
    assert status == 0 and np.load(tmp_path / "shipped.npy").shape == (12, 256), err
    assert physioclr("embed", run, store, run, "--out", tmp_path / "x.npy")[0] == 2
    # the run's own configuration: no --set again, and what contradicts it is named
    status, out, err = physioclr("pretrain", store, "--out", run, "--set", "steps=5", "--resume")
    assert status == 0 and "finished after 5 of 5 steps" in out, err
    status, out, err = physioclr("pretrain", store, "--out", run, "--set", "tau=0.3", "--resume")
    assert status == 2 and "another configuration: tau is 0.3 and was 0.1\n" in err
    status, out, err = physioclr("pretrain", store, "--out", run, "--config", "fast", "--resume")
    assert status == 2 and "batch_size is 128 and was 8" in err
    assert pc.train.pretrain(store, run, resume=True).steps == 5  # and so without a configuration in Python


def test_an_encoder_of_ones_own_from_this_folder(physioclr, store, tmp_path, monkeypatch):
    code = "import torch\n\n\ndef make():\n    pool = torch.nn.AdaptiveAvgPool1d(1)\n"
    code += "    return torch.nn.Sequential(torch.nn.Conv1d(12, 6, 15, 8, 7), pool, torch.nn.Flatten())\n"
    (tmp_path / "net_of_mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    small = ["--set", "batch_size=8", "warmup=1", "steps=1", "cache_mb=50"]
    status, out, err = physioclr("pretrain", store, "--out", "run", "--encoder", "net_of_mine:make", *small)
    assert status == 0 and "finished after 1 of 1 steps" in out, err
    status, out, err = physioclr("embed", "run", store, "--out", "e.npy")
    assert status == 0 and np.load("e.npy").shape == (12, 6), err


def test_embeddings_in_every_form_and_back_to_the_probe(physioclr, store, tmp_path):
    opened = pc.data.open_store(store)
    ids = list(opened.table["record_id"])
    want = pc.train.embed("pretrained", opened)
    for name in ("e.npy", "e.csv", "e.parquet"):
        status, out, err = physioclr("embed", store, "--out", tmp_path / name)
        assert status == 0 and "12 records" in out, err
    with open(tmp_path / "e.csv", newline="", encoding="utf-8") as f:
        head, *rows = csv.reader(f)
    assert head == ["record_id", *(f"e{k}" for k in range(256))] and [r[0] for r in rows] == ids
    np.testing.assert_array_equal(np.array([r[1:] for r in rows], np.float32), want)
    (tmp_path / "turned.csv").write_text("\n".join(",".join(r) for r in [head, *rows[::-1]]))
    words = [store, "--fractions", "1", "--scheme", "ptbxl_superclass", "--folds", "2", "--min-positives", "1"]
    tables = []
    for name in ("e.npy", "e.csv", "e.parquet", "turned.csv"):
        status, out, err = physioclr("probe", "--embeddings", tmp_path / name, *words)
        assert status == 0 and f"{name.partition('.')[0]}, linear on embedding" in out, err
        table = tmp_path / f"probe_small_ptbxl_superclass_linear_{name.partition('.')[0]}.csv"
        tables.append(table.read_text().replace("turned,", "e,"))
        table.unlink()
    assert tables[1:] == tables[:-1]
    own = pc.train.probe(None, store, embeddings=want, out=tmp_path, fractions=(1.0,), scheme="ptbxl_superclass",
                         folds=2, min_positives=1)  # fmt: skip
    assert own.csv.read_text().replace("embeddings,", "e,") == tables[0]


def test_embeddings_that_do_not_fit(physioclr, store, tmp_path):
    def refused(message, *words):
        status, _, err = physioclr(*words)
        assert status == 2 and message in err, err

    refused("--out is", "embed", store, "--out", tmp_path / "e.txt")
    refused("must end in .npy, .csv or .parquet", "embed", store, "--out", tmp_path / "e.txt")
    np.save(tmp_path / "e.npy", np.zeros((11, 3)))
    refused("must be numbers (12, width)", "probe", store, "--embeddings", tmp_path / "e.npy")
    np.save(tmp_path / "e.npy", np.full((12, 3), np.nan))
    refused("NaN or infinity in 12 rows", "probe", store, "--embeddings", tmp_path / "e.npy")
    ids = list(pc.data.open_store(store).table["record_id"])
    for rows, message in (
        (["record_id,a", *(f"{i},1" for i in ids[:-1])], f"no row for 1 records of the store, first {str(ids[-1])!r}"),
        (["record_id,a", *(f"{i},1" for i in [*ids, ids[0]])], "twice"),
        (["id,a", *(f"{i},1" for i in ids)], "has the columns id, a"),
        (["record_id,a", *(f"{i},x" for i in ids)], "no number"),
        (["record_id,a", *ids], "row 2 has not the 2 columns"),
        ([], "has the columns ;"),
    ):
        (tmp_path / "e.csv").write_text("\n".join(rows))
        refused(message, "probe", store, "--embeddings", tmp_path / "e.csv")
    refused("2 paths are given", "probe", store, store, "--embeddings", tmp_path / "e.csv")
    refused("1 paths are given", "probe", store)
    np.save(tmp_path / "e.npy", np.ones((12, 2)))
    refused("no encoder to train", "probe", store, "--embeddings", tmp_path / "e.npy", "--finetune")


@pytest.mark.parametrize("command, function, words", [
    ("prepare", "physioclr.data.prepare", ["x"]), ("probe", "physioclr.train.probe", ["x"]),
    ("embed", "physioclr.data.open_store", ["--out", "e.csv"]),
    ("pretrain", "physioclr.train.pretrain", ["--out", "r"]),
])  # fmt: skip
def test_ctrl_c_is_status_130(physioclr, monkeypatch, command, function, words):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    module, _, name = function.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), name, interrupted)
    status, _, err = physioclr(command, "x", *words)
    assert status == 130 and "interrupted" in err


def test_an_interrupted_pretrain_is_status_130(physioclr, store, tmp_path, monkeypatch):
    """The step in progress ends, a checkpoint is there, the next command of `pretrain && probe` is not run."""
    from physioclr.train.pretrain import Trainer

    step = Trainer.train_step

    def interrupted(self, batches):
        row = step(self, batches)
        signal.raise_signal(signal.SIGINT)
        return row

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    small = ["--set", "batch_size=8", "channels=[8,8]", "warmup=1", "steps=3", "cache_mb=50"]
    status, out, err = physioclr("pretrain", store, "--out", tmp_path / "run", *small)
    assert status == 130 and "interrupted after 1 of 3 steps" in out, err


def test_only_the_first_process_speaks(physioclr, store, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    words = ["--method", "features", "--set", "channels=[8]"]
    assert physioclr("pretrain", store, "--out", tmp_path / "run", *words)[:2] == (0, "")


def test_version(physioclr):
    assert physioclr("--version")[:2] == (0, f"physioclr {pc.__version__}\n")


def test_every_key_of_the_configuration_is_explained(physioclr):
    from physioclr.train.config import Config, help_text

    status, out, _ = physioclr("pretrain", "--help-config")
    assert status == 0 and "delta:               float from -1 to 1; default 0.25; similarity from which" in out
    for key, text in help_text().items():
        assert f"\n{key}:" in out and text in out and f"\n    {key}: " in Config.__doc__ and text in Config.__doc__


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


COMMANDS = ("prepare", "verify", "plot", "pretrain", "probe", "embed", "similar", "info", "demo", "bench")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_parses(physioclr, command, monkeypatch):
    import typer

    assert set(typer.main.get_command(cli.app).commands) == set(COMMANDS)
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = physioclr(command, "--help")
    example = re.search(rf"Example: (physioclr {command}\b.*)", out)[1].split()
    assert status == 0 and "--json" in out
    given = cli.expand_lists(example[1:])
    group = typer.main.get_command(cli.app)
    name, sub, rest = group.resolve_command(group.make_context("physioclr", given, resilient_parsing=True), given)
    sub.make_context(name, list(rest), resilient_parsing=False).close()


def test_exit_statuses_are_told(physioclr, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    told = physioclr("--help")[1]
    page = (Path(__file__).resolve().parents[1] / "docs" / "cli.md").read_text()
    for status, meaning in (("0", "done"), ("1", "at fault"), ("2", "the call"), ("130", "Ctrl-C")):
        assert re.search(rf"\b{status} [^;]*{meaning}", told) and re.search(rf"\| {status} \| .*{meaning}", page)


@pytest.mark.parametrize("shell, word", [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --command")])
def test_completion(shell, word):
    """Typer's: the script for the shell, and what it is given for `physioclr pre<TAB>`."""
    words = [sys.executable, "-c", "import sys; sys.argv[0] = 'physioclr'; from physioclr.cli import main; main()"]

    def asked(**variables):
        return subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, check=True).stdout

    assert word in asked(_PHYSIOCLR_COMPLETE=f"source_{shell}")
    if shell == "bash":
        found = asked(_PHYSIOCLR_COMPLETE="complete_bash", COMP_WORDS="physioclr pre", COMP_CWORD="1")
        assert found.split() == ["prepare", "pretrain"]


def test_results_as_json(physioclr, source, tmp_path):
    """Every command that prints a result, and nothing but JSON on stdout; NaN is null."""
    store, run = tmp_path / "store", tmp_path / "run"

    def told(*words, status=0):
        got, out, err = physioclr(*words, "--json")
        assert got == status, err
        return json.loads(out, parse_constant=lambda name: pytest.fail(name))

    assert told("prepare", source, store)["n_records"] == 12
    assert told("verify", store) == {"store": str(store), "problems": []}
    assert told("verify", tmp_path / "none", status=1)["problems"]
    small = ["--set", "batch_size=8", "channels=[8,8]", "warmup=1", "steps=2", "cache_mb=50"]
    done = told("pretrain", store, "--out", run, *small)
    assert done["status"] == "finished" and done["metrics"]["step"] == 2
    rows = told("probe", run, store, "--fractions", "1", "--seeds", "1", "--min-positives", "1")["rows"]
    assert {"macro"} < {r["class"] for r in rows}
    assert told("embed", run, store, "--out", tmp_path / "e.npy")["records"] == 12
    near = told("similar", run, store, "--record", pc.data.open_store(store).table["record_id"][0],
                "-k", "2", "--out", tmp_path / "s.png")  # fmt: skip
    assert [len(v) for v in near["by"].values()] == [2, 2] and Path(near["picture"]).exists()
    record = pc.data.sample().path / pc.data.sample().record_ids[0]
    assert told("plot", record, "--out", tmp_path / "p.png", "--layout", "12x1")["picture"] == str(tmp_path / "p.png")
    assert told("info")["physioclr"] == pc.__version__


def test_progress_has_rate_and_remaining_time(physioclr, store, tmp_path, monkeypatch):
    """In a log: where a command takes long, a line with both, whichever command it is."""
    monkeypatch.setattr(cli.screen.Lines, "__init__", functools.partialmethod(cli.screen.Lines.__init__, seconds=0.0))
    for words, unit in (
        (["verify", store], "files/s"), (["embed", store, "--out", tmp_path / "e.npy"], "records/s"),
        (["probe", "--embeddings", tmp_path / "e.npy", store, "--fractions", "1", "--folds", "2",
          "--scheme", "ptbxl_superclass", "--min-positives", "1"], "fits/s"),
    ):  # fmt: skip
        _, _, err = physioclr(*words)
        assert re.search(rf"^{words[0]}: \d+ of \d+, [\d.e+]+ {unit}, \d+ s left", err, re.M), err


def test_bench(physioclr):
    status, out, err = physioclr("bench", "--seconds", "0.01")
    assert status == 0 and "R peaks, one lead" in out and "eager torch" in out and "times as long" in out, err
    assert ("not installed" in out) == bool(bench.missing_peers())
    status, out, err = physioclr("bench", "--seconds", "0.01", "--json")
    got = json.loads(out)
    assert status == 0 and got["missing"] == bench.missing_peers() and got["info"]["physioclr"] == pc.__version__
    row = next(r for r in got["rows"] if r["beside"] == "eager torch")
    assert row["times_as_long"] == pytest.approx(row["beside_seconds"] / row["seconds"])
    assert any(r["beside"] is None and r["times_as_long"] is None for r in got["rows"])


def test_the_extra_bench_brings_every_peer_pinned():
    root = Path(__file__).resolve().parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = (root / "constraints.txt").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if "==" in line)
    extra = dict(line.split("==") for line in project["optional-dependencies"]["bench"] if "==" in line)
    assert extra == {name: pinned[name] for name in bench.PEERS}  # with the constraints file and without
    measured = (root / "docs" / "measured.md").read_text()
    assert all(name in measured + " faiss-cpu" for name in bench.PEERS)


def test_the_loss_that_bench_compares_with_is_the_same():
    torch = pytest.importorskip("torch")
    from physioclr.bench import _eager, _fused, text
    from physioclr.peers import SEVEN

    g = torch.Generator().manual_seed(0)
    h, views, f = (torch.randn(s, generator=g) for s in ((40, 16), (2, 40, 16), (40, 8)))
    group = torch.arange(40) // 2
    torch.testing.assert_close(_eager(h, views, f, group), _fused(h, views, f, group))
    assert sum(getattr(SEVEN, name) is not None for name in SEVEN.__dataclass_fields__) == 7
    assert [text(t) for t in (2.5, 0.0123, 16e-6, 5e-9)] == ["2.5 s", "12.3 ms", "16 us", "5 ns"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["plot", "nowhere"], "record is 'nowhere'; there is neither a file of this name nor nowhere.hea"),
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
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
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
