"""Checkpoints: weights as safetensors, optimiser state as a plain torch file read with weights_only, both at once.

A checkpoint is a folder, written under another name and renamed when it is complete and on disk: a run killed at any
moment leaves whole checkpoints only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .._files import DamagedFile
from .files import check_fields, is_count, is_finite, read_json
from .files import write_atomically as write_atomically

FOLDER, WEIGHTS, OPTIMIZER, STATE = "checkpoints", "model.safetensors", "optimizer.pt", "state.json"


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
    folders = (p for p in (run / FOLDER).glob("step_*") if re.fullmatch(r"step_\d{10}", p.name))
    return sorted(p for p in folders if (p / STATE).is_file() and (p / WEIGHTS).is_file())


def latest(run: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = _complete(run)
    return found[-1] if found else None


def clean(run: Path) -> None:
    """Remove what a killed process left half-written."""
    for p in (run / FOLDER).glob(".step_*.tmp"):
        shutil.rmtree(p, ignore_errors=True)


def load_weights(checkpoint: Path, model: torch.nn.Module, prefix: str = "") -> None:
    """Load the weights into `model`; with a prefix ("encoder.") only those under it.

    Raises:
        DamagedFile: the file cannot be read, or a tensor is missing, unknown, of another shape, NaN or infinite.
    """
    path = checkpoint / WEIGHTS
    try:
        tensors = safetensors.torch.load_file(path)
    except Exception as e:  # the reader has errors of its own
        raise DamagedFile(path, f"it is no safetensors file ({e})") from None
    tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    wanted = model.state_dict()
    for name, x in wanted.items():
        if name not in tensors:
            raise DamagedFile(path, f"it has no tensor {prefix}{name}")
        if tensors[name].shape != x.shape:
            shapes = f"{tuple(tensors[name].shape)}; the configuration makes it {tuple(x.shape)}"
            raise DamagedFile(path, f"tensor {prefix}{name} has shape {shapes}")
        if not torch.isfinite(tensors[name]).all():
            raise DamagedFile(path, f"tensor {prefix}{name} holds NaN or infinity")
    unknown = sorted(tensors.keys() - wanted.keys())
    if unknown:
        raise DamagedFile(path, f"the configuration has no tensor {prefix}{unknown[0]}")
    model.load_state_dict(tensors)


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Load what the optimiser remembers of each parameter; its settings are those of the configuration.

    Raises:
        DamagedFile: the file is missing, is no plain torch file, or is of other parameters.
    """
    path = checkpoint / OPTIMIZER
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing") from None
    except Exception as e:  # EOFError, UnpicklingError, RuntimeError, ...
        raise DamagedFile(path, f"it is no plain torch file ({str(e).partition('.')[0] or type(e).__name__})") from None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    own = optimizer.state_dict()
    state = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(state, dict):
        raise DamagedFile(path, "it has no field state")
    for k, of_one in state.items():
        if not (isinstance(k, int) and 0 <= k < len(parameters) and isinstance(of_one, dict)):
            raise DamagedFile(path, f"field state has the key {k!r}; there are {len(parameters)} parameters")
        for name, x in of_one.items():
            if not isinstance(x, Tensor) or (x.ndim and x.shape != parameters[k].shape) or not torch.isfinite(x).all():
                what = f"{name} of parameter {k}"
                raise DamagedFile(path, f"field state: {what} is not finite, or not of the parameter's shape")
    try:
        groups = [g["params"] for g in saved["param_groups"]]
    except (KeyError, TypeError):
        raise DamagedFile(path, "it has no field param_groups") from None
    if groups != [g["params"] for g in own["param_groups"]]:
        raise DamagedFile(path, "field param_groups is of other parameters than the configuration makes")
    optimizer.load_state_dict({"state": state, "param_groups": own["param_groups"]})


def load_state(checkpoint: Path) -> dict[str, Any]:
    """{"step": ..., "seconds": ..., "steps": ...}

    Raises:
        DamagedFile: it is no such thing, or the step is not that of the folder's name.
    """
    path = checkpoint / STATE
    state = read_json(path)
    check_fields(path, state, {"step": (is_count, "an integer of at least 0")})
    if state["step"] != int(checkpoint.name.removeprefix("step_")):
        raise DamagedFile(path, f"field step is {state['step']}; the folder is {checkpoint.name}")
    state.setdefault("seconds", 0.0)
    check_fields(path, state, {"seconds": (is_finite, "a number")})
    return state
