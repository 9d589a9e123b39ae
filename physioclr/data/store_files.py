"""The files of a store: names, sizes, checksums, the manifest and the headers of arrays. Nothing read is trusted.

Every fault is a `DamagedFile`: one line that names the file, the field and what it must be.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._files import DamagedFile
from .._files import crc32_of_file as crc32_of_file
from .._files import file_entry as file_entry
from .._files import manifest_crc as manifest_crc
from ..ops._checks import STANDARD_LEADS

FORMAT = "physioclr-store"
VERSION = 1
MANIFEST = "store.json"
SHARD_MANIFEST = "shard.json"
RECORDS = "records.jsonl"
PLAN = ("plan.json", "plan.txt")

TABLE_COLUMNS = ("record_id", "source", "patient_id", "age", "sex", "fold", "n_samples", "quality", "paced")
OPTIONAL_COLUMNS = ("split", "own_fs", "left_out")  # text, in the table of a store where a record has it
# Where a record lies: its shard, and its first sample, R peak and segment within the shard's arrays.
PLACE_COLUMNS = ("shard", "sample_start", "rpeak_start", "n_rpeaks", "segment_start", "n_segments")
# Of the columns that are not text; a tuple: the rest of the shape.
DTYPES = {"age": "<f4", "fold": "<i2", "n_samples": "<i4", "shard": "<i4", "sample_start": "<i8"}
DTYPES |= {"quality": "<f4", "paced": "|b1", "scale": "<f4"}
DTYPES |= {"rpeak_start": "<i8", "n_rpeaks": "<i4", "segment_start": "<i8", "n_segments": "<i4"}
TEXT = "<U"  # and how many characters
# dtype, and whether a row is a segment's features rather than one number
SHARD_ARRAYS = {"signals": ("<i2", False), "rpeaks": ("<i4", False), "features": ("<f4", True)}
FEATURES_PER_LEAD = 159
HEADER_BYTES = 128  # of every .npy file of a store

_SCHEME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHARD = re.compile(r"shard-[0-9]{6,}")
_HEADER = re.compile(
    rb"\{'descr': '([<|][biufU][0-9]{1,9})', 'fortran_order': False, 'shape': \(([0-9, ]{0,99})\)(?:, )?\} *\n"
)


def is_count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 1 << 62


def _is_positive(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and 0 < x < math.inf


def _are_texts(x: Any) -> bool:
    return isinstance(x, list) and all(isinstance(v, str) for v in x)


def short(x: Any) -> str:
    """A value for an error: whole if it is short."""
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."


# ---- arrays -------------------------------------------------------------------------------------------------------


class Header(NamedTuple):
    """What the header of a .npy file says, and where the values begin."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


def read_header(path: Path) -> Header:
    """The header of a .npy file as stores and `numpy.save` write it: C order, a plain dtype. Nothing is evaluated.

    The file must have exactly the bytes that dtype and shape ask for.
    """
    try:
        with open(path, "rb") as f:
            head = f.read(10)
            if head[:8] != b"\x93NUMPY\x01\x00" or len(head) < 10:
                raise DamagedFile(path, "it does not begin as a .npy file of version 1.0")
            text = f.read(int.from_bytes(head[8:], "little"))
            size = f.seek(0, 2)
    except OSError as e:
        raise DamagedFile(path, f"it cannot be read: {e.strerror}") from None
    found = _HEADER.fullmatch(text)
    if not found:
        raise DamagedFile(path, f"its header is {short(text.decode('latin-1').strip())}; it must have descr, "
                                "fortran_order False and shape")  # fmt: skip
    lengths = found[2].decode().removesuffix(",")
    try:
        dtype = np.dtype(found[1].decode())
        shape = tuple(map(int, lengths.split(","))) if lengths else ()
    except (TypeError, ValueError):
        raise DamagedFile(path, f"its header is {short(text.decode().strip())}, which is no array of numbers") from None
    if dtype.hasobject:
        raise DamagedFile(path, f"its dtype is {dtype}; it must be numbers or text")
    expected = 10 + len(text) + math.prod(shape) * dtype.itemsize
    if size != expected:
        raise DamagedFile(path, f"it has {size} bytes; its header ({dtype} {shape}) asks for {expected}")
    return Header(dtype, shape, 10 + len(text))


