"""A method of the user's own is one class: it pretrains, resumes to the bit, is embedded and probed."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from training_store import FakeStore, one_thread

from physioclr.train import Config, Method, checkpoint, embed, open_run, pretrain, probe
from physioclr.train.methods import BUILT_IN, SimCLR, given, named
from physioclr.train.metrics import read_metrics

SMALL = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=4, checkpoint_every=2, seed=3,
               feature_components=10)  # fmt: skip

single = pytest.fixture(autouse=True, scope="module")(one_thread)


class VICReg(Method):
    """Invariance, variance and covariance of two augmented views (Bardes et al. 2022)."""

    def __init__(self, weight=1.0):
        self.weight = weight

    def views(self, batch, draw):
        return draw(0, 1)

    def loss(self, out, batch):
        a, b = out.embeddings
        invariance = F.mse_loss(a, b)
        spread = sum(F.relu(1 - x.var(0).add(1e-4).sqrt()).mean() for x in (a, b))
        covariance = sum((torch.cov(x.T) - torch.diag(x.var(0))).square().sum() / x.shape[1] for x in (a, b))
        loss = 25 * invariance + 25 * spread + self.weight * covariance
        return {"loss": loss, "invariance": invariance, "covariance": covariance}


class Neighbour(Method):
    """The least that a method must say: the pair's distance."""

    def loss(self, out, batch):
        (h,) = out.embeddings
        return (h - h[batch.pair]).square().mean()


@pytest.fixture(scope="module")
def store():
    return FakeStore(12)


