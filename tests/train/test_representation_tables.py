"""The tables of benchmarks/representation from scores made up here: who is compared with whom, which seeds count."""

import argparse
import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from training_store import FakeStore

from physioclr.train.compare import ProbeScores

FOLDER = Path(__file__).parents[2] / "benchmarks" / "representation"


def script(name):
    spec = importlib.util.spec_from_file_location(f"representation_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables():
    return script("tables")


@pytest.fixture(scope="module")
def sources():
    return script("sources")


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


# ---- sources left out


def of_sources(n, seed, names):
    """A store whose records come from these sources in turn, with labels as the Challenge's."""
    store = FakeStore(n, seed)
    store.table["source"] = np.array([names[k % len(names)] for k in range(n)])
    store.labels, store.labelled = {"cinc2021": store.labels["shape"]}, {"cinc2021": store.labelled["shape"]}
    return store


@pytest.fixture(scope="module")
def stores():
    return of_sources(30, 0, ["ptbxl"]), of_sources(60, 1, ["chapman_ningbo", "georgia", "ptbxl"])


def test_records_of_several_stores_are_pooled_once(sources, stores):
    pool = sources.gather([stores[0], stores[1], stores[1]], 2)
    # records of the second store that are called as one of PTB-XL in the first are the same; the third has no new one
    assert len(pool.parts) == 2 and len(pool.ids) == len(set(pool.ids)) == 30 + 40 + 10
    assert pool.sources == ["chapman_ningbo", "georgia"]
    assert pool.classes == ("fast", "tall")  # "rare" is one record
    first, second = pool.groups[:30], pool.groups[30:]
    assert not set(first) & set(second)
    assert len(np.unique(first)) == 28  # two patients with two records each
    x = pool.columns(None)
    assert x.shape == (80, 177)
    wanted = stores[1].labels["cinc2021"][1][pool.parts[1][1]][:, :2]
    assert np.array_equal(pool.y[30:], wanted)


def test_a_record_of_two_rates_is_one(sources):
    slow, fast = of_sources(20, 0, ["ptbxl"]), of_sources(24, 0, ["ptbxl", "georgia"])
    slow.table["record_id"] = np.array([f"records100/00000/{k:05d}_lr" for k in range(20)])
    fast.table["record_id"] = np.array([f"ptbxl/records500/00000/{k:05d}_hr" for k in range(24)])
    pool = sources.gather([slow, fast], 2)
    assert (pool.source == "ptbxl").sum() == 20 + 2 and (pool.source == "georgia").sum() == 12


def test_a_source_is_scored_by_a_probe_that_has_not_seen_it(sources, stores):
    pool = sources.gather(stores, 2)
    x = pool.columns(None)
    scores = sources.score(pool, x, "georgia", 0.01, 2)
    left_out = pool.source == "georgia"
    assert np.array_equal(scores.records, pool.ids[left_out]) and np.isfinite(scores.scores[1.0, 0]).all()
    other = dataclasses.replace(pool, y=np.where(left_out[:, None], 1 - pool.y, pool.y))
    assert np.array_equal(sources.score(other, x, "georgia", 0.01, 2).scores[1.0, 0], scores.scores[1.0, 0])
    seen = dataclasses.replace(pool, y=np.where(left_out[:, None], pool.y, 1 - pool.y))
    assert not np.array_equal(sources.score(seen, x, "georgia", 0.01, 2).scores[1.0, 0], scores.scores[1.0, 0])


def test_a_half_is_scored_by_a_probe_of_the_other_half_alone(sources, stores):
    pool = sources.gather(stores, 2)
    x, mine = pool.columns(None), pool.source == "chapman_ningbo"
    scores = sources.score(pool, x, "chapman_ningbo", 0.01, 2, own=True)
    assert np.isfinite(scores.scores[1.0, 0]).all() and len(scores.y) == mine.sum()
    half = sources.patient_folds(pool.y[mine], pool.groups[mine], 2)
    others = np.where(mine[:, None], pool.y, 1 - pool.y)
    unseen = sources.score(dataclasses.replace(pool, y=others), x, "chapman_ningbo", 0.01, 2, own=True)
    assert np.array_equal(unseen.scores[1.0, 0], scores.scores[1.0, 0])
    x[np.flatnonzero(mine)[half == 0]] += 1.0  # another half of what is fitted, so another score of the other half
    moved = sources.score(pool, x, "chapman_ningbo", 0.01, 2, own=True)
    assert not np.array_equal(moved.scores[1.0, 0][half == 1], scores.scores[1.0, 0][half == 1])


def test_columns_are_made_once(sources, tmp_path):
    made = []
    for _ in range(2):
        x = sources.columns_of(tmp_path / "x.npy", lambda: made.append(1) or np.eye(3))
        assert np.array_equal(x, np.eye(3))
    assert made == [1] and [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_table_of_sources_left_out(sources, stores, tmp_path):
    pool = sources.gather(stores, 2)
    rng = np.random.default_rng(0)
    args = argparse.Namespace(c=0.01, min_positives=2, choose_on="chapman_ningbo")
    sources.fill(tmp_path, pool, sources.FEATURES, 0, lambda: rng.normal(size=(len(pool.ids), 3)), args)
    for seed in (0, 1):
        noise = rng.normal(size=(len(pool.ids), 3))
        sources.fill(tmp_path, pool, "cmsc", seed, lambda noise=noise: noise, args)
        sources.fill(tmp_path, pool, "told", seed, lambda noise=noise: pool.y + 0.1 * noise[:, :2], args)
    sources.fill(tmp_path, pool, "told", 1, lambda: pytest.fail("a finished cell is not made again"), args)
    (tmp_path / "cells" / "half" / "seed0").mkdir(parents=True)  # an encoder without all sources is in no table

    found = sources.loaded(tmp_path, pool, "chapman_ningbo", 2)
    halves = [found[f"chapman_ningbo, {n} half"]["told"][0] for n in ("first", "second")]
    assert not set(halves[0].groups) & set(halves[1].groups)
    assert sum(len(h.y) for h in halves) == (pool.source == "chapman_ningbo").sum()
    text = sources.tables(tmp_path, pool, "chapman_ningbo", 2, "cmsc")
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("|")}
    assert "half" not in lines
    assert lines["told"].count("1.000 (1.000 to 1.000)") == 5 and lines["told"].split(" | ")[1] == "2"
    assert "not distinguishable" not in lines["told minus cmsc"] and "told minus features alone" in lines
    assert "cmsc minus cmsc" not in lines and "features alone minus cmsc" not in lines
    assert "Best on the first half of chapman_ningbo: told; on the second 1.000 (1.000 to 1.000)." in text


def test_classes_too_rare_in_what_is_scored_are_left_out(sources, stores):
    pool = sources.gather(stores, 2)
    scores = sources.score(pool, pool.columns(None), "georgia", 0.01, 2)
    fast = np.flatnonzero(scores.y[:, 0] == 1)
    some = sources.among(scores, np.concatenate((fast[:1], np.flatnonzero(scores.y[:, 0] == 0))), 2)
    assert some.left_out == {1.0: ["fast"]}
