"""What is known of a record beside its signal: where it is from, who, and the diagnoses.

PTB-XL says it in ptbxl_database.csv; the Challenge, LUDB and MIMIC-IV-ECG in the header's comments.
"""

from __future__ import annotations

import csv
import functools
import os
import re
from pathlib import Path
from typing import Any

from . import labels

# The letters that a Challenge 2021 record name begins with.
_CHALLENGE_SOURCES = {
    "A": "cpsc2018",
    "Q": "cpsc_extra",
    "E": "georgia",
    "JS": "chapman_ningbo",
    "S": "ptb",
    "HR": "ptbxl_challenge",
    "I": "st_petersburg",
}
_MIMIC = re.compile(r"/p\d{4}/p(\d{8})/s\d+/")  # p1000/p10000032/s40689238/40689238: group, patient, study
OVER_89 = 90.0  # what "over 89" is stored as: ages beyond it are withheld (PTB-XL writes 300, LUDB ">89")


def describe(src: str | os.PathLike, record_id: str, comments: list[str]) -> dict[str, Any]:
    """One row of the record table, less what the signal says.

    Returns:
        record_id, source, patient_id ("" unknown), age (years or None), sex ("F", "M", ""), fold (-1: none), dx (codes
        as in the source, names resolved), labels (scheme -> classes, for the schemes that apply).
    """
    stated = {}
    for comment in comments:
        key, colon, value = comment.partition(":")
        if colon:
            stated.setdefault(key.strip(" <>").lower(), value.strip())
    mimic = _MIMIC.search(f"/{record_id}")
    row = {
        "record_id": record_id,
        "source": "mimic_iv_ecg" if mimic else _folder_name(src, record_id),
        "patient_id": mimic[1] if mimic else stated.get("subject_id", ""),
        "age": parse_age(stated.get("age", "")),
        "sex": parse_sex(stated.get("sex", "")),
        "fold": -1,
        "dx": [],
        "labels": {},
    }
    ptbxl = _ptbxl_row(os.path.join(src, record_id))
    if ptbxl is not None:
        return row | ptbxl
    if "dx" in stated:
        codes = labels.dx_codes(stated["dx"])
        row["dx"], row["labels"] = codes, {"cinc2021": labels.cinc2021_classes(codes)}
        prefix = re.fullmatch(r"([A-Z]+)\d+", record_id.rpartition("/")[2])
        row["source"] = _CHALLENGE_SOURCES.get(prefix[1], row["source"]) if prefix else row["source"]
    elif "diagnoses" in stated:  # LUDB
        row["source"] = "ludb"
        after = [c.strip(" .") for c in comments if not c.startswith("<")]
        row["dx"], row["labels"] = [c for c in after if c], {"ludb_rhythm": labels.ludb_rhythm(comments)}
    return row


def parse_age(text: str) -> float | None:
    """Years, or None where the text is no plausible age."""
    over = re.fullmatch(r">\s*(\d+)", text.strip())
    if over:
        return float(over[1]) + 1
    try:
        age = float(text.strip().removesuffix("+"))
    except ValueError:
        return None
    if age == 300:
        return OVER_89
    return age if 0 <= age <= 120 else None


def parse_sex(text: str) -> str:
    word = text.strip().lower()
    return "F" if word in ("f", "female") else "M" if word in ("m", "male") else ""


def _folder_name(src: str | os.PathLike, record_id: str) -> str:
    """The data set's folder: the first below src that leads to the record, or src itself."""
    parts = record_id.split("/")
    return parts[0] if len(parts) > 1 else Path(src).resolve().name


# ---- PTB-XL -------------------------------------------------------------------------------------------------------

PTBXL_CSV = "ptbxl_database.csv"


def _ptbxl_row(path: str) -> dict[str, Any] | None:
    """The record's row of the ptbxl_database.csv in one of the four folders above it, if there is one."""
    folder, name = os.path.split(path)
    table, prefix = _ptbxl_table_above(folder)
    return table.get(prefix + name)


@functools.lru_cache(maxsize=1024)
def _ptbxl_table_above(folder: str) -> tuple[dict[str, dict[str, Any]], str]:
    """The table that covers a folder ({} if none does), and the folder's path below it."""
    path = Path(folder).resolve()
    for above in (path, *path.parents[:3]):
        table = _ptbxl_table(above)
        if table is not None:
            below = path.relative_to(above).as_posix()
            return table, "" if below == "." else f"{below}/"
    return {}, ""


@functools.lru_cache(maxsize=16)
def _ptbxl_table(folder: Path) -> dict[str, dict[str, Any]] | None:
    """filename -> row, for a folder with ptbxl_database.csv; None without."""
    file = folder / PTBXL_CSV
    if not file.is_file():
        return None
    statements = folder / "scp_statements.csv"
    superclass = labels.read_scp_statements(statements) if statements.is_file() else None
    table = {}
    with open(file, newline="", encoding="utf-8-sig") as f:
        rows = csv.DictReader(f)
        needed = {"patient_id", "age", "sex", "scp_codes", "strat_fold"}
        if not needed <= set(rows.fieldnames or ()):
            raise ValueError(f"{file} lacks the columns {', '.join(sorted(needed - set(rows.fieldnames or ())))}")
        for row in rows:
            codes = labels.scp_codes(row["scp_codes"])
            entry = {
                "source": "ptbxl",
                "patient_id": row["patient_id"].removesuffix(".0"),
                "age": parse_age(row["age"]),
                "sex": {"0": "M", "1": "F"}.get(row["sex"].removesuffix(".0"), ""),
                "fold": int(float(row["strat_fold"])) if row["strat_fold"] else -1,
                "dx": codes,
                "labels": {
                    "ptbxl_superclass": labels.ptbxl_superclasses(codes, superclass),
                    "cinc2021": labels.cinc2021_from_scp(codes, row.get("heart_axis") or ""),
                },
            }
            for column in ("filename_hr", "filename_lr"):
                if row.get(column):
                    table[row[column]] = entry
    return table
