from __future__ import annotations

import torch

from .. import _launch
from . import define


def _fake(a, b, k, kernel="cosine", group=None):
    shape = _launch.neighbors_shape(a, b, k, kernel, group)
    return a.new_empty(shape, dtype=torch.int64), a.new_empty(shape, dtype=torch.float32)


physio_neighbors = define(
    "physio_neighbors(Tensor a, Tensor? b, int k, str kernel='cosine', Tensor? group=None) -> (Tensor, Tensor)",
    _launch.physio_neighbors,
    _fake,
)
