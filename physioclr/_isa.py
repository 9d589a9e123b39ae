"""The instruction set that the CPU kernels use, and the environment variable that limits it (csrc/cpu/isa.h)."""

from __future__ import annotations

import os
import warnings

from . import _core

VARIABLE = "PHYSIOCLR_ISA"
NAMES = ("base", "avx2", "avx512")


def check(wanted: str | None) -> None:
    """Raises ValueError if the variable names no set, warns if it names one that this processor lacks.

    The library has already limited itself when it was loaded; an empty value is none.
    """
    if not wanted:
        return
    if wanted not in NAMES:
        raise ValueError(f"{VARIABLE} is {wanted!r}; it must be one of {', '.join(NAMES)}")
    used, highest = _core.isa()
    if NAMES.index(wanted) > NAMES.index(highest):
        told = f"{VARIABLE} is {wanted!r}, which this processor or this build does not have: the kernels use {used!r}"
        warnings.warn(told, RuntimeWarning, stacklevel=2)


def described() -> str:
    """For `info`: the set in use, and the highest one where that is another."""
    used, highest = _core.isa()
    return used if used == highest else f"{used} (limited; this processor has {highest})"


check(os.environ.get(VARIABLE))
