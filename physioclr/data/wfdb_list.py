"""MIMIC-IV-ECG's own list of its records, record_list.csv: 800,000 rows, of which none is kept."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .tables import TableError
from .wfdb_find import PassedOver


def listed(listing: Path, passed_over: PassedOver) -> Iterator[str]:
    """The paths in a list of records (subject_id, study_id, file_name, ecg_time, path), each once; of others none.

    Reads the file twice, holding eight bytes a row: first for paths that occur more than once, which is known by their
    hashes unless two differ and have the same, so the second time those are looked at themselves.

    Args:
        passed_over: called as passed_over(line, reason) for a row without a path.

    Raises:
        TableError: a row that cannot be parsed, or goes over several lines: others may be lost in it.
    """
    hashes = array("q", (hash(path) for path, _ in _paths(listing) if path))
    value, count = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    suspects, seen = set(value[count > 1].tolist()), set()
    for path, line in _paths(listing):
        if not path:
            passed_over(f"{listing.name}, line {line}", "it has no path")
        elif hash(path) not in suspects:
            yield path
        elif path not in seen:
            seen.add(path)
            yield path


def _paths(listing: Path) -> Iterator[tuple[str, int]]:
    """The path in every row that is not blank, "" where there is none, and its line."""
    with open(listing, newline="", encoding="utf-8-sig", errors="surrogateescape") as f:
        rows = csv.reader(f)
        try:
            columns = [name.strip() for name in next(rows, ())]
            if not {"subject_id", "path"} <= set(columns):
                return
            at = columns.index("path")
            line = rows.line_num
            for row in rows:
                if rows.line_num > line + 1:
                    raise TableError(f"{listing}, line {line + 1}: a quotation mark is not closed")
                line = rows.line_num
                if row:
                    yield row[at].strip() if len(row) > at else "", line
        except csv.Error as e:
            raise TableError(f"{listing}, line {rows.line_num}: {e}") from None
