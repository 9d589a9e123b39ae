import pickle
import re

import numpy as np
import pytest
import torch

import physioclr as pc

NAMES = pc.FEATURE_NAMES
COLUMN = {name: i for i, name in enumerate(NAMES)}


@pytest.fixture
def features(rng):
    """(400, 159) correlated columns of different scales, a tenth missing, positive where they have to be."""
    x = rng.normal(size=(400, 20)) @ rng.normal(size=(20, 159)) + rng.normal(size=(400, 159))
    x = x * np.exp(rng.normal(size=159)) + 10 * rng.normal(size=159)
    x[:, COLUMN["rmssd"]] = np.exp(x[:, 0] / 10)
    x[:, COLUMN["cv_rr"]] = np.abs(x[:, 1])
    x[rng.random(x.shape) < 0.1] = np.nan
    return x.astype(np.float32)


def straightforward(train, test, weights, n):
    """The definition, step by step, with an SVD."""
    log = [COLUMN["rmssd"], COLUMN["cv_rr"]]
    train, test = train.astype(np.float64), test.astype(np.float64)
    train[:, log], test[:, log] = np.log1p(train[:, log]), np.log1p(test[:, log])
    mean, sd = np.nanmean(train, axis=0), np.nanstd(train, axis=0)

    def z(x):
        return np.clip(np.nan_to_num((x - mean) / sd), -5, 5) * weights

    center = z(train).mean(axis=0)
    _, _, axes = np.linalg.svd(z(train) - center, full_matrices=False)
    out = (z(test) - center) @ axes[:n].T
    out[np.isnan(test).all(axis=1)] = 0
    return out


@pytest.mark.parametrize("weights", ["default", "released", "vector"])
def test_matches_the_definition(backend, features, rng, weights):
    to, back = backend
    given = rng.uniform(0, 2, size=159) if weights == "vector" else weights
    default = [
        0.2 if "_beat" in n else 3 if n == "pct_p_absent" else 0.5 if n.endswith(("_sd", "_iqr")) else 1 for n in NAMES
    ]
    w = {"default": np.array(default), "released": np.ones(159), "vector": given}[weights]
    test = features[:50].copy()
    test[7] = np.nan
    space = pc.FeatureSpace.fit(to(features), n_components=12, weights=given)
    got, want = back(space.transform(to(test))), straightforward(features, test, w, 12)
    want *= np.sign((got * want).sum(axis=0))  # the sign of a component is free
    assert got.dtype == np.float32 and got.shape == (50, 12)
    # float32 sums of 159 products of numbers up to 15
    np.testing.assert_allclose(got, want, atol=2e-4)
    assert (got[7] == 0).all()
    np.testing.assert_allclose(
        space.explained_variance[:3], straightforward(features, features, w, 3).var(axis=0), rtol=1e-4
    )


def test_numpy_and_torch_agree_and_keep_their_kind(features):
    space = pc.FeatureSpace.fit(torch.from_numpy(features))
    a, b = space.transform(features), space.transform(torch.from_numpy(features))
    assert isinstance(a, np.ndarray) and isinstance(b, torch.Tensor) and a.shape == (400, 50)
    np.testing.assert_allclose(a, b.numpy(), atol=1e-4)
    half = space.transform(torch.from_numpy(features).bfloat16())
    assert half.dtype == torch.float32 and torch.isfinite(half).all()
    np.testing.assert_allclose(space.transform(features.astype(np.float64)), a, atol=1e-6)


def test_leading_dimensions(backend, features):
    to, back = backend
    space = pc.FeatureSpace.fit(to(features.reshape(200, 2, 159)), n_components=5)
    flat = pc.FeatureSpace.fit(features, n_components=5).transform(features)
    np.testing.assert_allclose(
        back(space.transform(to(features.reshape(200, 2, 159)))).reshape(400, 5), flat, atol=1e-4
    )
    assert space.transform(features[0]).shape == (5,)
    assert space.transform(features[:0]).shape == (0, 5)


def test_never_nan_whatever_comes(backend, features):
    to, back = backend
    train = features.copy()
    train[:, 3] = 7.25  # constant
    train[:, 4] = np.nan  # never seen
    train[:, COLUMN["rmssd"]] = np.inf  # never seen, either
    train[:100, 9] = np.nan
    space = pc.FeatureSpace.fit(to(train))
    wild = np.full((4, 159), np.nan, np.float32)
    wild[1], wild[2], wild[3, 3:5] = 3e38, -3e38, [1000.0, 5.0]
    out = back(space.transform(to(np.concatenate([train, wild]))))
    assert np.isfinite(out).all()
    assert (out[-4] == 0).all()
    blank = np.full((1, 159), np.nan, np.float32)
    blank[0, 10] = space.mean[10]
    # a constant and an unseen column say nothing: as good as only average values
    np.testing.assert_array_equal(out[-1], back(space.transform(to(blank)))[0])


