"""Pretraining: the loop, the run folder, stopping and going on.

A step is a function of (configuration, store, weights and optimiser state, step number): the order of the batches, the
views and the dropout are drawn from the step number, never from a generator that has to be carried along. That is
why a run of 10 + 10 steps gives the same bits as one of 20 on a CPU.
"""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import nn
from . import checkpoint
from .beats import BeatSpace, fit_beats
from .config import UNTRAINED, Config
from .dataset import Batch, Sampler, Segments, iterate
from .distributed import World, world
from .metrics import MetricsFile, draw_loss, read_metrics
from .objective import Objective, Pass
from .resident import training_source
from .run import BEATS, CONFIG, INFO, METRICS, PICTURE, RECORDS, SPACE, build_model, choose_device
from .views import make_views

Progress = Callable[[dict[str, Any]], Any]


class TrainingDiverged(RuntimeError):
    """The loss or its gradient became NaN or infinite. The message names step, records and last good checkpoint."""


@dataclasses.dataclass
class Result:
    """What a call of `pretrain` did.

    path: the run folder. step: optimiser steps made in all; steps: those planned. status: "finished", "interrupted"
    (Ctrl-C or SIGTERM) or "stopped" (stop_after); the last two go on with resume=True. metrics: the last row.
    """

    path: Path
    step: int
    steps: int
    status: str
    metrics: dict[str, Any]

    def __str__(self) -> str:
        loss = f", loss {self.metrics['loss']:.4f}" if "loss" in self.metrics else ""
        more = "" if self.status == "finished" else " (go on with resume)"
        return f"{self.path}: {self.status} after {self.step} of {self.steps} steps{loss}{more}"


def pretrain(
    store: Any,
    out: str | Path,
    config: Config | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    records: Sequence[int] | np.ndarray | None = None,
    stop_after: int | None = None,
) -> Result:
    """Pretrain an encoder on a store, without labels.

    Args:
        store: an open store, or the path of one.
        out: the run folder; made if missing. It must be empty unless resume is true.
        config: the configuration, `Config()` (fast) if None.
        resume: go on from the newest checkpoint in `out`; starts afresh where there is none.
        progress: called after every step with its metrics: step, steps, epoch, loss, segments_per_s, ...
        records: indices of the records to train on; all if None. Folds in config.exclude_folds go in either case.
        stop_after: stop, with a checkpoint, once so many steps have been made in this call.

    Ctrl-C and SIGTERM end the step in progress, write a checkpoint and return with status "interrupted"; a second
    Ctrl-C raises KeyboardInterrupt at once.

    Raises:
        FileExistsError: `out` is not empty and resume is false.
        ValueError: the store cannot be trained on, or a resumed run differs in its configuration or records.
        TrainingDiverged: NaN or infinity in the loss or gradient.
    """
    if isinstance(store, str | Path):
        from ..data import open_store

        store = open_store(store)
    config = config or Config()
    devices = list(range(torch.cuda.device_count()))
    # the caller's generators stay as they are
    with torch.random.fork_rng(devices=devices), world(choose_device(config.device).type == "cuda") as processes:
        trainer = Trainer(store, Path(out), config, resume, records, processes)
        return trainer.train(progress, stop_after)


