"""The store: a folder of NumPy files that holds prepared records, opened by memory-mapping.

docs/store.md describes every file. A million records cost no more memory to open than a thousand: signals, R peaks
and features stay on disk in shards, the record table in one .npy file per column, and only what is indexed is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..ops._arrays import STANDARD_LEADS

FORMAT = "physioclr-store"
VERSION = 1
MANIFEST = "store.json"
MISSING = np.int16(-32768)  # a sample that was not recorded, as in WFDB format 16

TABLE_COLUMNS = ("record_id", "source", "patient_id", "age", "sex", "fold", "n_samples", "quality", "paced")
OPTIONAL_COLUMNS = ("split", "own_fs", "left_out")  # text, in the table of a store where a record has it
# Where a record lies: its shard, and its first sample, R peak and segment within the shard's arrays.
PLACE_COLUMNS = ("shard", "sample_start", "rpeak_start", "n_rpeaks", "segment_start", "n_segments")
# dtype, and whether a row is a segment's features rather than one number
SHARD_ARRAYS = {"signals": ("<i2", False), "rpeaks": ("<i4", False), "features": ("<f4", True)}
HEADER_BYTES = 128  # of every .npy file of a store


class Columns(Mapping):
    """A read-only dict of NumPy columns, each memory-mapped when it is first asked for."""

    def __init__(self, folder: Path, names: tuple[str, ...], what: str):
        self._folder, self._names, self._what = folder, names, what
        self._open: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._open:
            if name not in self._names:
                raise KeyError(f"{name!r}; this store has the {self._what} {', '.join(self._names) or '(none)'}")
            self._open[name] = _load(self._folder / f"{name}.npy")
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Labels(Mapping):
    """scheme -> (class names, (N, C) uint8 multi-hot array)."""

    def __init__(self, folder: Path, classes: dict[str, list[str]]):
        self._classes = {scheme: tuple(names) for scheme, names in classes.items()}
        self._columns = Columns(folder, tuple(classes), "label schemes")

    def __getitem__(self, scheme: str) -> tuple[tuple[str, ...], np.ndarray]:
        return self._classes.get(scheme, ()), self._columns[scheme]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


class Store:
    """Prepared records. Made by `open_store`; safe to pickle, and to use after a fork or from several threads.

    Attributes:
        path: the folder.
        fs: sampling rate of every record, Hz.
        leads: the 12 standard names, in the order of the signals' rows.
        table: dict of (N,) columns: record_id, source, patient_id ("" where unknown), age (years, NaN where unknown),
            sex ("F", "M" or ""), fold (-1 where there is none), n_samples, quality (of the R peaks, 0..1) and paced
            (whether a ventricular pacing spike was seen); split, own_fs and left_out in a store where a record has them
            (docs/store.md).
        labels: dict scheme -> (class names, (N, C) uint8 multi-hot).
        labelled: dict scheme -> (N,) bool: whether the scheme applies to the record. Rows of others are zero.
        feature_leads, segment: leads whose features lie side by side in `features`, and the segment's length in s.
    """

    OPEN_FILES = 128  # memory maps of shards held at once, each an open file: well below the usual limit of 1,024

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).absolute()  # also for a process that has another working directory
        self.manifest = m = _read_manifest(self.path)
        self.fs = float(m["fs"])
        self.leads = tuple(m["leads"])
        self.segment = float(m["segment"])
        self.feature_leads = tuple(m["feature_leads"])
        self._n = int(m["n_records"])
        self._shards = m["shards"]
        self._maps: OrderedDict[tuple[int, str], np.ndarray] = OrderedDict()
        self._check_files()
        optional = tuple(c for c in OPTIONAL_COLUMNS if f"table/{c}.npy" in m["files"])
        self.table = Columns(self.path / "table", (*TABLE_COLUMNS, *optional), "columns")
        self.labels = Labels(self.path / "labels", m["labels"])
        self.labelled = Columns(self.path / "labelled", tuple(m["labels"]), "label schemes")
        self._place = Columns(self.path / "table", (*PLACE_COLUMNS, "scale"), "columns")

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}: {self._n} records, {self.fs:g} Hz)"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # the other process maps the files itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])

    def signal(self, i: int) -> np.ndarray:
        """Record i as stored: (12, T_i) int16, memory-mapped and read-only; -32768 is a missing sample."""
        i = self._index(i)
        n = int(self.table["n_samples"][i])
        start = 12 * int(self._place["sample_start"][i])
        return self._array(i, "signals")[start : start + 12 * n].reshape(12, n)

    def scale(self, i: int) -> np.ndarray:
        """mV per unit of `signal`, per lead: (12,) float32."""
        return np.array(self._place["scale"][self._index(i)])

    def read(self, i: int) -> np.ndarray:
        """Record i in mV: (12, T_i) float32, NaN where a sample is missing. A copy in memory."""
        i = self._index(i)
        n = int(self.table["n_samples"][i])
        start = HEADER_BYTES + 24 * int(self._place["sample_start"][i])
        # Read, not mapped: mapped pages count as this process's memory until the system needs them elsewhere.
        x = np.fromfile(self.path / self._shard(i)["name"] / "signals.npy", "<i2", 12 * n, offset=start).reshape(12, n)
        y = x * self.scale(i)[:, None]
        missing = x == MISSING
        if missing.any():
            y[missing] = np.nan
        return y

    def rpeaks(self, i: int) -> np.ndarray:
        """R peaks of the whole record, as samples: (P_i,) int32."""
        i = self._index(i)
        start = int(self._place["rpeak_start"][i])
        return np.array(self._array(i, "rpeaks")[start : start + int(self._place["n_rpeaks"][i])])

    def features(self, i: int) -> np.ndarray:
        """Physiological features of the record's consecutive segments: (S_i, 159 * len(feature_leads)) float32.

        Segment s is samples [s * segment * fs, (s + 1) * segment * fs); what is left at the end has no row.
        """
        i = self._index(i)
        start = int(self._place["segment_start"][i])
        return np.array(self._array(i, "features")[start : start + int(self._place["n_segments"][i])])

    def n_segments(self) -> np.ndarray:
        """How many segments each record has: (N,) int32."""
        return np.array(self._place["n_segments"])

    def summary(self) -> str:
        """A few lines of text: how many records of which source, how long, and how many of each class."""
        lines = [f"{self.path}: {self._n} records at {self.fs:g} Hz, {len(self._shards)} shards"]
        if self._n:
            seconds = np.asarray(self.table["n_samples"]) / self.fs
            span = f"{seconds.min():.1f} to {seconds.max():.1f} s" if np.ptp(seconds) else f"{seconds[0]:.1f} s each"
            lines.append(f"length: {span}, {seconds.sum() / 3600:.2f} h in all; {self.n_segments().sum()} segments")
            for name in ("source", "sex", "fold"):
                values, counts = np.unique(self.table[name], return_counts=True)
                cells = [
                    f"{v if str(v) not in ('', '-1') else 'unknown'} {c}" for v, c in zip(values, counts, strict=True)
                ]
                lines.append(f"{name}: {', '.join(cells)}")
            patients = np.unique(self.table["patient_id"])
            lines.append(f"known patients: {np.count_nonzero(patients != '')}")
        for scheme, (names, y) in self.labels.items():
            counts = y.sum(axis=0, dtype=np.int64) if self._n else np.zeros(len(names), int)
            cells = [f"{name} {c}" for name, c in zip(names, counts, strict=True) if c]
            lines.append(f"{scheme} ({int(np.sum(self.labelled[scheme]))} labelled): {', '.join(cells) or 'none'}")
        lines.append(f"left out: {self.manifest['n_skipped']} (skipped.csv)")
        return "\n".join(lines)

    def _index(self, i: int) -> int:
        j = int(i) + self._n if i < 0 else int(i)
        if not 0 <= j < self._n:
            raise IndexError(f"record {i} of a store of {self._n}")
        return j

    def _shard(self, i: int) -> dict[str, Any]:
        return self._shards[int(self._place["shard"][i])]

    def _array(self, i: int, name: str) -> np.ndarray:
        """The array of record i's shard, mapped; the maps used longest ago are let go of."""
        key = (int(self._place["shard"][i]), name)
        array = self._maps.get(key)
        if array is None:
            array = self._maps[key] = self._map(*key)
        with contextlib.suppress(KeyError):  # another thread let go of one first
            self._maps.move_to_end(key)
            while len(self._maps) > self.OPEN_FILES:
                self._maps.popitem(last=False)
        return array

    def _map(self, k: int, name: str) -> np.ndarray:
        """Map an array of shard k without reading its header, whose size and dtype are fixed."""
        dtype, row = SHARD_ARRAYS[name]
        shape = (-1, 159 * len(self.feature_leads)) if row else (-1,)
        file, entry = f"{name}.npy", self._shards[k]["files"][f"{name}.npy"]
        n = (entry["bytes"] - HEADER_BYTES) // np.dtype(dtype).itemsize
        if not n:
            return np.empty(0, dtype).reshape(0, *shape[1:])
        return np.memmap(self.path / self._shards[k]["name"] / file, dtype, "r", HEADER_BYTES, (n,)).reshape(shape)

    def _check_files(self) -> None:
        """Every file is there with its size: cheap, so done at each opening. `verify` also reads the contents."""
        for name, entry in self._files():
            try:
                size = (self.path / name).stat().st_size
            except OSError:
                raise ValueError(f"{self.path} is damaged: {name} is missing") from None
            if size != entry["bytes"]:
                raise ValueError(f"{self.path} is damaged: {name} has {size} bytes; it must have {entry['bytes']}")

    def _files(self) -> Iterator[tuple[str, dict[str, int]]]:
        yield from self.manifest["files"].items()
        for shard in self._shards:
            for name, entry in shard["files"].items():
                yield f"{shard['name']}/{name}", entry