def test_a_column_that_is_constant_but_for_rounding(rng):
    x = rng.normal(size=(50, 159)).astype(np.float32)
    x[:, 5] = np.float32(812.0) * (1 + np.float32(1e-7) * rng.integers(0, 2, size=50))
    assert pc.FeatureSpace.fit(x).scale[5] == 0


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_fewer_samples_than_components(features, rows):
    out = pc.FeatureSpace.fit(features[:rows]).transform(features[:20])
    assert out.shape == (20, 50) and (out[:, max(rows - 1, 0) :] == 0).all()
    assert np.isfinite(out).all()
    if rows > 2:
        assert np.abs(out[:rows, : rows - 1]).max(axis=0).all()


def test_a_training_set_in_pieces(features, monkeypatch):
    from physioclr.ops import feature_space

    whole = pc.FeatureSpace.fit(features, n_components=9)
    want = whole.transform(features)
    monkeypatch.setattr(feature_space, "ROWS", 64)
    pieces = pc.FeatureSpace.fit(features, n_components=9)
    np.testing.assert_allclose(pieces.matrix, whole.matrix, atol=1e-5)
    np.testing.assert_allclose(pieces.transform(features), want, atol=1e-4)


def test_more_components_than_columns(features):
    out = pc.FeatureSpace.fit(features[:, 100:], n_components=80).transform(features[:, 100:])
    assert out.shape == (400, 80) and (out[:, 59:] == 0).all() and np.abs(out[:, 58]).max() > 0


def test_everything_missing():
    x = np.full((10, 159), np.nan, np.float32)
    assert (pc.FeatureSpace.fit(x).transform(np.ones((2, 159), np.float32)) == 0).all()


def test_concatenated_leads_segment_columns_and_names(features):
    three = np.concatenate([features, features[::-1], features[::2].repeat(2, axis=0)], axis=1)
    space = pc.FeatureSpace.fit(three, n_components=20)
    assert space.columns == NAMES * 3 and space.weights[159 + COLUMN["pct_p_absent"]] == 3
    assert space.log.sum() == 6 and space.transform(three).shape == (400, 20)
    space = pc.FeatureSpace.fit(three[:, 100:159])
    assert space.columns == NAMES[100:] and space.log.sum() == 2
    chosen = ("rr_mean", "pct_p_absent", "rr_beat0")
    space = pc.FeatureSpace.fit(features[:, [COLUMN[n] for n in chosen] * 2], n_components=2, names=chosen)
    np.testing.assert_allclose(space.weights, [1, 3, 0.2, 1, 3, 0.2])


def test_save_and_load(features, tmp_path):
    space = pc.FeatureSpace.fit(features, n_components=7)
    path = tmp_path / "space.npz"
    space.save(path)
    again = pc.FeatureSpace.load(str(path))
    assert again.columns == space.columns and again.n_components == 7
    np.testing.assert_array_equal(again.transform(features), space.transform(features))
    with np.load(path, allow_pickle=False) as plain:  # nothing in it needs pickle
        assert all(plain[k].dtype != object for k in plain.files)
    space.save(tmp_path / "other.name")  # the name is kept
    assert pc.FeatureSpace.load(tmp_path / "other.name").n_components == 7


def test_sigma_is_the_median_training_distance(features):
    features[3] = np.nan  # says nothing about distances
    space = pc.FeatureSpace.fit(features)
    z = np.delete(space.transform(features), 3, axis=0).astype(np.float64)
    distances = np.linalg.norm(z[:, None] - z[None], axis=-1)[np.triu_indices(len(z), 1)]
    assert isinstance(space.sigma, float) and space.sigma == pytest.approx(np.median(distances), rel=1e-4)
    assert pc.FeatureSpace.fit(features[:1]).sigma == 1


def test_load_refuses_damaged_numbers(features, tmp_path):
    space = pc.FeatureSpace.fit(features, n_components=7)
    space.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as good:
        fields = dict(good)
    for name, value in {
        "mean": fields["mean"][1:],
        "matrix": fields["matrix"] * np.nan,
        "columns": fields["columns"][:3],
    }.items():
        np.savez(tmp_path / "bad.npz", **{**fields, name: value})
        with pytest.raises(ValueError, match="damaged"):
            pc.FeatureSpace.load(tmp_path / "bad.npz")


