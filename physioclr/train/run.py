"""A run folder: what it holds, and how a finished run is opened for embedding and probing.

config.yaml          every key of the configuration
run.json             what the network expects: leads, rate, high-pass, input SD; the store; versions; parameters
records.txt          ids of the training records, one a line
feature_space.npz    the feature space fitted on them
beat_space.npz       the same for their average beats, where beat_weight is above 0
metrics.csv, loss.png
checkpoints/step_*/  model.safetensors, optimizer.pt, state.json
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from .. import nn
from . import checkpoint
from .config import Config

CONFIG, INFO, RECORDS, SPACE, BEATS, METRICS, PICTURE = (
    "config.yaml", "run.json", "records.txt", "feature_space.npz", "beat_space.npz", "metrics.csv", "loss.png",
)  # fmt: skip

PRETRAINED = "pretrained"


def build_encoder(config: Config, leads: int = 12) -> torch.nn.Module:
    """The encoder that the configuration describes, with fresh weights from torch's generator."""
    if config.encoder == "resnet1d":
        return nn.ResNet1d(leads, config.channels, config.blocks, norm=config.norm)
    return nn.ECGTransformer(
        leads, config.width, config.layers, config.heads, config.ffn, config.dropout,
        # the published 128 and 16, smaller only where a small encoder needs it
        position_groups=16 if config.width % 16 == 0 else 1,
    )  # fmt: skip


def build_model(config: Config, fs: float, leads: int = 12, classes: int = 0) -> nn.PhysioCLR:
    """Encoder, projection, loss, and a decoder where the method reconstructs. Supervised: `classes` logits."""
    loss = nn.HybridLoss(
        tau=config.tau, delta=config.delta if config.feature_pairs else 1.0, mode=config.mode, tau_s=config.tau_s,
        pair_reduction=config.pair_reduction, alpha=config.alpha, beta=config.beta, fs=fs,
    )  # fmt: skip
    decoder = None if config.method == "physioclr" else False
    predicted = config.feature_components if config.method == "physioclr" and config.gamma else 0
    model = nn.PhysioCLR(
        build_encoder(config, leads), loss, projection=config.projection, decoder=decoder, features=predicted
    )
    if classes:
        model.projection = torch.nn.Linear(model.encoder.width, classes)
    return model


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
    def sd(self) -> float:
        return self.info["input_sd"]

    @property
    def shipped(self) -> bool:
        """Whether this is the encoder of the package."""
        return self.path == Path(__file__).with_name(PRETRAINED)

    @property
    def record_ids(self) -> set[str]:
        """Ids of the records it was trained on; empty for a random encoder."""
        if self.config.method == "random":
            return set()
        return set((self.path / RECORDS).read_text(encoding="utf-8").splitlines())

    def feature_space(self) -> Any:
        import physioclr

        return physioclr.FeatureSpace.load(self.path / SPACE)


def open_run(path: str | Path | Run) -> Run:
    """Open a run folder at its newest checkpoint. "pretrained": the encoder shipped with the package."""
    if isinstance(path, Run):
        return path
    path = Path(path)
    if str(path) == PRETRAINED and not path.exists():
        path = Path(__file__).with_name(PRETRAINED)  # PRETRAINED/ORIGIN.md says on what it was trained, and its limits
    if not (path / INFO).is_file() or not (path / CONFIG).is_file():
        raise ValueError(f"{path} is not a run folder (it has no {INFO} and {CONFIG}); `pretrain` makes one")
    newest = checkpoint.latest(path)
    if newest is None:
        raise ValueError(f"{path} has no checkpoint yet; go on with its training first")
    config = Config.load(path / CONFIG)
    info = json.loads((path / INFO).read_text(encoding="utf-8"))
    with torch.random.fork_rng(
        devices=[]
    ):  # the fresh weights are replaced at once; leave the caller's generator alone
        encoder = build_encoder(config, len(info["leads"]))
    checkpoint.load_weights(newest, encoder, "encoder.")
    return Run(path, config, info, checkpoint.load_state(newest)["step"], encoder.eval())
