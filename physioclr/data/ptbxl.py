"""The label table of PTB-XL, ptbxl_database.csv: who each record is of, its fold and its statements."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from . import labels
from .tables import Row, TableError, is_unknown, read_table, whole

FILE = "ptbxl_database.csv"
STATEMENTS = "scp_statements.csv"
_NEEDED = ("patient_id", "age", "sex", "scp_codes", "strat_fold")
_FILENAMES = ("filename_hr", "filename_lr")
_LEVELS_ABOVE = 3  # records500/00000/00001_hr
_OWN_PATH = re.compile(r"(?:.*/)?records(?:100|500)/(\d{5}/\d{5})_(?:lr|hr)")


class _PtbXl(NamedTuple):
    rows: dict[str, dict[str, Any] | str]  # filename -> what is known of the record, or what is wrong with its row
    damage: list[str]  # rows that name no record


def row_of(path: str) -> dict[str, Any] | str | None:
    """What ptbxl_database.csv in one of the four folders above a record says of it; None without such a table.

    A text where the record's row is damaged: it names the line. A record in PTB-XL's own folders that has no row has no
    label either.
    """
    folder, name = os.path.split(path)
    table, prefix = _table_above(folder)
    if table is None:
        return None
    entry = table.rows.get(prefix + name)
    if entry is None and prefix.startswith(("records500/", "records100/")):
        return _without_row()
    return entry


def without_rate(record_id: str) -> str:
    """One name for a recording of PTB-XL, which has a file at 500 and one at 100 Hz; other ids stay as they are."""
    own = _OWN_PATH.fullmatch(record_id)
    return f"ptbxl {own[1]}" if own else record_id


def damage_below(src: Path) -> list[str]:
    """Read the tables that lie in src, above it, or in one of its folders; the rows in them that nobody can use.

    Raises:
        TableError: one of them cannot be used at all.
    """
    for cached in (_table, _table_above):  # the files may have been repaired since
        cached.cache_clear()
    src = src.absolute()
    folders = [src, *src.parents[:_LEVELS_ABOVE]]
    if src.is_dir():
        folders += sorted(Path(e.path) for e in os.scandir(src) if e.is_dir() and not e.name.startswith("."))
    tables = [_table(str(folder)) for folder in folders]
    return [line for table in tables if table for line in table.damage]


@functools.lru_cache(maxsize=4096)
def _table_above(folder: str) -> tuple[_PtbXl | None, str]:
    """The table that covers a folder, and the folder's path below it."""
    above, below = os.path.abspath(folder), ""
    for _ in range(1 + _LEVELS_ABOVE):
        table = _table(above)
        if table is not None:
            return table, below
        above, name = os.path.split(above)
        below = f"{name}/{below}"
    return None, ""


@functools.lru_cache(maxsize=1 << 16)
def _table(folder: str) -> _PtbXl | None:
    file = Path(folder, FILE)
    return _read(file, _stamp(file), _stamp(file.with_name(STATEMENTS))) if file.is_file() else None


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=4)
def _read(file: Path, *_stamps: tuple[int, int] | None) -> _PtbXl:
    """Read anew where a stamp has changed."""
    statements = file.with_name(STATEMENTS)
    superclass = labels.read_scp_statements(statements) if statements.is_file() else None
    table = read_table(file)
    lacking = [c for c in _NEEDED if c not in table.columns]
    if not any(c in table.columns for c in _FILENAMES):
        lacking.append(" or ".join(_FILENAMES))
    if lacking:
        raise TableError(f"{file} lacks the columns {', '.join(lacking)}; it has {', '.join(table.columns)}")
    rows: dict[str, dict[str, Any] | str] = {}
    damage = []
    for row in table.rows:
        names = [row.cells[c] for c in _FILENAMES if row.cells.get(c)]
        try:
            if row.damage:
                raise ValueError(row.damage)
            entry: dict[str, Any] | str = _entry(row, superclass)
        except ValueError as e:
            entry = f"{table.where(row)}: {e}"
            if not names:
                damage.append(entry)
        for name in names:
            rows[name] = entry
    return _PtbXl(rows, damage)


def _entry(row: Row, superclass: dict[str, str] | None) -> dict[str, Any]:
    from .metadata import parse_age

    cells = row.cells
    codes = labels.scp_codes(cells["scp_codes"])
    fold = -1 if is_unknown(cells["strat_fold"]) else whole(cells["strat_fold"])
    if fold is None or not -1 <= fold < 1 << 15:
        raise ValueError(f"strat_fold is {cells['strat_fold'][:60]!r}; it must be a whole number")
    entry = _without_row() | {
        "patient_id": "" if is_unknown(cells["patient_id"]) else cells["patient_id"].removesuffix(".0"),
        "age": parse_age(cells["age"]),
        "sex": {"0": "M", "1": "F"}.get(cells["sex"].removesuffix(".0"), ""),
        "fold": fold,
        "dx": codes,
    }
    superclasses = labels.ptbxl_superclasses(codes, superclass)
    found = {"ptbxl_superclass": superclasses} if superclasses else {}
    if codes:  # statements of which the Challenge scores none are negative of every class of its scheme
        found["cinc2021"] = labels.cinc2021_from_scp(codes, cells.get("heart_axis", ""))
    entry["labels"] = found
    entry["unlabelled"] = [scheme for scheme in entry["unlabelled"] if scheme not in found]
    return entry


def _without_row() -> dict[str, Any]:
    return {"source": "ptbxl", "labels": {}, "unlabelled": ["ptbxl_superclass", "cinc2021"]}