def test_load_refuses_what_is_no_feature_space(tmp_path):
    with pytest.raises(FileNotFoundError):
        pc.FeatureSpace.load(tmp_path / "none.npz")
    for name, write in {
        "text": lambda p: p.write_text("hello"),
        "pickle": lambda p: p.write_bytes(pickle.dumps({"a": 1})),
        "npz": lambda p: np.savez(p, a=np.zeros(3)),
        "objects": lambda p: np.savez(p, format=np.array([{}], object)),
    }.items():
        path = tmp_path / f"{name}.npz"
        write(path)
        with pytest.raises(ValueError, match=r"must be a file that FeatureSpace\.save wrote"):
            pc.FeatureSpace.load(path)


def test_pickles_after_use_with_tensors(features):
    space = pc.FeatureSpace.fit(features, n_components=4)
    space.transform(torch.from_numpy(features))
    again = pickle.loads(pickle.dumps(space))  # for DataLoader workers
    np.testing.assert_array_equal(again.transform(features), space.transform(features))


def test_compiles_in_one_graph(features):
    space = pc.FeatureSpace.fit(features, n_components=6)
    x = torch.from_numpy(features)
    got = torch.compile(lambda x: space.transform(x + 0), fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(got, space.transform(x))


def test_features_of_records_go_straight_in(rng):
    x = rng.normal(size=(6, 12, 5000)).astype(np.float32) * 0.05
    x[..., ::400] += 1.5
    f = pc.physio_features(x, 500, lead=["II", "V1"], segment=5.0)
    out = pc.FeatureSpace.fit(f).transform(f)
    assert out.shape == (6, 2, 50) and np.isfinite(out).all()
    assert np.isfinite(pc.physio_similarity(out.reshape(12, 50))).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: pc.FeatureSpace.fit(x[:, :100]), "features has 100 columns; it must have k * 159 or k * 59"),
        (lambda x: pc.FeatureSpace.fit(x[:0]), "features has no rows"),
        (lambda x: pc.FeatureSpace.fit(x, n_components=0), "n_components is 0"),
        (lambda x: pc.FeatureSpace.fit(x, weights="mine"), "weights is 'mine'"),
        (lambda x: pc.FeatureSpace.fit(x, weights=np.ones(3)), "weights has shape (3,); it must be (159,)"),
        (lambda x: pc.FeatureSpace.fit(x, weights=-np.ones(159)), "weights contains negative"),
        (lambda x: pc.FeatureSpace.fit(x, names=["rr_mean", "height"]), "names contains 'height'"),
        (lambda x: pc.FeatureSpace.fit(x, names=["rr_mean", "rr_sd"]), "features has 159 columns; it must have k * 2"),
        (lambda x: pc.FeatureSpace.fit(x, names=[]), "names is empty"),
        (lambda x: pc.FeatureSpace.fit(x).transform(x[:, :158]), "it must have the 159 columns of the training set"),
        (lambda x: pc.FeatureSpace.fit(np.float32(3)), "features has shape ()"),
    ],
)
def test_bad_arguments(features, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(features)
    if "transform" in message:
        with pytest.raises(ValueError, match=re.escape(message)):
            call(torch.from_numpy(features))


def test_wrong_types(features):
    with pytest.raises(TypeError, match="features has dtype int64"):
        pc.FeatureSpace.fit(np.zeros((3, 159), np.int64))
    with pytest.raises(ValueError, match="158"):
        pc.FeatureSpace.fit(features).transform(torch.zeros(2, 158))


def test_float64_beyond_float32_is_missing_and_a_denormal_column_constant(backend, features):
    to, back = backend
    wild, plain = features.astype(np.float64), features.astype(np.float64)
    wild[::7, 2], wild[::5, 3], wild[1::9, COLUMN["rmssd"]] = 1e39, -1e100, 1e300
    plain[::7, 2], plain[::5, 3], plain[1::9, COLUMN["rmssd"]] = np.nan, np.nan, np.nan
    wild[:, 4] = plain[:, 4] = 1e-39 * (1 + np.arange(400) % 2)  # its SD has no inverse in float32
    wild[:, 5] = plain[:, 5] = 1e-38 * np.arange(400)  # and this one has
    wild[:, 6] = plain[:, 6] = 3e38 * (-1.0) ** np.arange(400)
    with np.errstate(all="raise", under="ignore", over="warn"):
        space = pc.FeatureSpace.fit(to(wild))
    assert space.scale[4] == 0 and space.scale[5] > 0 and space.scale[6] > 0
    want = pc.FeatureSpace.fit(plain)
    for name in ("mean", "scale", "matrix", "offset", "explained_variance"):
        value = getattr(space, name)
        assert np.isfinite(value).all()
        np.testing.assert_array_equal(value, getattr(want, name))
    assert np.isfinite(space.sigma)
    got = back(space.transform(to(wild)))
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got, back(space.transform(to(plain))))
    nothing = np.full((3, 159), 1e39)
    assert (back(space.transform(to(nothing))) == 0).all()
    assert (back(pc.FeatureSpace.fit(to(nothing)).transform(to(wild))) == 0).all()


