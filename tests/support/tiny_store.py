"""A store of a few kilobytes with every kind of file, to be damaged, and what a reader gets out of a store."""

import json

import numpy as np

from physioclr.data import open_store, verify
from physioclr.data.store_files import MANIFEST, file_entry, manifest_crc
from physioclr.data.store_writer import ShardWriter, write_index, write_json

SETTINGS = {"library": "0", "fs": 500.0, "segment": 5.0, "feature_leads": ["II"]}
LENGTHS = (40, 0, 25)


def tiny_store(dest):
    """Three records of 40, 0 and 25 samples in two shards."""
    rng = np.random.default_rng(3)
    dest.mkdir(parents=True, exist_ok=True)
    (dest / "plan.json").write_text('{"format": "physioclr-plan"}\n')
    (dest / "plan.txt").write_text('"r0"\n"r1"\n"r2"\n')
    for k, rows in enumerate(((0, 1), (2,))):
        writer = ShardWriter(dest, f"shard-{k:06d}", 159)
        for i in rows:
            n = LENGTHS[i]
            row = {"record_id": f"r{i}", "source": "tiny", "patient_id": "p" * i, "age": 40.0 + i, "sex": "FM"[i % 2]}
            row |= {"fold": i, "quality": 0.5, "paced": i == 2, "dx": ["1"], "labels": {"a": ["x"]} if i else {}}
            signal = rng.integers(-900, 900, (12, n)).astype(np.int16)
            rpeaks = np.arange(5, n, 10).astype(np.int32)
            writer.add(signal, np.full(12, 0.001), rpeaks, rng.normal(size=(n // 20, 159)), row)
        writer.skip(f"bad{k}", "a reason")
        writer.commit()
    write_index(dest, ["shard-000000", "shard-000001"], SETTINGS, {"a": ("x", "y")})
    return dest


def seal(dest, name=None, change=None):
    """Make the manifest fit a file that was changed, and apply `change` to it: what only looking at values can find."""
    manifest = json.loads((dest / MANIFEST).read_text())
    if name:
        shard, _, file = name.rpartition("/")
        files = next((s["files"] for s in manifest["shards"] if s["name"] == shard), manifest["files"])
        files[file if files is not manifest["files"] else name] = file_entry(dest / name)
    if change:
        change(manifest)
    manifest["crc32"] = manifest_crc(manifest)
    write_json(dest / MANIFEST, manifest)


def everything(path):
    """All values of a store, to be compared. ValueError where the store says that it is damaged."""
    store = open_store(path)
    found = [store.fs, store.segment, store.leads, store.feature_leads, len(store), store.summary()]
    found += [(name, np.asarray(store.table[name]).tolist().__repr__()) for name in store.table]
    found += [
        (name, names, y.tolist(), np.asarray(store.labelled[name]).tolist())
        for name, (names, y) in store.labels.items()
    ]
    for i in range(len(store)):
        arrays = store.signal(i), store.scale(i), store.read(i), store.rpeaks(i), store.features(i)
        found += [(a.shape, a.dtype.str, a.tobytes()) for a in arrays]
    return found


def check(path, want):
    """One damaged store: everything reads as before, or differs and `verify` says so, or an error names it.

    Returns what came of it; any other exception is the caller's to see.
    """
    problems = verify(path)
    assert all(isinstance(p, str) and "\n" not in p for p in problems), problems
    try:
        got = everything(path)
    except ValueError as e:
        assert problems, f"verify finds nothing, reading raises {e!r}"
        assert "\n" not in str(e), str(e)
        return "named"
    if got == want:
        return "same"
    assert problems, "other values, and verify finds nothing"
    return "found by verify"
