"""Signal files: every format decoded as signal(5) defines it, its own missing code, only the bytes declared."""

import errno
import io
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_records import wfdb
from wfdb_encode import BITS, MISSING, encode, interleave, write

from physioclr.data import wfdb_formats
from physioclr.data.wfdb_source import RecordError, read_record, scan

FLAC = {508: ("PCM_S8", 8), 516: ("PCM_16", 16), 524: ("PCM_24", 24)}


def values_of(rng, fmt, n, missing=True):
    top = 1 << BITS[fmt] - 1
    x = rng.integers(-top + 1, top, n)
    if missing and n > 4:
        x[rng.integers(0, n, n // 5)] = -top
    return x


def truth_of(values, fmt, gain=200.0, baseline=0.0):
    """By the definition: (value - baseline) / gain mV, missing where the value is the format's code."""
    x = np.asarray(values, np.float64)
    return np.where(x == MISSING[fmt], np.nan, (x - baseline) / gain)


# ---- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", BITS)
@pytest.mark.parametrize(("n_signals", "frames"), [(1, 1), (1, 2), (2, 7), (3, 1), (3, 101), (12, 500), (5, 4001)])
def test_every_format_by_its_definition(tmp_path, rng, fmt, n_signals, frames):
    x = values_of(rng, fmt, n_signals * frames).reshape(frames, n_signals)
    lines = "".join(f"r.dat {fmt} {100 + k}({k})/mV 12 0 0 0 0 L{k}\n" for k in range(n_signals))
    path = write(tmp_path, "r", f"r {n_signals} 250 {frames}\n{lines}", r_dat=encode(fmt, x.reshape(-1)))
    record = read_record(path)
    truth = [truth_of(x[:, k], fmt, 100 + k, k) for k in range(n_signals)]
    np.testing.assert_allclose(record.millivolts(), truth, rtol=2e-7)
    assert record.samples.dtype == (np.int16 if BITS[fmt] <= 16 or np.abs(x).max() < 32768 else np.float32)


@pytest.mark.parametrize("fmt", BITS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 11, 4095, 4096, 4097])
def test_length_not_stated(tmp_path, rng, fmt, n):
    """Zero, or no number at all, stands for what the file holds; a last group need not be full."""
    x = values_of(rng, fmt, n)
    if fmt == 310 and n % 3 == 2:  # two samples take the four bytes that three do
        x = np.append(x, 0)
    for first_line in ("r 1 250 0", "r 1 250", "r 1 250 0 99:99 1-45-19"):
        path = write(tmp_path, "r", f"{first_line}\nr.dat {fmt} 200/mV\n", r_dat=encode(fmt, x))
        np.testing.assert_allclose(read_record(path).millivolts(), [truth_of(x, fmt)], rtol=2e-7)


@settings(max_examples=150, deadline=None)
@given(
    fmt=st.sampled_from(["16", "24", "32", "61", "80", "160", "212", "310", "311"]),
    raw=st.binary(min_size=24, max_size=300),
    n_signals=st.integers(1, 3),
)
def test_any_bytes_as_wfdb(tmp_path_factory, fmt, raw, n_signals):
    """wfdb's samples; its p_signal has other faults, so that the digital ones are the oracle."""
    if fmt == "311":  # the two bits that the format does not use: wfdb takes one of them for a sign
        raw = bytes(b & 0x3F if i % 4 == 3 else b for i, b in enumerate(raw))
    frames = {"16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3}
    t = int(len(raw) // 12 * 12 / frames[fmt]) // n_signals
    lines = "".join(f"r.dat {fmt} 1(0)/mV 12 0 0 0 0 L{k}\n" for k in range(n_signals))
    path = write(tmp_path_factory.mktemp("r"), "r", f"r {n_signals} 250 {t}\n{lines}", r_dat=raw)
    theirs = wfdb.rdrecord(str(path), physical=False).d_signal.T
    np.testing.assert_allclose(
        read_record(path).millivolts(), np.where(theirs == MISSING[int(fmt)], np.nan, theirs.astype(float)), rtol=1e-7
    )


def test_pieces(tmp_path, rng, monkeypatch):
    """A file is read in pieces; where they end does not show."""
    for fmt in (16, 80, 212):
        for n_signals, frames in ((1, 1001), (3, 333), (7, 50)):
            x = values_of(rng, fmt, n_signals * frames).reshape(frames, n_signals)
            lines = f"r.dat {fmt} 1/mV\n" * n_signals
            path = write(tmp_path, "r", f"r {n_signals} 250 {frames}\n{lines}", r_dat=encode(fmt, x.reshape(-1)))
            whole = read_record(path).samples
            for piece in (1, 2, 8, 30, 1000):
                monkeypatch.setattr(wfdb_formats, "PIECE", piece)
                np.testing.assert_array_equal(read_record(path).samples, whole)
            monkeypatch.undo()


def test_missing_codes_by_hand(tmp_path):
    """One present and one missing sample of each format, as bytes."""
    raw = {16: "0100 0080", 24: "010000 000080", 32: "01000000 00000080", 61: "0001 8000", 80: "81 00"}
    raw |= {160: "0180 0000", 212: "01 80 00", 310: "0200 0004", 311: "01 00 08 00"}
    for fmt, text in raw.items():
        path = write(tmp_path, "r", f"r 1 250 2\nr.dat {fmt} 1/mV\n", r_dat=bytes.fromhex(text))
        np.testing.assert_array_equal(read_record(path).millivolts(), [[1.0, np.nan]])


# ---- format 8 -----------------------------------------------------------------------------------------------------


def test_differences_begin_at_the_initial_value(tmp_path):
    """100, then +0 +5 -3 +1: 100 105 102 103 units; at 200 per mV with a baseline of 50: 0.25 mV and so on."""
    raw = encode(8, [0, 5, -3, 1])
    for line, units in (
        ("r.dat 8 200(50)/mV 10 0 100 0 0 I", [100, 105, 102, 103]),
        ("r.dat 8 200(50)/mV 10 70", [70, 75, 72, 73]),  # without an initial value: the ADC's zero
        ("r.dat 8 200/mV 10 50 100 0 0 I", [100, 105, 102, 103]),  # the baseline: the ADC's zero
        ("r.dat 8 200(50)/mV 10 0 +100", [100, 105, 102, 103]),
    ):
        path = write(tmp_path, "r", f"r 1 250 4\n{line}\n", r_dat=raw)
        np.testing.assert_allclose(read_record(path).millivolts()[0], (np.array(units) - 50) / 200, rtol=1e-6)


def test_no_difference_is_missing_and_sums_may_leave_16_bits(tmp_path):
    steps = [0, *[-128] * 300, *[127] * 300]
    path = write(tmp_path, "r", "r 1 250 601\nr.dat 8 1/mV 10 0 5 0 0 I\n", r_dat=encode(8, steps))
    np.testing.assert_array_equal(read_record(path).millivolts()[0], 5 + np.cumsum(steps))
    assert (5 + np.cumsum(steps)).min() < -32768


def test_differences_of_two_signals_with_several_samples_per_frame(tmp_path):
    """Frame by frame: two of the first, one of the second. The first: 10 11 13 16, the second -5 -9."""
    raw = encode(8, [0, 1, 0, 2, 3, -4])
    lines = "r.dat 8x2 1/mV 10 0 10 0 0 I\nr.dat 8x2 1/mV 10 0 -5 0 0 II\n"
    path = write(tmp_path, "r", f"r 2 125 1\n{lines}", r_dat=encode(8, [0, 1, 0, -4]))
    np.testing.assert_array_equal(read_record(path).millivolts(), [[10, 11], [-5, -9]])
    lines = "r.dat 8x2 1/mV 10 0 10 0 0 I\nr.dat 8 1/mmHg 10 0 -5 0 0 ABP\n"
    path = write(tmp_path, "r", f"r 2 125 2\n{lines}", r_dat=raw)
    np.testing.assert_array_equal(read_record(path).millivolts(), [[10, 11, 13, 16]])


# ---- FLAC ---------------------------------------------------------------------------------------------------------


def write_flac(path, x, subtype, bits):
    soundfile = pytest.importorskip("soundfile")
    wide = (np.asarray(x, np.int64) << 32 - bits).astype(np.int32)  # left-justified, as libsndfile takes them
    soundfile.write(path, wide, 96000, subtype=subtype, format="FLAC")


@pytest.mark.parametrize("fmt", FLAC)
@pytest.mark.parametrize("length", ["700", "0", ""])
def test_flac(tmp_path, rng, fmt, length):
    subtype, bits = FLAC[fmt]
    top = 1 << bits - 1
    x = rng.integers(-top + 1, top, (700, 3))
    x[100:120, 1] = -top
    lines = "".join(f"r.flac {fmt} {50 + k}(-3)/mV 12 0 0 0 0 L{k}\n" for k in range(3))
    path = write(tmp_path, "r", f"r 3 250 {length}\n{lines}")
    write_flac(tmp_path / "r.flac", x, subtype, bits)
    truth = np.where(x == -top, np.nan, (x + 3) / (50 + np.arange(3.0))).T
    np.testing.assert_allclose(read_record(path).millivolts(), truth, rtol=2e-7)


def test_flac_with_several_samples_per_frame_and_skew(tmp_path):
    x = np.arange(12).reshape(6, 2)
    path = write(tmp_path, "r", "r 2 125 3\nr.dat 516x2:1 1/mV\nr.dat 516x2 1/mV\n")
    write_flac(tmp_path / "r.dat", x, "PCM_16", 16)
    record = read_record(path)
    np.testing.assert_array_equal(record.millivolts(), [[2, 4, 6, 8, 10, np.nan], [1, 3, 5, 7, 9, 11]])
    assert record.fs == 250


def test_flac_that_cannot_be_read(tmp_path, rng):
    x = rng.integers(-500, 500, (3000, 2))
    path = write(tmp_path, "r", "r 2 250 3000\nr.dat 516 1/mV\nr.dat 516 1/mV\n")
    write_flac(tmp_path / "r.dat", x, "PCM_16", 16)
    whole = (tmp_path / "r.dat").read_bytes()
    for raw, reason in (
        (b"", "not a readable FLAC"),
        (bytes(100), "not a readable FLAC"),
        (whole[: len(whole) // 2], "truncated|not a readable FLAC"),
    ):
        (tmp_path / "r.dat").write_bytes(raw)
        with pytest.raises(RecordError, match=reason):
            read_record(path)
    write_flac(tmp_path / "r.dat", x[:, :1], "PCM_16", 16)
    with pytest.raises(RecordError, match="1 channels, the header has 2 signals"):
        read_record(path)
    write_flac(tmp_path / "r.dat", x, "PCM_24", 24)
    with pytest.raises(RecordError, match="PCM_24, the header says format 516"):
        read_record(path)


@pytest.mark.parametrize("after", [0, 2, 4])
def test_a_disk_that_fails_under_flac_is_no_damage(tmp_path, rng, monkeypatch, after):
    """libsndfile takes an error of the file that it reads for its end, and the record would be "truncated"."""
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "r.dat", rng.integers(-9, 9, (300000, 1)).astype(np.int16), 96000, format="FLAC")
    path = write(tmp_path, "r", "r 1 250 300000\nr.dat 516 200/mV\n")
    assert read_record(path).samples.shape == (1, 300000)
    calls = iter(range(1000))

    class Failing(io.FileIO):
        def readinto(self, buffer):
            if next(calls) >= after:
                raise OSError(errno.EIO, "Input/output error")
            return super().readinto(buffer)

    monkeypatch.setattr(wfdb_formats, "open", lambda fd, *_, **__: Failing(fd, "rb"), raising=False)
    with pytest.raises(OSError, match="Input/output error"):
        read_record(path)


def test_flac_of_silence_without_a_length_is_bounded(tmp_path, monkeypatch):
    path = write(tmp_path, "r", "r 1 250\nr.dat 516 1/mV\n")
    write_flac(tmp_path / "r.dat", np.zeros((1 << 20, 1)), "PCM_16", 16)
    assert (tmp_path / "r.dat").stat().st_size < 20_000
    monkeypatch.setattr(wfdb_formats, "UNSTATED_SAMPLES", 1 << 16)
    with pytest.raises(RecordError, match="more than 65536 samples per signal and the header states no length"):
        read_record(path)


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [8, *BITS])
def test_no_more_is_read_than_declared(tmp_path, fmt):
    """A sparse file of a terabyte, of which the header declares 100 samples."""
    path = write(tmp_path, "r", f"r 1 250 100\nr.dat {fmt} 1/mV\n", r_dat=encode(fmt, range(1, 101)))
    with open(tmp_path / "r.dat", "r+b") as f:
        f.truncate(1 << 40)
    tracemalloc.start()
    try:
        mv = read_record(path).millivolts()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(mv[0], np.arange(1, 101) if fmt != 8 else np.cumsum(np.arange(1, 101)))
    write(tmp_path, "r", f"r 1 250\nr.dat {fmt} 1/mV\n")
    with pytest.raises(RecordError, match=r"r\.dat holds \d+ samples; a record may have"):
        read_record(path)


def test_bytes_before_the_samples(tmp_path):
    raw = b"\xff" * 24 + encode(16, [1, 2, 3, 4])
    for lines in ("r.dat 16+24 1/mV\nr.dat 16+24 1/mV\n", "r.dat 16+24 1/mV\nr.dat 16 1/mV\n"):
        path = write(tmp_path, "r", f"r 2 250 2\n{lines}", r_dat=raw)
        np.testing.assert_array_equal(read_record(path).millivolts(), [[1, 3], [2, 4]])
    write(tmp_path, "r", "r 2 250 2\nr.dat 16+24 1/mV\nr.dat 16+20 1/mV\n")
    with pytest.raises(RecordError, match=r"several offsets for r\.dat"):
        read_record(path)
    write(tmp_path, "r", "r 1 250 2\nr.dat 212+1 1/mV\n", r_dat=b"\xff" + encode(212, [-3, 2047]))
    np.testing.assert_array_equal(read_record(path).millivolts(), [[-3, 2047]])


def test_more_signal_lines_than_announced(tmp_path):
    for fmt in (16, 212):
        lines = f"r.dat {fmt} 1/mV\nr.dat {fmt} 1/mV\nabsent.dat {fmt} 1/mV\n"
        path = write(tmp_path, "r", f"r 2 250 2\n{lines}", r_dat=encode(fmt, [1, 2, 3, 4]))
        np.testing.assert_array_equal(read_record(path).millivolts(), [[1, 3], [2, 4]])


def test_files_of_different_formats_and_lengths(tmp_path):
    lines = "a.dat 16 1/mV 16 0 0 0 0 I\nb.dat 212 1/mV 16 0 0 0 0 II\n"
    files = {"a_dat": encode(16, [1, 2, 3]), "b_dat": encode(212, [4, 5, -2048, 7])}
    path = write(tmp_path, "r", f"r 2 250 3\n{lines}", **files)
    np.testing.assert_array_equal(read_record(path).millivolts(), [[1, 2, 3], [4, 5, np.nan]])
    write(tmp_path, "r", f"r 2 250\n{lines}")
    with pytest.raises(RecordError, match="its signal files have 3, 4 samples"):
        read_record(path)
    write(tmp_path, "r", "r 2 250 1\na.dat 16 1/mV\na.dat 212 1/mV\n")
    with pytest.raises(RecordError, match=r"several formats for a\.dat"):
        read_record(path)


def test_signals_without_a_file(tmp_path):
    """ "~" stands for a signal that is missing throughout."""
    lines = "r.dat 16 1/mV 16 0 0 0 0 I\n~ 0 1/mV 16 0 0 0 0 II\n"
    path = write(tmp_path, "r", f"r 2 250 2\n{lines}", r_dat=encode(16, [1, 2]))
    np.testing.assert_array_equal(read_record(path).millivolts(), [[1, 2], [np.nan, np.nan]])
    write(tmp_path, "r", "r 1 250 2000000000\n~ 0 1/mV 16 0 0 0 0 II\n")
    with pytest.raises(RecordError, match="none of its signals in volts has a file"):
        read_record(path)


@pytest.mark.parametrize("fmt", BITS)
def test_truncated(tmp_path, rng, fmt):
    raw = encode(fmt, values_of(rng, fmt, 300))
    for n in (0, 1, len(raw) // 2, len(raw) - 1):
        path = write(tmp_path, "r", "r 3 250 100\n" + f"r.dat {fmt} 1/mV\n" * 3, r_dat=raw[:n])
        with pytest.raises(RecordError, match=r"r\.dat is truncated: it holds \d+ of 100 samples per signal"):
            read_record(path)


def test_names_of_files_in_another_case(tmp_path):
    """As a card written under DOS and copied: R.HEA and R.DAT, and the header says r.dat."""
    path = write(tmp_path, "R", "r 1 250 2\nr.dat 16 1/mV\n", R_DAT=encode(16, [1, 2]))
    (tmp_path / "R.hea").rename(tmp_path / "R.HEA")
    for name in (path, tmp_path / "R.HEA"):
        np.testing.assert_array_equal(read_record(name).millivolts(), [[1, 2]])


def test_what_the_system_refuses_is_no_fault_of_the_record(tmp_path, monkeypatch):
    path = write(tmp_path, "r", "r 1 250 2\nr.dat 16 1/mV\n", r_dat=encode(16, [1, 2]))
    opened = wfdb_formats.open_file

    def refuse(name):
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(wfdb_formats, "open_file", refuse)
    with pytest.raises(PermissionError):
        read_record(path)
    monkeypatch.setattr(wfdb_formats, "open_file", opened)
    assert read_record(path).samples.shape == (1, 2)


def test_frames_are_interleaved_as_the_helper_says():
    assert interleave([[1, 2, 3, 4], [5, 6]], [2, 1], 2) == [1, 2, 5, 3, 4, 6]


# ---- native code --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 31, 5000, 32767, 32768, 70001])
@pytest.mark.parametrize("span", [1, 300, 32768])
def test_what_the_samples_of_a_row_are(rng, n, span):
    x = rng.integers(-span, span, (3, n)).astype(np.int16)
    x[0, rng.integers(0, max(n, 1), n // 3)] = -32768
    x[2] = -32768
    baseline = np.array([0.0, 1.0, -32768.0])
    rows = scan(x, baseline)
    for k in range(3):
        present = x[k][x[k] != -32768]
        assert rows.low[k] == (present.min() if len(present) else 32767)
        assert rows.high[k] == (present.max() if len(present) else -32768)
        assert rows.missing[k] == n - len(present)
        assert rows.zeros[k] == (0 if k == 2 else np.count_nonzero(x[k] == baseline[k]))
    assert scan(x, np.array([0.5, 40000.0, np.inf])).zeros == (0, 0, 0)


def test_a_file_that_shrinks_or_fails_while_it_is_read(tmp_path, monkeypatch):
    """The file holds enough when it is opened, and not when it is read."""
    path = write(tmp_path, "r", "r 2 250 100000\nr.dat 16\nr.dat 16\n", r_dat=b"\1\0" * 200000)
    real = wfdb_formats._Columns.read

    def shrunk(self, *arguments):
        os.truncate(tmp_path / "r.dat", 400000 - 10)
        return real(self, *arguments)

    with monkeypatch.context() as m:
        m.setattr(wfdb_formats._Columns, "read", shrunk)
        with pytest.raises(RecordError, match=r"r\.dat is truncated: 10 of its bytes are gone"):
            read_record(path)

    def closed(self, file, *arguments):
        return real(self, 1 << 20, *arguments)

    (tmp_path / "r.dat").write_bytes(b"\1\0" * 200000)
    monkeypatch.setattr(wfdb_formats._Columns, "read", closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_record(path)
