"""Pretraining: the loop, stopping and going on.

A step is a function of (configuration, store, weights and optimiser state, step number): the order of the batches, the
views and the dropout are drawn from the step number, never from a generator that has to be carried along. That is
why a run of 10 + 10 steps gives the same bits as one of 20 on a CPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import checkpoint, methods
from .config import GIVEN, Config
from .dataset import Batch, Sampler, Segments, iterate
from .distributed import World, world
from .finite import FiniteCheck
from .finite import TrainingDiverged as TrainingDiverged
from .folder import DIVERGED, METRICS, PICTURE, RunFolder
from .memory import keep_freed_memory
from .methods import Method
from .metrics import MetricsFile, draw_loss, read_metrics
from .resident import training_source
from .run import build_model, check_encoder, choose_device
from .signals import stop_signals
from .step import Step, make_optimizer

if TYPE_CHECKING:
    from ..data import Store

Progress = Callable[[dict[str, Any]], Any]


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
    store: Store | str | Path,
    out: str | Path,
    config: Config | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    records: Sequence[int] | np.ndarray | None = None,
    stop_after: int | None = None,
    method: Method | type[Method] | str | None = None,
    encoder: torch.nn.Module | str | None = None,
) -> Result:
    """Pretrain an encoder on a store, without labels.

    Args:
        store: an open store, or the path of one.
        out: the run folder; made if missing. It must be empty unless resume is true.
        config: the configuration; None: `Config()` (fast), or with resume that of the run in `out`.
        resume: go on from the newest checkpoint in `out`; starts afresh where there is none.
        progress: called after every step with its metrics: step, steps, epoch, loss, segments_per_s, ...
        records: indices of the records to train on; all if None. Folds in config.exclude_folds go in either case.
        stop_after: stop, with a checkpoint, once so many steps have been made in this call.
        method: instead of config.method: a class derived from `physioclr.train.Method`, an object of it, or a name.
        encoder: instead of config.encoder: a module from segments (N, 12, T) to embeddings (N, D) or tokens (N, S, D),
            a copy of which is trained, or a name. A resumed run, and `open_run`, want such a module again.

    Ctrl-C and SIGTERM end the step in progress, write a checkpoint and return with status "interrupted"; a second
    Ctrl-C raises KeyboardInterrupt at once.

    Raises:
        FileExistsError: `out` is not empty and resume is false.
        ValueError: the store cannot be trained on, a resumed run differs in its configuration or records, or another
            `pretrain` is at work in `out`.
        DamagedFile: a file of the resumed run is damaged.
        TrainingDiverged: NaN or infinity in the loss or gradient.
    """
    if isinstance(store, str | Path):
        from ..data import open_store

        store = open_store(store)
    config = own_config(out) if config is None and resume else config
    config, chosen, module = _chosen(config or Config(), method, encoder)
    devices = list(range(torch.cuda.device_count()))
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))  # the caller's generators stay as they are
        processes = stack.enter_context(world(choose_device(config.device).type == "cuda"))
        if processes.rank == 0:
            stack.enter_context(RunFolder(out).alone(resume))
        trainer = Trainer(store, Path(out), config, resume, records, processes, method=chosen, encoder=module)
        return trainer.train(progress, stop_after)


def own_config(out: str | Path) -> Config | None:
    """The configuration of the run in this folder, stopped before its first step or later; None where there is none."""
    folder = RunFolder(out)
    return folder.config() if folder.configured else None


def _chosen(config: Config, method: Any, encoder: Any) -> tuple[Config, Method, torch.nn.Module | None]:
    """The configuration with the names of what was passed beside it, the method's object, and the encoder if passed."""
    name, chosen = methods.given(config.method if method is None else method)
    changes = {} if method is None else {"method": name}
    if encoder is not None:
        changes["encoder"] = encoder if isinstance(encoder, str) else GIVEN
    return config.replace(**changes), chosen, None if isinstance(encoder, str) else encoder


