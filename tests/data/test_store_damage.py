"""Damaged and hostile stores: the same values or one line that names file and field, never another exception."""

import json
import re
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
from tiny_store import LENGTHS, check, everything, seal, tiny_store

import physioclr as pc
from physioclr import cli
from physioclr._files import DamagedFile
from physioclr.data.store_files import MANIFEST, read_header
from physioclr.data.store_writer import finished_shard


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    dest = tiny_store(tmp_path_factory.mktemp("tiny") / "store")
    return dest, everything(dest)


@pytest.fixture
def store(sound, tmp_path):
    return shutil.copytree(sound[0], tmp_path / "store")


def files(dest):
    return sorted(str(p.relative_to(dest)) for p in dest.rglob("*") if p.is_file())


def test_every_file_is_in_the_manifest(sound):
    dest, _ = sound
    assert pc.data.verify(dest) == []
    manifest = json.loads((dest / MANIFEST).read_text())
    listed = [*manifest["files"], *(f"{s['name']}/{f}" for s in manifest["shards"] for f in s["files"])]
    assert sorted([*listed, MANIFEST]) == files(dest)


def flips(dest, rng, n):
    """n places (file, byte, bit), each file as often as any other."""
    names = files(dest)
    for k in range(n):
        name = names[k % len(names)]
        yield name, int(rng.integers((dest / name).stat().st_size)), 1 << int(rng.integers(8))


def damage_and_check(store, want, name, at, mask, sealed=False):
    path = store / name
    raw = path.read_bytes()
    manifest = (store / MANIFEST).read_bytes()
    path.write_bytes(raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :])
    try:
        if sealed and name != MANIFEST:
            seal(store, name)
        return check(store, want)
    finally:
        path.write_bytes(raw)
        (store / MANIFEST).write_bytes(manifest)


def test_one_flipped_bit_anywhere(store, sound, rng):
    """1 to 300 of the places; `verify` finds every one."""
    found = Counter()
    for name, at, mask in flips(store, rng, 300):
        found[damage_and_check(store, sound[1], name, at, mask)] += 1
        assert pc.data.verify(store) == []
    assert found["named"] > 20 and found["found by verify"] > 50 and not found["wrong"], found


@pytest.mark.slow
def test_every_byte_of_every_file(store, sound):
    for name in files(store):
        for at in range((store / name).stat().st_size):
            damage_and_check(store, sound[1], name, at, 1 << (at % 8))


@pytest.mark.parametrize("name", ["table/n_samples.npy", "shard-000000/rpeaks.npy", "labels/a.npy", "table/source.npy"])
def test_every_byte_of_an_array_header(store, sound, name, rng):
    """Those of a shard's array are read by position, and found by `verify`."""
    for at in range(128):
        damage_and_check(store, sound[1], name, at, 1 << int(rng.integers(8)))
    raw = (store / name).read_bytes()
    for at in range(128):  # and with a checksum that fits
        (store / name).write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        seal(store, name)
        assert pc.data.verify(store), at


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (-3,), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<i4', 'fortran_order': True, 'shape': (3,), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (3,,), }",
        "{'descr': '<U999999999', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (3,), }",
        "{" * 5000,
    ],
)
def test_hostile_headers(tmp_path, header):
    text = header.encode() + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 12)
    with pytest.raises(DamagedFile, match=r"x\.npy is damaged: "):
        read_header(tmp_path / "x.npy")


def test_headers_that_numpy_writes(tmp_path):
    for x in (np.zeros((3, 4), "f4"), np.array(["a", "bcd"]), np.zeros(0, "i8"), np.zeros((0, 5), "u1"), np.float64(3)):
        np.save(tmp_path / "x.npy", x)
        header = read_header(tmp_path / "x.npy")
        assert (header.dtype, header.shape) == (x.dtype, x.shape)


