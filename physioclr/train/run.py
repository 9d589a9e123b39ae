"""The network of a run: built from its configuration, and opened again for embedding and probing."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch

from .. import FeatureSpace, nn
from . import checkpoint, methods, own
from .config import GIVEN, Config
from .folder import BEATS, CONFIG, INFO, KERNEL, METRICS, PICTURE, RECORDS, SPACE, RunFolder
from .methods import Method

__all__ = ["BEATS", "CONFIG", "INFO", "KERNEL", "METRICS", "PICTURE", "RECORDS", "SPACE", "Run", "build_encoder",
           "build_model", "choose_device", "open_run"]  # fmt: skip

PRETRAINED = "pretrained"  # what commands call the encoder shipped with the package
SHIPPED = Path(__file__).with_name("pretrained")  # a folder for each; its ORIGIN.md: what it learnt from, its limits
DEFAULT = "resnet1d_ptbxl13k"


def build_encoder(
    config: Config, leads: int = 12, samples: int = 2500, module: torch.nn.Module | None = None
) -> torch.nn.Module:
    """The encoder that the configuration describes, with fresh weights from torch's generator.

    samples: of a segment, with which an encoder of the user's own is tried. module: where `config.encoder` is "given",
    the module that was passed; the encoder is a copy of it.
    """
    check_encoder(config, module)
    if module is not None:
        return nn.as_encoder(copy.deepcopy(module), leads, samples)
    if config.encoder == "resnet1d":
        return nn.ResNet1d(leads, config.channels, config.blocks, norm=config.norm)
    if config.encoder == "transformer":
        return nn.ECGTransformer(
            leads, config.width, config.layers, config.heads, config.ffn, config.dropout,
            # the published 128 and 16, smaller only where a small encoder needs it
            position_groups=16 if config.width % 16 == 0 else 1,
        )  # fmt: skip
    factory = own.load(config.encoder, "encoder")
    if not callable(factory) or isinstance(factory, torch.nn.Module):
        raise ValueError(
            f"encoder is {config.encoder!r}; it must name a function or class that makes a torch.nn.Module"
        )
    try:
        made = factory()
    except TypeError as e:
        raise ValueError(f"encoder is {config.encoder!r}, which is called without arguments: {e}") from e
    return nn.as_encoder(made, leads, samples)


def check_encoder(config: Config, module: Any) -> None:
    """A module must be passed where the configuration says "given", and nowhere else."""
    if module is not None and not isinstance(module, torch.nn.Module):
        raise TypeError(f"encoder is {module!r}; it must be a torch.nn.Module, or a name")
    if module is not None and config.encoder != GIVEN:
        raise ValueError(f"encoder is {config.encoder!r} in the configuration, and a module is passed as well")
    if module is None and config.encoder == GIVEN:
        raise ValueError(
            "encoder is 'given', a module that is not kept in the run folder; pass it again: "
            "pretrain(..., encoder=module), open_run(run, encoder=module)"
        )


def build_model(
    config: Config,
    fs: float,
    leads: int = 12,
    classes: int = 0,
    *,
    samples: int | None = None,
    encoder: torch.nn.Module | None = None,
    method: Method | None = None,
) -> nn.PhysioCLR:
    """Encoder, projection and what else the method wants: a decoder, or `classes` logits.

    fs: of the network's input, Hz. samples: of its segments, 5 s if None. encoder: see `build_encoder`. method: the
    object of it, a new one of the configuration's if None.
    """
    encoder = build_encoder(config, leads, round(5 * fs) if samples is None else samples, encoder)
    method = methods.named(config.method)() if method is None else method
    return method.model(encoder, config, fs, classes)


def choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device is {name!r}; it must be 'auto', 'cpu', 'cuda' or 'cuda:<index>'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch sees no CUDA device; use 'cpu' or 'auto'")
    return device


@dataclasses.dataclass
class Run:
    """A finished or interrupted run.

    path: its folder. config: its configuration. info: run.json. step: optimiser steps of the checkpoint.
    encoder: the encoder with that checkpoint's weights, in evaluation mode, on the CPU.
    """

    path: Path
    config: Config
    info: dict[str, Any]
    step: int
    encoder: torch.nn.Module

    @property
    def name(self) -> str:
        """What tables and pictures call it."""
        return self.config.method

    @property
    def sd(self) -> float:
        return self.info["input_sd"]

    @property
    def method(self) -> type[Method]:
        """What its method says of itself; of a user's own, what every `Method` does."""
        return methods.traits(self.config.method)

    @property
    def shipped(self) -> bool:
        """Whether this is the encoder of the package."""
        return self.path.parent == SHIPPED

    @property
    def record_ids(self) -> set[str]:
        """Ids of the records it was trained on; empty for a random encoder."""
        return set(RunFolder(self.path).record_ids()) if self.method.learns else set()

    def feature_space(self) -> FeatureSpace:
        return RunFolder(self.path).feature_space()


def open_run(path: str | Path | Run, *, encoder: torch.nn.Module | None = None) -> Run:
    """Open a run folder at its newest checkpoint. "pretrained": the encoder shipped with the package.

    encoder: of a run that was begun with `pretrain(..., encoder=module)`, such a module; the run gets a copy of it.

    Raises:
        ValueError: it is no run folder, or has no checkpoint. DamagedFile: a file in it is damaged.
    """
    if isinstance(path, Run):
        return path
    path = Path(path)
    if str(path) == PRETRAINED and not path.exists():
        path = SHIPPED / DEFAULT
    newest = checkpoint.latest(path)
    if newest is None and not ((path / INFO).is_file() and (path / CONFIG).is_file()):
        raise ValueError(f"{path} is not a run folder (it has no {INFO} and {CONFIG}); `pretrain` makes one")
    if newest is None:
        raise ValueError(f"{path} has no checkpoint yet; go on with its training first")
    folder = RunFolder(path)
    config, info = folder.config(), folder.info()
    with torch.random.fork_rng(devices=[]):  # the fresh weights are replaced at once; the caller's generator stays
        built = build_encoder(config, len(info["leads"]), info["samples"], encoder)
    checkpoint.load_weights(newest, built, "encoder.")
    return Run(path, config, info, checkpoint.load_state(newest)["step"], built.eval())