@pytest.fixture
def medium():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_neither_autocast_nor_matmul_precision_changes_the_result(features, medium, dtype):
    space = pc.FeatureSpace.fit(features)
    want = space.transform(features)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        got = space.transform(torch.from_numpy(features))
    assert got.dtype == torch.float32
    assert np.abs(got.numpy() - want).max() <= 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-7)


def test_a_fake_mode_leaves_nothing_behind(features):
    from torch._subclasses import FakeTensorMode

    class Network(torch.nn.Module):
        def __init__(self, space):
            super().__init__()
            self.space = space

        def forward(self, x):
            return self.space.transform(x)

    x = torch.from_numpy(features)
    want = pc.FeatureSpace.fit(features).transform(x)
    for used_before in (False, True):
        space = pc.FeatureSpace.fit(features)
        if used_before:
            space.transform(x)
        for strict in (False, True):
            exported = torch.export.export(Network(space), (x,), strict=strict)
            torch.testing.assert_close(exported.module()(x), want)
        with torch.device("meta"):
            torch.testing.assert_close(space.transform(x), want)
        with FakeTensorMode() as mode:
            assert space.transform(mode.from_tensor(x)).shape == want.shape
        assert space.transform(x.to("meta")).device.type == "meta"
        got = space.transform(x)
        assert type(got) is torch.Tensor and torch.equal(got, want)
        torch.testing.assert_close(torch.func.vmap(space.transform)(x), want)


def test_columns_of_a_table_are_matched_by_name(features, rng):
    pandas = pytest.importorskip("pandas")
    order = rng.permutation(159)
    table = pandas.DataFrame(features, columns=list(NAMES))
    mixed = table.iloc[:, order]
    space = pc.FeatureSpace.fit(features, n_components=8)
    fitted = pc.FeatureSpace.fit(mixed, n_components=8)
    assert fitted.columns == NAMES
    np.testing.assert_array_equal(fitted.transform(mixed), space.transform(features))
    np.testing.assert_array_equal(space.transform(table), space.transform(features))
    np.testing.assert_array_equal(space.transform(pandas.DataFrame(features)), space.transform(features))  # numbered
    np.testing.assert_array_equal(space.transform(mixed.convert_dtypes()), space.transform(features))  # NA
    segment = table.iloc[:, 100:]
    assert pc.FeatureSpace.fit(segment.iloc[:, ::-1]).columns == NAMES[100:]
    chosen = ["rr_mean", "pct_p_absent", "rr_beat0"]
    few = pc.FeatureSpace.fit(table[chosen], n_components=2, names=chosen)
    np.testing.assert_array_equal(few.transform(table[chosen[::-1]]), few.transform(table[chosen]))
    for bad, message in (
        (table.drop(columns=["st_mad", "rmssd"]), "features misses the column 'rmssd' and 1 more; it must have every"),
        (table.rename(columns={"rmssd": "RMSSD"}), "features misses the column 'rmssd'; it must have every"),
        (table.assign(age=50.0), "features has the column 'age', which is none of the space's columns"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            space.transform(bad)
        with pytest.raises(ValueError, match=re.escape(message)):
            pc.FeatureSpace.fit(bad)
    two = pandas.concat([table, table], axis=1)
    assert pc.FeatureSpace.fit(two).columns == NAMES * 2
    with pytest.raises(ValueError, match="columns of the same name"):
        pc.FeatureSpace.fit(two.iloc[:, ::-1])


def test_masked_features_are_missing(features):
    masked = np.ma.masked_invalid(features.astype(np.float64))
    masked.data[masked.mask] = 1234.0
    space = pc.FeatureSpace.fit(features, n_components=8)
    np.testing.assert_array_equal(pc.FeatureSpace.fit(masked, n_components=8).matrix, space.matrix)
    np.testing.assert_array_equal(space.transform(masked), space.transform(features))
