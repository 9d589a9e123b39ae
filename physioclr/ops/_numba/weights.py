"""The network that corrects QRS onset and offset, for Numba and the reference: csrc/core/qrs_weights.h has it."""

from typing import TYPE_CHECKING, Any

from ... import _core
from .constants import python_names

SOURCES = "47ebaed6f53d7727"  # as in `constants`, of that list

globals().update(python_names(_core.qrs_weights()))

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
