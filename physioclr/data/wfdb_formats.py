"""Signal files of WFDB: bytes to sample values, in every format of signal(5), each with its own code for "missing".

Formats 16, 80 and 212 are decoded by the native kernel, the others by NumPy, FLAC (508, 516, 524) by libsndfile. Only
the bytes that the header declares are read.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .. import _core
from .wfdb_header import MAX_SAMPLES, UNSTATED_SAMPLES, Header, RecordError, Signal, open_file, own_fault
from .wfdb_mat import read_matrix

MISSING_INT16 = -32768
PIECE = 1 << 24  # samples read in one call: some milliseconds


class Format(NamedTuple):
    """How a format packs samples: `per_group` of them in `group_bytes` bytes."""

    group_bytes: int
    per_group: int
    tail_bytes: tuple[int, ...]  # for 0, 1, ... samples of a last group that is not full
    missing: int | None  # the value that stands for a missing sample
    decode: Callable[[np.ndarray], np.ndarray] | None  # whole groups to values; None: by the native kernel

    def n_bytes(self, n: int) -> int:
        return n // self.per_group * self.group_bytes + self.tail_bytes[n % self.per_group]

    def n_held(self, n_bytes: int) -> int:
        """Whole samples in so many bytes."""
        groups, rest = divmod(n_bytes, self.group_bytes)
        return groups * self.per_group + max(k for k, need in enumerate(self.tail_bytes) if need <= rest)


def _decode_24(raw: np.ndarray) -> np.ndarray:
    low, middle, high = raw[0::3], raw[1::3], raw[2::3]
    return low.astype(np.int32) | middle.astype(np.int32) << 8 | high.view(np.int8).astype(np.int32) << 16


def _decode_160(raw: np.ndarray) -> np.ndarray:
    return (raw.view("<u2") ^ 0x8000).view(np.int16)  # less 32768


def _decode_310(raw: np.ndarray) -> np.ndarray:
    """Two words of 16 bits: the first and the second sample in bits 1 to 10, the third in the bits above of both."""
    words = raw.view("<u2").reshape(-1, 2)
    x = np.empty((len(words), 3), np.int16)
    x[:, :2] = (words << 5).view(np.int16) >> 6
    x[:, 2] = (words[:, 1] & 0xF800 | words[:, 0] >> 5 & 0x07C0).view(np.int16) >> 6
    return x.reshape(-1)


def _decode_311(raw: np.ndarray) -> np.ndarray:
    """One word of 32 bits: three samples of 10 bits, the first lowest."""
    words = raw.view("<u4")
    x = np.stack([words << shift for shift in (22, 12, 2)], axis=1).view(np.int32) >> 22
    return x.astype(np.int16).reshape(-1)


FORMATS = {
    8: Format(1, 1, (0,), None, lambda raw: raw.view(np.int8)),  # differences
    16: Format(2, 1, (0,), -(1 << 15), None),
    24: Format(3, 1, (0,), -(1 << 23), _decode_24),
    32: Format(4, 1, (0,), -(1 << 31), lambda raw: raw.view("<i4")),
    61: Format(2, 1, (0,), -(1 << 15), lambda raw: raw.view(">i2").astype(np.int16)),
    80: Format(1, 1, (0,), -(1 << 7), None),
    160: Format(2, 1, (0,), -(1 << 15), _decode_160),
    212: Format(3, 2, (0, 2), -(1 << 11), None),
    310: Format(4, 3, (0, 2, 4), -(1 << 9), _decode_310),
    311: Format(4, 3, (0, 2, 3), -(1 << 9), _decode_311),
}
FLAC_BITS = {508: 8, 516: 16, 524: 24}


def missing_code(code: int) -> int | None:
    return -(1 << FLAC_BITS[code] - 1) if code in FLAC_BITS else FORMATS[code].missing


SignalRows = Sequence[np.ndarray] | np.ndarray  # (samples,) of each signal


class SignalFile(NamedTuple):
    """What was read of one file."""

    frames: int  # those of the record
    rows: SignalRows  # of the signals wanted: int16 with -32768 for missing, or float with NaN
    in_mv: bool = False  # (signals, samples) float32 mV, where that was asked for and the native kernel gives it


class Units(NamedTuple):
    """What the samples of the signals wanted are in mV: (x - baseline) * scale."""

    baseline: np.ndarray  # (signals,) float64
    scale: np.ndarray  # (signals,) float64


def _open(header: Header, name: str) -> int:
    """The descriptor of a signal file, in whatever case the folder has its name.

    Raises:
        RecordError: it is missing, or no file.
        OSError: the system refuses to open it.
    """
    path = os.path.join(header.folder, name)
    try:
        return open_file(path)
    except OSError as e:
        if not own_fault(e):
            raise
    folder, wanted = os.path.split(path)
    try:
        alike = [entry for entry in os.listdir(folder or ".") if entry.casefold() == wanted.casefold()]
        if len(alike) == 1:
            return open_file(os.path.join(folder, alike[0]))
    except OSError as e:
        if not own_fault(e):
            raise
    raise RecordError(f"the signal file {name} is missing")


def read_signal_file(
    header: Header, signals: Sequence[Signal], wanted: Sequence[int], frames: int, units: Units | None = None
) -> SignalFile:
    """Samples of the signals of one file, each at its own rate.

    Args:
        header: says where the file is.
        signals: all signals of the file, in their order.
        wanted: which of them to read, as indices.
        frames: of the record; 0: as many as the file holds.
        units: to have mV in place of samples, if one pass can give them (`in_mv` says whether).

    Raises:
        RecordError: missing, truncated, damaged, or of formats that do not go together.
        OSError: the system refuses to read it.
    """
    name, code = signals[0].file, signals[0].code
    if len({s.fmt for s in signals}) > 1:
        if len({s.code for s in signals}) > 1:
            raise RecordError(f"the header states several formats for {name}")
        if any(s.offset not in (0, signals[0].offset) for s in signals):
            raise RecordError(f"the header states several offsets for {name}")
    if code not in FORMATS and code not in FLAC_BITS:
        raise RecordError(f"{name} is of format {code}, which is not known")
    is_mat = name[-4:].lower() == ".mat"
    try:
        with open(_open(header, name), "rb", buffering=-1 if is_mat else 0) as f:
            if is_mat or code in FLAC_BITS:
                return (_from_matrix if is_mat else _from_flac)(f, signals, wanted, frames)
            return _from_frames(f, signals, wanted, frames, units)
    except OSError as e:
        if not own_fault(e):
            raise
        raise RecordError(f"the signal file {name} cannot be read: {e.strerror}") from None


def _from_frames(
    f: BinaryIO, signals: Sequence[Signal], wanted: Sequence[int], frames: int, units: Units | None
) -> SignalFile:
    """Of a file of frames, each with per_frame samples of every signal in turn."""
    name, offset, form = signals[0].file, signals[0].offset, FORMATS[signals[0].code]
    counts = tuple([s.per_frame for s in signals])
    per_frame, columns = _columns(counts, tuple(wanted))
    held = form.n_held(max(os.fstat(f.fileno()).st_size - offset, 0)) // per_frame
    skews = [signals[i].skew for i in wanted]
    beyond = max(-(-signals[i].skew // counts[i]) for i in wanted) if any(skews) else 0  # frames after the last one
    if not frames and held * per_frame > MAX_SAMPLES:
        raise RecordError(f"{name} holds {held * per_frame} samples; a record may have {MAX_SAMPLES}")
    frames = check_held(name, held, frames)
    read = min(frames + beyond, held)
    if form.decode is None:
        if beyond or len({counts[i] for i in wanted}) > 1:
            units = None  # rows that are yet to be cut, or resampled
        rows: SignalRows = _native(f, signals[0], per_frame, read, columns, units)
        if units is not None:
            return SignalFile(frames, rows, in_mv=True)
    else:
        f.seek(offset)
        rows = _by_numpy(f, signals, wanted, per_frame, read, columns)
    if beyond:
        rows = [_skewed(row, signals[i], frames) for i, row in zip(wanted, rows, strict=True)]
    return SignalFile(frames, rows)


@functools.lru_cache(maxsize=64)  # the same in every record of a collection
def _columns(counts: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Samples per frame, and where in a frame the signals wanted have how many."""
    starts = [0, *itertools.accumulate(counts)]
    return starts[-1], tuple([(starts[i], counts[i]) for i in wanted])


