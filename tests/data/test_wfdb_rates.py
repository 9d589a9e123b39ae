"""Signals at rates of their own, skew, units, gains: what a header says of the samples."""

import numpy as np
import pytest
from wfdb_encode import BITS, encode, interleave, write
from wfdb_files import LEADS, ecg_like, write_record

import physioclr as pc
from physioclr.data.standard import standardise
from physioclr.data.wfdb_source import RecordError, read_header, read_record

# ---- several samples per frame ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [16, 24, 61, 80, 160, 212, 310, 311])
@pytest.mark.parametrize("per_frame", [(4, 4), (2, 2, 2), (8, 8, 8)])
def test_every_sample_of_a_frame_is_kept(tmp_path, rng, fmt, per_frame):
    """MIMIC's way: frames of 62.5 Hz with four samples of each ECG lead are leads of 250 Hz."""
    n, frames = per_frame[0], 250
    top = 1 << BITS[fmt] - 1
    x = [rng.integers(-top + 1, top, frames * n) for _ in per_frame]
    x[1][13] = -top  # missing: alone, not the average of its frame
    lines = "".join(f"r.dat {fmt}x{n} 100(5)/mV 12 0 0 0 0 {lead}\n" for lead, _ in zip(LEADS, per_frame, strict=False))
    raw = encode(fmt, interleave(x, per_frame, frames))
    record = read_record(write(tmp_path, "r", f"r {len(x)} 62.5 {frames}\n{lines}", r_dat=raw))
    truth = (np.array(x, float) - 5) / 100
    truth[1, 13] = np.nan
    assert record.fs == 62.5 * n and record.own_fs == (62.5 * n,) * len(x)
    np.testing.assert_allclose(record.millivolts(), truth, rtol=2e-7)


def test_r_peaks_keep_height_and_place(tmp_path, rng):
    """The averages of frames lose 3 to 12 % of an R peak: each must be what was written."""
    x = ecg_like(rng, 2, 5000)
    raw = encode(16, interleave(x, (4, 4), 1250))
    lines = "r.dat 16x4 1000/mV 16 0 0 0 0 I\nr.dat 16x4 1000/mV 16 0 0 0 0 II\n"
    record = read_record(write(tmp_path, "r", f"r 2 125 1250\n{lines}", r_dat=raw))
    np.testing.assert_array_equal(record.samples, x)
    assert record.fs == 500


