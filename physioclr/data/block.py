"""One block of records: read, brought to the standard form, measured, written as one shard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..ops._signals import LEAST_MV, MOST_MV, unit_is_told, unlikely_unit
from ..ops.features import physio_features
from ..ops.rpeaks import detect_rpeaks
from .recipe import SEGMENT, Recipe
from .store_files import FEATURES_PER_LEAD
from .store_writer import ShardWriter, finished_shard
from .wfdb_source import RecordError, millivolts, scan

BATCH = 32  # records that the ops take at once
PENDING_BYTES = 64 << 20  # samples held before they are written


class Physiology(NamedTuple):
    """What `prepare` computes of a record."""

    rpeaks: np.ndarray  # (P,) int32
    features: np.ndarray  # (S, 159 * feature leads) float32
    quality: float
    paced: bool


class _Pending(NamedTuple):
    """A record that was read and waits for its R peaks and features."""

    record_id: str
    signal: np.ndarray
    scale: np.ndarray
    row: dict[str, Any]


class Done(NamedTuple):
    """What came of a block."""

    kept: int
    left_out: int
    new: bool = True  # whether a shard was written


def prepare_block(recipe: Recipe, dest: Path, name: str, records: Sequence[str]) -> Done:
    """Write a shard, unless it is there and would come out the same.

    A shard that left records out is made again when one of them can be read now, or is left out for another reason.
    Only what is wrong with a record itself (RecordError) leaves it out; every other error ends the run.
    """
    before = finished_shard(dest, name)
    if before is not None and before.get("described") == recipe.crc(records):
        if all(_reason(recipe, record_id) == reason for record_id, reason in before["skipped"]):
            return Done(before["n_records"], len(before["skipped"]), False)
    writer = ShardWriter(dest, name, FEATURES_PER_LEAD * len(recipe.feature_leads))
    pending: list[_Pending] = []
    size = 0
    try:
        for record_id in records:
            try:
                signal, scale, row = recipe.read(record_id)
            except RecordError as e:
                writer.skip(record_id, one_line(e))
            else:
                pending.append(_Pending(record_id, signal, scale, row))
                size += signal.nbytes
            if size > PENDING_BYTES:
                _write(writer, pending, recipe.fs, recipe.feature_leads)
                pending, size = [], 0
        _write(writer, pending, recipe.fs, recipe.feature_leads)
        return Done(*writer.commit({"described": recipe.crc(records)}, replace=before is not None))
    except BaseException:
        writer.discard()
        raise


def _reason(recipe: Recipe, record_id: str) -> str | None:
    """Why a record is left out; None if it is not."""
    try:
        recipe.read(record_id)
    except RecordError as e:
        return one_line(e)
    return None


def one_line(e: RecordError) -> str:
    return " ".join(str(e).split())


def _write(writer: ShardWriter, pending: list[_Pending], fs: float, leads: Sequence[str]) -> None:
    """Compute and add records in their order, computing those of one length together."""
    results: dict[int, Physiology] = {}
    lengths: dict[int, list[int]] = {}
    for j, p in enumerate(pending):
        lengths.setdefault(p.signal.shape[1], []).append(j)
    for rows in lengths.values():
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            try:
                found = physiology([pending[j] for j in batch], fs, leads)
            except Exception as e:
                e.add_note(
                    f"while computing R peaks and features of {_culprit([pending[j] for j in batch], fs, leads)}"
                )
                raise
            results |= dict(zip(batch, found, strict=True))
    for j, p in enumerate(pending):
        said = amplitude_remark(p.signal, p.scale)
        if said is not None:
            writer.remark(p.record_id, said)
        row = p.row | {"quality": results[j].quality, "paced": results[j].paced}
        writer.add(p.signal, p.scale, results[j].rpeaks, results[j].features, row)


def amplitude_remark(signal: np.ndarray, scale: np.ndarray) -> str | None:
    """What to say of (L, T) int16 samples of `scale` mV whose amplitude no ECG has; a wrong unit gives such.

    One lead in the middle tells of nearly every record that there is nothing to say.
    """
    middle = len(signal) // 2
    one = scan(signal[middle : middle + 1])
    if LEAST_MV <= float(one.high[0] - one.low[0]) * abs(float(scale[middle])) <= MOST_MV:
        return None
    rows = scan(signal)
    said = unlikely_unit(np.subtract(rows.high, rows.low) * np.abs(scale))
    return None if said is None else f"it has {said}"


def _culprit(batch: list[_Pending], fs: float, leads: Sequence[str]) -> str:
    """Which record of a batch it was that the ops failed on, for the error that ends the run."""
    for p in batch:
        try:
            physiology([p], fs, leads)
        except Exception:
            return f"the record {p.record_id}"
    return f"the records {batch[0].record_id} to {batch[-1].record_id}"


def physiology(records: list[_Pending], fs: float, leads: Sequence[str]) -> list[Physiology]:
    """Of records of one length: R peaks of the whole record, and the features of these leads in its 5 s segments."""
    x = np.empty((len(records), *records[0].signal.shape), np.float32)
    zero = np.zeros(x.shape[1])
    for y, p in zip(x, records, strict=True):
        millivolts(p.signal, zero, p.scale, y)
    with unit_is_told():
        peaks = detect_rpeaks(x, fs)
        features, paced = physio_features(x, fs, peaks, lead=list(leads), segment=SEGMENT, return_paced=True)
    return [
        Physiology(peaks.index[k, : peaks.count[k]], features[k], float(peaks.quality[k]), bool(paced[k].any()))
        for k in range(len(records))
    ]