class Trainer:
    """One process of a run. `pretrain` is the way to use it."""

    def __init__(self, store: Any, out: Path, config: Config, resume: bool, records: Any, world: World):
        self.out, self.config, self.world = out, config, world
        self.device = world.device(choose_device(config.device))
        self.segments = Segments(store, config, records)
        if config.method not in UNTRAINED:
            self.segments.check_trainable()
        self.sampler = Sampler(max(1, len(self.segments)), config.batch_size, config.seed, world.size)
        share = self.sampler.pairs_per_batch // world.size
        self.part = slice(world.rank * share, (world.rank + 1) * share)
        per_epoch = max(1, self.sampler.batches_per_epoch // config.accumulate)
        self.steps = 0 if config.method in UNTRAINED else config.steps or config.epochs * per_epoch
        if world.rank == 0:
            self._open(resume)
        world.barrier()
        self.info = json.loads((out / INFO).read_text(encoding="utf-8"))
        self._load_space()
        self.last_good = checkpoint.latest(out)

        torch.manual_seed(config.seed)
        self.model = build_model(config, self.segments.fs, classes=len(self.segments.classes)).to(self.device)
        adam = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = adam(
            self.model.parameters(), config.lr, (config.beta1, config.beta2), weight_decay=config.weight_decay
        )
        self.step, self.seconds = 0, 0.0
        if self.last_good is not None:
            self._load(self.last_good)
        if config.compile:
            self.model.encoder.compile()
        self.source = training_source(self.segments, self.device) if self.steps else self.segments
        self.one_pass = Pass(self.model, config.amp)
        self.loss = Objective(config, self.segments, self.one_pass, self.beat_space, world.group)
        self.forward = world.wrap(self.one_pass)

    # ---- the run folder -------------------------------------------------------------------------------------------

    def _open(self, resume: bool) -> None:
        """Make or check the run folder; fit the input SD and the feature space of a new run."""
        out, segments = self.out, self.segments
        if out.exists() and not out.is_dir():
            raise FileExistsError(f"out is {str(out)!r}, a file; it must be a folder")
        if out.is_dir() and any(out.iterdir()) and not resume:
            raise FileExistsError(f"out {str(out)!r} is not empty; resume the run in it, or choose another folder")
        out.mkdir(parents=True, exist_ok=True)
        ids = [str(i) for i in np.asarray(segments.store.table["record_id"])[segments.records]]
        begun = (out / INFO).is_file()
        if begun:
            self._check_same(ids)
            checkpoint.clean(out)
        else:
            self._fit_space()
            checkpoint.write_atomically(out / RECORDS, "".join(f"{i}\n" for i in ids))
        checkpoint.write_atomically(out / CONFIG, self.config.to_yaml())
        if not begun:  # last: a folder with run.json has everything else
            checkpoint.write_atomically(out / INFO, json.dumps(self._describe(ids), indent=1))

    def _describe(self, ids: list[str]) -> dict[str, Any]:
        import physioclr

        store = self.segments.store
        return {
            "format": 1,
            "store": str(getattr(store, "path", "")),
            "leads": list(store.leads),
            "fs": float(store.fs),
            "samples": self.segments.samples,
            "highpass": self.config.highpass,
            "input_sd": self.segments.input_sd(),
            "records": len(ids),
            "records_crc32": _crc(ids),
            "records_too_short": self.segments.left_out,
            "pairs": len(self.segments),
            "versions": {"physioclr": physioclr.__version__, "torch": torch.__version__},
        }

    def _check_same(self, ids: list[str]) -> None:
        differences = self.config.differences(Config.load(self.out / CONFIG))
        if differences:
            text = "; ".join(f"{k} is {new!r} and was {old!r}" for k, (new, old) in differences.items())
            raise ValueError(f"the run in {str(self.out)!r} cannot go on with another configuration: {text}")
        info = json.loads((self.out / INFO).read_text(encoding="utf-8"))
        if info["records_crc32"] != _crc(ids):
            raise ValueError(
                f"the run in {str(self.out)!r} was begun on {info['records']} records of {info['store']!r}; "
                f"the {len(ids)} records given now are not the same"
            )

    def _fit_space(self) -> None:
        import physioclr

        features = self.segments.training_features()
        space = physioclr.FeatureSpace.fit(features, self.config.feature_components, self.config.feature_weights)
        space.save(self.out / SPACE)  # and loaded from there, so that a resumed run has the same bits
        if self.compares_beats:
            self.segments.feature_space = space
            fit_beats(self.segments).save(self.out / BEATS)

    @property
    def compares_beats(self) -> bool:
        return self.config.method == "physioclr" and self.config.beat_weight > 0

    def _load_space(self) -> None:
        import physioclr

        self.segments.feature_space = physioclr.FeatureSpace.load(self.out / SPACE)
        self.beat_space = BeatSpace.load(self.out / BEATS) if self.compares_beats else None

    def _load(self, folder: Path) -> None:
        checkpoint.load_weights(folder, self.model)
        if (folder / checkpoint.OPTIMIZER).is_file():
            checkpoint.load_optimizer(folder, self.optimizer)
        state = checkpoint.load_state(folder)
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        if self.world.rank == 0:
            state = {"seconds": self.seconds, "steps": self.steps}
            keep = self.config.keep_checkpoints
            self.last_good = checkpoint.save(self.out, self.step, self.model, self.optimizer, state, keep)

    # ---- steps ----------------------------------------------------------------------------------------------------

    def learning_rate(self, step: int) -> float:
        """Of the step with this number, counted from 0: linear warm-up, then constant or a half cosine to 0."""
        c = self.config
        if step < c.warmup:
            return c.lr * (step + 1) / c.warmup
        if c.schedule == "constant":
            return c.lr
        done = (step - c.warmup) / max(1, self.steps - c.warmup)
        return c.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def train(self, progress: Progress | None = None, stop_after: int | None = None) -> Result:
        first_process = self.world.rank == 0
        metrics_file = MetricsFile(self.out / METRICS, self.step) if first_process else None
        row: dict[str, Any] = {}
        first, status = self.step, "finished"
        per_step = self.config.accumulate
        batches = iterate(self.source, self.sampler, self.step * per_step, self.steps * per_step, self.part)
        self.model.train()
        try:
            with _stop_signals() as stopped:
                while self.step < self.steps:
                    if self.world.any(stopped.is_set()):
                        status = "interrupted"
                        break
                    if stop_after is not None and self.step - first >= stop_after:
                        status = "stopped"
                        break
                    row = self.train_step([next(batches) for _ in range(per_step)])
                    if metrics_file and (self.step % self.config.log_every == 0 or self.step == self.steps):
                        metrics_file.write(row)
                    if self.step % self.config.checkpoint_every == 0:
                        self.save()
                    if progress is not None and first_process:
                        progress(row)
                self.save()
                self.world.barrier()
        finally:
            batches.close()
            if metrics_file:
                metrics_file.close()
                rows = read_metrics(self.out / METRICS)
                draw_loss(rows, self.out / PICTURE, f"{self.config.method}, {self.config.encoder}")
        return Result(self.out, self.step, self.steps, status, row)

    def train_step(self, batches: list[Batch]) -> dict[str, Any]:
        """One optimiser step over `accumulate` batches; the metrics of their mean."""
        began = time.perf_counter()
        logged = (self.step + 1) % self.config.log_every == 0 or self.step + 1 == self.steps
        lr = self.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        total: dict[str, float] = {}
        for j, batch in enumerate(batches):
            number = self.step * len(batches) + j
            torch.manual_seed(zlib.crc32(f"{self.config.seed} {number} {self.world.rank}".encode()))  # dropout
            terms = self.backward(batch.to(self.device), self.sampler.epoch(number), 1 / len(batches), logged)
            for k, v in terms.items():
                total[k] = total.get(k, 0.0) + float(v) / len(batches)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        limit = self.config.clip or math.inf
        grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        self._check_finite("gradient", grad_norm, batches)
        self.optimizer.step()
        self.step += 1
        took = time.perf_counter() - began
        self.seconds += took
        segments = self.world.size * sum(len(b.record) for b in batches)
        total = self.world.mean(total)
        return {
            "step": self.step, "steps": self.steps, "epoch": self.sampler.epoch((self.step - 1) * len(batches)),
            **total, "lr": lr, "grad_norm": grad_norm, "segments_per_s": segments / took, "seconds": self.seconds,
        }  # fmt: skip

    def backward(self, batch: Batch, epoch: int, weight: float = 1.0, logged: bool = True) -> dict[str, Any]:
        """Adds the gradient of weight * loss to the parameters; returns the loss, its terms and statistics."""
        sd, terms = self.info["input_sd"], {}
        anchor, second = make_views(batch, self.config, epoch, self.segments.fs, sd)
        rows = {"anchor": anchor} if second is None else {"anchor": anchor, "second": second}
        if self.model.decoder is not None:
            valid = torch.isfinite(batch.ecg)
            rows |= {"target": torch.where(valid, batch.ecg, 0.0) / sd, "valid": valid, "rpeaks": batch.rpeaks}
        weight = weight * self.world.size  # DistributedDataParallel takes the mean over the processes
        self.one_pass.counts = [0, 0]

        def loss(*outputs: Tensor) -> Tensor:
            value = self.loss(outputs, batch, terms, logged)
            self._check_finite("loss", value.item(), [batch])
            return weight * value

        if self.config.chunk:
            nn.chunked_backward(self.forward, loss, rows, chunk_size=self.config.chunk)
        else:
            loss(*self.forward(rows)).backward()
        return terms

    def _check_finite(self, what: str, value: float, batches: list[Batch]) -> None:
        if math.isfinite(value):
            return
        ids = np.asarray(self.segments.store.table["record_id"])
        records = [str(r) for r in dict.fromkeys(ids[i] for b in batches for i in b.record)]
        if self.world.rank == 0:
            self._report(what, value, records)
        shown = ", ".join(records[:8]) + (f" and {len(records) - 8} more" if len(records) > 8 else "")
        good = f"the last good checkpoint is {self.last_good}" if self.last_good else "there is no checkpoint yet"
        raise TrainingDiverged(
            f"the {what} is {value} at step {self.step + 1} of {self.steps}; its batch holds the records {shown} "
            f"(all in diverged.json); {good}"
        )

    def _report(self, what: str, value: float, records: list[str]) -> None:
        report = {"step": self.step + 1, what: str(value), "records": records, "last_good": str(self.last_good or "")}
        checkpoint.write_atomically(self.out / "diverged.json", json.dumps(report, indent=1))


def _crc(ids: list[str]) -> int:
    return zlib.crc32("\n".join(ids).encode())


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C raises. Outside the main thread nothing is caught."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number: int, frame: Any) -> None:
        if stopped.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.set()

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
