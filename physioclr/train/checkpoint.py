"""Checkpoints: weights as safetensors, optimiser state as a plain torch file read with weights_only, both at once.

A checkpoint is a folder, written under another name and renamed when it is complete and on disk: a run killed at any
moment leaves whole checkpoints only.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

FOLDER, WEIGHTS, OPTIMIZER, STATE = "checkpoints", "model.safetensors", "optimizer.pt", "state.json"


def write_atomically(path: Path, data: str | bytes) -> None:
    """The file holds either its old or its new contents, whatever happens."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def save(run: Path, step: int, model: torch.nn.Module, optimizer: Any, state: dict[str, Any], keep: int = 2) -> Path:
    """Write the checkpoint of `step`, then remove all but the newest `keep`. Returns its folder."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    final = folder / f"step_{step:010d}"
    if final.exists():  # a stop right after a checkpoint: the same step of the same run has the same contents
        return final
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    safetensors.torch.save_file(tensors, temporary / WEIGHTS)
    if optimizer is not None:
        torch.save(optimizer.state_dict(), temporary / OPTIMIZER)
    (temporary / STATE).write_text(json.dumps({"step": step, **state}, indent=1))
    for file in (*temporary.iterdir(), temporary):
        _sync(file)
    os.rename(temporary, final)
    _sync(folder)
    for old in _complete(run)[:-keep]:
        shutil.rmtree(old)
    return final


def _complete(run: Path) -> list[Path]:
    return sorted(p for p in (run / FOLDER).glob("step_*") if (p / STATE).is_file() and (p / WEIGHTS).is_file())


def latest(run: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = _complete(run)
    return found[-1] if found else None


def clean(run: Path) -> None:
    """Remove what a killed process left half-written."""
    for p in (run / FOLDER).glob(".step_*.tmp"):
        shutil.rmtree(p, ignore_errors=True)


def load_weights(checkpoint: Path, model: torch.nn.Module, prefix: str = "") -> None:
    """Load the weights into `model`; with a prefix ("encoder.") only those under it."""
    tensors = safetensors.torch.load_file(checkpoint / WEIGHTS)
    tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    model.load_state_dict(tensors)


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    optimizer.load_state_dict(torch.load(checkpoint / OPTIMIZER, map_location="cpu", weights_only=True))


def load_state(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / STATE).read_text())
