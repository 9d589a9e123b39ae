"""Evaluation: weighted scores against scikit-learn, folds without leaks, draws, and the probe's tables."""

import csv
import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from training_store import FakeStore, one_thread

from physioclr.train import Config, open_run, pretrain, probe
from physioclr.train.compare import ProbeScores, macro_auroc, mean_auroc, paired_difference, pool_folds
from physioclr.train.probe import COLUMNS, LinearProbe, represent
from physioclr.train.scores import bootstrap_weights, interval, weighted_auroc_auprc
from physioclr.train.splits import draw_labels, patient_folds

single = pytest.fixture(autouse=True, scope="module")(one_thread)


@pytest.fixture(scope="module")
def store():
    return FakeStore(40)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    config = Config(method="random", channels=[8, 16], projection=8)
    return open_run(pretrain(store, tmp_path_factory.mktemp("probe") / "run", config).path)


@pytest.mark.parametrize("ties", [False, True])
def test_scores_are_those_of_sklearn(rng, ties):
    score = rng.normal(size=200)
    if ties:
        score = score.round(0)
    positive = rng.random(200) < 0.3
    weight = rng.integers(0, 3, (5, 200))
    auroc, auprc = weighted_auroc_auprc(score, positive, weight)
    for k in range(5):
        assert auroc[k] == pytest.approx(roc_auc_score(positive, score, sample_weight=weight[k]))
        assert auprc[k] == pytest.approx(average_precision_score(positive, score, sample_weight=weight[k]))


def test_mean_auroc_is_the_mean_over_the_draws(rng):
    scores, positive = rng.normal(size=(4, 60)).round(1), rng.random(60) < 0.3
    weight = rng.integers(0, 3, (7, 60))
    weight[3, positive] = 0
    with np.errstate(invalid="ignore"):
        expected = np.mean([weighted_auroc_auprc(s, positive, weight)[0] for s in scores], axis=0)
    np.testing.assert_allclose(mean_auroc(scores, positive, weight), expected, rtol=1e-12)
    assert np.isnan(expected[3]) and np.isfinite(np.delete(expected, 3)).all()


def test_scores_without_a_class_are_nan():
    weight = np.array([[1, 1, 0], [1, 0, 1]])
    auroc, auprc = weighted_auroc_auprc(np.arange(3.0), np.array([True, True, False]), weight)
    assert np.isnan(auroc[0]) and np.isnan(auprc[0]) and auroc[1] == 0.0


def test_bootstrap_draws_whole_patients():
    groups = np.array([7, 7, 3, 3, 3, 1])
    w = bootstrap_weights(groups, 400, seed=0)
    assert (w[0] == 1).all()
    assert (w[:, 0] == w[:, 1]).all() and (w[:, 2] == w[:, 4]).all()
    assert (w[1:, [0, 2, 5]].sum(1) == 3).all()
    assert w[1:, 0].mean() == pytest.approx(1, abs=0.1)


def test_interval():
    assert interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert all(np.isnan(interval(np.array([np.nan]))))


def test_folds_split_no_patient_and_spread_classes(rng):
    groups = rng.integers(0, 120, 300)
    y = (rng.random((300, 3)) < [0.5, 0.2, 0.05]).astype(int)
    fold = patient_folds(y, groups, 5)
    for g in np.unique(groups):
        assert len(np.unique(fold[groups == g])) == 1
    sizes = np.bincount(fold, minlength=5)
    assert sizes.min() > 45 and sizes.max() < 75
    rare = [y[fold == k, 2].sum() for k in range(5)]
    assert max(rare) - min(rare) <= 2
    with pytest.raises(ValueError, match="folds is 5, but there are 3 patients"):
        patient_folds(y[:3], np.arange(3), 5)


def test_draws_are_stratified_by_patient_and_repeatable(rng):
    groups = np.repeat(np.arange(150), 2)
    y = (rng.random((300, 2)) < [0.4, 0.04]).astype(int)
    draw = draw_labels(y, groups, 0.1, seed=4)
    assert 28 <= len(draw) <= 32
    assert y[draw, 1].sum() >= round(0.1 * y[:, 1].sum())
    assert 0.2 < y[draw, 0].mean() < 0.6
    inside = np.isin(np.arange(300), draw)
    assert (inside[0::2] == inside[1::2]).all()
    assert np.array_equal(draw, draw_labels(y, groups, 0.1, seed=4))
    assert not np.array_equal(draw, draw_labels(y, groups, 0.1, seed=5))
    assert len(draw_labels(y, groups, 1.0, seed=0)) == 300


