"""WFDB records as files: finding them below a folder, parsing headers, reading samples.

Format 16 and the Challenge's .mat (format 16 behind a MAT-file header of 24 bytes) are read directly; wfdb, slower,
reads every other format. Headers are parsed here, more forgivingly than by wfdb: those of real collections have defects
that leave no doubt about the meaning. What does leave doubt is refused with a `RecordError` that says why.
Formats: WFDB Applications Guide, header(5) and signal(5); MAT-File Format, level 4.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

MISSING_INT16 = -32768
MAX_SIGNALS = 1024
MAX_HEADER = 1 << 20  # bytes
FS_RANGE = (50.0, 4000.0)  # Hz, as for every op
_MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}


class RecordError(ValueError):
    """A record that cannot be read, and why."""


class Signal(NamedTuple):
    """One signal line of a header."""

    file: str
    fmt: str  # the format with what follows it: "16", "16+24", "212", "16x2:1"
    gain: float  # units per `unit`
    baseline: float  # the sample value of 0 physical units
    unit: str
    name: str


class Header(NamedTuple):
    path: str
    fs: float
    n_samples: int  # 0: not stated
    signals: list[Signal]
    comments: list[str]

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)


class Record(NamedTuple):
    """One recording. mV of lead l: (samples[l] - baseline[l]) * scale[l]."""

    samples: np.ndarray  # (L, T) int16 with -32768 for missing, or float32 with NaN
    scale: np.ndarray  # (L,) float64, mV per unit; NaN where the signal is not a voltage
    baseline: np.ndarray  # (L,) float64
    fs: float
    leads: list[str]
    comments: list[str]

    def millivolts(self) -> np.ndarray:
        """(L, T) float32, NaN where a sample is missing."""
        x = (self.samples - self.baseline[:, None]) * self.scale[:, None]
        if self.samples.dtype == np.int16:
            x[self.samples == MISSING_INT16] = np.nan
        return x.astype(np.float32)


# ---- finding ------------------------------------------------------------------------------------------------------


def find_records(src: str | os.PathLike) -> Iterator[str]:
    """Every header below a folder, as relative paths without ".hea", with "/" between folders.

    In a fixed order: a folder's own records, sorted, then those of its folders, sorted. Holds one folder's names at a
    time. Of PTB-XL, which has each recording at 500 and 100 Hz, records100 is passed over where records500 is there
    too. Hidden folders and links to folders are not entered.

    Raises:
        ValueError: src is not a folder.
    """
    root = Path(src)
    if not root.is_dir():
        raise ValueError(f"src is {str(src)!r}; it must be a folder with WFDB records")
    return _walk(root)


def _walk(root: Path) -> Iterator[str]:
    for folder, subfolders, files in os.walk(root, onerror=_cannot_list):
        if "records100" in subfolders and "records500" in subfolders:
            subfolders.remove("records100")
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(f[:-4] for f in files if f.endswith(".hea") and not f.startswith(".")):
            yield prefix + name


def _cannot_list(e: OSError) -> None:
    """os.walk would pass over the folder, and its records would be missing without a word."""
    raise ValueError(f"the folder {e.filename} cannot be listed: {e.strerror}") from e


# ---- headers ------------------------------------------------------------------------------------------------------


def read_header(path: str | os.PathLike, root: str | os.PathLike | None = None) -> Header:
    """Parse a header.

    Accepted although the format or wfdb does not allow it: a record name that is not the file's own ("E00015.mat 12 500
    5000"), other encodings than ASCII, blank lines, Windows line ends, units in any case, text behind the fields.

    Args:
        path: of the record, with or without ".hea".
        root: signal files must lie below this folder; by default the header's own. A header that names a file elsewhere
            is refused before anything is opened.

    Raises:
        RecordError: the header cannot be read, or what it says cannot be true.
    """
    path = os.fspath(path)
    path = path if path.endswith(".hea") else f"{path}.hea"
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait for a writer
        raise RecordError("the header is not a file")
    try:
        with open(path, "rb") as f:
            raw = f.read(MAX_HEADER + 1)
    except OSError as e:
        raise RecordError(f"the header cannot be read: {e.strerror}") from None
    if len(raw) > MAX_HEADER or b"\0" in raw:
        raise RecordError("the header is not a text file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = [line.strip() for line in text.splitlines()]
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RecordError("the header is empty")
    n_signals, fs, n_samples = _record_line(lines[0])
    if len(lines) - 1 < n_signals:
        raise RecordError(f"the header announces {n_signals} signals and describes {len(lines) - 1}")
    signals = [_signal_line(line) for line in lines[1 : 1 + n_signals]]
    folder = os.path.dirname(path)
    for name in {s.file for s in signals}:
        _check_inside(name, folder, folder if root is None else root)
    return Header(path, fs, n_samples, signals, comments)


def _record_line(line: str) -> tuple[int, float, int]:
    """Number of signals, sampling rate and samples per signal (0: not stated)."""
    fields = line.split()
    if "/" in fields[0]:
        raise RecordError("a multi-segment record: its segments are read as records of their own")
    try:
        n_signals = int(fields[1])
    except (IndexError, ValueError):
        raise RecordError(f"the header's first line is {line[:60]!r}; it must be: name signals rate samples") from None
    if not 0 < n_signals <= MAX_SIGNALS:
        raise RecordError(f"the header announces {n_signals} signals")
    try:
        fs = float(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else 250.0  # the format's default
        n_samples = int(fields[3]) if len(fields) > 3 else 0
    except ValueError:
        raise RecordError(f"the header's first line is {line[:60]!r}: rate or samples is not a number") from None
    if not FS_RANGE[0] <= fs <= FS_RANGE[1]:
        raise RecordError(f"the sampling rate is {fs:g} Hz; it must be {FS_RANGE[0]:g} to {FS_RANGE[1]:g} Hz")
    if n_samples < 0:
        raise RecordError(f"the header announces {n_samples} samples")
    return n_signals, fs, n_samples


_GAIN = re.compile(r"(?P<gain>[^(/]*)(\((?P<baseline>[^)]*)\))?(/(?P<unit>.*))?")


def _signal_line(line: str) -> Signal:
    """file format [gain(baseline)/unit [resolution [zero [first value [checksum [block size [name]]]]]]]"""
    fields = line.split(None, 8)
    if len(fields) < 2:
        raise RecordError(f"the signal line {line[:60]!r} lacks a format")
    try:
        gain, baseline, unit = _gain_field(fields[2]) if len(fields) > 2 else (200.0, None, "mV")
        if baseline is None:
            baseline = float(fields[4]) if len(fields) > 4 else 0.0  # the format's default: the ADC's zero
    except (ValueError, TypeError):
        raise RecordError(f"the signal line {line[:60]!r} has a gain or a zero that is not a number") from None
    if not (math.isfinite(gain) and math.isfinite(baseline)):
        raise RecordError(f"the signal line {line[:60]!r} has a gain or a zero that is not finite")
    name = fields[8] if len(fields) > 8 else ""
    if 5 < len(fields) < 9 and not re.fullmatch(r"[-+]?\d+", fields[-1]):
        name = fields[-1]  # a line without some of the numbers before the name
    return Signal(fields[0], fields[1], gain, baseline, unit, name)


@functools.lru_cache(maxsize=1024)  # the same few in every header of a collection
def _gain_field(text: str) -> tuple[float, float | None, str]:
    """gain(baseline)/unit; gain 0 stands for the format's default of 200."""
    parts = _GAIN.fullmatch(text)
    baseline = float(parts["baseline"]) if parts["baseline"] else None
    return float(parts["gain"] or 0) or 200.0, baseline, parts["unit"] or "mV"


