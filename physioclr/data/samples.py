"""The real recordings that the package ships: 80 records of PTB-XL (CC BY 4.0; see the README.md beside them)."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .labels import PTBXL_SUPERCLASSES
from .metadata import parse_age
from .prepare import prepare
from .store import Store, open_store

_FOLDER = Path(__file__).parent / "sample"


@dataclass(frozen=True)
class Sample:
    """The shipped records, as files and as a table; row k of every array belongs to record_ids[k].

    Attributes:
        path: folder of the WFDB files, in PTB-XL's layout: a source for `prepare`, for wfdb or for any other reader.
        record_ids: path of each record relative to `path`, without suffix, as in a store's table.
        patient_id: (80,) str; no two records are of one patient.
        age: (80,) float32 years, NaN where unknown.
        sex: (80,) "F" or "M".
        fold: (80,) int16, PTB-XL's strat_fold.
        test: (80,) bool, the suggested test set: folds 8 and 9.
        classes, labels: the five diagnostic superclasses and (80, 5) uint8, several or none per record.
        licence, citation: what to state where the records are shown or passed on.
    """

    path: Path
    record_ids: tuple[str, ...]
    patient_id: np.ndarray
    age: np.ndarray
    sex: np.ndarray
    fold: np.ndarray
    test: np.ndarray
    classes: tuple[str, ...]
    labels: np.ndarray
    licence: str = "CC BY 4.0"
    citation: str = "Wagner et al., PTB-XL 1.0.3, PhysioNet 2022, doi:10.13026/kfzx-aw45; Scientific Data 7, 154, 2020"

    def __len__(self) -> int:
        return len(self.record_ids)


def sample() -> Sample:
    """The 80 real twelve-lead records shipped with the package (10 s, 500 Hz). Works offline.

    s = pc.data.sample()
    record = pc.data.read_record(s.path / s.record_ids[0])
    ecg = record.millivolts()                  # (12, 5000) float32
    """
    with open(_FOLDER / "ptbxl_database.csv", newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    superclasses = [row["superclass"].split("|") for row in rows]
    ages = [parse_age(row["age"]) for row in rows]
    return Sample(
        path=_FOLDER,
        record_ids=tuple(row["filename_hr"] for row in rows),
        patient_id=np.array([row["patient_id"].removesuffix(".0") for row in rows]),
        age=np.array([np.nan if a is None else a for a in ages], np.float32),
        sex=np.array([{"0": "M", "1": "F"}[row["sex"]] for row in rows]),
        fold=np.array([row["strat_fold"] for row in rows]).astype(np.int16),
        test=np.array([row["split"] == "test" for row in rows]),
        classes=PTBXL_SUPERCLASSES,
        labels=np.array([[c in s for c in PTBXL_SUPERCLASSES] for s in superclasses], np.uint8),
    )


def sample_store(dest: str | os.PathLike[str], *, jobs: int = 1) -> Store:
    """The shipped records as a store at 500 Hz in `dest`; made where it is not there yet."""
    prepare(_FOLDER, dest, jobs=jobs)
    return open_store(dest)
