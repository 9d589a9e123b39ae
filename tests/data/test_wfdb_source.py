"""Reading WFDB files: our reader against wfdb, headers with defects, and files that must be refused."""

import os
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from real_records import DATA, wfdb
from wfdb_files import LEADS, ecg_like, write_record

import physioclr as pc
from physioclr.data.wfdb_source import RecordError, find_records, read_header, read_record


def assert_as_wfdb(path, root=None):
    """The oracle: wfdb's physical signal, in mV."""
    record, truth = read_record(path, root), wfdb.rdrecord(str(path))
    np.testing.assert_allclose(record.millivolts(), truth.p_signal.T, rtol=1e-6, atol=1e-6)
    assert record.leads == truth.sig_name
    assert record.fs == truth.fs
    return record


# ---- samples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ludb/2", "ludb/105", "mitdb/119m00", "mitdb/208m10"])
def test_real_records_as_wfdb(name):
    assert assert_as_wfdb(DATA / name).samples.dtype == np.int16


def test_sample_records_as_wfdb():
    s = pc.data.sample()
    for record_id in s.record_ids[::20]:
        assert_as_wfdb(s.path / record_id)


@pytest.mark.parametrize("mat", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (12, 5000), (15, 129)])
def test_written_records_as_wfdb(tmp_path, rng, mat, shape):
    x = rng.integers(-32767, 32768, shape).astype(np.int16)
    leads = [f"lead {i}" for i in range(shape[0])]
    write_record(tmp_path, "r", x, leads=leads, mat=mat, gain="200(-13)/mV")
    np.testing.assert_array_equal(assert_as_wfdb(tmp_path / "r").samples, x)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    x=hnp.arrays(np.int16, st.tuples(st.integers(1, 5), st.integers(1, 40)), elements=st.integers(-32768, 32767)),
    gain=st.sampled_from(["1000/mV", "0", "409.6(3)/uV", "4.88(-100)/V", "2e2/mV", "1000.0(0)/mv"]),
    mat=st.booleans(),
)
def test_any_samples_as_wfdb(tmp_path, x, gain, mat):
    write_record(tmp_path, "h", x, leads=[f"L{i}" for i in range(len(x))], gain=gain, mat=mat)
    ours, truth = read_record(tmp_path / "h"), wfdb.rdrecord(str(tmp_path / "h"))
    unit = {"uV": 1e-3, "V": 1e3}.get(gain.partition("/")[2], 1.0)
    np.testing.assert_allclose(ours.millivolts(), truth.p_signal.T * unit, rtol=1e-5, atol=1e-9)


def test_several_signal_files_and_formats(tmp_path, rng):
    """PTB's records are two files of format 16."""
    x = rng.integers(-2000, 2000, (5, 300)).astype(np.int16)
    gains = ["1000/mV", "1000/mV", "500/mV", "250(7)/mV", "1000/uV"]
    write_record(tmp_path, "a", x[:2], leads=["I", "II"], gain=gains[:2])
    write_record(tmp_path, "b", x[2:], leads=["V1", "V2", "V3"], gain=gains[2:])
    lines = [(tmp_path / f"{n}.hea").read_text().splitlines() for n in "ab"]
    (tmp_path / "ab.hea").write_text("\n".join(["ab 5 500 300", *lines[0][1:3], *lines[1][1:4]]) + "\n")
    np.testing.assert_array_equal(read_record(tmp_path / "ab").samples, x)
    np.testing.assert_allclose(read_record(tmp_path / "ab").scale, [1e-3, 1e-3, 2e-3, 4e-3, 1e-6])


def test_missing_samples_are_nan(tmp_path, rng):
    x = ecg_like(rng)
    x[3, 100:200] = -32768
    write_record(tmp_path, "r", x)
    mv = assert_as_wfdb(tmp_path / "r").millivolts()
    assert np.isnan(mv[3, 100:200]).all() and np.isnan(mv).sum() == 100


def test_other_mat_files(tmp_path, rng):
    """A .mat of level 5, and one with a column per signal."""
    from scipy.io import savemat

    x = ecg_like(rng, n_samples=600)
    for name, matrix in (("five", x), ("columns", x.T)):
        write_record(tmp_path, name, x, mat=True)
        savemat(tmp_path / f"{name}.mat", {"val": matrix}, format="5" if name == "five" else "4")
        np.testing.assert_array_equal(read_record(tmp_path / name).samples, x)


