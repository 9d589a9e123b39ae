"""Reading WFDB records beside wfdb-python, both to mV at each signal's own rate, in turns in one run.

    python benchmarks/bench_reading.py [--repeats 31] [RECORD ...]        other records too, each by its path

The records are made: ten seconds of twelve leads and half an hour of two, of every packing that monitors and Holters
use. Milliseconds of processor time are the medians over turns; "samples" is `read_record(path)`, "mV" with
`in_mv=True`, "2 passes" `read_record(path).millivolts()`.
Every record is compared with wfdb's samples before it is timed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from physioclr.data.wfdb_source import read_record, wfdb_quietly

with wfdb_quietly() as wfdb:
    pass

# name: leads, samples per frame, format, frames per second, seconds; the header's format field is "16x4" and so on
MADE = {
    "12 leads, 10 s, 16": (12, 1, "16", 500, 10),
    "12 leads, 10 s, 212": (12, 1, "212", 500, 10),
    "2 leads, 30 min, 212": (2, 1, "212", 360, 1800),
    "2 leads, 30 min, 80": (2, 1, "80", 360, 1800),
    "12 leads, 10 s, 16x4": (12, 4, "16", 125, 10),
    "2 leads, 30 min, 16x4": (2, 4, "16", 62.5, 1800),
    "3 leads, 30 min, 16x2": (3, 2, "16", 125, 1800),
    "2 leads, 30 min, 212x2": (2, 2, "212", 180, 1800),
}


def packed(x: np.ndarray, fmt: str) -> bytes:
    """Samples in the order of the file as bytes."""
    if fmt == "16":
        return x.astype("<i2").tobytes()
    if fmt == "80":
        return (x + 128).astype(np.uint8).tobytes()
    a, b = (x.reshape(-1, 2).T & 0xFFF).astype(np.uint16)
    return np.stack([a & 0xFF, a >> 8 | b >> 8 << 4, b & 0xFF], axis=1).astype(np.uint8).tobytes()


def make(folder: Path, index: int, leads: int, per_frame: int, fmt: str, fs: float, seconds: int) -> Path:
    rng = np.random.default_rng(index)
    frames = round(fs * seconds)
    x = np.cumsum(rng.integers(-2, 3, (frames * per_frame, leads)), axis=0) % 200 - 100
    order = x.reshape(frames, per_frame, leads).swapaxes(1, 2).reshape(-1)
    field = fmt if per_frame == 1 else f"{fmt}x{per_frame}"
    lines = "".join(f"r{index}.dat {field} 200(0)/mV 12 0 0 0 0 L{k}\n" for k in range(leads))
    (folder / f"r{index}.hea").write_text(f"r{index} {leads} {fs:g} {frames}\n{lines}")
    (folder / f"r{index}.dat").write_bytes(packed(order, fmt))
    np.testing.assert_allclose(read_record(folder / f"r{index}").millivolts(), x.T / 200, rtol=1e-6)
    return folder / f"r{index}"


def in_turns(works: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median milliseconds of each, one after the other so that what else the machine does hits all alike.

    Each is called once before the call that is timed, as in a loop over records: otherwise it would pay for the memory
    that the one before it has given back to the system.
    """
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, times in zip(works, seconds, strict=True):
            work()
            begun = time.process_time()
            work()
            times.append(time.process_time() - begun)
    return [1e3 * statistics.median(times) for times in seconds]


def bench(name: str, path: Path, repeats: int) -> None:
    record, theirs = read_record(path), wfdb.rdrecord(str(path), smooth_frames=False)
    if record.own_fs == (record.fs,) * len(record.leads) and len(record.leads) == len(theirs.e_p_signal):
        np.testing.assert_allclose(record.millivolts(), np.array(theirs.e_p_signal), rtol=1e-6, atol=1e-9)
    wfdb_ms, samples_ms, mv_ms, two_ms = in_turns(
        [
            lambda: wfdb.rdrecord(str(path), smooth_frames=False),
            lambda: read_record(path),
            lambda: read_record(path, in_mv=True),
            lambda: read_record(path).millivolts(),
        ],
        repeats,
    )
    ours = (samples_ms, mv_ms, two_ms)
    print(f"{name:28} {wfdb_ms:8.2f}" + "".join(f" {ms:8.2f} {wfdb_ms / ms:5.1f}x" for ms in ours))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=31)
    arguments = parser.parse_args()
    print(f"{'ms':28} {'wfdb':>8} {'samples':>8} {'':6} {'mV':>8} {'':6} {'2 passes':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for k, (name, form) in enumerate(MADE.items()):
            bench(name, make(Path(folder), k, *form), arguments.repeats)
    for path in arguments.records:
        bench(str(path)[-28:], path, arguments.repeats)


if __name__ == "__main__":
    main()
