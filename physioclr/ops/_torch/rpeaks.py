from __future__ import annotations

import torch

from .. import _launch
from . import define


def _fake(ecg, fs, max_beats=None):
    records, beats = _launch.rpeaks_shape(ecg, fs, max_beats)
    return (
        ecg.new_empty((records, beats), dtype=torch.int32),
        ecg.new_empty((records,), dtype=torch.int32),
        ecg.new_empty((records,), dtype=torch.float32),
    )


detect_rpeaks = define(
    "detect_rpeaks(Tensor ecg, float fs, int? max_beats=None) -> (Tensor, Tensor, Tensor)",
    _launch.detect_rpeaks,
    _fake,
)
