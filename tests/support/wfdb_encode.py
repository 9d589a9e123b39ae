"""Signal files of every WFDB format, bit by bit as signal(5) of the WFDB Applications Guide defines them.

Slow and written apart from the reader: what the tests of decoding compare with.
"""

from pathlib import Path

MISSING = {16: -(1 << 15), 24: -(1 << 23), 32: -(1 << 31), 61: -(1 << 15), 80: -128, 160: -(1 << 15), 212: -2048}
MISSING |= {310: -512, 311: -512, 8: None}
BITS = {16: 16, 24: 24, 32: 32, 61: 16, 80: 8, 160: 16, 212: 12, 310: 10, 311: 10}


def encode(fmt, values):
    """Whole numbers as the bytes of a format; format 8: as differences to the number before, the first as it is."""
    values = [int(v) for v in values]
    if fmt in (16, 24, 32):  # two's complement, low byte first
        return b"".join(v.to_bytes(fmt // 8, "little", signed=True) for v in values)
    if fmt == 61:  # high byte first
        return b"".join(v.to_bytes(2, "big", signed=True) for v in values)
    if fmt == 80:  # offset binary: 128 is zero
        return bytes(v + 128 for v in values)
    if fmt == 160:
        return b"".join((v + 32768).to_bytes(2, "little") for v in values)
    if fmt == 8:
        return b"".join(v.to_bytes(1, "little", signed=True) for v in values)
    return {212: _encode_212, 310: _encode_310, 311: _encode_311}[fmt](values)


def _encode_212(values):
    """Low 8 bits of the first; high 4 bits of both, the first's lower; low 8 bits of the second."""
    out = bytearray()
    for i in range(0, len(values), 2):
        a = values[i] & 0xFFF
        b = values[i + 1] & 0xFFF if i + 1 < len(values) else 0
        out += bytes([a & 0xFF, a >> 8 | b >> 8 << 4, b & 0xFF])
    return bytes(out if len(values) % 2 == 0 else out[:-1])


def _encode_310(values):
    """First and second in bits 1 to 10 of two words, low byte first; of the third 5 bits each in bits 11 to 15."""
    out = bytearray()
    for i in range(0, len(values), 3):
        a, b, c = (values[k] & 0x3FF if k < len(values) else 0 for k in (i, i + 1, i + 2))
        out += (a << 1 | (c & 0x1F) << 11).to_bytes(2, "little") + (b << 1 | c >> 5 << 11).to_bytes(2, "little")
    return bytes(out if len(values) % 3 != 1 else out[:-2])


def _encode_311(values):
    """Three of 10 bits in a word of 32, the first lowest, low byte first."""
    out = bytearray()
    for i in range(0, len(values), 3):
        a, b, c = (values[k] & 0x3FF if k < len(values) else 0 for k in (i, i + 1, i + 2))
        out += (a | b << 10 | c << 20).to_bytes(4, "little")
    return bytes(out[: len(out) - {0: 0, 1: 2, 2: 1}[len(values) % 3]])


def interleave(signals, per_frame, frames):
    """Frame by frame, each signal's samples in turn."""
    return [s[f * n + k] for f in range(frames) for s, n in zip(signals, per_frame, strict=True) for k in range(n)]


def write(folder, name, header, **files):
    """A header's text, and files by name with "_" for the last dot. Returns the record's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.hea").write_bytes(header if isinstance(header, bytes) else header.encode())
    for file, content in files.items():
        (folder / ".".join(file.rsplit("_", 1))).write_bytes(bytes(content))
    return folder / name
