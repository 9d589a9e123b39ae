"""FeatureSpace by the rules of scikit-learn's estimators: its own checks, and what a user does with them."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import physioclr as pc

NAMES = list(pc.FEATURE_NAMES)

# Checks of scikit-learn's that do not apply, and why.
APART = {
    "check_n_features_in_after_fitting": "the error names the argument and its columns in our words",
    "check_estimators_empty_data_messages": "so does this one",
    "check_estimators_dtypes": "integers are refused by every op that takes features",
    "check_complex_data": "refused, in our words",
    "check_dtype_object": "objects are refused, and the error names the dtypes",
    "check_fit1d": "features are (..., F): (F,) is one row",
    "check_fit2d_predict1d": "so it is for transform",
}


@pytest.fixture
def table(rng):
    pandas = pytest.importorskip("pandas")
    x = rng.normal(size=(60, 159)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    return pandas.DataFrame(x, columns=NAMES, index=[f"r{k}" for k in range(60)])


@pytest.mark.filterwarnings("ignore")  # scikit-learn's own
def test_the_checks_of_scikit_learn():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    if not hasattr(checks, "estimator_checks_generator"):
        pytest.skip("scikit-learn before 1.6 checks its own classes only")
    # one name stands for as many columns as there are, so that the made-up data of any width fit
    space = pc.FeatureSpace(n_components=2, names=("rr_mean",))
    results = checks.check_estimator(space, expected_failed_checks=APART, on_fail=None, on_skip=None)
    bad = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not bad, bad
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(APART)  # and each does fail
    assert sum(r["status"] == "passed" for r in results) > 30


def test_fit_of_an_object_is_fit_of_the_class(table):
    want = pc.FeatureSpace.fit(table, 7, "released")
    space = pc.FeatureSpace(7, "released")
    assert space.fit(table) is space and space.fit(table, [0] * 60) is space
    for name in ("mean", "scale", "weights", "matrix", "offset", "explained_variance", "sigma", "columns"):
        np.testing.assert_array_equal(getattr(space, name), getattr(want, name))
    np.testing.assert_array_equal(space.transform(table), want.transform(table))
    np.testing.assert_array_equal(pc.FeatureSpace(7, "released").fit_transform(table), want.transform(table))
    again = pickle.loads(pickle.dumps(space))
    np.testing.assert_array_equal(again.transform(table), want.transform(table))


def test_parameters(table, tmp_path):
    weights = np.ones(159)
    space = pc.FeatureSpace(n_components=3, weights=weights)
    assert space.get_params() == {"n_components": 3, "weights": weights, "names": None}
    assert pc.FeatureSpace.fit(table, 4).get_params() == {"n_components": 4, "weights": "default", "names": None}
    assert space.set_params(n_components=5, weights="released") is space
    assert space.fit(table).transform(table).shape == (60, 5) and (space.weights == 1).all()
    assert space.set_params(n_components=6).transform(table).shape == (60, 5)  # until the next fit
    with pytest.raises(ValueError, match="'size' is no parameter of FeatureSpace"):
        space.set_params(size=3)
    with pytest.raises(ValueError, match="n_components is 0"):
        pc.FeatureSpace(0).fit(table)
    pc.FeatureSpace.fit(table, 4).save(tmp_path / "s.npz")
    loaded = pc.FeatureSpace.load(tmp_path / "s.npz")
    one, other = pc.FeatureSpace(**loaded.get_params()).fit(table), pc.FeatureSpace.fit(table, 4)
    np.testing.assert_allclose(one.transform(table), other.transform(table), atol=1e-5)  # weights are float32 there
    assert repr(pc.FeatureSpace(n_components=3)) == "FeatureSpace(n_components=3)"
    assert repr(other) == "FeatureSpace(159 columns, n_components=4)"


def test_before_fit():
    space = pc.FeatureSpace()
    for ask in (lambda: space.columns, lambda: space.transform(np.zeros((2, 159))), space.get_feature_names_out,
                lambda: space.transform(torch.zeros(2, 159)), lambda: space.save("x.npz")):  # fmt: skip
        with pytest.raises(ValueError, match="this FeatureSpace is not fitted yet"):
            ask()
    assert not hasattr(space, "n_features_in_") and not hasattr(space, "weights") and not hasattr(space, "other")
    code = "import physioclr as pc\ntry: pc.FeatureSpace().matrix\nexcept ValueError as e: print(type(e).__name__)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "NotFitted\n", done.stderr  # scikit-learn need not be there


def test_a_failed_fit_leaves_it_unfitted(table):
    space = pc.FeatureSpace(3).fit(table)
    with pytest.raises(ValueError, match="no rows"):
        space.fit(table[:0])
    with pytest.raises(ValueError, match="not fitted"):
        space.transform(table)


def test_names_of_columns(table):
    turned = table[NAMES[::-1]]
    space = pc.FeatureSpace(n_components=3).fit(turned)
    assert space.n_features_in_ == 159 and list(space.feature_names_in_) == NAMES[::-1]
    assert space.get_feature_names_out().tolist() == ["featurespace0", "featurespace1", "featurespace2"]
    assert not hasattr(pc.FeatureSpace(3).fit(table.to_numpy()), "feature_names_in_")


def test_output_as_a_data_frame(table):
    space = pc.FeatureSpace.fit(table, 3)
    want = space.transform(table)
    assert space.set_output(transform="pandas") is space
    got = space.transform(table)
    assert list(got.columns) == list(space.get_feature_names_out()) and list(got.index) == list(table.index)
    np.testing.assert_array_equal(got.to_numpy(), want)
    assert list(space.transform(table.to_numpy()).index) == list(range(60))
    assert isinstance(space.transform(torch.from_numpy(table.to_numpy().copy())), torch.Tensor)
    space.set_output()  # changes nothing
    assert hasattr(space.transform(table), "columns")
    assert isinstance(space.set_output(transform="default").transform(table), np.ndarray)
    with pytest.raises(ValueError, match="transform is 'csv'; it must be"):
        space.set_output(transform="csv")


def test_output_as_polars(table):
    polars = pytest.importorskip("polars")
    got = pc.FeatureSpace.fit(table, 3).set_output(transform="polars").transform(table)
    assert isinstance(got, polars.DataFrame) and got.columns == ["featurespace0", "featurespace1", "featurespace2"]


def test_pipeline_clone_and_search(table):
    sklearn = pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    y = (table["rr_mean"].fillna(0) > 0).to_numpy()
    model = make_pipeline(pc.FeatureSpace(n_components=10), LogisticRegression())
    assert model.fit(table, y).score(table, y) > 0.6
    space = pc.FeatureSpace.fit(table, 10)
    by_hand = LogisticRegression().fit(space.transform(table), y)
    np.testing.assert_array_equal(model.predict_proba(table), by_hand.predict_proba(space.transform(table)))
    search = GridSearchCV(model, {"featurespace__n_components": [2, 40]}, cv=2).fit(table, y)
    assert search.best_estimator_[0].transform(table).shape[1] in (2, 40)
    copy = sklearn.clone(space)
    assert copy.get_params() == space.get_params() and not hasattr(copy, "columns")
    assert list(model[:1].set_output(transform="pandas").transform(table).index) == list(table.index)
    with sklearn.config_context(transform_output="pandas"):
        assert hasattr(pc.FeatureSpace.fit(table, 3).transform(table), "index")
