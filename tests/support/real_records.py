"""The recordings in tests/recordings, with what their annotators marked.

from real_records import LUDB, ludb, MITDB, mitdb
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from physioclr.data.wfdb_source import wfdb_quietly

if importlib.util.find_spec("wfdb") is None:  # as on a machine that only has what GPUs need
    pytest.skip("wfdb is not installed", allow_module_level=True)
with wfdb_quietly() as wfdb:
    pass
DATA = Path(__file__).parents[1] / "recordings"
LUDB = ("2", "10", "70", "101", "105")  # sinus rhythm, right bundle branch block, tachycardia, AF, ventricular beats
MITDB = ("119m00", "208m10")
LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")


class Wave(NamedTuple):
    """Marks of one kind of wave, in samples; -1 where a boundary is not marked."""

    on: np.ndarray
    peak: np.ndarray
    off: np.ndarray


class LudbRecord(NamedTuple):
    ecg: np.ndarray  # (12, 5000) float32, mV, standard lead order
    fs: float
    waves: dict[str, dict[str, Wave]]  # lead ("i" ... "v6") -> {"P", "QRS", "T"} -> marks


class MitdbRecord(NamedTuple):
    ecg: np.ndarray  # (2, 21600) float32, mV
    fs: float
    beats: np.ndarray  # (P,) samples
    symbols: list[str]  # of the beats


def ludb(name: str) -> LudbRecord:
    path = str(DATA / "ludb" / name)
    with wfdb_quietly():
        record, marks = wfdb.rdrecord(path), {lead: wfdb.rdann(path, lead) for lead in LEADS}
    order = [record.sig_name.index(lead) for lead in LEADS]
    ecg = np.ascontiguousarray(record.p_signal.T[order], dtype=np.float32)
    return LudbRecord(ecg, float(record.fs), {lead: _waves(m) for lead, m in marks.items()})


def mitdb(name: str) -> MitdbRecord:
    path = str(DATA / "mitdb" / name)
    with wfdb_quietly():
        record, marks = wfdb.rdrecord(path), wfdb.rdann(path, "atr")
    beats = [(i, s) for i, s in zip(marks.sample, marks.symbol, strict=True) if s in BEATS]
    ecg = np.ascontiguousarray(record.p_signal.T, dtype=np.float32)
    return MitdbRecord(ecg, float(record.fs), np.array([i for i, _ in beats]), [s for _, s in beats])


def _waves(marks: Any) -> dict[str, Wave]:
    """An annotation file has "(", the wave's letter and ")" in turn; either bracket may be absent."""
    sample, symbol = [-1, *marks.sample.tolist(), -1], ["", *marks.symbol, ""]
    waves: dict[str, list[tuple[int, int, int]]] = {"P": [], "QRS": [], "T": []}
    for k in range(1, len(symbol) - 1):
        kind = {"p": "P", "N": "QRS", "t": "T"}.get(symbol[k])
        if kind:
            on = sample[k - 1] if symbol[k - 1] == "(" else -1
            off = sample[k + 1] if symbol[k + 1] == ")" else -1
            waves[kind].append((on, sample[k], off))
    return {kind: Wave(*np.array(rows, dtype=np.int64).reshape(-1, 3).T) for kind, rows in waves.items()}
