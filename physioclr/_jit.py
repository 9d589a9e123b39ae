"""Numba's `njit` for the compiled code of the package: where nothing can be cached on disk, it does without a cache.

Numba refuses to decorate with cache=True when neither the package's folder, nor a cache folder of the user's, nor
NUMBA_CACHE_DIR can be written (containers, clusters). That is no reason not to compute.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba

_NO_CACHE = "no locator available"  # in the RuntimeError of numba.core.caching
_warned = False


def njit(*signature: Any, **options: Any) -> Callable[[Callable], Any]:
    """numba.njit as a decorator with arguments: @njit(cache=True), @njit(types.void(...), nogil=True, cache=True)."""

    def decorate(function: Callable) -> Any:
        try:
            return numba.njit(*signature, **options)(function)
        except RuntimeError as e:
            if not options.get("cache") or _NO_CACHE not in str(e):
                raise
        _warn_once()
        return numba.njit(*signature, **options | {"cache": False})(function)

    return decorate


def _warn_once() -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            "Numba cannot cache compiled code: neither physioclr's folder nor the home folder can be written. Every "
            "process compiles anew (half a minute of work). Set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