def test_mat_of_floats(tmp_path, rng):
    """Whole numbers with NaN are samples with gaps; fractions and large numbers stay what they are."""
    from scipy.io import savemat

    x = ecg_like(rng, n_samples=600)
    holes = x.astype(np.float64)
    holes[2, 50:60] = np.nan
    for name, matrix, dtype in (("holes", holes, np.int16), ("fractions", holes / 3, np.float32)):
        write_record(tmp_path, name, x, mat=True)
        savemat(tmp_path / f"{name}.mat", {"val": matrix})
        record = read_record(tmp_path / name)
        assert record.samples.dtype == dtype
        np.testing.assert_allclose(record.millivolts(), matrix * 1e-3, rtol=1e-6)
    write_record(tmp_path, "large", x, mat=True)
    savemat(tmp_path / "large.mat", {"val": x.astype(np.int32) * 100})
    np.testing.assert_allclose(read_record(tmp_path / "large").millivolts(), x * 0.1, rtol=1e-6)
    savemat(tmp_path / "large.mat", {"val": np.full((12, 600), "a")})
    with pytest.raises(RecordError, match=r"not numbers|has shape"):
        read_record(tmp_path / "large")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_pipes_do_not_hang(tmp_path, rng):
    header = write_record(tmp_path, "r", ecg_like(rng))
    header.with_suffix(".dat").unlink()
    os.mkfifo(header.with_suffix(".dat"))
    with pytest.raises(RecordError, match=r"r\.dat is missing"):
        read_record(header)
    header.unlink()
    os.mkfifo(header)
    with pytest.raises(RecordError, match="not a file"):
        read_record(header)


# ---- headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first_line",
    [
        "E00015.mat 12 500 5000 05-May-2020 14:50:55",
        "r 12 500",
        "r 12 500/1000(3) 5000",
        "r 12 500.0 5000 12:33:59 12-May-2020 and more",
        "récord 12 500 5000",
    ],
)
def test_first_lines_with_defects(tmp_path, rng, first_line):
    x = ecg_like(rng)
    header = write_record(tmp_path, "r", x, first_line=first_line, mat=True)
    record = read_record(header)
    np.testing.assert_array_equal(record.samples, x)
    assert record.fs == 500 and record.leads == list(LEADS)


