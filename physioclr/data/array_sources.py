"""Records as bare arrays: HDF5 (CODE-15%), folders of .npy files, Parquet files of signals or of .npy files' names."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._files import DamagedFile
from ..ops._checks import STANDARD_LEADS
from .extras import h5py, pyarrow_parquet
from .metadata import folder_name
from .npy import open_npy
from .record_table import record_key
from .sources import FORMATS, UNITS, Searched, bare_row, files_below, folder_of, mv_per_unit
from .wfdb_header import own_fault
from .wfdb_source import MISSING_INT16, Record, RecordError

_IDS = ("exam_id", "record_id", "ecg_id", "id", "ids")
_SIGNALS = ("tracings", "ecg", "signal", "signals", "x")
_RATES = ("fs", "sampling_rate", "sampling_frequency", "sample_rate", "frequency")
_FILES = ("path", "file", "filename", "file_name")
_CACHE_BYTES = 64 << 20  # of an HDF5 file's chunks: one may hold many records


class _ArraySource(Searched):
    """What is the same for all: the rate, the unit and the leads, which bare arrays do not state."""

    zero_ends = False
    bare = True
    format = ""

    def __init__(self, path: Path, source_fs: float | None, unit: str | float, leads: tuple[str, ...] | None):
        super().__init__(path)
        self.source_fs, self.unit = source_fs, unit
        self.leads = tuple(STANDARD_LEADS) if leads is None else tuple(leads)

    def settings(self) -> dict[str, Any]:
        return {"format": self.format, "source_fs": self.source_fs, "unit": self.unit, "leads": list(self.leads)}

    def table(self) -> Path | None:
        return None

    def check(self) -> None:
        self.close()  # the files may have changed since an earlier run of this process

    def close(self) -> None:
        _layout.cache_clear()
        _parquet.cache_clear()

    def _row(self, record_id: str) -> dict[str, Any]:
        return bare_row(folder_name(folder_of(self.path), record_id), record_id)

    def _record(self, x: np.ndarray, fs: float | None) -> Record:
        fs = fs or self.source_fs
        if not fs:
            raise ValueError(
                f"{self.path} does not state a sampling rate: give it (source_fs), or a column fs in the table"
            )
        return array_record(x, fs, self.unit, self.leads)


def array_record(x: np.ndarray, fs: float, unit: str | float, leads: tuple[str, ...], turn: bool = True) -> Record:
    """A (L, T) or, with `turn`, (T, L) array as a Record, told apart by the number of leads.

    Raises:
        RecordError: another shape, or no numbers.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "iuf":
        raise RecordError(f"it holds {x.dtype}, not numbers")
    if x.ndim != 2 or len(leads) not in (x.shape if turn else x.shape[:1]):
        what = f"(leads, samples){' or (samples, leads)' if turn else ''} with {len(leads)} leads"
        raise RecordError(f"its array has the shape {x.shape}; it must be {what}")
    if x.shape[0] != len(leads):
        x = x.T
    missing = x == MISSING_INT16 if x.dtype == np.int16 else ~np.isfinite(x)
    samples = np.array(x, np.float32)
    samples[missing] = np.nan
    n = len(leads)
    return Record(samples, np.full(n, mv_per_unit(unit)), np.zeros(n), float(fs), list(leads), [])


# ---- HDF5 ---------------------------------------------------------------------------------------------------------


class Hdf5Source(_ArraySource):
    """HDF5 files with one array of records, (N, samples, leads) or (N, leads, samples), as of CODE-15%.

    The array is the dataset `tracings` (or ecg, signal, signals, x, or the only one of three dimensions); ids are those
    of `exam_id` (or record_id, ecg_id, id, ids), or else the row numbers. Ids in the store: file/id. The rate is an
    attribute of the array or the file, or 400 Hz for CODE's (N, 4096, 12). Zeros at both ends are padding.

    CODE's documentation gives no unit that holds ("at the scale 1e-4V: so if the signal is in V it should be multiplied
    by 1000": that is 0.1 mV, and mV) and two orders of the limb leads. What is assumed is told, and can be set.
    """

    zero_ends = True
    format = "hdf5"

    def table(self) -> Path | None:
        """CODE-15%'s exams.csv."""
        beside = folder_of(self.path) / "exams.csv"
        return beside if beside.is_file() else None

    def records(self) -> Iterator[str]:
        h5py()
        for name in files_below(self.path, FORMATS["hdf5"], self._tell):
            layout = _layout(str(folder_of(self.path) / name))
            if layout.is_code:
                self._passed_over[name] = self._assumed(layout)
            for key in layout.keys:
                yield f"{record_key(name)}/{key}"

    def _assumed(self, layout: _Hdf5Layout) -> str:
        unit = self.unit if isinstance(self.unit, str) and self.unit in UNITS else f"units of {self.unit} mV"
        said = f"CODE's layout, read as {self.source_fs or layout.fs:g} Hz, {unit}, leads {' '.join(self.leads)}"
        return f"{said}; where yours are others, set source_fs, unit, leads"

    def read(self, record_id: str, fs: float | None = None) -> tuple[Record, dict[str, Any]]:
        stem, _, key = record_id.rpartition("/")
        base = folder_of(self.path)
        file = next(
            (
                p
                for s in (*FORMATS["hdf5"], *(s.upper() for s in FORMATS["hdf5"]))
                if (p := base / (stem + s)).is_file()
            ),
            None,
        )
        if file is None:
            raise RecordError(f"the file {stem}.hdf5 is missing")
        layout = _layout(str(file))
        row = layout.row_of(key)
        if row is None:
            raise RecordError(f"{file.name} has no record {key}")
        try:
            x = layout.dataset[row]
        except OSError as e:  # as above
            if e.errno is not None and not own_fault(e):
                raise
            raise RecordError(f"{file.name} cannot be read: {e}") from e
        return self._record(x, fs or self.source_fs or layout.fs), self._row(record_id)


