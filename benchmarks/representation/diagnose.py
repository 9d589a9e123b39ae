"""Are records of alike physiology, and neighbours in an embedding, of the same diagnosis more than chance?

    python benchmarks/representation/diagnose.py STORE [RUN ...]

Agreement of two records is the Jaccard index of their sets of PTB-XL superclasses. In the feature space: the share of
pairs of different patients above each delta and their agreement, for the settings of leads, columns and weights, and
with the average beat of all leads beside the features (beat_weight). In feature space and in the embeddings of each
RUN: the mean agreement of a record with its ten nearest of other patients.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import physioclr as pc
from physioclr.train import Config, embed, open_run
from physioclr.train.beats import average_beat, fit_beats
from physioclr.train.dataset import Segments, feature_columns, group_ids
from physioclr.train.labelled import labelled_records

DELTAS = (0.1, 0.25, 0.4, 0.5, 0.6)
SETTINGS = [(leads, columns, weights) for leads in (["II"], ["II", "V1", "V5"]) for columns in ("segment", "all")
            for weights in ("default", "released")]  # fmt: skip


BEAT_WEIGHTS = (0.5, 1.0, 2.0, 5.0)


def average_beats(store, records: np.ndarray) -> tuple[np.ndarray, float]:
    """(n, components) the first segment of each record in the beat space, and the length of the features beside it."""
    segments = Segments(store, Config(decimate=5))  # 100 Hz, as the benchmark's encoders
    segments.feature_space = space = pc.FeatureSpace.fit(segments.training_features(), 50)
    beats = fit_beats(segments)
    rows = []
    for i in map(int, records):
        peaks = store.rpeaks(i) // 5
        ecg = torch.from_numpy(segments.filtered(i)[None, :, : segments.samples].copy())
        beat = average_beat(ecg, torch.from_numpy(peaks[None, peaks < segments.samples].astype(np.int32)), segments.fs)
        rows.append(beats.transform(beat))
    return torch.cat(rows).numpy(), float(space.explained_variance.sum()) ** 0.5


def neighbours(x: np.ndarray, agreement: np.ndarray, other: np.ndarray, k: int = 10) -> float:
    """Mean agreement of each row with its k nearest (cosine) among those of other patients."""
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    nearest = np.argsort(-np.where(other, x @ x.T, -2), axis=1)[:, :k]
    return float(np.take_along_axis(agreement, nearest, axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("runs", nargs="*")
    args = parser.parse_args()
    store = pc.data.open_store(args.store)
    _, _, records, y = labelled_records(store, "ptbxl_superclass")
    group = group_ids(store, records)
    other = group[:, None] != group
    both, either = (y[:, None] & y).sum(-1), (y[:, None] | y).sum(-1)
    agreement = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    pairs = np.triu(other, 1)
    print(f"{len(records)} records, agreement of any two of other patients {agreement[pairs].mean():.3f}\n")
    head = ["leads", "columns", "weights", *(f"pairs above {d:g}: share, agreement" for d in DELTAS), "10 nearest"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")

    def row(leads: str, columns: str, weights: str, f: np.ndarray) -> None:
        above = [pairs & (pc.physio_similarity(np.ascontiguousarray(f, np.float32)) >= d) for d in DELTAS]
        cells = [f"{m.sum() / pairs.sum():.3f}, {agreement[m].mean():.3f}" for m in above]
        print(f"| {leads} | {columns} | {weights} | {' | '.join(cells)} | {neighbours(f, agreement, other):.3f} |")

    for leads, columns, weights in SETTINGS:
        pick = feature_columns(store, leads, columns)
        rows = np.concatenate([store.features(i)[:2, pick] for i in range(len(store))])
        space = pc.FeatureSpace.fit(rows, 50, weights)
        f = np.concatenate([space.transform(store.features(int(i))[:1, pick]) for i in records])
        row(" ".join(leads), columns, weights, f)
        if (leads, columns, weights) == (["II", "V1", "V5"], "segment", "default"):
            features = f
    beats, length = average_beats(store, records)
    for w in BEAT_WEIGHTS:
        both_spaces = np.concatenate((features / length, w * beats), axis=1)
        row("II V1 V5", "segment", f"default, average beat x {w:g}", both_spaces)
    row("none", "none", "average beat alone", beats)
    for path in args.runs:
        run = open_run(path)
        tested = np.isin(np.asarray(store.table["fold"])[records], run.config.exclude_folds)
        rows = np.flatnonzero(tested) if tested.any() else np.arange(len(records))
        x = embed(run, store, records=records[rows])
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
        square = np.ix_(rows, rows)
        chance = agreement[square][np.triu(other[square], 1)].mean()
        found = neighbours(x, agreement[square], other[square])
        print(f"{path}: {len(rows)} records kept out of its training, 10 nearest {found:.3f}, any two {chance:.3f}")


if __name__ == "__main__":
    main()
