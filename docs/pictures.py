"""Draws every picture of the documentation from the shipped records: python docs/pictures.py [NAME ...]"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import physioclr as pc
from physioclr import plots
from physioclr.plots import paper

HERE = Path(__file__).parent / "images"
FS = 500
RED, BLUE, GREEN = (plots.WAVES[w][2] for w in ("QRS", "P", "T"))
SAMPLE = pc.data.sample()


def read(k):
    """Record k of the sample as (1, 12, 5000) mV."""
    return pc.data.read_record(SAMPLE.path / SAMPLE.record_ids[k]).millivolts()[None]


def axes_of(rows, width=180, height=30):
    figure = paper.figure_of(width, height * rows)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for a in axes:
        a.spines[["top", "right"]].set_visible(False)
        a.tick_params(labelsize=7)
        a.set_ylabel("mV", fontsize=7)
    axes[-1].set_xlabel("s", fontsize=7)
    return figure, axes


def trace(axes, x, label="", color=plots.INK):
    axes.plot(np.arange(len(x)) / FS, x, color=color, linewidth=0.8)
    axes.margins(x=0.0)
    axes.set_title(label, fontsize=8, loc="left")


def ticks(axes, x, peaks, color=RED):
    peaks = np.asarray(peaks)
    peaks = peaks[(peaks >= 0) & (peaks < len(x))]
    axes.plot(peaks / FS, x[peaks], "v", color=color, markersize=4)


def ecg(path):
    x = read(0)
    peaks = pc.detect_rpeaks(x, FS)
    waves = pc.delineate(x, FS, peaks, lead="II")
    waves = type(waves)(*(w[0] for w in waves))
    plots.plot_ecg(path, x[0, 1:2], FS, rpeaks=peaks.index[0], delineation=waves, leads=["II"], seconds=6)


def rpeaks(path):
    x = read(0)[:, 1]
    figure, axes = axes_of(3)
    noises = (
        ("as recorded", pc.Augment()),
        ("with muscle noise", pc.Augment(muscle_noise=pc.MuscleNoise(p=1.0, rms=(0.15, 0.15)))),
        ("with baseline wander", pc.Augment(baseline_wander=pc.BaselineWander(p=1.0, amplitude=(1.0, 1.0)))),
    )
    for a, (label, plan) in zip(axes, noises, strict=True):
        y, _ = pc.augment(x[:, None], plan, fs=FS, seed=3)
        found = pc.detect_rpeaks(y[:, 0], FS)
        trace(a, y[0, 0], f"{label}: {found.count[0]} R peaks, quality {found.quality[0]:.2f}")
        ticks(a, y[0, 0], found.index[0])
    paper.save(figure, path)


def delineate(path):
    x = read(0)
    peaks = pc.detect_rpeaks(x, FS)
    waves = pc.delineate(x, FS, peaks, lead="II")
    k = 3
    r = int(peaks.index[0, k])
    start, end = r - 150, r + 270
    figure, (a,) = axes_of(1, 130, 60)
    t = (np.arange(start, end) - r) * 1000 / FS
    y = x[0, 1, start:end]
    a.plot(t, y, color=plots.INK, linewidth=1.2)
    low, high = y.min() - 0.15, y.max() + 0.15
    for name, (on, off, color) in plots.WAVES.items():
        s, e = ((int(getattr(waves, w)[0, k]) - r) * 1000 / FS for w in (on, off))
        a.axvspan(s, e, color=color, alpha=0.18, linewidth=0)
        a.text((s + e) / 2, high, name, color=color, fontsize=9, ha="center", weight="bold")
    named = {"PR": ("p_on", "qrs_on"), "QRS": ("qrs_on", "qrs_off"), "QT": ("qrs_on", "t_off")}
    for row, (name, (one, other)) in enumerate(named.items()):
        s, e = ((int(getattr(waves, w)[0, k]) - r) * 1000 / FS for w in (one, other))
        height = low - 0.12 * (row + 1)
        a.annotate("", (s, height), (e, height), arrowprops={"arrowstyle": "<->", "color": plots.INK, "lw": 0.8})
        a.text(e + 8, height, f"{name} {e - s:.0f} ms", fontsize=8, va="center")
    a.set_ylim(low - 0.5, high + 0.15)
    a.set_xlabel("ms from the R peak", fontsize=8)
    paper.save(figure, path)


def everything():
    """Features of lead II of all sample records, their superclass (the first of several), and the records."""
    first = np.array([SAMPLE.classes[row.argmax()] if row.any() else "" for row in SAMPLE.labels])
    x = np.concatenate([read(k) for k in range(len(SAMPLE))])
    return pc.physio_features(x, FS), first, x


def features(path):
    values, groups, _ = everything()
    figure, (a,) = axes_of(1, 130, 80)
    one, other = (values[:, pc.FEATURE_NAMES.index(n)] for n in ("qrs_median", "qtc_median"))
    for name in sorted({*groups} - {""}):
        a.plot(one[groups == name], other[groups == name], "o", markersize=5, alpha=0.7, label=name)
    a.set_xlabel("qrs_median, ms", fontsize=8)
    a.set_ylabel("qtc_median, ms", fontsize=8)
    a.legend(fontsize=8, frameon=False)
    paper.save(figure, path)


def feature_space(path):
    values, groups, _ = everything()
    some = groups != ""
    z = pc.FeatureSpace.fit(values, n_components=20).transform(values)
    plots.plot_embeddings(path, z[some], groups[some])


def augment(path):
    plots.plot_augmentations(path, read(0)[0], FS)


def shuffle_beats(path):
    x = read(0)
    peaks = pc.detect_rpeaks(x, FS)
    y, moved = pc.shuffle_beats(x, peaks, seed=1)
    figure, axes = axes_of(2)
    for a, z, p, label in ((axes[0], x, peaks, "as recorded"), (axes[1], y, moved, "beats shuffled")):
        trace(a, z[0, 1], label)
        ticks(a, z[0, 1], p.index[0])
    paper.save(figure, path)


def similarity(path):
    values, groups, _ = everything()
    z = pc.FeatureSpace.fit(values, n_components=20).transform(values)
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] != ""]
    plots.plot_similarity(path, pc.physio_similarity(z[order]), groups[order])


def neighbors(path):
    values, groups, x = everything()
    z = pc.FeatureSpace.fit(values, n_components=20).transform(values)
    some = np.flatnonzero(groups != "")
    plots.plot_nearest(path, pc.physio_similarity(z[some]), groups[some], x[some, 1], FS)


def contrastive(path):
    values, groups, _ = everything()
    z = pc.FeatureSpace.fit(values, n_components=20).transform(values)
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] != ""]
    mask = pc.physio_similarity(z[order], threshold=0.25)
    figure, (a,) = axes_of(1, 110, 105)
    a.imshow(~mask, cmap="gray", interpolation="nearest")
    a.set_title("positives of each record (black), delta = 0.25", fontsize=8, loc="left")
    edges = np.flatnonzero(np.r_[True, groups[order][1:] != groups[order][:-1]])
    a.set_xticks(edges, groups[order][edges], fontsize=7)
    a.set_yticks(edges, groups[order][edges], fontsize=7)
    a.set_xlabel("")
    a.set_ylabel("")
    paper.save(figure, path)


def reconstruction(path):
    x = read(0)[0, 1, :1500]
    peaks = pc.detect_rpeaks(x[None], FS).index[0]
    figure, (a,) = axes_of(1, 180, 40)
    trace(a, x, "the loss counts the shaded samples: 40 ms on either side of each R peak")
    for p in peaks[peaks >= 0]:
        a.axvspan(p / FS - 0.04, p / FS + 0.04, color=RED, alpha=0.18, linewidth=0)
    paper.save(figure, path)


PICTURES = (
    ecg, rpeaks, delineate, features, feature_space, augment, shuffle_beats, similarity, neighbors, contrastive,
    reconstruction,
)  # fmt: skip

if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for draw in PICTURES:
        if not sys.argv[1:] or draw.__name__ in sys.argv[1:]:
            path = HERE / f"{draw.__name__}.png"
            draw(path)
            colours = 128  # few are enough for lines on paper, and the files stay small
            image = Image.open(path).convert("RGB")
            image.thumbnail((1000, 1000))
            image.quantize(colours, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
            print(path.name, path.stat().st_size // 1024, "kB")
