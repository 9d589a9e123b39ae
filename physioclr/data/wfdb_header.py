"""WFDB headers: one parser for every format, record and segment.

Parsed more forgivingly than by wfdb: headers of real collections have defects that leave no doubt about the meaning.
What does leave doubt is refused with a `RecordError` that says why. Source: WFDB Applications Guide, header(5).
"""

from __future__ import annotations

import errno
import functools
import math
import os
import re
import stat
from typing import NamedTuple

MAX_SIGNALS = 1024
MAX_HEADER = 1 << 20  # bytes
MAX_SAMPLES = 1 << 31  # of a record, all leads together: 2 h at 1 kHz of 298 leads, 50 h of 12
UNSTATED_SAMPLES = 1 << 28  # that a compressed file may hold, which takes next to no room, or whose header is silent
MAX_FRAME = 1 << 16  # samples per frame of one signal
MAX_ZERO = 2.0**32  # of a baseline, ADC zero or initial value; no format has more than 32 bits
FS_RANGE = (50.0, 4000.0)  # Hz, as for every op
NO_FILE = "~"  # a signal, or a segment, that is missing throughout
_MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}
_MV_PER_UNIT |= {"millivolt": 1.0, "microvolt": 1e-3, "volt": 1e3, "nanovolt": 1e-6}


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
    code: int = 16  # the format's number
    per_frame: int = 1  # samples per frame
    skew: int = 0  # samples of this signal before its sample at time 0
    offset: int = 0  # bytes in the file before the first sample
    initial: float = 0.0  # the value that format 8 counts from

    @property
    def mv_per_unit(self) -> float:
        """mV per unit of a sample; NaN where the signal is not a voltage."""
        return millivolts_of(self.unit) / self.gain

    @property
    def is_voltage(self) -> bool:
        mv = millivolts_of(self.unit)
        return mv == mv


class Segment(NamedTuple):
    """One line of a multi-segment header."""

    name: str  # of the record, "~" for a gap
    n_samples: int | None  # frames; None: as its own header says


class Header(NamedTuple):
    path: str
    fs: float  # frames per second: the rate of a signal with one sample per frame
    n_samples: int  # frames; 0: not stated
    signals: list[Signal]
    comments: list[str]
    segments: tuple[Segment, ...] = ()  # of a multi-segment record, which has no signals of its own

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)


@functools.lru_cache(maxsize=1024)
def millivolts_of(unit: str) -> float:
    """mV of one unit, in any case, with either code point of the micro sign; NaN where it is not a voltage."""
    word = unit.strip().casefold()  # of the micro sign: the Greek letter
    return _MV_PER_UNIT.get(word, _MV_PER_UNIT.get(word.removesuffix("s"), math.nan))


def own_fault(e: OSError) -> bool:
    """Whether the record's own files are at fault (absent, no file), not permissions, the disk or the system."""
    return e.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


OF_THE_SYSTEM = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no file's own fault, whichever it is


def open_file(path: str) -> int:
    """A file's descriptor, to be closed by the caller. Of a pipe or a device, which might wait for ever, an OSError."""
    fd = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError(errno.EISDIR, "it is not a file", path)
    return fd


def without_suffix(name: str) -> str:
    return name[:-4] if name[-4:].lower() == ".hea" else name


def _open_header(path: str) -> tuple[str, int]:
    """The header of a record given with or without ".hea"; also ".HEA", as old cards and tapes have it."""
    if path[-4:].lower() == ".hea":
        return path, open_file(path)
    try:
        return f"{path}.hea", open_file(f"{path}.hea")
    except FileNotFoundError:
        if not os.path.exists(f"{path}.HEA"):
            raise
        return f"{path}.HEA", open_file(f"{path}.HEA")