def check_held(name: str, held: int, frames: int) -> int:
    """Frames of the record, given those that the file holds and those that the header states (0: none)."""
    if held < frames or not held:
        raise RecordError(f"{name} is truncated: it holds {held} of {frames or held} samples per signal")
    return frames or held


def _read(f: Any, name: str, raw: np.ndarray) -> None:
    """The next bytes of a file that has them, into raw."""
    view, got = memoryview(raw.data), 0
    while got < len(raw):
        n = f.readinto(view[got:])
        if not n:  # it shrank while it was read
            raise RecordError(f"{name} is truncated: {len(raw) - got} of its bytes are gone")
        got += n


def _native(
    f: BinaryIO,
    signal: Signal,
    per_frame: int,
    frames: int,
    columns: tuple[tuple[int, int], ...],
    units: Units | None = None,
) -> SignalRows:
    """By the native kernel, which also reads; in turns, so that Ctrl-C need not wait for a long file."""
    rows, form = _Columns(columns, frames, units), FORMATS[signal.code]
    step = max(PIECE // per_frame & ~1, 2)  # even: a piece of format 212 begins with a byte
    for first in range(0, frames, step):
        offset = signal.offset + form.n_bytes(first * per_frame)
        rows.read(f.fileno(), signal, offset, per_frame, first, min(step, frames - first))
    return rows.split()


class _Columns:
    """Signals of a file of frames, filled piece by piece: their samples, or mV if units are given."""

    def __init__(self, columns: tuple[tuple[int, int], ...], frames: int, units: Units | None = None) -> None:
        self.columns, self.frames, self.table = columns, frames, _column_table(columns)
        self.units = units
        dtype = np.int16 if units is None else np.float32
        self.out = np.empty(sum(count for _, count in columns) * frames, dtype)

    def fill(self, raw: np.ndarray, code: int, per_frame: int, first: int, n: int) -> None:
        """From a piece of n frames, the first of which is number `first`."""
        where, columns, out = raw.ctypes.data, self.table.ctypes.data, self.out.ctypes.data
        _core.wfdb_frames(where, code, per_frame, n, columns, len(self.table), out, first, self.frames)

    def read(self, file: int, signal: Signal, offset: int, per_frame: int, first: int, n: int) -> None:
        """The same from a file, whose descriptor this is."""
        columns, out = self.table.ctypes.data, self.out.ctypes.data
        baseline, scale = (0, 0) if self.units is None else (v.ctypes.data for v in self.units)
        rest = _core.wfdb_read(
            file, offset, signal.code, per_frame, n, columns, len(self.table), out, first, self.frames, baseline, scale
        )
        if rest < 0:
            raise OSError(-rest, os.strerror(-rest), signal.file)
        if rest:  # it shrank while it was read
            raise RecordError(f"{signal.file} is truncated: {rest} of its bytes are gone")

    def split(self) -> SignalRows:
        """Each signal's samples; (signals, samples) where all have as many."""
        counts = [count for _, count in self.columns]
        if len(set(counts)) == 1:
            return self.out.reshape(len(counts), -1)
        ends = [self.frames * end for end in itertools.accumulate(counts)]
        return [self.out[end - self.frames * count : end] for end, count in zip(ends, counts, strict=True)]


@functools.lru_cache(maxsize=64)  # the same in every record of a collection
def _column_table(columns: tuple[tuple[int, int], ...]) -> np.ndarray:
    return np.array(columns, np.int64).reshape(-1, 2)


def _by_numpy(
    f: BinaryIO,
    signals: Sequence[Signal],
    wanted: Sequence[int],
    per_frame: int,
    frames: int,
    columns: tuple[tuple[int, int], ...],
) -> SignalRows:
    form = FORMATS[signals[0].code]
    n_bytes = form.n_bytes(frames * per_frame)
    raw = np.zeros(-(-n_bytes // form.group_bytes) * form.group_bytes, np.uint8)
    _read(f, signals[0].file, raw[:n_bytes])
    assert form.decode is not None
    x = form.decode(raw)
    if x.dtype == np.int16:
        if form.missing != MISSING_INT16:
            x[x == form.missing] = MISSING_INT16
        found = _Columns(columns, frames)
        found.fill(x, 16, per_frame, 0, frames)
        return found.split()
    table = x[: frames * per_frame].reshape(frames, per_frame)
    rows = [table[:, start : start + count].reshape(-1) for start, count in columns]
    if form.missing is None:  # differences
        initial = [int(signals[i].initial) for i in wanted]
        rows = [np.cumsum(row, dtype=np.int64) + start for row, start in zip(rows, initial, strict=True)]
    return [compact(row, form.missing) for row in rows]


def _skewed(row: np.ndarray, signal: Signal, frames: int) -> np.ndarray:
    """The samples from `skew` on; what is not in the file is missing."""
    n = frames * signal.per_frame
    present = row[signal.skew : signal.skew + n]
    out = np.full(n, MISSING_INT16 if row.dtype == np.int16 else np.nan, row.dtype)
    out[: len(present)] = present
    return out


def compact(x: np.ndarray, missing: int | None) -> np.ndarray:
    """Numbers of any type as int16 where that holds them; otherwise as float64, or float32 if they are."""
    if x.dtype == np.int16 and missing == MISSING_INT16:
        return x
    gaps = ~np.isfinite(x)
    if missing is not None:
        gaps |= x == missing
    any_gap = gaps.any()
    values = np.where(gaps, 0, x) if any_gap else x
    whole = values.dtype.kind in "iu" or not np.any(values != np.rint(values))
    if whole and values.size and values.max() <= 32767 and values.min() > MISSING_INT16:
        values = values.astype(np.int16)
        return np.where(gaps, np.int16(MISSING_INT16), values) if any_gap else values
    values = values.astype(np.float32 if x.dtype == np.float32 else np.float64)
    return np.where(gaps, values.dtype.type(np.nan), values) if any_gap else values


# ---- files with a form of their own -------------------------------------------------------------------------------


def _from_matrix(f: BinaryIO, signals: Sequence[Signal], wanted: Sequence[int], frames: int) -> SignalFile:
    """Of a Challenge .mat: a matrix of one row per signal."""
    name, n = signals[0].file, len(signals)
    if any(s.per_frame > 1 or s.skew for s in signals):
        raise RecordError(f"the header states several samples per frame, or a skew, for the matrix in {name}")
    x = read_matrix(f, name, n, frames)  # (T, n)
    frames = check_held(name, len(x), frames)
    code = missing_code(signals[0].code)
    if x.dtype == np.dtype("<i2") and x.flags.c_contiguous and code == MISSING_INT16:
        rows = _Columns(tuple((i, 1) for i in wanted), frames)
        rows.fill(x, 16, n, 0, frames)
        return SignalFile(frames, rows.split())
    return SignalFile(frames, compact(np.ascontiguousarray(x[:frames, list(wanted)].T), code))


def _from_flac(f: BinaryIO, signals: Sequence[Signal], wanted: Sequence[int], frames: int) -> SignalFile:
    """Of a FLAC stream: one channel per signal."""
    import soundfile

    name, code, per_frame = signals[0].file, signals[0].code, signals[0].per_frame
    if any(s.per_frame != per_frame for s in signals) or signals[0].offset:
        raise RecordError(f"the header states several rates, or an offset, for the FLAC file {name}")
    skew = max(signals[i].skew for i in wanted) if wanted else 0
    watched = _Watched(f)
    try:
        with soundfile.SoundFile(watched) as stream:
            if stream.channels != len(signals):
                raise RecordError(f"{name} has {stream.channels} channels, the header has {len(signals)} signals")
            bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(stream.subtype, 99)
            if stream.format != "FLAC" or bits > FLAC_BITS[code]:
                raise RecordError(f"{name} is {stream.format} {stream.subtype}, the header says format {code}")
            limit = frames * per_frame + skew if frames else UNSTATED_SAMPLES // len(signals)
            dtype = "int16" if bits <= 16 else "int32"
            x = _flac_blocks(stream, limit, dtype) >> (16 if bits <= 16 else 32) - bits
            if not frames and len(x) == limit and stream.read(1).size:
                raise RecordError(f"{name} holds more than {limit} samples per signal and the header states no length")
    except soundfile.LibsndfileError as e:
        watched.tell_error()
        raise RecordError(f"{name} is not a readable FLAC file: {e}") from None
    watched.tell_error()
    frames = check_held(name, len(x) // per_frame, frames)
    rows = [compact(np.ascontiguousarray(x[:, i]), missing_code(code)) for i in wanted]
    return SignalFile(frames, [_skewed(row, signals[i], frames) for i, row in zip(wanted, rows, strict=True)])


class _Watched:
    """A file for libsndfile, which reads by callbacks and would take an error for the end of the file."""

    def __init__(self, f: Any) -> None:
        self.f = f
        self.error: OSError | None = None

    def _try(self, call: Callable[..., int | None], *arguments: object) -> int:
        try:
            return call(*arguments) or 0
        except OSError as e:
            self.error = e
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._try(self.f.seek, offset, whence)

    def tell(self) -> int:
        return self._try(self.f.tell)

    def readinto(self, buffer: memoryview) -> int:
        return self._try(self.f.readinto, buffer)

    def tell_error(self) -> None:
        if self.error is not None:
            raise self.error


def _flac_blocks(stream: Any, limit: int, dtype: str) -> np.ndarray:
    """Up to `limit` samples of each channel. By blocks: the stream's own length may be a lie, and memory with it."""
    blocks = []
    while limit > 0:
        block = stream.read(min(limit, 1 << 18), dtype=dtype, always_2d=True)
        if not len(block):
            break
        blocks.append(block)
        limit -= len(block)
    return np.concatenate(blocks) if blocks else np.empty((0, stream.channels), dtype)
