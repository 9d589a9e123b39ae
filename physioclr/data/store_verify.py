"""The check of a whole store: every byte against its checksum, every number against what it can be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._files import DamagedFile
from .store import SPANS, Store
from .store_files import FEATURES_PER_LEAD, HEADER_BYTES, SHARD_ARRAYS, all_files, crc32_of_file, read_header

FIRST = 5  # problems of one kind that are named one by one


def verify(path: str | os.PathLike[str] | Store, *, progress: Callable[[int, int], object] | None = None) -> list[str]:
    """Check a store against its manifest: every file's checksum, every array's shape, every count and every value.

    Args:
        path: the store. progress: called with (files read, files in all) as their checksums are taken.

    Returns:
        The problems, one sentence each that names the file; an empty list if the store is sound. Reads every byte.
    """
    path = Path(path.path if isinstance(path, Store) else path).absolute()
    try:
        store = Store(path, checksums=False)  # what has another checksum is looked at all the same
    except ValueError as e:
        return [str(e)]
    problems = []
    files = list(all_files(store.manifest))
    for k, (name, entry) in enumerate(files):
        if progress is not None:
            progress(k, len(files))
        try:
            crc = crc32_of_file(path / name)
        except OSError as e:
            problems.append(f"{name}: it cannot be read: {e.strerror}")
            continue
        if crc != entry["crc32"]:
            problems.append(f"{name}: checksum {crc:08x}; it must be {entry['crc32']:08x}")
    columns, faults = _columns(store)
    problems += faults
    problems += _value_problems(store, columns)
    if not faults:
        problems += _shard_problems(store, columns)
    return problems


def _columns(store: Store) -> tuple[dict[str, np.ndarray], list[str]]:
    """Every array beside the shards by its file's name, and what is wrong with those that cannot be opened."""
    found, faults = {}, []
    groups: dict[str, tuple[Mapping[str, Any], ...]] = {
        "table": (store.table, store._place),
        "labels": (store.labels,),
        "labelled": (store.labelled,),
    }
    for folder, mappings in groups.items():
        for mapping in mappings:
            for name in mapping:
                try:
                    value = mapping[name]
                except (DamagedFile, OSError) as e:
                    faults.append(str(e))
                else:
                    found[f"{folder}/{name}.npy"] = value[1] if folder == "labels" else value
    return found, faults


def _value_problems(store: Store, columns: dict[str, np.ndarray]) -> Iterator[str]:
    n = len(store._shards)
    rules: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
        "table/scale.npy": (lambda x: (np.isfinite(x) & (x != 0)).all(axis=1), "finite and not 0"),
        "table/age.npy": (lambda x: np.isnan(x) | ((x >= 0) & (x < 200)), "0 to 200 or NaN"),
        "table/quality.npy": (lambda x: (x >= 0) & (x <= 1), "0 to 1"),
        "table/sex.npy": (lambda x: np.isin(x, ("F", "M", "")), "F, M or empty"),
        "table/shard.npy": (lambda x: (x >= 0) & (x < n), f"0 to {n - 1}"),
        "table/fold.npy": (lambda x: x >= -1, "at least -1"),
        "table/record_id.npy": (lambda x: x != "", "a text"),
    }
    counts = ("n_samples", "sample_start", "rpeak_start", "n_rpeaks", "segment_start", "n_segments")
    rules |= {f"table/{c}.npy": (lambda x: x >= 0, "at least 0") for c in counts}
    rules |= {f"labels/{s}.npy": (lambda x: (x <= 1).all(axis=1), "0 and 1") for s in store.labels}
    for name, (good, what) in rules.items():
        if name in columns:
            for i in np.flatnonzero(~good(columns[name]))[:FIRST]:
                yield f"{name}: row {i} is {columns[name][i]}; it must be {what}"
    for scheme in store.labels:
        y, of = columns.get(f"labels/{scheme}.npy"), columns.get(f"labelled/{scheme}.npy")
        if y is not None and of is not None:
            for i in np.flatnonzero(y.any(axis=1) & ~of)[:FIRST]:
                yield f"labels/{scheme}.npy: row {i} has classes; labelled/{scheme}.npy says that it is not labelled"
    if "table/record_id.npy" in columns:
        ids, times = np.unique(columns["table/record_id.npy"], return_counts=True)
        for i in ids[times > 1][:FIRST]:
            yield f"table/record_id.npy: record {i} is there more than once"


def _shard_problems(store: Store, columns: dict[str, np.ndarray]) -> Iterator[str]:
    """Whether the records of each shard lie one after another in its arrays and fill them."""
    of = np.asarray(columns["table/shard.npy"])
    order = np.argsort(of, kind="stable")
    bounds = np.searchsorted(of[order], np.arange(len(store._shards) + 1))
    width = FEATURES_PER_LEAD * len(store.feature_leads)
    for k, entry in enumerate(store._shards):
        mine = order[bounds[k] : bounds[k + 1]]
        if len(mine) != entry["n_records"]:
            yield f"table/shard.npy: {len(mine)} records are in {entry['name']}; the manifest says {entry['n_records']}"
        sound = True
        for name, (start, count) in SPANS.items():
            length = np.asarray(columns[f"table/{count}.npy"])[mine].astype(np.int64)
            begins = np.cumsum(length) - length
            if (length < 0).any() or not np.array_equal(columns[f"table/{start}.npy"][mine], begins):
                yield f"table/{start}.npy: the records of {entry['name']} overlap or leave gaps"
                sound = False
            rows = int(length.sum()) * (12 if name == "signals" else 1)
            shape = (rows, width) if SHARD_ARRAYS[name][1] else (rows,)
            try:
                header = read_header(store.path / entry["name"] / f"{name}.npy")
            except DamagedFile as e:
                yield str(e)
                sound = False
                continue
            if (header.dtype.str, header.shape, header.offset) != (SHARD_ARRAYS[name][0], shape, HEADER_BYTES):
                yield (
                    f"{entry['name']}/{name}.npy is {header.dtype} {header.shape}; "
                    f"the table asks for {np.dtype(SHARD_ARRAYS[name][0])} {shape}"
                )
                sound = False
        if sound and len(mine):
            yield from _peak_problems(store, columns, k, mine)


def _peak_problems(store: Store, columns: dict[str, np.ndarray], k: int, mine: np.ndarray) -> Iterator[str]:
    name = store._shards[k]["name"]
    counts = np.asarray(columns["table/n_rpeaks.npy"])[mine]
    r = np.asarray(store._array(k, "rpeaks")).astype(np.int64)
    record = np.repeat(np.arange(len(mine)), counts)
    wrong = (r < 0) | (r >= np.asarray(columns["table/n_samples.npy"])[mine][record])
    wrong[1:] |= (record[1:] == record[:-1]) & (r[1:] <= r[:-1])
    for j in np.unique(record[wrong])[:FIRST]:
        what = columns["table/record_id.npy"][mine[j]]
        yield f"{name}/rpeaks.npy: the R peaks of record {what} are not rising samples of the record"
    if np.isinf(store._array(k, "features")).any():
        yield f"{name}/features.npy: a feature is infinite; it must be a number or NaN"
