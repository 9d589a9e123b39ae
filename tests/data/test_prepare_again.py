"""prepare: errors of the system end the run; what was left out is tried again; a run that keeps nothing says so."""

import errno
import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
from test_prepare import contents, no_ops  # noqa: F401
from wfdb_files import ecg_like, write_record

import physioclr as pc
from physioclr.data.recipe import environment_error
from physioclr.data.wfdb_source import RecordError

wfdb_source = sys.modules["physioclr.data.wfdb_source"]


@pytest.fixture
def source(tmp_path, rng):
    """20 records in two blocks; r03 and r17 have lost their signals."""
    x = ecg_like(rng)
    for k in range(20):
        write_record(tmp_path / "src", f"r{k:02d}", np.roll(x, 37 * k, axis=1))
    for k in (3, 17):
        (tmp_path / "src" / f"r{k:02d}.dat").rename(tmp_path / f"r{k:02d}.dat")
    return tmp_path / "src"


def repair(source, k):
    (source.parent / f"r{k:02d}.dat").rename(source / f"r{k:02d}.dat")


# ---- errors of the system -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError("no memory"),
        ImportError("No module named 'wfdb'"),
        ZeroDivisionError("a bug"),
    ],
)
@pytest.mark.parametrize("told_as", [RecordError, None])
def test_an_error_of_the_system_ends_the_run(source, tmp_path, monkeypatch, no_ops, error, told_as):  # noqa: F811
    """Also where a reader turns it into a RecordError, as it cannot tell whose fault it was."""
    if isinstance(error, ZeroDivisionError):  # a reader that tells of one has found that the file makes no sense
        told_as = None
    read = wfdb_source.read_record

    def failing(path, root):
        if not str(path).endswith("r05"):
            return read(path, root)
        try:
            raise error
        except Exception as e:
            if told_as is None:
                raise
            raise told_as(f"cannot be read: {e}") from None

    with monkeypatch.context() as m:
        m.setattr(sys.modules["physioclr.data.sources"], "read_record", failing)
        with pytest.raises(type(error)) as raised:
            pc.data.prepare(source, tmp_path / "store")
    assert raised.value is error and "while reading the record r05" in error.__notes__
    del error.__notes__
    report = pc.data.prepare(source, tmp_path / "store")
    assert report.n_records == 18 and set(dict(report.skipped())) == {"r03", "r17"}


@pytest.mark.parametrize("code", [None, errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.EINVAL])
def test_what_is_wrong_with_the_file_itself_is_not_the_system(code):
    error = OSError(code, "text") if code else OSError("text")
    try:
        try:
            raise error
        except OSError:
            raise RecordError("cannot be read") from None
    except RecordError as e:
        assert environment_error(e) is None


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_a_finished_shard_that_cannot_be_read_now_is_kept(source, tmp_path, monkeypatch, no_ops, number):  # noqa: F811
    """It would otherwise be taken for unfinished, and removed."""
    pc.data.prepare(source, tmp_path / "store")
    real = pathlib.Path.read_text

    def refuse(self, *arguments, **named):
        if self.parent.name == "shard-000000":
            raise OSError(number, os.strerror(number), str(self))
        return real(self, *arguments, **named)

    with monkeypatch.context() as m:
        m.setattr(pathlib.Path, "read_text", refuse)
        with pytest.raises(OSError, match=os.strerror(number)):
            pc.data.prepare(source, tmp_path / "store")
    assert (tmp_path / "store" / "shard-000000" / "signals.npy").is_file()
    assert pc.data.verify(tmp_path / "store") == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
def test_a_folder_that_the_system_cannot_look_at_ends_the_search(source, tmp_path, monkeypatch, number):
    """Passed over, it would lose its records without a word."""

    class Entry:
        name, path = "folder", str(source / "folder")

        def is_dir(self):
            raise OSError(number, os.strerror(number))

    find = sys.modules["physioclr.data.wfdb_find"]
    assert find._is_folder.__module__ == find.__name__
    with pytest.raises(OSError, match=os.strerror(number)):
        find._is_folder(Entry())
    e = OSError(number, os.strerror(number), "somewhere")
    with pytest.raises(OSError) as raised:
        find.not_listed(e)
    assert raised.value is e
    with pytest.raises(ValueError, match="somewhere cannot be listed"):
        find.not_listed(OSError(errno.EACCES, "Permission denied", "somewhere"))


