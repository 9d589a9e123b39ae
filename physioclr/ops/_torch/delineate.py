from __future__ import annotations

import torch

from .. import _launch
from . import define


def _lead(lead: str) -> int | str:
    """The schema carries the lead as text: an index arrives as its digits."""
    try:
        return int(lead)
    except ValueError:
        return lead


def _launch_delineate(xp, ecg, fs, rpeaks, lead="II"):
    return _launch.delineate(xp, ecg, fs, rpeaks, _lead(lead))


def _fake(ecg, fs, rpeaks, lead="II"):
    shape = _launch.delineate_shape(ecg, fs, rpeaks, _lead(lead))
    return tuple(rpeaks.new_empty(shape, dtype=torch.int32) for _ in range(8))


delineate = define(
    "delineate(Tensor ecg, float fs, Tensor rpeaks, str lead='II') -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _launch_delineate,
    _fake,
)
