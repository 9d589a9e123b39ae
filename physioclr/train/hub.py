"""Pretrained encoders by name: the weights, and all that a signal needs before it may enter them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import checkpoint
from .dataset import network_input
from .embed import check_rate, run_signal
from .run import DEFAULT, SHIPPED, Run, open_run

NAMES = (DEFAULT,)
REVISION_DIGITS = 12


class Pretrained(torch.nn.Module):
    """An encoder with its weights. Called with what `preprocess` makes of an ECG, it gives embeddings (N, width).

    name, revision: which weights; the revision is the beginning of the SHA-256 of their file.
    pretrained_cfg: name, revision, fs (Hz of its training set), input_fs and samples (of what goes into the
        network), leads, highpass (Hz), input_sd (mV), width, records (trained on), card (a Markdown file: data,
        licence, scores, limits; None for a run of your own).
    encoder: the network alone, from network units to tokens and embedding. run: what `embed` and `probe` take.
    """

    name: str
    revision: str
    encoder: torch.nn.Module
    run: Run

    def __init__(self, run: Run, name: str, revision: str):
        super().__init__()
        info, self.run, self.encoder = run.info, run, run.encoder
        self.name, self.revision = name, revision
        card = run.path / "ORIGIN.md"
        self.pretrained_cfg: dict[str, Any] = {
            "name": name, "revision": revision, "fs": info["fs"], "input_fs": info["fs"] / run.config.decimate,
            "samples": info["samples"], "leads": list(info["leads"]), "highpass": info["highpass"],
            "input_sd": info["input_sd"], "width": run.encoder.width, "records": info["records"],
            "card": str(card) if card.is_file() else None,
        }  # fmt: skip
        self.eval()

    def preprocess(self, ecg: np.ndarray, fs: float) -> Tensor:
        """(12, T) or (N, 12, T) mV of whole recordings -> (N, 12, T') as the network saw its training set, mV.

        High-passed, and at the network's rate; NaN stays where samples are missing. The leads are those of
        pretrained_cfg, in their order.

        Args:
            fs: Hz of ecg, pretrained_cfg["input_fs"] or more; resampled where it is not pretrained_cfg["fs"].

        Raises:
            ValueError: another number of leads, or a rate below that of the network.
        """
        cfg = self.pretrained_cfg
        x = np.asarray(ecg, np.float32)
        x = x[None] if x.ndim == 2 else x
        if x.ndim != 3 or x.shape[1] != len(cfg["leads"]):
            raise ValueError(
                f"ecg has shape {np.shape(ecg)}; it must be (12, T) or (N, 12, T), {', '.join(cfg['leads'])}"
            )
        check_rate(float(fs), self.run, "fs is")
        if not x.shape[2]:
            raise ValueError("ecg has no samples")
        out = [run_signal(one, float(fs), self.run) for one in x]
        return torch.from_numpy(np.stack(out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 12, T') mV of `preprocess` -> (N, width): the mean over time; missing samples count nothing.

        It was trained on pieces of pretrained_cfg["samples"]; longer ones may be cut, and their embeddings averaged, as
        `embed` does.
        """
        valid = torch.isfinite(x).any(1)
        return self.encoder(network_input(x, self.run.sd), None if bool(valid.all()) else valid).pooled


def revision_of(run: Run) -> str:
    """The beginning of the SHA-256 of the run's newest weights."""
    newest = checkpoint.latest(run.path)
    assert newest is not None  # open_run has read it
    return hashlib.sha256((newest / checkpoint.WEIGHTS).read_bytes()).hexdigest()[:REVISION_DIGITS]


def load_pretrained(name: str | Path = DEFAULT, *, revision: str | None = None) -> Pretrained:
    """A pretrained encoder, in evaluation mode, on the CPU; nothing is downloaded.

        model = pc.load_pretrained()
        z = model(model.preprocess(ecg, fs=500))        # (12, T) mV -> (1, 256)

    Args:
        name: one of `physioclr.train.hub.NAMES`, shipped with the package, or the folder of a run of your own.
        revision: the weights that must be found, as `pretrained_cfg["revision"]` states them, or the beginning of it.

    Raises:
        ValueError: no such name or run; other weights than the revision says. DamagedFile: a file is damaged.
    """
    folder = SHIPPED / str(name) if str(name) in NAMES else Path(name)
    if str(name) not in NAMES and not folder.is_dir():
        raise ValueError(
            f"name is {str(name)!r}; it must be one of {', '.join(map(repr, NAMES))}, or the folder of a run"
        )
    run = open_run(folder)
    found = revision_of(run)
    if revision is not None and (not revision or not found.startswith(revision)):
        raise ValueError(f"revision is {revision!r}; the weights of {str(name)!r} are revision {found!r}")
    return Pretrained(run, str(name) if str(name) in NAMES else folder.name, found)
