"""WFDB records: headers, samples and what they mean in mV, by the same rules for every format.

One parser of headers (wfdb_header.py), one decoder per format (wfdb_formats.py, wfdb_mat.py), one conversion to mV
(here), for plain records and for those of several segments (wfdb_segments.py). docs/reading.md lists what is read how,
beside the WFDB C library and wfdb-python.
Sources: WFDB Applications Guide, header(5) and signal(5); MAT-File Format.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from .. import _core
from ..ops._checks import STANDARD_LEADS
from .wfdb_find import find_records
from .wfdb_formats import MISSING_INT16, SignalFile, Units, read_signal_file
from .wfdb_header import FS_RANGE, MAX_SAMPLES, NO_FILE, Header, RecordError, Segment, Signal, read_header

__all__ = [
    "FS_RANGE",
    "MISSING_INT16",
    "Header",
    "Record",
    "RecordError",
    "Segment",
    "Signal",
    "find_records",
    "read_header",
    "read_record",
    "wfdb_quietly",
]

RESOLUTIONS = (1e-10, 1e3)  # mV per unit that a header may state: 32 bits of 1 mV at the one end


class Record(NamedTuple):
    """One recording. mV of lead l: (samples[l] - baseline[l]) * scale[l].

    The leads are the signals in volts. `fs` is the highest rate of any of them; leads recorded at a lower one, by
    `own_fs`, were resampled to it. Where a header has other signals, `left_out` names them with their units.
    """

    samples: np.ndarray  # (L, T) int16 with -32768 for missing, or float32 with NaN
    scale: np.ndarray  # (L,) float64, mV per unit; NaN where the signal is not a voltage
    baseline: np.ndarray  # (L,) float64
    fs: float
    leads: list[str]
    comments: list[str]
    own_fs: tuple[float, ...] = ()  # (L,) Hz; of a record from elsewhere perhaps (): all at fs
    left_out: tuple[str, ...] = ()  # "ABP (mmHg)"

    def millivolts(self, *, standard: bool | None = None) -> np.ndarray:
        """(L, T) float32, NaN where a sample is missing.

        Args:
            standard: True: the 12 standard leads in their order, as (12, T): found by name, in any case; limb leads
                that are absent are computed from two that are there, any other is NaN. False: the record's own leads.
                None: the same, with a warning where these are the 12 in another order, in which a name given to an op
                would mean another lead.
        """
        if standard is None and in_another_order(self.leads):
            warnings.warn(
                f"the leads of this record are {' '.join(self.leads)}, not in the order in which ops look for names: "
                "ask for millivolts(standard=True), or pass leads=record.leads to the ops (standard=False: no warning)",
                stacklevel=2,
            )
        if self.samples.dtype == np.int16:
            mv = millivolts(self.samples, self.baseline, self.scale)
        else:
            mv = ((self.samples - self.baseline[:, None]) * self.scale[:, None]).astype(np.float32)
        if standard:
            from .standard import standard_leads

            mv = standard_leads(mv, self.leads)
        return mv


def in_another_order(leads: Sequence[str]) -> bool:
    """Whether these are the 12 standard leads, but not in their order."""
    standard = [name.casefold() for name in STANDARD_LEADS]
    own = [name.strip().casefold() for name in leads]
    return own != standard and sorted(own) == sorted(standard)


def millivolts(
    samples: np.ndarray, baseline: np.ndarray, scale: np.ndarray, mv: np.ndarray | None = None
) -> np.ndarray:
    """The same of int16, with -32768 as NaN, in one pass over memory; into mv (L, T) float32 if there is one."""
    x = np.ascontiguousarray(samples)
    baseline, scale = (np.ascontiguousarray(v, np.float64) for v in (baseline, scale))
    if x.ndim != 2 or not len(x) == len(baseline) == len(scale):
        raise ValueError(f"samples, baseline, scale have shapes {x.shape}, {baseline.shape}, {scale.shape}")
    if mv is None:
        mv = np.empty(x.shape, np.float32)
    assert mv.shape == x.shape and mv.dtype == np.float32 and mv.flags.c_contiguous
    _core.wfdb_millivolts(
        x.ctypes.data, x.shape[0], x.shape[1], baseline.ctypes.data, scale.ctypes.data, mv.ctypes.data
    )
    return mv


class Rows(NamedTuple):
    """What int16 samples are, row by row. Of plain numbers: there are a dozen, and NumPy would take longer."""

    low: tuple[int, ...]  # the smallest that is not missing; 32767 where all are
    high: tuple[int, ...]  # the largest; -32768 where all are missing
    missing: tuple[int, ...]  # how many are
    zeros: tuple[int, ...]  # how many are at the baseline


def scan(samples: np.ndarray, baseline: np.ndarray | None = None) -> Rows:
    """In one pass over (L, T) int16; a baseline that is no whole number of 16 bits is that of no sample."""
    x = np.ascontiguousarray(samples)
    assert x.dtype == np.int16 and x.ndim == 2
    at = [0] * len(x) if baseline is None else baseline.tolist()
    zero = np.array([int(v) if v == v // 1 and abs(v) <= 32767 else 1 << 20 for v in at], np.int64)
    out = np.empty((len(x), 4), np.int64)
    _core.wfdb_scan(x.ctypes.data, len(x), x.shape[1], zero.ctypes.data, out.ctypes.data)
    return Rows(*zip(*out.tolist(), strict=True)) if len(x) else Rows((), (), (), ())


def read_record(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, *, in_mv: bool = False
) -> Record:
    """Read one record, plain or of several segments.

    Args:
        path: of the record, with or without ".hea".
        root: every file must lie below this folder; by default the header's own. A header that names a file elsewhere
            is refused before anything is opened.
        in_mv: `samples` are what `millivolts(standard=False)` gives, with scale 1 and baseline 0. Of formats 16, 80 and
            212 they come so from the file in one pass, sooner than in two.

    Raises:
        RecordError: something is wrong with the record's files: missing, truncated, damaged, contradictory, without a
            signal in volts.
        OSError: the system refuses to read them: permissions, a failing disk, too many open files.
    """
    header = read_header(path, root)
    if header.segments:
        from .wfdb_segments import read_segments

        found = read_segments(header, root)
        return _in_mv(found) if in_mv else found
    signals = header.signals
    mv = [s.mv_per_unit for s in signals]
    leads = [i for i, v in enumerate(mv) if v == v]
    if not leads:
        raise RecordError(f"it has no signal in volts: {', '.join(map(described, signals[:16]))}")
    used = [signals[i] for i in leads]
    per_frame = max(s.per_frame for s in used)
    fs = check_rate(header.fs * per_frame)
    for i in leads:
        if not RESOLUTIONS[0] <= abs(mv[i]) <= RESOLUTIONS[1]:
            check_resolution(signals[i])
    scale, baseline = np.array([mv[i] for i in leads]), np.array([s.baseline for s in used])
    frames, rows, converted = read_signals(header, leads, units=Units(baseline, scale) if in_mv else None)
    if converted:
        samples = np.asarray(rows)
        scale, baseline = np.ones(len(used)), np.zeros(len(used))
    elif isinstance(rows, np.ndarray) and rows.dtype == np.int16:  # of one file, and all at one rate
        samples = rows
    elif all(row.dtype == np.int16 and len(row) == frames * per_frame for row in rows):
        samples = np.stack(list(rows))
    else:
        check_size(len(used), frames * per_frame)
        samples = np.empty((len(used), frames * per_frame), np.float32)
        for out, row, signal in zip(samples, rows, used, strict=True):
            out[:] = at_rate(row, signal, per_frame)
        scale, baseline = np.ones(len(used)), np.zeros(len(used))
    own_fs = tuple([header.fs * s.per_frame for s in used])
    left_out = tuple([described(s) for s in signals if not s.is_voltage]) if len(used) < len(signals) else ()
    record = Record(samples, scale, baseline, fs, [s.name for s in used], header.comments, own_fs, left_out)
    return _in_mv(record) if in_mv and not converted else record


def _in_mv(record: Record) -> Record:
    mv, n = record.millivolts(standard=False), len(record.leads)
    return record._replace(samples=mv, scale=np.ones(n), baseline=np.zeros(n))


def read_signals(header: Header, wanted: Sequence[int], frames: int = 0, units: Units | None = None) -> SignalFile:
    """Frames, and the samples of the signals wanted, each at its own rate: int16 with -32768 for missing, or floats.

    Args:
        header: of a plain record.
        wanted: which of its signals, as indices.
        frames: how many to read; by default as the header states, or as many as there are.
        units: of the signals wanted, to have mV if one pass can give them.

    Raises:
        RecordError: a file is missing, truncated or damaged, or the files are of different lengths.
    """
    signals, frames = header.signals, frames or header.n_samples
    name = signals[0].file
    if name != NO_FILE and all([s.file == name for s in signals]):  # as in most collections
        return read_signal_file(header, signals, wanted, frames, units)
    files: dict[str, list[int]] = {}
    for i, s in enumerate(signals):
        files.setdefault(s.file, []).append(i)
    chosen = set(wanted)
    of_file = {name: [i for i in members if i in chosen] for name, members in files.items()}
    read = {}
    for name, members in files.items():
        if name != NO_FILE and of_file[name]:
            positions = [members.index(i) for i in of_file[name]]
            read[name] = read_signal_file(header, [signals[i] for i in members], positions, frames)
    if not read:
        raise RecordError("none of its signals in volts has a file")
    lengths = [file.frames for file in read.values()]
    if len(set(lengths)) > 1:
        raise RecordError(f"its signal files have {', '.join(map(str, lengths))} samples")
    rows: dict[int, np.ndarray] = {}
    for name, file in read.items():
        rows |= dict(zip(of_file[name], file.rows, strict=True))
    for i in of_file.get(NO_FILE, ()):
        check_size(len(wanted), lengths[0] * signals[i].per_frame)
        rows[i] = np.full(lengths[0] * signals[i].per_frame, MISSING_INT16, np.int16)
    return SignalFile(lengths[0], [rows[i] for i in wanted])


# ---- what samples mean --------------------------------------------------------------------------------------------


def at_rate(row: np.ndarray, signal: Signal, per_frame: int) -> np.ndarray:
    """Samples of a signal as float64 mV, NaN where missing, at `per_frame` samples per frame."""
    from .resample import resample

    x = row.astype(np.float64)
    if row.dtype == np.int16:
        x[row == MISSING_INT16] = np.nan
    x -= signal.baseline
    x *= signal.mv_per_unit
    if signal.per_frame == per_frame:
        return x
    if len(x) < 2:
        return np.full(len(x) * per_frame // signal.per_frame, x[0] if len(x) else np.nan)
    return resample(x[None], signal.per_frame, per_frame)[0]


def described(signal: Signal) -> str:
    return f"{signal.name or '?'} ({signal.unit})"


def check_rate(fs: float) -> float:
    if not FS_RANGE[0] <= fs <= FS_RANGE[1]:
        raise RecordError(f"the sampling rate is {fs:g} Hz; it must be {FS_RANGE[0]:g} to {FS_RANGE[1]:g} Hz")
    return fs


def check_resolution(signal: Signal) -> float:
    scale = signal.mv_per_unit
    if not RESOLUTIONS[0] <= abs(scale) <= RESOLUTIONS[1]:
        raise RecordError(f"lead {signal.name} has {scale:.3g} mV per unit, which cannot be meant")
    return scale


def check_size(leads: int, samples: int) -> None:
    if leads * samples > MAX_SAMPLES:
        raise RecordError(f"it has {leads} leads of {samples} samples; a record may have {MAX_SAMPLES} in all")


@contextlib.contextmanager
def wfdb_quietly() -> Iterator[ModuleType]:
    """wfdb, without the warnings that it causes under recent versions of pandas when imported and when used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The inplace keyword")
        import wfdb

        yield wfdb