def open_store(path: str | os.PathLike) -> Store:
    """Open a store made by `prepare` for reading.

    Raises:
        ValueError: the folder is not a store, is not finished, is of a newer version, or lacks files; the message
            says which.
    """
    return Store(path)


def verify(path: str | os.PathLike | Store) -> list[str]:
    """Check a store against its manifest: every file's checksum, every array's shape, every count.

    Returns:
        The problems, one sentence each; an empty list if the store is sound. Reads every byte once.
    """
    if isinstance(path, Store):
        path = path.path
    path = Path(path).absolute()
    try:
        store = open_store(path)
    except ValueError as e:
        return [str(e)]
    problems = [
        f"{name}: checksum {crc:08x}; it must be {entry['crc32']:08x}"
        for name, entry in store._files()
        if (crc := crc32_of_file(store.path / name)) != entry["crc32"]
    ]
    try:
        problems += _count_problems(store)
    except (ValueError, IndexError, OSError) as e:
        problems.append(f"the arrays cannot be read: {e}")
    return problems


def _count_problems(store: Store) -> Iterator[str]:
    n = len(store)
    columns = [(f"table/{c}.npy", store.table[c], (n,)) for c in store.table]
    columns += [(f"table/{c}.npy", store._place[c], (n,)) for c in PLACE_COLUMNS]
    columns.append(("table/scale.npy", store._place["scale"], (n, 12)))
    for scheme, (names, y) in store.labels.items():
        columns.append((f"labels/{scheme}.npy", y, (n, len(names))))
        columns.append((f"labelled/{scheme}.npy", store.labelled[scheme], (n,)))
    for name, array, shape in columns:
        if array.shape != shape:
            yield f"{name} has shape {array.shape}; it must be {shape}"
            return
    ids, counts = np.unique(store.table["record_id"], return_counts=True)
    for i in ids[counts > 1][:5]:
        yield f"record {i} is there more than once"
    shard = np.asarray(store._place["shard"])
    for k, entry in enumerate(store._shards):
        mine = np.flatnonzero(shard == k)
        width = 159 * len(store.feature_leads)
        arrays = {name: _load(store.path / entry["name"] / f"{name}.npy") for name in SHARD_ARRAYS}
        n_samples = np.asarray(store.table["n_samples"])[mine].astype(np.int64)
        expected = {
            "signals": (np.int16, (12 * int(n_samples.sum()),)),
            "rpeaks": (np.int32, (int(store._place["n_rpeaks"][mine].sum()),)),
            "features": (np.float32, (int(store._place["n_segments"][mine].sum()), width)),
        }
        for name, (dtype, shape) in expected.items():
            if arrays[name].dtype != dtype or arrays[name].shape != shape:
                yield (
                    f"{entry['name']}/{name}.npy is {arrays[name].dtype} {arrays[name].shape}; "
                    f"the table asks for {np.dtype(dtype)} {shape}"
                )
        if len(mine) != entry["n_records"]:
            yield f"{entry['name']} has {entry['n_records']} records, the table {len(mine)}"
        for start, length in (
            ("sample_start", n_samples),
            ("rpeak_start", store._place["n_rpeaks"][mine]),
            ("segment_start", store._place["n_segments"][mine]),
        ):
            begins = np.concatenate([[0], np.cumsum(length)[:-1]]) if len(mine) else np.zeros(0)
            if not np.array_equal(store._place[start][mine], begins):
                yield f"table/{start}.npy: the records of {entry['name']} overlap or leave gaps"
        for i in mine:
            r = store.rpeaks(i)
            if len(r) and (r[0] < 0 or r[-1] >= store.table["n_samples"][i] or np.any(np.diff(r) <= 0)):
                yield f"record {store.table['record_id'][i]}: its R peaks are not ascending samples of the record"


