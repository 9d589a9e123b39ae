"""Arrays to a store: `write_store`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..ops._checks import STANDARD_LEADS, check_fs, check_number
from .array_sources import array_record
from .block import PENDING_BYTES, _Pending, _write, one_line
from .labels import CLASSES
from .plan import BLOCK_SIZES, lock, shard_name, version
from .recipe import FEATURE_LEADS, SEGMENT, check_feature_leads, check_row, merge
from .record_table import check_scheme
from .report import Report, remarks_on
from .sources import bare_row, mv_per_unit
from .standard import origin, standardise
from .store_files import FEATURES_PER_LEAD
from .store_writer import ShardWriter, write_index
from .wfdb_source import RecordError
from .zeros import ZERO_SECONDS, mark_zeros

_KEYS = ("record_id", "leads", "unit", "source", "patient_id", "age", "sex", "fold", "split", "dx", "labels")


def write_store(
    path: str | os.PathLike[str],
    records: Iterable[tuple[Any, float, Mapping[str, Any] | None]],
    *,
    fs: float = 500.0,
    zero_seconds: float = ZERO_SECONDS,
    feature_leads: Sequence[str] | str = FEATURE_LEADS,
    classes: Mapping[str, Iterable[str]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Turn arrays of any origin into a store, with R peaks and physiological features, one after the other.

        pc.data.write_store("stores/mine", [(ecg, 500, {"patient_id": "7", "labels": {"mine": ["AF"]}})])

    Args:
        path: folder of the store; it must be new or empty.
        records: an iterable, gone through once, of (array, fs, metadata). array: (leads, samples), anything that
            np.asarray takes; NaN, Inf and the int16 -32768 are missing. fs: its sampling rate, Hz. metadata: None, or
            any of record_id (default: its number, six digits), leads (default: the standard 12, in their order), unit
            ("mV"; "uV", "V", "nV", or mV per unit as a number), source (default: the folder's name), patient_id, age,
            sex, fold, split, dx (list of codes) and labels: {scheme: classes that apply, or {class: 0 or 1}, or None:
            not labelled}.
        fs: sampling rate of the store, Hz; records of other rates are resampled.
        zero_seconds, feature_leads: as of `prepare`.
        classes: {scheme: its classes in their order}, where a class may have no record; by default those that occur,
            sorted. The library's own schemes (`CLASSES`) are known.
        progress: called as progress(records done) after each shard.

    Returns:
        What came of it. A record that cannot be used (shorter than 5 s, a standard lead absent or all flat ...) is left
        out, with its reason in skipped.csv.

    Raises:
        ValueError, TypeError: path holds something; a record that is no such triple, an unknown key, a value that
            cannot be, a record_id that was there before. The message names the record; nothing is left in the folder.
    """
    begun = time.monotonic()
    dest, fs = Path(path), check_fs(fs)
    zero_seconds = check_number(zero_seconds, "zero_seconds", 0.0, 3600.0, unit="s")
    feature_leads = check_feature_leads(feature_leads)
    known = dict(CLASSES) | {check_scheme(s): tuple(map(str, names)) for s, names in (classes or {}).items()}
    if dest.exists() and (not dest.is_dir() or any(p.name[0] != "." for p in dest.iterdir())):
        raise ValueError(f"path is {str(dest)!r}, which holds other files; it must be new or empty")
    dest.mkdir(parents=True, exist_ok=True)
    with lock(dest, "write"):
        store = _Writer(dest, fs, zero_seconds, feature_leads, known, progress)
        try:
            for item in records:
                store.add(item)
            return store.finish(begun)
        except BaseException:
            store.discard()
            raise