@pytest.mark.parametrize(("slow", "fast"), [(1, 2), (2, 4), (1, 4), (3, 4), (2, 5)])
def test_slower_leads_are_resampled_to_the_fastest(tmp_path, slow, fast):
    """Two 3 Hz sines of one phase, at two rates: the same values at the higher rate, and the record says which."""
    base, seconds = 125, 8
    t = [np.arange(base * n * seconds) / (base * n) for n in (slow, fast)]
    x = [np.rint(8000 * np.sin(2 * np.pi * 3 * s)).astype(int) for s in t]
    x[0] = x[0] + 4000
    lines = f"r.dat 16x{slow} 8000(4000)/mV 16 0 0 0 0 I\nr.dat 16x{fast} 8000/mV 16 0 0 0 0 II\n"
    raw = encode(16, interleave(x, (slow, fast), base * seconds))
    record = read_record(write(tmp_path, "r", f"r 2 {base} {base * seconds}\n{lines}", r_dat=raw))
    mv = record.millivolts()
    assert record.fs == base * fast and record.own_fs == (base * slow, base * fast)
    assert mv.shape == (2, base * fast * seconds)
    np.testing.assert_array_equal(mv[1], (x[1] / 8000).astype(np.float32))
    inside = slice(base * fast // 2, -base * fast // 2)
    np.testing.assert_allclose(mv[0, inside], np.sin(2 * np.pi * 3 * t[1])[inside], atol=3e-3)


def test_a_gap_of_a_slower_lead_stays_a_gap(tmp_path):
    slow, fast = np.full(500, 100), np.full(1000, 200)
    slow[100:150] = -32768
    lines = "r.dat 16 100/mV 16 0 0 0 0 I\nr.dat 16x2 100/mV 16 0 0 0 0 II\n"
    raw = encode(16, interleave([slow, fast], (1, 2), 500))
    mv = read_record(write(tmp_path, "r", f"r 2 250 500\n{lines}", r_dat=raw)).millivolts()
    missing = np.flatnonzero(np.isnan(mv[0]))
    assert missing.min() >= 199 and missing.max() <= 300 and len(missing) >= 100
    np.testing.assert_allclose(mv[0, ~np.isnan(mv[0])], 1.0, atol=2e-3)
    assert not np.isnan(mv[1]).any()


def test_the_rate_is_that_of_the_ecg(tmp_path):
    """A pressure at four times the rate makes no ECG of 1000 Hz, and takes its places in the frames."""
    lines = "r.dat 16x4 10/mmHg 16 0 0 0 0 ABP\nr.dat 16 100/mV 16 0 0 0 0 II\n"
    raw = encode(16, interleave([range(1, 41), range(100, 110)], (4, 1), 10))
    record = read_record(write(tmp_path, "r", f"r 2 250 10\n{lines}", r_dat=raw))
    assert record.fs == 250 and record.leads == ["II"] and record.left_out == ("ABP (mmHg)",)
    np.testing.assert_allclose(record.millivolts(), [np.arange(100, 110) / 100], rtol=1e-6)


def test_the_rate_that_counts_is_checked(tmp_path):
    raw = encode(16, range(100))
    for frames, n, reason in (("10", 4, "40 Hz"), ("2000", 4, "8000 Hz"), ("5000", 1, "5000 Hz")):
        path = write(tmp_path, "r", f"r 1 {frames} 5\nr.dat 16x{n} 100/mV\n", r_dat=raw)
        with pytest.raises(RecordError, match=f"the sampling rate is {reason}"):
            read_record(path)
    assert read_record(write(tmp_path, "r", "r 1 0.5 1\nr.dat 16x100 100/mV\n", r_dat=raw)).fs == 50


def test_twelve_leads_in_frames_go_into_a_store(tmp_path, rng):
    """prepare: the samples of format 16x2 are those of format 16, unit for unit."""
    x = ecg_like(rng)
    write_record(tmp_path / "src", "plain", x)
    lines = "".join(f"f.dat 16x2 1000(0)/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    raw = encode(16, interleave(x, (2,) * 12, 2500))
    write(tmp_path / "src", "framed", f"framed 12 250 2500\n{lines}", f_dat=raw)
    pc.data.prepare(tmp_path / "src", tmp_path / "store")
    store = pc.data.open_store(tmp_path / "store")
    assert list(store.table["record_id"]) == ["framed", "plain"]
    np.testing.assert_array_equal(store.signal(0), store.signal(1))
    np.testing.assert_array_equal(store.signal(0), x)


# ---- skew ---------------------------------------------------------------------------------------------------------


def test_skew_counts_samples_of_its_signal(tmp_path):
    """Sample 0 of a signal with skew s is its sample s in the file; what the file lacks is missing."""
    raw = encode(16, interleave([range(10, 20), range(50, 60)], (2, 2), 5))
    path = write(tmp_path, "r", "r 2 125 5\nr.dat 16x2:3 1/mV\nr.dat 16x2 1/mV\n", r_dat=raw)
    nan = [np.nan] * 3
    np.testing.assert_array_equal(read_record(path).millivolts(), [[*range(13, 20), *nan], range(50, 60)])
    write(tmp_path, "r", "r 2 125 3\nr.dat 16x2:3 1/mV\nr.dat 16x2 1/mV\n")  # the file has more: nothing is missing
    np.testing.assert_array_equal(read_record(path).millivolts(), [range(13, 19), range(50, 56)])
    write(tmp_path, "r", "r 2 125 5\nr.dat 16x2:100000000 1/mV\nr.dat 16x2 1/mV\n")
    np.testing.assert_array_equal(read_record(path).millivolts(), [[np.nan] * 10, range(50, 60)])


@pytest.mark.parametrize("fmt", [8, 32, 80, 212])
def test_skew_in_other_formats(tmp_path, fmt):
    raw = encode(fmt, interleave([[1, 2, 3, 4], [10, 20, 30, 40]], (1, 1), 4))
    path = write(tmp_path, "r", f"r 2 250 4\nr.dat {fmt} 1/mV\nr.dat {fmt}:1+0 1/mV\n", r_dat=raw)
    rows = [[1, 2, 3, 4], [20, 30, 40, np.nan]] if fmt != 8 else [[1, 3, 6, 10], [30, 60, 100, np.nan]]
    np.testing.assert_array_equal(read_record(path).millivolts(), rows)


# ---- units and gains ----------------------------------------------------------------------------------------------

UNITS = {"mV": 1, "mv": 1, "MV": 1, "millivolts": 1, "uV": 1e-3, "UV": 1e-3, "µV": 1e-3, "μV": 1e-3, "µv": 1e-3}
UNITS |= {"microvolt": 1e-3, "V": 1e3, "v": 1e3, "Volts": 1e3, "nV": 1e-6}


@pytest.mark.parametrize("fmt", [16, 24, 212])
@pytest.mark.parametrize("unit", UNITS)
def test_units_of_voltage(tmp_path, fmt, unit):
    raw = encode(fmt, [1, -2, 3])
    for encoding in ("utf-8", "latin-1"):
        if encoding == "latin-1" and "μ" in unit:  # the Greek letter is not in it
            continue
        header = f"r 1 250 3\nr.dat {fmt} 4(1)/{unit} 12 0 0 0 0 I\n".encode(encoding)
        mv = read_record(write(tmp_path, "r", header, r_dat=raw)).millivolts()
        np.testing.assert_allclose(mv[0], np.array([0, -3, 2]) / 4 * UNITS[unit], rtol=1e-6)


def test_units_in_two_encodings_of_one_header(tmp_path):
    lines = b"r.dat 16 1/\xc2\xb5V 16 0 0 0 0 I\nr.dat 16 1/\xb5V 16 0 0 0 0 II\n# M\xfcller\n"
    record = read_record(write(tmp_path, "r", b"r 2 250 1\n" + lines, r_dat=encode(16, [1000, 2000])))
    np.testing.assert_allclose(record.millivolts(), [[1], [2]], rtol=1e-6)
    assert record.comments == ["Müller"]


@pytest.mark.parametrize("fmt", [16, 212])
@pytest.mark.parametrize("unit", ["mmHg", "adu", "NU", "pm", "bpm", "%", "mVolume", "mV/s", "C"])
def test_other_units_are_no_leads(tmp_path, fmt, unit):
    lines = f"r.dat {fmt} 1/{unit} 12 0 0 0 0 X\nr.dat {fmt} 1/mV 12 0 0 0 0 II\nr.dat {fmt} 1/{unit}\n"
    record = read_record(write(tmp_path, "r", f"r 3 250 1\n{lines}", r_dat=encode(fmt, [7, 8, 9])))
    assert record.leads == ["II"] and record.left_out == (f"X ({unit})", f"? ({unit})")
    np.testing.assert_array_equal(record.millivolts(), [[8]])
    lines = f"r.dat {fmt} 1/{unit} 12 0 0 0 0 X\n"
    write(tmp_path, "r", f"r 1 250 1\n{lines}")
    with pytest.raises(RecordError, match="no signal in volts: X"):
        read_record(tmp_path / "r")


def test_a_standard_lead_that_is_no_voltage_is_named(tmp_path, rng):
    x = ecg_like(rng)
    path = write_record(tmp_path, "r", x, gain=["1000/mV"] * 11 + ["1000/adu"])
    with pytest.raises(RecordError, match=r"lacks V6; not in volts: V6 \(adu\)"):
        standardise(read_record(path), 500.0)


GAINS = {  # gain field and resolution, zero behind it -> units per mV, baseline
    "1E3/mV": (1000, 0),
    "1e3(7)/mV": (1000, 7),
    "+100": (100, 0),
    "-100(+3)": (-100, 3),
    ".5e1/mV": (5, 0),
    "200()/mV": (200, 0),
    "200()/mV 12 9": (200, 9),
    "200(4)/mV 12 9": (200, 4),
    "200 12 9": (200, 9),
    "200 12 -9 0 0 0": (200, -9),
    "0/mV 12 0": (200, 0),
    "0(3) 12 0 0 0 512 II": (200, 3),
    "": (200, 0),
    "/mV": (200, 0),
    "200/mV 12 +9.0 x": (200, 9),
}


@pytest.mark.parametrize("fmt", [8, 16, 32, 80, 212, 310])
@pytest.mark.parametrize("field", GAINS)
def test_gain_and_baseline(tmp_path, fmt, field):
    gain, baseline = GAINS[field]
    units = np.array([1, -2, 3])
    if fmt == 8:  # from the initial value, which is the ADC's zero where there is none
        zero = field.split()[2] if len(field.split()) > 2 else "0"
        initial = float(field.split()[3]) if len(field.split()) > 3 and field.split()[3] != "x" else float(zero)
        units = initial + np.cumsum(units)
    raw = encode(fmt, [1, -2, 3])
    mv = read_record(write(tmp_path, "r", f"r 1 3.6e2 3\nr.dat {fmt} {field}\n", r_dat=raw)).millivolts()
    np.testing.assert_allclose(mv[0], (units - baseline) / gain, rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "fs", "n"),
    [("r 1 3.6e2 2", 360, 2), ("r 1 +500 +2", 500, 2), ("r 1 250/128(10) 2", 250, 2), ("r 1", 250, 0)],
)
def test_rate_and_length(tmp_path, line, fs, n):
    header = read_header(write(tmp_path, "r", f"{line}\nr.dat 16\n"))
    assert (header.fs, header.n_samples) == (fs, n)


def test_what_no_ecg_has_is_refused(tmp_path):
    for field, reason in (
        ("1e-9/mV", r"1e\+09 mV per unit"),
        ("1e15/mV", "1e-15 mV per unit"),
        ("200(5e9)/mV", "beyond"),
        ("200/mV 12 1e300", "beyond"),
    ):
        path = write(tmp_path, "r", f"r 1 250 3\nr.dat 16 {field}\n", r_dat=bytes(6))
        with pytest.raises(RecordError, match=reason) as e:
            read_record(path)
        assert "\n" not in str(e.value)


def test_large_values_with_a_large_baseline_lose_nothing(tmp_path):
    """32 bits do not fit single precision: the baseline comes off before the rounding."""
    units = np.array([2_000_000_001, 2_000_000_005, 1_999_999_996])
    raw = encode(32, units)
    mv = read_record(write(tmp_path, "r", "r 1 250 3\nr.dat 32 2(2000000000)/mV\n", r_dat=raw)).millivolts()
    np.testing.assert_array_equal(mv, [[0.5, 2.5, -2.0]])
