"""A user's own table: who each record is of, its fold or split, and labels of schemes of one's own.

One row per record, found by the column record_id: the record's id in the store (its path below the source, without
suffix), or the last part of it. Every other column is optional:

    patient_id, age, sex, fold, split, source, fs      what the store's table says; an empty cell says nothing
    a column of 0 and 1 (or true and false)            a class of the scheme that is named as the file
    a column "scheme:class" of 0 and 1                 a class of that scheme
    labels, codes, dx, scp_codes, diagnoses ...        a list of classes per record: a scheme named as the column;
                                                       "AF|PVC", "AF;PVC", "AF,PVC", ['AF', 'PVC'] or {'AF': 100}

An empty cell is "not labelled"; [] is labelled, with no class. What else the table has is not used, and named as such.
"""

from __future__ import annotations

import ast
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .labels import CLASSES
from .metadata import parse_age, parse_sex
from .tables import Row, Table, TableError, is_unknown, number, read_table, whole
from .wfdb_source import RecordError

_ROLES = {
    "id": ("record_id", "record", "exam_id", "filename", "file_name", "file", "path"),
    "patient_id": ("patient_id", "patient", "subject_id", "subject"),
    "age": ("age",),
    "sex": ("sex", "gender", "is_male"),
    "fold": ("fold", "strat_fold"),
    "split": ("split",),
    "source": ("source",),
    "fs": ("fs", "sampling_rate", "sampling_frequency", "sample_rate"),
}
_CODE_COLUMNS = ("labels", "label", "codes", "dx", "scp_codes", "diagnosis", "diagnoses", "classes")
_SPLITS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2}
_BINARY = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_CODE15 = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")  # of exams.csv; its other columns of 0 and 1 are no diagnoses
_SUFFIX = re.compile(r"\.(hea|dat|mat|npy|edf|bdf|dcm|h5|hdf5|parquet)$", re.IGNORECASE)
MAX_CLASSES = 1000


