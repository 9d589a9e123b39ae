import numpy as np
import pytest
from wfdb_encode import encode, interleave, write
from wfdb_files import ecg_like

from physioclr import plots
from physioclr.ops._types import Delineation
from physioclr.plots import ecg as ecg_plot

FS = 500.0


def one_beat_each_second(beats=10):
    r = np.arange(beats) * 500 + 250
    offsets = dict(p_on=-90, p_peak=-70, p_off=-50, qrs_on=-20, qrs_off=25, t_on=90, t_peak=130, t_off=170)
    d = Delineation(**{name: r + offset for name, offset in offsets.items()})
    return r, d


def test_intervals_of_a_known_record():
    r, d = one_beat_each_second()
    got = plots.intervals(d, r, FS)
    assert got == pytest.approx({"rate": 60.0, "PR": 140.0, "QRS": 90.0, "QT": 380.0, "QTc": 380.0})


def test_intervals_without_waves_are_nan():
    r, d = one_beat_each_second()
    got = plots.intervals(d._replace(p_on=np.full(10, -1), t_off=np.full(10, -1)), r, FS)
    assert np.isnan(got["PR"]) and np.isnan(got["QT"]) and got["QRS"] == pytest.approx(90.0)


@pytest.mark.parametrize("leads", [1, 3, 12])
@pytest.mark.parametrize("seconds", [0.3, 10.0])
def test_plot_ecg_draws_every_shape(tmp_path, rng, leads, seconds):
    r, d = one_beat_each_second()
    ecg = rng.normal(size=(leads, round(seconds * FS))).astype(np.float32) * 0.1
    ecg[0, 10:40] = np.nan
    path = plots.plot_ecg(tmp_path / "a" / "ecg.png", ecg, FS, rpeaks=r, delineation=d, title="x")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_plot_similarity(tmp_path, rng):
    s = np.corrcoef(rng.normal(size=(6, 9)))
    path = plots.plot_similarity(tmp_path / "s.png", s, ["NORM"] * 3 + ["MI"] * 3)
    assert path.stat().st_size > 5_000


def test_plot_shows_peaks_boundaries_and_intervals(tmp_path):
    r, d = one_beat_each_second()
    path = plots.plot_ecg(tmp_path / "ecg.svg", np.zeros((12, 5000)), FS, rpeaks=r, delineation=d, title="record 7")
    plain = plots.plot_ecg(tmp_path / "plain.svg", np.zeros((12, 5000)), FS)
    for colour in ("#2b6cb0", "#c53030", "#2f855a"):  # the shades of P, QRS and T
        assert path.read_text().count(colour) >= 10 and colour not in plain.read_text()


def test_waves_without_r_peaks_have_intervals_but_no_rate(tmp_path):
    _, d = one_beat_each_second()
    drawn = plots.plot_ecg(tmp_path / "ecg.svg", np.zeros((12, 5000)), FS, delineation=d)
    assert drawn.stat().st_size > 5_000
    found = plots.intervals(d, [], FS)
    assert np.isnan(found["rate"]) and np.isnan(found["QTc"]) and np.isfinite(found["QRS"])


def test_the_title_tells_the_intervals():
    r, d = one_beat_each_second()
    text = ecg_plot._describe(plots.intervals(d, r, FS))
    assert text == "60 /min, PR 140 ms, QRS 90 ms, QT 380 ms, QTc 380 ms"
    nothing = plots.intervals(Delineation(*(np.full(10, -1) for _ in d)), np.full(10, -1), FS)
    assert ecg_plot._describe(nothing) == ""


def test_signals_that_are_no_voltages_are_named(tmp_path, rng):
    """Beside a lead the title names them; alone they are an error, not empty paper."""
    lines = "r.dat 16 1000/mV 16 0 0 0 0 II $x^$\nr.dat 16 10/mmHg 16 0 0 0 0 ABP\n"
    raw = encode(16, interleave(ecg_like(rng, 2, 1000), (1, 1), 1000))
    path = write(tmp_path, "r", f"r 2 250 1000\n{lines}", r_dat=raw)
    assert "not drawn: ABP (mmHg)" in plots.draw_record(path, tmp_path / "r.svg").read_text()
    write(tmp_path, "r", f"r 2 250 1000\n{lines.replace('/mV', '/adu')}")
    with pytest.raises(ValueError, match=r"no signal in volts: II \$x\^\$ \(adu\), ABP \(mmHg\)"):
        plots.draw_record(path, tmp_path / "r.svg")
