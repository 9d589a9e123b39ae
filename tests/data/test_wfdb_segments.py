"""Multi-segment records: one record, segments placed in time, each with its own gain, none of them another record."""

import numpy as np
import pytest
from wfdb_encode import encode, interleave, write
from wfdb_files import LEADS, ecg_like, write_record

import physioclr as pc
from physioclr.data.wfdb_source import RecordError, find_records, read_header, read_record

NAN = np.nan


def segment(folder, name, signals, *, fmt="16", fs=250, zero=0):
    """signals: {lead: (gain field, samples)}; every signal has as many samples."""
    lines = "".join(f"{name}.dat {fmt} {gain} 16 {zero} 0 0 0 {lead}\n" for lead, (gain, _) in signals.items())
    values = [v for _, v in signals.values()]
    raw = encode(int(fmt), interleave(values, [1] * len(values), len(values[0])))
    write(folder, name, f"{name} {len(signals)} {fs} {len(values[0])}\n{lines}", **{f"{name}_dat": raw})


# ---- fixed layout -------------------------------------------------------------------------------------------------


def test_fixed_layout_with_a_gap_and_gains_of_their_own(tmp_path):
    segment(tmp_path, "a_1", {"I": ("100(10)/mV", [110, 210]), "II": ("100/mV", [0, -32768])})
    segment(tmp_path, "a_2", {"I": ("50/mV", [50, 100, 150]), "II": ("1/uV", [500, 1000, 1500])})
    write(tmp_path, "a", "a/4 2 250 9\na_1 2\n~ 3\na_2 3\n~ 1\n# <age>: 60\n")
    record = read_record(tmp_path / "a")
    truth = [[1, 2, NAN, NAN, NAN, 1, 2, 3, NAN], [0, NAN, NAN, NAN, NAN, 0.5, 1, 1.5, NAN]]
    np.testing.assert_allclose(record.millivolts(), truth, rtol=1e-6)
    assert (record.fs, record.leads, record.comments) == (250, ["I", "II"], ["<age>: 60"])
    assert record.samples.dtype == np.float32


def test_samples_stay_as_they_are_where_every_segment_has_one_gain(tmp_path, rng):
    x = rng.integers(-2000, 2000, (2, 300))
    for k, part in enumerate(np.split(x, 3, axis=1)):
        segment(tmp_path, f"s{k}", {"I": ("200(5)/mV", part[0]), "II": ("400/mV", part[1])}, fmt="212")
    write(tmp_path, "s", "s/3 2 250 300\ns0 100\ns1 100\ns2 100\n")
    record = read_record(tmp_path / "s")
    assert record.samples.dtype == np.int16
    np.testing.assert_array_equal(record.samples, x)
    np.testing.assert_allclose(record.millivolts(), [(x[0] - 5) / 200, x[1] / 400], rtol=1e-6)


def test_one_segment_and_the_two_meanings_of_100_1(tmp_path):
    segment(tmp_path, "s", {"I": ("100/mV", [100, 200])})
    write(tmp_path, "a", "100/1 1 250 2\ns 2\n")
    write(tmp_path, "b", "100/1 1 250 2\ns.dat 16 100/mV 16 0 0 0 0 I\n")
    for name in ("a", "b"):
        np.testing.assert_array_equal(read_record(tmp_path / name).millivolts(), [[1, 2]])
    assert read_header(tmp_path / "a").segments and not read_header(tmp_path / "b").segments


# ---- variable layout ----------------------------------------------------------------------------------------------


