"""What the pictures say: the gain of the ECG, the terms of the loss, the axes of the probe."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from physioclr import plots
from physioclr.train import metrics
from physioclr.train.judge import ALL_SEEDS, MACRO
from physioclr.train.probe_report import ProbeResult, draw_probe


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    return figures


def texts(figure):
    return " | ".join(t.get_text() for t in figure.axes[0].texts)


@pytest.mark.parametrize("height, gain", [(0.5, "10 mm/mV"), (3.0, "5 mm/mV, smaller"), (6.0, "2.5 mm/mV, smaller")])
def test_the_gain_is_halved_where_leads_would_overlap(tmp_path, drawn, height, gain):
    """Rows are 20 mm apart: leads that rise 30 mm at 10 mm/mV run into those above, 15 mm at 5 mm/mV do not."""
    ecg = np.zeros((12, 5000))
    ecg[:, 1000::500] = height
    plots.plot_ecg(tmp_path / "a.png", ecg, 500, patient="64 years, F")
    assert gain in texts(drawn[0]) and "no filter   64 years, F" in texts(drawn[0])
    pulse = drawn[0].axes[0].lines[1].get_ydata()
    assert np.ptp(pulse) == pytest.approx(float(gain.split()[0]) / 10)  # 1 mV


def test_time_counts_from_the_beginning_of_the_record(tmp_path, drawn):
    plots.plot_ecg(tmp_path / "a.png", np.zeros((2, 10_000)), 500, start=3.0)
    assert "3 s | 4 s" in texts(drawn[0]) and "13 s" in texts(drawn[0])


ROW = dict.fromkeys(metrics.COLUMNS, float("nan"))


def test_the_terms_add_up_to_the_loss(tmp_path, drawn):
    terms = {"contrastive": -0.5, "reconstruction": 0.4, "peak": 0.2, "prediction": 0.0}
    rows = [{**ROW, "step": k, "loss": -0.5 + 0.2 * 0.4 + 0.1 * 0.2, **terms} for k in (1, 2, 3)]
    metrics.draw_loss(rows, tmp_path / "l.png", "x", {"reconstruction": 0.2, "peak": 0.1, "prediction": 0.0})
    lines = {line.get_label(): line.get_ydata() for line in drawn[0].axes[0].lines}
    loss = lines.pop("loss")
    shown = [y for name, y in lines.items() if not name.startswith("_")]
    assert "0.2 x reconstruction" in lines and len(shown) == 3
    np.testing.assert_allclose(np.sum(shown, 0), loss)
    assert "below 0 is no fault" in texts(drawn[0])


def test_a_run_without_steps_has_no_picture(tmp_path):
    metrics.draw_loss([], tmp_path / "l.png")
    assert not list(tmp_path.iterdir())


def probe_result(name, low, classes=("MI", "NORM")):
    rows = [
        {"method": name, "protocol": "linear", "inputs": "embedding", "fraction": f, "seed": seed, "class": c,
         "auroc": low + 0.1, "auroc_low": low, "auroc_high": low + 0.15}
        for f in (0.1, 1.0) for seed in (0, ALL_SEEDS) for c in (*classes, MACRO)
    ]  # fmt: skip
    return ProbeResult(rows, {}, [], None, None, None)


def test_every_probe_has_the_same_axes(tmp_path, drawn):
    for results in (probe_result("a", 0.6), probe_result("b", 0.8), [probe_result("a", 0.6), probe_result("b", 0.8)]):
        draw_probe(results, tmp_path / "p.png")
    assert {f.axes[0].get_ylim() for f in drawn} == {f.axes[1].get_xlim() for f in drawn} == {(0.48, 1.0)}
    both = drawn[-1].axes
    assert [t.get_text() for t in both[0].get_legend().get_texts()] == ["a, linear, embedding", "b, linear, embedding"]
    assert [t.get_text() for t in both[1].get_yticklabels()] == ["NORM", "MI"]
    draw_probe(probe_result("worse than chance", 0.3), tmp_path / "p.png")
    assert drawn[-1].axes[0].get_ylim() == pytest.approx((0.28, 1.0))  # and nothing is cut off
