"""MAT-files: level 4 and 5, every number type, missing samples, and files that are damaged or larger than declared."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from scipy.io import savemat
from wfdb_encode import write
from wfdb_files import LEADS, ecg_like, write_record

from physioclr.data import wfdb_mat
from physioclr.data.wfdb_source import RecordError, read_record

TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def mat_record(folder, raw, n, frames, fmt="16+24", gain="1/mV"):
    lines = "".join(f"r.mat {fmt} {gain} 16 0 0 0 0 L{k}\n" for k in range(n))
    return write(folder, "r", f"r {n} 500 {frames}\n{lines}", r_mat=raw)


def saved(variables, **options):
    out = io.BytesIO()
    savemat(out, variables, **options)
    return out.getvalue()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("columns", [False, True])
def test_level_5_of_every_type(tmp_path, rng, dtype, compressed, columns):
    x = rng.integers(0, 120, (3, 50)).astype(dtype)
    matrix = x.T if columns else x
    raw = saved({"first": np.arange(9.0), "val": matrix, "z": "text"}, do_compression=compressed)
    record = read_record(mat_record(tmp_path, raw, 3, 50))
    assert record.samples.dtype == np.int16
    np.testing.assert_array_equal(record.samples, x)
    assert read_record(mat_record(tmp_path, raw, 3, 0)).samples.shape == (3, 50)
    np.testing.assert_array_equal(read_record(mat_record(tmp_path, raw, 3, 40)).samples, x[:, :40])


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("columns", [False, True])
def test_level_4_of_every_type(tmp_path, rng, dtype, columns):
    x = rng.integers(0, 120, (3, 50)).astype(dtype)
    raw = saved({"first": np.arange(9.0), "val": x.T if columns else x}, format="4")
    np.testing.assert_array_equal(read_record(mat_record(tmp_path, raw, 3, 50)).samples, x)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("code", "dtype"), [(0, "f8"), (10, "f4"), (20, "i4"), (30, "i2"), (40, "u2"), (50, "u1")])
def test_level_4_of_both_byte_orders(tmp_path, order, code, dtype):
    """As the format's description has it: type 1000 M + 10 P, rows, columns, imaginary, name length, name, numbers."""
    head = struct.pack(f"{order}5i", code + 1000 * (order == ">"), 2, 3, 0, 4) + b"val\0"
    raw = head + np.array([1, 2, 3, 4, 5, 6], order + dtype).tobytes()
    np.testing.assert_array_equal(read_record(mat_record(tmp_path, raw, 2, 3)).samples, [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize("level", ["4", "5"])
@pytest.mark.parametrize("dtype", ["i2", "i4", "f8"])
def test_missing_samples_in_a_matrix(tmp_path, level, dtype):
    """-32768 is format 16's code, whatever type the matrix has: missing, not -32.8 mV."""
    x = np.array([[1, -32768, 3], [-32767, 32767, -32768]], dtype)
    record = read_record(mat_record(tmp_path, saved({"val": x}, format=level), 2, 3, gain="1000/mV"))
    np.testing.assert_allclose(record.millivolts(), [[0.001, np.nan, 0.003], [-32.767, 32.767, np.nan]], rtol=1e-6)
    assert record.samples.dtype == np.int16


def test_missing_samples_of_other_formats_and_numbers(tmp_path):
    x = np.array([[1, -(2**31), 100_000]], "i4")
    record = read_record(mat_record(tmp_path, saved({"val": x}), 1, 3, fmt="32", gain="2(1)/mV"))
    np.testing.assert_array_equal(record.millivolts(), [[0, np.nan, 49999.5]])
    x = np.array([[np.nan, np.inf, -np.inf, 0.25, -32768]])
    record = read_record(mat_record(tmp_path, saved({"val": x}), 1, 5))
    np.testing.assert_array_equal(record.millivolts(), [[np.nan, np.nan, np.nan, 0.25, np.nan]])


def test_signals_that_are_no_voltage_are_left_out(tmp_path):
    lines = "r.mat 16+24 1/mmHg 16 0 0 0 0 ABP\nr.mat 16+24 1/mV 16 0 0 0 0 II\n"
    for level in "45":
        raw = saved({"val": np.array([[1, 2], [3, 4]], "i2")}, format=level)
        record = read_record(write(tmp_path, "r", f"r 2 500 2\n{lines}", r_mat=raw))
        np.testing.assert_array_equal(record.samples, [[3, 4]])


# ---- damaged, hostile ---------------------------------------------------------------------------------------------


def test_20_bytes(tmp_path):
    """One line that names the file and what is wrong."""
    for raw, reason in (
        (bytes(7), r"r\.mat is not a readable MAT-file: it has 7 bytes, its header takes 20"),
        (bytes(20), r"r\.mat is not a readable MAT-file: its header's type, rows, columns, imaginary, name length"),
        (b"\xff" * 20, r"r\.mat is not a readable MAT-file: its header's type"),
        (b"MATLAB 5.0 MAT-file,", "its header of 128 bytes is not whole"),
        (struct.pack("<5i", 30, 1, 3, 0, 4), r"r\.mat is truncated: it holds 0 of 3 samples per signal"),
        (struct.pack("<5i", 30, 1, 3, 1, 4), "complex numbers"),
        (struct.pack("<5i", 30, -1, 3, 0, 4), r"the matrix in r\.mat is -1 x 3"),
        (struct.pack("<5i", 0, 2**31 - 1, 2**31 - 1, 0, 4) + b"abc\0", "its variable 'abc' is 2147483647 x 2147483647"),
    ):
        with pytest.raises(RecordError, match=reason) as e:
            read_record(mat_record(tmp_path, raw, 1, 3))
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_every_cut_of_a_file_is_refused(tmp_path, rng, compressed):
    raw = saved({"val": ecg_like(rng, 3, 40)}, do_compression=compressed)
    for n in range(
        len(raw) - (16 if compressed else 0)
    ):  # the last bytes of zlib's are no numbers: ends and a checksum
        with pytest.raises(RecordError):
            read_record(mat_record(tmp_path, raw[:n], 3, 40))


def test_any_damage_is_read_or_refused(tmp_path, rng):
    for options in ({"format": "4"}, {}, {"do_compression": True}):
        raw = saved({"val": ecg_like(rng, 3, 40)}, **options)
        for _ in range(300):
            bad = bytearray(raw)
            for k in rng.integers(0, min(len(raw), 260), rng.integers(1, 4)):
                bad[k] = rng.integers(256)
            try:
                read_record(mat_record(tmp_path, bytes(bad), 3, 40))
            except RecordError as e:
                assert "\n" not in str(e)


def bomb(rows, columns, n_bytes):
    """A compressed element of a few kB that inflates to n_bytes of zeros."""
    head = struct.pack("<4I", 6, 8, 10, 0) + struct.pack("<2I2i", 5, 8, rows, columns)  # class int16
    body = head + struct.pack("<HH4s", 1, 3, b"val\0") + struct.pack("<2I", 3, n_bytes)
    packer = zlib.compressobj(9)
    packed = packer.compress(struct.pack("<2I", 14, len(body) + n_bytes) + body)
    for _ in range(n_bytes >> 20):
        packed += packer.compress(bytes(1 << 20))
    packed += packer.flush()
    text = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return text + struct.pack("<2I", 15, len(packed)) + packed


def test_no_more_is_inflated_than_declared(tmp_path, monkeypatch):
    """200 MB of zeros in 200 kB, of which the header declares a thousand samples."""
    raw = bomb(2, 50 << 20, 200 << 20)
    assert len(raw) < 300_000
    tracemalloc.start()
    try:
        assert not read_record(mat_record(tmp_path, raw, 2, 1000)).samples.any()
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        with pytest.raises(RecordError, match="52428800 x 2, the header has 1000 samples per signal"):
            read_record(mat_record(tmp_path, bomb(50 << 20, 2, 200 << 20), 2, 1000))
        monkeypatch.setattr(wfdb_mat, "UNSTATED_SAMPLES", 1 << 20)
        with pytest.raises(RecordError, match=r"compressed matrix in r\.mat has 104857600 numbers"):
            read_record(mat_record(tmp_path, raw, 2, 0))
    finally:
        tracemalloc.stop()


def test_other_contents_are_named(tmp_path):
    for variables, reason in (
        ({"other": np.ones((1, 3))}, "it has no variable val"),
        ({"val": np.ones((1, 3)) * 1j}, "complex"),
        ({"val": np.array(["abc"])}, "text, objects or complex numbers, not numbers"),
        ({"val": np.ones((1, 3, 2))}, r"shape \(1, 3, 2\)"),
        ({"val": {"a": 1}}, "text, objects"),
    ):
        with pytest.raises(RecordError, match=reason):
            read_record(mat_record(tmp_path, saved(variables), 1, 3))
    raw = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM" + b"\x89HDF\r\n\x1a\n"
    with pytest.raises(RecordError, match=r"version 7\.3 \(HDF5\)"):
        read_record(mat_record(tmp_path, raw, 1, 3))
    for fmt in ("16x2+24", "16:1+24"):
        with pytest.raises(RecordError, match="several samples per frame, or a skew, for the matrix"):
            read_record(mat_record(tmp_path, saved({"val": np.ones((1, 4))}), 1, 2, fmt=fmt))


def test_a_large_file_is_read_as_far_as_declared(tmp_path, rng):
    x = ecg_like(rng)
    path = write_record(tmp_path, "r", x, mat=True)
    file = path.with_suffix(".mat")
    head = bytearray(file.read_bytes())
    head[8:12] = struct.pack("<i", 1 << 30)
    file.write_bytes(head)
    with open(file, "r+b") as f:
        f.truncate(24 + 24 * (1 << 30))
    np.testing.assert_array_equal(read_record(path).samples, x)
    assert read_record(path).leads == list(LEADS)
