"""Lightning and Accelerate with `HybridLoss`: losses and weights are those of our own trainer, on the same batches."""

import copy
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import framework_loops as loops
import pytest
import torch
from training_store import FS, FakeStore, one_thread

import physioclr as pc
from physioclr.train import Config, checkpoint, pretrain
from physioclr.train.methods.physioclr import PhysioCLR
from physioclr.train.metrics import read_metrics
from physioclr.train.run import build_model

single = pytest.fixture(autouse=True, scope="module")(one_thread)
# Lightning's own, and torch's, of the list that Lightning's loops look through
pytestmark = pytest.mark.filterwarnings("ignore")

CONFIG = Config(channels=[8, 8], projection=8, batch_size=8, warmup=0, steps=3, accumulate=2, seed=3, norm="group",
                log_every=1, schedule="constant", feature_components=10, clip=0.0, weight_decay=0.0, device="cpu",
                lr=loops.LR)  # fmt: skip
PRECISION = {"in_lightning": ("32-true", "bf16-mixed"), "in_accelerate": ("no", "bf16")}
NEEDS = {"in_lightning": "lightning", "in_accelerate": "accelerate"}


def weights_of(model):
    state = model if isinstance(model, dict) else model.state_dict()
    return torch.cat([v.detach().float().flatten() for v in state.values()])


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "bf16"])
def ours(request, tmp_path_factory):
    """A run of the trainer by plain gradient descent: its batches, first weights, last weights and losses."""
    if not any(map(importlib.util.find_spec, NEEDS.values())):
        pytest.skip("neither lightning nor accelerate is installed")
    batches, run = [], tmp_path_factory.mktemp("ours") / "run"
    config = CONFIG.replace(amp=request.param)

    class Recording(PhysioCLR):
        def rows(self, batch, views, sd):
            rows = super().rows(batch, views, sd)
            more = {"features": self.pair_features(batch), "group": batch.group, "pair": batch.pair}
            batches.append({k: v.clone() for k, v in (rows | more).items()})
            return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", loops.plain)
        pretrain(FakeStore(14), run, config, method=Recording)
    torch.manual_seed(config.seed)
    first = build_model(config, FS)
    last = copy.deepcopy(first)
    checkpoint.load_weights(checkpoint.latest(run), last)
    losses = [row["loss"] for row in read_metrics(run / "metrics.csv")]
    return batches, first, weights_of(last) - weights_of(first), losses, request.param


def alike(ours, losses, last):
    """The mean loss of each step, and the way from the first weights to the last: all gradients are in it."""
    _, first, moved, want, half = ours
    got = torch.tensor(losses).reshape(-1, 2).mean(1)
    torch.testing.assert_close(got, torch.tensor(want), rtol=2e-2 if half else 1e-5, atol=0, check_dtype=False)
    way = weights_of(last) - weights_of(first)
    assert moved.norm() > 1e-3 * weights_of(first).norm()  # it has learned something
    assert (way - moved).norm() <= (0.1 if half else 3e-4) * moved.norm()


@pytest.mark.parametrize("framework", ["in_lightning", "in_accelerate"])
def test_loss_and_gradients_are_those_of_our_trainer(ours, framework, tmp_path):
    pytest.importorskip(NEEDS[framework])
    model = copy.deepcopy(ours[1])
    more = {"folder": tmp_path} if framework == "in_lightning" else {}
    precision = PRECISION[framework][ours[4]]
    alike(ours, getattr(loops, framework)(model, ours[0], accumulate=2, precision=precision, **more), model)


def in_two_processes(folder, framework, **keywords):
    """(losses of the first process, weights) of a framework in two processes, as torchrun starts them."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    processes = []
    for rank in (0, 1):
        env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "one"}
        env |= {k: str(v) for k, v in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", 2), ("GROUP_RANK", 0))}
        command = [sys.executable, "-P", loops.__file__, folder, framework, repr(keywords)]
        env["PYTHONPATH"] = str(Path(loops.__file__).parent)
        processes.append(
            subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
    try:
        errors = [p.communicate(timeout=200)[1] for p in processes]
    finally:
        for p in processes:
            p.kill()
    assert [p.returncode for p in processes] == [0, 0], errors[0]
    return torch.load(folder / f"{framework}.pt", weights_only=False)


@pytest.mark.parametrize("framework", ["in_lightning", "in_accelerate"])
def test_two_processes_are_one(ours, framework, tmp_path):
    pytest.importorskip(NEEDS[framework])
    torch.save({"model": ours[1], "batches": ours[0]}, tmp_path / "made.pt")
    alike(ours, *in_two_processes(tmp_path, framework, accumulate=2, precision=PRECISION[framework][ours[4]]))


def test_chunks_under_accelerate(ours, tmp_path):
    """An encoder of one's own in chunks, in one process and in two: the weights of whole batches."""
    pytest.importorskip("accelerate")
    batches, *_, half = ours
    if half:
        pytest.skip("chunks of bfloat16 round apart")
    torch.manual_seed(0)
    first = loops.Encoder()
    whole, one = copy.deepcopy(first), copy.deepcopy(first)
    optimizer, criterion = loops.plain(whole.parameters(), loops.LR), pc.nn.HybridLoss(alpha=0.0, beta=0.0)
    for k, batch in enumerate(batches):
        h, shuffled = whole(batch["view0"]), whole(batch["view1"])
        views = torch.stack([shuffled, h[batch["pair"]]])
        (criterion(h, views, batch["features"], batch["group"]).total / 2).backward()
        if k % 2:
            optimizer.step()
            optimizer.zero_grad()
    losses = loops.in_accelerate(one, batches, accumulate=2, chunk=3)
    torch.save({"model": first, "batches": batches}, tmp_path / "made.pt")
    both, two = in_two_processes(tmp_path, "in_accelerate", accumulate=2, chunk=3)
    torch.testing.assert_close(losses, both, rtol=1e-4, atol=0)
    for made in (one, two):
        torch.testing.assert_close(weights_of(made), weights_of(whole), rtol=1e-5, atol=1e-6)
    assert not torch.equal(weights_of(whole), weights_of(first))
