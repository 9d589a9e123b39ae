"""SIGKILL at random moments, again and again: what comes of it in the end is that of a run left alone, to the bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from training_store import FakeStore, one_thread
from wfdb_files import ecg_like, write_record

import physioclr as pc
from physioclr.train import Config, checkpoint, pretrain

single = pytest.fixture(autouse=True, scope="module")(one_thread)
KILLS = [3, pytest.param(100, marks=pytest.mark.slow)]
PATHS = Path(pc.__file__).parents[1], Path(__file__).parents[1] / "support"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS))}


def arrays(store):
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*.npy")}


def killed(code, arguments, least, most, chance):
    """Run code, which prints a line where its work begins, and kill it after a random time. False: it ended before."""
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        if not process.stdout.readline():  # the last kill came between the end of its work and its own
            assert process.wait() == 0
            return False
        try:
            process.wait(chance.uniform(least, most))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return True
    assert process.returncode == 0
    return False


PREPARE = """
import sys, physioclr as pc
pc.data.prepare(sys.argv[1], sys.argv[2], progress=lambda *a: print(a, flush=True))
"""


@pytest.mark.parametrize("kills", KILLS)
def test_prepare(tmp_path, rng, kills):
    x = ecg_like(rng)
    for k in range(40):
        write_record(tmp_path / "src", f"r{k:02d}", np.roll(x, 37 * k, axis=1))
    pc.data.prepare(tmp_path / "src", tmp_path / "straight")
    chance, done = random.Random(kills), 0
    begun = time.monotonic()
    for attempt in range(10 * kills):
        dest = tmp_path / f"store-{attempt}"  # a new one once the last is finished
        while done < kills and killed(PREPARE, [str(tmp_path / "src"), str(dest)], 0.0, 0.4, chance):
            done += 1
        pc.data.prepare(tmp_path / "src", dest)
        assert pc.data.verify(dest) == []
        assert arrays(dest) == arrays(tmp_path / "straight")
        assert (dest / "store.json").read_bytes() == (tmp_path / "straight" / "store.json").read_bytes()
        assert not [p for p in dest.iterdir() if p.name[0] == "." and not p.name.endswith(".lock")]
        if done >= kills:
            break
    assert done == kills, f"{done} kills in {time.monotonic() - begun:.0f} s"


PRETRAIN = """
import sys, torch
torch.set_num_threads(1)
from training_store import FakeStore
from physioclr.train import pretrain, Config
pretrain(FakeStore(12), sys.argv[2], Config.load(sys.argv[1]), resume=True,
         progress=lambda row: print(row["step"], flush=True))
"""


@pytest.mark.parametrize("kills", KILLS)
def test_pretrain(tmp_path, kills):
    store = FakeStore(12)
    config = Config(channels=[8, 8], projection=8, batch_size=8, warmup=2, steps=40, checkpoint_every=2, seed=3,
                    feature_components=10)  # fmt: skip
    straight = pretrain(store, tmp_path / "straight", config).path
    want = load_file(checkpoint.latest(straight) / checkpoint.WEIGHTS)
    chance, done = random.Random(kills), 0
    for attempt in range(10 * kills):
        out = tmp_path / f"run-{attempt}"  # a new one once the last is finished
        pretrain(store, out, config, stop_after=2)
        while done < kills and killed(PRETRAIN, [str(straight / "config.yaml"), str(out)], 0.0, 0.15, chance):
            done += 1
        pretrain(store, out, config, resume=True)
        got = load_file(checkpoint.latest(out) / checkpoint.WEIGHTS)
        assert got.keys() == want.keys() and all(bool((got[k] == want[k]).all()) for k in want)
        if done >= kills:
            break
    assert done == kills, done