VALUES = {  # file, row, value: what `verify` says with a checksum that fits
    "scale inf": ("table/scale.npy", (0, 3), np.inf, r"scale.npy: row 0 .* must be finite"),
    "scale NaN": ("table/scale.npy", (2, 0), np.nan, r"scale.npy: row 2 .* must be finite"),
    "scale 0": ("table/scale.npy", (2, 11), 0, r"scale.npy: row 2 .* not 0"),
    "n_samples negative": ("table/n_samples.npy", 0, -1, r"n_samples.npy: row 0 is -1; it must be at least 0"),
    "n_samples too large": (
        "table/n_samples.npy",
        2,
        26,
        r"shard-000001/signals.npy is int16 \(300,\); the table asks",
    ),
    "sample_start": ("table/sample_start.npy", 1, 1 << 40, r"sample_start.npy: the records of shard-000000 overlap"),
    "shard": ("table/shard.npy", 0, 2, r"shard.npy: row 0 is 2; it must be 0 to 1"),
    "n_rpeaks": ("table/n_rpeaks.npy", 0, 3, r"shard-000000/rpeaks.npy is int32 \(4,\)"),
    "segment_start": ("table/segment_start.npy", 0, 1, r"segment_start.npy: the records of shard-000000 overlap"),
    "quality": ("table/quality.npy", 0, np.nan, r"quality.npy: row 0 is nan; it must be 0 to 1"),
    "age": ("table/age.npy", 0, -4, r"age.npy: row 0 is -4.0"),
    "fold": ("table/fold.npy", 0, -7, r"fold.npy: row 0 is -7"),
    "record_id": ("table/record_id.npy", 1, "r0", r"record r0 is there more than once"),
    "labels": ("labels/a.npy", (1, 0), 3, r"labels/a.npy: row 1 .* must be 0 and 1"),
    "labels of the unlabelled": ("labels/a.npy", (0, 0), 1, r"labels/a.npy: row 0 has classes"),
    "rpeaks": ("shard-000000/rpeaks.npy", 1, 40, r"rpeaks of record r0|R peaks of record r0"),
    "rpeaks unordered": ("shard-000000/rpeaks.npy", 1, 5, r"R peaks of record r0"),
    "features": ("shard-000000/features.npy", (0, 7), np.inf, r"features.npy: a feature is infinite"),
}


@pytest.mark.parametrize("case", VALUES)
def test_numbers_that_cannot_be(store, sound, case):
    name, at, value, message = VALUES[case]
    x = np.load(store / name)
    x[at] = value
    np.save(store / name, x)
    seal(store, name)
    problems = pc.data.verify(store)
    assert any(re.search(message, p) for p in problems), problems
    assert check(store, sound[1]) in ("named", "found by verify")


@pytest.mark.parametrize("value", [-1, -(2**31), 66, 2**31 - 1])
def test_a_wrong_length_never_gives_another_record(store, value):
    x = np.load(store / "table/n_samples.npy")
    x[0] = value
    np.save(store / "table/n_samples.npy", x)
    seal(store, "table/n_samples.npy")
    opened = pc.data.open_store(store)
    for read in (opened.signal, opened.read):
        with pytest.raises(DamagedFile, match=rf"n_samples.npy is damaged: row 0 is {value}; it must be 0 to 40"):
            read(0)
        assert read(2).shape == (12, LENGTHS[2])


def shard(**values):
    return lambda m: m["shards"][0].update(values)


def entry(file, **values):
    return lambda m: m["files"].setdefault(file, {"bytes": 1, "crc32": 1}).update(values)


