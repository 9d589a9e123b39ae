"""Checkpoints: weights as safetensors, optimiser state as a plain torch file read with weights_only, both at once.

A checkpoint is a folder, written under another name and renamed when it is complete and on disk: a run killed at any
moment leaves whole checkpoints only.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .._files import DamagedFile, file_entry
from .files import check_entry, check_fields, check_seal, is_count, is_finite, json_text, read_json
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
    files = {file.name: file_entry(file) for file in sorted(temporary.iterdir())}
    (temporary / STATE).write_text(json_text({"step": step, **state, "files": files}), encoding="utf-8")
    for file in (*temporary.iterdir(), temporary):
        _sync(file)
    os.rename(temporary, final)
    _sync(folder)
    for old in _all(run)[:-keep]:
        shutil.rmtree(old)
    return final


def _all(run: Path) -> list[Path]:
    return sorted(p for p in (run / FOLDER).glob("step_*") if re.fullmatch(r"step_\d{10}", p.name))


def latest(run: Path) -> Path | None:
    """The newest checkpoint, or None.

    Raises:
        DamagedFile: a file of it is missing. It got its name when it was complete; only of older ones, which are being
            removed, a kill leaves parts.
    """
    found = _all(run)
    for file in (STATE, WEIGHTS) if found else ():
        if not (found[-1] / file).is_file():
            raise DamagedFile(found[-1] / file, "it is a folder" if (found[-1] / file).exists() else "it is missing")
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
    _check_file(checkpoint, WEIGHTS)
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
    _check_file(checkpoint, OPTIMIZER)
    optimizer.load_state_dict({"state": state, "param_groups": own["param_groups"]})


def load_state(checkpoint: Path) -> dict[str, Any]:
    """{"step": ..., "seconds": ..., "steps": ..., "files": {name: {"bytes": ..., "crc32": ...}}}

    Raises:
        DamagedFile: it is no such thing, or the step is not that of the folder's name.
    """
    path = checkpoint / STATE
    state = read_json(path)
    check_fields(path, state, {"step": (is_count, "an integer of at least 0")})
    if state["step"] != int(checkpoint.name.removeprefix("step_")):
        raise DamagedFile(path, f"field step is {state['step']}; the folder is {checkpoint.name}")
    if "seconds" in state:
        check_fields(path, state, {"seconds": (is_finite, "a number")})
    check_seal(path, state)
    return {"seconds": 0.0, **state}


def _check_file(checkpoint: Path, name: str) -> None:
    """A file whose values could be right, against its checksum in the checkpoint's state."""
    files = load_state(checkpoint).get("files")
    check_entry(checkpoint / name, files.get(name) if isinstance(files, dict) else None, STATE)
