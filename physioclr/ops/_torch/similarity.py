from __future__ import annotations

import torch

from .. import _launch
from . import define


def _fake(a, b=None, kernel="cosine", sigma=None, threshold=None, packed=False):
    shape, dtype = _launch.similarity_shape(a, b, kernel, sigma, threshold, packed)
    return a.new_empty(shape, dtype=getattr(torch, dtype))


physio_similarity = define(
    "physio_similarity(Tensor a, Tensor? b=None, str kernel='cosine', float? sigma=None, float? threshold=None, "
    "bool packed=False) -> Tensor",
    _launch.physio_similarity,
    _fake,
)