def read_header(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Header:
    """Parse a header.

    Accepted although the format or wfdb does not allow it: a record name that is not the file's own ("E00015.mat 12 500
    5000"), other encodings than ASCII, blank lines, Windows line ends, units in any case, text behind the fields, dates
    of any form (they are not used), more signal lines than announced.

    Args:
        path: of the record, with or without ".hea".
        root: signal files must lie below this folder; by default the header's own. A header that names a file elsewhere
            is refused before anything is opened.

    Raises:
        RecordError: the header cannot be read, or what it says cannot be true.
        OSError: the system refuses it: permissions, a failing disk, too many open files.
    """
    path, lines, comments = _lines(os.fspath(path))
    if not lines:
        raise RecordError("the header is empty")
    n_segments, n_signals, fs, n_samples = _record_line(lines[0])
    if n_segments == 1 and len(lines) > 1 and not _SEGMENT.fullmatch(lines[1]):
        n_segments = 0  # "100/1" above signal lines
    folder = os.path.dirname(path)
    base = folder if root is None else root
    if n_segments:
        segments = _segment_lines(lines[1:], n_segments)
        for name in {s.name for s in segments} - {NO_FILE}:
            check_inside(name, folder, base)
        return Header(path, fs, n_samples, [], comments, segments)
    if len(lines) - 1 < n_signals:
        raise RecordError(f"the header announces {n_signals} signals and describes {len(lines) - 1}")
    signals = [_signal_line(line) for line in lines[1 : 1 + n_signals]]
    for name in {s.file for s in signals} - {NO_FILE}:
        check_inside(name, folder, base)
    return Header(path, fs, n_samples, signals, comments)


def _lines(path: str) -> tuple[str, list[str], list[str]]:
    """A header's path, lines and comments."""
    try:
        path, fd = _open_header(path)
        try:
            raw = os.read(fd, 1 << 14)
            while len(raw) <= MAX_HEADER and (more := os.read(fd, 1 << 18)):
                raw += more
        finally:
            os.close(fd)
    except ValueError as e:  # a null character
        raise RecordError(f"the header cannot be read: {e}") from None
    except OSError as e:
        if not own_fault(e):
            raise
        raise RecordError(f"the header cannot be read: {e.strerror} ({path})") from None
    if len(raw) > MAX_HEADER or b"\0" in raw:
        raise RecordError("the header is not a text file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # by the line: one written in Latin-1 need not make the others so
        text = "\n".join(map(_decode, raw.removeprefix(b"\xef\xbb\xbf").splitlines()))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n")]
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    return path, [line for line in lines if line and not line.startswith("#")], comments


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


# ---- lines --------------------------------------------------------------------------------------------------------

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_number = re.compile(_NUMBER, re.ASCII).fullmatch  # float() would also take "1_000", digits of other scripts, "nan"
_whole = re.compile(r"[-+]?\d{1,18}", re.ASCII).fullmatch
_SEGMENT = re.compile(r"(\S+)(?:\s+([-+]?\d{1,18}))?", re.ASCII)


def number(text: str) -> float:
    """A decimal number, with a sign, a point or an exponent where there is one.

    Raises:
        ValueError: it is something else.
    """
    if not _number(text):
        raise ValueError(text)
    return float(text)


def whole_number(text: str) -> int:
    """The same of whole numbers."""
    if not _whole(text):
        raise ValueError(text)
    return int(text)


def _record_line(line: str) -> tuple[int, int, float, int]:
    """Number of segments (0: a plain record), of signals, frames per second, frames (0: not stated)."""
    fields = line.split()
    name, slash, n_segments = fields[0].rpartition("/")
    try:
        n_signals = whole_number(fields[1])
        segments = whole_number(n_segments) if slash and name and _whole(n_segments) else 0
    except (IndexError, ValueError):
        raise RecordError(f"the header's first line is {line[:60]!r}; it must be: name signals rate samples") from None
    if slash and name and (segments < 1 or "/" in name):
        raise RecordError(f"the header's first line is {line[:60]!r}; a name with '/' must end in a number of segments")
    if not 0 < n_signals <= MAX_SIGNALS:
        raise RecordError(f"the header announces {n_signals} signals")
    try:
        fs = number(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else 250.0  # the format's default
        n_samples = whole_number(fields[3]) if len(fields) > 3 else 0
    except ValueError:
        raise RecordError(f"the header's first line is {line[:60]!r}: rate or samples is not a number") from None
    if not 0 < fs <= FS_RANGE[1]:
        raise RecordError(f"the sampling rate is {fs:g} Hz; it must be {FS_RANGE[0]:g} to {FS_RANGE[1]:g} Hz")
    if n_samples < 0:
        raise RecordError(f"the header announces {n_samples} samples")
    return segments, n_signals, fs, n_samples


def _segment_lines(lines: list[str], n: int) -> tuple[Segment, ...]:
    """name samples"""
    if len(lines) < n:
        raise RecordError(f"the header announces {n} segments and lists {len(lines)}")
    segments = []
    for line in lines[:n]:
        parts = line.split()
        if len(parts) > 1 and (not _whole(parts[1]) or int(parts[1]) < 0):
            raise RecordError(f"the segment line {line[:60]!r} must be: name samples")
        if len(parts) == 1 and parts[0] == NO_FILE:
            raise RecordError(f"the segment line {line[:60]!r} lacks the length of the gap")
        segments.append(Segment(parts[0], int(parts[1]) if len(parts) > 1 else None))
    return tuple(segments)


_FORMAT = re.compile(r"(\d{1,4})(?:x(\d{1,9}))?(?::(\d{1,9}))?(?:\+(\d{1,18}))?", re.ASCII)
_GAIN = re.compile(r"(?P<gain>[^(/]*)(\((?P<baseline>[^)]*)\))?(/(?P<unit>.*))?")
# file format [gain(baseline)/unit [resolution [zero [initial value [checksum [block size]]]]]] [name]
_N = rf"{_NUMBER}(?!\S)"
_SIGNAL = re.compile(
    rf"(\S+)\s+(\S+)(?:\s+(\S+)(?:\s+{_N}(?:\s+({_N})(?:\s+({_N})(?:\s+{_N}(?:\s+{_N})?)?)?)?)?)?(?:\s+(.*))?",
    re.ASCII,
)


def _signal_line(line: str) -> Signal:
    """A line without some of the numbers before the name is understood: the name begins where the numbers end."""
    fields = line.split(None, 8)
    if len(fields) == 9 and "".join(fields[3:8]).replace("-", "").isdecimal():  # as nearly all are
        file, fmt, gain_field, _, zero_field, initial_field, _, _, name = fields
    else:
        parts = _SIGNAL.fullmatch(line)
        if parts is None:
            raise RecordError(f"the signal line {line[:60]!r} lacks a format")
        file, fmt, gain_field, zero_field, initial_field, name = parts.groups()
        if zero_field is None and name and len(name.split()) > 1:  # a number misspelt, or a name of several words?
            raise RecordError(f"the signal line {line[:60]!r} has a gain or a zero that is not a number")
    try:
        code, per_frame, skew, offset, gain, baseline, unit, zero = _fields(fmt, gain_field or "", zero_field or "0")
        initial = number(initial_field) if code == 8 and initial_field else zero
    except RecordError:
        raise
    except ValueError:
        raise RecordError(f"the signal line {line[:60]!r} has a gain or a zero that is not a number") from None
    if not (math.isfinite(gain) and abs(baseline) <= MAX_ZERO >= abs(initial)):
        raise RecordError(f"the signal line {line[:60]!r} has a gain or a zero that is not finite or beyond 2^32")
    return Signal(file, fmt, gain, baseline, unit, name or "", code, per_frame, skew, offset, initial)


@functools.lru_cache(maxsize=1024)  # the same few in every header of a collection
def _fields(fmt: str, gain_field: str, zero_field: str) -> tuple[int, int, int, int, float, float, str, float]:
    return (*_format_field(fmt), *_gain_field(gain_field, zero_field))


def _format_field(text: str) -> tuple[int, int, int, int]:
    """format[x samples per frame][:skew][+offset]"""
    parts = _FORMAT.fullmatch(text)
    if parts is None:
        raise RecordError(f"the format {text[:40]!r} is not of the form 16, 16x2, 16:1, 16+24")
    code, per_frame, skew, offset = (int(p) if p else 0 for p in parts.groups())
    if per_frame > MAX_FRAME:
        raise RecordError(f"the format {text[:40]!r} has {per_frame} samples per frame; it may have {MAX_FRAME}")
    return code, per_frame or 1, skew, offset


def _gain_field(text: str, zero_field: str) -> tuple[float, float, str, float]:
    """gain(baseline)/unit, with the ADC's zero, which is the baseline unless that is given. Gain 0 stands for 200."""
    parts = _GAIN.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    zero = number(zero_field)
    baseline = number(parts["baseline"]) if parts["baseline"] else zero
    return (number(parts["gain"]) if parts["gain"] else 0.0) or 200.0, baseline, parts["unit"] or "mV", zero


def check_inside(name: str, folder: str, root: str | os.PathLike[str]) -> None:
    """Refuse a signal file outside root. By the text of the path: a link that the user made in the folder is theirs."""
    if re.fullmatch(r"[\w][\w.-]*", name):
        return  # a file of the header's own folder
    base = os.path.abspath(root)
    target = os.path.normpath(os.path.join(os.path.abspath(folder), name))
    odd = "\\" in name or "://" in name or name.startswith("~") or os.path.isabs(name)
    if odd or os.path.commonpath([base, target]) != base:
        raise RecordError(f"the header names the signal file {name[:80]!r}, which is outside the folder")


def segment_names(path: str) -> list[str]:
    """Names in the segment lines of a multi-segment header; none of any other, or of one that cannot be read.

    Looks at the first line alone where that suffices: `find_records` asks of every header.
    """
    try:
        fd = os.open(path, _READ)  # of a pipe without a writer the read is empty
        try:
            head = os.read(fd, 4096)
        finally:
            os.close(fd)
        first = head.split(None, 1)[0]
        if first.startswith((b"#", b"\xef\xbb\xbf#")):
            first = next(
                s.split()[0]
                for s in head.splitlines()
                if s.strip() and not s.lstrip(b"\xef\xbb\xbf \t").startswith(b"#")
            )
        return [s.name for s in read_header(path).segments] if b"/" in first else []
    except OSError as e:
        if e.errno in OF_THE_SYSTEM:  # a list lost now would make patients of the segments
            raise
        return []
    except (RecordError, IndexError, StopIteration):
        return []
