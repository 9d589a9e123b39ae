"""The constants of the delineation, for Numba's code and the reference: csrc/core/delineate_constants.h has the list.

kQrsSlope of the list is QRS_SLOPE here.
"""

import re
from typing import TYPE_CHECKING, Any

from ... import _core

# As in `delineate`, of that list: the compiled code holds its numbers.
SOURCES = "435d0c5e4a7ebf90"


def python_names(table: dict) -> dict:
    """kQrsSlope: QRS_SLOPE."""
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", name[1:]).upper(): value for name, value in table.items()}


globals().update(python_names(_core.delineate_constants()))

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
