"""What a training step spends outside the encoder when the segments lie in the memory of the training device.

    python benchmarks/bench_resident.py [--device cpu|cuda] [--batch 256] [--method physioclr|simclr|cmsc]
                                        [--encoder fast|published] [--augment leads|preserving] [--steps 10] [--amp]
                                        [--host] [--store STORE]

Takes the step of the Trainer apart: batch and views, encoder (forward and backward, with its projection), decoder (the
same), loss (forward and backward down to embeddings and reconstruction), gradient norm and optimiser. The parts are cut
by detaching, so the arithmetic is that of the whole step, which is timed as well. --host takes the batches as a run
without resident=true does, from filtered records in host memory, in line. Without --store, the shipped records are
prepared first (seconds); with fewer pairs than a batch holds, the batch repeats rows.
Times are medians; CUDA is synchronised at the end of each part, which adds the launch latency that a whole step hides.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import physioclr as pc
from physioclr.data import open_store, sample_store
from physioclr.train import Config
from physioclr.train.distributed import world
from physioclr.train.methods import Outputs
from physioclr.train.pretrain import Trainer
from physioclr.train.views import make_views

PARTS = ("batch and views", "encoder", "decoder", "loss", "optimiser")


class Clock:
    """Milliseconds of the parts of one step."""

    def __init__(self, device: torch.device):
        self.device, self.ms = device, dict.fromkeys(PARTS, 0.0)
        self.last = self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def add(self, part: str) -> None:
        now = self._now()
        self.ms[part] += 1e3 * (now - self.last)
        self.last = now


def cut(x: torch.Tensor) -> torch.Tensor:
    return x.detach().requires_grad_()


def gradients(outputs: list[torch.Tensor], leaves: list[torch.Tensor]) -> None:
    pairs = [(o, x.grad) for o, x in zip(outputs, leaves, strict=True) if x.grad is not None]
    torch.autograd.backward([o for o, _ in pairs], [g for _, g in pairs])


def step_in_parts(trainer: Trainer, pairs: np.ndarray) -> dict[str, float]:
    """The step of `Trainer.train_step` for one batch, timed part by part."""
    model, device, c = trainer.model, trainer.device, trainer.config
    trainer.optimizer.zero_grad(set_to_none=True)
    clock = Clock(device)
    batch = trainer.source.batch(pairs).to(device)
    sd = trainer.info["input_sd"]
    views = [x for x in make_views(batch, c, 0, trainer.segments.fs, sd) if x is not None]
    if model.decoder is not None:
        valid = torch.isfinite(batch.ecg)
        target = torch.where(valid, batch.ecg, 0.0) / sd
    clock.add("batch and views")
    with torch.autocast(device.type, torch.bfloat16, enabled=c.amp):
        embeddings, tokens = model.project(*views)
    clock.add("encoder")
    encoded, leaves = [*embeddings, tokens], [cut(x) for x in (*embeddings, tokens)]
    if model.decoder is not None:
        with torch.autocast(device.type, torch.bfloat16, enabled=c.amp):
            decoded = model.decoder(leaves[-1], views[0].shape[2])
        clock.add("decoder")
        signal = cut(decoded.signal)
    heads = {}
    if model.decoder is not None:
        sums = model.loss.reconstruction_sums(signal, target, valid & decoded.made, batch.rpeaks)
        heads = {"reconstruction": sums.squares, "reconstruction_count": sums.count}
        if c.beta:
            heads |= {"peak": sums.peak_squares, "peak_count": sums.peak_count}
    found = trainer.method.loss(Outputs([x.float() for x in leaves[:-1]], heads), batch)
    loss = found["loss"] if isinstance(found, dict) else found
    assert np.isfinite(loss.item())  # as the Trainer does
    loss.backward()
    clock.add("loss")
    if model.decoder is not None:
        gradients([decoded.signal], [signal])
        clock.add("decoder")
    gradients(encoded, leaves)
    clock.add("encoder")
    float(torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], c.clip or np.inf))
    trainer.optimizer.step()
    clock.add("optimiser")
    return clock.ms


def whole_step(trainer: Trainer, pairs: np.ndarray) -> float:
    """Milliseconds of the Trainer's own step, its batch included; nothing waits for the device in between."""
    clock = Clock(trainer.device)
    trainer.train_step([trainer.source.batch(pairs)])
    clock.add("encoder")
    return clock.ms["encoder"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=256, help="segments, even")
    parser.add_argument("--method", default="physioclr", choices=("physioclr", "simclr", "cmsc"))
    parser.add_argument("--encoder", default="fast", choices=("fast", "published"))
    parser.add_argument("--augment", default="leads", choices=("leads", "preserving"))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--amp", action="store_true", help="bfloat16 in encoder and decoder")
    parser.add_argument("--host", action="store_true", help="batches from host memory instead")
    parser.add_argument("--store", help="any store; the shipped records if left out")
    a = parser.parse_args()
    config = Config.load(a.encoder).replace(
        method=a.method, augment=a.augment, batch_size=a.batch, device=a.device, amp=a.amp, resident=not a.host,
        workers=0, accumulate=1, steps=10**6, log_every=10**6,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, world(a.device.startswith("cuda")) as processes:
        store = open_store(a.store) if a.store else sample_store(Path(folder) / "store")
        begun = time.perf_counter()
        trainer = Trainer(store, Path(folder) / "run", config, False, None, processes)
        trainer.model.train()
        print(f"physioclr {pc.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads")
        if a.device.startswith("cuda"):
            print(torch.cuda.get_device_name(trainer.device))
        where = "host memory" if a.host else f"int16 on {trainer.device}"
        print(f"{2 * len(trainer.segments)} segments, {where}; set up in {time.perf_counter() - begun:.1f} s")
        rng = np.random.default_rng(0)
        n, half = len(trainer.segments), a.batch // 2
        draws = [rng.choice(n, half, replace=n < half) for _ in range(2 * a.steps + 4)]
        for pairs in draws[:2]:
            step_in_parts(trainer, pairs)
            whole_step(trainer, pairs)
        parts = [step_in_parts(trainer, pairs) for pairs in draws[4 : 4 + a.steps]]
        whole = [whole_step(trainer, pairs) for pairs in draws[4 + a.steps :]]
    median = {k: statistics.median(p[k] for p in parts) for k in PARTS}
    total = sum(median.values())
    print(f"{a.method}, {a.augment}, {a.encoder}, batch {a.batch}, {a.device}{', amp' if a.amp else ''}")
    for name, ms in median.items():
        print(f"  {name:16} {ms:9.2f} ms  {100 * ms / total:5.1f} %")
    print(f"  {'sum of the parts':16} {total:9.2f} ms; whole step {statistics.median(whole):.2f} ms")
    print(f"outside the encoder: {100 * (1 - median['encoder'] / total):.1f} %", end="")
    both = median["encoder"] + median["decoder"]
    print(f" (outside encoder and decoder: {100 * (1 - both / total):.1f} %)" if median["decoder"] else "")


if __name__ == "__main__":
    main()