def variable(folder):
    """Two leads and a pressure; the second segment has one lead, in another order; the third both, of other units."""
    layout = "".join(f"~ 0 {g} 16 0 0 0 0 {n}\n" for n, g in (("I", "100/mV"), ("II", "100/mV"), ("ABP", "1/mmHg")))
    write(folder, "v_layout", f"v_layout 3 250 0\n{layout}# Location: ward\n")
    segment(folder, "v_1", {"I": ("100/mV", [100, 300]), "ABP": ("1/mmHg", [80, 90]), "II": ("200/mV", [200, 400])})
    segment(folder, "v_2", {"II": ("50(-50)/mV", [0, 50])})
    segment(folder, "v_3", {"II": ("10/uV", [10, 20]), "I": ("1/V", [1, 2])}, fmt="80")
    write(folder, "v", "v/5 3 250 9\nv_layout 0\nv_1 2\n~ 3\nv_2 2\nv_3 2\n")


def test_variable_layout(tmp_path):
    variable(tmp_path)
    record = read_record(tmp_path / "v")
    assert record.leads == ["I", "II"] and record.left_out == ("ABP (mmHg)",)
    truth = [[1, 3, NAN, NAN, NAN, NAN, NAN, 1000, 2000], [1, 2, NAN, NAN, NAN, 1, 2, 0.001, 0.002]]
    np.testing.assert_allclose(record.millivolts(), truth, rtol=1e-6)
    assert record.comments == ["Location: ward"]


def test_leads_of_segments_at_rates_of_their_own(tmp_path):
    """A lead at two samples per frame in one segment and one in the next: the record has the higher rate."""
    for name, fmt, raw in (("r_1", "16x2", encode(16, [100] * 400)), ("r_2", "16", encode(16, [200] * 200))):
        line = f"{name}.dat {fmt} 100/mV 16 0 0 0 0 II\n"
        write(tmp_path, name, f"{name} 1 125 200\n{line}", **{f"{name}_dat": raw})
    write(tmp_path, "r", "r/2 1 125 400\nr_1 200\nr_2 200\n")
    record = read_record(tmp_path / "r")
    assert record.fs == 250 and record.own_fs == (250,) and record.samples.shape == (1, 800)
    np.testing.assert_allclose(record.millivolts()[0], [1.0] * 400 + [2.0] * 400, atol=3e-3)


def test_leads_of_one_name_and_leads_that_the_layout_lacks(tmp_path):
    write(tmp_path, "lay", "lay 2 250 0\n~ 0 1/mV 16 0 0 0 0 V\n~ 0 1/mV 16 0 0 0 0 V\n")
    lines = "a.dat 16 1/mV 16 0 0 0 0 V\na.dat 16 1/mV 16 0 0 0 0 II\na.dat 16 1/mV 16 0 0 0 0 V\n"
    write(tmp_path, "a", f"a 3 250 1\n{lines}", a_dat=encode(16, [1, 2, 3]))
    segment(tmp_path, "b", {"V": ("1/mV", [4])})
    write(tmp_path, "r", "r/3 2 250 2\nlay 0\na 1\nb 1\n")
    record = read_record(tmp_path / "r")
    assert record.leads == ["V", "V", "II"]
    np.testing.assert_array_equal(record.millivolts(), [[1, 4], [3, NAN], [2, NAN]])