def test_linear_probe_sees_training_statistics_only(rng):
    x = rng.normal(size=(60, 3))
    x[:, 2] = 5.0
    x[3, 0] = np.nan
    y = (x[:, 1] > 0).astype(int)[:, None]
    train, test = np.arange(40), np.arange(40, 60)
    score = LinearProbe(x, 1.0)(train, test, y[train], 0, 2)
    assert roc_auc_score(y[test, 0], score[:, 0]) > 0.95
    x[test[0], 1] *= 1e6  # an outlier among the tested changes no other score
    assert np.array_equal(LinearProbe(x, 1.0)(train, test, y[train], 0, 2)[1:], score[1:])
    assert np.isnan(LinearProbe(x, 1.0)(train, test, np.zeros((40, 1), int), 0, 2)).all()


def test_probe_table(run, store, tmp_path):
    seen = []
    result = probe(run, store, out=tmp_path, fractions=(0.5, 1.0), seeds=2, folds=4, bootstrap=50,
                   progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert seen[-1] == (12, 12)  # (2 seeds at 0.5 + 1 at 1.0) x 4 folds
    assert result.left_out == {0.5: ["rare"], 1.0: ["rare"]}
    assert any("rare" in note for note in result.notes)
    with open(result.csv, newline="") as f:
        rows = list(csv.DictReader(f))
    assert tuple(rows[0]) == COLUMNS and len(rows) == len(result.rows) == 3 * 3 + 2 * 3 - 0
    macro = result.macro(1.0)
    single = [r["auroc"] for r in result.rows if r["fraction"] == 1.0 and r["seed"] == "all" and r["class"] != "macro"]
    assert macro["auroc"] == pytest.approx(np.mean(single), abs=1e-4)
    assert macro["auroc_low"] <= macro["auroc"] <= macro["auroc_high"]
    assert macro["auroc"] > 0.8  # a random encoder still tells twice the voltage and twice the rate
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert "left out: rare" in str(result) and "macro" in str(result)
    again = probe(run, store, out=tmp_path, fractions=(0.5, 1.0), seeds=2, folds=4, bootstrap=50)
    assert again.rows == result.rows


def test_scores_are_kept_and_compare(run, store, tmp_path):
    result = probe(run, store, out=tmp_path, fractions=(0.5, 1.0), seeds=2, folds=4, bootstrap=20)
    kept = ProbeScores.load(result.csv.with_suffix(".npz"))
    assert kept.left_out == result.left_out and kept.classes == ("fast", "tall", "rare")
    for f in (0.5, 1.0):
        assert macro_auroc([kept], f, 5)[0, 0] == pytest.approx(result.macro(f)["auroc"], abs=1e-4)
    assert paired_difference([kept], [kept], 0.5, 50) == (0, 0, 0)
    worse = dataclasses.replace(
        kept, scores={k: np.random.default_rng(1).permutation(v) for k, v in kept.scores.items()}
    )
    difference, low, high = paired_difference([kept, kept], [worse], 1.0, 200)
    assert 0 < low < difference < high
    with pytest.raises(ValueError, match="different records"):
        paired_difference([kept], [dataclasses.replace(kept, records=kept.records[::-1])], 1.0)


def test_pool_folds(run, tmp_path):
    fake = FakeStore(40)
    fake.table["fold"] = np.arange(40) % 4
    fake.table["patient_id"] = np.array([f"p{i}" for i in range(40)])
    kwargs = {"out": tmp_path, "fractions": (1.0,), "bootstrap": 10}
    parts = [probe(run, fake, test_folds=[k], **kwargs).scores for k in range(4)]
    whole = probe(run, fake, **kwargs).scores
    np.testing.assert_allclose(pool_folds(parts).scores[1.0, 0], whole.scores[1.0, 0])
    with pytest.raises(ValueError, match="the same records twice"):
        pool_folds([parts[0], parts[0]])


def test_label_shuffle_scores_chance(run, tmp_path):
    shuffled = FakeStore(60)
    names, y = shuffled.labels["shape"]
    shuffled.labels["shape"] = (names, np.random.default_rng(0).permutation(y))
    result = probe(run, shuffled, out=tmp_path, fractions=(1.0,), folds=3, bootstrap=200)
    macro = result.macro(1.0)
    assert macro["auroc_low"] < 0.5 < macro["auroc_high"]


def test_given_folds_are_used_unless_a_patient_is_in_two(run, tmp_path):
    fake = FakeStore(40)
    fake.table["fold"] = np.arange(40) % 4
    fake.table["patient_id"] = np.array([f"p{i}" for i in range(40)])
    result = probe(run, fake, out=tmp_path, fractions=(1.0,), test_folds=[3], bootstrap=10)
    assert result.macro(1.0)["test_records"] == 10 and result.macro(1.0)["train_records"] == 30
    with pytest.raises(ValueError, match=r"test_folds has \[7\]; the store has the folds 0, 1, 2, 3"):
        probe(run, fake, out=tmp_path, test_folds=[7])
    fake.table["patient_id"][1] = "p0"
    with pytest.raises(ValueError, match="a patient's records lie in several"):
        probe(run, fake, out=tmp_path, test_folds=[3])


def test_inputs(run, store, tmp_path):
    records = np.array([0, 1, 2])
    x = represent(run, store, records, ["features", "demographics"])
    assert x.shape == (3, 177 + 4)
    first = store.features(0)[:, 100:159]
    np.testing.assert_allclose(x[0, :59], first.mean(0), rtol=1e-5)
    result = probe(run, store, out=tmp_path, inputs=("features",), fractions=(1.0,), folds=4, bootstrap=10)
    assert result.macro(1.0)["auroc"] > 0.9 and result.csv.name == "probe_memory_shape_linear_features.csv"
    with pytest.raises(ValueError, match=r"inputs is \('pixels',\)"):
        probe(run, store, out=tmp_path, inputs=("pixels",))


def test_records_of_the_pretraining_are_told_of_at_either_rate(tmp_path):
    """PTB-XL has each recording twice, at 500 and at 100 Hz."""
    seen, other = FakeStore(20), FakeStore(20)
    seen.table["record_id"] = np.array([f"records500/00000/{i:05d}_hr" for i in range(20)])
    config = Config(channels=[8, 8], batch_size=8, steps=2, feature_components=10, decimate=4)
    made = pretrain(seen, tmp_path / "run", config).path
    other.table["record_id"] = np.array([f"ptbxl/records100/00000/{i:05d}_lr" for i in range(10, 30)])
    result = probe(made, other, out=tmp_path, fractions=(1.0,), folds=4, bootstrap=10)
    assert "10 of the 20 scored records were in the pretraining (without their labels)" in result.notes


def test_finetune(run, store, tmp_path):
    before = {k: v.clone() for k, v in run.encoder.state_dict().items()}
    result = probe(run, store, out=tmp_path, fractions=(1.0,), seeds=1, folds=2, bootstrap=10, finetune=True, epochs=40)
    assert result.macro(1.0)["auroc"] > 0.6
    assert all((v == before[k]).all() for k, v in run.encoder.state_dict().items())  # it trains copies


def test_too_few_labels_for_any_class(run, store, tmp_path):
    result = probe(run, store, out=tmp_path, fractions=(0.05,), seeds=2, folds=4, bootstrap=10)
    assert result.left_out[0.05] == ["fast", "tall", "rare"]
    assert np.isnan(result.macro(0.05)["auroc"])


def test_errors(run, store, tmp_path):
    with pytest.raises(ValueError, match="out is None; give a folder"):
        probe("pretrained", store)
    with pytest.raises(ValueError, match="scheme is 'x'; the store has 'shape'"):
        probe(run, store, out=tmp_path, scheme="x")
    with pytest.raises(ValueError, match="fractions has 10"):
        probe(run, store, out=tmp_path, fractions=(10,))
    with pytest.raises(ValueError, match="seeds is 0; it must be at least 1"):
        probe(run, store, out=tmp_path, seeds=0)
    bare = FakeStore(10)
    bare.labels = {}
    with pytest.raises(ValueError, match="the store has no labels"):
        probe(run, bare, out=tmp_path)


def test_across_sources(run, tmp_path):
    fake = FakeStore(40)
    fake.table["source"] = np.array(["a"] * 20 + ["b"] * 15 + ["c"] * 5)
    fake.table["patient_id"] = np.array([f"p{i}" for i in range(40)])
    kwargs = {"out": tmp_path, "fractions": (1.0,), "bootstrap": 10}
    result = probe(run, fake, train_sources=["a"], test_sources=["b"], **kwargs)
    macro = result.macro(1.0)
    assert (macro["train_records"], macro["test_records"]) == (20, 15)
    assert result.csv.name == "probe_memory_shape_linear_transfer.csv"
    scored = np.isfinite(result.scores.scores[1.0, 0]).any(1)
    assert np.array_equal(scored, fake.table["source"] == "b")
    others = probe(run, fake, test_sources=["b"], picture=False, **kwargs)
    assert others.macro(1.0)["train_records"] == 25 and others.picture is None
    for wrong, message in (
        ({"test_sources": ["d"]}, r"test_sources is \['d'\]; the labelled records come from a, b, c"),
        ({"train_sources": ["a"], "test_sources": ["a"]}, "is in both"),
        ({"train_sources": ["a", "b", "c"]}, r"test_sources is \[\]"),
        ({"train_sources": ["a"], "folds": 3}, "cannot be used with train_sources"),
    ):
        with pytest.raises(ValueError, match=message):
            probe(run, fake, **wrong, **kwargs)


def test_a_features_run_is_probed_on_features(store, tmp_path):
    run = pretrain(store, tmp_path / "run", Config(method="features", channels=[8])).path
    result = probe(run, store, fractions=(1.0,), folds=4, bootstrap=10)
    assert result.rows[0]["inputs"] == "features" and result.macro(1.0)["auroc"] > 0.9
