"""`read_record(in_mv=True)`: from the file to mV in one pass, the same bits as in two, and as the definition's."""

import numpy as np
import pytest
from scipy.io import savemat
from wfdb_encode import BITS, encode, interleave, write

from physioclr.data import wfdb_formats
from physioclr.data.wfdb_source import millivolts, read_record

LONG = 140_000  # samples of a lead: two leads of one gain are enough to try every value of 16 bits beforehand


def definition(x, missing, baseline, scale):
    mv = ((x.astype(np.float64) - baseline) * scale).astype(np.float32)
    mv[x == missing] = np.nan
    return mv


def bits(mv):
    """Every NaN is as good as another."""
    return np.where(np.isnan(mv), np.float32(np.nan), mv).view(np.uint32)


def gains_that_floats_miss(baseline, highest, n=4):
    """Gains of which a value of d * scale lies beside the middle of two floats: there the last bits of scale decide."""
    rng = np.random.default_rng(0)
    x = rng.integers(-highest, highest + 1, 1_000_000)
    d = (x - baseline)[x != baseline].astype(np.float64)
    middle = rng.integers(1 << 23, 1 << 24, len(d)) + 0.5
    middle *= 2.0**-20  # of two floats, in mV
    gain = np.abs(d) / middle
    scale = 1 / gain
    lo = (scale - np.float32(scale).astype(np.float64)).astype(np.float32)
    tail = (np.float32(d) * lo).astype(np.float64)
    floats = np.float32(d * np.float32(scale).astype(np.float64) + tail)  # fma(d, hi, d * lo): exact in 53 bits
    found = gain[floats != np.float32(d * scale)]
    assert len(found) >= n
    return found[:n].tolist()


