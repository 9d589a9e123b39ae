"""The store: what is written is read back, by our reader and by NumPy alone; damage is found and named."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import physioclr as pc
from physioclr.data.store import MISSING, Store
from physioclr.data.store_files import MANIFEST, TABLE_COLUMNS, file_entry, manifest_crc
from physioclr.data.store_writer import ArrayFile, ShardWriter, finished_shard, write_index

CLASSES = {"a": ("x", "y", "z"), "b": ("u",), "unused": ("v",)}
SETTINGS = {"fs": 500.0, "segment": 5.0, "feature_leads": ["II", "V1", "V5"]}
LENGTHS = (5000, 2500, 7777, 2500, 12_000, 3100, 5000)


def make_store(dest, rng):
    """Seven records in four shards, one of them empty. Returns what was put in."""
    records = []
    for k, rows in enumerate(((0, 1, 2), (), (3,), (4, 5, 6))):
        writer = ShardWriter(dest, f"shard-{k:06d}", 477)
        for i in rows:
            n = LENGTHS[i]
            record = {
                "signal": rng.integers(-32767, 32768, (12, n)).astype(np.int16),
                "scale": rng.uniform(1e-4, 1e-2, 12).astype(np.float32),
                "rpeaks": np.sort(rng.choice(n, i, replace=False)).astype(np.int32),
                "features": rng.normal(size=(n // 2500, 477)).astype(np.float32),
                "row": {
                    "record_id": f"set/{i}",
                    "source": "set" if i else "a longer name",
                    "patient_id": f"p{i}" if i % 2 else "",
                    "age": 40.5 + i if i else None,
                    "sex": "FM"[i % 2],
                    "fold": i - 1,
                    "quality": i / 8,
                    "paced": i == 3,
                    "dx": ["1", "2"][: i % 3],
                    "labels": {"a": ["x", "z"]} if i < 4 else {"b": []},
                },
            }
            record["signal"][i, 5:9] = MISSING
            writer.add(*(record[key] for key in ("signal", "scale", "rpeaks", "features", "row")))
            records.append(record)
        writer.skip(f"set/bad{k}", "its reason, with a comma")
        assert writer.commit() == (len(rows), 1)
    assert write_index(dest, [f"shard-{k:06d}" for k in range(4)], SETTINGS, CLASSES) == 7
    return records


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    dest = tmp_path_factory.mktemp("store")
    return dest, make_store(dest, np.random.default_rng(5))


@pytest.fixture
def copied(made, tmp_path):
    """A store of one's own, to damage."""
    return shutil.copytree(made[0], tmp_path / "store")


def test_records_come_back(made):
    dest, records = made
    store = pc.data.open_store(dest)
    assert (len(store), store.fs, store.leads[6]) == (7, 500.0, "V1")
    for i, record in enumerate(records):
        np.testing.assert_array_equal(store.signal(i), record["signal"])
        np.testing.assert_array_equal(store.scale(i), record["scale"])
        np.testing.assert_array_equal(store.rpeaks(i), record["rpeaks"])
        np.testing.assert_array_equal(store.features(i), record["features"])
        mv = store.read(i)
        missing = record["signal"] == MISSING
        np.testing.assert_array_equal(np.isnan(mv), missing)
        truth = record["signal"] * record["scale"].astype(np.float64)[:, None]
        np.testing.assert_allclose(mv[~missing], truth[~missing], rtol=1e-6)
        assert (mv.dtype, store.rpeaks(i).dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(store.n_segments(), [n // 2500 for n in LENGTHS])


def test_table_and_labels(made):
    store = pc.data.open_store(made[0])
    assert tuple(store.table) == TABLE_COLUMNS
    assert list(store.table["record_id"]) == [f"set/{i}" for i in range(7)]
    assert list(store.table["source"]) == ["a longer name"] + ["set"] * 6
    assert list(store.table["patient_id"]) == ["", "p1", "", "p3", "", "p5", ""]
    np.testing.assert_array_equal(store.table["age"], [np.nan, *(40.5 + np.arange(1, 7))])
    assert list(store.table["fold"]) == [-1, 0, 1, 2, 3, 4, 5]
    assert list(store.table["n_samples"]) == list(LENGTHS)
    assert list(store.table["quality"]) == [i / 8 for i in range(7)]
    assert list(np.flatnonzero(store.table["paced"])) == [3]
    assert set(store.labels) == {"a", "b"}
    names, y = store.labels["a"]
    assert names == ("x", "y", "z") and y.dtype == np.uint8
    np.testing.assert_array_equal(y, [[1, 0, 1]] * 4 + [[0, 0, 0]] * 3)
    np.testing.assert_array_equal(store.labelled["b"], [False] * 4 + [True] * 3)
    with pytest.raises(KeyError, match="label schemes a, b"):
        store.labels["c"]
    with pytest.raises(KeyError, match="columns record_id"):
        store.table["height"]


def test_signals_are_mapped_and_read_only(made):
    x = pc.data.open_store(made[0]).signal(2)
    assert isinstance(x.base, np.memmap) or isinstance(x, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0] = 1


@pytest.mark.parametrize("i", [7, -8, 100])
def test_index_out_of_range(made, i):
    store = pc.data.open_store(made[0])
    with pytest.raises(IndexError, match=f"record {i} of a store of 7"):
        store.read(i)
    np.testing.assert_array_equal(store.signal(-1), store.signal(6))


def test_pickle_threads_and_few_open_shards(made, monkeypatch):
    monkeypatch.setattr(Store, "OPEN_FILES", 1)
    store = pickle.loads(pickle.dumps(pc.data.open_store(made[0])))
    sums = [int(r["signal"].astype(np.int64).sum()) for r in made[1]]
    order = np.random.default_rng(0).integers(0, 7, 300)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: int(store.signal(i).astype(np.int64).sum()), order))
    assert found == [sums[i] for i in order]


def test_numpy_alone_reads_it(made):
    """docs/store.md promises that these lines work."""
    dest, records = made
    table = {c: np.load(dest / "table" / f"{c}.npy") for c in ("shard", "sample_start", "n_samples", "scale")}
    i = 5
    shard = json.loads((dest / "store.json").read_text())["shards"][table["shard"][i]]["name"]
    signals = np.load(dest / shard / "signals.npy", mmap_mode="r")
    start, n = 12 * table["sample_start"][i], 12 * table["n_samples"][i]
    np.testing.assert_array_equal(signals[start : start + n].reshape(12, -1), records[i]["signal"])


def test_pandas_reads_it(made):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(made[0] / "records.csv", dtype={"patient_id": str, "dx": str})
    assert list(frame["record_id"]) == [f"set/{i}" for i in range(7)]
    assert frame["a"][0] == "x|z" and frame["dx"][2] == "1|2" and np.isnan(frame["age"][0])
    skipped = pandas.read_csv(made[0] / "skipped.csv")
    assert list(skipped["reason"]) == ["its reason, with a comma"] * 4


def test_summary_names_sources_and_classes(made):
    text = pc.data.open_store(made[0]).summary()
    for part in ("7 records at 500 Hz", "4 shards", "set 6", "x 4", "left out: 4", "known patients: 3"):
        assert part in text


def test_empty_store(tmp_path):
    ShardWriter(tmp_path, "shard-000000", 477).commit()
    write_index(tmp_path, ["shard-000000"], SETTINGS, CLASSES)
    store = pc.data.open_store(tmp_path)
    assert len(store) == 0 and not store.labels and "0 records" in store.summary()
    assert store.table["age"].shape == (0,) and pc.data.verify(store) == []


def test_growing_array_file_is_a_plain_npy(tmp_path, rng):
    for shape in ((), (3,), (2, 5)):
        file = ArrayFile(tmp_path / "x.npy", "<f4", shape)
        blocks = [rng.normal(size=(n, *shape)).astype(np.float32) for n in (0, 1, 70, 3)]
        for block in blocks:
            file.append(block)
        file.close()
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.concatenate(blocks))


