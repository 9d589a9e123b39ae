"""The network that corrects QRS onset and offset, for Numba's code and the reference: csrc/core/qrs_weights.h has it."""

from ... import _core
from .constants import python_names

SOURCES = "2770f435c283818c"  # as in `constants`, of that list

globals().update(python_names(_core.qrs_weights()))
