"""One function per kernel: check the arguments, allocate the results, call `_core`. Works for every array library.

The public functions (NumPy, CuPy) and the registered torch operators both end here, so an op is checked and launched in
one place. Nothing in this package imports torch.
"""

from .reconstruction import check_peak_loss, compute_dtype, peak_reconstruction_loss, peak_reconstruction_loss_bwd
from .similarity import physio_similarity, similarity_shape

__all__ = [
    "check_peak_loss",
    "compute_dtype",
    "peak_reconstruction_loss",
    "peak_reconstruction_loss_bwd",
    "physio_similarity",
    "similarity_shape",
]