class RecordTable:
    """The table, read once.

    Attributes:
        path: the file.
        classes: scheme -> names of its classes.
        unused: columns that are neither labels nor of a known name.

    named: whether the user named the file; one that lies beside the records need not fit them. rates: whether the
    column fs is of use: only bare arrays do not state their rate.

    Raises:
        TableError: the file cannot be used at all: no record ids, a column that is asked for and absent, free text as
            labels, a name that no scheme can have.
    """

    def __init__(
        self, path: Path, label_columns: Iterable[str] | None = None, *, named: bool = True, rates: bool = True
    ):
        self.path, self._named = Path(path), named
        table = read_table(self.path)
        self._roles = _roles(table)
        if not rates:
            self._roles.pop("fs", None)
        taken = set(self._roles.values())
        self._binary, self._codes = _label_columns(table, taken, label_columns)
        used = taken | set(self._binary) | set(self._codes)
        self.unused = tuple(c for c in table.columns if c and c not in used)
        self._rows: dict[str, dict[str, Any] | str] = {}
        self._damage: list[str] = []
        seen: dict[str, dict[str, None]] = {scheme: {} for scheme in self._codes.values()}
        for row in table.rows:
            self._add(table, row, seen)
        self.classes = self._classes(seen)
        self._ids: dict[str, str] = {}

    # ---- reading --------------------------------------------------------------------------------------------------

    def _add(self, table: Table, row: Row, seen: dict[str, dict[str, None]]) -> None:
        key = record_key(row.cells.get(self._roles["id"], ""))
        try:
            if row.damage:
                raise ValueError(row.damage)
            if not key:
                raise ValueError(f"{self._roles['id']} is empty")
            entry: dict[str, Any] | str = self._entry(row.cells)
        except ValueError as e:
            entry = f"{table.where(row)}: {e}"
            if not key:
                self._damage.append(entry)
                return
        before = self._rows.setdefault(key, entry)
        if before != entry:
            self._rows[key] = f"{table.where(row)}: another row of the record {key!r} says something else"
        if isinstance(entry, dict):
            for scheme, names in seen.items():
                names.update(dict.fromkeys(entry["labels"].get(scheme, ())))

    def _entry(self, cells: Mapping[str, str]) -> dict[str, Any]:
        """What the row says, without what its empty cells leave open."""
        entry: dict[str, Any] = {}
        for role, column in self._roles.items():
            text = cells[column]
            if role != "id" and not is_unknown(text):
                entry[role] = _value(role, column, text)
        if "split" in entry and "fold" not in entry and entry["split"].lower() in _SPLITS:
            entry["fold"] = _SPLITS[entry["split"].lower()]
        found: dict[str, list[str] | None] = {scheme: [] for scheme, _ in self._binary.values()}
        for column, (scheme, name) in self._binary.items():
            text = cells[column].lower()
            if is_unknown(text):
                found[scheme] = None
            elif text not in _BINARY:
                raise ValueError(f"{column} is {cells[column][:60]!r}; it must be 0, 1 or empty")
            elif _BINARY[text] and (of := found[scheme]) is not None:
                of.append(name)
        for column, scheme in self._codes.items():
            found[scheme] = _codes(column, cells[column])
        entry["labels"] = {scheme: names for scheme, names in found.items() if names is not None}
        entry["unlabelled"] = [scheme for scheme, names in found.items() if names is None]
        return entry

    def _classes(self, seen: dict[str, dict[str, None]]) -> dict[str, tuple[str, ...]]:
        classes: dict[str, tuple[str, ...]] = {}
        for scheme, name in self._binary.values():
            classes[scheme] = (*classes.get(scheme, ()), name)
        for scheme, names in seen.items():
            if len(names) > MAX_CLASSES:
                column = next(c for c, s in self._codes.items() if s == scheme)
                what = f"the column {column!r} has {len(names)} different labels: free text, not a list of classes"
                raise TableError(f"{self.path}: {what}. Name the columns of labels (label_columns)")
            classes[scheme] = tuple(sorted(names))
        for scheme, chosen in classes.items():
            own = CLASSES.get(scheme)
            if own is not None:
                other = [n for n in chosen if n not in own]
                if other:
                    raise TableError(f"{self.path}: {other[0]!r} is no class of {scheme!r}, a scheme of the library")
                classes[scheme] = own
        return classes

    # ---- looking up -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    def row_of(self, record_id: str) -> dict[str, Any]:
        """What the table says of a record. Without a row: not labelled in its schemes.

        Raises:
            RecordError: the record's row is damaged; the message names the line.
        """
        entry = self._rows.get(record_id)
        if entry is None:
            entry = self._rows.get(record_id.rpartition("/")[2])
        if entry is None:
            return {"labels": {}, "unlabelled": list(self.classes)}
        if isinstance(entry, str):
            raise RecordError(entry)
        return entry

    def crc(self, record_ids: Iterable[str]) -> int:
        """Of what it says of these records, so that a run sees which blocks were made with another table."""
        crc = 0
        for record_id in record_ids:
            entry = self._rows.get(record_id, self._rows.get(record_id.rpartition("/")[2]))
            crc = zlib.crc32(json.dumps(entry, sort_keys=True).encode(), crc)
        return crc

    def match(self, record_ids: Iterable[str]) -> list[str]:
        """Remarks on how the table fits a source's records.

        Raises:
            TableError: no row belongs to a record, or a row found by the last part of a record's id fits several.
        """
        used: dict[str, str] = {}
        without, n, example = 0, 0, ""
        for record_id in record_ids:
            n, example = n + 1, example or record_id
            name = record_id.rpartition("/")[2]
            key = record_id if record_id in self._rows else name if name in self._rows else None
            if key is None:
                without += 1
            elif used.setdefault(key, record_id) != record_id:
                raise TableError(
                    f"{self.path}: {key!r} fits the records {used[key]!r} and {record_id!r}; give their whole ids"
                )
        if not used and self._named:
            has = next(iter(self._rows), "(none)")
            raise TableError(
                f"{self.path} has no row for any record: its ids are like {has!r}, the records' {example!r}"
            )
        remarks = [f"{self.path.name}: {line}" if self.path.name not in line else line for line in self._damage[:10]]
        if without:
            remarks.append(f"{without} of {n} records have no row in {self.path.name}")
        if len(self._rows) > len(used):
            remarks.append(f"{len(self._rows) - len(used)} rows of {self.path.name} belong to no record")
        if self.unused:
            remarks.append(f"columns of {self.path.name} that are not used: {', '.join(self.unused)}")
        return remarks


