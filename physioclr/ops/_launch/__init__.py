"""One function per kernel: check the arguments, allocate the results, call `_core`. Works for every array library.

The public functions (NumPy, CuPy) and the registered torch operators both end here, so an op is checked and launched in
one place. Nothing in this package imports torch.
"""

from .._arrays import FLOATS
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
    "contrastive_backward",
    "contrastive_checks",
    "contrastive_finish",
    "contrastive_rows",
]
