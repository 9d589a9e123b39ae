"""One function per kernel: check the arguments, allocate the results, call `_core`. Works for every array library.

The public functions (NumPy, CuPy) and the registered torch operators both end here, so an op is checked and launched in
one place. Nothing in this package imports torch.
"""

from .augment import (
    augment,
    augment_bwd,
    augment_shape,
    plan_text,
    shuffle_beats,
    shuffle_beats_bwd,
    shuffle_plan,
)
from .similarity import physio_similarity, similarity_shape

__all__ = [
    "augment",
    "augment_bwd",
    "augment_shape",
    "physio_similarity",
    "plan_text",
    "shuffle_beats",
    "shuffle_beats_bwd",
    "shuffle_plan",
    "similarity_shape",
]
