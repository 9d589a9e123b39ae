"""One block of records: read, brought to the standard form, measured, written as one shard."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .metadata import describe
from .standard import standardise
from .store import MISSING
from .store_writer import ShardWriter
from .wfdb_source import RecordError, read_record

SEGMENT = 5.0  # s
FEATURE_LEADS = ("II", "V1", "V5")
N_FEATURES = 159 * len(FEATURE_LEADS)
BATCH = 32  # records that the ops take at once
PENDING_BYTES = 64 << 20  # samples held before they are written


class Physiology(NamedTuple):
    """What `prepare` computes of a record."""

    rpeaks: np.ndarray  # (P,) int32
    features: np.ndarray  # (S, N_FEATURES) float32
    quality: float
    paced: bool


class _Pending(NamedTuple):
    """A record that was read and waits for its R peaks and features."""

    record_id: str
    signal: np.ndarray
    scale: np.ndarray
    row: dict[str, Any]


def prepare_block(src: Path, dest: Path, name: str, records: Sequence[str], fs: float) -> tuple[int, int]:
    """Write a shard. How many records were stored and how many left out."""
    writer = ShardWriter(dest, name, N_FEATURES)
    pending: list[_Pending] = []
    size = 0
    try:
        for record_id in records:
            try:
                record = read_record(os.path.join(src, record_id), src)
                signal, scale = standardise(record, fs, SEGMENT)
                pending.append(_Pending(record_id, signal, scale, describe(src, record_id, record.comments)))
                size += signal.nbytes
            except Exception as e:  # one record must not end the run
                writer.skip(record_id, _reason(e))
            if size > PENDING_BYTES:
                _write(writer, pending, fs)
                pending, size = [], 0
        _write(writer, pending, fs)
        return writer.commit()
    except BaseException:
        writer.discard()
        raise


def _reason(e: Exception) -> str:
    """Of a RecordError the text; of others also the type, so that a program error shows in the list."""
    return " ".join((str(e) if isinstance(e, RecordError) else f"{type(e).__name__}: {e}").split())


def _write(writer: ShardWriter, pending: list[_Pending], fs: float) -> None:
    """Compute and add records in their order, computing those of one length together."""
    results: dict[int, Physiology | Exception] = {}
    lengths: dict[int, list[int]] = {}
    for j, p in enumerate(pending):
        lengths.setdefault(p.signal.shape[1], []).append(j)
    for rows in lengths.values():
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            try:
                found = physiology([pending[j] for j in batch], fs)
            except Exception:  # find the record that it was
                found = [_alone(pending[j], fs) for j in batch]
            results |= dict(zip(batch, found, strict=True))
    for j, p in enumerate(pending):
        found = results[j]
        if isinstance(found, Exception):
            writer.skip(p.record_id, _reason(found))
        else:
            row = p.row | {"quality": found.quality, "paced": found.paced}
            writer.add(p.signal, p.scale, found.rpeaks, found.features, row)


def _alone(p: _Pending, fs: float) -> Physiology | Exception:
    try:
        return physiology([p], fs)[0]
    except Exception as e:
        return e


def physiology(records: list[_Pending], fs: float) -> list[Physiology]:
    """Of records of one length: R peaks of the whole record, and the features of its 5 s segments."""
    import physioclr as pc

    x = np.empty((len(records), *records[0].signal.shape), np.float32)
    for y, p in zip(x, records, strict=True):
        np.multiply(p.signal, p.scale[:, None], out=y)
        missing = p.signal == MISSING
        if missing.any():
            y[missing] = np.nan
    peaks = pc.detect_rpeaks(x, fs)
    features, paced = pc.physio_features(x, fs, peaks, lead=list(FEATURE_LEADS), segment=SEGMENT, return_paced=True)
    return [
        Physiology(peaks.index[k, : peaks.count[k]], features[k], float(peaks.quality[k]), bool(paced[k].any()))
        for k in range(len(records))
    ]