MANIFESTS = {
    "fs 0": (lambda m: m.update(fs=0), "field fs is 0; it must be a number above 0"),
    "fs NaN": (lambda m: m.update(fs=float("nan")), "field fs is nan"),
    "fs a text": (lambda m: m.update(fs="500"), "field fs is '500'"),
    "segment": (lambda m: m.update(segment=-5.0), "field segment is -5.0"),
    "five leads": (lambda m: m.update(leads=m["leads"][:5]), "field leads is .* it must be"),
    "no leads": (lambda m: m.pop("leads"), "it has no field leads"),
    "feature leads": (lambda m: m.update(feature_leads=["II", "V1"]), r"features.npy of \d+ bytes; it must be 128 and"),
    "no feature leads": (lambda m: m.update(feature_leads=[]), "field feature_leads is"),
    "n_records": (lambda m: m.update(n_records=-1), "field n_records is -1; it must be an integer of at least 0"),
    "n_records of shards": (lambda m: m.update(n_records=4), "field n_records is 4; its shards have 3"),
    "shards": (lambda m: m.update(shards={}), "field shards is {}; it must be a list"),
    "a shard": (lambda m: m.update(shards=[3]), r"field shards\[0\] is 3"),
    "path up": (shard(name="../../.."), r"shards\[0\].name is '../../..'"),
    "path absolute": (shard(name="/etc"), r"shards\[0\].name is '/etc'"),
    "twice": (shard(name="shard-000001"), r"shards\[1\].name is 'shard-000001'"),
    "file up": (entry("../../etc/passwd"), "files names '../../etc/passwd', which is no file of a store"),
    "file absolute": (entry("/etc/passwd"), "files names '/etc/passwd'"),
    "file in a shard": (lambda m: m["shards"][0]["files"].update({"../x": {"bytes": 1, "crc32": 1}}), "names '../x'"),
    "no file": (lambda m: m["files"].pop("table/age.npy"), "field files has no table/age.npy"),
    "bytes": (entry("records.csv", bytes=-1), "of records.csv; it must have the counts"),
    "bytes of an array": (lambda m: m["shards"][0]["files"]["signals.npy"].update(bytes=7), "signals.npy of 7 bytes"),
    "labels": (lambda m: m.update(labels={"../x": []}), "names the scheme '../x'"),
    "classes": (lambda m: m.update(labels={"a": 3}), "field labels.a is 3; it must be a list of classes"),
    "n_skipped": (lambda m: m.update(n_skipped="2"), "field n_skipped is '2'"),
}  # fmt: skip


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_that_cannot_be(store, case):
    change, message = MANIFESTS[case]
    seal(store, change=change)
    with pytest.raises(DamagedFile, match=message) as caught:
        pc.data.open_store(store)
    assert str(caught.value).startswith(str(store)) and "\n" not in str(caught.value)
    assert pc.data.verify(store) == [str(caught.value)]


def test_nothing_outside_is_opened(store, tmp_path, monkeypatch):
    """A manifest whose file leads out of the store, with the size that fits."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    seal(store, change=entry("../secret", bytes=1, crc32=0))
    (problem,) = pc.data.verify(store)
    assert "names '../secret'" in problem and "checksum" not in problem


@pytest.mark.parametrize("name", ["plan.json", "plan.txt", "shard-000000/shard.json"])
def test_small_files_are_verified(store, name):
    raw = (store / name).read_bytes()
    (store / name).write_bytes(raw[:-2] + b" \n")
    (problem,) = pc.data.verify(store)
    assert problem.startswith(f"{name}: checksum")


def test_a_store_of_before_still_opens(store):
    """Those of this version without the small files in their manifest."""

    def old(m):
        for name in ("plan.json", "plan.txt"):
            del m["files"][name]
        for s in m["shards"]:
            del s["files"]["shard.json"]

    seal(store, change=old)
    assert pc.data.verify(store) == [] and len(pc.data.open_store(store)) == 3


@pytest.mark.parametrize(
    "change", [{"n_records": "x"}, {"files": []}, {"skipped": [3]}, {"widths": None}, {"classes": 1}]
)
def test_a_damaged_shard_manifest_is_no_finished_shard(store, change):
    path = store / "shard-000000" / "shard.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert finished_shard(store, "shard-000000") is None


@pytest.mark.parametrize("command", ["verify", "embed"])
def test_the_command_line_says_it_in_one_line(store, command, tmp_path, monkeypatch, capsys):
    seal(store, change=lambda m: m.update(fs=-1))
    arguments = [str(store), *(["--out", str(tmp_path / "e.npy")] if command == "embed" else [])]
    monkeypatch.setattr(sys, "argv", ["physioclr", command, *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = "".join(capsys.readouterr())
    assert ended.value.code == 1 and "store.json is damaged: field fs is -1" in said
    assert len(said.splitlines()) == (2 if command == "verify" else 1)
