"""What could an encoder be told? Classifiers on the physiology itself, without any encoder: PTB-XL's superclasses.

    python benchmarks/representation/targets.py STORE               # fold 9 scored, fitted on the others
    python benchmarks/representation/targets.py STORE --grid        # fold 6 scored, 9 left out: choices of the kernel

STORE: `physioclr prepare PTBXL STORE --fs 100 --feature-leads all`. Rows are whole records: the mean of the features of
their segments, all leads, and the average beat of all leads. Nothing that turns them into columns sees a label.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import physioclr as pc
from physioclr.ops._checks import STANDARD_LEADS
from physioclr.train.beats import BeatSpace, average_beat
from physioclr.train.dataset import network_signal, record_features
from physioclr.train.kernel_space import SIGMA, KernelSpace
from physioclr.train.labelled import labelled_records
from physioclr.train.linear import LinearProbe

SCHEME, FRACTIONS, CHOICE, TEST = "ptbxl_superclass", (0.1, 1.0), 6, 9
SIGMAS, WEIGHTS, COMPONENTS = (0.9, 1.3, 2.2), (0.0, 0.5, 1.0, 2.0), (64, 128, 256)
TREES = {"max_iter": 150, "learning_rate": 0.06, "max_leaf_nodes": 15, "l2_regularization": 1.0, "max_features": 0.3,
         "random_state": 0}  # fmt: skip


class Records(NamedTuple):
    """features: (N, 12 x 59). beats: (N, 12, W). y: (N, 5). fold: (N,)."""

    features: np.ndarray
    beats: np.ndarray
    y: np.ndarray
    fold: np.ndarray


def read(path: Path) -> Records:
    store = pc.data.open_store(path)
    _, _, records, y = labelled_records(store, SCHEME)
    features, beats = [], []
    for i in records:
        rows = record_features(store, int(i), STANDARD_LEADS, "segment")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column that no segment has stays NaN
            features.append(np.nanmean(rows, 0))
        x = torch.from_numpy(network_signal(store.read(int(i)), float(store.fs), 0.5))[None]
        peaks = np.asarray(store.rpeaks(int(i)), np.int32)
        peaks = torch.from_numpy(peaks if len(peaks) else np.array([-1], np.int32))[None]
        beats.append(average_beat(x, peaks, float(store.fs))[0].numpy())
    return Records(np.stack(features), np.stack(beats), y, np.asarray(store.table["fold"])[records])


def show(name: str, x: np.ndarray, r: Records, train: np.ndarray, test: np.ndarray, how: str) -> None:
    out = []
    for f in FRACTIONS:
        rng = np.random.default_rng(0)
        t = train if f == 1 else rng.choice(train, int(f * len(train)), replace=False)
        if how == "trees":
            models = (HistGradientBoostingClassifier(**TREES).fit(x[t], r.y[t, k]) for k in range(r.y.shape[1]))
            score = np.stack([m.predict_proba(x[test])[:, 1] for m in models], 1)
        else:
            score = LinearProbe(x, 0.01)(t, test, r.y[t], 0, 2)
        out.append(roc_auc_score(r.y[test], score))
    print(f"| {name} | {x.shape[1]} | " + " | ".join(f"{v:.3f}" for v in out) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--grid", action="store_true")
    args = parser.parse_args()
    r = read(args.store)
    scored = CHOICE if args.grid else TEST
    test, train = (np.flatnonzero(m) for m in (r.fold == scored, ~np.isin(r.fold, (TEST, scored))))
    some = train[:: max(1, len(train) // 4000)]
    space = pc.FeatureSpace.fit(r.features[train], 100)
    features = space.transform(r.features) / np.sqrt(space.explained_variance.sum())
    beats = BeatSpace.fit(r.beats[some]).transform(torch.from_numpy(r.beats)).numpy()
    print("| classifier on | columns | " + " | ".join(f"{100 * f:g} %" for f in FRACTIONS) + " |\n|---|---|---|---|")
    if args.grid:
        for weight in WEIGHTS:
            rows = torch.from_numpy(np.concatenate((features, weight * beats), 1))
            for sigma in SIGMAS:
                scaled = rows * (SIGMA / sigma)  # as another sigma would have it
                for n in COMPONENTS:
                    x = KernelSpace.fit(scaled[some], n).transform(scaled).numpy()
                    show(f"kernel, beat {weight:g}, sigma {sigma:g}", x, r, train, test, "linear")
        return
    show("features, linear", r.features, r, train, test, "linear")
    show("their 100 components, linear", features, r, train, test, "linear")
    show("average beat, linear", beats, r, train, test, "linear")
    rows = np.concatenate((features, beats), 1)
    for n in COMPONENTS:
        x = KernelSpace.fit(torch.from_numpy(rows[some]), n).transform(torch.from_numpy(rows)).numpy()
        show("kernel components of both, linear", x, r, train, test, "linear")
    show("features, gradient boosted trees", r.features, r, train, test, "trees")
    both = np.concatenate((r.features, beats), 1)
    show("features and average beat, trees", both, r, train, test, "trees")


if __name__ == "__main__":
    main()
