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
from .contrastive import (
    MODES,
    contrastive_backward,
    contrastive_checks,
    contrastive_finish,
    contrastive_rows,
)

__all__ = [
    "FLOATS",
    "MODES",
    "augment",
    "augment_bwd",
    "augment_gather",
    "augment_out",
    "augment_shape",
    "check_out",
    "contrastive_backward",
    "contrastive_checks",
    "contrastive_finish",
    "contrastive_rows",
    "gather_shape",
    "plan_text",
    "shuffle_beats",
    "shuffle_beats_bwd",
    "shuffle_plan",
]