# ---- files --------------------------------------------------------------------------------------------------------


def crc32_of_file(path: Path) -> int:
    crc = 0
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def manifest_crc(manifest: dict[str, Any]) -> int:
    """CRC-32 of the manifest's other entries, written compactly with sorted keys."""
    rest = {k: v for k, v in manifest.items() if k != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())


def _load(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size and _is_empty_array(path):  # an empty file region cannot be mapped
            return np.load(path, allow_pickle=False)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as e:
        raise ValueError(f"{path} cannot be read as a NumPy array: {e}") from None


def _is_empty_array(path: Path) -> bool:
    with open(path, "rb") as f:
        version = np.lib.format.read_magic(f)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return 0 in read(f)[0]


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; it must be a store made by `prepare`")
    if not file.is_file():
        begun = "an unfinished store: run the same `prepare` again" if (path / "plan.json").is_file() else "not a store"
        raise ValueError(f"{path} is {begun} (it has no {MANIFEST})")
    try:
        m = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as e:
        raise ValueError(f"{file} is damaged: {e}") from None
    if not isinstance(m, dict) or m.get("format") != FORMAT:
        raise ValueError(f"{file} is not the manifest of a {FORMAT}")
    if m.get("version") != VERSION:
        raise ValueError(f"{path} is a store of version {m.get('version')!r}; this library reads version {VERSION}")
    if m.get("crc32") != manifest_crc(m):
        raise ValueError(f"{file} is damaged: its checksum does not fit")
    if tuple(m["leads"]) != STANDARD_LEADS:
        raise ValueError(f"{file}: leads is {m['leads']!r}; it must be {list(STANDARD_LEADS)}")
    return m
