"""The matrix of a MAT-file, as the PhysioNet/CinC Challenges keep their signals: level 4, and level 5 of any numbers.

No more is read, or inflated, than the samples that the header declares. Source: MATLAB, MAT-File Format (2023).
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, NamedTuple

import numpy as np

from .wfdb_header import MAX_SAMPLES, UNSTATED_SAMPLES, RecordError

VARIABLE = "val"
MAX_VARIABLES = 64  # looked at until the right one is found
_LEVEL_4 = ("f8", "f4", "i4", "i2", "u2", "u1")
_LEVEL_5 = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED, _NUMERIC = 14, 15, range(6, 16)  # element types, and the array classes that hold numbers


class _Damaged(Exception):
    """What is wrong with the file."""


class _Shape(NamedTuple):
    """How the numbers lie: column by column, the first `wanted` of them."""

    rows: int
    columns: int
    wanted: int


def read_matrix(f: BinaryIO, name: str, n: int, frames: int) -> np.ndarray:
    """(T, n) numbers, one column per signal, of the variable "val".

    The file has a row per signal, or a column per signal. T is at least `frames` unless the file holds less.

    Args:
        f: the file, at its beginning.
        name: of the file, for messages.
        n: signals.
        frames: samples per signal that are wanted; 0: all.

    Raises:
        RecordError: damaged, of another kind, or of a shape that does not fit.
    """
    try:
        head = f.read(20)
        if len(head) < 20:
            raise _Damaged(f"it has {len(head)} bytes, its header takes 20")
        if head.startswith(b"MATLAB "):
            return _level_5(f, head, name, n, frames)
        return _level_4(f, head, name, n, frames)
    except (_Damaged, zlib.error) as e:
        raise RecordError(f"{name} is not a readable MAT-file: {e}") from None
    except struct.error:
        raise RecordError(f"{name} is not a readable MAT-file: it is truncated") from None


def _shape(name: str, rows: int, columns: int, n: int, frames: int) -> _Shape:
    """Checks the matrix against the header before any of its numbers is read."""
    if n not in (rows, columns) or min(rows, columns) < 0:
        raise RecordError(f"the matrix in {name} is {rows} x {columns}, the header has {n} signals")
    length = columns if rows == n else rows
    if rows == n:
        length = min(length, frames or length)
    elif frames and length > 2 * frames:  # a column per signal: all of it would have to be read
        raise RecordError(f"the matrix in {name} is {rows} x {columns}, the header has {frames} samples per signal")
    if length * n > MAX_SAMPLES:
        raise RecordError(f"the matrix in {name} is {rows} x {columns}; a record may have {MAX_SAMPLES} samples")
    return _Shape(rows, columns, length * n)


def _frames(numbers: np.ndarray, shape: _Shape, n: int) -> np.ndarray:
    if shape.rows == n:
        return numbers[: len(numbers) // n * n].reshape(-1, n)
    if len(numbers) < shape.wanted:
        raise _Damaged("it is truncated")
    return numbers.reshape(n, -1).T


# ---- level 4 ------------------------------------------------------------------------------------------------------


def _level_4(f: BinaryIO, head: bytes, name: str, n: int, frames: int) -> np.ndarray:
    for _ in range(MAX_VARIABLES):
        for order in "<>":
            kind, rows, columns, imaginary, length = struct.unpack(f"{order}5i", head)
            machine, rest = divmod(kind, 1000)
            if 0 <= kind < 2000 and machine == (order == ">") and rest in range(0, 60, 10) and 0 < length <= 1024:
                break
        else:
            raise _Damaged(f"its header's type, rows, columns, imaginary, name length are {head.hex(' ', 4)}")
        dtype = np.dtype(order + _LEVEL_4[rest // 10])
        variable = f.read(length).rstrip(b"\0").decode("latin-1")
        if variable == VARIABLE or kind == 30:  # the Challenge's only matrix, whatever its name
            if imaginary:
                raise RecordError(f"the matrix in {name} holds complex numbers")
            shape = _shape(name, rows, columns, n, frames)
            raw = f.read(shape.wanted * dtype.itemsize)
            return _frames(np.frombuffer(raw, dtype, len(raw) // dtype.itemsize), shape, n)
        size = max(rows, 0) * max(columns, 0) * dtype.itemsize * (2 if imaginary else 1)
        if size >= 1 << 62:  # no file has as many; the system refuses such an offset
            raise _Damaged(f"its variable {variable[:40]!r} is {rows} x {columns}")
        f.seek(size, 1)
        head = f.read(20)
        if len(head) < 20:
            break
    raise _Damaged(f"it has no variable {VARIABLE}")


# ---- level 5 ------------------------------------------------------------------------------------------------------


class _Plain:
    """An element as it lies in the file."""

    def __init__(self, f: BinaryIO, n_bytes: int) -> None:
        self.f, self.left = f, n_bytes

    def read(self, n: int) -> bytes:
        data = self.f.read(max(min(n, self.left), 0))
        self.left -= len(data)
        return data


class _Inflated(_Plain):
    """A compressed element. Inflates what is asked for, never more."""

    def __init__(self, f: BinaryIO, n_bytes: int) -> None:
        super().__init__(f, n_bytes)
        self.z = zlib.decompressobj()

    def read(self, n: int) -> bytes:
        parts, left = [], n
        while left > 0 and not self.z.eof:
            data = self.z.unconsumed_tail or super().read(1 << 16)
            part = self.z.decompress(data, left)
            if not data and not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


def _level_5(f: BinaryIO, head: bytes, name: str, n: int, frames: int) -> np.ndarray:
    head += f.read(108)
    if len(head) < 128 or head[126:] not in (b"IM", b"MI"):
        raise _Damaged("its header of 128 bytes is not whole")
    order = "<" if head[126:] == b"IM" else ">"
    (version,) = struct.unpack(f"{order}H", head[124:126])
    if version != 0x0100:
        raise RecordError(f"{name} is a MAT-file of version 7.3 (HDF5) or another; it must be of level 4 or 5")
    for _ in range(MAX_VARIABLES):
        tag = f.read(8)
        if len(tag) < 8:
            break
        kind, n_bytes = struct.unpack(f"{order}2I", tag)
        end = f.tell() + n_bytes
        if kind in (_MATRIX, _COMPRESSED):
            element = (_Inflated if kind == _COMPRESSED else _Plain)(f, n_bytes)
            found = _array(element, order, kind == _COMPRESSED, name, n, frames)
            if found is not None:
                return found
        f.seek(end)
    raise _Damaged(f"it has no variable {VARIABLE}")


def _array(element: _Plain, order: str, tagged: bool, name: str, n: int, frames: int) -> np.ndarray | None:
    """The matrix, if it is the one that is looked for. tagged: the element's tag is still to come."""
    if tagged and struct.unpack(f"{order}2I", element.read(8))[0] != _MATRIX:
        return None
    flags = _subelement(element, order, 16)[1]
    dimensions = _subelement(element, order, 64)[1]
    variable = _subelement(element, order, 256)[1].decode("latin-1")
    if variable != VARIABLE:
        return None
    (flag,) = struct.unpack(f"{order}I", flags[:4])
    if flag & 0xFF not in _NUMERIC or flag & 0x0800:
        raise RecordError(f"the matrix in {name} holds text, objects or complex numbers, not numbers")
    if len(dimensions) % 4:
        raise _Damaged(f"its dimensions take {len(dimensions)} bytes")
    dims = np.frombuffer(dimensions, f"{order}i4")
    if len(dims) != 2:
        raise RecordError(f"the matrix in {name} has shape {tuple(dims.tolist())}, the header has {n} signals")
    shape = _shape(name, int(dims[0]), int(dims[1]), n, frames)
    if tagged and shape.wanted > UNSTATED_SAMPLES:
        raise RecordError(f"the compressed matrix in {name} has {shape.wanted} numbers; it may have {UNSTATED_SAMPLES}")
    kind, _, n_bytes, small = _tag(element, order)
    if kind not in _LEVEL_5:
        raise _Damaged(f"its numbers are of type {kind}")
    dtype = np.dtype(order + _LEVEL_5[kind])
    raw = small[:n_bytes] if small else element.read(min(n_bytes, shape.wanted * dtype.itemsize))
    return _frames(np.frombuffer(raw, dtype, min(len(raw) // dtype.itemsize, shape.wanted)), shape, n)


def _tag(element: _Plain, order: str) -> tuple[int, int, int, bytes]:
    """Type, bytes of padding, size; and the data of an element small enough to lie within its tag."""
    tag = element.read(8)
    first, second = struct.unpack(f"{order}2I", tag)
    if first >> 16:
        return first & 0xFFFF, 0, first >> 16, tag[4:]
    return first, -second % 8, second, b""


def _subelement(element: _Plain, order: str, limit: int) -> tuple[int, bytes]:
    kind, padding, n_bytes, small = _tag(element, order)
    if n_bytes > limit:
        raise _Damaged(f"one of its fields has {n_bytes} bytes")
    if small:
        return kind, small[:n_bytes]
    data = element.read(n_bytes)
    element.read(padding)
    if len(data) < n_bytes:
        raise _Damaged("it is truncated")
    return kind, data
