"""Training under torchrun's protocol (gloo, two processes) against one process, and what happens when one dies."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training_store import FakeStore, one_thread

from physioclr.train import Config, pretrain
from physioclr.train.metrics import read_metrics

single = pytest.fixture(autouse=True, scope="module")(one_thread)

CONFIG = Config(channels=[8, 8], projection=8, batch_size=8, warmup=0, steps=3, seed=3, norm="group", log_every=1,
                schedule="constant", feature_components=10, device="cpu")  # fmt: skip

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
pretrain(Store(14), {out!r}, Config.load({config!r}))
"""


def launch(tmp_path, config, dies=False):
    """(return codes, stderr of rank 0) of two processes started the way torchrun does."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    file = tmp_path / "config.yaml"
    file.write_text(config.to_yaml())
    code = WORKER.format(tests=str(Path(__file__).parent), out=str(tmp_path / "two"), config=str(file), dies=dies)
    processes = []
    for rank in range(2):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        env = {**os.environ, **{k: str(v) for k, v in variables.items()}}
        processes.append(subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, text=True))
    try:
        errors = [p.communicate(timeout=150)[1] for p in processes]
    finally:
        for p in processes:
            p.kill()
    return [p.returncode for p in processes], errors[0]


@pytest.mark.parametrize("changes", [{}, {"method": "simclr"}, {"method": "cmsc", "accumulate": 2}], ids=str)
def test_two_processes_are_one(tmp_path, changes):
    config = CONFIG.replace(**changes)
    codes, error = launch(tmp_path, config)
    assert codes == [0, 0], error
    pretrain(FakeStore(14), tmp_path / "one", config)
    one, two = (read_metrics(tmp_path / name / "metrics.csv") for name in ("one", "two"))
    assert len(one) == len(two) == 3
    # From the second step on Adam enlarges rounding: its first steps are the sign of each gradient, however small
    for a, b, tolerance in zip(one, two, (1e-4, 5e-3, 2e-2), strict=True):
        for k in ("loss", "contrastive", "reconstruction", "peak", "positives", "negatives", "grad_norm"):
            np.testing.assert_allclose(a[k], b[k], rtol=tolerance, atol=1e-6, err_msg=f"{k} at step {a['step']}")


def test_a_dead_process_ends_the_run(tmp_path):
    codes, error = launch(tmp_path, CONFIG, dies=True)
    assert codes[1] == 7 and codes[0] not in (0, None)
    assert "Error" in error


def test_batch_must_divide():
    from physioclr.train.dataset import Sampler

    with pytest.raises(ValueError, match="batch_size is 10; with 4 processes a multiple of 8"):
        Sampler(20, 10, 0, processes=4)
    assert Sampler(7, 16, 0, processes=2).pairs_per_batch == 6
