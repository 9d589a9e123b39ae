"""Where the records of a store come from: one class per kind of collection, all with the same three methods.

A source lists the ids of its records, reads one by its id, and says what is known of it. It is sent to worker
processes, so it holds settings, no open files. What is wrong with a record is a RecordError; other errors end the run.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from . import ptbxl
from .metadata import describe
from .report import remarks_on
from .wfdb_find import PassedOver, enter_link, not_listed
from .wfdb_list import listed
from .wfdb_source import Record, find_records, read_record

UNITS = {"mV": 1.0, "uV": 1e-3, "V": 1e3, "nV": 1e-6}  # mV per unit


def mv_per_unit(unit: str | float, what: str = "unit") -> float:
    """Of bare arrays: of a unit by name, or as many mV as a number, or its text, says.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(unit, str) and unit in UNITS:
        return UNITS[unit]
    try:
        mv = float(unit)
    except (TypeError, ValueError):
        mv = 0.0
    if not 1e-10 <= mv <= 1e3:
        raise ValueError(f"{what} is {unit!r}; it must be one of {', '.join(UNITS)}, or mV per unit, 1e-10 to 1000")
    return mv


class Source(Protocol):
    path: Path
    zero_ends: bool  # zeros at the ends of a record, however few, are padding
    bare: bool  # its files do not state the rate: `read` also takes one, which the table gives

    def records(self) -> Iterator[str]:
        """The ids, in a fixed order. Raises ValueError where the source cannot be listed."""

    def read(self, record_id: str) -> tuple[Record, dict[str, Any]]:
        """A record and its row of the table (see `metadata.describe`)."""

    def settings(self) -> dict[str, Any]:
        """What the plan of a store remembers, so that a run with other settings is refused."""

    def table(self) -> Path | None:
        """A table beside the records that describes them, used unless the user names one."""

    def check(self) -> None:
        """Raise ValueError where a label table of the source cannot be used at all, before the first record is read."""

    def close(self) -> None:
        """Let go of files held open between records."""

    def remarks(self) -> list[str]:
        """What the report should say of the source, after `check` and after its records were listed."""


class BareSource(Source, Protocol):
    """One of bare arrays."""

    def read(self, record_id: str, fs: float | None = None) -> tuple[Record, dict[str, Any]]: ...


class Searched:
    """A folder or file that is searched for records, and what the search passed over."""

    def __init__(self, path: Path):
        self.path = path
        self._passed_over: dict[str, str] = {}

    def _tell(self, path: str, reason: str) -> None:
        self._passed_over[path] = f"passed over: {reason}"

    def remarks(self) -> list[str]:
        return remarks_on(list(self._passed_over.items()))


class WfdbSource(Searched):
    """A tree of WFDB records."""

    zero_ends = False
    bare = False

    def __init__(self, path: Path, follow_links: bool = False):
        super().__init__(path)
        self.follow_links = follow_links
        self._absent = 0
        self._damage: list[str] = []

    def records(self) -> Iterator[str]:
        """MIMIC-IV-ECG's own list where the folder has it: its 800,000 records lie in as many folders."""
        listing = self.path / "record_list.csv"
        if not self.follow_links and listing.is_file():
            here = self._here(listed(listing, self._tell))
            first = next(here, None)
            if first is not None:
                return itertools.chain((first,), here)
        return find_records(self.path, follow_links=self.follow_links, passed_over=self._tell)

    def _here(self, listed: Iterator[str]) -> Iterator[str]:
        """Those of the records listed that are there."""
        for record_id in listed:
            if os.path.isfile(f"{self.path}/{record_id}.hea"):
                yield record_id
            else:
                self._absent += 1

    def read(self, record_id: str) -> tuple[Record, dict[str, Any]]:
        record = read_record(os.path.join(self.path, record_id), self.path)
        return record, describe(self.path, record_id, record.comments)

    def settings(self) -> dict[str, Any]:
        return {"format": "wfdb"} | ({"follow_links": True} if self.follow_links else {})

    def table(self) -> Path | None:
        return None

    def remarks(self) -> list[str]:
        absent = [f"record_list.csv names {self._absent} records that are not here"] if self._absent else []
        return absent + self._damage + super().remarks()

    def check(self) -> None:
        self._damage = ptbxl.damage_below(self.path)

    def close(self) -> None:
        pass