class _Writer:
    def __init__(self, dest: Path, fs: float, zero_seconds: float, feature_leads: tuple[str, ...],
                 classes: dict[str, tuple[str, ...]], progress: Any):  # fmt: skip
        self.dest, self.fs, self.zero_seconds, self.classes, self.progress = dest, fs, zero_seconds, classes, progress
        self.feature_leads = feature_leads
        self.n = self.kept = self.left_out = 0
        self.unlabelled: dict[str, int] = {}
        self._ids: set[str] = set()
        self._names: list[str] = []
        self._shard: ShardWriter | None = None
        self._pending: list[_Pending] = []
        self._remarks: list[tuple[str, str]] = []
        self._in_shard = self._bytes = self._resampled = 0

    def add(self, item: Any) -> None:
        who = f"record {self.n} of records"
        try:
            array, rate, metadata = item
        except (TypeError, ValueError):
            raise TypeError(f"{who} is {type(item).__name__}; it must be (array, fs, metadata)") from None
        said = {} if metadata is None else metadata
        if not isinstance(said, Mapping):
            raise TypeError(f"the metadata of {who} is {type(said).__name__}; it must be a mapping or None")
        unknown = [k for k in said if k not in _KEYS]
        if unknown:
            raise ValueError(f"the metadata of {who} has the key {unknown[0]!r}; it may have {', '.join(_KEYS)}")
        record_id = str(said.get("record_id", f"{self.n:06d}"))
        if record_id in self._ids or not record_id:
            raise ValueError(
                f"{who} has the record_id {record_id!r}, which {'was there before' if record_id else 'is empty'}"
            )
        self._ids.add(record_id)
        self.n += 1
        row = {k: v for k, v in said.items() if k not in ("record_id", "leads", "unit")}
        row = merge(bare_row(self.dest.name, record_id), check_row(row, who, self.classes))
        leads, unit = tuple(map(str, said.get("leads") or STANDARD_LEADS)), said.get("unit", "mV")
        mv_per_unit(unit, f"the unit of {who}")
        try:
            rate = check_fs(rate)
        except (TypeError, ValueError) as e:
            raise type(e)(f"{who}: {e}") from None
        x = np.asarray(array)
        if x.dtype.kind not in "iuf" or x.ndim != 2 or len(x) != len(leads):
            what = f"(leads, samples) with {len(leads)} leads"
            raise ValueError(f"the array of {who} is {x.dtype} {x.shape}; it must be numbers, {what}")
        if self._shard is None:
            self._names.append(shard_name(len(self._names)))
            self._shard = ShardWriter(self.dest, self._names[-1], FEATURES_PER_LEAD * len(self.feature_leads))
        try:
            record = mark_zeros(array_record(x, rate, unit, leads, turn=False), self.zero_seconds)
            signal, scale = standardise(record, self.fs, SEGMENT)
        except RecordError as e:
            self._shard.skip(record_id, one_line(e))
        else:
            row |= origin(record, self.fs)
            self._resampled += "own_fs" in row
            self._pending.append(_Pending(record_id, signal, scale, row))
            self._bytes += signal.nbytes
            for scheme in row["unlabelled"]:
                self.unlabelled[scheme] = self.unlabelled.get(scheme, 0) + 1
        self._in_shard += 1
        if self._bytes > PENDING_BYTES:
            self._flush()
        if self._in_shard == BLOCK_SIZES[1]:
            self._commit()

    def _flush(self) -> None:
        assert self._shard is not None
        _write(self._shard, self._pending, self.fs, self.feature_leads)
        self._pending, self._bytes = [], 0

    def _commit(self) -> None:
        self._flush()
        assert self._shard is not None
        kept, left_out = self._shard.commit()
        self._remarks += self._shard.remarks
        self.kept, self.left_out = self.kept + kept, self.left_out + left_out
        self._shard, self._in_shard = None, 0
        if self.progress:
            self.progress(self.n)

    def finish(self, begun: float) -> Report:
        if self._shard is not None:
            self._commit()
        if not self.n:
            raise ValueError("records is empty; it must give at least one (array, fs, metadata)")
        settings = {"library": version(), "fs": self.fs, "segment": SEGMENT}
        settings["feature_leads"] = list(self.feature_leads)
        write_index(self.dest, self._names, settings, self.classes)
        seconds = time.monotonic() - begun
        counts = (self.n, self.kept, self.left_out, self.n)
        said = (self.unlabelled, tuple(remarks_on(self._remarks)), self._resampled)
        return Report(self.dest, *counts, True, seconds, *said)

    def discard(self) -> None:
        if self._shard is not None:
            self._shard.discard()
        for name in self._names:
            shutil.rmtree(self.dest / name, ignore_errors=True)
        for left in self.dest.glob(".index.*"):
            shutil.rmtree(left, ignore_errors=True)
