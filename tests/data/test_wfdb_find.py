"""Finding records: links, spellings, and that nothing is passed over without a word."""

import os

import pytest
from wfdb_encode import write

from physioclr.data.wfdb_source import find_records, read_record


def record(folder, name="r"):
    return write(folder, name, f"{name} 1 250 1\n{name}.dat 16 1/mV\n", **{f"{name}_dat": b"\1\0"})


def found(src, **options):
    told = {}
    ids = list(find_records(src, passed_over=told.__setitem__, **options))
    return ids, told


@pytest.fixture
def linked(tmp_path):
    """src with a folder, a link to it, a link outside, one back to src, one to its parent, and one into nothing."""
    src = tmp_path / "src"
    record(src / "a")
    record(tmp_path / "outside" / "deep", "o")
    record(tmp_path / "beside", "b")
    for name, target in (
        ("again", src / "a"),
        ("loop", src),
        ("out", tmp_path / "outside"),
        ("out_deep", tmp_path / "outside" / "deep"),
        ("parent", tmp_path),
        ("broken", tmp_path / "absent"),
    ):
        os.symlink(target, src / name, target_is_directory=True)
    return src


def test_links_are_named_and_not_entered(linked):
    ids, told = found(linked)
    assert ids == ["a/r"]
    assert told == dict.fromkeys(("out", "out_deep", "parent"), "a link to a folder")


def test_links_are_followed_once(linked):
    """In order: "out" is entered and all below it, so that "out_deep" is not; "parent" adds what is beside src."""
    ids, told = found(linked, follow_links=True)
    assert ids == ["a/r", "out/deep/o", "parent/beside/b"] and told == {}
    for name in ids:
        assert read_record(linked / name, linked).samples.shape == (1, 1)


def test_loops_among_links_end(tmp_path):
    record(tmp_path / "src")
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    record(tmp_path / "y", "y")
    os.symlink(tmp_path / "y", tmp_path / "x" / "to_y")
    os.symlink(tmp_path / "x", tmp_path / "y" / "to_x")
    os.symlink(tmp_path / "x", tmp_path / "src" / "x")
    os.symlink("itself", tmp_path / "src" / "itself")
    assert found(tmp_path / "src", follow_links=True)[0] == ["r", "x/to_y/y"]


def test_src_that_is_a_link_and_links_into_hidden_folders(tmp_path):
    """A hidden folder is entered by a link alone, as one outside: data sets managed by git keep theirs so."""
    record(tmp_path / "real" / ".store", "h")
    record(tmp_path / "real")
    os.symlink(tmp_path / "real" / ".store", tmp_path / "real" / "shown")
    os.symlink(tmp_path / "real", tmp_path / "src")
    assert found(tmp_path / "src") == (["r"], {"shown": "a link to a folder"})
    assert found(tmp_path / "src", follow_links=True) == (["r", "shown/h"], {})


def test_headers_in_capitals_and_two_of_one_name(tmp_path):
    record(tmp_path)
    (tmp_path / "r.hea").rename(tmp_path / "R.HEA")
    (tmp_path / "r.dat").rename(tmp_path / "R.DAT")
    record(tmp_path, "s")
    (tmp_path / "s.HEA").write_bytes((tmp_path / "s.hea").read_bytes())
    if not (tmp_path / "S.HEA").exists():  # on a file system that tells cases apart
        assert found(tmp_path) == (["R", "s"], {"s.HEA": "s.hea beside it is read"})
        assert read_record(tmp_path / "R").samples.shape == (1, 1)


def test_the_other_rate_of_ptbxl_is_named(tmp_path):
    record(tmp_path / "records100" / "00000")
    record(tmp_path / "records500" / "00000")
    ids, told = found(tmp_path)
    assert ids == ["records500/00000/r"]
    assert told == {"records100": "records500 has the same recordings at 500 Hz"}


def test_a_folder_with_the_name_of_a_header(tmp_path):
    record(tmp_path / "odd.hea")
    record(tmp_path / ".hidden")
    assert found(tmp_path) == (["odd.hea/r"], {})