FORMATS = {
    "wfdb": (".hea",),
    "hdf5": (".h5", ".hdf5"),
    "npy": (".npy",),
    "parquet": (".parquet",),
    "edf": (".edf", ".bdf"),
    "dicom": (".dcm",),
}


def open_source(
    path: Path,
    *,
    format: str | None = None,
    source_fs: float | None = None,
    unit: str | float = "mV",
    leads: tuple[str, ...] | None = None,
    follow_links: bool = False,
) -> Source:
    """The source in a folder or file, by what lies in it where no format is given.

    Raises:
        ValueError: nothing or several kinds of files are there; an option that this format has no use for.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format is {format!r}; it must be one of {', '.join(FORMATS)}")
    mv_per_unit(unit)
    kind = format or _kind(path)
    if kind not in ("hdf5", "npy", "parquet") and (source_fs is not None or leads is not None or unit != "mV"):
        raise ValueError(f"source_fs, unit and leads are for bare arrays; the files of {kind} state them")
    if kind != "wfdb" and follow_links:
        raise ValueError(f"follow_links is for WFDB folders; src has {kind}")
    if kind == "wfdb":
        return WfdbSource(path, follow_links)
    if kind in ("edf", "dicom"):
        from . import device_sources

        return device_sources.EdfSource(path) if kind == "edf" else device_sources.DicomSource(path)
    from . import array_sources

    classes: dict[str, Callable[..., Source]]
    classes = {"hdf5": array_sources.Hdf5Source, "npy": array_sources.NpySource, "parquet": array_sources.ParquetSource}
    return classes[kind](path, source_fs, unit, leads)


def _kind(path: Path) -> str:
    """WFDB if there is one header; otherwise what all other files of a known kind are."""
    if path.is_file():
        for kind, suffixes in FORMATS.items():
            if path.suffix.lower() in suffixes and kind != "wfdb":
                return kind
        raise ValueError(
            f"src is the file {str(path)!r}; it must be a folder, or a file that ends in .h5, .hdf5 or .parquet"
        )
    found = set()
    for _, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            known = next((k for k, suffixes in FORMATS.items() if suffix in suffixes), None)
            if known == "wfdb":
                return known
            if known and not name.startswith("."):
                found.add(known)
    found -= {"npy"} if "parquet" in found else set()  # described by it
    if len(found) > 1:
        raise ValueError(f"src is {str(path)!r}, which has files of {' and '.join(sorted(found))}; say which (format)")
    return found.pop() if found else "wfdb"  # whose search says that there is nothing


def files_below(path: Path, suffixes: tuple[str, ...], passed_over: PassedOver) -> list[str]:
    """Files with one of these suffixes (in any case), as paths relative to a folder, in the order of find_records.

    Links to folders are not entered; those that lead out of `path` are told to `passed_over`.
    """
    if path.is_file():
        return [path.name]
    if not path.is_dir():
        raise ValueError(f"src is {str(path)!r}; it must be a folder or a file")
    found, base = [], os.path.realpath(path)
    for folder, folders, names in os.walk(path, onerror=not_listed):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        below = Path(folder).relative_to(path).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                enter_link(base, folder, name, prefix, False, passed_over)
        found += [prefix + n for n in sorted(names) if n.lower().endswith(suffixes) and not n.startswith(".")]
    return found


def folder_of(path: Path) -> Path:
    return path.parent if path.is_file() else path


def bare_row(source: str, record_id: str) -> dict[str, Any]:
    """A row of the table of which nothing is known yet."""
    row: dict[str, Any] = {
        "record_id": record_id,
        "source": source,
        "patient_id": "",
        "age": None,
        "sex": "",
        "fold": -1,
    }
    return row | {"dx": [], "labels": {}, "unlabelled": []}
