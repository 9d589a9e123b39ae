"""The network that corrects QRS onset and offset, for Numba's code and the reference: csrc/core/qrs_weights.h has it."""

from ... import _core
from .constants import python_names

SOURCES = "47ebaed6f53d7727"  # as in `constants`, of that list

globals().update(python_names(_core.qrs_weights()))
