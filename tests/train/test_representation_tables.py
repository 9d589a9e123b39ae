"""The tables of benchmarks/representation from scores made up here: who is compared with whom, which seeds count."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from physioclr.train.compare import ProbeScores

FOLDER = Path(__file__).parents[2] / "benchmarks" / "representation"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("representation_tables", FOLDER / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(cell, noise, names, done=True, tested=slice(None)):
    """A cell whose scores are the labels with so much noise."""
    rng = np.random.default_rng([round(10 * noise), *"".join(cell.parts[-2:]).encode()])
    y = (np.arange(120)[:, None] % np.array([2, 3]) == 0).astype(int)
    cell.mkdir(parents=True)
    for name in names:
        score = np.full(y.shape, np.nan)
        score[tested] = (y + noise * rng.normal(size=y.shape))[tested]
        scores = ProbeScores({(1.0, 0): score, (0.1, 0): score}, np.arange(120).astype(str), y, np.arange(120),
                             ("A", "B"), {1.0: [], 0.1: []})  # fmt: skip
        scores.save(cell / name)
    if done:
        (cell / "done").touch()


def test_tables(tables, tmp_path):
    both = ["probe_store_s_linear.npz", "probe_store_s_linear_embedding+features.npz"]
    alone = [*both, "probe_store_s_linear_features.npz", "probe_store_s_linear_demographics.npz"]
    halves = {"folds1-2": slice(0, 60), "folds3-4": slice(60, 120)}
    for seed in (0, 1):
        for method, noise in (("random", 4.0), ("cmsc", 1.5), ("physioclr", 0.3), ("physioclr-soft", 0.3)):
            for name, part in halves.items():
                unfinished = method == "physioclr-soft" and seed == 1 and name == "folds3-4"
                write(tmp_path / method / f"seed{seed}" / name, noise, alone if method == "random" else both,
                      not unfinished, part)  # fmt: skip
    text = tables.labelled_tables(tmp_path, "s", (0.1, 1.0))
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("|")}
    assert lines["cmsc"].split(" | ")[1] == "2" and lines["physioclr-soft"].split(" | ")[1] == "1"
    better = lines["physioclr minus cmsc"]
    assert "| +0." in better and "not distinguishable" not in better
    assert "not distinguishable" in lines["physioclr minus physioclr-soft"]
    assert lines["physioclr minus physioclr-soft"].split(" | ")[1] == "1"  # the seed that both finished
    assert "features + physioclr minus features alone" in lines and "features alone minus cmsc" not in lines
    assert tables.cross_tables(tmp_path, "r") == ""


def test_comparisons_are_between_equal_budgets(tables):
    pairs = tables.comparisons(["features alone", "cmsc", "cmsc-longer", "physioclr", "physioclr-longer", "random"])
    assert ("physioclr-longer", "cmsc-longer") in pairs and ("physioclr-longer", "cmsc") not in pairs
    assert ("physioclr", "cmsc") in pairs and ("cmsc", "features alone") in pairs
    assert all(a != b for a, b in pairs)


def test_ablations_are_compared_with_the_whole_they_are_of(tables):
    pairs = tables.comparisons(
        ["cmsc-longer", "physioclr-longer", "physioclr-beats-longer", "physioclr-beats-off-longer"]
    )
    assert ("physioclr-beats-longer", "physioclr-beats-off-longer") in pairs
    assert ("physioclr-beats-longer", "cmsc-longer") in pairs and (
        "physioclr-longer",
        "physioclr-beats-longer",
    ) in pairs
    assert len(pairs) == len(set(pairs))