def test_header_in_other_encodings_and_line_ends(tmp_path, rng):
    x = ecg_like(rng)
    header = write_record(tmp_path, "r", x, line_end="\r\n", comments=("Age: 60",))
    raw = header.read_bytes()
    for text in (b"\xef\xbb\xbf" + raw, raw + b"#Hx: Ver\xe4nderung\r\n", b"# first\r\n\r\n" + raw):
        header.write_bytes(text)
        np.testing.assert_array_equal(read_record(header).samples, x)
        assert "Age: 60" in read_record(header).comments


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("r.dat 16 1000/mV 16 0 28 -1716 0 V1", "V1"),
        ("r.dat 16 1000/mV 16 0 28 -1716 0 ECG lead V1", "ECG lead V1"),
        ("r.dat 16 1000/mV 16 0 28 -1716 V1", "V1"),
        ("r.dat 16 1000/mV 16 0 V1", "V1"),
        ("r.dat 16 1000/mV 16 0 28 -1716 0", ""),
    ],
)
def test_names_of_leads(tmp_path, line, name):
    (tmp_path / "r.hea").write_text(f"r 1 500 10\n{line}\n")
    (signal,) = read_header(tmp_path / "r").signals
    assert (signal.name, signal.gain, signal.baseline) == (name, 1000.0, 0.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("r\n", "first line"),
        ("r twelve 500 5000\n", "first line"),
        ("r 0 500 5000\n", "0 signals"),
        ("r 99999999999 500 5000\n", "signals"),
        ("r 2 500 5000\nr.dat 16 1000/mV\n", "announces 2 signals and describes 1"),
        ("r 1 fast 5000\nr.dat 16 1000/mV\n", "not a number"),
        ("r 1 nan 5000\nr.dat 16 1000/mV\n", "rate or samples is not a number"),
        ("r 1 1_000 5000\nr.dat 16 1000/mV\n", "rate or samples is not a number"),
        ("r 1 1e999 5000\nr.dat 16 1000/mV\n", "sampling rate is inf"),
        ("some/../name 12\n", "'/' must end in a number of segments"),
        ("r/0 12 500 5000\n", "'/' must end in a number of segments"),
        ("r 1 1 5000\nr.dat 16 1000/mV\n", "sampling rate is 1 Hz"),
        ("r 1 500 -5\nr.dat 16 1000/mV\n", "-5 samples"),
        ("r 1 500 5000\nr.dat\n", "lacks a format"),
        ("r 1 500 5000\nr.dat 16 much/mV\n", "not a number"),
        ("r 1 500 5000\nr.dat 16 1000(x)/mV\n", "not a number"),
        ("r 1 500 5000\nr.dat 16 inf/mV\n", "not a number"),
        ("r 1 500 5000\nr.dat 16 1e999/mV\n", "not finite"),
        ("r 1 500 5000\nr.dat 16 1000(1e300)/mV\n", "beyond"),
        ("r 1 500 5000\nr.dat 16 1000/mV 16 1e300 0 0 0 I\n", "beyond"),
        ("r 1 500 5000\nr.dat 16 1000/mV 16 O 0 0 0 I\n", "not a number"),
        ("r 1 500 5000\nr.dat 16 1e-300/mV 16 0 0 0 0 V1\n", r"lead V1 has 1e\+300 mV per unit"),
        ("r 1 500 5000\nr.dat 99 1000/mV\n", "of format 99, which is not known"),
        ("r 1 500 5000\nr.dat 16:-1 1000/mV\n", "the format '16:-1' is not of the form"),
        ("r 1 500 5000\nr.dat 16x99999 1000/mV\n", "99999 samples per frame"),
        ("r/3 12 500 5000\na 100\nb 100\n", "announces 3 segments and lists 2"),
        ("r 1 500 5000\nr.dat 16 1/mmHg 16 0 0 0 0 ABP\n", r"no signal in volts: ABP \(mmHg\)"),
        ("r 1 500 5000\nr.dat 16 1000/mV\0\n", "not a text file"),
    ],
)
def test_headers_refused_with_a_reason(tmp_path, text, reason):
    (tmp_path / "r.hea").write_text(text)
    (tmp_path / "r.dat").write_bytes(bytes(10000))
    with pytest.raises(RecordError, match=reason):
        read_record(tmp_path / "r")


WORDS = [*"r r/2 r/1 1 2 12 500 r.dat ~ 16 16+24 16x2:1 212 8 311 508 1/mV 0 ( )/ mV # -1 1e9 9e99".split(), "\n"]
LINES = ["r 1 500 5", "r 2 125", "r/2 1 250 4", "r 1 500 4000000000", "r 3 1e-3 9", "s 2", "r 2", "~ 4000000000"]
LINES += [
    f"{file} {fmt} {gain} 16 {zero} 7"
    for file in ("r.dat", "~", "r.mat", "s.dat")
    for fmt in ("8", "16x9", "212:999999999", "310+3", "32x65536", "516", "24+99999999999")
    for gain, zero in (("1", "0"), ("1e-9(-3)/V", "9e9"), ("/uV", "-1.5"), ("2/x", "x"))
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from(WORDS)).map(" ".join).map(str.encode),
        st.lists(st.sampled_from(LINES), max_size=6).map("\n".join).map(str.encode),
    )
)
def test_any_header_is_read_or_refused(tmp_path, raw):
    (tmp_path / "r.hea").write_bytes(raw)
    (tmp_path / "r.dat").write_bytes(bytes(64))
    (tmp_path / "r.mat").write_bytes(bytes(64))
    (tmp_path / "s.hea").write_text("s 1 250 2\nr.dat 16 1/mV\n")
    list(find_records(tmp_path))
    try:
        record = read_record(tmp_path / "r")
        assert record.millivolts().shape == record.samples.shape == (len(record.leads), record.samples.shape[1])
    except RecordError as e:
        assert str(e) and "\n" not in str(e)


@pytest.mark.parametrize(
    "name", ["../secret.dat", "/etc/passwd", "a/../../secret.dat", "~/x.dat", "..\\secret.dat", "http://x/y.dat", ".."]
)
@pytest.mark.parametrize("fmt", ["16", "212"])
def test_header_paths_that_leave_the_folder_are_refused(tmp_path, name, fmt):
    (tmp_path / "secret.dat").write_bytes(bytes(100))
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "r.hea").write_text(f"r 1 500 10\n{name} {fmt} 1000/mV\n")
    with pytest.raises(RecordError, match="outside the folder"):
        read_record(folder / "r")


