"""physioclr: fast electrocardiogram kernels and physiology-guided self-supervised learning.

    import physioclr as pc
    peaks = pc.detect_rpeaks(ecg, fs=500)          # NumPy, CuPy or torch in, the same kind out

Importing this package imports neither torch, CuPy, numba nor wfdb; each comes in with the first call that needs it.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

try:
    from . import _core as _core
except ImportError as _e:
    _here = __path__[0]
    if any(name.startswith("_core.") and not name.endswith(".pyi") for name in os.listdir(_here)):
        raise
    raise ImportError(
        f"physioclr is imported from {_here}, which holds no compiled extension: it is the source folder, found before "
        "the installed package because Python was started beside it. Start Python elsewhere (or with python -P), "
        "or install physioclr in place: pip install -e . --no-build-isolation"
    ) from _e

from .info import info, set_num_threads
from .ops._arrays import set_result_pool
from .ops._types import HRV, Delineation, Intervals, Neighbors, RPeaks
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
from .ops.contrastive import hybrid_contrastive_loss
from .ops.contrastive.losses import info_nce, nt_xent, soft_contrast, supcon, y_aware_info_nce
from .ops.contrastive.stats import ContrastiveStats, PairStats
from .ops.delineate import delineate
from .ops.feature_space import FeatureSpace
from .ops.feature_table import FeatureInfo, feature_frame, feature_table
from .ops.features import FEATURE_NAMES, physio_features
from .ops.hrv import hrv
from .ops.neighbors import physio_neighbors
from .ops.reconstruction import peak_reconstruction_loss
from .ops.rpeaks import detect_rpeaks
from .ops.similarity import physio_similarity

if TYPE_CHECKING:
    from . import data, nn
    from . import plots as plots
    from . import reference as reference
    from . import train as train
    from .train.hub import load_pretrained

__version__ = "0.2.0"

__all__ = [
    "FEATURE_NAMES",
    "HRV",
    "AmplitudeScale",
    "Augment",
    "BaselineWander",
    "BeatShuffle",
    "ContrastiveStats",
    "Crop",
    "Delineation",
    "FeatureInfo",
    "FeatureSpace",
    "GaussianNoise",
    "Intervals",
    "LeadDropout",
    "MuscleNoise",
    "Neighbors",
    "PairStats",
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
    "feature_frame",
    "feature_table",
    "hrv",
    "hybrid_contrastive_loss",
    "info",
    "info_nce",
    "load_pretrained",
    "nn",
    "nt_xent",
    "peak_reconstruction_loss",
    "physio_features",
    "physio_neighbors",
    "physio_similarity",
    "set_num_threads",
    "set_result_pool",
    "shuffle_beats",
    "soft_contrast",
    "supcon",
    "view_seed",
    "y_aware_info_nce",
]

_LAZY_MODULES = ("data", "nn", "plots", "reference", "train")


if not TYPE_CHECKING:  # a type checker would take every name for one of the package

    def __getattr__(name):
        if name in _LAZY_MODULES:
            return importlib.import_module(f".{name}", __name__)
        if name == "load_pretrained":  # torch comes with it
            return importlib.import_module(".train.hub", __name__).load_pretrained
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


if "torch" in sys.modules:  # then torch.ops.physioclr.* exists at once
    from .ops import _torch as _torch
