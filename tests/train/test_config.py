"""The configuration: YAML there and back, and errors that name the key."""

import dataclasses

import pytest

from physioclr.ops._checks import STANDARD_LEADS
from physioclr.train.config import Config, help_text


def test_fast_is_the_default():
    assert Config.load("fast") == Config()


def test_beats_is_the_default_with_other_pairs():
    pairs = {"mode": "supcon", "beat_weight": 2.0, "shuffle": False, "alpha": 0.0, "beta": 0.0}
    assert Config.load("beats") == Config(**pairs)
    wide = pairs | {"channels": [32, 64, 128, 256], "gamma": 10.0}
    assert Config.load("predict") == Config(**wide)
    all_leads = wide | {"feature_leads": list(STANDARD_LEADS), "feature_components": 100}
    assert Config.load("predict12") == Config(**all_leads)
    assert Config.load("kernel12") == Config(**all_leads, target="kernel", augment="preserving")


def test_published():
    c = Config.load("published")
    assert (c.encoder, c.width, c.layers, c.heads, c.ffn) == ("transformer", 768, 12, 8, 3072)
    assert (c.optimizer, c.beta1, c.beta2, c.weight_decay, c.lr) == ("adam", 0.9, 0.98, 0.01, 5e-5)
    assert (c.tau, c.delta, c.alpha, c.beta, c.schedule) == (0.1, 0.25, 0.2, 0.1, "constant")
    assert (c.batch_size, c.accumulate, c.epochs, c.lead_mask) == (64, 4, 200, 0.5)


def test_yaml_round_trip(tmp_path):
    c = Config(method="cmsc", lr=3e-5, feature_leads=["V5"], exclude_folds=[9, 10], amp=True)
    file = tmp_path / "c.yaml"
    file.write_text(c.to_yaml())
    assert Config.load(file) == c


def test_every_key_has_a_help_text():
    assert set(help_text()) == {f.name for f in dataclasses.fields(Config)}
    assert all(help_text().values())


def test_override():
    c = Config().override(["delta=0.4", "lr=5e-5", "feature_leads=[II, V5]", "amp=true", "steps=30", "method=simclr"])
    assert (c.delta, c.lr, c.feature_leads, c.amp, c.steps, c.method) == (0.4, 5e-5, ["II", "V5"], True, 30, "simclr")
    assert Config().delta == 0.25
    assert isinstance(Config().override(["tau=1"]).tau, float)


@pytest.mark.parametrize(
    ("setting", "error", "match"),
    [
        ("delta", ValueError, "setting 'delta' has no '='"),
        ("detla=0.3", ValueError, "no key 'detla'; did you mean 'delta'"),
        ("zzz=0.3", ValueError, "no key 'zzz'; the keys are method"),
        ("delta=high", TypeError, "delta is 'high'; it must be a number"),
        ("delta=2", ValueError, "delta is 2.0; it must be from -1 to 1"),
        ("steps=1.5", TypeError, "steps is 1.5; it must be an integer"),
        ("steps=true", TypeError, "steps is True; it must be an integer"),
        ("amp=1", TypeError, "amp is 1; it must be a boolean"),
        ("method=moco", ValueError, "method is 'moco'; it must be one of 'physioclr'"),
        ("feature_leads=II", TypeError, "feature_leads is 'II'; it must be a list of str"),
        ("feature_leads=[]", ValueError, "feature_leads is empty"),
        ("channels=[32, 0]", ValueError, "channels is 0 in its list; it must be at least 1"),
        ("batch_size=5", ValueError, "batch_size is 5; it must be even"),
        ("lr=.nan", ValueError, "lr is nan"),
        ("tau=0", ValueError, "tau is 0.0"),
        ("delta=[", ValueError, "delta is '.'; it cannot be read as a YAML value"),
        ("device=", TypeError, "device is None; it must be a string"),
    ],
)
def test_override_errors_name_the_key(setting, error, match):
    with pytest.raises(error, match=match):
        Config().override([setting])


def test_views_and_modes_that_do_not_go_together():
    with pytest.raises(ValueError, match="shuffle and adjacent are both false"):
        Config(shuffle=False, adjacent=False)
    with pytest.raises(ValueError, match="feature_pairs is false with mode 'soft'"):
        Config(feature_pairs=False, mode="soft")


def test_file_errors_name_the_file(tmp_path):
    file = tmp_path / "bad.yaml"
    with pytest.raises(FileNotFoundError, match=r"bad\.yaml"):
        Config.load(file)
    for text, match in (
        ("- 1", "holds a list"),
        ("a: [", "not valid YAML"),
        ("tua: 1", "bad.yaml: there is no key 'tua'"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=match):
            Config.load(file)
    file.write_text("tau: hot")
    with pytest.raises(TypeError, match=r"bad\.yaml: tau is 'hot'"):
        Config.load(file)
    file.write_text("")
    assert Config.load(file) == Config()


def test_differences_ignore_what_a_resumed_run_may_change():
    assert Config(delta=0.3).differences(Config()) == {"delta": (0.3, 0.25)}
    assert not Config(steps=40, epochs=3, workers=0, log_every=5).differences(Config())