def load(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array in a file, memory-mapped and read-only. dtype: as DTYPES has it, or TEXT."""
    header = read_header(path)
    good = header.dtype.str.startswith(TEXT) if dtype == TEXT else header.dtype.str == dtype
    if not good or header.shape != shape:
        want = "text" if dtype == TEXT else np.dtype(dtype)
        raise DamagedFile(path, f"it is {header.dtype} {header.shape}; it must be {want} {shape}")
    if not math.prod(shape) * header.dtype.itemsize:  # an empty region cannot be mapped
        return np.zeros(shape, header.dtype)
    array = np.memmap(path, header.dtype, "r", header.offset, shape)
    if dtype == TEXT:
        _check_text(path, array)
    elif dtype == "|b1" and (array.view(np.uint8) > 1).any():
        raise DamagedFile(path, f"row {int(np.argmax(array.view(np.uint8) > 1))} is neither true nor false")
    return array


def _check_text(path: Path, array: np.ndarray) -> None:
    """NumPy raises in whoever touches a text that is none, so all are seen when the column is opened."""
    points = array.view(np.uint32).reshape(len(array), -1)
    rows = max((1 << 18) // points.shape[1], 1)
    for begin in range(0, len(points), rows):
        wrong = points[begin : begin + rows] > 0x10FFFF
        if wrong.any():
            raise DamagedFile(path, f"row {begin + int(np.argmax(wrong.any(axis=1)))} is no text")


# ---- the manifest -------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a store, every field checked.

    Raises:
        DamagedFile: it is damaged, or says what cannot be.
        ValueError: the folder is no store, is not finished or is of another version.
    """
    file = path / MANIFEST
    if file.is_dir():
        raise DamagedFile(file, "it is a folder")
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; it must be a store made by `prepare`")
    if not file.is_file():
        begun = "an unfinished store: run the same `prepare` again" if (path / "plan.json").is_file() else "not a store"
        raise ValueError(f"{path} is {begun} (it has no {MANIFEST})")
    try:
        m = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as e:
        raise DamagedFile(file, str(e)) from None
    if not isinstance(m, dict) or m.get("format") != FORMAT:
        raise DamagedFile(file, f"it is not the manifest of a {FORMAT}")
    try:
        sound = m.get("crc32") == manifest_crc(m)
    except (ValueError, RecursionError):  # text with half a surrogate pair
        sound = False
    other = (
        ""
        if m.get("version") == VERSION
        else f"version {short(m.get('version'))}; this library reads version {VERSION}"
    )
    if not sound:
        raise DamagedFile(file, "its checksum does not fit" + (f", and it says {other}" if other else ""))
    if other:
        raise ValueError(f"{path} is a store of {other}")
    _check_manifest(file, m)
    return m


def _check_manifest(file: Path, m: dict[str, Any]) -> None:
    leads = list(STANDARD_LEADS)
    for field, good, what in (
        ("leads", lambda x: x == leads, str(leads)),
        ("fs", _is_positive, "a number above 0, in Hz"),
        ("segment", _is_positive, "a number above 0, in s"),
        ("feature_leads", lambda x: _are_texts(x) and 0 < len(x) == len(set(x)), "a list of leads"),
        ("n_records", is_count, "an integer of at least 0"),
        ("n_skipped", is_count, "an integer of at least 0"),
        ("labels", lambda x: isinstance(x, dict), "an object: label scheme -> list of classes"),
        ("shards", lambda x: isinstance(x, list), "a list"),
        ("files", lambda x: isinstance(x, dict), "an object: file -> bytes and crc32"),
    ):
        if field not in m:
            raise DamagedFile(file, f"it has no field {field}")
        if not good(m[field]):
            raise DamagedFile(file, f"field {field} is {short(m[field])}; it must be {what}")
    for scheme, classes in m["labels"].items():
        if not _SCHEME.fullmatch(scheme):
            raise DamagedFile(file, f"field labels names the scheme {short(scheme)}, which cannot be a file's name")
        if not _are_texts(classes):
            raise DamagedFile(file, f"field labels.{scheme} is {short(classes)}; it must be a list of classes")
    _check_files(
        file, "files", m["files"], _own_files(m), optional=set(PLAN) | {f"table/{c}.npy" for c in OPTIONAL_COLUMNS}
    )
    names = set()
    for k, shard in enumerate(m["shards"]):
        field = f"shards[{k}]"
        if not isinstance(shard, dict) or not {"name", "n_records", "files"} <= shard.keys():
            raise DamagedFile(file, f"field {field} is {short(shard)}; it must have name, n_records and files")
        name = shard["name"]
        if not isinstance(name, str) or not _SHARD.fullmatch(name) or name in names:
            raise DamagedFile(file, f"field {field}.name is {short(name)}; it must be shard- and six digits, each once")
        names.add(name)
        if not is_count(shard["n_records"]):
            raise DamagedFile(file, f"field {field}.n_records is {short(shard['n_records'])}; it must be a count")
        arrays = {f"{a}.npy" for a in SHARD_ARRAYS}
        _check_files(file, f"{field}.files", shard["files"], arrays | {RECORDS}, optional={SHARD_MANIFEST})
        for a in SHARD_ARRAYS:
            size = shard["files"][f"{a}.npy"]["bytes"] - HEADER_BYTES
            if size < 0 or size % row_bytes(a, len(m["feature_leads"])):
                what = f"{HEADER_BYTES} and a multiple of {row_bytes(a, len(m['feature_leads']))}"
                raise DamagedFile(
                    file, f"field {field}.files has {a}.npy of {size + HEADER_BYTES} bytes; it must be {what}"
                )
    n = sum(s["n_records"] for s in m["shards"])
    if n != m["n_records"]:
        raise DamagedFile(file, f"field n_records is {m['n_records']}; its shards have {n}")


def row_bytes(array: str, n_feature_leads: int) -> int:
    """Of a row of a shard's array; of signals, of a sample in all leads."""
    dtype, row = SHARD_ARRAYS[array]
    count = FEATURES_PER_LEAD * n_feature_leads if row else 12 if array == "signals" else 1
    return np.dtype(dtype).itemsize * count


def _own_files(m: dict[str, Any]) -> set[str]:
    columns = {f"table/{c}.npy" for c in (*TABLE_COLUMNS, *PLACE_COLUMNS, "scale")}
    return (
        columns | {f"{k}/{s}.npy" for k in ("labels", "labelled") for s in m["labels"]} | {"records.csv", "skipped.csv"}
    )


def _check_files(file: Path, field: str, entries: Any, needed: set[str], optional: set[str]) -> None:
    """Exactly the files that a store has, so that no name leads out of its folder."""
    if not isinstance(entries, dict):
        raise DamagedFile(file, f"field {field} is {short(entries)}; it must be an object: file -> bytes and crc32")
    for name in sorted(needed - entries.keys()):
        raise DamagedFile(file, f"field {field} has no {name}")
    for name, entry in entries.items():
        if name not in needed and name not in optional:
            raise DamagedFile(file, f"field {field} names {short(name)}, which is no file of a store")
        if not isinstance(entry, dict) or not is_count(entry.get("bytes")) or not is_count(entry.get("crc32")):
            raise DamagedFile(
                file, f"field {field} says {short(entry)} of {name}; it must have the counts bytes and crc32"
            )


def all_files(m: dict[str, Any]) -> Iterator[tuple[str, dict[str, int]]]:
    """Every file that a manifest lists, by its path in the store."""
    yield from m["files"].items()
    for shard in m["shards"]:
        for name, entry in shard["files"].items():
            yield f"{shard['name']}/{name}", entry
