"""The slow, clear definition of every op, in float64 NumPy (torch where a gradient is asked for).

Nothing in the library imports this: it is what the tests compare with, and the place to read what an op means.
"""

from .augment import augment, shuffle_beats
from .contrastive import hybrid_contrastive_loss, info_nce, nt_xent, soft_contrast, supcon, y_aware_info_nce
from .delineate import delineate
from .features import physio_features
from .hrv import hrv
from .neighbors import physio_neighbors
from .reconstruction import peak_reconstruction_loss
from .rpeaks import detect_rpeaks
from .similarity import physio_similarity

__all__ = [
    "augment",
    "delineate",
    "detect_rpeaks",
    "hrv",
    "hybrid_contrastive_loss",
    "info_nce",
    "nt_xent",
    "peak_reconstruction_loss",
    "physio_features",
    "physio_neighbors",
    "physio_similarity",
    "shuffle_beats",
    "soft_contrast",
    "supcon",
    "y_aware_info_nce",
]
