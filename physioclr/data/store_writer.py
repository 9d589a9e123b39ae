"""Writing a store: one shard at a time, then the table over all shards. The layout is that of docs/store.md.

A shard is written into a folder of its own and renamed when it is complete, so that a shard either is there whole or
not at all. The manifest is written last: a folder without it is an unfinished store.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._files import DamagedFile
from ..ops._checks import STANDARD_LEADS
from .store_files import (
    DTYPES,
    FORMAT,
    HEADER_BYTES,
    MANIFEST,
    OPTIONAL_COLUMNS,
    PLACE_COLUMNS,
    PLAN,
    RECORDS,
    SHARD_MANIFEST,
    TABLE_COLUMNS,
    VERSION,
    crc32_of_file,
    file_entry,
    is_count,
    manifest_crc,
)

_TEXT = ("record_id", "source", "patient_id", "sex")


class ArrayFile:
    """A .npy file that grows: rows are appended, and the header, which has room for any shape, is filled in last."""

    def __init__(self, path: Path, dtype: str, row_shape: tuple[int, ...] = ()):
        self.dtype, self.row_shape, self.rows = np.dtype(dtype), row_shape, 0
        self._path, self._file = path, open(path, "wb")
        self._file.write(b"\0" * HEADER_BYTES)

    def append(self, rows: np.ndarray) -> None:
        block = np.ascontiguousarray(rows, dtype=self.dtype)
        assert block.shape[1:] == self.row_shape, (block.shape, self.row_shape)
        self._file.write(block.reshape(-1).view(np.uint8).data)
        self.rows += len(block)

    def close(self) -> dict[str, int]:
        """Finish the file; its size and checksum."""
        d = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
        text = repr(d | {"shape": (self.rows, *self.row_shape)}).encode("latin-1")
        self._file.seek(0)
        self._file.write(np.lib.format.magic(1, 0) + (HEADER_BYTES - 10).to_bytes(2, "little"))
        self._file.write(text.ljust(HEADER_BYTES - 11) + b"\n")
        self._file.close()
        return file_entry(self._path)

    def discard(self) -> None:
        self._file.close()


class ShardWriter:
    """Writes the records of one shard. `commit` makes the shard visible; without it nothing is left behind."""

    def __init__(self, dest: Path, name: str, n_features: int):
        self.final = dest / name
        self.folder = dest / f".{name}.{os.getpid()}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self._signals = ArrayFile(self.folder / "signals.npy", "<i2")
        self._rpeaks = ArrayFile(self.folder / "rpeaks.npy", "<i4")
        self._features = ArrayFile(self.folder / "features.npy", "<f4", (n_features,))
        self._records: list[dict[str, Any]] = []
        self._skipped: list[tuple[str, str]] = []
        self.remarks: list[tuple[str, str]] = []

    def add(
        self,
        signal: np.ndarray,
        scale: np.ndarray,
        rpeaks: np.ndarray,
        features: np.ndarray,
        entry: dict[str, Any],
    ) -> None:
        """One record: (12, T) int16, (12,) mV per unit, (P,) samples, (S, F), and its row of the table."""
        self._records.append(
            entry
            | {
                "n_samples": signal.shape[1],
                "scale": [float(s) for s in np.asarray(scale, np.float32)],
                "sample_start": self._signals.rows // 12,
                "rpeak_start": self._rpeaks.rows,
                "n_rpeaks": len(rpeaks),
                "segment_start": self._features.rows,
                "n_segments": len(features),
            }
        )
        self._signals.append(signal.reshape(-1))
        self._rpeaks.append(rpeaks)
        self._features.append(features)

    def skip(self, record_id: str, reason: str) -> None:
        self._skipped.append((record_id, reason))

    def remark(self, record_id: str, text: str) -> None:
        """What the report is to say of a record that is stored."""
        self.remarks.append((record_id, text))

    def commit(self, more: Mapping[str, Any] | None = None, replace: bool = False) -> tuple[int, int]:
        """Close the files and rename the folder. How many records it has, and how many were left out.

        more: further entries of the shard's manifest. replace: in place of a shard that is there. The store is
        unfinished from then on, until its table is written again.
        """
        files = {
            "signals.npy": self._signals.close(),
            "rpeaks.npy": self._rpeaks.close(),
            "features.npy": self._features.close(),
        }
        lines = "".join(json.dumps(r) + "\n" for r in self._records).encode()
        (self.folder / RECORDS).write_bytes(lines)
        files[RECORDS] = {"bytes": len(lines), "crc32": zlib.crc32(lines)}
        widths = {c: max((len(r[c]) for r in self._records), default=1) for c in _TEXT}
        widths |= {c: n for c in OPTIONAL_COLUMNS if (n := max((len(r.get(c, "")) for r in self._records), default=0))}
        classes: dict[str, set[str]] = {}
        unlabelled: dict[str, int] = {}
        for r in self._records:
            for scheme, names in r["labels"].items():
                classes.setdefault(scheme, set()).update(names)
            for scheme in r.get("unlabelled", ()):
                unlabelled[scheme] = unlabelled.get(scheme, 0) + 1
        shard = {"n_records": len(self._records), "widths": widths, "schemes": sorted(classes)}
        shard |= {"classes": {s: sorted(names) for s, names in sorted(classes.items())}, "unlabelled": unlabelled}
        left_out = Counter(name for r in self._records for name in r.get("left_out", "").split("|") if name)
        shard |= {"resampled": sum("own_fs" in r for r in self._records), "left_out": left_out}
        shard |= {"skipped": self._skipped, "remarks": self.remarks, "files": files, **(more or {})}
        shard["crc32"] = manifest_crc(shard)
        (self.folder / SHARD_MANIFEST).write_text(json.dumps(shard), encoding="utf-8")
        if replace and self.final.is_dir():
            (self.final.parent / MANIFEST).unlink(missing_ok=True)
            old = self.folder.with_name(f"{self.folder.name}.old")
            os.rename(self.final, old)
            os.rename(self.folder, self.final)
            shutil.rmtree(old, ignore_errors=True)
            return len(self._records), len(self._skipped)
        try:
            os.rename(self.folder, self.final)
        except OSError:
            self.discard()
            if not self.final.is_dir():
                raise
        return len(self._records), len(self._skipped)

    def discard(self) -> None:
        for f in (self._signals, self._rpeaks, self._features):
            f.discard()
        shutil.rmtree(self.folder, ignore_errors=True)


def finished_shard(dest: Path, name: str, contents: bool = False) -> dict[str, Any] | None:
    """The manifest of a shard that is there whole, otherwise None. contents: every byte is read against its checksum.

    Raises:
        OSError: the system does not let it be read. A shard that is None is made again in its place.
    """
    try:
        shard = json.loads((dest / name / SHARD_MANIFEST).read_text(encoding="utf-8"))
        if not _is_shard(shard):
            return None
        files = [(dest / name / f, e) for f, e in shard["files"].items()]
        whole = all(f.stat().st_size == e["bytes"] for f, e in files)
        whole = whole and not (contents and any(crc32_of_file(f) != e["crc32"] for f, e in files))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None
    return shard if whole else None


def _is_shard(m: Any) -> bool:
    """Whether this is what `ShardWriter.commit` writes; a shard whose manifest is damaged is made again."""
    arrays = {"signals.npy", "rpeaks.npy", "features.npy"}
    try:
        texts = [
            *m["widths"],
            *m["schemes"],
            *m["classes"],
            *m["unlabelled"],
            *(c for v in m["classes"].values() for c in v),
        ]
        texts += [x for pair in m["skipped"] for x in pair]
        counts = [m["n_records"], *m["widths"].values(), *m["unlabelled"].values()]
        counts += [e[key] for e in m["files"].values() for key in ("bytes", "crc32")]
        pairs = all(len(pair) == 2 for pair in m["skipped"])
        files = m["files"].keys() == arrays | {RECORDS} and m["crc32"] == manifest_crc(m)
    except (KeyError, TypeError, AttributeError):
        return False
    return files and pairs and all(isinstance(x, str) for x in texts) and all(map(is_count, counts))


def _shard(dest: Path, name: str) -> dict[str, Any]:
    shard = finished_shard(dest, name)
    if shard is None:
        raise ValueError(f"{dest / name} is missing or incomplete: run the same `prepare` again")
    return shard


def index_of(dest: Path, names: list[str], classes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """What the manifest says of finished shards: the shards, the counts, and the label schemes with their classes.

    classes: of the schemes that are known; those of others are what the shards have, sorted.
    """
    shards, n_skipped = [], 0
    found: dict[str, set[str]] = {}
    for name in names:
        shard = _shard(dest, name)
        n_skipped += len(shard["skipped"])
        files = shard["files"] | {SHARD_MANIFEST: file_entry(dest / name / SHARD_MANIFEST)}
        shards.append({"name": name, "n_records": shard["n_records"], "files": files})
        for scheme in shard["schemes"]:
            found.setdefault(scheme, set()).update(shard.get("classes", {}).get(scheme, ()))
    schemes = {scheme: list(classes[scheme]) for scheme in classes if scheme in found}
    schemes |= {scheme: sorted(found[scheme]) for scheme in sorted(found) if scheme not in classes}
    n = sum(s["n_records"] for s in shards)
    return {"n_records": n, "n_skipped": n_skipped, "labels": schemes, "shards": shards}


def write_index(dest: Path, names: list[str], settings: dict[str, Any], classes: Mapping[str, tuple[str, ...]]) -> int:
    """Write the table, the labels, skipped.csv and last the manifest over finished shards. Returns the record count.

    Goes over the shards twice (text widths and schemes, then the values) and holds one shard's rows at a time.
    """
    index = index_of(dest, names, classes)
    schemes = index["labels"]
    width = dict.fromkeys(_TEXT, 1)
    for name in names:
        for column, n in _shard(dest, name)["widths"].items():
            width[column] = max(width.get(column, 1), n)
    optional = tuple(c for c in OPTIONAL_COLUMNS if c in width)
    columns = (*TABLE_COLUMNS, *optional, *PLACE_COLUMNS)

    work = dest / f".index.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("table", "labels", "labelled"):
        (work / folder).mkdir(parents=True)
    table = {
        name: ArrayFile(work / "table" / f"{name}.npy", DTYPES.get(name) or f"<U{width[name]}") for name in columns
    }
    scale = ArrayFile(work / "table" / "scale.npy", "<f4", (12,))
    multi_hot = {s: ArrayFile(work / "labels" / f"{s}.npy", "|u1", (len(c),)) for s, c in schemes.items()}
    labelled = {s: ArrayFile(work / "labelled" / f"{s}.npy", "|b1") for s in schemes}
    with (
        open(work / "records.csv", "w", newline="", encoding="utf-8", errors="backslashreplace") as records_csv,
        open(work / "skipped.csv", "w", newline="", encoding="utf-8", errors="backslashreplace") as skipped_csv,
    ):
        records, skipped = csv.writer(records_csv), csv.writer(skipped_csv)
        records.writerow([*columns, "dx", *schemes])
        skipped.writerow(["record_id", "reason"])
        for k, name in enumerate(names):
            skipped.writerows(_shard(dest, name)["skipped"])
            absent = dict.fromkeys(optional, "") | {"shard": k}
            rows = [absent | r | {"age": np.nan if r["age"] is None else r["age"]} for r in _rows(dest, name)]
            for column, file in table.items():
                file.append(np.array([r[column] for r in rows], file.dtype))
            scale.append(np.array([r["scale"] for r in rows], np.float32).reshape(-1, 12))
            for scheme, names_of in schemes.items():
                y = [[c in r["labels"].get(scheme, ()) for c in names_of] for r in rows]
                multi_hot[scheme].append(np.array(y, np.uint8).reshape(-1, len(names_of)))
                labelled[scheme].append(np.array([scheme in r["labels"] for r in rows], bool))
            for r in rows:
                cells = [r[c] for c in columns]
                labels = ["|".join(r["labels"].get(s, ())) for s in schemes]
                records.writerow([*cells, "|".join(r["dx"]), *labels])

    files = {f"table/{c}.npy": f.close() for c, f in table.items()} | {"table/scale.npy": scale.close()}
    files |= {f"labels/{s}.npy": f.close() for s, f in multi_hot.items()}
    files |= {f"labelled/{s}.npy": f.close() for s, f in labelled.items()}
    for name in ("records.csv", "skipped.csv"):
        files[name] = file_entry(work / name)
    files |= {name: file_entry(dest / name) for name in PLAN if (dest / name).is_file()}  # of `prepare`
    (dest / MANIFEST).unlink(missing_ok=True)
    for name in ("table", "labels", "labelled"):
        shutil.rmtree(dest / name, ignore_errors=True)
    for name in ("table", "labels", "labelled", "records.csv", "skipped.csv"):
        os.replace(work / name, dest / name)
    work.rmdir()
    manifest = {"format": FORMAT, "version": VERSION, "leads": list(STANDARD_LEADS), **settings}
    manifest |= index | {"files": files}
    manifest["crc32"] = manifest_crc(manifest)
    write_json(dest / MANIFEST, manifest)
    return index["n_records"]


def write_json(path: Path, value: Any) -> None:
    """Write through a temporary file, so that the file is never there in part."""
    work = path.with_name(f".{path.name}.{os.getpid()}")
    work.write_text(json_text(value), encoding="utf-8")
    os.replace(work, path)


def json_text(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def _rows(dest: Path, name: str) -> Iterator[dict[str, Any]]:
    path = dest / name / RECORDS
    with open(path, "rb") as f:
        for i, line in enumerate(f):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as e:
                raise DamagedFile(
                    path, f"line {i + 1} is not JSON ({e}); remove {name} and run `prepare` again"
                ) from None
            yield row