def test_header_paths_within_the_source_folder_are_read(tmp_path, rng):
    x = ecg_like(rng)
    write_record(tmp_path / "signals", "r", x)
    write_record(tmp_path / "headers", "r", x, signal_file="../signals/r.dat")
    np.testing.assert_array_equal(read_record(tmp_path / "headers" / "r", root=tmp_path).samples, x)
    with pytest.raises(RecordError, match="outside the folder"):
        read_record(tmp_path / "headers" / "r")


# ---- files that are not whole -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mat", [False, True])
@pytest.mark.parametrize("n_bytes", [0, 10, 24, 1000, 119_999])
def test_truncated_signal_file(tmp_path, rng, mat, n_bytes):
    header = write_record(tmp_path, "r", ecg_like(rng), mat=mat)
    file = header.with_suffix(".mat" if mat else ".dat")
    file.write_bytes(file.read_bytes()[:n_bytes])
    with pytest.raises(RecordError, match=r"truncated|not a readable MAT-file"):
        read_record(header)


@pytest.mark.parametrize("n_bytes", [0, 100, 40_000, 64_799])
def test_truncated_file_of_another_format(tmp_path, n_bytes):
    for suffix in (".hea", ".dat"):
        (tmp_path / f"119m00{suffix}").write_bytes((DATA / "mitdb" / f"119m00{suffix}").read_bytes())
    (tmp_path / "119m00.dat").write_bytes((tmp_path / "119m00.dat").read_bytes()[:n_bytes])
    with pytest.raises(RecordError, match=r"119m00\.dat is truncated: it holds \d+ of 21600 samples per signal"):
        read_record(tmp_path / "119m00")


def test_a_length_that_no_memory_could_hold(tmp_path):
    (tmp_path / "r.dat").write_bytes(bytes(1000))
    for fmt in ("16", "212", "24"):
        (tmp_path / "r.hea").write_text("r 12 500 900000000000\n" + f"r.dat {fmt} 1000/mV\n" * 12)
        with pytest.raises(RecordError, match="truncated"):
            read_record(tmp_path / "r")


def test_a_record_that_is_not_there_is_named_with_its_folder(tmp_path):
    with pytest.raises(RecordError, match=re.escape(f"No such file or directory ({tmp_path / 'gone'})")):
        read_record(tmp_path / "gone")


def test_missing_files(tmp_path, rng):
    header = write_record(tmp_path, "r", ecg_like(rng))
    header.with_suffix(".dat").unlink()
    with pytest.raises(RecordError, match=r"signal file r\.dat is missing"):
        read_record(header)
    with pytest.raises(RecordError, match="header cannot be read"):
        read_record(tmp_path / "absent")


def test_mat_that_does_not_fit_its_header(tmp_path, rng):
    x = ecg_like(rng)
    header = write_record(tmp_path, "r", x, mat=True)
    write_record(tmp_path / "other", "r", x[:7], leads=LEADS[:7], mat=True)
    header.with_suffix(".mat").write_bytes((tmp_path / "other" / "r.mat").read_bytes())
    with pytest.raises(RecordError, match=r"matrix in r\.mat is 7 x 5000"):
        read_record(header)


# ---- finding ------------------------------------------------------------------------------------------------------


def test_find_records(tmp_path, rng):
    x = ecg_like(rng, n_samples=100)
    for folder, name in (("", "b"), ("", "a"), ("g1", "a"), ("g1/deep", "z"), (".hidden", "x"), ("records500", "p")):
        write_record(tmp_path / folder, name, x)
    write_record(tmp_path / "records100", "p", x)
    assert list(find_records(tmp_path)) == ["a", "b", "g1/a", "g1/deep/z", "records500/p"]
    assert list(find_records(tmp_path / "records100")) == ["p"]
    with pytest.raises(ValueError, match="src is"):
        find_records(tmp_path / "absent")


def test_folder_that_cannot_be_listed(tmp_path, rng, monkeypatch):
    write_record(tmp_path / "g1", "a", ecg_like(rng, n_samples=100))
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("g1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"g1 cannot be listed: Permission denied"):
        list(find_records(tmp_path))
