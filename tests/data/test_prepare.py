"""prepare: bad records are left out with a reason, an interrupted run goes on, shards of several runs come together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from real_records import DATA, ludb
from wfdb_files import LEADS, ecg_like, write_record

import physioclr as pc

MANIFEST = "store.json"
prepare_py = sys.modules["physioclr.data.prepare"]  # pc.data.prepare is the function
block_py = sys.modules["physioclr.data.block"]


@pytest.fixture
def no_ops(monkeypatch):
    """Without R peaks and features, for tests of what happens around them."""

    def nothing(records, fs, leads):
        n = int(records[0].signal.shape[1] / fs / 5)
        empty = block_py.Physiology(np.empty(0, np.int32), np.zeros((n, 159 * len(leads)), np.float32), 0.0, False)
        return [empty for _ in records]

    monkeypatch.setattr(block_py, "physiology", nothing)


def contents(store):
    """A store's records as plain values, to compare stores whatever their shards."""
    rows = {}
    for i in range(len(store)):
        row = [str(store.table[c][i]) for c in store.table]
        rows[row[0]] = (row, store.signal(i).tobytes(), store.scale(i).tobytes(), store.features(i).tobytes())
    assert len(rows) == len(store)
    return rows


# ---- bad input ----------------------------------------------------------------------------------------------------


def bad_and_good(src, rng):
    """A folder with everything that occurs. Returns {record id: reason, or None for a record that must be stored}."""
    x = ecg_like(rng)
    nan = np.full_like(x, -32768)
    flat = x.copy()
    flat[4] = 0
    write_record(src, "good", x)
    write_record(src, "good_mat", x, mat=True)
    write_record(src, "flat_lead", flat)
    write_record(src, "all_nan", nan)
    write_record(src, "all_flat", np.zeros_like(x))
    write_record(src, "short", x[:, :150])
    write_record(src, "one_lead", x[:1], leads=["II"])
    write_record(src, "fifteen", np.vstack([ecg_like(rng, 3), x]), leads=["vx", "vy", "vz", *map(str.upper, LEADS)])
    write_record(src, "eight", x[[0, 1, 6, 7, 8, 9, 10, 11]], leads=[LEADS[k] for k in (0, 1, 6, 7, 8, 9, 10, 11)])
    write_record(src, "fast", ecg_like(rng, n_samples=10_000, fs=1000), fs=1000)
    write_record(src, "first_line", x, first_line="E00015.mat 12 500 5000 05-May-2020 14:50:55", mat=True)
    write_record(src, "named_labels", x, comments=["Age: NaN", "Sex: Unknown", "Dx: AF,RBBB"])
    write_record(src, "no_comments", x, comments=[])
    write_record(src, "pressure", x, gain="100/mmHg")
    write_record(src, "gain", x, gain="1e-300/mV")
    write_record(src, "truncated", x)
    (src / "truncated.dat").write_bytes((src / "truncated.dat").read_bytes()[:60_000])
    write_record(src, "no_signal", x)
    (src / "no_signal.dat").unlink()
    write_record(src, "outside", x, signal_file="../../etc/passwd")
    write_record(src, "nonsense", x, first_line="%PDF-1.4")
    (src / "binary.hea").write_bytes(bytes(range(256)))
    (src / "empty.hea").write_bytes(b"")
    return dict.fromkeys(
        ("good", "good_mat", "flat_lead", "fifteen", "eight", "fast", "first_line", "named_labels", "no_comments")
    ) | {
        "all_nan": "every sample of the standard leads is missing",
        "all_flat": "every standard lead is flat",
        "short": "it is 0.3 s long; it must have at least 5 s",
        "one_lead": "it has 1 leads (II) and lacks I, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6",
        "pressure": "it has no signal in volts: I (mmHg), II (mmHg)",
        "gain": "lead I has 1e+300 mV per unit",
        "truncated": "truncated.dat is truncated: it holds 2500 of 5000 samples per signal",
        "no_signal": "the signal file no_signal.dat is missing",
        "outside": "outside the folder",
        "nonsense": "the header's first line",
        "binary": "not a text file",
        "empty": "the header is empty",
    }


