"""One function per kernel: check the arguments, allocate the results, call `_core`. Works for every array library.

The public functions (NumPy, CuPy) and the registered torch operators both end here, so an op is checked and launched in
one place. Nothing in this package imports torch.
"""

from .._arrays import FLOATS
from .augment import (
    augment,
    augment_bwd,
    augment_gather,
    augment_out,
    augment_shape,
    check_out,
    gather_shape,
    plan_text,
    shuffle_beats,
    shuffle_beats_bwd,
    shuffle_plan,
)
from .delineate import delineate, delineate_shape
from .features import MEAN_LEAD, features_shape, physio_features
from .reconstruction import check_peak_loss, compute_dtype, peak_reconstruction_loss, peak_reconstruction_loss_bwd
from .rpeaks import detect_rpeaks, rpeaks_shape

__all__ = [
    "FLOATS",
    "MEAN_LEAD",
    "augment",
    "augment_bwd",
    "augment_gather",
    "augment_out",
    "augment_shape",
    "check_out",
    "check_peak_loss",
    "compute_dtype",
    "delineate",
    "delineate_shape",
    "detect_rpeaks",
    "features_shape",
    "gather_shape",
    "peak_reconstruction_loss",
    "peak_reconstruction_loss_bwd",
    "physio_features",
    "plan_text",
    "rpeaks_shape",
    "shuffle_beats",
    "shuffle_beats_bwd",
    "shuffle_plan",
]
