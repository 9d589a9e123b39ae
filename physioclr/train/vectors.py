"""Files of embeddings: .npy, rows in the store's order; .csv and .parquet, the record's id before its numbers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._files import DamagedFile
from ..data.extras import pyarrow_parquet
from ..data.npy import open_npy
from .config import Config
from .files import replaced

ENDINGS = (".npy", ".csv", ".parquet")
ID = "record_id"


def check_ending(path: str | Path, argument: str) -> str:
    """The ending of a file of embeddings.

    Raises:
        ValueError: none of ENDINGS. ImportError: .parquet without pyarrow.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{argument} is {str(path)!r}; it must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if ending == ".parquet":
        pyarrow_parquet()
    return ending


def save_vectors(path: str | Path, values: np.ndarray, ids: Sequence[str]) -> None:
    """Write embeddings (n, width) float32 in the form that the ending says; ids: of the n records.

    .npy: the array alone. .csv and .parquet: columns record_id, e0, e1, ...; nine digits give every float32 back.
    """
    path, ending = Path(path), check_ending(path, "path")
    names = [f"e{k}" for k in range(values.shape[1])]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary:
        if ending == ".npy":
            with open(temporary, "wb") as f:
                np.save(f, values)
        elif ending == ".csv":
            with open(temporary, "w", newline="", encoding="utf-8") as f:
                writer = csv.writer(f, lineterminator="\n")
                writer.writerow([ID, *names])
                for record, row in zip(ids, values, strict=True):
                    writer.writerow([record, *(f"{v:.9g}" for v in row)])
        else:
            import pyarrow

            columns = {ID: [str(i) for i in ids], **dict(zip(names, values.T, strict=True))}
            pyarrow_parquet().write_table(pyarrow.table(columns), temporary)


def load_vectors(path: str | Path, store: Any) -> np.ndarray:
    """(n_records, width) float64: the embedding of every record of the store, in its order.

    Raises:
        ValueError: another ending, rows that do not belong to the store's records one to one, values that are not
            finite numbers. OSError: it cannot be read.
    """
    path, ending = Path(path), check_ending(path, "embeddings")
    if ending == ".npy":
        try:
            values = open_npy(path)
        except ValueError as e:
            raise DamagedFile(path, f"it is no .npy file: {e}") from None
        return checked(values, store, str(path))
    if ending == ".csv":
        try:
            with open(path, newline="", encoding="utf-8-sig") as f:
                head, *rows = [row for row in csv.reader(f) if row] or [[]]
        except (ValueError, csv.Error) as e:
            raise DamagedFile(path, f"it is no table: {e}") from None
        uneven = next((k for k, row in enumerate(rows, start=2) if len(row) != len(head)), None)
        if uneven is not None:
            raise ValueError(f"embeddings {str(path)!r}, row {uneven} has not the {len(head)} columns of the first")
        columns = dict(zip(head, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(head, ())
    else:
        parquet = pyarrow_parquet()
        try:
            columns = parquet.read_table(path).to_pydict()
        except FileNotFoundError:
            raise
        except Exception as e:  # of pyarrow has many kinds for a damaged file
            raise DamagedFile(path, f"it is no Parquet file: {e}") from None
    if ID not in columns or len(columns) < 2:
        raise ValueError(f"embeddings {str(path)!r} has the columns {', '.join(columns)}; it needs {ID} and numbers")
    found = [str(i) for i in columns.pop(ID)]
    try:
        values = np.array([np.asarray(c, np.float64) for c in columns.values()]).T
    except (TypeError, ValueError) as e:
        raise ValueError(f"embeddings {str(path)!r} has a value that is no number: {e}") from None
    return checked(values[_rows_of(found, store, path)], store, str(path))


def checked(values: Any, store: Any, name: str) -> np.ndarray:
    """Embeddings as the probe takes them: one finite row for each record of the store."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiu" or values.ndim != 2 or len(values) != len(store) or not values.shape[1]:
        raise ValueError(
            f"embeddings {name!r} is {values.dtype} of shape {values.shape}; it must be numbers ({len(store)}, width), "
            "a row for each record of the store, in its order"
        )
    values = values.astype(np.float64)
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise ValueError(
            f"embeddings {name!r} has NaN or infinity in {int(bad.sum())} rows, first in row {int(bad.argmax())} from 0"
        )
    return values


def _rows_of(found: list[str], store: Any, path: Path) -> np.ndarray:
    """For each record of the store, its row among the ids found."""
    place = {record: k for k, record in enumerate(found)}
    ids = [str(i) for i in np.asarray(store.table[ID])]
    if len(place) != len(found) or len(set(ids)) != len(ids):
        raise ValueError(f"embeddings {str(path)!r} or the store has a {ID} twice; rows must be told apart by it")
    lost = [i for i in ids if i not in place]
    if lost:
        raise ValueError(f"embeddings {str(path)!r} has no row for {len(lost)} records of the store, first {lost[0]!r}")
    return np.array([place[i] for i in ids], np.intp)


class GivenEmbeddings:
    """Stands where a probe has a run: embeddings of anyone's, one row for each record of the store.

    name: for table and picture. path: folder of these. The features beside them are those of the default configuration.
    """

    shipped = False

    def __init__(self, embeddings: Any, store: Any):
        self.config = Config()
        self.record_ids: set[str] = set()
        if isinstance(embeddings, str | Path):
            self.path: Path | None = Path(embeddings).parent
            self.name = Path(embeddings).stem
            self.values = load_vectors(embeddings, store)
        else:
            self.path, self.name = None, "embeddings"
            self.values = checked(embeddings, store, "embeddings")