class _Hdf5Layout:
    """An open file: its array, and the row of each id."""

    def __init__(self, path: str):
        h5 = h5py()
        try:
            self._file = h5.File(path, "r", rdcc_nbytes=_CACHE_BYTES)
        except OSError as e:
            if e.errno is not None and not own_fault(e):  # the system's, whose number h5py passes on
                raise
            raise ValueError(f"{path} is not a readable HDF5 file: {e}") from None
        arrays = {k: v for k, v in self._file.items() if isinstance(v, h5.Dataset)}
        cubes = [k for k, v in arrays.items() if v.ndim == 3]
        name = next((k for k in _SIGNALS if k in cubes), cubes[0] if len(cubes) == 1 else None)
        if name is None:
            has = ", ".join(f"{k} {v.shape}" for k, v in arrays.items()) or "none"
            raise ValueError(f"{path} has no array of records (N, samples, leads); its arrays: {has}")
        self.dataset = arrays[name]
        n = self.dataset.shape[0]
        ids = next((arrays[k] for k in _IDS if k in arrays and arrays[k].shape == (n,)), None)
        self.keys = _keys(None if ids is None else ids[...], n)
        self._rows = {key: k for k, key in enumerate(self.keys)}
        stated = [o.attrs[k] for o in (self.dataset, self._file) for k in _RATES if k in o.attrs]
        self.is_code = name == "tracings" and self.dataset.shape[1:] == (4096, 12)
        self.fs = float(np.ravel(stated[0])[0]) if stated else 400.0 if self.is_code else None

    def row_of(self, key: str) -> int | None:
        return self._rows.get(key)


@functools.lru_cache(maxsize=8)
def _layout(path: str) -> _Hdf5Layout:
    return _Hdf5Layout(path)


def _keys(ids: np.ndarray | None, n: int) -> list[str]:
    """Ids as text, each once: CODE-15% ends every part with a row of id 0."""
    if ids is None:
        return [f"{k:06d}" for k in range(n)]
    seen: dict[str, int] = {}
    keys = []
    for value in ids.tolist():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        text = text.strip().replace("/", "_") or "_"
        seen[text] = seen.get(text, 0) + 1
        keys.append(text if seen[text] == 1 else f"{text}-{seen[text]}")
    return keys


# ---- .npy ---------------------------------------------------------------------------------------------------------


class NpySource(_ArraySource):
    """.npy files: one record each, (leads, samples) or (samples, leads), or many, along a first axis of records."""

    format = "npy"

    def records(self) -> Iterator[str]:
        for name in files_below(self.path, FORMATS["npy"], self._tell):
            shape = _npy_shape(folder_of(self.path) / name)
            if shape is not None and len(shape) == 3:
                yield from (f"{record_key(name)}/{k:06d}" for k in range(shape[0]))
            else:
                yield record_key(name)

    def read(self, record_id: str, fs: float | None = None) -> tuple[Record, dict[str, Any]]:
        return self._record(read_npy(folder_of(self.path), record_id), fs), self._row(record_id)


def _npy_shape(path: Path) -> tuple[int, ...] | None:
    """None for a file that is no array: it is left out with the reason when it is read."""
    try:
        return open_npy(path).shape
    except ValueError:
        return None


def read_npy(folder: Path, record_id: str) -> np.ndarray:
    path = folder / f"{record_id}.npy"
    row: int | None = None
    if not path.is_file():
        stem, _, last = record_id.rpartition("/")
        if (folder / f"{stem}.npy").is_file() and last.isdigit():
            path, row = folder / f"{stem}.npy", int(last)
    try:
        x = open_npy(path)
    except FileNotFoundError:
        raise RecordError(f"the file {record_id}.npy is missing") from None
    except ValueError as e:
        raise RecordError(f"{path.name} is not a readable NumPy array: {e}") from None
    if row is not None and not (x.ndim == 3 and row < len(x)):
        raise RecordError(f"{path.name} has no record {row}")
    return np.array(x if row is None else x[row])