# ---- what does not fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("m/2 1 250 9\ns1 2\ns2 2\n", "announces 9 samples, its segments have 4"),
        ("m/2 1 250 5\ns1 3\ns2 2\n", "segment s1 has 2 samples, the record lists 3"),
        ("m/2 1 250 4\ns1 2\nhalf 2\n", "segment half has 125 frames per second, the record 250"),
        ("m/2 1 250 4\ns1 2\nnested 2\n", "segment nested has segments of its own"),
        ("m/2 1 250 4\ns1 2\nm 2\n", "segment m has segments of its own"),
        ("m/2 1 250 4\ns1 2\nabsent 2\n", "segment absent: the header cannot be read: No such file"),
        ("m/2 1 250 4\ns1 2\nnodata 2\n", r"segment nodata: the signal file nodata\.dat is missing"),
        ("m/2 1 250 4\ns1 2\n../x 2\n", "outside the folder"),
        ("m/2 1 250 4\ns1 2\ns2 x\n", "the segment line 's2 x' must be: name samples"),
        ("m/2 1 250 4\ns1 2\ns2 -2\n", "the segment line 's2 -2' must be: name samples"),
        ("m/2 1 250 4\ns1 2\n~\n", "lacks the length of the gap"),
        ("m/2 1 250 4\ns1 2\n", "announces 2 segments and lists 1"),
        ("m/2 1 250 4\ns1 2\ns2 0\n", "segment s2 has no samples"),
        ("m/1 1 250\n~ 4\n", "none of its segments has a signal in volts"),
        ("m/1 1 250\npressure 2\n", r"none of its segments has a signal in volts: ABP \(mmHg\)"),
        ("m/2 1 250\ns1 2\n~ 900000000000\n", "a record may have 2147483648"),
        ("m/2 1 250\ns1 2\n~ 900000000\n", "less than 1 % are in its segments"),
    ],
)
def test_segments_that_do_not_fit_are_refused(tmp_path, text, reason):
    segment(tmp_path, "s1", {"I": ("100/mV", [100, 200])})
    segment(tmp_path, "s2", {"I": ("100/mV", [100, 200])})
    segment(tmp_path, "half", {"I": ("100/mV", [100, 200])}, fs=125)
    segment(tmp_path, "nodata", {"I": ("100/mV", [100, 200])})
    segment(tmp_path, "pressure", {"ABP": ("1/mmHg", [100, 200])})
    (tmp_path / "nodata.dat").unlink()
    write(tmp_path, "nested", "nested/1 1 250 2\ns1 2\n")
    write(tmp_path, "m", text)
    with pytest.raises(RecordError, match=reason):
        read_record(tmp_path / "m")


def test_lengths_that_only_the_segments_state(tmp_path):
    segment(tmp_path, "s1", {"I": ("100/mV", [100, 200])})
    write(tmp_path, "m", "m/2 1 250\ns1\ns1 2\n")
    np.testing.assert_array_equal(read_record(tmp_path / "m").millivolts(), [[1, 2, 1, 2]])


# ---- as records of a collection -----------------------------------------------------------------------------------


def test_segments_are_no_records_of_their_own(tmp_path):
    for folder in ("", "p1/", "p1/deeper/"):
        variable(tmp_path / folder)
        segment(tmp_path / folder, "alone", {"I": ("100/mV", [1, 2])})
    write(tmp_path, "z", "# first a comment\n\nz/2 1 250 4\nalone 2\nw_1 2\n")
    segment(tmp_path, "w_1", {"I": ("100/mV", [1, 2])})
    assert list(find_records(tmp_path)) == ["v", "z", "p1/alone", "p1/v", "p1/deeper/alone", "p1/deeper/v"]


def test_a_damaged_record_of_segments_leaves_them_records(tmp_path):
    """What cannot be parsed takes nothing away."""
    segment(tmp_path, "s1", {"I": ("100/mV", [100, 200])})
    write(tmp_path, "m", "m/2 1 250 4\ns1 2\n")
    assert list(find_records(tmp_path)) == ["m", "s1"]


def test_prepare_stores_one_record(tmp_path, rng):
    """Of 12 leads in two segments with a second of gap: one row of the store, not two patients."""
    x = ecg_like(rng, n_samples=8000)
    for k, part in enumerate((x[:, :3000], x[:, 3500:])):
        write_record(tmp_path / "src", f"r_{k}", part, comments=())
    write(tmp_path / "src", "r", "r/3 12 500 8000\nr_0 3000\n~ 500\nr_1 4500\n# Age: 60\n# Dx: 426783006\n")
    report = pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert (report.n_found, report.n_records) == (1, 1)
    store = pc.data.open_store(tmp_path / "store")
    signal = store.signal(0)
    assert (signal[:, 3000:3500] == -32768).all() and store.table["age"][0] == 60
    np.testing.assert_array_equal(np.delete(signal, slice(3000, 3500), 1), np.delete(x, slice(3000, 3500), 1))
    assert list(LEADS) == read_record(tmp_path / "src" / "r").leads
