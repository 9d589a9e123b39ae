"""Pictures as they were looked at: three against a kept one, and what must be readable in any.

`python tests/test_plots_looks.py` draws the kept ones anew; look at them before they are committed.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

import physioclr as pc
from physioclr import plots
from physioclr.plots import ecg as ecg_plot
from physioclr.plots import gallery

KEPT = Path(__file__).parent / "pictures"
SAMPLE = pc.data.sample()


def record(name):
    return SAMPLE.path / next(r for r in SAMPLE.record_ids if r.endswith(name))


def crossed(path):
    """Leads that run into each other, in the layout of the paper printout."""
    plots.draw_record(record("00349_hr"), path, layout="3x4")


def points(path):
    rng = np.random.default_rng(0)
    groups = np.repeat(["CD", "MI", "NORM"], 20)
    centres = np.repeat(3 * rng.normal(size=(3, 6)), 20, axis=0)
    plots.plot_embeddings(path, centres + rng.normal(size=(60, 6)), groups, title="made up")


def nearest(path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 4))
    t = np.arange(2500) / 500
    beats = [np.exp(-0.5 * ((t % (0.6 + 0.05 * k) - 0.3) / 0.02) ** 2) for k in range(9)]
    plots.plot_nearest(path, pc.physio_similarity(x), ["MI"] * 4 + ["NORM"] * 5, np.array(beats), 500, query=2, k=3)


DRAWINGS = {f.__name__: f for f in (crossed, points, nearest)}


def small(path):
    """At 600 pixels across: smoothing of lines, which differs between versions of matplotlib, weighs little."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    image.resize((600, round(600 * image.height / image.width))).save(path, optimize=True)


@pytest.mark.parametrize("name", DRAWINGS)
def test_pictures_look_as_they_did(name, tmp_path):
    from matplotlib.testing.compare import compare_images

    path = tmp_path / f"{name}.png"
    DRAWINGS[name](path)
    small(path)
    told = compare_images(
        str(KEPT / path.name), str(path), tol=4.0
    )  # names where they were crossed: 4.5; no waves: 8.3; half gain: 19
    assert told is None, told


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """drawn(record, ...) -> the axes of `draw_record`."""
    figures = []
    monkeypatch.setattr(ecg_plot, "save", lambda figure, path: figures.append(figure) or path)

    def call(name, **options):
        plots.draw_record(record(name), tmp_path / "x.png", **options)
        return figures.pop().axes[0]

    return call


def names_of(axes):
    return [t for t in axes.texts if t.get_weight() == "bold"]


@pytest.mark.parametrize("layout", ["6x2", "3x4", "12x1"])
def test_no_trace_crosses_the_name_of_a_lead(drawn, layout):
    axes = drawn("00349_hr", layout=layout)
    found = []
    for text in names_of(axes):
        assert text.get_path_effects()
        box = text.get_window_extent().transformed(axes.transData.inverted())
        for line in axes.lines:
            x, y = line.get_xdata(), line.get_ydata()
            inside = (x > box.x0) & (x < box.x1)
            if inside.any() and y[inside].min() < box.y1 and y[inside].max() > box.y0 and len(x) > 100:
                found.append(text.get_text())
    assert found == []


def test_every_lead_once_and_the_strip(drawn, tmp_path):
    for layout in ("6x2", "3x4", "12x1"):
        axes = drawn("00001_hr", layout=layout, patient="p. 7")
        names = [t.get_text() for t in names_of(axes)]
        assert names == [*ecg_plot.STANDARD_LEADS, *(["II"] * (layout != "12x1"))]
        assert "no filter   p. 7" in axes.texts[-1].get_text()
    assert "patient not stated" in drawn("00001_hr").texts[-1].get_text()
    with pytest.raises(ValueError, match="layout is '4x3'; it must be one of '6x2', '3x4', '12x1'"):
        plots.plot_ecg(tmp_path / "x.svg", np.zeros((12, 5000)), 500, layout="4x3")


def test_the_gallery_has_both_ends_of_each_field(tmp_path):
    fields = [f for f in pc.Augment.__dataclass_fields__]
    for name in fields:
        told = gallery.ends(getattr(pc.Augment(**{name: True}), name))
        assert all(field.p == 1.0 for _, field in told) and len(told) == 1 + (name in gallery.STRENGTH)
    assert set(gallery.STRENGTH) | {"beat_shuffle", "lead_dropout"} == set(fields)
    ecg = pc.data.read_record(record("00001_hr")).millivolts()
    plan = pc.Augment(crop=pc.Crop(kept=(0.5, 0.9)), gaussian_noise=True)
    text = plots.plot_augmentations(tmp_path / "a.svg", ecg, 500, plan=plan).read_text()
    for told in ("crop: kept 0.9", "crop: kept 0.5", "gaussian_noise: sd 0.005 mV", "gaussian_noise: sd 0.02 mV"):
        assert told in text
    peaks = pc.detect_rpeaks(ecg[None], 500)
    same = plots.plot_augmentations(tmp_path / "b.svg", ecg, 500, plan=plan, rpeaks=peaks.lists()[0])
    assert same.stat().st_size == pytest.approx((tmp_path / "a.svg").stat().st_size, rel=0.01)


def test_what_makes_no_picture(tmp_path):
    x, path = np.zeros((4, 100)), tmp_path / "x.png"
    for call, message in (
        (lambda: plots.plot_nearest(path, np.eye(3), list("abcd"), x, 500), "similarity has shape"),
        (
            lambda: plots.plot_nearest(path, np.eye(4), list("abcd"), x, 500, query=4),
            "query is 4; it must be from 0 to 3",
        ),
        (lambda: plots.plot_embeddings(path, np.zeros((3, 2)), list("ab")), "embeddings has shape"),
        (lambda: plots.plot_embeddings(path, np.full((2, 2), np.nan), list("ab")), "embeddings contains NaN"),
        (lambda: plots.plot_augmentations(path, x, 500, plan=pc.Augment()), "plan has no fields"),
        (lambda: plots.plot_augmentations(path, x, 500, lead=4), "lead is 4; it must be from 0 to 3"),
        (lambda: plots.plot_augmentations(path, x[0], 500), "ecg has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert plots.plot_embeddings(path, np.ones((3, 1)), list("abc")).exists()  # constant, one column


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        if not sys.argv[1:] or name in sys.argv[1:]:
            draw(KEPT / f"{name}.png")
            small(KEPT / f"{name}.png")
