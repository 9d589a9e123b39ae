"""`physioclr demo`: the main job on the shipped records, from files to an evaluated encoder. Offline, on the CPU."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

STEPS = 200  # about a minute of two cores
DELTA = 0.25


def run(out: Path, steps: int = 0, *, stderr: bool = False) -> dict[str, Any]:
    """Runs the demo in the folder `out` and returns its figures. `steps`: of training; 0 for the default.

    stderr: say what is going on there, not on stdout.

    The store is kept between calls; the runs of an earlier demo in `out` are replaced.
    """
    from . import data, plots
    from .train import Config, pretrain, probe

    console = Console(soft_wrap=True, highlight=False, stderr=stderr)
    begun = time.perf_counter()

    def say(text: str) -> None:
        console.print(f"[{time.perf_counter() - begun:5.1f} s] {text}", markup=False)

    sample = data.sample()
    say(f"{len(sample)} real records of PTB-XL ({sample.licence}) from {sample.path}")
    store = data.sample_store(out / "store", jobs=2)
    beats = sum(len(store.rpeaks(i)) for i in range(len(store)))
    say(f"prepared: {beats} R peaks, {sum(len(store.features(i)) for i in range(len(store)))} segments with features")

    pictures = [plots.draw_record(sample.path / sample.record_ids[0], out / "ecg.png")]
    say("drew one record with its R peaks and waves")

    picture, inside, across = similarity_picture(store, out / "similarity.png")
    pictures.append(picture)
    say(
        f"similarity of physiology: above {DELTA} lie {inside:.0%} of the pairs that share their diagnosis "
        f"and {across:.0%} of the others"
    )

    train = np.flatnonzero(~sample.test)
    config = Config(steps=steps or STEPS, batch_size=64, warmup=min(10, steps or STEPS), checkpoint_every=10**6)
    results = {}
    for method in ("physioclr", "random"):
        folder = out / f"run-{method}"
        if (folder / "run.json").is_file():
            shutil.rmtree(folder)
        done = pretrain(store, folder, config.replace(method=method), records=train)
        if method == "physioclr":
            pictures.append(folder / "loss.png")
            say(f"pretrained {done.step} steps on {len(train)} records without labels")
        results[method] = probe(folder, store, scheme="ptbxl_superclass", test_folds=(8, 9), fractions=(1.0,), seeds=1)
    results["features"] = probe(
        out / "run-random", store, scheme="ptbxl_superclass", test_folds=(8, 9), fractions=(1.0,), seeds=1,
        inputs=("features",),
    )  # fmt: skip
    say(f"linear probes on the {int(sample.test.sum())} records of the test patients")

    table = Table(title="Five diagnostic superclasses, macro AUROC of a linear probe", title_justify="left")
    for column in ("encoder", "AUROC", "95 % interval"):
        table.add_column(column, justify="left" if column == "encoder" else "right")
    names = {"random": "random, frozen", "features": "no encoder: physiological features", "physioclr": "physioclr"}
    figures: dict[str, Any] = {"seconds": time.perf_counter() - begun}
    for key, name in names.items():
        row = results[key].macro(1.0)
        figures[key] = row["auroc"]
        table.add_row(name, f"{row['auroc']:.3f}", f"{row['auroc_low']:.3f} - {row['auroc_high']:.3f}")
    console.print(table)
    console.print("80 records show that everything runs; they are too few to rank methods.")
    for path in pictures:
        console.print(f"picture: {path}", markup=False)
    return figures


def similarity_picture(store: Any, path: Path) -> tuple[Path, float, float]:
    """Draws the similarity of one segment a record, records by diagnosis; (path, share above delta within, across)."""
    from . import plots
    from .ops.feature_space import FeatureSpace
    from .ops.similarity import physio_similarity
    from .train.dataset import feature_columns

    classes, labels = store.labels["ptbxl_superclass"]
    one = np.flatnonzero(labels.sum(1) == 1)
    one = one[np.argsort(labels[one].argmax(1), kind="stable")]
    names = [classes[k] for k in labels[one].argmax(1)]
    segments = np.stack([store.features(int(i))[0] for i in one])
    columns = feature_columns(store.feature_leads, store.feature_leads, "segment")
    similarity = physio_similarity(FeatureSpace.fit(segments[:, columns]).transform(segments[:, columns]))
    same = np.equal.outer(names, names)
    off = ~np.eye(len(one), dtype=bool)
    title = f"{len(one)} records with one diagnosis: similarity of physiology"
    plots.plot_similarity(path, similarity, names, title=title)
    above = similarity >= DELTA
    return path, float(above[same & off].mean()), float(above[~same].mean())
