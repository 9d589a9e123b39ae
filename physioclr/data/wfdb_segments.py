"""Multi-segment WFDB records, of fixed and of variable layout: one record, its segments placed in time.

A gap, and a lead that a segment does not have, is missing; every segment's own gain, baseline, rate and format counts.
Source: WFDB Applications Guide, header(5), "Multi-segment records".
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from .wfdb_formats import FLAC_BITS, FORMATS, MISSING_INT16
from .wfdb_header import NO_FILE, Header, RecordError, Signal, read_header, without_suffix
from .wfdb_source import Record, at_rate, check_rate, check_resolution, check_size, described, read_signals

MAX_EMPTY = 1 << 27  # frames of a record of which 99 % is gaps: more cannot be meant
_WIDE = {24, 32, 524, 8}  # formats whose values need not fit 16 bits

Key = tuple[str, int]  # a lead's name, and how many before it have the same


class _Piece(NamedTuple):
    """One segment in its place."""

    start: int  # frames before it
    frames: int
    header: Header
    leads: dict[Key, int]  # its signals in volts that have a file, as indices


def read_segments(header: Header, root: str | os.PathLike[str] | None) -> Record:
    """The record that the segments of a header make.

    Leads are matched by name: those of the layout (of the first segment where the layout is fixed) come first, in its
    order, then any that only later segments have.

    Raises:
        RecordError: as for `read_record`, or a segment that does not fit the record: of another rate, of another length
            than listed, of several segments itself.
    """
    root = header.folder if root is None else root
    pieces, frames, layout, comments, left_out = _pieces(header, root)
    present = {key for piece in pieces for key in piece.leads}
    keys = list(dict.fromkeys([*layout, *(key for piece in pieces for key in piece.leads)]))
    if not present:
        others = f": {', '.join(left_out[:16])}" if left_out else ""
        raise RecordError(f"none of its segments has a signal in volts{others}")
    if header.n_samples not in (0, frames):
        raise RecordError(f"the header announces {header.n_samples} samples, its segments have {frames}")
    uses = [(k, p.header.signals[i]) for p in pieces for k, i in p.leads.items()]
    per_frame = max(s.per_frame for _, s in uses)
    fs = check_rate(header.fs * per_frame)
    check_size(len(keys), frames * per_frame)
    if frames > MAX_EMPTY and frames > 100 * sum(p.frames for p in pieces):
        raise RecordError(f"it has {frames} samples per signal, of which less than 1 % are in its segments")
    units: dict[Key, set[tuple[float, float]]] = {}
    for key, s in uses:
        units.setdefault(key, set()).add((check_resolution(s), s.baseline))
    exact = all(len(u) == 1 for u in units.values()) and all(_is_int16(s, per_frame) for _, s in uses)
    gap, dtype = (MISSING_INT16, np.int16) if exact else (np.nan, np.float32)
    samples = np.full((len(keys), frames * per_frame), gap, dtype)
    for piece in pieces:
        _place(piece, samples, keys, per_frame)
    one = [next(iter(units.get(key, {(1.0, 0.0)}))) if exact else (1.0, 0.0) for key in keys]
    scale, baseline = np.array(one, np.float64).reshape(-1, 2).T
    own = {k: max(s.per_frame for j, s in uses if j == k) for k in present}
    own_fs = tuple(header.fs * own.get(key, per_frame) for key in keys)
    return Record(
        samples, scale.copy(), baseline.copy(), fs, [name for name, _ in keys], comments, own_fs, tuple(left_out)
    )


def _pieces(header: Header, root: str | os.PathLike[str]) -> tuple[list[_Piece], int, list[Key], list[str], list[str]]:
    """Segments in their places, frames in all, the layout's leads, all comments, the signals that are no voltages."""
    pieces: list[_Piece] = []
    layout: dict[Key, bool] = {}  # whether in volts
    seen: dict[Key, bool] = {}
    comments = dict.fromkeys(header.comments)
    left_out: dict[str, None] = {}
    start = 0
    for k, segment in enumerate(header.segments):
        if segment.name == NO_FILE:
            assert segment.n_samples is not None  # the header's reader sees to it
            start += segment.n_samples
            continue
        own = _segment_header(header, segment.name, root)
        comments |= dict.fromkeys(own.comments)
        frames = own.n_samples if segment.n_samples is None else segment.n_samples
        if frames and frames != (own.n_samples or frames):
            raise RecordError(f"segment {segment.name} has {own.n_samples} samples, the record lists {frames}")
        if not frames and (k or any(s.file != NO_FILE for s in own.signals)):
            raise RecordError(f"segment {segment.name} has no samples")
        leads: dict[Key, int] = {}
        before: dict[str, int] = {}
        for i, s in enumerate(own.signals):
            key = (s.name, before.get(s.name, 0))
            before[s.name] = key[1] + 1
            if not frames:
                layout[key] = s.is_voltage
                continue
            seen[key] = seen.get(key, False) or s.is_voltage
            if not s.is_voltage:
                left_out[described(s)] = None
            elif s.file != NO_FILE:
                leads[key] = i
        if frames:
            pieces.append(_Piece(start, frames, own, leads))
        start += frames
    leads_of_layout = [key for key, volts in layout.items() if seen.get(key, volts)]
    return pieces, start, leads_of_layout, list(comments), list(left_out)


def _segment_header(header: Header, name: str, root: str | os.PathLike[str]) -> Header:
    try:
        own = read_header(os.path.join(header.folder, name), root)
    except RecordError as e:
        raise RecordError(f"segment {name}: {e}") from None
    if own.segments:
        raise RecordError(f"segment {name} has segments of its own")
    if own.fs != header.fs:
        raise RecordError(f"segment {name} has {own.fs:g} frames per second, the record {header.fs:g}")
    return own


def _is_int16(s: Signal, per_frame: int) -> bool:
    """Whether a signal's samples go into the record as they are."""
    known = s.code in FORMATS or s.code in FLAC_BITS
    return known and s.code not in _WIDE and s.per_frame == per_frame and not s.file.lower().endswith(".mat")


def _place(piece: _Piece, samples: np.ndarray, keys: list[Key], per_frame: int) -> None:
    wanted = list(piece.leads.values())
    if not wanted:
        return
    name = os.path.basename(without_suffix(piece.header.path))
    try:
        rows = read_signals(piece.header, wanted, piece.frames).rows
    except RecordError as e:
        raise RecordError(f"segment {name}: {e}") from None
    at = slice(piece.start * per_frame, (piece.start + piece.frames) * per_frame)
    for key, row in zip(piece.leads, rows, strict=True):
        signal = piece.header.signals[piece.leads[key]]
        samples[keys.index(key), at] = row if samples.dtype == np.int16 else at_rate(row, signal, per_frame)