class Trainer:
    """One process of a run: its parts, and the loop over its steps. `pretrain` is the way to use it."""

    def __init__(
        self, store: Any, out: Path, config: Config, resume: bool, records: Any, world: World, *,
        method: Method | None = None, encoder: torch.nn.Module | None = None,
    ):  # fmt: skip
        self.out, self.config, self.world = out, config, world
        self.device = world.device(choose_device(config.device))
        self.method = methods.given(config.method)[1] if method is None else method
        self.method.check(config)
        check_encoder(config, encoder)
        self.segments = Segments(store, config, records)
        if self.method.trained:
            self.segments.check_trainable()
        self.sampler = Sampler(max(1, len(self.segments)), config.batch_size, config.seed, world.size)
        share = self.sampler.pairs_per_batch // world.size
        self.part = slice(world.rank * share, (world.rank + 1) * share)
        per_epoch = max(1, self.sampler.batches_per_epoch // config.accumulate)
        self.steps = config.steps or config.epochs * per_epoch if self.method.trained else 0

        folder = RunFolder(out)
        if world.rank == 0:
            folder.open(self.segments, config, self.method, resume, _about(self.method, encoder))
        world.barrier()
        self.info = folder.info()
        self.segments.feature_space = folder.feature_space()
        self.method.start(self.segments, config, out, world.group)
        folder.check_file()

        if self.device.type == "cpu":
            keep_freed_memory()
        torch.manual_seed(config.seed)
        shape = {"samples": self.segments.samples, "classes": len(self.segments.classes)}
        self.model = build_model(config, self.segments.fs, **shape, encoder=encoder, method=self.method).to(self.device)
        self.optimizer = make_optimizer(config, self.model)
        ids = np.asarray(store.table["record_id"])
        self.check = FiniteCheck(out / DIVERGED if world.rank == 0 else None, ids, self.steps)
        self.step, self.seconds = 0, 0.0
        self.check.last_good = checkpoint.latest(out)
        if self.check.last_good is not None:
            self._load(self.check.last_good)
        if config.compile:
            self.model.encoder.compile()
        self.source = training_source(self.segments, self.device) if self.steps else self.segments
        self.update = Step(
            config, self.method, self.model, self.optimizer, fs=self.segments.fs, sd=self.info["input_sd"],
            steps=self.steps, device=self.device, world=world, check=self.check,
        )  # fmt: skip

    def _load(self, folder: Path) -> None:
        checkpoint.load_weights(folder, self.model)
        state = checkpoint.load_state(folder)
        self.step, self.seconds = state["step"], state["seconds"]
        self.check.step = self.step
        if self.steps:
            checkpoint.load_optimizer(folder, self.optimizer)

    def save(self) -> None:
        if self.world.rank == 0:
            state = {"seconds": self.seconds, "steps": self.steps}
            keep = self.config.keep_checkpoints
            self.check.last_good = checkpoint.save(self.out, self.step, self.model, self.optimizer, state, keep)

    def train(self, progress: Progress | None = None, stop_after: int | None = None) -> Result:
        """Steps until the last one, `stop_after`, or a signal; a checkpoint at the end in each case."""
        first_process = self.world.rank == 0
        metrics_file = MetricsFile(self.out / METRICS, self.step) if first_process else None
        row: dict[str, Any] = {}
        first, status = self.step, "finished"
        per_step = self.config.accumulate
        batches = iterate(self.source, self.sampler, self.step * per_step, self.steps * per_step, self.part)
        self.model.train()
        try:
            with stop_signals() as stopped:
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
                c = self.config
                weights = {"reconstruction": c.alpha, "peak": c.beta, "prediction": c.gamma}
                draw_loss(rows, self.out / PICTURE, f"{c.method}, {c.encoder}", weights)
        return Result(self.out, self.step, self.steps, status, row)

    def train_step(self, batches: list[Batch]) -> dict[str, Any]:
        """One optimiser step over `accumulate` batches; what metrics.csv shows of it."""
        began = time.perf_counter()
        first = self.step * len(batches)
        epochs = [self.sampler.epoch(first + j) for j in range(len(batches))]
        terms = self.update(self.step, batches, epochs)
        self.step += 1
        self.check.step = self.step
        took = time.perf_counter() - began
        self.seconds += took
        segments = self.world.size * sum(len(b.record) for b in batches)
        return {
            "step": self.step, "steps": self.steps, "epoch": epochs[0], **terms,
            "segments_per_s": segments / took, "seconds": self.seconds,
        }  # fmt: skip


def _about(method: Method, encoder: torch.nn.Module | None) -> dict[str, Any]:
    """What run.json says of a user's own method and encoder; a resumed run must have the same."""
    settings = {k: v if isinstance(v, bool | int | float | str) else repr(v) for k, v in vars(method).items()}
    about: dict[str, Any] = {"method_settings": settings} if settings else {}
    if encoder is not None:
        about["encoder_module"] = type(encoder).__name__
    return about