def _check_inside(name: str, folder: str, root: str | os.PathLike) -> None:
    """Refuse a signal file outside root. By the text of the path: a link that the user made in the folder is theirs."""
    if re.fullmatch(r"[\w][\w.-]*", name):
        return  # a file of the header's own folder
    base = os.path.abspath(root)
    target = os.path.normpath(os.path.join(os.path.abspath(folder), name))
    odd = "\\" in name or "://" in name or name.startswith("~") or os.path.isabs(name)
    if odd or os.path.commonpath([base, target]) != base:
        raise RecordError(f"the header names the signal file {name[:80]!r}, which is outside the folder")


# ---- samples ------------------------------------------------------------------------------------------------------

_FORMAT_16 = re.compile(r"16(?:\+(\d+))?")


def read_record(path: str | os.PathLike, root: str | os.PathLike | None = None) -> Record:
    """Read one record; arguments and errors as for `read_header`, and RecordError for missing or truncated samples."""
    header = read_header(path, root)
    files: dict[str, list[int]] = {}
    for i, s in enumerate(header.signals):
        files.setdefault(s.file, []).append(i)
    for name in files:
        if not os.path.isfile(os.path.join(header.folder, name)):
            raise RecordError(f"the signal file {name} is missing")
    scale = np.array([_MV_PER_UNIT.get(s.unit.lower(), np.nan) / s.gain for s in header.signals])
    leads = [s.name for s in header.signals]
    if not all(_FORMAT_16.fullmatch(s.fmt) for s in header.signals):
        return _read_with_wfdb(header)
    blocks = [_read_16(header, name, rows) for name, rows in files.items()]
    if len(blocks) == 1:
        samples = blocks[0]
    else:
        if len({b.shape[1] for b in blocks}) > 1:
            raise RecordError(f"its signal files have {', '.join(str(b.shape[1]) for b in blocks)} samples")
        if len({b.dtype for b in blocks}) > 1:
            raise RecordError("its signal files hold samples of different types")
        samples = np.empty((len(leads), blocks[0].shape[1]), blocks[0].dtype)
        for block, rows in zip(blocks, files.values(), strict=True):
            samples[rows] = block
    baseline = np.array([s.baseline for s in header.signals])
    return Record(samples, scale, baseline, header.fs, leads, header.comments)


