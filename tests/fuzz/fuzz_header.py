"""Coverage-guided fuzzing of the WFDB header parser and of what it makes the reader do (needs atheris).

    python tests/fuzz/fuzz_header.py -max_total_time=300 WORK tests/fuzz/corpus/header

New inputs that reach new code go into the folder WORK. The input is a header; 4 kB of samples lie beside it. Whatever
it says, `read_record` gives a record or raises RecordError.
"""

import sys
import tempfile
from pathlib import Path

import atheris

from physioclr.data import RecordError, read_record

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-header-"))
SAMPLES = bytes(range(256)) * 16
for suffix in ("dat", "mat"):
    (FOLDER / f"r.{suffix}").write_bytes(SAMPLES)


def one(data: bytes) -> None:
    (FOLDER / "r.hea").write_bytes(data)
    try:
        record = read_record(FOLDER / "r")
    except RecordError as e:
        assert str(e)
        return
    assert record.samples.ndim == 2 and len(record.leads) == len(record.samples) == len(record.scale)
    assert record.samples.size <= 1 << 24 and record.fs > 0


if __name__ == "__main__":
    one(b"r 1 500 1000\nr.dat 16 1000 16 0 0 0 0 I\n")
    atheris.instrument_all()  # after the first call, which loads the reader's modules
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
