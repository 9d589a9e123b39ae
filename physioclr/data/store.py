"""The store: a folder of NumPy files that holds prepared records, opened by memory-mapping.

docs/store.md describes every file. A million records cost no more memory to open than a thousand: signals, R peaks
and features stay on disk in shards, the record table in one .npy file per column, and only what is indexed is read.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._files import DamagedFile
from .store_files import (
    DTYPES,
    FEATURES_PER_LEAD,
    HEADER_BYTES,
    OPTIONAL_COLUMNS,
    PLACE_COLUMNS,
    SHARD_ARRAYS,
    TABLE_COLUMNS,
    TEXT,
    all_files,
    crc32_of_file,
    load,
    read_header,
    read_manifest,
    row_bytes,
)

MISSING = np.int16(-32768)  # a sample that was not recorded, as in WFDB format 16


class Columns(Mapping[str, np.ndarray]):
    """A read-only dict of NumPy columns, each memory-mapped when it is first asked for.

    columns: name -> dtype (as store_files.DTYPES has it) and shape, which the file must have. seen: called with a
    file's path before it is used.
    """

    def __init__(
        self, folder: Path, columns: Mapping[str, tuple[str, tuple[int, ...]]], what: str, seen: Callable[[Path], None]
    ):
        self._folder, self._columns, self._what, self._seen = folder, columns, what, seen
        self._open: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._open:
            if name not in self._columns:
                raise KeyError(f"{name!r}; this store has the {self._what} {', '.join(self._columns) or '(none)'}")
            column = load(self._folder / f"{name}.npy", *self._columns[name])
            self._seen(self._folder / f"{name}.npy")
            self._open[name] = column
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class Labels(Mapping[str, tuple[tuple[str, ...], np.ndarray]]):
    """scheme -> (class names, (N, C) uint8 multi-hot array)."""

    def __init__(self, folder: Path, classes: dict[str, list[str]], n_records: int, seen: Callable[[Path], None]):
        self._classes = {scheme: tuple(names) for scheme, names in classes.items()}
        columns = {scheme: ("|u1", (n_records, len(names))) for scheme, names in classes.items()}
        self._columns = Columns(folder, columns, "label schemes", seen)

    def __getitem__(self, scheme: str) -> tuple[tuple[str, ...], np.ndarray]:
        return self._classes.get(scheme, ()), self._columns[scheme]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


# Where the rows of a record begin in a shard's array, and how many they are.
SPANS = {
    "signals": ("sample_start", "n_samples"),
    "rpeaks": ("rpeak_start", "n_rpeaks"),
    "features": ("segment_start", "n_segments"),
}


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

    path: Path
    manifest: dict[str, Any]
    fs: float
    segment: float
    leads: tuple[str, ...]
    feature_leads: tuple[str, ...]
    table: Columns
    labels: Labels
    labelled: Columns

    OPEN_FILES = 128  # memory maps of shards held at once, each an open file: well below the usual limit of 1,024

    def __init__(self, path: str | os.PathLike[str], *, checksums: bool = True):
        self.path = Path(path).absolute()  # also for a process that has another working directory
        self.manifest = m = read_manifest(self.path)
        self.fs = float(m["fs"])
        self.leads = tuple(m["leads"])
        self.segment = float(m["segment"])
        self.feature_leads = tuple(m["feature_leads"])
        self._n = int(m["n_records"])
        self._shards = m["shards"]
        self._files_of_shard = {s["name"]: s["files"] for s in m["shards"]}
        self._maps: OrderedDict[tuple[int, str], np.ndarray] = OrderedDict()
        self._checks, self._checked = checksums, set[str]()
        seen = self._check_file if checksums else lambda file: None
        self._seen = seen
        self._check_files()
        optional = tuple(c for c in OPTIONAL_COLUMNS if f"table/{c}.npy" in m["files"])
        n = self._n
        self.table = Columns(
            self.path / "table", {c: (DTYPES.get(c, TEXT), (n,)) for c in (*TABLE_COLUMNS, *optional)}, "columns", seen
        )
        self.labels = Labels(self.path / "labels", m["labels"], n, seen)
        applies = dict.fromkeys(m["labels"], ("|b1", (n,)))
        self.labelled = Columns(self.path / "labelled", applies, "label schemes", seen)
        place: dict[str, tuple[str, tuple[int, ...]]] = {c: (DTYPES[c], (n,)) for c in PLACE_COLUMNS}
        place["scale"] = (DTYPES["scale"], (n, 12))
        self._place = Columns(self.path / "table", place, "columns", seen)

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}: {self._n} records, {self.fs:g} Hz)"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # the other process maps the files itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        Store.__init__(self, state["path"])

    def signal(self, i: int) -> np.ndarray:
        """Record i as stored: (12, T_i) int16, memory-mapped and read-only; -32768 is a missing sample."""
        i = self._index(i)
        k, start, n = self._span(i, "signals")
        return self._array(k, "signals")[12 * start : 12 * (start + n)].reshape(12, n)

    def scale(self, i: int) -> np.ndarray:
        """mV per unit of `signal`, per lead: (12,) float32."""
        i = self._index(i)
        scale = np.array(self._place["scale"][i])
        if not (np.isfinite(scale) & (scale != 0)).all():
            raise DamagedFile(self.path / "table" / "scale.npy", f"row {i} is {scale}; it must be finite and not 0")
        return scale

    def read(self, i: int) -> np.ndarray:
        """Record i in mV: (12, T_i) float32, NaN where a sample is missing. A copy in memory."""
        i = self._index(i)
        k, start, n = self._span(i, "signals")
        # Read, not mapped: mapped pages count as this process's memory until the system needs them elsewhere.
        file = self._begin(k)
        x = np.fromfile(file, "<i2", 12 * n, offset=HEADER_BYTES + 24 * start)
        if len(x) != 12 * n:
            raise DamagedFile(file, "it has become shorter since the store was opened")
        x = x.reshape(12, n)
        y = x * self.scale(i)[:, None]
        missing = x == MISSING
        if missing.any():
            y[missing] = np.nan
        return y

    def rpeaks(self, i: int) -> np.ndarray:
        """R peaks of the whole record, as samples: (P_i,) int32, rising."""
        i = self._index(i)
        k, start, n = self._span(i, "rpeaks")
        r = np.array(self._array(k, "rpeaks")[start : start + n])
        if n and (r[0] < 0 or r[-1] >= self.table["n_samples"][i] or (r[1:] <= r[:-1]).any()):
            file = self.path / self._shards[k]["name"] / "rpeaks.npy"
            raise DamagedFile(file, f"the R peaks of record {i} are not rising samples of the record")
        return r

    def features(self, i: int) -> np.ndarray:
        """Physiological features of the record's consecutive segments: (S_i, 159 * len(feature_leads)) float32.

        Segment s is samples [s * segment * fs, (s + 1) * segment * fs); what is left at the end has no row.
        """
        k, start, n = self._span(self._index(i), "features")
        return np.array(self._array(k, "features")[start : start + n])

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

    def _span(self, i: int, name: str) -> tuple[int, int, int]:
        """Shard, first row and number of rows (of signals, samples) of record i in an array: all of them are there."""
        k, columns = int(self._place["shard"][i]), SPANS[name]
        start, n = (
            int(self._place[columns[0]][i]),
            int((self.table if name == "signals" else self._place)[columns[1]][i]),
        )
        if not 0 <= k < len(self._shards):
            raise DamagedFile(
                self.path / "table" / "shard.npy", f"row {i} is {k}; it must be one of {len(self._shards)} shards"
            )
        entry = self._shards[k]["files"][f"{name}.npy"]
        rows = (entry["bytes"] - HEADER_BYTES) // row_bytes(name, len(self.feature_leads))
        for column, value, highest in ((columns[0], start, rows), (columns[1], n, rows - start)):
            if not 0 <= value <= highest:
                what = f"0 to {highest}, as {self._shards[k]['name']}/{name}.npy has {rows} rows"
                raise DamagedFile(self.path / "table" / f"{column}.npy", f"row {i} is {value}; it must be {what}")
        return k, start, n

    def _array(self, k: int, name: str) -> np.ndarray:
        """An array of shard k, mapped; the maps used longest ago are let go of."""
        key = (k, name)
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
        shape = (-1, FEATURES_PER_LEAD * len(self.feature_leads)) if row else (-1,)
        file, entry = self.path / self._shards[k]["name"] / f"{name}.npy", self._shards[k]["files"][f"{name}.npy"]
        self._begin(k) if name == "signals" else self._seen(file)
        n = (entry["bytes"] - HEADER_BYTES) // np.dtype(dtype).itemsize
        if not n:
            return np.empty(0, dtype).reshape(0, *shape[1:])
        return np.memmap(file, dtype, "r", HEADER_BYTES, (n,)).reshape(shape)

    def _begin(self, k: int) -> Path:
        """The signals of shard k, of which the header alone is looked at, once.

        They are many times as large as all the rest, and a record is read without the others of its shard.
        """
        name = f"{self._shards[k]['name']}/signals.npy"
        if self._checks and name not in self._checked:
            header = read_header(self.path / name)
            if (header.dtype.str, header.offset) != (SHARD_ARRAYS["signals"][0], HEADER_BYTES):
                raise DamagedFile(self.path / name, f"it is {header.dtype} from byte {header.offset} on")
            self._checked.add(name)
        return self.path / name

    def _check_file(self, file: Path) -> None:
        self.check_contents(file.relative_to(self.path).as_posix())

    def check_contents(self, name: str) -> None:
        """Read a file through, once, against its checksum, so that no changed value goes on as a right one.

        Raises:
            DamagedFile: it has another.
        """
        if name not in self._checked:
            shard, _, file = name.rpartition("/")
            files = self._files_of_shard.get(shard, self.manifest["files"])
            entry = files[file if shard in self._files_of_shard else name]
            try:
                crc = crc32_of_file(self.path / name)
            except OSError as e:
                raise DamagedFile(self.path / name, f"it cannot be read: {e.strerror}") from None
            if crc != entry["crc32"]:
                raise DamagedFile(self.path / name, f"its checksum is {crc:08x}; it must be {entry['crc32']:08x}")
            self._checked.add(name)

    def _check_files(self) -> None:
        """Every file is there with its size: cheap, so done at each opening. `verify` also reads the contents."""
        for name, entry in all_files(self.manifest):
            try:
                size = (self.path / name).stat().st_size
            except OSError:
                raise DamagedFile(self.path / name, "it is missing") from None
            if size != entry["bytes"]:
                raise DamagedFile(self.path / name, f"it has {size} bytes; it must have {entry['bytes']}")


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open a store made by `prepare` for reading.

    Raises:
        DamagedFile: a ValueError. The manifest says what cannot be, or a file is missing or has another size; one line
            that names file and field. What only reading finds (`verify` reads everything) is raised where it is read.
        ValueError: the folder is not a store, is not finished or is of a newer version.
    """
    return Store(path)