def test_goes_on_over_bad_records(tmp_path, rng):
    src = tmp_path / "src"
    expected = bad_and_good(src, rng)
    report = pc.data.prepare(src, tmp_path / "store")
    reasons = {name: reason for name, reason in expected.items() if reason}
    skipped = dict(report.skipped())
    assert set(skipped) == set(reasons)
    assert all(reasons[name] in skipped[name] for name in reasons), skipped
    assert report.finished and report.n_found == len(expected) == report.n_records + report.n_skipped
    assert f"{len(reasons)} left out" in str(report) and "skipped.csv" in str(report)

    store = pc.data.open_store(tmp_path / "store")
    assert pc.data.verify(store) == []
    assert set(store.table["record_id"]) == set(expected) - set(reasons)
    at = {name: i for i, name in enumerate(store.table["record_id"])}
    good = store.signal(at["good"])
    for name in ("good_mat", "fifteen", "first_line", "named_labels", "no_comments"):
        np.testing.assert_array_equal(store.signal(at[name]), good)
    assert not store.signal(at["flat_lead"])[4].any()
    assert all(store.signal(i).shape == (12, 5000) for i in at.values())
    assert all(8 <= len(store.rpeaks(i)) <= 15 for i in at.values())
    names, y = store.labels["cinc2021"]
    assert [n for n, v in zip(names, y[at["named_labels"]], strict=True) if v] == ["AF", "CRBBB"]
    assert not store.labelled["cinc2021"][at["no_comments"]] and np.isnan(store.table["age"][at["named_labels"]])


def test_an_op_that_fails_ends_the_run_and_marks_no_record(tmp_path, rng, monkeypatch, no_ops):
    """It is a mistake in the program: the record is kept for the next run, which has the mistake repaired."""
    sound = block_py.physiology

    def failing(records, fs, leads):
        if any(p.record_id == "r2" for p in records):
            raise ArithmeticError("of this record")
        return sound(records, fs, leads)

    for k in range(5):
        write_record(tmp_path / "src", f"r{k}", ecg_like(rng))
    with monkeypatch.context() as m:
        m.setattr(block_py, "physiology", failing)
        with pytest.raises(ArithmeticError, match="of this record") as raised:
            pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert "features of the record r2" in raised.value.__notes__[0]
    report = pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert (report.n_records, report.n_skipped) == (5, 0)


@pytest.mark.parametrize(
    ("setting", "error", "match"),
    [
        ({"src": "absent"}, ValueError, "src is"),
        ({"src": "empty"}, ValueError, "it must have WFDB records"),
        ({"dest": "foreign"}, ValueError, "which holds other files"),
        ({"dest": "foreign/file"}, ValueError, "a file"),
        ({"fs": 10}, ValueError, "fs is 10"),
        ({"fs": "fast"}, TypeError, "fs is"),
        ({"jobs": 0}, ValueError, "jobs is 0"),
        ({"shard": (2, 2)}, ValueError, "i of shard is 2"),
        ({"shard": 3}, ValueError, "shard is 3"),
    ],
)
def test_bad_arguments(tmp_path, rng, setting, error, match):
    write_record(tmp_path / "src", "r", ecg_like(rng))
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "file").write_text("x")
    arguments = {"src": "src", "dest": "store"} | setting
    arguments |= {"src": tmp_path / arguments["src"], "dest": tmp_path / arguments["dest"]}
    with pytest.raises(error, match=match):
        pc.data.prepare(**arguments)
    assert (tmp_path / "foreign" / "file").read_text() == "x"
    assert not (tmp_path / "store").exists()  # what is refused leaves nothing


# ---- rates ---------------------------------------------------------------------------------------------------------


def test_all_rates_of_a_store(tmp_path, rng, no_ops):
    write_record(tmp_path / "src", "a", ecg_like(rng, n_samples=10_000, fs=1000), fs=1000)
    write_record(tmp_path / "src", "b", ecg_like(rng, n_samples=3600, fs=360), fs=360)
    pc.data.prepare(tmp_path / "src", tmp_path / "store", fs=250)
    store = pc.data.open_store(tmp_path / "store")
    assert store.fs == 250 and list(store.table["n_samples"]) == [2500, 2500]


# ---- interruptions, processes, shards -----------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path, rng):
    """40 records: three blocks."""
    x = ecg_like(rng)
    for k in range(40):
        write_record(tmp_path / "src" / f"g{k % 3}", f"r{k:02d}", np.roll(x, 37 * k, axis=1))
    return tmp_path / "src"