def test_a_full_disk_ends_the_run(source, tmp_path, monkeypatch, no_ops):  # noqa: F811
    writer = sys.modules["physioclr.data.store_writer"]

    def full(self, rows):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(writer.ArrayFile, "append", full)
        with pytest.raises(OSError, match="No space left"):
            pc.data.prepare(source, tmp_path / "store")
    assert not list((tmp_path / "store").glob("shard-*")) and not list((tmp_path / "store").glob(".shard-*"))
    assert pc.data.prepare(source, tmp_path / "store").n_records == 18


# ---- the next run -------------------------------------------------------------------------------------------------


def test_what_was_left_out_is_tried_again(source, tmp_path, no_ops):  # noqa: F811
    dest = tmp_path / "store"
    first = pc.data.prepare(source, dest)
    assert (first.n_records, first.n_skipped, first.finished) == (18, 2, True)
    before = {p: p.stat().st_mtime_ns for p in dest.rglob("*") if p.is_file() and not p.name.endswith(".lock")}
    again = pc.data.prepare(source, dest)  # nothing has changed: nothing is written
    assert (again.n_new, again.n_records, again.n_skipped) == (0, 18, 2)
    assert {p: p.stat().st_mtime_ns for p in before} == before

    repair(source, 17)
    calls = []
    second = pc.data.prepare(source, dest, progress=lambda *a: calls.append(a))
    assert (second.n_records, second.n_skipped, second.n_new) == (19, 1, 4)  # the second block was made again
    assert calls == [(0, 20, 0), (16, 20, 1), (20, 20, 1)]
    assert dict(second.skipped()).keys() == {"r03"} and pc.data.verify(dest) == []
    repair(source, 3)
    assert pc.data.prepare(source, dest).n_records == 20 and pc.data.verify(dest) == []
    pc.data.prepare(source, tmp_path / "whole")
    assert contents(pc.data.open_store(dest)) == contents(pc.data.open_store(tmp_path / "whole"))
    assert not [p.name for p in dest.iterdir() if p.name[0] == "." and not p.name.endswith(".lock")]


def test_another_reason_is_told(source, tmp_path, no_ops):  # noqa: F811
    dest = tmp_path / "store"
    pc.data.prepare(source, dest)
    (source / "r03.hea").write_text("")
    assert dict(pc.data.prepare(source, dest).skipped())["r03"] == "the header is empty"
    assert "r03,the header is empty" in (dest / "skipped.csv").read_text() and pc.data.verify(dest) == []


@pytest.mark.parametrize("step", range(3))
def test_stopped_while_a_shard_is_replaced(source, tmp_path, monkeypatch, no_ops, step):  # noqa: F811
    """Before the old shard is moved away, before the new one takes its place, before the old one is removed."""
    dest = tmp_path / "store"
    pc.data.prepare(source, dest)
    repair(source, 17)
    rename, calls = os.rename, []

    def stopped(a, b):
        calls.append(b)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        rename(a, b)

    rmtree = shutil.rmtree

    def stopped_removing(path, **settings):
        if str(path).endswith(".old"):
            raise KeyboardInterrupt
        rmtree(path, **settings)

    with monkeypatch.context() as m:
        m.setattr(os, "rename", stopped)
        m.setattr(shutil, "rmtree", stopped_removing)
        with pytest.raises(KeyboardInterrupt):
            pc.data.prepare(source, dest)
    with pytest.raises(ValueError, match="unfinished store"):
        pc.data.open_store(dest)
    assert pc.data.prepare(source, dest).n_records == 19 and pc.data.verify(dest) == []
    assert not [p.name for p in dest.iterdir() if p.name[0] == "." and not p.name.endswith(".lock")]


