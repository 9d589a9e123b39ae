"""What is known of a record beside its signal: where it is from, who, and the diagnoses.

PTB-XL says it in ptbxl_database.csv (`ptbxl`); the Challenge and LUDB in the header's comments; PTB and MIMIC-IV-ECG in
the names of the folders.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from . import labels, ptbxl
from .tables import number
from .wfdb_source import RecordError

# Names of the records of the Challenge 2021: letters, digits, the largest number, source. The letters alone do not tell
# (any collection may have an S0001), and one record of Ningbo lost its J: S23074.
_CHALLENGE_NAMES = (
    ("A", 4, 6877, "cpsc2018"),
    ("Q", 4, 3581, "cpsc_extra"),
    ("E", 5, 10344, "georgia"),
    ("JS", 5, 45551, "chapman_ningbo"),
    ("S", 5, 45551, "chapman_ningbo"),
    ("S", 4, 549, "ptb"),
    ("HR", 5, 21837, "ptbxl_challenge"),
    ("I", 4, 74, "st_petersburg"),
)
_MIMIC = re.compile(r"/p\d{4}/p(\d{8})/s\d+/")  # p1000/p10000032/s40689238/40689238: group, patient, study
_PTB = re.compile(r"/(patient\d{3})/s\d{4}[a-z_]re$")  # patient001/s0010_re
OVER_89 = 90.0  # what "over 89" is stored as: ages beyond it are withheld (PTB-XL writes 300, LUDB ">89")


def describe(src: str | os.PathLike[str], record_id: str, comments: list[str]) -> dict[str, Any]:
    """One row of the record table, less what the signal says.

    Returns:
        record_id, source, patient_id ("" unknown), age (years or None), sex ("F", "M", ""), fold (-1: none), dx (codes
        as in the source, names resolved), labels (scheme -> classes, for the schemes that the record is labelled in),
        unlabelled (the schemes of its source in which it has no label).

    Raises:
        RecordError: the record's row of a label table is damaged.
        TableError: such a table cannot be used at all.
    """
    stated: dict[str, str] = {}
    for comment in comments:
        key, colon, value = comment.partition(":")
        if colon:
            stated.setdefault(key.strip(" <>").lower(), value.strip())
    mimic, ptb = _MIMIC.search(f"/{record_id}"), _PTB.search(f"/{record_id}")
    row: dict[str, Any] = {
        "record_id": record_id,
        "source": "mimic_iv_ecg" if mimic else "ptb" if ptb else folder_name(src, record_id),
        "patient_id": mimic[1] if mimic else ptb[1] if ptb else stated.get("subject_id", ""),
        "age": parse_age(stated.get("age", "")),
        "sex": parse_sex(stated.get("sex", "")),
        "fold": -1,
        "dx": [],
        "labels": {},
        "unlabelled": [],
    }
    entry = ptbxl.row_of(os.path.join(src, record_id))
    if isinstance(entry, str):
        raise RecordError(entry)
    if entry is not None:
        return row | entry
    if "dx" in stated:
        row["dx"] = labels.dx_codes(stated["dx"])
        classes = labels.cinc2021_classes(row["dx"]) if labels.says_something(row["dx"]) else None
        _label(row, "cinc2021", classes)
        row["source"] = challenge_source(record_id.rpartition("/")[2]) or row["source"]
    elif "diagnoses" in stated:  # LUDB
        row["source"] = "ludb"
        row["dx"] = [c for c in (c.strip(" .") for c in comments if not c.startswith("<")) if c]
        _label(
            row, "ludb_rhythm", labels.ludb_rhythm(comments) or None
        )  # each record has one rhythm, so none is no label
    return row


def _label(row: dict[str, Any], scheme: str, classes: list[str] | None) -> None:
    if classes is None:
        row["unlabelled"].append(scheme)
    else:
        row["labels"][scheme] = classes


def challenge_source(name: str) -> str:
    """The source of a Challenge 2021 record by its name, "" for another name."""
    parts = re.fullmatch(r"([A-Z]{1,2})(\d+)", name)
    if parts:
        for letters, digits, last, source in _CHALLENGE_NAMES:
            if parts[1] == letters and len(parts[2]) == digits and 1 <= int(parts[2]) <= last:
                return source
    return ""


def parse_age(text: str) -> float | None:
    """Years, or None where the text is no plausible age."""
    over = re.fullmatch(r">\s*(\d+)", text.strip())
    if over:
        return float(over[1]) + 1
    age = number(text.strip().removesuffix("+"))
    if age is None:
        return None
    if age == 300:
        return OVER_89
    return age if 0 <= age <= 120 else None


def parse_sex(text: str) -> str:
    word = text.strip().lower()
    return "F" if word in ("f", "female") else "M" if word in ("m", "male") else ""


def folder_name(src: str | os.PathLike[str], record_id: str) -> str:
    """The data set's folder: the first below src that leads to the record, or src itself."""
    parts = record_id.split("/")
    return parts[0] if len(parts) > 1 else Path(src).resolve().name