# ---- damage -------------------------------------------------------------------------------------------------------


def test_verify_finds_nothing_in_a_sound_store(made):
    assert pc.data.verify(made[0]) == []
    assert pc.data.verify(pc.data.open_store(made[0])) == []


FILES = ["shard-000000/signals.npy", "shard-000002/features.npy", "shard-000003/records.jsonl", "table/age.npy"]
FILES += ["table/scale.npy", "labels/a.npy", "labelled/b.npy", "records.csv", "skipped.csv"]


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_found(copied, name):
    raw = bytearray((copied / name).read_bytes())
    raw[-1] ^= 1
    (copied / name).write_bytes(raw)
    problems = pc.data.verify(copied)
    assert len(problems) >= 1 and problems[0].startswith(f"{name}: checksum")


@pytest.mark.parametrize("name", FILES)
def test_missing_and_shortened_files(copied, name):
    raw = (copied / name).read_bytes()
    (copied / name).write_bytes(raw[:-1])
    with pytest.raises(ValueError, match=f"{name} is damaged: it has {len(raw) - 1} bytes; it must have {len(raw)}"):
        pc.data.open_store(copied)
    (copied / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is damaged: it is missing"):
        pc.data.open_store(copied)
    assert pc.data.verify(copied) == [f"{copied / name} is damaged: it is missing"]


def test_table_that_does_not_fit_its_shards(copied):
    """Counts are checked too, for a store whose checksums were made after the mistake."""
    from physioclr.data.store_writer import write_json

    path = copied / "table" / "n_rpeaks.npy"
    counts = np.load(path)
    counts[3] += 1
    np.save(path, counts)
    manifest = json.loads((copied / MANIFEST).read_text())
    manifest["files"]["table/n_rpeaks.npy"] = file_entry(path)
    manifest["crc32"] = manifest_crc(manifest)
    write_json(copied / MANIFEST, manifest)
    assert any("shard-000002/rpeaks.npy" in p for p in pc.data.verify(copied))


def test_foreign_and_damaged_folders(copied, tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        pc.data.open_store(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"is not a store \(it has no store.json\)"):
        pc.data.open_store(tmp_path)
    manifest = copied / MANIFEST
    text = manifest.read_text()
    for changed, reason in (
        ("", "is damaged"),
        ("[1, 2]", "is not the manifest"),
        (text.replace("physioclr-store", "zarr"), "is not the manifest"),
        (text.replace('"version": 1', '"version": 2'), "version 2; this library reads version 1"),
        (text.replace('"n_records": 7', '"n_records": 8'), "checksum does not fit"),
        (text[: len(text) // 2], "is damaged"),
    ):
        manifest.write_text(changed)
        with pytest.raises(ValueError, match=reason):
            pc.data.open_store(copied)
        assert len(pc.data.verify(copied)) == 1
    manifest.unlink()
    (copied / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match="unfinished store"):
        pc.data.open_store(copied)


def test_shard_without_commit_leaves_nothing(tmp_path):
    writer = ShardWriter(tmp_path, "shard-000000", 477)
    writer.discard()
    assert list(tmp_path.iterdir()) == [] and finished_shard(tmp_path, "shard-000000") is None
    with pytest.raises(ValueError, match="missing or incomplete"):
        write_index(tmp_path, ["shard-000000"], SETTINGS, CLASSES)