def test_shards_try_their_own_records_again(source, tmp_path, no_ops):  # noqa: F811
    dest = tmp_path / "store"
    pc.data.prepare(source, dest, shard=(0, 2))
    pc.data.prepare(source, dest, shard=(1, 2))
    repair(source, 3)
    repair(source, 17)
    one = pc.data.prepare(source, dest, shard=(1, 2))  # r17 is in the second block
    assert (one.n_records, one.n_skipped) == (19, 1) and pc.data.verify(dest) == []
    assert pc.data.prepare(source, dest, shard=(0, 2)).n_records == 20 and pc.data.verify(dest) == []


def test_a_run_that_keeps_nothing_says_so(tmp_path, rng, monkeypatch, capsys):
    from physioclr import cli

    for k in range(3):
        write_record(tmp_path / "src", f"r{k}", ecg_like(rng, 2), leads=["MLII", "V1"])
    report = pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert report.kept_nothing and "nothing could be used" in str(report) and "it has 2 leads (MLII, V1)" in str(report)
    monkeypatch.setattr(sys, "argv", ["physioclr", "prepare", str(tmp_path / "src"), str(tmp_path / "store")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1 and "nothing could be used" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--shard", "2/2"])  # a part without a record of its own is no failure
    (tmp_path / "store" / "shard-000000").rename(tmp_path / "elsewhere")
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code


def test_an_error_names_its_record_on_the_command_line(source, tmp_path, monkeypatch, capsys, no_ops):  # noqa: F811
    from physioclr import cli

    def failing(path, root):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(sys.modules["physioclr.data.sources"], "read_record", failing)
    monkeypatch.setattr(sys, "argv", ["physioclr", "prepare", str(source), str(tmp_path / "store")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    told = capsys.readouterr().err
    assert end.value.code == 2 and "Permission denied" in told and "while reading the record r00" in told


def test_the_plan_remembers_the_settings(source, tmp_path, no_ops):  # noqa: F811
    pc.data.prepare(source, tmp_path / "store")
    plan = json.loads((tmp_path / "store" / "plan.json").read_text())
    assert (plan["zero_seconds"], plan["format"], plan["table"], plan["describe"]) == (0.2, "wfdb", None, None)
    with pytest.raises(ValueError, match=r"with zero_seconds = 0.2, not 0.0"):
        pc.data.prepare(source, tmp_path / "store", zero_seconds=0)
    with pytest.raises(ValueError, match="zero_seconds is -1"):
        pc.data.prepare(source, tmp_path / "store", zero_seconds=-1)


def test_links_are_followed_on_request(source, tmp_path, no_ops):  # noqa: F811
    write_record(tmp_path / "outside", "o", ecg_like(np.random.default_rng(1)))
    os.symlink(tmp_path / "outside", source / "link", target_is_directory=True)
    report = pc.data.prepare(source, tmp_path / "store", follow_links=True)
    assert report.n_found == 21 and report.n_records == 19 and report.remarks == ()
    assert json.loads((tmp_path / "store" / "plan.json").read_text())["follow_links"] is True


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_a_header_that_the_system_cannot_open_ends_the_search(tmp_path, rng, monkeypatch, number):
    """A multi-segment header passed over now would make records of its segments."""
    write_record(tmp_path / "src", "a", ecg_like(rng))
    real = os.open

    def refuse(path, *arguments, **named):
        if str(path).endswith(".hea"):
            raise OSError(number, os.strerror(number), path)
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        pc.data.prepare(tmp_path / "src", tmp_path / "store")


def test_memory_that_runs_out_in_a_library_is_no_fault_of_the_record(tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    from physioclr.data.device_sources import DicomSource

    (tmp_path / "a.dcm").write_bytes(b"DICM")

    def exhausted(*arguments, **named):
        raise MemoryError("no more")

    monkeypatch.setattr(pydicom, "dcmread", exhausted)
    with pytest.raises(MemoryError):
        DicomSource(tmp_path).read("a")
    with pytest.raises(MemoryError, match="no more"):
        pc.data.prepare(tmp_path, tmp_path / "store", format="dicom")