def test_killed_prepare_goes_on(many, tmp_path):
    """kill -9 in the middle of a block: nothing is lost or doubled, and the result is that of a run left alone."""
    script = (
        "import sys, time, physioclr as pc\n"
        "p = sys.modules['physioclr.data.block'] if pc.data else None\n"
        "write = p._write\n"
        "def slow(writer, pending, fs, leads):\n"
        "    write(writer, pending, fs, leads)\n"
        "    if writer.final.name.endswith('1'):\n"
        "        print('in block 1', flush=True); time.sleep(60)\n"
        "p._write = slow\n"
        "pc.data.prepare(sys.argv[1], sys.argv[2])\n"
    )
    dest = tmp_path / "store"
    environment = os.environ | {"PYTHONPATH": str(Path(pc.__file__).parents[1])}
    command = [sys.executable, "-c", script, str(many), str(dest)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout.readline() == "in block 1\n"
        with pytest.raises(ValueError, match="at work"):  # it still holds the folder
            pc.data.prepare(many, dest)
        process.send_signal(signal.SIGKILL)
    assert (dest / "shard-000000").is_dir() and not (dest / "shard-000001").exists()
    assert any(p.name.startswith(".shard-000001") for p in dest.iterdir())
    with pytest.raises(ValueError, match="unfinished store"):
        pc.data.open_store(dest)

    calls = []
    report = pc.data.prepare(many, dest, progress=lambda *args: calls.append(args))
    assert (report.n_records, report.n_new, report.finished) == (40, 24, True)
    assert calls == [(16, 40, 0), (32, 40, 0), (40, 40, 0)]
    assert not [p for p in dest.iterdir() if p.name.startswith(".shard")]
    assert pc.data.verify(dest) == []
    pc.data.prepare(many, tmp_path / "undisturbed")
    assert contents(pc.data.open_store(dest)) == contents(pc.data.open_store(tmp_path / "undisturbed"))


def test_an_interrupt_keeps_what_is_done(many, tmp_path, monkeypatch, no_ops):
    write = block_py._write

    def interrupted(writer, pending, fs, leads):
        if writer.final.name.endswith("2"):
            raise KeyboardInterrupt
        write(writer, pending, fs, leads)

    with monkeypatch.context() as m:
        m.setattr(block_py, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pc.data.prepare(many, tmp_path / "store")
    report = pc.data.prepare(many, tmp_path / "store")
    assert (report.n_new, report.n_records) == (8, 40)


@pytest.mark.parametrize("step", range(8))
def test_stopped_while_completing(many, tmp_path, monkeypatch, no_ops, step):
    """plan.txt, plan.json, table, labels, labelled, the two CSV files, the manifest: stopped before each renaming."""
    dest, replace, calls = tmp_path / "store", os.replace, []

    def stopped(source, target):
        calls.append(target)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as m:
        m.setattr(os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            pc.data.prepare(many, dest)
    with pytest.raises(ValueError, match=r"unfinished store|not a store"):
        pc.data.open_store(dest)
    assert pc.data.prepare(many, dest).n_records == 40
    assert pc.data.verify(dest) == []
    assert not [p.name for p in dest.iterdir() if p.name[0] == "." and not p.name.endswith(".lock")]


def test_finished_store_is_left_alone(many, tmp_path, no_ops):
    dest = tmp_path / "store"
    pc.data.prepare(many, dest)
    before = {p: p.stat().st_mtime_ns for p in dest.rglob("*") if not p.name.endswith(".lock") and p.is_file()}
    report = pc.data.prepare(many, dest)
    assert (report.n_new, report.n_records, report.finished) == (0, 40, True)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_lost_shard_is_made_again(many, tmp_path, no_ops):
    dest = tmp_path / "store"
    pc.data.prepare(many, dest)
    before = contents(pc.data.open_store(dest))
    (dest / "shard-000001" / "signals.npy").write_bytes(b"cut")
    assert pc.data.prepare(many, dest).n_new == 16
    assert contents(pc.data.open_store(dest)) == before and pc.data.verify(dest) == []


def test_other_records_or_settings_are_refused(many, tmp_path, rng, no_ops):
    dest = tmp_path / "store"
    pc.data.prepare(many, dest)
    with pytest.raises(ValueError, match=r"begun with fs = 500.0, not 250.0"):
        pc.data.prepare(many, dest, fs=250)
    write_record(many, "new", ecg_like(rng))
    with pytest.raises(ValueError, match="begun over 40 records; src now has 41"):
        pc.data.prepare(many, dest)
    (many / "new.hea").unlink()
    (many / "g0" / "r00.hea").rename(many / "g0" / "moved.hea")
    with pytest.raises(ValueError, match="begun over 40 records; src now has 40 others"):
        pc.data.prepare(many, dest)
    (dest / "plan.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        pc.data.prepare(many, dest)


def test_shards_of_several_computers(many, tmp_path, no_ops):
    """Two write to one folder; a third works elsewhere and brings its shards."""
    whole, dest, elsewhere = tmp_path / "whole", tmp_path / "store", tmp_path / "elsewhere"
    pc.data.prepare(many, whole)
    first = pc.data.prepare(many, dest, shard=(0, 3))
    assert (first.n_records, first.n_new, first.finished) == (16, 16, False)
    assert "still to be prepared" in str(first)
    pc.data.prepare(many, dest, shard=(2, 3))
    pc.data.prepare(many, elsewhere, shard=(1, 3))
    shutil.copytree(elsewhere / "shard-000001", dest / "shard-000001")
    report = pc.data.prepare(many, dest)
    assert (report.n_records, report.n_new, report.finished) == (40, 0, True)
    assert contents(pc.data.open_store(dest)) == contents(pc.data.open_store(whole))
    assert (dest / MANIFEST).read_bytes() == (whole / MANIFEST).read_bytes()


@pytest.mark.slow
def test_processes_make_the_same_store(many, tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    pc.data.prepare(many, one)
    monkeypatch.setattr(prepare_py, "ALONE_SECONDS", 0.0)
    report = pc.data.prepare(many, two, jobs=2)
    assert report.n_new == 40
    assert (one / MANIFEST).read_bytes() == (two / MANIFEST).read_bytes()


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_run(many, tmp_path):
    """With an error that says so, not with a hang; what was finished stays."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys\n"
        "import physioclr.data\n"
        "sys.modules['physioclr.data.prepare'].ALONE_SECONDS = 0\n"
        "def write(writer, pending, fs, leads):\n"
        "    if writer.final.name.endswith('2'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    physioclr.data.prepare(sys.argv[1], sys.argv[2], jobs=2)\n"
        "else:\n"
        "    sys.modules['physioclr.data.block']._write = write\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(pc.__file__).parents[1])}
    command = [sys.executable, str(script), str(many), str(tmp_path / "store")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "RuntimeError: a worker process of `prepare` died" in done.stderr
    assert not (tmp_path / "store" / "shard-000002").exists() and not (tmp_path / "store" / "store.json").exists()


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("busy", ["time.sleep(100)", "ctypes.PyDLL(None).sleep(100)"], ids=["waiting", "with the GIL"])
def test_workers_end_when_the_run_is_killed(many, tmp_path, busy):
    """Within 3 s, even from a call that lets no other thread run; what they had begun does not disturb the next run."""
    script = tmp_path / "script.py"
    script.write_text(
        "import ctypes, os, pathlib, sys, time\n"
        "import physioclr.data\n"
        "sys.modules['physioclr.data.prepare'].ALONE_SECONDS = 0\n"
        "def write(writer, pending, fs, leads):\n"
        "    (pathlib.Path(sys.argv[2]) / f'.pid-{os.getpid()}').touch()\n"
        f"    {busy}\n"
        "if __name__ == '__main__':\n"
        "    physioclr.data.prepare(sys.argv[1], sys.argv[2], jobs=2)\n"
        "else:\n"
        "    sys.modules['physioclr.data.block']._write = write\n"
    )
    dest = tmp_path / "store"
    environment = os.environ | {"PYTHONPATH": str(Path(pc.__file__).parents[1])}
    with subprocess.Popen([sys.executable, str(script), str(many), str(dest)], env=environment) as process:
        until = time.monotonic() + 60
        while len(pids := [int(p.name[5:]) for p in dest.glob(".pid-*")]) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    until = time.monotonic() + 3
    while any(map(running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    left = [pid for pid in pids if running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
    assert pc.data.prepare(many, dest).n_records == 40 and pc.data.verify(dest) == []


def test_real_records_with_labels(tmp_path):
    """The five LUDB records: rhythm labels, and R peaks within 75 ms of the cardiologists' QRS marks."""
    report = pc.data.prepare(DATA / "ludb", tmp_path / "store")
    assert report.n_records == 5 and report.n_skipped == 0
    store = pc.data.open_store(tmp_path / "store")
    names, y = store.labels["ludb_rhythm"]
    for i, record_id in enumerate(store.table["record_id"]):
        truth = ludb(record_id)
        np.testing.assert_allclose(store.read(i), truth.ecg, atol=1e-5)
        assert y[i].sum() == 1 and (record_id != "101" or names[int(y[i].argmax())] == "Atrial fibrillation")
        marks = truth.waves["ii"]["QRS"].peak
        distance = np.abs(store.rpeaks(i)[:, None] - marks[None]).min(axis=0)
        assert (distance <= 0.075 * store.fs).mean() >= 0.9
        assert store.features(i).shape == (2, 477)
        assert 0.5 < store.table["quality"][i] <= 1 and not store.table["paced"][i]


def test_plan_listsevery_record_once(many, tmp_path, no_ops):
    pc.data.prepare(many, tmp_path / "store", shard=(0, 5))
    lines = (tmp_path / "store" / "plan.txt").read_text().splitlines()
    ids = [json.loads(line) for line in lines]
    assert len(ids) == len(set(ids)) == 40 and ids == list(pc.data.find_records(many))


def test_names_that_are_not_utf8(tmp_path, rng, no_ops):
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "src") + b"/caf\xe9"))
    try:
        write_record(folder, "r", ecg_like(rng))
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    report = pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert report.n_records == 1 and pc.data.verify(tmp_path / "store") == []
