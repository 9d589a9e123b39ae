"""Tables beside the recordings (CSV in its many forms, Parquet) as rows of text, each with the line it stands in."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .._files import DamagedFile

DELIMITERS = ",;\t|"
UNKNOWN = frozenset(("", "nan", "na", "n/a", "none", "null", "unknown", "<na>"))  # lower case: no value in this cell


class TableError(ValueError):
    """A table that cannot be used at all; the message names the file."""


class DamagedTable(TableError, DamagedFile):
    """One that is no table."""


class Row(NamedTuple):
    line: int  # where it begins, 1 is the header; of Parquet the row, 1 is the first
    cells: dict[str, str]
    damage: str  # "" for a sound row


class Table(NamedTuple):
    path: Path
    columns: tuple[str, ...]
    rows: list[Row]

    def where(self, row: Row) -> str:
        return f"{self.path.name}, {'row' if self.path.suffix.lower() == '.parquet' else 'line'} {row.line}"

    def damaged(self) -> list[str]:
        return [f"{self.where(row)}: {row.damage}" for row in self.rows if row.damage]


def read_table(path: Path) -> Table:
    """Read a table whole, once.

    CSV with the delimiter , ; tab or | (the one that cuts the first line into most cells), in UTF-8, UTF-16 or
    Latin-1. A line with another number of cells than the header, or a quotation mark that is never closed, damages that
    row alone.

    Raises:
        TableError: the file is empty, is no text, or names a column twice.
        OSError: it cannot be read.
    """
    return _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)


def _read_csv(path: Path) -> Table:
    text = decode(path.read_bytes(), path)
    lines = io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n")).readlines()  # no other character ends a line
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise DamagedTable(f"{path} is empty; it must have a line with the names of its columns")
    delimiter = max(DELIMITERS, key=lambda d: len(next(csv.reader([lines[first]], delimiter=d))))
    columns = tuple(c.strip() for c in next(csv.reader([lines[first]], delimiter=delimiter)))
    _check_columns(path, columns)
    rows = []
    for line, cells, damage in _logical_rows(lines, first + 1, delimiter, len(columns)):
        rows.append(Row(line, {c: v.strip() for c, v in zip(columns, cells, strict=False)}, damage))
    return Table(path, columns, rows)


def _check_columns(path: Path, columns: tuple[str, ...]) -> None:
    twice = sorted({c for c in columns if c and columns.count(c) > 1})
    if twice:
        raise TableError(f"{path} has the column {', '.join(map(repr, twice))} more than once")


class _Lines:
    """An iterator over lines that can be set back."""

    def __init__(self, lines: list[str], at: int):
        self.lines, self.at = lines, at

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.at >= len(self.lines):
            raise StopIteration
        self.at += 1
        return self.lines[self.at - 1]


def _logical_rows(lines: list[str], first: int, delimiter: str, width: int) -> Iterator[tuple[int, list[str], str]]:
    """(line, cells, damage).

    A row over several lines is taken only if it has the right number of cells and none of the further lines has it on
    its own: that would be a row which an open quotation mark has swallowed.
    """
    source = _Lines(lines, first)
    reader = csv.reader(source, delimiter=delimiter)
    while True:
        begin = source.at
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:  # a field beyond the limit: a quotation mark that is not closed
            cells = []
        further = (next(csv.reader([line], delimiter=delimiter), []) for line in lines[begin + 1 : source.at])
        if len(cells) == width and not any(len(alone) == width for alone in further):
            yield begin + 1, cells, ""
            continue
        if source.at - begin > 1:  # over several lines: only the first of them is known to be wrong
            source.at = begin + 1
            reader = csv.reader(source, delimiter=delimiter)
        alone = next(csv.reader([lines[begin]], delimiter=delimiter), [])
        if alone:
            open_quote = lines[begin].count('"') % 2 == 1
            damage = "a quotation mark is not closed" if open_quote else f"{len(alone)} cells in {width} columns"
            yield begin + 1, alone[:width], damage


def decode(raw: bytes, path: Path) -> str:
    """Text of unknown encoding: by its byte order mark, else by the zeros of UTF-16, else UTF-8, else Latin-1."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif raw[:200].count(b"\0") >= max(1, len(raw[:200]) // 4):  # Latin letters in UTF-16: every other byte is zero
        encoding = "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("utf-16-le", "replace") if encoding.startswith("utf-16") else raw.decode("latin-1")
    if "\0" in text:
        raise DamagedTable(f"{path} is not a text file")
    return text.lstrip("\ufeff")


def _read_parquet(path: Path) -> Table:
    """Columns of nested type (signals) are not read; None is an empty cell, a list the text of a Python list."""
    from .extras import pyarrow_parquet

    parquet = pyarrow_parquet()
    try:
        file = parquet.ParquetFile(path)
        schema = file.schema_arrow
        names = [name for name in schema.names if _is_plain(schema.field(name).type)]
        columns = {name: file.read(columns=[name]).column(name).to_pylist() for name in names}
    except MemoryError:
        raise
    except Exception as e:  # pyarrow raises many kinds for a damaged file, among them an OSError without a number
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise DamagedTable(f"{path} is not a readable Parquet file: {type(e).__name__}: {e}") from None
    _check_columns(path, tuple(names))
    rows = [
        Row(k + 1, {c: "" if v is None else str(v).strip() for c, v in zip(names, values, strict=True)}, "")
        for k, values in enumerate(zip(*columns.values(), strict=True))
    ]
    return Table(path, tuple(names), rows)


def _is_plain(dtype: Any) -> bool:
    """Numbers, text, dates, and lists of text (codes); not lists of numbers, which are signals."""
    import pyarrow.types as t

    if t.is_list(dtype) or t.is_large_list(dtype):
        return t.is_string(dtype.value_type) or t.is_large_string(dtype.value_type)
    return not t.is_nested(dtype) and not t.is_binary(dtype) and not t.is_large_binary(dtype)


def number(text: str) -> float | None:
    """A finite number, with "." or "," before its decimals; None for anything else."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(text: str) -> int | None:
    """A whole number, also written "3.0"; None for anything else."""
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def is_unknown(text: str) -> bool:
    return text.strip().lower() in UNKNOWN
