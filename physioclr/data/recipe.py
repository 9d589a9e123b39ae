"""How a record becomes a row of a store: read, and described by its source, the user's table and function."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..ops._checks import STANDARD_LEADS
from .labels import CLASSES
from .metadata import parse_sex
from .record_table import RecordTable, check_scheme
from .sources import BareSource, Source
from .standard import origin, standardise
from .wfdb_source import RecordError, scan
from .zeros import mark_zeros

SEGMENT = 5.0  # s
FEATURE_LEADS = ("II", "V1", "V5")  # by default: rhythm and P waves, the right heart, the left

Describe = Callable[[str, dict[str, Any]], Mapping[str, Any] | None]

# What may be wrong with a record's own file when it is opened; any other OSError is the system's.
_OF_THE_FILE = frozenset((None, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
_OF_THE_FILE |= {errno.EINVAL, errno.ESPIPE}  # a seek to where a damaged header sends it
_ROW = ("source", "patient_id", "age", "sex", "fold", "split", "dx", "labels")


def check_feature_leads(leads: Any) -> tuple[str, ...]:
    """Which of the standard leads, each once; "all": all of them."""
    if leads in ("all", ["all"]):
        return STANDARD_LEADS
    found = () if isinstance(leads, str) else tuple(map(str, leads))
    if not found or len(set(found)) != len(found) or not set(found) <= set(STANDARD_LEADS):
        raise ValueError(
            f"feature_leads is {leads!r}; it must name one or more of {', '.join(STANDARD_LEADS)}, each once, or 'all'"
        )
    return found


@dataclass(frozen=True)
class Recipe:
    """What every block of a run is made with. Sent to worker processes."""

    source: Source
    fs: float
    zero_seconds: float
    table: RecordTable | None = None
    describe: Describe | None = None
    feature_leads: tuple[str, ...] = FEATURE_LEADS

    def settings(self) -> dict[str, Any]:
        """What the plan remembers."""
        describe = None if self.describe is None else getattr(self.describe, "__qualname__", repr(type(self.describe)))
        table = None if self.table is None else self.table.path.name
        return {
            "segment": SEGMENT, "feature_leads": list(self.feature_leads), "zero_seconds": self.zero_seconds,
            "table": table, "describe": describe, **self.source.settings(),
        }  # fmt: skip

    def classes(self) -> dict[str, tuple[str, ...]]:
        """Scheme -> class names, as far as they are known before the records are read."""
        return dict(CLASSES) | (self.table.classes if self.table is not None else {})

    def crc(self, record_ids: Iterable[str]) -> int:
        return self.table.crc(record_ids) if self.table is not None else 0

    def read(self, record_id: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """(12, T) int16, (12,) mV per unit, and the row of the table.

        Raises:
            RecordError: what is wrong with the record. Every other error ends the run.
        """
        try:
            return self._read(record_id)
        except RecordError as e:
            cause = environment_error(e)
            if cause is None:
                raise
            cause.add_note(f"while reading the record {record_id}")
            raise cause from None
        except Exception as e:
            e.add_note(f"while reading the record {record_id}")
            raise

    def _read(self, record_id: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        row_of_table = (
            self.table.row_of(record_id) if self.table is not None else {}
        )  # first: the table may state the rate
        stated_fs = row_of_table.get("fs")
        if stated_fs:
            record, row = cast(BareSource, self.source).read(record_id, stated_fs)  # only a table of such has rates
        else:
            record, row = self.source.read(record_id)
        scanned = scan(record.samples, record.baseline) if record.samples.dtype == np.int16 else None
        marked = mark_zeros(record, self.zero_seconds, self.source.zero_ends, scanned)
        signal, scale = standardise(marked, self.fs, SEGMENT, scanned if marked is record else None)
        row = merge(row, {k: v for k, v in row_of_table.items() if k != "fs"})
        if self.describe is not None:
            said = self.describe(record_id, dict(row))
            row = merge(row, check_row(said or {}, "describe", self.classes()))
        return signal, scale, row | origin(record, self.fs)


def merge(row: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what another source says of it; labels scheme by scheme."""
    labels = {**row["labels"], **more.get("labels", {})}
    unlabelled = dict.fromkeys((*row["unlabelled"], *more.get("unlabelled", ())))
    return {**row, **more, "labels": labels, "unlabelled": [s for s in unlabelled if s not in labels]}


def check_row(said: Mapping[str, Any], who: str, classes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """What a user's program says of a record, as the table wants it.

    Raises:
        ValueError, TypeError: a key that no row has, or a value that it cannot have; the message begins with `who`.
    """
    if not isinstance(said, Mapping):
        raise TypeError(f"{who} gave {type(said).__name__}; it must be a mapping or None")
    unknown = [k for k in said if k not in (*_ROW, "unlabelled", "record_id")]
    if unknown:
        raise ValueError(f"{who} gave the key {unknown[0]!r}; it may give {', '.join(_ROW)}")
    row: dict[str, Any] = {k: v for k, v in said.items() if k != "record_id"}
    for key in ("source", "patient_id", "split"):
        if key in row:
            row[key] = "" if row[key] is None else str(row[key])
    if "sex" in row:
        sex = parse_sex(str(row["sex"] or ""))
        if not sex and str(row["sex"] or "").strip():
            raise ValueError(f"{who} gave sex {row['sex']!r}; it must be 'F', 'M' or ''")
        row["sex"] = sex
    if "age" in row:
        row["age"] = _number(row["age"], f"{who} gave age")
    if "fold" in row:
        fold = row["fold"] = -1 if row["fold"] is None else int(row["fold"])
        if not -1 <= fold < 1 << 15:
            raise ValueError(f"{who} gave fold {fold}; it must be -1 (none) to 32767")
    if "dx" in row:
        row["dx"] = [str(code) for code in row["dx"] or ()]
    row["labels"], none = _check_labels(row.get("labels") or {}, who, classes)
    row["unlabelled"] = [*row.get("unlabelled", ()), *none]
    return row


def _check_labels(
    labels: Mapping[str, Any], who: str, classes: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, list[str]], list[str]]:
    """({scheme: classes that apply}, schemes with None: not labelled)."""
    if not isinstance(labels, Mapping):
        raise TypeError(f"{who} gave labels {type(labels).__name__}; it must be a mapping of scheme to classes")
    found, none = {}, []
    for scheme, names in labels.items():
        check_scheme(scheme)
        if names is None:
            none.append(scheme)
            continue
        if isinstance(names, Mapping):
            names = [name for name, applies in names.items() if applies]
        if isinstance(names, str):
            names = [names]
        found[scheme] = [str(name) for name in names]
        absent = [name for name in found[scheme] if scheme in classes and name not in classes[scheme]]
        if absent:
            raise ValueError(
                f"{who} gave the label {absent[0]!r} of {scheme!r}; its classes are {', '.join(classes[scheme])}"
            )
    return found, none


def _number(value: Any, what: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{what} {value!r}; it must be a number of years or None") from None
    return number if 0 <= number <= 120 else None


def environment_error(e: BaseException) -> BaseException | None:
    """The error of the system behind a RecordError: permissions, memory, a full or broken disk, a missing library.

    A reader that turns "the file cannot be read" into a RecordError cannot know whose fault it was.
    """
    seen = set()
    at: BaseException | None = e
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        if isinstance(at, MemoryError | ImportError) or (isinstance(at, OSError) and at.errno not in _OF_THE_FILE):
            return at
        at = at.__cause__ or at.__context__
    return None
