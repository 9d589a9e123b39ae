"""Coverage-guided fuzzing of the other files that people bring, or that a run consists of (needs atheris).

    python tests/fuzz/fuzz_files.py -max_total_time=300 WORK tests/fuzz/corpus/files

The first byte of the input says of what kind the file is: the samples of a record in any format of WFDB, a MAT-file, a
.npy file, a table of labels, a feature space, the small files of a run. Its reader gives what it reads or the error
that it is documented to raise, in one line.
"""

import gc
import sys
import tempfile
from pathlib import Path
from types import FunctionType

import atheris
import numpy as np

from physioclr import FeatureSpace
from physioclr.data import RecordError, TableError, read_record
from physioclr.data.array_sources import read_npy
from physioclr.data.record_table import RecordTable
from physioclr.data.store_files import DamagedFile, read_header
from physioclr.train import checkpoint
from physioclr.train.beats import BeatSpace
from physioclr.train.folder import CONFIG, INFO, METRICS, RECORDS, RunFolder
from physioclr.train.kernel_space import KernelSpace
from physioclr.train.metrics import read_metrics

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-files-"))
FORMATS = (8, 16, 24, 32, 61, 80, 160, 212, 310, 311, 508, 516, 524)


def record(data: bytes) -> None:
    """Samples in the format that the second byte says, of two signals, frames as the third says."""
    fmt, frames = FORMATS[data[0] % len(FORMATS)], 1 + data[1]
    (FOLDER / "s.hea").write_text(
        f"s 2 500 {frames}\n" + f"s.dat {fmt} 200 16 0 0 0 0 I\ns.dat {fmt} 200 16 0 0 0 0 V1\n"
    )
    (FOLDER / "s.dat").write_bytes(data[2:])
    found = read_record(FOLDER / "s")
    assert found.samples.shape == (2, frames)


def mat(data: bytes) -> None:
    (FOLDER / "m.hea").write_text(
        f"m 2 500 {1 + data[0]}\nm.mat 16+24 1000 16 0 0 0 0 I\nm.mat 16+24 1000 16 0 0 0 0 II\n"
    )
    (FOLDER / "m.mat").write_bytes(data[1:])
    assert read_record(FOLDER / "m").samples.shape == (2, 1 + data[0])


def npy(data: bytes) -> None:
    (FOLDER / "a.npy").write_bytes(data)
    assert isinstance(read_npy(FOLDER, "a"), np.ndarray)


def column(data: bytes) -> None:
    (FOLDER / "a.npy").write_bytes(data)
    read_header(FOLDER / "a.npy")


def table(data: bytes) -> None:
    path = FOLDER / f"t{data[0] % 2}.csv"
    path.write_bytes(data[1:])
    rows = RecordTable(path, None)
    rows.match(iter(["a", "b/c"]))
    rows.row_of("a")


def space(data: bytes) -> None:
    (FOLDER / "f.npz").write_bytes(data)
    FeatureSpace.load(FOLDER / "f.npz")


def beats(data: bytes) -> None:
    (FOLDER / "b.npz").write_bytes(data)
    BeatSpace.load(FOLDER / "b.npz")


def kernel(data: bytes) -> None:
    (FOLDER / "k.npz").write_bytes(data)
    KernelSpace.load(FOLDER / "k.npz")


def in_run(name, read):
    def one(data: bytes) -> None:
        (FOLDER / INFO).unlink(missing_ok=True)
        (FOLDER / name).write_bytes(data)
        read()

    return one


def state() -> None:
    checkpoint.load_state(FOLDER / "step_0000000002")


RUN = RunFolder(FOLDER)
(FOLDER / "step_0000000002").mkdir()
KINDS = (
    (record, RecordError), (mat, RecordError), (npy, RecordError), (column, DamagedFile),
    (table, (TableError, RecordError)), (space, ValueError), (beats, ValueError),
    (in_run(CONFIG, RUN.config), DamagedFile), (in_run(INFO, RUN.info), DamagedFile),
    (in_run(METRICS, lambda: read_metrics(FOLDER / METRICS)), DamagedFile),
    (in_run("step_0000000002/state.json", state), DamagedFile),
    (in_run(RECORDS, lambda: RUN.record_ids()), DamagedFile), (kernel, ValueError),
)  # fmt: skip


def one(data: bytes) -> None:
    if len(data) < 4:
        return
    read, expected = KINDS[data[0] % len(KINDS)]
    try:
        read(data[1:])
    except expected as e:
        assert str(e) and "\n" not in str(e), repr(e)


if __name__ == "__main__":
    for path in sorted((Path(__file__).parent / "corpus" / "files").iterdir()):  # loads the readers' modules
        one(path.read_bytes())
    for f in gc.get_objects():  # not all functions there are: torch has too many
        if type(f) is FunctionType and (f.__module__ or "").startswith(("physioclr", "numpy.lib", "zipfile")):
            atheris.instrument_func(f)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
