"""Training in two and three processes (gloo, as torchrun starts them) against one, and what happens when one dies."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_store import FS, FakeStore, one_thread

from physioclr.train import Config, checkpoint, pretrain
from physioclr.train.dataset import Sampler
from physioclr.train.metrics import read_metrics
from physioclr.train.run import build_model

single = pytest.fixture(autouse=True, scope="module")(one_thread)

CONFIG = Config(channels=[8, 8], projection=8, batch_size=8, warmup=0, steps=3, seed=3, norm="group", log_every=1,
                schedule="constant", feature_components=10, device="cpu")  # fmt: skip
METHODS = {
    "physioclr": CONFIG,
    "simclr": CONFIG.replace(method="simclr"),
    "cmsc": CONFIG.replace(method="cmsc", accumulate=2),
    # Gradient descent: Adam divides any wrong factor of the gradient out again, and enlarges rounding.
    "plain": CONFIG.replace(steps=10, batch_size=12, lr=0.02, weight_decay=0.0, clip=0.0),
}
METHODS["amp"] = CONFIG.replace(amp=True)
METHODS["own"] = CONFIG.replace(method="own_methods:TwoViews", encoder="own_encoders:tokens")
METHODS["kernel"] = CONFIG.replace(gamma=10.0, target="kernel", shuffle=False, alpha=0.0, beta=0.0, mode="supcon")
ADAM = ["physioclr", "simclr", "cmsc", "amp", "own", "kernel"]
TERMS = ("loss", "contrastive", "reconstruction", "peak", "prediction", "positives", "negatives", "grad_norm")

WORKER = """
import os, sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from training_store import FakeStore
from physioclr.train import pretrain, Config

class Store(FakeStore):
    def rpeaks(self, i):  # first asked for by a batch, when the processes are joined
        if {dies} and os.environ["RANK"] == "1":
            os._exit(7)
        return super().rpeaks(i)

if {plain}:
    torch.optim.AdamW = lambda parameters, lr, *_, **__: torch.optim.SGD(parameters, lr)
if {joined}:  # pretrain joins the processes where the caller has not: once for several runs
    torch.distributed.init_process_group("gloo")
for name in {names!r}:
    pretrain(Store(14), f"{folder}/many-{{name}}", Config.load(f"{folder}/{{name}}.yaml"))
if {joined}:
    torch.distributed.destroy_process_group()
"""


def launch(folder, names, *, world=2, joined=False, dies=False, plain=False):
    """(return codes, stderr of rank 0) of `world` processes with the variables that torchrun sets."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    for name in names:
        (folder / f"{name}.yaml").write_text(METHODS[name].to_yaml())
    tests = str(Path(__file__).parents[1] / "support")
    code = WORKER.format(tests=tests, folder=folder, names=names, joined=joined, dies=dies, plain=plain)
    processes = []
    for rank in range(world):
        env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        env |= {k: str(v) for k, v in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", world))}
        processes.append(subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, text=True))
    try:
        errors = [p.communicate(timeout=200)[1] for p in processes]
    finally:
        for p in processes:
            p.kill()
    return [p.returncode for p in processes], errors[0]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    codes, error = launch(folder, ADAM, joined=True)
    assert codes == [0, 0], error
    return folder


@pytest.mark.parametrize("name", ADAM)
def test_two_processes_are_one(two, tmp_path, name):
    pretrain(FakeStore(14), tmp_path / "one", METHODS[name])
    one = read_metrics(tmp_path / "one" / "metrics.csv")
    both = read_metrics(two / f"many-{name}" / "metrics.csv")
    assert len(one) == len(both) == 3
    assert np.isfinite(one[0]["prediction"]) == (name == "kernel")
    # From the second step on Adam enlarges rounding: its first steps are the sign of each gradient, however small
    first = 1e-2 if name == "amp" else 1e-4
    for a, b, tolerance in zip(one, both, (first, max(first, 5e-3), 2e-2), strict=True):
        for k in TERMS:
            np.testing.assert_allclose(a[k], b[k], rtol=tolerance, atol=1e-6, err_msg=f"{k} at step {a['step']}")


def test_weights_of_three_processes_are_those_of_one(tmp_path, monkeypatch):
    config = METHODS["plain"]
    codes, error = launch(tmp_path, ["plain"], world=3, plain=True)
    assert codes == [0, 0, 0], error
    monkeypatch.setattr(torch.optim, "AdamW", lambda parameters, lr, *_, **__: torch.optim.SGD(parameters, lr))
    pretrain(FakeStore(14), tmp_path / "one", config)
    torch.manual_seed(config.seed)
    model = build_model(config, FS)
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    ends = []
    for run in ("one", "many-plain"):
        checkpoint.load_weights(checkpoint.latest(tmp_path / run), model)
        ends.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    one, three = (x - start for x in ends)
    assert one.norm() > 1e-3 * start.norm()  # it has learned something
    assert (three - one).norm() <= 1e-4 * one.norm()


def test_a_dead_process_ends_the_run(tmp_path):
    codes, error = launch(tmp_path, ["physioclr"], dies=True)
    assert codes[1] == 7 and codes[0] not in (0, None)
    assert "Error" in error


def test_batch_must_divide():
    with pytest.raises(ValueError, match="batch_size is 10; with 4 processes a multiple of 8"):
        Sampler(20, 10, 0, processes=4)
    with pytest.raises(ValueError, match="the store gives 3 pairs of segments; 4 processes need one each"):
        Sampler(3, 8, 0, processes=4)
    assert Sampler(7, 16, 0, processes=2).pairs_per_batch == 6
