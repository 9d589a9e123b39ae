from __future__ import annotations

import torch

from .. import _launch
from . import define


def _fake(ecg, fs, rpeaks=None, leads=(0,), segment=None, qtc="fridericia"):
    shape, paced = _launch.features_shape(ecg, fs, rpeaks, leads, segment, qtc)
    return ecg.new_empty(shape, dtype=torch.float32), ecg.new_empty(paced, dtype=torch.bool)


physio_features = define(
    "physio_features(Tensor ecg, float fs, Tensor? rpeaks=None, int[] leads=[0], float? segment=None, "
    "str qtc='fridericia') -> (Tensor features, Tensor paced)",
    _launch.physio_features,
    _fake,
)