def _read_16(header: Header, name: str, rows: list[int]) -> np.ndarray:
    """The signals of one file of format 16, as (signals, T) int16 (of an unusual .mat perhaps float32)."""
    n = len(rows)
    offsets = {int(_FORMAT_16.fullmatch(header.signals[i].fmt)[1] or 0) for i in rows}
    if len(offsets) > 1:
        raise RecordError(f"the header states several offsets for {name}")
    try:
        with open(os.path.join(header.folder, name), "rb") as f:
            raw = f.read()
    except OSError as e:
        raise RecordError(f"the signal file {name} cannot be read: {e.strerror}") from None
    if name.lower().endswith(".mat"):
        frames = _mat_frames(raw, name, n)
    else:
        offset = min(offsets.pop(), len(raw))
        frames = np.frombuffer(raw, "<i2", (len(raw) - offset) // 2 // n * n, offset).reshape(-1, n)
    t = header.n_samples or len(frames)
    if len(frames) < t or not t:
        raise RecordError(f"{name} is truncated: it holds {len(frames)} of {t} samples per signal")
    return np.ascontiguousarray(frames[:t].T, dtype=np.float32 if frames.dtype.kind == "f" else np.int16)


def _mat_frames(raw: bytes, name: str, n: int) -> np.ndarray:
    """The matrix of a Challenge .mat as (T, n) frames: level 4, one int16 matrix; otherwise by scipy."""
    head = np.frombuffer(raw, "<i4", 5) if len(raw) >= 20 else np.zeros(5)
    if head[0] == 30 and head[3] == 0 and 0 < head[4] <= 64 and head[1] > 0 and head[2] >= 0:
        m, t, start = int(head[1]), int(head[2]), 20 + int(head[4])
        held = max(len(raw) - start, 0) // 2
        if m != n and t == n and held >= m * n:
            return np.frombuffer(raw, "<i2", m * n, start).reshape(n, m).T  # one column per signal
        if m != n:
            raise RecordError(f"the matrix in {name} is {m} x {t}, the header has {n} signals")
        return np.frombuffer(raw, "<i2", min(held // n, t) * n, start).reshape(-1, n)
    from scipy.io import loadmat

    try:
        matrix = np.asarray(loadmat(io.BytesIO(raw))["val"])
    except Exception as e:  # scipy raises many kinds for a damaged file
        raise RecordError(f"{name} is not a readable MAT-file: {type(e).__name__}: {e}") from None
    if matrix.ndim != 2 or n not in matrix.shape:
        raise RecordError(f"the matrix in {name} has shape {matrix.shape}, the header has {n} signals")
    if matrix.dtype.kind not in "iuf":
        raise RecordError(f"the matrix in {name} holds {matrix.dtype}, not numbers")
    return _compact(matrix.T if matrix.shape[0] == n else matrix)


def _compact(frames: np.ndarray) -> np.ndarray:
    """Numbers of any type as int16 where that holds them, NaN and Inf as missing; otherwise as float32."""
    missing = ~np.isfinite(frames)
    x = np.where(missing, 0, frames)
    if np.any(x != np.rint(x)) or np.abs(x.astype(np.float64)).max(initial=0.0) > 32767:
        return np.where(missing, np.nan, frames).astype(np.float32)
    return np.where(missing, MISSING_INT16, x).astype(np.int16)


def _read_with_wfdb(header: Header) -> Record:
    """Every other format. Float mV: wfdb turns the samples into physical units and marks missing ones with NaN."""
    name = header.path[:-4]
    for file in {s.file for s in header.signals if not s.fmt.startswith("5")}:  # 508 to 524 are compressed
        n = sum(s.file == file for s in header.signals) * header.n_samples
        if os.path.getsize(os.path.join(header.folder, file)) < n:  # no format takes less than a byte for a sample
            raise RecordError(f"{file} is truncated: it cannot hold {header.n_samples} samples per signal")
    try:
        with wfdb_quietly() as wfdb:
            record = wfdb.rdrecord(name)
    except Exception as e:  # wfdb raises many kinds for damaged files
        raise RecordError(f"wfdb cannot read it: {type(e).__name__}: {str(e)[:200]}") from None
    x = record.p_signal
    if x is None or not x.size:
        raise RecordError("it holds no samples")
    factor = np.array([_MV_PER_UNIT.get(str(u).lower(), np.nan) for u in record.units])
    samples = np.ascontiguousarray((x * factor).T, dtype=np.float32)
    ones = np.where(np.isnan(factor), np.nan, 1.0)
    leads = [str(s) for s in record.sig_name]
    return Record(samples, ones, np.zeros(len(leads)), header.fs, leads, header.comments)


@contextlib.contextmanager
def wfdb_quietly() -> Iterator[ModuleType]:
    """wfdb, without the warnings that it causes under recent versions of pandas when imported and when used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The inplace keyword")
        import wfdb

        yield wfdb