@pytest.mark.parametrize("fmt", [16, 80, 212])
@pytest.mark.parametrize(("n_leads", "per_frame"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (2, 4), (2, 3)])
@pytest.mark.parametrize(
    "gains", ["200(0)", "1000(-3)", "-200(7)", "312.7(0.5)", "1e5(1048577)", "7(-4294967296)", "2e9(0)"]
)
def test_the_bits_of_the_definition(tmp_path, rng, fmt, per_frame, n_leads, gains):
    frames = {16: LONG // per_frame if n_leads == 2 else 1000, 80: 1000, 212: 17_000}[fmt]
    top = 1 << BITS[fmt] - 1
    x = [rng.integers(-top, top, frames * per_frame) for _ in range(n_leads)]
    field = f"{fmt}x{per_frame}" if per_frame > 1 else str(fmt)
    lines = "".join(f"r.dat {field} {gains}/mV 12 0 0 0 0 L{k}\n" for k in range(n_leads))
    raw = encode(fmt, interleave(x, (per_frame,) * n_leads, frames))
    path = write(tmp_path, "r", f"r {n_leads} 100 {frames}\n{lines}", r_dat=raw)
    gain, baseline = map(float, gains.rstrip(")").split("("))
    record = read_record(path, in_mv=True)
    assert record.samples.dtype == np.float32 and record.fs == 100 * per_frame
    np.testing.assert_array_equal(bits(record.samples), bits(definition(np.array(x), -top, baseline, 1 / gain)))
    np.testing.assert_array_equal(bits(read_record(path).millivolts()), bits(record.samples))
    np.testing.assert_array_equal(bits(record.millivolts()), bits(record.samples))


@pytest.mark.parametrize(("fmt", "baseline"), [(16, 0), (16, 3), (212, 0), (212, -1024)])
def test_a_gain_of_which_two_floats_miss_a_value(tmp_path, fmt, baseline):
    """Some value lies so close to the middle of two floats that only double precision tells on which side."""
    top = 1 << BITS[fmt] - 1
    x = np.tile(np.arange(-top, top), 5)  # every value, and more samples than there are values to try
    raw = encode(fmt, x)
    for gain in gains_that_floats_miss(baseline, top - 1):
        line = f"r.dat {fmt} {gain!r}({baseline})/mV 12 0 0 0 0 I\n"
        path = write(tmp_path, "r", f"r 1 500 {len(x)}\n{line}", r_dat=raw)
        truth = definition(x[None], -top, baseline, 1 / gain)
        np.testing.assert_array_equal(bits(read_record(path, in_mv=True).samples), bits(truth))
        np.testing.assert_array_equal(bits(read_record(path).millivolts()), bits(truth))


def test_rows_of_gains_of_their_own(rng):
    x = rng.integers(-32768, 32768, (5, LONG)).astype(np.int16)
    baseline, scale = np.array([0.0, 0.0, 5.0, 5.0, 0.25]), np.array([0.005, 0.005, 0.005, 0.001, -0.001])
    truth = definition(x, -32768, baseline[:, None], scale[:, None])
    np.testing.assert_array_equal(bits(millivolts(x, baseline, scale)), bits(truth))


def test_every_form_as_in_two_passes(tmp_path, rng):
    """What one pass cannot give (skew, several rates, segments, matrices, other formats, several files) takes two."""
    x = rng.integers(-30000, 30000, (2, 400))
    raw = encode(16, interleave(x, (1, 1), 400))
    write(tmp_path, "skewed", "skewed 2 250 300\ns.dat 16:5 200/mV\ns.dat 16 200/mV\n", s_dat=raw)
    write(tmp_path, "rates", "rates 2 100 100\nt.dat 16x1 200/mV\nt.dat 16x3 100(5)/uV\n", t_dat=raw)
    write(tmp_path, "other", "other 2 250 400\no.dat 61 200/mV\no.dat 61 200/mV\n", o_dat=raw)
    write(tmp_path, "pair", "pair 2 250 400\ns.dat 16 200/mV\np.dat 80 200/mV\n", s_dat=raw, p_dat=raw[:400])
    write(tmp_path, "void", "void 2 250 400\ns.dat 16 200/mV\n~ 16 200/mV\n", s_dat=raw)
    write(tmp_path, "some", "some 2 250 400\ns.dat 16 200/mV 16 0 0 0 0 I\ns.dat 16 200/mmHg 16 0 0 0 0 ABP\n")
    (tmp_path / "many.hea").write_text("many/2 2 250 800\nother 400\npair 400\n")
    savemat(tmp_path / "m.mat", {"val": x.astype(np.int16)}, format="4")
    write(tmp_path, "m", "m 2 250 400\nm.mat 16+24 200/mV\nm.mat 16+24 100/mV\n")
    for name in ("skewed", "rates", "other", "pair", "void", "some", "many", "m"):
        two, one = read_record(tmp_path / name), read_record(tmp_path / name, in_mv=True)
        np.testing.assert_array_equal(one.samples, two.millivolts(), err_msg=name)
        assert one.samples.dtype == np.float32
        np.testing.assert_array_equal(one.scale, np.ones(len(one.leads)))
        np.testing.assert_array_equal(one.baseline, np.zeros(len(one.leads)))
        assert one[3:] == two[3:]


def test_in_pieces(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(wfdb_formats, "PIECE", 64)
    x = rng.integers(-2048, 2048, (3, 1001))
    lines = "".join(f"r.dat 212 {200 + k}({k})/mV 12 0 0 0 0 L{k}\n" for k in range(3))
    path = write(tmp_path, "r", f"r 3 250 1001\n{lines}", r_dat=encode(212, x.T.reshape(-1)))
    k = np.arange(3.0)[:, None]
    np.testing.assert_array_equal(read_record(path, in_mv=True).samples, definition(x, -2048, k, 1 / (200 + k)))


def test_a_truncated_file_is_refused_alike(tmp_path):
    path = write(tmp_path, "r", "r 1 250 100\nr.dat 16 200/mV\n", r_dat=b"\0" * 100)
    with pytest.raises(ValueError, match=r"r\.dat is truncated"):
        read_record(path, in_mv=True)