def record_key(text: str) -> str:
    """A record id as find_records writes it: "./a\\b.hea" is a/b."""
    return _SUFFIX.sub("", text.strip().replace("\\", "/").removeprefix("./"))


def _roles(table: Table) -> dict[str, str]:
    by_name = {c.lower(): c for c in reversed(table.columns)}
    roles = {role: next((by_name[n] for n in names if n in by_name), None) for role, names in _ROLES.items()}
    if roles["id"] is None:
        has = ", ".join(table.columns)
        raise TableError(f"{table.path} has no column record_id (or {', '.join(_ROLES['id'][1:])}); it has {has}")
    return {role: column for role, column in roles.items() if column is not None}


def _label_columns(
    table: Table, taken: set[str], wanted: Iterable[str] | None
) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """(column of 0 and 1 -> (scheme, class), column of lists -> scheme)."""
    own = _scheme_name(table.path.stem)
    if wanted is None and "exam_id" in table.columns and set(_CODE15) <= set(table.columns):
        wanted, own = _CODE15, "code15"
    absent = [c for c in wanted or () if c not in table.columns]
    if absent:
        raise TableError(f"{table.path} has no column {absent[0]!r}; it has {', '.join(table.columns)}")
    binary: dict[str, tuple[str, str]] = {}
    codes: dict[str, str] = {}
    for column in table.columns if wanted is None else wanted:
        if not column or (column in taken and wanted is None):
            continue
        scheme, colon, name = column.partition(":")
        if _is_binary(table, column):
            binary[column] = (_checked_scheme(table, scheme), name) if colon and name else (own, column)
        elif wanted is not None or column.lower() in _CODE_COLUMNS:
            codes[column] = _checked_scheme(table, column)
    return binary, codes


def _is_binary(table: Table, column: str) -> bool:
    """Most cells that are not empty are 0 or 1: the others are damage, each of its own row."""
    cells = [row.cells.get(column, "") for row in table.rows]
    known = [c.lower() for c in cells if not is_unknown(c)]
    return 2 * sum(c in _BINARY for c in known) > len(known)


def _scheme_name(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._") or "labels"


def check_scheme(name: Any) -> str:
    """A scheme is a file's name in the store.

    Raises:
        ValueError: it cannot be one.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"the label scheme is named {name!r}; a name has letters, digits, '.', '_' and '-' only")
    return name


def _checked_scheme(table: Table, name: str) -> str:
    try:
        return check_scheme(name)
    except ValueError as e:
        raise TableError(f"{table.path}: {e}") from None


def _value(role: str, column: str, text: str) -> Any:
    """A cell that is not empty.

    Raises:
        ValueError: it says nothing that the column can mean.
    """
    if role == "age":
        if number(text.lstrip("> ").removesuffix("+")) is None:
            raise ValueError(f"{column} is {text[:60]!r}; it must be a number of years")
        return parse_age(text)
    if role == "sex":
        if column.lower() == "is_male" and text.lower() in _BINARY:
            return "M" if _BINARY[text.lower()] else "F"
        sex = parse_sex(text)
        if not sex and number(text) is not None:
            raise ValueError(f"{column} is {text[:60]!r}; it must be F, M or empty, as no number says which it means")
        return sex
    if role == "fold":
        fold = whole(text)
        if fold is None or not -1 <= fold < 1 << 15:
            raise ValueError(f"{column} is {text[:60]!r}; it must be a whole number")
        return fold
    if role == "fs":
        fs = number(text)
        if fs is None or not 50 <= fs <= 4000:
            raise ValueError(f"{column} is {text[:60]!r}; it must be 50 to 4000 Hz")
        return fs
    if role == "patient_id":
        return text.removesuffix(".0")
    return text


def _codes(column: str, text: str) -> list[str] | None:
    """The classes that a cell lists, None for an empty cell."""
    if is_unknown(text):
        return None
    if text[0] in "[{(":
        try:
            value = ast.literal_eval(text)
            codes = [str(c).strip() for c in value]
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError(f"{column} is {text[:60]!r}; it must be a list of labels") from None
    else:
        codes = [c.strip() for c in re.split(r"[|;,]", text)]
    return list(dict.fromkeys(c for c in codes if c))