# ---- Parquet ------------------------------------------------------------------------------------------------------


class ParquetSource(_ArraySource):
    """Parquet files that hold a record per row, or one that names .npy files.

    With a column `signal` (or ecg, tracings, signals, x): nested lists, (leads, samples) or (samples, leads), or one
    flat list, lead after lead. Without: the column path (or file, filename) names a .npy file, relative to the Parquet
    file. A record's id is the column record_id, or else that name. The other columns are the table, as of a CSV file
    (`record_table`).
    """

    format = "parquet"

    @functools.cached_property
    def _file(self) -> Path:
        names = files_below(self.path, FORMATS["parquet"], self._tell)
        if len(names) != 1:
            raise ValueError(f"{self.path} has {len(names)} Parquet files; name one, or have one of them in the folder")
        return folder_of(self.path) / names[0]

    def table(self) -> Path | None:
        return self._file

    def records(self) -> Iterator[str]:
        yield from _parquet(str(self._file)).keys

    def read(self, record_id: str, fs: float | None = None) -> tuple[Record, dict[str, Any]]:
        rows = _parquet(str(self._file))
        if rows.signal is None:
            x = read_npy(folder_of(self.path), rows.file_of(record_id))
        else:
            x = rows.array(record_id, len(self.leads))
        return self._record(x, fs), self._row(record_id)


def _unreadable(path: str, e: Exception) -> Exception:
    """pyarrow raises many kinds; an OSError without a number where the file is damaged."""
    if isinstance(e, OSError) and e.errno is not None:
        return e
    return DamagedFile(path, f"it is not a readable Parquet file: {e}")


class _ParquetRows:
    """An open file; one row group of signals is held at a time."""

    def __init__(self, path: str):
        parquet = pyarrow_parquet()
        import pyarrow.types as t

        self._path = path
        try:
            self._file = parquet.ParquetFile(path)
        except MemoryError:
            raise
        except Exception as e:
            raise _unreadable(path, e) from None
        schema = self._file.schema_arrow
        self.signal = next((n for n in _SIGNALS if n in schema.names and t.is_nested(schema.field(n).type)), None)
        files = next((n for n in _FILES if n in schema.names), None)
        ids = next((n for n in ("record_id", "record", "exam_id") if n in schema.names), files)
        if ids is None or (self.signal is None and files is None):
            has = ", ".join(schema.names)
            raise ValueError(f"{path} must have a column record_id and one of signals, or a column path; it has {has}")
        values = self._column(ids)
        self._row = {record_key(str(v)): k for k, v in enumerate(values) if v is not None}
        self.keys = list(self._row)
        if len(self.keys) < sum(v is not None for v in values):
            raise ValueError(f"{path} names a record more than once in its column {ids}")
        self._files = values if ids == files or self.signal or files is None else self._column(files)
        groups = [self._file.metadata.row_group(g).num_rows for g in range(self._file.num_row_groups)]
        self._ends = np.cumsum(groups).tolist()
        self._held: tuple[int, Any] = (-1, None)

    def _column(self, name: str) -> list[Any]:
        try:
            return self._file.read(columns=[name]).column(name).to_pylist()
        except MemoryError:
            raise
        except Exception as e:
            raise _unreadable(self._path, e) from None

    def file_of(self, key: str) -> str:
        """The .npy file that holds a record, without suffix."""
        if key not in self._row or self._files[self._row[key]] is None:
            raise RecordError(f"{Path(self._path).name} names no file for {key}")
        return record_key(str(self._files[self._row[key]]))

    def _group(self, group: int) -> Any:
        try:
            return self._file.read_row_group(group, columns=[self.signal]).column(self.signal)
        except MemoryError:
            raise
        except Exception as e:  # pyarrow raises many kinds; an OSError without a number where the file is damaged
            if isinstance(e, OSError) and e.errno is not None and not own_fault(e):
                raise
            raise RecordError(f"{Path(self._path).name}, row group {group}: {type(e).__name__}: {e}") from None

    def array(self, key: str, n_leads: int) -> np.ndarray:
        if key not in self._row:
            raise RecordError(f"{Path(self._path).name} has no record {key}")
        row = self._row[key]
        group = bisect.bisect_right(self._ends, row)
        if self._held[0] != group:
            self._held = (group, self._group(group))
        value = self._held[1][row - (self._ends[group - 1] if group else 0)].as_py()
        if value is None:
            raise RecordError("its signal is empty")
        try:
            x = np.array(value, np.float32)  # None, a missing sample, becomes NaN
        except (TypeError, ValueError) as e:
            raise RecordError(f"its signal is no array of numbers: {e}") from None
        if x.ndim == 1 and len(x) and len(x) % n_leads == 0:
            x = x.reshape(n_leads, -1)
        return x


@functools.lru_cache(maxsize=4)
def _parquet(path: str) -> _ParquetRows:
    return _ParquetRows(path)