def same_weights(a, b):
    a, b = (load_file(checkpoint.latest(Path(run)) / checkpoint.WEIGHTS) for run in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_class_pretrains_resumes_and_is_probed(store, tmp_path):
    rows = []
    result = pretrain(store, tmp_path / "whole", SMALL, method=VICReg, progress=rows.append)
    assert (result.step, result.status) == (4, "finished") and np.isfinite(result.metrics["loss"])
    assert open_run(tmp_path / "whole").config.method == f"{__name__}:VICReg"
    pretrain(store, tmp_path / "parts", SMALL, method=VICReg, stop_after=1)
    pretrain(store, tmp_path / "parts", SMALL, method=f"{__name__}:VICReg", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert embed(tmp_path / "whole", store).shape == (12, 8)
    found = probe(tmp_path / "whole", FakeStore(30), fractions=(1.0,), folds=3, bootstrap=10, picture=False)
    assert found.rows[0]["method"] == f"{__name__}:VICReg" and np.isfinite(found.macro(1.0)["auroc"])
    # its terms stand in metrics.csv behind the columns of every run, on each row of the parts too
    for run in ("whole", "parts"):
        with open(tmp_path / run / "metrics.csv", newline="") as f:
            assert next(csv.reader(f))[-2:] == ["invariance", "covariance"]
        table = read_metrics(tmp_path / run / "metrics.csv")
        assert [r["covariance"] for r in table] == [pytest.approx(r["covariance"]) for r in rows]
        assert all(np.isfinite(r["alignment"]) for r in table)


def test_a_built_in_method_is_a_class_like_any_other(store, tmp_path):
    pretrain(store, tmp_path / "name", SMALL.replace(method="simclr"))
    pretrain(store, tmp_path / "class", SMALL, method=SimCLR)
    assert open_run(tmp_path / "class").config.method == "simclr"
    assert same_weights(tmp_path / "name", tmp_path / "class")
    assert set(BUILT_IN) == {"physioclr", "simclr", "cmsc", "supervised", "features", "random"}


def test_an_object_keeps_its_parameters(store, tmp_path):
    run = pretrain(store, tmp_path / "run", SMALL, method=VICReg(0.25), stop_after=2).path
    assert json.loads((run / "run.json").read_text())["method_settings"] == {"weight": 0.25}
    with pytest.raises(
        ValueError, match=r"another method_settings: it is \{'weight': 1.0\} and was \{'weight': 0.25\}"
    ):
        pretrain(store, run, SMALL, method=VICReg, resume=True)
    with pytest.raises(ValueError, match=r"method is 'physioclr' and was '.*:VICReg'"):
        pretrain(store, run, SMALL, resume=True)
    assert pretrain(store, run, SMALL, method=VICReg(0.25), resume=True).step == 4


def test_it_goes_through_every_form_of_a_step(store, tmp_path):
    def rows(name, **changes):
        c = SMALL.replace(**{"steps": 1, "warmup": 0, "norm": "group", "lr": 0.0, **changes})
        kept = []
        pretrain(store, tmp_path / name, c, method=Neighbour, progress=kept.append)
        return kept

    first, second = rows("plain", steps=2)
    (chunks,) = rows("chunks", chunk=3)
    assert chunks["loss"] == pytest.approx(first["loss"], rel=1e-5)
    assert chunks["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)  # of the whole batch
    (both,) = rows("both", accumulate=2)
    assert both["loss"] == pytest.approx((first["loss"] + second["loss"]) / 2, rel=1e-5)
    (packed,) = rows("packed", resident=True)
    assert packed["loss"] == pytest.approx(first["loss"], rel=1e-3)
    (half,) = rows("half", amp=True)
    assert half["loss"] == pytest.approx(first["loss"], rel=0.1) and half["loss"] != first["loss"]


def test_modules_of_its_own_are_trained_and_kept(store, tmp_path):
    class Predictive(Neighbour):
        def model(self, encoder, config, fs, classes=0):
            model = super().model(encoder, config, fs, classes)
            model.head = torch.nn.Linear(config.projection, config.projection)
            return model

        def forward(self, model, rows):
            out = super().forward(model, rows)
            return out._replace(heads={"guess": model.head(out.embeddings[0])})

        def loss(self, out, batch):
            return (out.heads["guess"] - out.embeddings[0][batch.pair]).square().mean()

    run = pretrain(store, tmp_path / "run", SMALL, method=Predictive, stop_after=2).path
    first = load_file(checkpoint.latest(run) / checkpoint.WEIGHTS)["head.weight"]
    assert pretrain(store, run, SMALL, method=Predictive, resume=True).step == 4
    assert not torch.equal(first, load_file(checkpoint.latest(run) / checkpoint.WEIGHTS)["head.weight"])
    assert embed(run, store).shape == (12, 8)


class Broken(Method):
    def views(self, batch, draw):
        return draw(0)[0]


class Flat(Method):
    def loss(self, out, batch):
        return out.embeddings[0].square().mean(1)


class Choosy(Neighbour):
    def check(self, config):
        raise ValueError("projection must be 0")


def test_errors_say_what_a_method_must_do(store, tmp_path):
    for number, (method, error, message) in enumerate((
        (Broken, TypeError, r"Broken\.views returned a Tensor; it must return a tuple of \(N, 12, T\) tensors"),
        (Flat, TypeError, r'Flat\.loss must return a scalar tensor with a gradient, or a dict with one under "loss"'),
        (Method, NotImplementedError, "Method has no loss"),
        (Choosy, ValueError, "projection must be 0"),
        (dict, TypeError, "it must be a name, or a class derived from physioclr.train.Method"),
        (3, TypeError, "method is 3"),
        ("no_such_module:VICReg", ValueError, "ModuleNotFoundError.*its folder must be on PYTHONPATH"),
        (f"{__name__}:Absent", ValueError, "method is '.*:Absent'; it cannot be imported"),
        ("json:JSONDecoder", ValueError, "no class derived from physioclr.train.Method"),
        ("vicreg", ValueError, "it must be one of .*, or package.module:Class"),
        ("x:f.<locals>.C", ValueError, "cannot be imported|defined inside a function; pass it again"),
    )):  # fmt: skip
        with pytest.raises(error, match=message):
            pretrain(store, tmp_path / str(number), SMALL, method=method)


def test_names():
    class Local(Neighbour):
        pass

    name, method = given(Local)
    assert type(method) is Local and named(name) is Local and "<locals>" in name
    assert Config(method=name).method == name  # nothing is imported for it
    assert Config(method="nowhere.at_all:Thing").method == "nowhere.at_all:Thing"


def test_the_code_of_the_documentation_runs(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks), "docs/training.md", "exec"), {"__name__": "__main__"})
    out = capsys.readouterr().out
    assert "__main__:VICReg, linear on embedding" in out and "macro" in out and "(80, 64)" in out
    assert "invariance" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]
