"""physioclr: fast electrocardiogram kernels and physiology-guided self-supervised learning.

    import physioclr as pc
    peaks = pc.detect_rpeaks(ecg, fs=500)          # NumPy, CuPy or torch in, the same kind out

Importing this package imports neither torch, CuPy, numba nor wfdb; each comes in with the first call that needs it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from .info import info, set_num_threads
from .ops._types import Delineation, RPeaks
from .ops.augment import augment, shuffle_beats, view_seed
from .ops.augment.plan import (
    AmplitudeScale,
    Augment,
    BaselineWander,
    BeatShuffle,
    Crop,
    GaussianNoise,
    LeadDropout,
    MuscleNoise,
    Powerline,
    RrScale,
    TimeMask,
    TimeWarp,
    VcgRotation,
)
from .ops.contrastive import ContrastiveStats, hybrid_contrastive_loss
from .ops.delineate import delineate
from .ops.feature_space import FeatureSpace
from .ops.features import FEATURE_NAMES, physio_features
from .ops.neighbors import Neighbors, physio_neighbors
from .ops.reconstruction import peak_reconstruction_loss
from .ops.rpeaks import detect_rpeaks
from .ops.similarity import physio_similarity

if TYPE_CHECKING:
    from . import data, nn

__version__ = "0.1.0"

__all__ = [
    "FEATURE_NAMES",
    "AmplitudeScale",
    "Augment",
    "BaselineWander",
    "BeatShuffle",
    "ContrastiveStats",
    "Crop",
    "Delineation",
    "FeatureSpace",
    "GaussianNoise",
    "LeadDropout",
    "MuscleNoise",
    "Neighbors",
    "Powerline",
    "RPeaks",
    "RrScale",
    "TimeMask",
    "TimeWarp",
    "VcgRotation",
    "augment",
    "data",
    "delineate",
    "detect_rpeaks",
    "hybrid_contrastive_loss",
    "info",
    "nn",
    "peak_reconstruction_loss",
    "physio_features",
    "physio_neighbors",
    "physio_similarity",
    "set_num_threads",
    "shuffle_beats",
    "view_seed",
]

_LAZY_MODULES = ("data", "nn", "plots", "reference", "train")


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


if "torch" in sys.modules:  # then torch.ops.physioclr.* exists at once
    from .ops import _torch as _torch
